"""Waiting in the pool's line, or the writers', without a thread."""

from __future__ import annotations

from sys import _getframe
from time import monotonic
from typing import TYPE_CHECKING, Any

from anyio import Event, move_on_after
from anyio.lowlevel import current_token

from ..pool.lease import caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool.lease import Slot

LOOKING = 1.0
"""Seconds after which who waits in line looks whether something was lost on the way."""


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
