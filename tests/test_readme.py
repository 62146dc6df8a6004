"""The README's programs, and the driver of docs/drivers.md, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessionkit.testing import DriverContract

from .test_contract import OnServer

if TYPE_CHECKING:
    from sessionkit import Engine

    from .conftest import Database

ROOT = Path(__file__).parent.parent


def programs(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_first_program_runs_unchanged(db: Database) -> None:
    """On each database, with nothing but another DATABASE_URL."""
    db.main.execute("drop table if exists account")
    env = {**os.environ, "DATABASE_URL": db.url, "PYTHONPATH": str(ROOT)}
    program = programs("README.md")[0]
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    db.main.execute("drop table if exists account")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused, and nothing happened: update account set balance = balance - :n")
    assert done.stdout.endswith("owner  balance\n-----  -------\nann        100\nbob         50\n")


def test_the_second_program_runs() -> None:
    """Entities, two databases, identity."""
    done = subprocess.run(
        [sys.executable, "-c", programs("README.md")[1]], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


class TestTheDriverOfTheDocs(OnServer):
    """It keeps the contract."""

    kind = "postgres"

    def make_engine(self) -> Engine:
        """Return an engine on the driver as the page has it."""
        namespace: dict[str, object] = {"__name__": "docs"}
        exec(compile(programs("docs/drivers.md")[0], "docs/drivers.md", "exec"), namespace)
        make = namespace["make_engine"]
        assert callable(make)
        engine: Engine = make(self.url)
        return engine


def test_the_driver_of_the_docs_is_short() -> None:
    """About thirty lines."""
    code = [line for line in programs("docs/drivers.md")[0].splitlines() if line.strip()]
    assert len(code) <= 35
    assert issubclass(TestTheDriverOfTheDocs, DriverContract)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/design.md",
        "docs/drivers.md",
        "docs/performance.md",
        "docs/values.md",
        "docs/recipes.md",
        "CONTRIBUTING.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the project."""
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
