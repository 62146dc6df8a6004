"""`learn`: twelve lessons, each played for real."""

from __future__ import annotations

import inspect
import shutil
import sys
from textwrap import fill
from typing import TYPE_CHECKING

from ..lessons import NAMES, lesson, title
from ..lessons.stage import stage
from .trace import is_coloured

if TYPE_CHECKING:
    from pathlib import Path


def learn(number: int | None, url: str | None, html: str | Path | None, source: bool) -> int:
    """List the lessons, or play one: what happens, its timeline, what to notice, a question, and its answer."""
    if number is None:
        print("Twelve lessons on transactions. Play one: python -m sessionkit learn 3\n")
        for nth in range(1, len(NAMES) + 1):
            print(f"{nth:3}  {title(lesson(nth))}")
        print("\n--url DATABASE plays it there; --html FILE writes its timeline as a page; --source shows its program.")
        return 0
    found, width = lesson(number), min(shutil.get_terminal_size((80, 24)).columns, 120)
    told = inspect.getdoc(found) or ""
    print(f"{number}. {title(found)}\n")
    print(fill(" ".join(told.split("\n\n", 1)[-1].split()), width))
    if source:
        print(f"\n{inspect.getsource(found.lesson)}")
    with stage(url) as played:
        answer = found.lesson(played)
    print(f"\n{played.recording.text(width, is_coloured(sys.stdout))}")
    for head, text in (("Notice", found.NOTICE), ("Question", found.QUESTION), ("Answer", answer)):
        print(fill(f"{head}: {text}", width))
    if html is not None:
        played.recording.save(html)
        print(f"\nThe timeline: {html}")
    return 0
