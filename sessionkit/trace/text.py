"""A recording for a terminal: time downward, a column for each session."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from .explain import MARKS, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .moments import Lane, Moment
    from .recording import Recording

_CLOCK = 9
"""Columns that the time takes."""
_LEAST = 22
"""Columns that a lane takes at least; where more lanes than fit are, the rest share the last column."""
_MOST = 4
"""Lines that a moment takes at most."""
COLOURS = (36, 33, 35, 32, 34, 31)
"""ANSI colours, one for each transaction in turn."""
SLOW = 0.05

CHOICES: dict[str, Callable[[Moment], bool]] = {
    "slow": lambda moment: moment.seconds >= SLOW,
    "waits": lambda moment: moment.kind in ("waits", "pool", "turn"),
    "errors": lambda moment: moment.error is not None or moment.kind in ("lost", "commit failed"),
}
"""What `only` can be."""


def text(recording: Recording, width: int = 80, colour: bool = False, only: str | None = None) -> str:
    """
    Return the lanes side by side in `width` columns.

    Raises:
        ArgumentError: `only` is none of slow, waits, errors.
    """
    lanes, moments = recording.lanes, recording.events
    if only is not None:
        moments = tuple(filter(chosen(only), moments))
    show = Columns(lanes, Words(lanes, recording.events), width, colour)
    lines = [*show.head(), *(line for moment in in_order(moments) for line in show.rows(moment))]
    if recording.dropped:
        lines.append(f"({recording.dropped} earlier events were dropped)")
    return "\n".join(lines) + "\n"


def chosen(only: str) -> Callable[[Moment], bool]:
    """Return what tells whether a moment is to be shown."""
    if only not in CHOICES:
        raise ArgumentError(f"only is slow, waits or errors; got {only!r}")
    return CHOICES[only]


def in_order(moments: Sequence[Moment]) -> list[Moment]:
    """Return moments by the time at which there is something to say: a wait when it begins, the rest when it is over."""
    return sorted(moments, key=lambda one: (one.at if one.kind == "waits" else one.at + one.seconds, one.number))


class Columns:
    """Lays moments out for so many columns."""

    def __init__(self, lanes: Sequence[Lane], words: Words, width: int, colour: bool) -> None:
        room = max(width - _CLOCK, _LEAST)
        self._count = max(1, min(len(lanes), room // _LEAST))
        self._wide = room // self._count
        self._lanes = lanes
        self._words = words
        self._colour = colour

    def head(self) -> list[str]:
        """Return the names of the lanes, and where their sessions were made."""
        shown = list(self._lanes[: self._count])
        if len(self._lanes) > self._count:
            shown.pop()
            others = len(self._lanes) - len(shown)
            names = [*(lane.name for lane in shown), f"({others} more)"]
        else:
            names = [lane.name for lane in shown]
        places = [lane.place for lane in shown]
        rule = " " * _CLOCK + "".join("─" * (self._wide - 1) + " " for _ in names)
        heads = [names, places] if any(places) else [names]
        return [*(self._line("", cells) for cells in heads), rule.rstrip()]

    def rows(self, moment: Moment) -> list[str]:
        """Return the lines of a moment."""
        lane = min(moment.lane or 0, self._count - 1)
        prefix = f"{self._lanes[moment.lane].name}: " if moment.lane is not None and moment.lane > lane else ""
        words = f"{MARKS.get(moment.kind, ' ')} {prefix}{self._words.title(moment)}"
        cells = wrap(words, self._wide - 1, subsequent_indent="  ", max_lines=_MOST, placeholder=" …")
        clock = f"{moment.at if moment.kind == 'waits' else moment.at + moment.seconds:7.3f}"
        before = " " * (_CLOCK + lane * self._wide)
        return [
            (before if number else clock + before[len(clock) :]) + self._painted(cell, moment)
            for number, cell in enumerate(cells)
        ]

    def _line(self, clock: str, cells: Sequence[str]) -> str:
        padded = [cell[: self._wide - 1].ljust(self._wide) for cell in cells]
        return (clock.ljust(_CLOCK) + "".join(padded)).rstrip()

    def _painted(self, cell: str, moment: Moment) -> str:
        if not self._colour:
            return cell
        if moment.error or moment.kind in ("lost", "commit failed"):
            return f"\x1b[1;31m{cell}\x1b[0m"
        if moment.kind in ("waits", "pool", "turn"):
            return f"\x1b[1;33m{cell}\x1b[0m"
        number = moment.transaction
        return cell if number is None else f"\x1b[{COLOURS[number % len(COLOURS)]}m{cell}\x1b[0m"
