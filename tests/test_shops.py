"""The two shops of examples/, tested as a user would: in a sandbox, with the frameworks' test clients; then run for real."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from sessionkit import create_engine
from sessionkit.testing import sandbox
from sessionkit.testing.servers import free_port

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


LOADED = """import os
from examples.{framework}_shop import create_app as make
from sessionkit import create_engine

def create_app():
    return make(create_engine(os.environ["DATABASE_URL"], pool_size=2))
"""
REQUESTS = int(os.environ.get("SESSIONKIT_SHOP_REQUESTS", "400"))


@pytest.mark.parametrize("db", ["postgres"], indirect=True)
@pytest.mark.parametrize("framework", ["flask", "fastapi"])
@pytest.mark.timeout(100 + REQUESTS // 10)
def test_run_for_real(framework: str, empty: Engine, tmp_path: Path) -> None:
    """Workers, eight clients, backends killed meanwhile: every 201 is there, no stock is negative, nothing stays in a transaction."""
    engine, module, port = empty, shop_of(framework), free_port()
    module.create_tables(engine)
    engine.execute("update article set stock = ?", (REQUESTS // 2 - 10,))
    (tmp_path / "loaded_shop.py").write_text(LOADED.format(framework=framework))
    python = [sys.executable, "-W", "ignore", "-m"]
    command = {
        "flask": [*python, "gunicorn", "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{port}", "loaded_shop:create_app()"],
        "fastapi": [*python, "uvicorn", "--factory", "--workers", "2", "--port", str(port), "--log-level", "warning", "loaded_shop:create_app"],
    }[framework]  # fmt: skip
    env = {**os.environ, "DATABASE_URL": str(engine.url), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    answers: list[tuple[int, str, float]] = []
    try:
        _until_up(port)
        clients = [threading.Thread(target=_order, args=(port, REQUESTS // 8, answers)) for _ in range(8)]
        begun, killed = time.monotonic(), 0
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            time.sleep(0.1)
            killed += engine.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend' "
                "and query like '%article%' limit 1"
            ).rowcount
        for client in clients:
            client.join()
        spent = time.monotonic() - begun
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()
    told = [ident for status, ident, _ in answers if status == 201]
    kept = set(engine.execute("select id from orders").scalars())
    stock = engine.execute("select min(stock), sum(stock) from article").one()
    idle = engine.execute("select count(*) from pg_stat_activity where state like 'idle in transaction%'").scalar()
    ordered = engine.execute("select coalesce(sum(quantity), 0) from orders").scalar()
    assert len(answers) == REQUESTS // 8 * 8
    assert {status for status, _, _ in answers} <= {201, 409, 500, 503}, (tmp_path / "log").read_text()[-3000:]
    assert len(told) > REQUESTS // 2
    assert set(told) <= kept
    assert stock[0] >= 0
    assert stock[1] + ordered == 2 * (REQUESTS // 2 - 10)
    assert idle == 0
    slowest = max(took for _, _, took in answers)
    counts = Counter(status for status, _, _ in answers)
    print(
        f"{framework}: {dict(counts)}, {len(answers) / spent:.0f} a second, slowest {slowest:.2f} s, {killed} backends killed"
    )


def _until_up(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _order(port: int, count: int, answers: list[tuple[int, str, float]]) -> None:
    for number in range(count):
        data = json.dumps({"article": ("tea", "coffee")[number % 2], "quantity": 1}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/orders", data, {"Content-Type": "application/json"}, method="POST"
        )
        started = time.monotonic()
        try:
            with urllib.request.urlopen(asked, timeout=30) as found:
                answers.append((found.status, json.loads(found.read())["id"], time.monotonic() - started))
        except urllib.error.HTTPError as exc:
            exc.close()
            answers.append((exc.code, "", time.monotonic() - started))
