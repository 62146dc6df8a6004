"""A pool that lends at most N connections, fairly, and that no interrupt can make smaller.

The state is a deque of slots, and a slot is the lease: exactly `size` of them exist, each with a connection or
empty. There is no count of open connections that an exception could split from the truth. A slot is
always held by exactly one of: the idle deque, a waiter, a frame, a borrower. Whoever loses the last reference
to one gives its place back: a weak reference's callback, which is a C method, tells the pool, and the next call
that needs a place makes an empty slot for it.

Nothing here does I/O, calls back or logs while holding a lock; in fact there is no lock but each waiter's own.
"""

from __future__ import annotations

import gc
import os
import weakref
from _thread import allocate_lock, get_ident
from collections import deque
from sys import _getframe
from time import monotonic

from .errors import ArgumentError, PoolClosedError, PoolDeadlockError, PoolTimeoutError
from .keeper import LONG_IDLE, Keeper
from .lease import LeaseInfo, Slot, Waiter, caller, holds_all, timeout_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

TICK = 0.25
"""Seconds after which a waiter looks again by itself, whatever was lost on the way to it."""

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_graveyard: list[Any] = []
"""Connections inherited through fork: kept, never closed, because closing would talk on the parent's socket."""


class Pool:
    """
    Lend at most `size` connections, opened when needed, served in order of asking. Lives as long as the program.

    `connect()` opens one and `close(conn)` closes it; `clean(conn)` makes one that comes home idle and empty
    or returns False; `fileno(conn)` is the socket to poll, or None; `ping(conn)` raises when it is dead.
    `recycle` and `idle` are the seconds after which a connection is too old, or has idled too long (None: never).
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        close: Callable[[Any], object],
        clean: Callable[[Any], bool] = lambda conn: True,
        fileno: Callable[[Any], int | None] = lambda conn: None,
        ping: Callable[[Any], object] = lambda conn: None,
        size: int = 5,
        timeout: float = 5.0,
        recycle: float | None = 1800.0,
        idle: float | None = 600.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if size < 1:
            raise ArgumentError(f"pool_size is at least 1, got {size}")
        self.size = size
        self.timeout = timeout
        self._clock = clock
        self._idle_limit = idle
        self._closed = False
        self._keeper = Keeper(connect, close, clean, fileno, ping, recycle, idle, clock)
        self._fill()
        _pools.add(self)

    def _fill(self) -> None:
        """Start anew with empty slots: at construction, and in a forked child."""
        self._idle: deque[Slot] = deque()  # right end: connected, most recently used
        self._waiters: deque[Waiter] = deque()
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

    # -- lending

    def checkout(self, timeout: float | None = None, *, holder: int = 0, depth: int = 1) -> Slot:
        """
        Lend a connection as `slot.conn`, waiting up to `timeout` seconds (None: the pool's own) for one.

        Give it back with `checkin()` or `discard()`, or drop the last reference to the slot. `holder` is the
        `id()` of the object that will do so; `depth` is how many frames above this call the borrower is, at least.

        Raises:
            PoolTimeoutError: no connection came free in time; it names the holders.
            PoolDeadlockError: none ever can, because this call stack holds them all.
            PoolClosedError: the pool was disposed of for good.
        """
        try:
            frame = _getframe(depth)
        except ValueError:  # called from less deep than its caller believes
            frame = _getframe(1)
        if frame.f_globals.get("__package__") == __package__:
            frame = caller(frame)
        slot = None
        if not self._waiters:  # newcomers queue behind those who wait
            try:
                slot = self._idle.pop()
            except IndexError:
                pass
        if slot is None:
            slot = self._wait(timeout, frame)
        slot.holder = holder
        slot.thread = get_ident()
        slot.code, slot.at, slot.frame = frame.f_code, frame.f_lasti, id(frame)
        now = self._clock()
        keeper = self._keeper
        if (
            slot.conn is None
            or slot.generation != keeper.generation
            or now >= slot.expires
            or now - slot.since >= LONG_IDLE
            or (slot.poll is not None and slot.poll(0))
        ):
            self._prepare(slot)
            now = self._clock()
        slot.since = now
        return slot

    def checkin(self, slot: Slot) -> None:
        """
        Take a lent connection back; it is cleaned, or closed when it cannot be.

        Raises:
            PoolClosedError: the slot is not lent (given back twice), or another pool's.
        """
        if slot.pool is not self or slot.holder is None:
            self._refuse(slot)
            return
        slot.holder = slot.statement = None
        slot.in_transaction = keep = False
        now = self._clock()
        try:
            keep = self._keeper.is_keepable(slot, now)
        finally:
            if not keep:
                self._keeper.empty(slot)
            self._put_back(slot, now)

    def discard(self, slot: Slot) -> None:
        """Close a lent connection, and give its place back empty; errors as with `checkin`."""
        if slot.pool is not self or slot.holder is None:
            self._refuse(slot)
            return
        slot.holder = slot.statement = None
        slot.in_transaction = False
        try:
            self._keeper.empty(slot)
        finally:
            self._put_back(slot, self._clock())

    def abandon(self, slot: Slot) -> None:
        """
        Close a lent connection and let its place die: for finalisers.

        In a cycle of garbage the place's weak reference is dead already and another one may have been made, so
        that giving it back would lend more than `size`. The place is made anew when it is needed.
        """
        slot.pool = None
        self._keeper.empty(slot)

    def _refuse(self, slot: Slot) -> None:
        """Tell why a slot cannot be taken back; a parent process's is dropped in silence, there is nothing to take back."""
        if slot.pool is None:
            return
        if slot.pool is not self:
            raise PoolClosedError("this connection was lent by another pool; give it back there")
        raise PoolClosedError("this connection was given back already; a lease ends once")

    def _put_back(self, slot: Slot, now: float) -> None:
        slot.since = now
        if slot.conn is None:
            self._idle.appendleft(slot)
        else:
            self._idle.append(slot)
            if slot.generation != self._keeper.generation:  # disposed of meanwhile
                self._drain()
        if self._waiters:
            self._match()
        elif now >= self._shrink_at:
            self._shrink(now)

    def _prepare(self, slot: Slot) -> None:
        """Make a lent slot's connection fit to use; on failure its place goes back, and the next waiter tries."""
        try:
            if self._closed:
                raise PoolClosedError("the pool was closed; it lends no more")
            self._keeper.prepare(slot)
        except BaseException:
            slot.holder = None
            try:
                self._keeper.empty(slot)
            finally:
                self._put_back(slot, self._clock())
            raise

    def suspect(self) -> None:
        """Take every connection opened so far for dead: one was found cut off, so the older ones may be too."""
        self._keeper.generation += 1

    # -- waiting

    def _wait(self, timeout: float | None, frame: FrameType) -> Slot:
        limit = self.timeout if timeout is None else timeout
        deadline = monotonic() + limit
        waiter = Waiter()
        try:
            self._waiters.append(waiter)
            self._look_again()
            if not waiter.lock.acquire(blocking=False):
                self._raise_if_deadlocked(frame)
            else:
                return waiter.taken()
            while True:
                left = deadline - monotonic()
                if waiter.lock.acquire(timeout=max(0.0, min(TICK, left))):
                    return waiter.taken()
                self._collect()
                self._look_again()
                if waiter.lock.acquire(blocking=False):
                    return waiter.taken()
                if left <= 0:
                    raise PoolTimeoutError(timeout_text(limit, self.size, self.leases(), self._keeper.connect_error))
                if waiter not in self._waiters:  # whoever took it out was interrupted: queue again, in front
                    waiter = Waiter()
                    self._waiters.appendleft(waiter)
        except BaseException:
            self._leave(waiter)
            raise

    def _leave(self, waiter: Waiter) -> None:
        """Leave the queue without a trace, and give back what was handed over meanwhile."""
        try:
            self._waiters.remove(waiter)
        except (ValueError, IndexError):
            pass
        try:
            waiter.claim.pop()
        except IndexError:  # a slot is on its way; if its bringer was interrupted, it is made anew
            if waiter.lock.acquire(timeout=TICK):
                self._put_back(waiter.taken(), self._clock())
        if self._waiters:
            self._match()

    def _collect(self) -> None:
        """Look for an abandoned session in a cycle of garbage; at most once a second, because it takes long."""
        now = monotonic()
        if now - self._collected_at >= 1.0:
            self._collected_at = now
            gc.collect()

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
                waiter = self._waiters.popleft()
                waiter.claim.pop()
            except IndexError:  # nobody waits any more, or this one has given up
                self._idle.append(slot)
                continue
            waiter.slot = slot
            waiter.lock.release()

    def _reap(self) -> None:
        """Make an empty slot for each that was lost, so that `size` of them live."""
        if not self._dead:
            return
        reaping = self._reaping
        if not reaping.acquire(blocking=False):
            if monotonic() - self._reaped_at > TICK:  # its holder was interrupted before it could let go
                self._reaping = allocate_lock()
            return
        try:
            self._reaped_at = monotonic()
            while self._dead:
                self._slots.discard(self._dead.popleft())
            for _ in range(self.size - len(self._slots)):
                self._add()
        finally:
            reaping.release()

    def _shrink(self, now: float) -> None:
        """Close what has idled for too long; looked at now and then, when a connection comes home."""
        limit = self._idle_limit
        if limit is None:
            self._shrink_at = float("inf")
            return
        self._shrink_at = now + limit / 4
        self._close_idle(lambda slot: now - slot.since >= limit)

    # -- telling

    def leases(self) -> list[LeaseInfo]:
        """Return what is lent now, the oldest first."""
        now = self._clock()
        waiting = [waiter.thread for waiter in list(self._waiters)]
        return sorted((LeaseInfo(slot, now, waiting) for slot in self._lent()), key=lambda lease: -lease.age)

    def stats(self) -> dict[str, int]:
        """Return counts: `size`, `open` connections, `idle` ones, `lent` ones, threads `waiting`."""
        self._reap()
        slots = self._living()
        lent = sum(slot.holder is not None for slot in slots)
        connected = sum(slot.conn is not None for slot in slots)
        idle = sum(slot.conn is not None and slot.holder is None for slot in slots)
        return {"size": self.size, "open": connected, "idle": idle, "lent": lent, "waiting": len(self._waiters)}

    def _living(self) -> list[Slot]:
        return [slot for slot in (ref() for ref in list(self._slots)) if slot is not None]

    def _lent(self) -> list[Slot]:
        return [slot for slot in self._living() if slot.holder is not None]

    def _raise_if_deadlocked(self, frame: FrameType) -> None:
        lent = self._lent()
        if len(lent) >= self.size and holds_all(frame, lent):
            raise PoolDeadlockError(
                f"this code holds all {self.size} connections and waits for another, which can never come; "
                f"use the session you have, or a larger pool_size ({'; '.join(map(str, self.leases()))})"
            )

    # -- ending

    def dispose(self) -> None:
        """
        Close every idle connection; those lent are closed when they come home. The pool can be used again.

        Waiters are served as places come free, as ever.
        """
        self._keeper.generation += 1
        self._drain()

    def close(self) -> None:
        """Dispose for good: no further checkout."""
        self._closed = True
        self.dispose()

    def _drain(self) -> None:
        """Close every idle connection of an older generation."""
        self._close_idle(lambda slot: slot.generation != self._keeper.generation)

    def _close_idle(self, chosen: Callable[[Slot], bool]) -> None:
        """Close the idle connections that are chosen, all of them, and raise the first error at the end."""
        failed: Exception | None = None
        for slot in self._living():
            if slot.holder is None and slot.conn is not None and chosen(slot):
                try:
                    self._idle.remove(slot)  # only who takes it out may touch it
                except (ValueError, IndexError):
                    continue
                try:
                    self._keeper.empty(slot)
                except Exception as exc:
                    failed = failed or exc
                finally:
                    self._put_back(slot, self._clock())
        if failed is not None:
            raise failed

    def _forked(self) -> None:
        """In a forked child: bury what was inherited, without touching a socket, and start with empty slots."""
        for slot in self._living():
            if slot.conn is not None:
                _graveyard.append(slot.conn)
            slot.conn, slot.poll, slot.pool = None, None, None
        self._fill()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.stats().items())
        return f"<Pool: {counts}>"


def _after_fork() -> None:
    for pool in list(_pools):
        pool._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
