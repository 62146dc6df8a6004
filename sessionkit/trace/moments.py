"""What a recording is made of: moments, each on the lane of a session; and how they come from events."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from ..events import ConnectionEvent, RetryEvent, StatementEvent, TransactionEvent
from ..pool.lease import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..events import Origin

MAIN = "MainThread"
"""The thread whose name says nothing: sessions in it are called by where they were made."""
WAITED = 0.001
"""Seconds from which waiting for a connection, or for the turn to write, is shown."""
ENDS = ("commit", "rollback", "commit failed", "lost", "ended")
"""The kinds of moments that end a transaction."""


class Lane(NamedTuple):
    """A session, or several one after the other that were made at the same `place` (file:line); `name` is what it is called."""

    number: int
    name: str
    place: str


class Moment(NamedTuple):
    """
    Something that happened. `at` is when it began, in seconds since the recording did; `seconds` how long it took.

    `kind` is statement, begin, commit, rollback, savepoint, release, rollback to, prepare, commit failed, lost, ended, waits (for
    another session's lock), pool (waited for a connection), turn (waited for the turn to write), retry or note. `lane` is the
    session's, `transaction` a number counted from 1 (None: it was a transaction of its own). `about` is the lane that it waits for.
    """

    number: int
    at: float
    seconds: float
    kind: str
    lane: int | None
    database: str
    thread: str
    transaction: int | None = None
    text: str = ""
    rowcount: int = -1
    error: str | None = None
    code: str | int | None = None
    about: int | None = None


class WaitEvent(NamedTuple):
    """The watcher saw that a session (of `origin`, in `thread`) waits for another one, by its `id()`, since `since`."""

    database: str
    origin: Origin
    thread: str
    blocking: int
    since: float


class NameEvent(NamedTuple):
    """From here on the session with this `id()` is called so."""

    session: int
    name: str
    place: str | None = None


class NoteEvent(NamedTuple):
    """Something that a program wants to be shown on a session's lane."""

    session: int
    text: str


class Reader:
    """Makes moments of the events of one recording, in their order; it can go on when more have come."""

    def __init__(self, started: float) -> None:
        self.lanes: list[Lane] = []
        self._started = started
        self._names: dict[int, tuple[str, str | None]] = {}
        self._count = 0
        self._transactions = 0
        self._open: dict[int, int] = {}  # the event's number of a transaction → ours
        self._by_place: dict[Any, int] = {}
        self._by_session: dict[int, tuple[int, Any]] = {}  # its lane, and where it was made
        self._by_thread: dict[str, int] = {}
        self._hosts: dict[int | None, str] = {}  # lane → the server that its last connection led to
        self._taken: dict[int, int] = {}  # lane → the session whose it is now

    def read(self, raw: Iterable[tuple[float, str, Any]]) -> Iterator[Moment]:
        """Yield the moments of events, each with when it was heard of and in which thread."""
        for heard, thread, event in raw:
            found = self._moment(heard, thread, event)
            if found is not None:
                self._count += 1
                yield found

    def _moment(self, heard: float, thread: str, event: Any) -> Moment | None:
        if isinstance(event, NameEvent):
            self._name(event)
            return None
        lane = self._lane(getattr(event, "origin", None), getattr(event, "thread", thread))
        took = getattr(event, "seconds", 0.0)
        at = heard - took - self._started

        def moment(kind: str, **more: Any) -> Moment:
            """Return one with what all have."""
            about = {"lane": lane, "database": getattr(event, "database", ""), "thread": thread, **more}
            return Moment(self._count + 1, max(at, 0.0), took, kind, **about)

        if isinstance(event, StatementEvent):
            transaction = self._open.get(event.origin.transaction) if event.origin else None
            return moment(
                "statement", transaction=transaction, text=event.statement, rowcount=event.rowcount, error=event.error,
                code=event.code,
            )  # fmt: skip
        if isinstance(event, TransactionEvent):
            return self._word(event, moment)
        if isinstance(event, ConnectionEvent):
            if event.host is not None and self._hosts.get(lane) != event.host:
                self._hosts[lane] = event.host
                return moment("note", text=f"on {event.host}")
            kind = {"checkout": "pool", "turn": "turn"}.get(event.action)
            return moment(kind) if kind is not None and took >= WAITED else None
        if isinstance(event, RetryEvent):
            lane = self._by_thread.get(thread)
            pause = "no further attempt" if event.pause is None else f"again in {event.pause:.2f} s"
            return moment("retry", text=f"attempt {event.attempt} failed; {pause}", error=event.error, code=event.code)
        if isinstance(event, NoteEvent):
            lane = self._known(event.session)
            return moment("note", text=event.text)
        if isinstance(event, WaitEvent):
            took, at, thread = heard - event.since, event.since - self._started, event.thread
            return moment("waits", about=self._known(event.blocking))
        return None

    def _word(self, event: TransactionEvent, moment: Any) -> Moment | None:
        key = event.origin.transaction if event.origin is not None else 0
        if event.action == "begin":
            self._transactions += 1
            self._open[key] = self._transactions
        number = self._open.get(key)
        if number is None:
            return None
        if event.action in ENDS:
            del self._open[key]
        found: Moment = moment(
            event.action, transaction=number, text=event.name or "", error=event.error, code=event.code
        )
        return found

    def _lane(self, origin: Origin | None, thread: str) -> int | None:
        """Return the lane of where an event comes from; a session that is over gives its lane to the next one of its place."""
        if origin is None:
            return None
        session, code, at = origin.session, origin.code, origin.at
        known, known_at = self._by_session.get(session, (None, None))
        if known is None or known_at not in (None, (code, at)) or self._taken.get(known) != session:
            made = _short(place(code, at)) if session else ""
            usual = "execute()" if not session else made if thread == MAIN else thread
            name, where = self._names.pop(session, (usual, None))
            known = self._by_place.get((name, code, at))
            if known is None:
                shown = made if where is None else where
                known = self._by_place[name, code, at] = self._new(name, shown if shown != name else "")
            self._by_session[session], self._taken[known] = (known, (code, at)), session
        self._by_thread[thread] = known
        return known

    def _name(self, event: NameEvent) -> None:
        """Take a name: for the lane that the session's first event will make, or at once, where its place is given too."""
        self._by_session.pop(event.session, None)
        if event.place is None:
            self._names[event.session] = event.name, None
            return
        lane = self._new(event.name, event.place)
        self._by_session[event.session], self._taken[lane] = (lane, None), event.session

    def _new(self, name: str, where: str) -> int:
        self.lanes.append(Lane(len(self.lanes), name, where))
        return len(self.lanes) - 1

    def _known(self, session: int) -> int | None:
        return self._by_session.get(session, (None, None))[0]


def _short(where: str) -> str:
    """Return file:line without the file's folder."""
    file, colon, line = where.rpartition(":")
    return f"{PurePath(file).name}:{line}" if colon else where
