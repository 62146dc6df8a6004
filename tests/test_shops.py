"""The two shops of examples/, tested as a user would: in a sandbox, with the frameworks' test clients; then run for real."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from sessionkit import create_engine
from sessionkit.testing import sandbox

from . import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine

    from .conftest import Database

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def shop_of(framework: str) -> Any:
    """Return the example's module."""
    spec = importlib.util.spec_from_file_location(f"{framework}_shop", ROOT / "examples" / f"{framework}_shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def empty(db: Database) -> Iterator[Engine]:
    """An engine on an empty database of the shop's own: other tests leave tables whose names it uses."""
    url = db.url
    if db.kind != "sqlite":
        for words in ("drop database if exists shop", "create database shop"):
            db.main.execute(words)
        url = f"{url.rpartition('/')[0]}/shop"
    with create_engine(url, pool_timeout=10) as engine:
        yield engine
    if db.kind != "sqlite":
        db.main.execute("drop database shop")


@pytest.fixture(params=["flask", "fastapi"])
def shop(request: pytest.FixtureRequest, empty: Engine) -> Iterator[tuple[Any, Engine]]:
    """A test client of each shop on each database, in a sandbox, and its engine."""
    module = shop_of(request.param)
    module.create_tables(empty)
    with sandbox(empty):
        app = module.create_app(empty)
        yield (app.test_client() if request.param == "flask" else TestClient(app)), empty
    assert empty.execute("select count(*) from orders").scalar() == 0


def body(found: Any) -> Any:
    """Return the JSON of a response."""
    return found.json() if callable(found.json) else found.json


def test_an_order(shop: tuple[Any, Engine]) -> None:
    """It is there, the stock is less, the CSV has it, the page shows it."""
    client, _ = shop
    ordered = client.post("/orders", json={"article": "tea", "quantity": 2})
    assert ordered.status_code == 201
    ident = body(ordered)["id"]
    assert body(client.get(f"/orders/{ident}")) == {"id": ident, "article": "tea", "quantity": 2}
    assert body(client.get("/stock/tea")) == {"code": "tea", "stock": 8}
    assert client.get("/orders.csv").text == f"id,article,quantity\n{ident},tea,2\n"
    assert "tea: 8 left" in client.get("/").text
    assert body(client.get("/health"))["default"]["ok"]


def test_what_cannot_be(shop: tuple[Any, Engine]) -> None:
    """409 without stock, 404 for what is not there, nothing is kept."""
    client, engine = shop
    assert client.post("/orders", json={"article": "tea", "quantity": 11}).status_code == 409
    assert client.post("/orders", json={"article": "milk", "quantity": 1}).status_code == 409
    assert client.get("/stock/milk").status_code == 404
    assert client.get("/orders/x").status_code == 404
    assert engine.execute("select sum(stock) from article").scalar() == 20


def test_the_form(empty: Engine) -> None:
    """A browser gets a page, and a redirect after an order."""
    module = shop_of("flask")
    module.create_tables(empty)
    with sandbox(empty):
        client = module.create_app(empty).test_client()
        assert client.post("/orders", data={"article": "tea", "quantity": "3"}).status_code == 303
        refused = client.post("/orders", data={"article": "<b>", "quantity": "3"})
        assert refused.status_code == 409
        assert "not enough &lt;b&gt;" in refused.text
        assert "tea: 7 left" in client.get("/").text


REQUESTS = int(os.environ.get("SESSIONKIT_SHOP_REQUESTS", "400"))


@pytest.mark.parametrize("db", ["postgres"], indirect=True)
@pytest.mark.parametrize("framework", ["flask", "fastapi"])
@pytest.mark.timeout(100 + REQUESTS // 10)
def test_run_for_real(framework: str, empty: Engine, tmp_path: Path) -> None:
    """Workers, eight clients, backends killed meanwhile: every 201 is there, no stock is negative, nothing stays in a transaction."""
    shop_of(framework).create_tables(empty)
    maker = f"from examples.{framework}_shop import create_app as make\nfrom sessionkit import create_engine"
    program = f"{maker}\n\ndef create_app():\n    return make(create_engine(URL, pool_size=2))\n"
    print(framework, load.run(framework, program, empty, tmp_path, REQUESTS))
