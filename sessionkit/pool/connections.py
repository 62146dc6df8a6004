"""The life of a pooled connection: opened, judged without a round trip, pinged when in doubt, cleaned, closed."""

from __future__ import annotations

import select
from random import random

from ..errors import DisconnectionError
from .lease import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .lease import Slot

LONG_IDLE = 30.0
"""Seconds of idling after which a connection is pinged before it is lent, whatever its socket says."""


class Keeper:
    """
    What a pool knows about connections, in terms of five functions; it knows nothing of lending.

    `generation` counts the times that all connections became suspect: one of an older generation is not lent.
    `was_connected` is True once an attempt to connect has succeeded.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        close: Callable[[Any], object],
        clean: Callable[[Any], bool],
        fileno: Callable[[Any], int | None],
        ping: Callable[[Any], object],
        life: float | None,
        idle: float | None,
        is_outage: Callable[[Exception], bool],
        is_known: Callable[[Exception], bool],
        clock: Callable[[], float],
    ) -> None:
        self._connect, self._close, self._fileno, self._ping = connect, close, fileno, ping
        self.clean = clean  # of a connection that came home: whether it can be lent again
        self._life, self._idle, self._clock = life, idle, clock
        self._is_outage = is_outage
        self.is_known = is_known  # as a failure of the connection
        self._failures = 0  # in a row, of all callers together
        self._next_try = 0.0
        self._last: Exception | None = None
        self.generation = 0
        self.was_connected = False

    @property
    def connect_error(self) -> str | None:
        """Why the last attempt to connect failed, or None."""
        return None if self._last is None else f"{type(self._last).__name__}: {self._last}"

    @property
    def is_out(self) -> bool:
        """Whether the server did not answer when it was last connected to."""
        return self._failures > 0

    def pause(self, slot: Slot, now: float) -> float:
        """Return the seconds before a slot may be connected, 0.0 for at once: after failures attempts are spaced out."""
        if slot.conn is not None or not self._failures:
            return 0.0
        if now < self._next_try:
            return self._next_try - now
        self._next_try = now + _spacing(self._failures)  # ours is the attempt; others wait for its outcome
        return 0.0

    def may_repeat(self, exc: Exception) -> bool:
        """Tell whether a failed connect is to be tried again for the same caller: an outage, after better times."""
        return self.was_connected and self._is_outage(exc)

    def last_error(self) -> Exception:
        """Return the error of the last attempt, for a caller who is not to try now: one for each, as it gets a traceback."""
        if self._last is None:
            return DisconnectionError("connecting failed a moment ago; try again")
        return _copied(self._last)

    def prepare(self, slot: Slot) -> None:
        """Make a slot's connection fit to lend: ping a doubtful one, close a dead or old one, connect."""
        if slot.conn is not None and not self._is_alive(slot):
            self.empty(slot)
        if slot.conn is None:
            self._open(slot)

    def _is_alive(self, slot: Slot) -> bool:
        now = self._clock()
        if slot.generation != self.generation or now >= slot.expires:
            return False
        if self._idle is not None and now - slot.since >= self._idle:
            return False
        try:
            self._ping(slot.conn)  # readable, or idle for long: only the server knows
        except Exception as exc:
            if not self.is_known(exc):
                raise
            self.generation += 1  # one was found cut off, so the older ones may be too
            _log("a dead connection was replaced (%s)", exc)
            return False
        return True

    def _open(self, slot: Slot) -> None:
        generation = self.generation
        try:
            slot.conn = conn = self._connect()
        except Exception as exc:
            self._last = _copied(exc)
            if self._is_outage(exc):
                self._failures += 1
                self._next_try = self._clock() + _spacing(self._failures)
            raise
        self._last, self._failures, self.was_connected = None, 0, True
        slot.generation = generation
        slot.is_marked = slot.is_raw = False
        slot.expires = float("inf") if self._life is None else self._clock() + self._life * (1.0 - 0.1 * random())
        fileno = self._fileno(conn)
        slot.poll = None if fileno is None else _hang_up_check(fileno)

    def log_unclean(self, exc: Exception) -> None:
        """Log that a connection that came home could not be cleaned."""
        _log("a returned connection could not be cleaned and was closed (%s)", exc)

    def take(self, slot: Slot) -> Any:
        """Take the connection out of a slot and return it, or None: an interrupt leaves the slot full, or empty."""
        slot.generation = EMPTY
        conn, slot.conn, slot.poll = slot.conn, None, None
        return conn

    def close(self, conn: Any) -> None:
        """Close a connection that was taken out of its slot, if there was one."""
        if conn is not None:
            self._close(conn)

    def empty(self, slot: Slot) -> None:
        """Close what a slot holds; the slot is empty before the attempt."""
        self.close(self.take(slot))


def _copied(exc: Exception) -> Exception:
    """Return an error without its traceback, which would keep the frames of the code that tried, and grow with each raise."""
    from copy import copy

    return copy(exc)


def _spacing(failures: int) -> float:
    """Return the seconds between attempts to connect: from 50 ms, doubled up to one second, less up to a fifth of jitter."""
    return min(1.0, 0.05 * 2.0 ** min(failures - 1, 10)) * (1.0 - 0.2 * random())


def _hang_up_check(fileno: int) -> Callable[[int], Any]:
    """Return the function that tells at once whether a socket has something to read: nothing should be there."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(fileno, select.POLLIN)
        return poller.poll
    return lambda timeout: any(select.select([fileno], [], [], timeout))


def _log(text: str, exc: Exception) -> None:
    """Log the class of an error only: servers quote values in their texts."""
    from logging import getLogger

    getLogger("sessionkit.pool").warning(text, type(exc).__name__)
