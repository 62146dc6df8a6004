"""The twelve lessons: each is played on the three databases, where it checks what it claims."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError
from sessionkit.lessons import NAMES, lesson, title
from sessionkit.lessons.stage import stage

if TYPE_CHECKING:
    from .conftest import Database

ROOT = Path(__file__).parent.parent
SIGNS = {
    1: ["COMMIT"], 2: ["CheckViolation", "ROLLBACK"], 3: ["reads 10"], 4: ["reads 100"], 5: ["waits for"], 6: ["SAVEPOINT", "ROLLBACK TO"],
    7: ["the same object: True"], 8: ["no connection in time"], 9: ["UPDATE"], 10: ["COMMIT"], 11: ["reads 2"], 12: ["COMMIT failed"],
}  # fmt: skip
"""What is to be seen in the timeline of each."""


@pytest.mark.parametrize("number", range(1, 13))
def test_a_lesson(number: int, db: Database) -> None:
    """It plays, its claims hold, its timeline shows them, and nothing is left behind."""
    found = lesson(number)
    url = None if db.kind == "sqlite" else db.url
    with stage(url) as played:
        answer = found.lesson(played)
        assert answer.endswith((".", ")"))
        shown = " ".join(played.recording.text(400).split())
        for sign in SIGNS[number]:
            assert sign in shown
        assert len(played.recording.lanes) >= (1 if number in (2, 6, 10, 12) else 2)
    if number == 5 and db.kind == "postgres":
        assert "DeadlockError" in shown
    if number == 10 and db.kind != "sqlite":
        assert "COMMIT failed → CommitUnknownError" in shown
    if number == 11 and db.kind == "postgres":
        assert "REPEATABLE READ: 0; SERIALIZABLE: 1" in answer
    if db.kind != "sqlite":
        left = db.main.execute("select table_name from information_schema.tables where table_name like 'lesson%'")
        assert left.scalars() == []


def test_a_lesson_can_be_read() -> None:
    """Under sixty lines, a title, something to notice, a question."""
    assert len({title(lesson(number)) for number in range(1, 13)}) == len(NAMES) == 12
    for number in range(1, 13):
        found: Any = lesson(number)
        assert len(inspect.getsource(found).splitlines()) <= 75
        assert len(inspect.getsource(found.lesson).splitlines()) < 60
        assert found.QUESTION.endswith("?")
        assert found.NOTICE.endswith(".")


def learn(*arguments: str) -> Any:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "sessionkit", "learn", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def test_the_command(tmp_path: Path) -> None:
    """The list, a lesson with its program and its page; a number that is none."""
    listed = learn()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "  3  The lost update, and three cures\n" in listed.stdout
    played = learn("3", "--source", "--html", str(tmp_path / "out.html"))
    assert (played.returncode, played.stderr) == (0, "")
    for part in (
        "3. The lost update",
        "def lesson(stage",
        "reads 10",
        "Notice: B writes 7",
        "Question: ",
        "Answer: Read and write: 7",
    ):
        assert part in played.stdout
    assert max(map(len, played.stdout.splitlines())) < 130
    assert "reads 10" in (tmp_path / "out.html").read_text(encoding="utf-8")
    wrong = learn("13")
    assert (wrong.returncode, wrong.stderr) == (2, "sessionkit: there is no lesson 13; they are 1 to 12\n")
    memory = learn("1", "--url", "sqlite://")
    assert memory.returncode == 2
    assert "SQLite in a file, PostgreSQL or MySQL" in memory.stderr


def test_what_is_no_lesson() -> None:
    """Said."""
    with pytest.raises(ArgumentError, match="no lesson 0"):
        lesson(0)
