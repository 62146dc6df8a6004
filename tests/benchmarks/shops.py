"""The shops of examples/ beside the same on SQLAlchemy, under load and with backends killed, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from examples.flask_shop import create_tables

from ..load import Figures, run

if TYPE_CHECKING:
    from sessionkit import Engine

REQUESTS = 5000

OURS = """
from examples.{framework}_shop import create_app as make
from sessionkit import create_engine

def create_app():
    return make(create_engine(URL, pool_size=2))
"""
BASE = """
from uuid import uuid4
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, TimeoutError
from sqlalchemy.orm import sessionmaker

engine = create_engine(
    URL.replace("postgresql:", "postgresql+psycopg:"), pool_size=2, max_overflow=0, pool_timeout=5, pool_pre_ping={ping}
)
Session = sessionmaker(engine)
TAKE = text("update article set stock = stock - :quantity where code = :article and stock >= :quantity")
INSERT = text("insert into orders values (:id, :article, :quantity)")

def place(session, wanted):
    if session.execute(TAKE, wanted).rowcount == 0:
        return None
    ident = str(uuid4())
    session.execute(INSERT, {{"id": ident, **wanted}})
    return ident
"""
FLASK = """
from flask import Flask, request

def create_app():
    app = Flask(__name__)

    @app.get("/health")
    def health():
        return {{}}

    @app.post("/orders")
    def order():
        with Session.begin() as session:          # committed before the response is made
            ident = place(session, request.get_json())
        return ({{"id": ident}}, 201) if ident else ({{}}, 409)

    @app.errorhandler(OperationalError)
    @app.errorhandler(TimeoutError)
    def busy(exc):
        return {{}}, 503

    return app
"""
FASTAPI = """
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

class Order(BaseModel):
    article: str
    quantity: int

def create_app():
    app = FastAPI()

    @app.get("/health")
    def health():
        return {{}}

    @app.post("/orders", status_code=201)
    def order(wanted: Order):
        with Session.begin() as session:
            ident = place(session, wanted.model_dump())
        return {{"id": ident}} if ident else JSONResponse({{}}, 409)

    @app.exception_handler(OperationalError)
    @app.exception_handler(TimeoutError)
    def busy(request, exc):
        return JSONResponse({{}}, 503)

    return app
"""


def measure(engine: Engine) -> dict[str, Figures]:
    """Return the figures of each shop on PostgreSQL."""
    create_tables(engine)
    found: dict[str, Figures] = {}
    for framework, peer in (("flask", FLASK), ("fastapi", FASTAPI)):
        programs = {
            "sessionkit": OURS.format(framework=framework),
            "SQLAlchemy": (BASE + peer).format(ping=False),
            "SQLAlchemy, pool_pre_ping": (BASE + peer).format(ping=True),
        }
        for name, program in programs.items():
            for kill in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    figures = run(framework, program, engine, Path(folder), REQUESTS, kill)
                title = f"{framework}, {name}{', backends killed' if kill else ''}"
                found[title] = figures
                print(f"{title:50} {figures}", flush=True)
    return found
