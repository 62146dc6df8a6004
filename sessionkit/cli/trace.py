"""`trace`: run a program, and show what its transactions did."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import on_create
from ..trace.explain import MARKS, Words
from ..trace.recording import Recording, attach
from ..trace.text import chosen
from ..trace.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from ..engine import Engine

FOLLOWING = 0.1
"""Seconds between two looks at what has come."""


def trace(program: str, arguments: Sequence[str], save: str | None, only: str | None, follow: bool) -> int:
    """Run `program` as `python program` does, and show its timeline on standard error, or save it; return its exit code."""
    if only is not None:
        chosen(only)
    if not Path(program).is_file():
        print(f"error: there is no program {program!r}", file=sys.stderr)
        return 2
    with whole_program() as recording, following(recording, follow, only):
        code = _run(program, arguments)
    if save is not None:
        recording.save(save)
        print(f"{len(recording.events)} moments: {save}", file=sys.stderr)
    elif not follow:
        width = shutil.get_terminal_size((80, 24)).columns
        print(recording.text(width, is_coloured(sys.stderr), only), end="", file=sys.stderr)
    return code


def is_coloured(stream: TextIO) -> bool:
    """Tell whether colours are wanted: on a terminal, and NO_COLOR is not set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


@contextmanager
def whole_program() -> Iterator[Recording]:
    """Record every engine that is made in the block."""
    recording = Recording()
    watcher = Watcher(recording.hear)

    def made(engine: Engine) -> None:
        """Listen to it."""
        attach(engine, recording, watcher)

    on_create.append(made)
    try:
        yield recording
    finally:
        on_create.remove(made)
        watcher.stop()


@contextmanager
def following(recording: Recording, wanted: bool, only: str | None) -> Iterator[None]:
    """Print each moment while it happens, if that is wanted."""
    if not wanted:
        yield
        return
    is_over = threading.Event()
    shown = chosen(only) if only is not None else lambda moment: True
    moments = recording.follow()

    def look() -> None:
        """Print what has come."""
        for lanes, moment in next(moments):
            if shown(moment):
                name = lanes[moment.lane].name if moment.lane is not None else ""
                title = Words(lanes, ()).title(moment)
                print(f"{moment.at + moment.seconds:8.3f} {name:12} {MARKS[moment.kind]} {title}", file=sys.stderr)

    def watch() -> None:
        """Look again and again."""
        while not is_over.wait(FOLLOWING):
            look()
        look()

    thread = threading.Thread(target=watch, name="sessionkit trace --follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _run(program: str, arguments: Sequence[str]) -> int:
    before, path = sys.argv, sys.path[:]
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).resolve().parent))
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as exc:
        if exc.code is None or isinstance(exc.code, int):
            return exc.code or 0
        print(exc.code, file=sys.stderr)
        return 1
    except BaseException as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
        return 1
    finally:
        sys.argv, sys.path[:] = before, path
    return 0
