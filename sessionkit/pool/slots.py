"""The slot exchange: exactly `size` slots, and who gets the next one, in order and whatever is interrupted.

The state is a deque of slots, and a slot is the lease. There is no count of open connections that an exception
could split from the truth. A slot is always held by exactly one of: the idle deque, a waiter, a frame, a borrower.
When the last reference to one is gone, its place is given back: a weak reference's callback, which is a C method, tells
the exchange, and the next call that needs a place makes an empty slot for it.

There is no lock but each waiter's own, and one that is only tried. Waiter and returner settle who decides about a
waiter by popping a list of one element. A waiter publishes itself and then looks; a returner publishes the slot and then
looks: one of them sees the other.
"""

from __future__ import annotations

import gc
import os
import weakref
from _thread import allocate_lock
from collections import deque
from sys import _getframe
from time import monotonic

from ..errors import PoolDeadlockError, PoolTimeoutError
from .lease import Bell, LeaseInfo, Slot, Waiter, caller, holds_all, is_alone, timeout_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from ..errors import Error

_exchanges: weakref.WeakSet[Exchange] = weakref.WeakSet()

TICK = 0.25
"""Seconds after which a waiter looks again by itself, whatever was lost on the way to it."""


class Exchange:
    """Slots and waiters; what a slot holds is no concern of it."""

    size: int
    timeout: float
    _clock: Callable[[], float]
    _timeouts = 0
    where: Callable[[Any], str | None] | None = None

    def _fill(self) -> None:
        """Start anew with empty slots: at construction, and in a forked child."""
        _exchanges.add(self)
        self._idle: deque[Slot] = deque()  # right end: connected, most recently used
        self._waiters: deque[weakref.ref[Waiter]] = deque()  # weak: one that was interrupted leaves no ghost
        self._dead: deque[weakref.ref[Slot]] = deque()
        self._reaping = allocate_lock()
        self._reaped_at = self._shrink_at = self._collected_at = 0.0
        self._slots: set[weakref.ref[Slot]] = set()
        for _ in range(self.size):
            self._add()

    def _add(self) -> None:
        slot = Slot(self)
        self._slots.add(weakref.ref(slot, self._dead.append))
        self._idle.appendleft(slot)

    def _put(self, slot: Slot) -> None:
        """Publish a slot that is nobody's: an empty one at the left end, so that it is taken last."""
        if slot.conn is None:
            self._idle.appendleft(slot)
        else:
            self._idle.append(slot)

    def _in_line(self) -> list[weakref.ref[Waiter]]:
        """Return who waits; a deque cannot be copied while another thread changes it, where threads run at the same time."""
        while True:
            try:
                return list(self._waiters)
            except RuntimeError:
                continue

    def _wait(self, timeout: float | None, frame: FrameType) -> Slot:
        limit = self.timeout if timeout is None else timeout
        deadline = monotonic() + limit
        waiter = Waiter()
        try:
            self._waiters.append(weakref.ref(waiter))
            self._look_again()
            if waiter.lock.acquire(blocking=False):
                return waiter.taken()
            left, look_at = limit, limit if is_alone() else limit / 2
            while left > 0:
                if left <= look_at:
                    look_at = 0.0
                    self.raise_if_deadlocked(frame)
                if waiter.lock.acquire(timeout=min(TICK, left - look_at)):
                    return waiter.taken()
                slot, waiter = self._look_for(waiter)
                if slot is not None:
                    return slot
                left = deadline - monotonic()
            if look_at:
                self.raise_if_deadlocked(frame)
        except BaseException:
            self.step_out(waiter)
            raise
        slot = self._leave(waiter)
        if slot is None:
            raise self.timed_out(limit)
        return slot  # it came at the last moment

    def _look_for(self, waiter: Waiter) -> tuple[Slot | None, Waiter]:
        """Look what was lost on the way to a waiter; return its slot if there is one, and who stands in line for it from now on."""
        self._collect()
        self._look_again()
        if waiter.lock.acquire(blocking=False):
            return waiter.taken(), waiter
        self._look_at_leases(self._clock())
        if weakref.ref(waiter) not in self._in_line():
            # a slot is on its way, or its bringer was interrupted
            slot = self._leave(waiter)
            if slot is not None:
                return slot, waiter
            waiter = waiter.again()  # in front
            self._waiters.appendleft(weakref.ref(waiter))
        return None, waiter

    def _leave(self, waiter: Waiter) -> Slot | None:
        """Leave the queue without a trace; return what was handed over meanwhile, if anything was."""
        try:
            self._waiters.remove(weakref.ref(waiter))
        except (ValueError, IndexError):
            pass
        try:
            waiter.claim.pop()
        except IndexError:  # a slot is on its way; if its bringer was interrupted, it is made anew
            return waiter.taken() if waiter.lock.acquire(timeout=TICK) else None
        return None

    def _collect(self) -> None:
        """Look for an abandoned session in a cycle of garbage; at most once a second, because it takes long."""
        now = monotonic()
        if now - self._collected_at >= 1.0:
            self._collected_at = now
            gc.collect()

    def _replace_lost(self) -> None:
        """
        Make anew the places that died with their connections, and let the connections die too.

        One of sqlite3 is in a cycle with its own cache of statements: until the garbage is collected it keeps its locks.
        """
        gc.collect()
        self._reap()

    def _look_again(self) -> None:
        self._reap()
        self._match()

    def _match(self) -> None:
        """Hand idle slots to waiters in order; any thread may do so, several at once."""
        while self._waiters:
            try:
                slot = self._idle.pop()
            except IndexError:
                return
            try:
                waiter = self._waiters.popleft()()
                if waiter is not None:
                    waiter.claim.pop()
            except IndexError:  # nobody waits any more, or this one has given up
                waiter = None
            if waiter is None:
                self._idle.append(slot)
                continue
            waiter.slot = slot
            waiter.lock.release()

    def _reap(self) -> None:
        """
        Make an empty slot for each that was lost, so that `size` of them live.

        What lives is looked at, not concluded from the callbacks: an interrupt may have hit an earlier call here.
        """
        if not self._dead and sum(ref() is not None for ref in self._slots.copy()) == self.size:
            return
        reaping = self._reaping
        if not reaping.acquire(blocking=False):
            if monotonic() - self._reaped_at <= TICK:
                return
            self._reaping = reaping = allocate_lock()  # its holder was interrupted before it could let go
            reaping.acquire()
        try:
            self._reaped_at = monotonic()
            self._dead.clear()
            for ref in self._slots.copy():
                if ref() is None:
                    self._slots.discard(ref)
            for _ in range(self.size - len(self._slots)):
                self._add()
            for _ in range(len(self._slots) - self.size):  # more than there should be: an empty one is let die
                if self._idle and self._idle[0].conn is None:
                    self._idle.popleft()
        finally:
            reaping.release()

    # -- waiting without a thread: what an event loop does in the place of `_wait`

    def take_free(self) -> Slot | None:
        """Return a slot at once, or None where there is none, or somebody stands in line for it."""
        if self._dead:
            self._replace_lost()
        if not self._waiters:
            try:
                return self._idle.pop()
            except IndexError:
                pass
        return None

    def wait_for_slot(self, timeout: float | None) -> Slot:
        """Return a slot as soon as there is one, for a `checkout` that is given it; errors as with that."""
        return self.take_free() or self._wait(timeout, caller(_getframe(1)))

    def stand_in_line(self, wake: Callable[[], object]) -> Waiter:
        """Stand in line as a thread does; `wake()` is called, in whatever thread, when `look` will return a slot."""
        waiter = Waiter(Bell(wake))
        self._waiters.append(weakref.ref(waiter))
        self._look_again()
        return waiter

    def look(self, waiter: Waiter) -> tuple[Slot | None, Waiter]:
        """Return the slot of who stands in line, or None, and who stands there from now on; to be called every `TICK` seconds."""
        if waiter.lock.acquire(blocking=False):
            return waiter.taken(), waiter
        return self._look_for(waiter)

    def step_out(self, waiter: Waiter) -> None:
        """Leave the line; what came at the last moment goes to the next."""
        slot = self._leave(waiter)
        if slot is not None:
            self._put(slot)
        if self._waiters:
            self._match()

    def put_back(self, slot: Slot) -> None:
        """Give back a slot that was taken here and never lent."""
        if slot.pool is self:
            self._put(slot)
            if self._waiters:
                self._match()

    def timed_out(self, limit: float) -> Error:
        """Count that somebody waited in vain, and return the error to raise."""
        self._timeouts += 1
        return self._timed_out(limit)

    # -- telling

    def leases(self) -> list[LeaseInfo]:
        """Return what is lent now, the oldest first."""
        now = self._clock()
        waiting = [waiter.thread for waiter in (ref() for ref in self._in_line()) if waiter is not None]
        return sorted(
            (LeaseInfo(slot, now, waiting, self.where) for slot in self._lent()), key=lambda lease: -lease.age
        )

    def holders(self) -> list[tuple[int, Any]]:
        """Return the `id()` of each session that holds something here, and its connection (None: it holds a turn)."""
        return [(holder[0], slot.conn) for slot in self._living() if (holder := slot.holder) is not None]

    def _living(self) -> list[Slot]:
        return [slot for slot in (ref() for ref in self._slots.copy()) if slot is not None]

    def _lent(self) -> list[Slot]:
        return [slot for slot in self._living() if slot.holder is not None]

    def raise_if_deadlocked(self, frame: FrameType) -> None:
        """
        Raise when this stack holds every slot; one that an interrupt left in the garbage is not held, so that is looked at.

        In a process with one thread that is certain at once; else another thread may have been handed a session, and has half
        the timeout to give it back.
        """
        if self._is_holding_all(frame):
            gc.collect()
            self._look_again()
            if self._is_holding_all(frame):
                raise self._deadlocked()

    def _timed_out(self, limit: float) -> Error:
        """Return the error for who has waited in vain."""
        return PoolTimeoutError(timeout_text(limit, self.size, self.leases(), self._why_not()))

    def _deadlocked(self) -> Error:
        """Return the error for who would wait for ever."""
        return PoolDeadlockError(
            f"this code holds all {self.size} connections and waits for another, which can never come; "
            f"use the session you have, or a larger pool_size ({'; '.join(map(str, self.leases()))})"
        )

    def _forked(self) -> None:
        """In a forked child: what was inherited is nobody's any more; start with empty slots."""
        for slot in self._living():
            slot.pool = None
        self._fill()

    def _is_holding_all(self, frame: FrameType) -> bool:
        lent = self._lent()
        return len(lent) >= self.size and holds_all(frame, lent)

    def _look_at_leases(self, now: float) -> None:
        """Look whether a lease is held for too long; called now and then."""

    def _why_not(self) -> str | None:
        """Return why no connection could be made lately, if so."""
        return None


def _after_fork() -> None:
    for exchange in list(_exchanges):
        exchange._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
