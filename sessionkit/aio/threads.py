"""A call in a worker thread, which a task that is cancelled brings to its end."""

from __future__ import annotations

import math
import os
from _thread import allocate_lock
from asyncio import CancelledError, current_task, wrap_future
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, get_cancelled_exc_class, to_thread
from anyio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
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
        self._work: Callable[[], T] | None = work
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
        work, self._work = self._work, None  # a thread that is done keeps nobody's session
        try:
            return work()  # type: ignore[misc]  # it is there, because it had not begun
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            del work
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
    """Run `work()` in a worker thread; a task that is cancelled does not wait for its end."""
    try:
        task = current_task()
    except RuntimeError:
        task = None
    if task is None:  # trio
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=_limiter(_calls, math.inf))
    try:
        worker = _idle.pop()
    except IndexError:
        worker = ThreadPoolExecutor(1, "sessionkit")
    running = worker.submit(copy_context().run, _and_free, worker, work)
    try:
        return await wrap_future(running)
    except CancelledError:
        if running.cancel():  # it had not begun
            _idle.append(worker)
        raise


_idle: list[ThreadPoolExecutor] = []
"""
The threads for asyncio that have nothing to do, one in each; the one that worked last is still warm, and is taken first.

anyio's take a fifth longer for each call on a fast database, and asyncio's default ones are the program's.
"""


def _and_free(worker: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        _idle.append(worker)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # their threads are the parent's


async def on_the_side(work: Callable[[], T]) -> T:
    """Run what takes a connection by itself in one of a few threads; it is let finish."""
    async with _limiter(_side_calls, SIDE_CALLS):
        return await to_its_end(work)
