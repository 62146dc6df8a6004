"""A shop in Flask: orders and stock. Each request has one session, committed before the response leaves.

pip install 'dbapi-sessionkit[flask]'
python examples/flask_shop.py                                  # http://127.0.0.1:8000, a temporary SQLite file
DATABASE_URL=postgresql://app@localhost/shop gunicorn -w 2 --threads 4 'examples.flask_shop:create_app()'

curl http://127.0.0.1:8000/                                    # the stock, as a page
curl -d article=tea -d quantity=2 http://127.0.0.1:8000/orders
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flask import Flask, Response, abort, redirect, render_template_string, request, stream_with_context

from sessionkit import Engine, create_engine
from sessionkit.web.flask import SessionKit

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = [
    "create table if not exists article (code varchar(20) primary key, stock integer not null check (stock >= 0))",
    "create table if not exists orders (id varchar(36) primary key, article varchar(20) not null, quantity integer not null "
    "check (quantity > 0), foreign key (article) references article (code))",
]
PAGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Shop</title>
<style>:root { color-scheme: light dark } label { display: block; margin-bottom: 1rem }
body { font: 1rem/1.5 system-ui; margin: 2rem auto; max-width: 30rem; padding: 0 1rem }</style>
<h1>Shop</h1>{% if error %}<p role="alert"><strong>{{ error }}</strong></p>{% endif %}
<ul>{% for code, stock in stock %}<li>{{ code }}: {{ stock }} left</li>{% endfor %}</ul>
<form method="post" action="/orders"><label>Article <input name="article" required></label>
<label>How many <input name="quantity" type="number" value="1" min="1" required></label> <button>Order</button></form></html>"""


def create_tables(engine: Engine) -> None:
    """Make the tables, and put ten of two articles into an empty shop."""
    for words in SCHEMA:
        engine.execute(words)
    with engine.begin() as session:
        if session.scalar("select count(*) from article") == 0:
            session.executemany("insert into article values (?, 10)", [("tea",), ("coffee",)])


def create_app(engine: Engine | None = None) -> Flask:
    """Return the application on an engine, or on DATABASE_URL."""
    if engine is None:
        engine = create_engine(os.environ["DATABASE_URL"])
        create_tables(engine)
    app = Flask(__name__)
    db = SessionKit(app, engine)
    app.add_url_rule("/health", view_func=db.health)

    def page(error: str | None = None) -> str:
        return render_template_string(
            PAGE, error=error, stock=db.session.execute("select * from article order by code").all()
        )

    @app.get("/")
    def index() -> str:
        return page()

    @app.get("/stock/<code>")
    def stock(code: str) -> dict[str, Any]:
        row = db.session.execute("select code, stock from article where code = ?", (code,)).first()
        return row._asdict() if row else abort(404)

    @app.post("/orders")
    def order() -> Any:
        wanted = request.get_json() if request.is_json else request.form
        article, quantity = wanted["article"], int(wanted["quantity"])
        taken = db.session.execute(
            "update article set stock = stock - :n where code = :code and stock >= :n", {"n": quantity, "code": article}
        )
        if taken.rowcount == 0:
            told = f"not enough {article}"
            return ({"error": told} if request.is_json else page(told)), 409
        ident = str(uuid4())
        db.session.execute("insert into orders values (?, ?, ?)", (ident, article, quantity))
        return ({"id": ident}, 201) if request.is_json else redirect("/", 303)

    @app.get("/orders/<ident>")
    def one_order(ident: str) -> dict[str, Any]:
        row = db.session.execute("select * from orders where id = ?", (ident,)).first()
        return row._asdict() if row else abort(404)

    @app.get("/orders.csv")
    def orders_csv() -> Response:
        def lines() -> Iterator[str]:  # sent while it is read, in a session of its own
            yield "id,article,quantity\n"
            with db.session.stream("select id, article, quantity from orders order by id", into=tuple) as rows:
                for row in rows:
                    yield f"{row[0]},{row[1]},{row[2]}\n"

        return Response(stream_with_context(lines()), mimetype="text/csv")

    return app


if __name__ == "__main__":
    with create_engine(f"sqlite:///{tempfile.mkdtemp()}/shop.db") as shop:
        create_tables(shop)
        create_app(shop).run(port=8000)
