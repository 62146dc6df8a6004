"""The recording: what listens, keeps what it hears in a ring, and tells it as moments, text, JSON or a page."""

from __future__ import annotations

import json
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..options import whole
from ..registry import engines_of
from .moments import Lane, Moment, NameEvent, NoteEvent, Reader
from .watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..engine import Engine
    from ..events import Event
    from ..registry import Registry

RING = 100_000
"""How many events a recording keeps: the last ones. About 30 MB."""
_FORMAT = 1


class Recording:
    """
    What happened, as values. It can be looked at while it goes on.

    `name(session, "A")` calls a session's lane A, `note(session, text)` puts a text on it.
    """

    def __init__(self, keep: int = RING) -> None:
        self._raw: deque[tuple[float, str, Any]] = deque(maxlen=whole("keep", keep))
        self._heard = 0
        self._started = perf_counter()
        self._given: tuple[tuple[Lane, ...], tuple[Moment, ...], int] | None = None
        self._read: tuple[int, tuple[Lane, ...], tuple[Moment, ...]] = (-1, (), ())

    # -- taking in

    def hear(self, event: Event | Any) -> None:
        """Keep an event; this is what listens."""
        self._heard += 1
        self._raw.append((perf_counter(), current_thread().name, event))

    def name(self, session: Any, name: str, place: str | None = None) -> None:
        """Call the lane of a session by a name, and by another place than its file and line; before its first statement."""
        self.hear(NameEvent(id(session), name, place))

    def note(self, session: Any, text: str) -> None:
        """Put a text on a session's lane."""
        self.hear(NoteEvent(id(session), text))

    # -- giving out

    @property
    def dropped(self) -> int:
        """How many events the ring had no room for: the oldest."""
        return self._given[2] if self._given is not None else max(0, self._heard - (self._raw.maxlen or 0))

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The sessions, in the order in which they were first heard of."""
        return self._all()[0]

    @property
    def events(self) -> tuple[Moment, ...]:
        """What happened, in the order in which it was over."""
        return self._all()[1]

    def _all(self) -> tuple[tuple[Lane, ...], tuple[Moment, ...]]:
        if self._given is not None:
            return self._given[:2]
        heard = self._heard
        if self._read[0] != heard:
            reader = Reader(self._started)
            moments = tuple(reader.read(self._snapshot()))
            self._read = (heard, tuple(reader.lanes), moments)
        return self._read[1], self._read[2]

    def _snapshot(self) -> list[tuple[float, str, Any]]:
        while True:
            try:
                return list(self._raw)
            except RuntimeError:  # another thread has put something in meanwhile
                continue

    def follow(self) -> Iterator[list[tuple[tuple[Lane, ...], Moment]]]:
        """Yield, each time it is asked, what has come since the last time: moments, with the lanes as they were then."""
        reader = Reader(self._started)
        done = 0
        while True:
            kept = self._snapshot()
            first = self._heard - len(kept)
            new = kept[max(0, done - first) :]
            done = first + len(kept)
            yield [(tuple(reader.lanes), moment) for moment in reader.read(new)]

    def text(self, width: int = 80, colour: bool = False, only: str | None = None) -> str:
        """Return it as lanes side by side, for a terminal; `only` is slow, waits or errors."""
        from .text import text

        return text(self, width, colour, only)

    def html(self, title: str = "What the transactions did") -> str:
        """Return it as one HTML page that needs nothing else."""
        from .page import page

        return page(self, title)

    def save(self, path: str | Path) -> None:
        """
        Write it to a file: `.html` is the page, `.json` what `from_json` reads, anything else the text.

        A file that is there is replaced.
        """
        target = Path(path)
        made = {".html": self.html, ".json": self.to_json}.get(target.suffix, self.text)
        target.write_text(made(), encoding="utf-8")

    def to_json(self) -> str:
        """Return it as JSON: lanes and moments as lists of their fields."""
        return json.dumps({
            "format": _FORMAT, "dropped": self.dropped, "lanes": self.lanes, "events": self.events,
        }, separators=(",", ":"), ensure_ascii=False)  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Recording:
        """
        Return the recording that `to_json` wrote.

        Raises:
            ArgumentError: it is none.
        """
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT:
                raise ValueError(f"format {data['format']!r}")
            lanes = tuple([Lane(*lane) for lane in data["lanes"]])
            given = lanes, tuple([Moment(*moment) for moment in data["events"]]), int(data["dropped"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ArgumentError(
                f"this is no recording that to_json() wrote ({type(exc).__name__}: {exc}); save one with recording.save('x.json')"
            ) from None
        found = cls()
        found._given = given
        return found

    def __repr__(self) -> str:
        return f"<Recording: {len(self.events)} moments, {len(self.lanes)} lanes, {self.dropped} dropped>"


@contextmanager
def record(bind: Engine | Registry | list[Engine], *, keep: int = RING, watch: bool = True) -> Iterator[Recording]:
    """
    Record what sessions of an engine, or of each engine of a registry, do in the block, in all threads.

    The last `keep` events are kept. With `watch`, a thread asks who waits for whom as soon as a statement has taken 50 ms, on a
    connection of its own for each database.
    """
    engines = bind if isinstance(bind, list) else engines_of(bind, "record()")
    recording = Recording(keep)
    watcher = Watcher(recording.hear) if watch else None
    stops = []
    try:
        for engine in engines:
            stops.append(attach(engine, recording, watcher))
        yield recording
    finally:
        for stop in stops:
            stop()
        if watcher is not None:
            watcher.stop()


def attach(engine: Engine, recording: Recording, watcher: Watcher | None) -> Callable[[], object]:
    """Let a recording hear of an engine; return the function that ends it."""
    if watcher is None:
        return engine.listen(recording.hear)
    ended, keep = watcher.ended, recording.hear

    def hear(event: Event) -> None:
        """Tell both."""
        ended(event)
        keep(event)

    return engine.listen(hear, watcher.started(engine))
