"""A pool that lends at most N connections, fairly, and that no interrupt can make smaller.

Which slot goes to whom is the exchange's; how a connection lives is the keeper's. Nothing here does I/O, calls back or logs
while holding a lock.
"""

from __future__ import annotations

import weakref
from _thread import get_ident
from sys import _getframe
from time import monotonic, sleep

from ..errors import PoolClosedError
from ..options import seconds, seconds_or_never, whole
from .connections import LONG_IDLE, Keeper
from .lease import EMPTY, NOBODY, OURS, LeaseInfo, Slot, caller
from .slots import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._typing import Holder
    from ..errors import Error

_graveyard: list[Any] = []
"""Connections inherited through fork: kept, never closed, because closing would talk on the parent's socket."""


class Pool(Exchange):
    """
    Lend at most `size` connections, opened when needed, served in order of asking. Lives as long as the program.

    `connect()` opens one and `close(conn)` closes it; `clean(conn)` makes one that comes home idle and empty
    or returns False, and so does `reset(conn, raw)` after that where the borrower marked the lease, because something may be
    left on it (`raw`: anything). `fileno(conn)` is the socket to poll, or None; `ping(conn)` raises when it is dead.
    `recycle` and `idle` are the seconds after which a connection is too old, or has idled too long (None: never).
    `is_outage(exc)` tells whether a failed connect may succeed a little later: then attempts are spaced out, for all
    callers together, and once the pool has been connected they go on until the caller's timeout. `is_known(exc)` tells whether
    an error of cleaning is the connection's failure, which is logged; a signal handler's exception is raised.
    `where(conn)` is the server that it leads to, for the texts about who holds it.
    A lease held for longer than `hold_warning` seconds is logged, once.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        close: Callable[[Any], object],
        clean: Callable[[Any], bool] = lambda conn: True,
        reset: Callable[[Any, bool], bool] = lambda conn, raw: False,
        fileno: Callable[[Any], int | None] = lambda conn: None,
        ping: Callable[[Any], object] = lambda conn: None,
        size: int = 5,
        timeout: float = 5.0,
        recycle: float | None = 1800.0,
        idle: float | None = 600.0,
        hold_warning: float | None = None,
        is_outage: Callable[[Exception], bool] = lambda exc: False,
        is_known: Callable[[Exception], bool] = lambda exc: True,
        where: Callable[[Any], str | None] | None = None,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        self.size = whole("pool_size", size)
        self.timeout = seconds("pool_timeout", timeout)
        self._clock = clock
        self._idle_limit = seconds_or_never("pool_idle", idle)
        self._closed = False
        self.where = where
        self._hold_warning = seconds_or_never("hold_warning", hold_warning)
        self._sleep = sleep
        self._reset = reset
        life = seconds_or_never("pool_recycle", recycle)
        self._keeper = Keeper(connect, close, clean, fileno, ping, life, idle, is_outage, is_known, clock)
        self._fill()

    # -- lending

    @property
    def queue(self) -> Exchange:
        """Where those stand who wait for a connection: itself."""
        return self

    def checkout(
        self, timeout: float | None = None, holder: Holder = NOBODY, depth: int = 1, slot: Slot | None = None
    ) -> Slot:
        """
        Lend a connection as `slot.conn`, waiting up to `timeout` seconds (None: the pool's own) for one.

        Give it back with `checkin()` or `discard()`, or drop the last reference to the slot. `holder` is the
        `id()` of the object that will do so, and where that was made; `depth` is how many frames above this call the
        borrower is, at least. `slot` is one that was taken or waited for already, by `take_free` or `stand_in_line`.

        Raises:
            PoolTimeoutError: no connection came free in time; it names the holders.
            PoolDeadlockError: none ever can, because this call stack holds them all.
            PoolClosedError: the pool was disposed of for good.
        """
        try:
            frame = _getframe(depth)
        except ValueError:  # called from less deep than its caller believes
            frame = _getframe(1)
        if frame.f_globals.get("__package__") in OURS:
            frame = caller(frame)
        if slot is None:
            if self._dead:
                self._replace_lost()
            if not self._waiters:  # newcomers queue behind those who wait
                try:
                    slot = self._idle.pop()
                except IndexError:
                    pass
            if slot is None:
                slot = self._wait(timeout, frame)
        try:
            slot.holder = holder
            slot.thread = get_ident()
            slot.code = frame.f_code
            slot.at = frame.f_lasti
            clock, keeper = self._clock, self._keeper
            now = clock()
            if (
                slot.generation != keeper.generation  # an empty slot is of none
                or now >= slot.expires
                or now - slot.since >= LONG_IDLE
                or (slot.poll is not None and slot.poll(0))
            ):
                self._prepare(slot, self.timeout if timeout is None else timeout)
                now = clock()
            slot.since = now
            return slot
        except BaseException:  # the next waiter tries; and who keeps the traceback does not keep the place lent
            slot.holder = None
            self._put_back_empty(slot)
            raise

    def checkin(self, slot: Slot) -> None:
        """
        Take a lent connection back; it is cleaned, or closed when it cannot be.

        Raises:
            PoolClosedError: the slot is not lent (given back twice), or another pool's.
        """
        if slot.pool is not self or slot.holder is None:
            self._refuse(slot)
            return
        clock, keeper = self._clock, self._keeper
        clean, now = keeper.clean, clock()
        if self._hold_warning is not None:
            self._look_at(slot, now)
            slot.warned = False
        slot.holder = slot.statement = None
        slot.in_transaction = keep = False
        try:
            if slot.is_marked or slot.is_raw:
                keep = slot.generation == keeper.generation and now < slot.expires and self._without_state(slot)
            else:
                keep = slot.generation == keeper.generation and now < slot.expires and clean(slot.conn)
        except Exception as exc:
            if not keeper.is_known(exc):
                raise
            keeper.log_unclean(exc)
        finally:
            if not keep:
                keeper.empty(slot)
            self._put_back(slot, now)

    def _without_state(self, slot: Slot) -> bool:
        """Take off what a borrower may have left on a connection; its marks go last, so an interrupt leaves them."""
        if not (self._keeper.clean(slot.conn) and self._reset(slot.conn, slot.is_raw)):
            return False
        slot.is_marked = slot.is_raw = False
        return True

    def discard(self, slot: Slot) -> None:
        """Close a lent connection, and give its place back empty; errors as with `checkin`."""
        if slot.pool is not self or slot.holder is None:
            self._refuse(slot)
            return
        slot.holder = slot.statement = None
        slot.in_transaction = False
        self._put_back_empty(slot)

    def abandon(self, slot: Slot) -> None:
        """
        Close a lent connection and let its place die: for finalisers.

        In a cycle of garbage the place's weak reference is dead already and another one may have been made, so
        that giving it back would lend more than `size`. The place is made anew when it is needed.
        """
        slot.pool = None
        self._keeper.empty(slot)
        self._slots.discard(weakref.ref(slot))  # nobody needs to look for its connection when it dies

    def _refuse(self, slot: Slot) -> None:
        """Tell why a slot cannot be taken back; a parent process's is dropped in silence, there is nothing to take back."""
        if slot.pool is None:
            return
        if slot.pool is not self:
            raise PoolClosedError("this connection was lent by another pool; give it back there")
        raise PoolClosedError("this connection was given back already; a lease ends once")

    def _put_back(self, slot: Slot, now: float) -> None:
        """Publish a slot that is nobody's, and hand it to who waits."""
        slot.since = now
        self._put(slot)
        if slot.generation != self._keeper.generation and slot.conn is not None:  # disposed of meanwhile
            self._drain()
        if self._waiters:
            self._match()
        elif now >= self._shrink_at:
            self._look_at_leases(now)
            self._shrink(now)

    def _put_back_empty(self, slot: Slot) -> None:
        """Close what a slot holds, which may be in doubt; interrupted before it is taken out, the slot dies instead."""
        conn = self._keeper.take(slot)
        try:
            self._keeper.close(conn)
        except BaseException:
            self._dead.append(weakref.ref(slot))  # the place lives, but its connection may linger like a lost one's
            raise
        finally:
            self._put_back(slot, self._clock())

    def _why_not(self) -> str | None:
        return self._keeper.connect_error

    def _timed_out(self, limit: float) -> Error:
        error = super()._timed_out(limit)
        error.outage = self._keeper.is_out  # type: ignore[attr-defined]  # a PoolTimeoutError
        return error

    def _prepare(self, slot: Slot, limit: float) -> None:
        """Make a lent slot's connection fit to use, or raise why it cannot be."""
        keeper, deadline = self._keeper, self._clock() + limit
        while True:
            if self._closed:
                raise PoolClosedError("the pool was closed; it lends no more")
            pause = keeper.pause(slot, self._clock())
            if not pause:
                try:
                    return keeper.prepare(slot)
                except Exception as exc:
                    if not keeper.may_repeat(exc):
                        raise
            elif not keeper.was_connected:
                raise keeper.last_error()
            if self._clock() + pause >= deadline:
                raise keeper.last_error()
            self._sleep(pause)

    def suspect(self) -> None:
        """Take every connection opened so far for dead: one was found cut off, so the older ones may be too."""
        self._keeper.generation += 1

    def _shrink(self, now: float) -> None:
        """Close what has idled for too long; looked at now and then, when a connection comes home."""
        limit = self._idle_limit
        self._shrink_at = now + min(
            [span / 4 for span in (limit, self._hold_warning) if span is not None], default=float("inf")
        )
        if limit is not None:
            self._close_idle(lambda slot: now - slot.since >= limit)

    # -- telling

    def stats(self) -> dict[str, int]:
        """
        Return counts under OpenTelemetry's names, `db.client.connection.…`: `max`, `pending_requests`, `timeouts`, and of
        `count` the states `idle` and `used`; `open` connections are not more than `max`.
        """
        self._reap()
        slots = self._living()
        used = sum(slot.holder is not None for slot in slots)
        connected = sum(slot.conn is not None for slot in slots)
        idle = sum(slot.conn is not None and slot.holder is None for slot in slots)
        return {
            "max": self.size, "open": connected, "idle": idle, "used": used,
            "pending_requests": len(self._waiters), "timeouts": self._timeouts,
        }  # fmt: skip

    def _look_at_leases(self, now: float) -> None:
        if self._hold_warning is not None:
            for slot in self._lent():
                self._look_at(slot, now)

    def _look_at(self, slot: Slot, now: float) -> None:
        """Log a lease that is held for too long, once."""
        if self._hold_warning is not None and now - slot.since >= self._hold_warning and not slot.warned:
            slot.warned = True
            from logging import getLogger

            getLogger("sessionkit.pool").warning(
                "a connection is held for long: %s", LeaseInfo(slot, now, (), self.where)
            )

    # -- ending

    def revoke(self) -> list[LeaseInfo]:
        """Take back what is lent: its borrowers find their connection gone. Return who they were; their places are made anew."""
        lent = self.leases()
        for slot in self._lent():
            slot.conn, slot.pool = None, None
            self._slots.discard(weakref.ref(slot))
        return lent

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
            try:
                raise failed
            finally:
                del failed  # no frame keeps what is raised through it

    def _forked(self) -> None:
        """In a forked child: bury what was inherited, without touching a socket, and start with empty slots."""
        for slot in self._living():
            if slot.conn is not None:
                _graveyard.append(slot.conn)
            slot.conn, slot.poll, slot.generation = None, None, EMPTY
        super()._forked()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.stats().items())
        return f"<Pool: {counts}>"
