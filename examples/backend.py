"""A small web backend: orders and stock, with nothing but the standard library's server (WSGI).

    python examples/backend.py                                   # http://127.0.0.1:8000, a temporary SQLite file
    python examples/backend.py postgresql://app@localhost/shop   # any database

    curl http://127.0.0.1:8000/                                       # the stock, as a page
    curl -d '{"article": "tea", "quantity": 2}' http://127.0.0.1:8000/orders

- One transaction for each request, committed *before* the response leaves: a client that is told 201 finds the order there.
- An error rolls back, and becomes a status: 404, 409, 422; 503 where the database cannot be had now.
- A request that is slow to send its body holds no connection.
"""

from __future__ import annotations

import json
import sys
import tempfile
from html import escape
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from wsgiref.simple_server import make_server

from sessionkit import CheckViolation, DisconnectionError, Engine, ForeignKeyViolation, PoolTimeoutError, create_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sessionkit import Session

SCHEMA = [
    "create table if not exists article (code varchar(20) primary key, stock integer not null check (stock >= 0))",
    "create table if not exists orders (id varchar(40) primary key, article varchar(20) not null, quantity integer not null "
    "check (quantity > 0), foreign key (article) references article (code))",
]
STATUS = {200: "200 OK", 201: "201 Created", 404: "404 Not Found", 409: "409 Conflict"}
STATUS |= {422: "422 Unprocessable Content", 503: "503 Service Unavailable"}
Answer = tuple[int, str, str]  # status, content type, body


def prepare(engine: Engine) -> None:
    """Make the tables and some stock, where they are not there yet."""
    for statement in SCHEMA:
        engine.execute(statement)
    with engine.begin() as session:
        if not session.scalar("select count(*) from article"):
            session.executemany("insert into article values (?, ?)", [("tea", 10), ("mate", 3)])


def page(session: Session, body: bytes) -> Answer:
    """GET /: the stock, as HTML."""
    rows = session.execute("select code, stock from article order by code")
    cells = "".join(f"<tr><td>{escape(row.code)}</td><td>{row.stock}</td></tr>" for row in rows)
    return 200, "text/html; charset=utf-8", f"<!doctype html><title>Stock</title><table>{cells}</table>"


def orders(session: Session, body: bytes) -> Answer:
    """GET /orders: all of them."""
    found = session.execute("select id, article, quantity from orders order by id").mappings()
    return 200, "application/json", json.dumps(found)


def order(session: Session, body: bytes) -> Answer:
    """POST /orders: take it from the stock, or refuse it."""
    try:
        wanted = json.loads(body)
        article, quantity = str(wanted["article"]), int(wanted["quantity"])
    except (ValueError, KeyError, TypeError):
        return 422, "application/json", '{"error": "an order has an article and a quantity"}'
    values = {"id": uuid4().hex, "article": article, "quantity": quantity}
    session.execute("insert into orders values (:id, :article, :quantity)", values)
    session.execute("update article set stock = stock - :q where code = :a", {"q": quantity, "a": article})
    return 201, "application/json", json.dumps(values)


ROUTES = {("GET", "/"): page, ("GET", "/orders"): orders, ("POST", "/orders"): order}


def handle(engine: Engine, method: str, path: str, body: bytes) -> Answer:
    """Run one request in one transaction; whatever it raises is rolled back, and becomes an answer."""
    route = ROUTES.get((method, path))
    if route is None:
        return 404, "application/json", '{"error": "no such page"}'
    try:
        return engine.run(lambda session: route(session, body))  # again after a deadlock or a lost connection
    except ForeignKeyViolation:
        return 404, "application/json", '{"error": "no such article"}'
    except CheckViolation as exc:
        if exc.table == "article":
            return 409, "application/json", '{"error": "not enough in stock"}'
        return 422, "application/json", '{"error": "a quantity is above 0"}'
    except (PoolTimeoutError, DisconnectionError):
        return 503, "application/json", '{"error": "try again in a moment"}'


def make_app(engine: Engine) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # before a connection is taken
        status, kind, text = handle(engine, environ["REQUEST_METHOD"], environ["PATH_INFO"], body)
        start_response(STATUS[status], [("Content-Type", kind)])
        return [text.encode()]

    return app


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, create_engine(*sys.argv[1:2] or [f"sqlite:///{folder}/x.db"]) as shop:
        prepare(shop)
        make_server("127.0.0.1", 8000, make_app(shop)).serve_forever()
