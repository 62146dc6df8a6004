"""A shop in FastAPI: orders and stock. Each request has one session, committed before the response leaves.

pip install 'dbapi-sessionkit[fastapi]' uvicorn
DATABASE_URL=sqlite:///shop.db uvicorn --factory examples.fastapi_shop:create_app
DATABASE_URL=postgresql://app@localhost/shop uvicorn --factory --workers 2 examples.fastapi_shop:create_app

curl http://127.0.0.1:8000/                                    # the stock, as a page
curl -H 'content-type: application/json' -d '{"article": "tea", "quantity": 2}' http://127.0.0.1:8000/orders
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator  # noqa: TC003  FastAPI reads the annotations
from html import escape
from typing import Annotated, Any
from uuid import uuid4

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, PositiveInt

from sessionkit import Engine, Session, create_engine
from sessionkit.aio import AsyncSession
from sessionkit.web.starlette import SessionMiddleware, get_async_session, get_session, health_check, session_of

SCHEMA = [
    "create table if not exists article (code varchar(20) primary key, stock integer not null check (stock >= 0))",
    "create table if not exists orders (id varchar(36) primary key, article varchar(20) not null, quantity integer not null "
    "check (quantity > 0), foreign key (article) references article (code))",
]
Db = Annotated[Session, Depends(get_session)]
AsyncDb = Annotated[AsyncSession, Depends(get_async_session)]


class Order(BaseModel):
    """What a client orders."""

    article: str
    quantity: PositiveInt


def create_tables(engine: Engine) -> None:
    """Make the tables, and put ten of two articles into an empty shop."""
    for words in SCHEMA:
        engine.execute(words)
    with engine.begin() as session:
        if session.scalar("select count(*) from article") == 0:
            session.executemany("insert into article values (?, 10)", [("tea",), ("coffee",)])


def create_app(engine: Engine | None = None) -> FastAPI:
    """Return the application on an engine, or on DATABASE_URL."""
    bind = engine or create_engine(os.environ["DATABASE_URL"])
    if engine is None:
        create_tables(bind)
    app = FastAPI(title="Shop")
    app.add_middleware(SessionMiddleware, bind=bind)
    app.add_route("/health", health_check(bind))

    @app.get("/", response_class=HTMLResponse)
    def index(session: Db) -> str:
        rows = session.execute("select code, stock from article order by code")
        items = "".join(f"<li>{escape(code)}: {stock} left</li>" for code, stock in rows)
        return f'<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1><ul>{items}</ul></html>'

    @app.get("/stock/{code}")
    def stock(code: str, session: Db) -> dict[str, Any]:
        row = session.execute("select code, stock from article where code = ?", (code,)).first()
        if row is None:
            raise HTTPException(404)
        return row._asdict()

    @app.post("/orders", status_code=201)
    def order(wanted: Order, session: Db, tasks: BackgroundTasks) -> dict[str, str]:
        taken = session.execute(
            "update article set stock = stock - :quantity where code = :article and stock >= :quantity",
            wanted.model_dump(),
        )
        if taken.rowcount == 0:
            raise HTTPException(409, f"not enough {wanted.article}")
        ident = str(uuid4())
        session.execute("insert into orders values (?, ?, ?)", (ident, wanted.article, wanted.quantity))
        tasks.add_task(confirm, bind, ident)  # runs after the commit
        return {"id": ident}

    @app.get("/orders/{ident}")
    async def one_order(ident: str, session: AsyncDb) -> dict[str, Any]:  # async def works too
        row = (await session.execute("select * from orders where id = ?", (ident,))).first()
        if row is None:
            raise HTTPException(404)
        return row._asdict()

    @app.get("/orders.csv")
    def orders_csv(request: Request) -> StreamingResponse:
        def lines() -> Iterator[str]:  # sent while it is read, in a session of its own
            yield "id,article,quantity\n"
            with session_of(request).stream("select id, article, quantity from orders order by id", into=tuple) as rows:
                for row in rows:
                    yield f"{row[0]},{row[1]},{row[2]}\n"

        return StreamingResponse(lines(), media_type="text/csv")

    return app


def confirm(engine: Engine, ident: str) -> None:
    """Tell the warehouse, in a transaction of its own: the order is there."""
    with engine.session() as session:
        article = session.scalar("select article from orders where id = ?", (ident,))
    logging.getLogger("shop").info("order %s of %s is on its way", ident, article)
