"""What the playground's page calls: here with threads, in WebAssembly (`tox -e pyodide`) without."""

from __future__ import annotations

from typing import Any

import pytest

from sessionkit.lessons.playground import play, programs

PROGRAMS = programs()


@pytest.mark.parametrize("program", PROGRAMS, ids=[program["title"] for program in PROGRAMS])
def test_a_program(program: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs outside of the package, says something, and its timeline shows what it did."""
    monkeypatch.chdir(tmp_path)
    printed, page = play(program["source"])
    assert "Traceback" not in printed
    assert ("Answer: " in printed) == bool(program["lesson"])
    assert '"kind":"commit"' in page or '"kind":"rollback"' in page


def test_a_program_that_is_wrong() -> None:
    """The error is shown, from the program's own line on; what ran until then is on the page."""
    printed, page = play(
        "from sessionkit import create_engine\ncreate_engine('sqlite://').execute('select 1')\n1 / 0\n"
    )
    assert printed.splitlines()[:2] == [
        "Traceback (most recent call last):",
        '  File "program.py", line 3, in <module>',
    ]
    assert "ZeroDivisionError: division by zero" in printed
    assert '"text":"select 1"' in page
    assert "AssertionError" in play("def lesson(stage):\n    assert stage.looks('select 1') == [2]\n")[0]
    assert "SyntaxError" in play("def")[0]
