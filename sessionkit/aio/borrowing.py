"""A database as one asynchronous session sees it: its connection was waited for in the event loop."""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from sys import _getframe
from typing import TYPE_CHECKING, Any

from ..errors import Error
from ..pool.lease import caller
from .waiting import wait_in_line

if TYPE_CHECKING:
    from .._typing import Holder
    from ..engine import Engine
    from ..registry import Registry


class Borrowing:
    """Finds databases for one session by name, as engine or registry do."""

    def __init__(self, bind: Engine | Registry, holder: Holder) -> None:
        self.bind = bind
        self.holder = holder
        self.sources: dict[Engine, Borrowed] = {}

    def resolve(self, name: str | None) -> Borrowed:
        """Return the database of this name."""
        engine = self.bind.resolve(name)
        found = self.sources.get(engine)
        if found is None:
            found = self.sources[engine] = Borrowed(engine, self.holder)
        return found

    def is_using(self) -> bool:
        """Tell whether the session has a connection, so that what ends it makes round trips."""
        return any(source.lease is not None for source in self.sources.values())

    def release(self) -> None:
        """Give back what was waited for and not needed."""
        for source in self.sources.values():
            source.release()

    def cancel(self) -> None:
        """Cancel what runs on the connections of the session."""
        for source in list(self.sources.values()):
            source.cancel()


class Borrowed:
    """
    An engine for one session. It lends what `wait` has waited for, and lets the statement under way be cancelled.

    Where nothing was waited for (a second database in the middle of a call), the thread waits, which holds a connection then:
    there are never more such threads than connections.
    """

    def __init__(self, engine: Engine, holder: Holder) -> None:
        self.engine = engine
        self.lease: Any = None  # the session's connection, while it has one
        self._holder = holder
        self._slot: Any = None
        self._turn: Any = None
        self._place: tuple[Any, int] = holder[1:]
        self._thread = 0
        self._is_cancelled = False
        self._lending = allocate_lock()  # a connection is not given back while a statement on it is cancelled

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def wait(self, with_turn: bool) -> None:
        """
        Wait for a connection; before that, `with_turn`, for the turn to write where writers stand in line.

        Raises:
            PoolTimeoutError, PoolDeadlockError, LockTimeoutError: as in a thread.
        """
        lender: Any = self.engine.lender
        line, queue = self.engine.line, lender.queue
        frame = caller(_getframe())
        self._place, self._thread = (frame.f_code, frame.f_lasti), get_ident()
        del frame
        if with_turn and line is not None:
            self._turn = await wait_in_line(line, self.engine.patience)
        self._slot = await wait_in_line(queue, queue.timeout)

    def release(self) -> None:
        """Give back what was waited for and not needed."""
        (slot, self._slot), (turn, self._turn) = (self._slot, None), (self._turn, None)
        for taken in (slot, turn):
            if taken is not None and taken.pool is not None:  # None: a parent process's
                taken.pool.put_back(taken)

    def cancel(self) -> None:
        """Ask that the statement under way end; the connection is not lent again."""
        with self._lending:
            if self.lease is None or self.lease.conn is None:
                return
            self._is_cancelled = True
            try:
                self.engine.cancel(self.lease.conn)
            except Error as exc:
                from logging import getLogger

                getLogger("sessionkit.session").warning(
                    "a statement could not be cancelled, its end is waited for: %s", type(exc).__name__
                )

    # -- a lender

    @property
    def lender(self) -> Borrowed:
        """Itself."""
        return self

    def checkout(self, timeout: float | None = None, holder: object = None, depth: int = 1) -> Any:
        """Lend what was waited for."""
        slot, self._slot = self._slot, None
        lender: Any = self.engine.lender
        lease = lender.checkout(timeout, self._holder, depth + 1, slot)
        (lease.code, lease.at), lease.thread = self._place, self._thread
        self.lease = lease
        return lease

    def checkin(self, lease: Any, /) -> None:
        """Give it back; one on which something was cancelled is closed, because that could hit whatever runs on it next."""
        is_cancelled = self._take_back()
        lender = self.engine.lender
        if is_cancelled and lender is self.engine.pool:
            lender.discard(lease)
        else:
            lender.checkin(lease)

    def discard(self, lease: Any, /) -> None:
        """Close it."""
        self._take_back()
        self.engine.lender.discard(lease)

    def abandon(self, lease: Any, /) -> None:
        """Its session was collected unclosed."""
        self.lease = None
        self.engine.lender.abandon(lease)

    def suspect(self) -> None:
        """The other connections may be dead too."""
        self.engine.lender.suspect()

    def _take_back(self) -> bool:
        with self._lending:
            self.lease = None
            was, self._is_cancelled = self._is_cancelled, False
        return was

    # -- a line

    @property
    def line(self) -> Borrowed | None:
        """Itself, where writers stand in line."""
        return None if self.engine.line is None else self

    def take(self, holder: object, timeout: float) -> Any:
        """Return the turn that was waited for."""
        turn, self._turn = self._turn, None
        line: Any = self.engine.line
        return line.take(self._holder, timeout, turn)

    def give(self, turn: Any) -> None:
        """Give it to the next."""
        if turn.pool is not None:
            turn.pool.give(turn)
