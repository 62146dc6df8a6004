"""The README's programs run as they stand, and links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sessionkit
from sessionkit import create_engine

if TYPE_CHECKING:
    from .conftest import Database

ROOT = Path(__file__).parent.parent


def programs(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def check_first_program(url: str) -> None:
    """Run the README's first program on a database without its table."""
    with create_engine(url) as engine:
        engine.execute("drop table if exists account")
    done = subprocess.run(
        [sys.executable, "-c", programs("README.md")[0]], env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    with create_engine(url) as engine:
        engine.execute("drop table if exists account")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused, and nothing happened: update account set balance = balance - :n")
    assert done.stdout.endswith("owner  balance\n-----  -------\nann        100\nbob         50\n")


def test_the_first_program_runs_unchanged(db: Database) -> None:
    """On each database, with nothing but another DATABASE_URL."""
    check_first_program(db.url)


def test_the_first_program_on_the_other_drivers(postgres: Database, mariadb: Database, tmp_path: Path) -> None:
    """Six URLs with those above; mysqlclient's where it is installed (tox -e mysqlclient)."""
    urls = [postgres.url.replace("postgresql:", "postgresql+pg8000:"), f"duckdb:///{tmp_path}/x.duckdb"]
    if find_spec("MySQLdb") is not None:
        urls.append(mariadb.url.replace("mysql:", "mysql+mysqldb:"))
    for url in urls:
        check_first_program(url)


def test_the_second_program_runs() -> None:
    """Entities, two databases, identity."""
    done = subprocess.run(
        [sys.executable, "-c", programs("README.md")[1]], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ["docs/index.md", "docs/howto.md", "docs/aio.md", "docs/tracing.md"])
def test_the_programs_of_a_page(page: str, tmp_path: Path) -> None:
    """Each by itself, as it stands, in an empty folder."""
    for program in programs(page):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60,
            check=False, env={**{k: v for k, v in os.environ.items() if k != "DATABASE_URL"}, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), program


def test_the_tutorial(tmp_path: Path) -> None:
    """Its files, one after the other, as a reader makes them: each program runs, and the tests pass."""
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["shop.py", "orders.py", "many.py", "app.py", "conftest.py", "test_shop.py"]
    env = {**{k: v for k, v in os.environ.items() if k != "DATABASE_URL"}, "PYTHONPATH": str(ROOT)}
    printed = {}
    for name, program in files:
        (tmp_path / name).write_text(program, encoding="utf-8")
    for name in ("shop.py", "orders.py", "many.py"):
        done = subprocess.run(
            [sys.executable, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=env
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        printed[name] = done.stdout
    assert "Row(code='coffee', stock=10), Row(code='tea', stock=10)" in printed["shop.py"]
    assert "not enough tea\n[Row(article='tea', quantity=2)]" in printed["orders.py"]
    assert printed["many.py"] == "10 of 40 got tea\n"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=env,
    )  # fmt: skip
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout


def test_the_reference_is_complete() -> None:
    """Every public name of sessionkit, and every door, is in it."""
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"auto(?:class|function):: (?:sessionkit\.)?(\w+)$", text, re.MULTILINE))
    errors = {name for name in vars(sessionkit.errors) if name[0].isupper()}
    assert set(sessionkit.__all__) - named - errors == set()
    for door in ("aio", "trace", "testing", "web.flask", "web.starlette", "otel", "dbapi", "events", "errors"):
        assert f"sessionkit.{door}" in text


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/design.md",
        "docs/drivers.md",
        "docs/performance.md",
        "docs/values.md",
        "docs/recipes.md",
        "docs/testing.md",
        "docs/web.md",
        "docs/howto.md",
        "docs/aio.md",
        "docs/tracing.md",
        "docs/servers.md",
        "docs/tutorial.md",
        "docs/index.md",
        "docs/comparison.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the project."""
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
