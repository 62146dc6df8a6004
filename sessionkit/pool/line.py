"""A fair line: one at a time, in order of asking, across all the threads of a process. SQLite's writers stand in one."""

from __future__ import annotations

import gc
import time
import weakref
from _thread import get_ident
from sys import _getframe
from time import monotonic

from ..errors import Error, LockTimeoutError, PoolDeadlockError
from .lease import NOBODY, LeaseInfo, Slot, caller
from .slots import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._typing import Holder

_lines: weakref.WeakValueDictionary[str, Line] = weakref.WeakValueDictionary()


class Line(Exchange):
    """
    One turn, which is a slot of an exchange, and so keeps the promises of the pool: who waits is served in order, and a turn
    that is lost to an interrupt, a fork or a session that nobody kept is made anew.

    `name` says what it is a turn for.
    """

    size = 1
    timeout = 0.0
    _clock = staticmethod(monotonic)

    def __init__(self, name: str) -> None:
        self.name = name
        self._fill()

    def take(self, holder: Holder, timeout: float, slot: Slot | None = None) -> Slot:
        """
        Return the turn, waiting up to `timeout` seconds for it; `holder` is who will give it on, as with a pool's checkout.

        `slot` is one that was taken or waited for already, by `take_free` or `stand_in_line`.

        Raises:
            LockTimeoutError: it did not come in time; the text says who has it.
            PoolDeadlockError: it never can, because a session on this very stack has it.
        """
        if slot is None:
            if self._dead:
                self._reap()
            if not self._waiters:
                try:
                    slot = self._idle.pop()
                except IndexError:
                    pass
            if slot is None:
                slot = self._wait(timeout, caller(_getframe(1)))
        slot.holder = holder
        slot.thread = get_ident()
        slot.since = monotonic()
        return slot

    def give(self, slot: Slot) -> None:
        """Give the turn to the next in line; one of a parent process, or one that was replaced, is dropped."""
        if slot.pool is not self or slot.holder is None:
            return
        slot.holder = None
        self._idle.append(slot)
        if self._waiters:
            self._match()
            time.sleep(0)  # let it run at once: the database is idle until then

    def leases(self) -> list[LeaseInfo]:
        """Return who has the turn, by where its session was made."""
        for slot in self._lent():
            _, slot.code, slot.at = slot.holder or NOBODY
            slot.in_transaction = True
        return super().leases()

    def _timed_out(self, limit: float) -> Error:
        holders = "; ".join(map(str, self.leases())) or "nobody any more"
        return LockTimeoutError(
            f"no turn to write to {self.name} within {limit:g} s; a session has it that was made: {holders}"
        )

    def _deadlocked(self) -> Error:
        return PoolDeadlockError(
            f"this code waits for its turn to write to {self.name}, which a session of this very code has, so it can never come; "
            f"use the session you have, or commit it first ({'; '.join(map(str, self.leases()))})"
        )

    def _replace_lost(self) -> None:
        gc.collect()
        self._reap()


def line_for(name: str) -> Line:
    """Return the line of this name, the same for everybody who asks in this process."""
    found = _lines.get(name)
    if found is None:
        found = _lines.setdefault(name, Line(name))
    return found
