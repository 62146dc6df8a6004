"""A call in a worker thread, which a task that is cancelled brings to its end; and waiting in the pool's line without a thread."""

from __future__ import annotations

import math
from _thread import allocate_lock
from sys import _getframe
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, Event, get_cancelled_exc_class, move_on_after, to_thread
from anyio.lowlevel import RunVar, current_token

from ..pool.lease import caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool.lease import Slot

T = TypeVar("T")
LOOKING = 1.0
"""Seconds after which who waits in line looks whether something was lost on the way."""
ASKING = (0.05, 1.0)
"""Seconds after which a statement that goes on is cancelled once more: at first, and at most."""
SIDE_CALLS = 4
"""Threads, for each event loop, of calls that take a connection without having waited for it before: pings and the like."""

_calls: RunVar[CapacityLimiter] = RunVar("sessionkit_calls")
_side_calls: RunVar[CapacityLimiter] = RunVar("sessionkit_side_calls")


def _limiter(kept: RunVar[CapacityLimiter], tokens: float) -> CapacityLimiter:
    """Return this event loop's limiter."""
    try:
        return kept.get()
    except LookupError:
        kept.set(made := CapacityLimiter(tokens))
        return made


class Job(Generic[T]):
    """A call for a thread, which runs it at most once, and tells when it is over."""

    def __init__(self, work: Callable[[], T], stop: Callable[[], object] | None) -> None:
        self.error: BaseException | None = None
        self.is_over = False
        self._work = work
        self._stop = stop
        self._claim = [True]
        self._over = allocate_lock()
        self._over.acquire()

    @property
    def has_begun(self) -> bool:
        """Whether a thread has it."""
        return not self._claim

    def withdraw(self) -> bool:
        """Return whether it has not begun, and now never will."""
        try:
            return self._claim.pop()
        except IndexError:
            return False

    def __call__(self) -> T:
        """Run it."""
        if not self.withdraw():
            return None  # type: ignore[return-value]  # nobody waits for it any more
        try:
            return self._work()
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.is_over = True
            self._over.release()

    def end(self) -> None:
        """In another thread: bring it to its end, where it can be stopped, and wait for that."""
        pause, longest = ASKING
        while not self.is_over:
            if self._stop is not None:
                self._stop()
            if self._over.acquire(timeout=pause if self._stop is not None else -1):
                self._over.release()  # another thread may wait too
                return
            pause = min(2 * pause, longest)


async def in_thread(work: Callable[[], T], stop: Callable[[], object]) -> T:
    """
    Run `work()` in a worker thread and return what it returns.

    A task that is cancelled meanwhile has `stop()` called, in another thread, until the work is over, and only then ends. What it
    raised is the cause of the cancellation that comes out.
    """
    job = Job(work, stop)
    try:
        return await _thread(job)
    except get_cancelled_exc_class() as cancelled:
        if job.withdraw():
            raise
        with CancelScope(shield=True):
            while not job.is_over:
                try:
                    await _thread(job.end)
                except get_cancelled_exc_class():  # asyncio's own cancel() knows no shields
                    continue
        raise cancelled from job.error
    finally:
        del job  # no frame keeps what is raised through it


async def to_its_end(work: Callable[[], T]) -> T:
    """Run `work()` in a worker thread, whatever cancels the task meanwhile: that is raised when it is over."""
    job = Job(work, None)
    cancelled: BaseException | None = None
    try:
        with CancelScope(shield=True):
            while not job.is_over:
                try:
                    value = await _thread(job.end if job.has_begun else job)
                except get_cancelled_exc_class() as exc:  # asyncio's own cancel() knows no shields
                    if exc is job.error:
                        raise
                    cancelled = exc
        if cancelled is not None:
            raise cancelled from job.error
        return value  # type: ignore[return-value]  # of the job itself, unless there was a cancellation
    finally:
        del job, cancelled  # no frame keeps what is raised through it


async def _thread(work: Callable[[], T]) -> T:
    return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=_limiter(_calls, math.inf))


async def on_the_side(work: Callable[[], T]) -> T:
    """Run what takes a connection by itself in one of a few threads; it is let finish."""
    async with _limiter(_side_calls, SIDE_CALLS):
        return await to_its_end(work)


async def wait_in_line(queue: Any, limit: float) -> Slot:
    """
    Return a slot of a pool, or of a line of writers, waiting for it in the event loop; in one line with the threads that wait.

    Raises:
        PoolTimeoutError, LockTimeoutError: it did not come within `limit` seconds.
        PoolDeadlockError: it never can, because the sessions that hold all are variables of this very task.
    """
    slot: Slot | None = queue.take_free()
    if slot is not None:
        return slot
    event = Event()
    started, look_at = monotonic(), limit / 2
    waiter = queue.stand_in_line(_waker(event))
    try:
        slot, waiter = queue.look(waiter)
        while slot is None and (left := started + limit - monotonic()) > 0:
            if look_at and left <= look_at:
                look_at = 0.0
                queue.raise_if_deadlocked(caller(_getframe()))
            with move_on_after(min(LOOKING, left - look_at)):
                await event.wait()
            slot, waiter = queue.look(waiter)
    finally:
        if slot is None:
            queue.step_out(waiter)
    if slot is None:
        raise queue.timed_out(limit)
    return slot


def _waker(event: Event) -> Callable[[], object]:
    """Return what sets an event from any thread, that of the event loop too, without waiting."""
    token: Any = current_token().native_token
    soon = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
    return lambda: soon(event.set)
