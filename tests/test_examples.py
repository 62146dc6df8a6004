"""The programs in examples/, run as a person runs them, on each database."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Database

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str) -> str:
    """Run one, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["script.py", "backend.py", "teaching.py"])
def test_they_are_short(name: str) -> None:
    """Readable top to bottom."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 120


@pytest.mark.parametrize("name", ["script.py", "teaching.py"])
def test_without_arguments(name: str) -> None:
    """On SQLite at once."""
    assert run(name)


def test_script(db: Database, tmp_path: Path) -> None:
    """Good rows are in, bad ones are counted, and a second run changes nothing."""
    path = tmp_path / "today.csv"
    path.write_text("article,quantity\ntea,5\nmate,3\ncocoa,7\ntea,-1\ntea,2\n")
    told = run("script.py", db.url, str(path))
    assert "3 rows imported" in told
    assert "1 rows left out: unknown article" in told
    assert "1 rows left out: bad quantity" in told
    again = subprocess.run(
        [sys.executable, str(EXAMPLES / "script.py"), db.url, str(path)], capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    assert (again.returncode, again.stdout) == (1, "today.csv was imported before; nothing was done\n")
    assert db.main.execute("select code, stock from article order by code").all() == [
        ("coffee", 0),
        ("mate", 3),
        ("tea", 7),
    ]
    for table in ("delivery", "article", "imported"):
        db.main.execute(f"drop table {table}")


def test_teaching(db: Database) -> None:
    """What it tells is so."""
    told = run("teaching.py", db.url)
    assert "sees 100 before COMMIT\n   and 0 after it" in told
    assert "110: lost" in told
    assert "120: cured" in told
    assert "REPEATABLE READ: reads 101, then 101" in told
    assert "READ COMMITTED: reads 100, then " + ("100" if db.kind == "sqlite" else "101") in told
    assert "nothing is lost: 200 together" in told
    assert "ann has 1, which was kept; bob has 100, as before" in told
    db.main.execute("drop table account")


class Client:
    """Requests to a WSGI application."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        status: list[str] = []
        sent = body.encode()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "CONTENT_LENGTH": str(len(sent)),
            "wsgi.input": io.BytesIO(sent),
        }
        text = b"".join(self._app(environ, lambda line, headers: status.append(line))).decode()
        return int(status[0].split()[0]), text


def test_backend(db: Database) -> None:
    """Statuses, the page, and that who was told 201 finds the order there; of ten at once no more are sold than there are."""
    spec = importlib.util.spec_from_file_location("backend", EXAMPLES / "backend.py")
    assert spec is not None
    assert spec.loader is not None
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    backend.prepare(db.main)
    call = Client(backend.make_app(db.main))
    assert call("POST", "/orders", '{"article": "tea", "quantity": 2}')[0] == 201
    assert db.main.execute("select quantity from orders").scalars() == [2]
    assert call("POST", "/orders", '{"article": "cocoa", "quantity": 2}')[0] == 404
    assert call("POST", "/orders", '{"article": "mate", "quantity": 4}')[0] == 409
    assert call("POST", "/orders", '{"article": "mate", "quantity": 0}')[0] == 422
    assert call("POST", "/orders", "nonsense")[0] == 422
    assert call("GET", "/nowhere")[0] == 404
    assert "<td>tea</td><td>8</td>" in call("GET", "/")[1]
    told: list[int] = []
    threads = [
        threading.Thread(target=lambda: told.append(call("POST", "/orders", '{"article": "mate", "quantity": 1}')[0]))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) == [201] * 3 + [409] * 7
    assert len(json.loads(call("GET", "/orders")[1])) == 4
    for table in ("orders", "article"):
        db.main.execute(f"drop table {table}")


def test_backend_without_a_database() -> None:
    """503, and the next request works as soon as there is one."""
    spec = importlib.util.spec_from_file_location("backend", EXAMPLES / "backend.py")
    assert spec is not None
    assert spec.loader is not None
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    from sessionkit import create_engine

    with create_engine("postgresql://127.0.0.1:1/x", pool_timeout=0.1) as engine:
        assert Client(backend.make_app(engine))("GET", "/")[0] == 503


@pytest.mark.parametrize("driver", ["postgresql+pg8000", "duckdb"])
def test_on_other_drivers(driver: str, postgres: Database, tmp_path: Path) -> None:
    """The lessons and the importer; what a database lacks it says by name."""
    url = f"duckdb:///{tmp_path}/x.duckdb" if driver == "duckdb" else postgres.url.replace("postgresql:", f"{driver}:")
    told = run("teaching.py", url)
    assert ("refused: DuckDB has no savepoints" in told) == (driver == "duckdb")
    assert "in the end nothing is lost: 200 together" in told
    if driver != "duckdb":
        path = tmp_path / "other.csv"
        path.write_text("article,quantity\ntea,5\ncocoa,7\n")
        assert "1 rows imported" in run("script.py", url, str(path))
