"""What the playground's page calls: run a program's text, and return what it printed and its timeline."""

from __future__ import annotations

import io
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from ..engine import on_create
from ..trace.recording import Recording, attach
from . import NAMES, lesson, title
from .stage import stage


def play(source: str) -> tuple[str, str]:
    """Run a program; one that defines `lesson(stage)` is played. Return what it printed, its errors included, and its page."""
    printed, recording = io.StringIO(), Recording()
    found: dict[str, Any] = {"__name__": "__main__"}
    engines: list[Any] = []

    def made(engine: Any) -> None:
        """Record an engine of the program."""
        engines.append(engine)
        attach(engine, recording, None)

    with redirect_stdout(printed), redirect_stderr(printed):
        on_create.append(made)
        try:
            exec(compile(source, "program.py", "exec"), found)
        except BaseException:
            _complain()
        finally:
            on_create.remove(made)
            for engine in engines:
                engine.dispose()
        if callable(found.get("lesson")):
            recording = _play(found)
    return printed.getvalue(), recording.html("What the transactions did")


def _play(found: dict[str, Any]) -> Recording:
    with stage() as played:
        try:
            answer = found["lesson"](played)
            for head in ("NOTICE", "QUESTION"):
                if head in found:
                    print(f"{head.capitalize()}: {found[head]}")
            print(f"Answer: {answer}")
        except BaseException:
            _complain()
        return played.recording


def _complain() -> None:
    """Show an error as a learner wants to see it: the lines of the program, and what was wrong."""
    lines = traceback.format_exc().splitlines()
    at = next((number for number, line in enumerate(lines) if 'File "program.py"' in line), 1)
    print("\n".join([lines[0], *lines[at:]]))


def programs() -> list[dict[str, Any]]:
    """Return what the page offers: a program of one's own, and the lessons, as a program outside of this package spells them."""
    found: list[dict[str, Any]] = [{"title": "A first program", "source": FIRST, "lesson": 0}]
    for number in range(1, len(NAMES) + 1):
        module = lesson(number)
        with open(str(module.__file__), encoding="utf-8") as file:
            text = file.read()
        text = text.replace("from .stage", "from sessionkit.lessons.stage").replace("from ..", "from sessionkit.")
        found.append({"title": f"{number}. {title(module)}", "source": text, "lesson": number})
    return found


FIRST = """from sessionkit import CheckViolation, create_engine

engine = create_engine("sqlite:///shop.db")
engine.execute("drop table if exists account")
engine.execute("create table account (owner text primary key, balance integer check (balance >= 0))")

with engine.begin() as session:                     # COMMIT at the end of the block
    session.execute("insert into account values ('ann', 100), ('bob', 0)")


def transfer(session, amount):
    session.execute("update account set balance = balance + ? where owner = 'bob'", [amount])
    session.execute("update account set balance = balance - ? where owner = 'ann'", [amount])


engine.run(transfer, 30)
try:
    engine.run(transfer, 500)                       # Ann has not so much: ROLLBACK, Bob's money too
except CheckViolation as exc:
    print("refused:", exc)

print(engine.execute("select * from account").all())
"""
