"""The programs of docs/recipes.md and docs/values.md, run as they stand, with what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Database

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (\w+).*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(text: str) -> tuple[str, str]:
    """Return a program and what it prints."""
    found = re.search(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1], found[2]


def printed(program: str, url: str) -> str:
    """Run a program in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe(db: Database, name: str) -> None:
    """On each database."""
    program, wanted = blocks(RECIPES[name])
    tables = re.findall(r"create table (\w+)", program)
    for table in tables:
        db.main.execute(f"drop table if exists {table}")  # other tests have tables of that name
    assert printed(program, db.url) == wanted
    for table in tables:
        db.main.execute(f"drop table {table}")


def test_the_program_of_the_values_page() -> None:
    """As it stands."""
    program, wanted = blocks((ROOT / "docs" / "values.md").read_text(encoding="utf-8"))
    assert printed(program, "") == wanted
