"""Which errors mean that a whole transaction may run again, and how long to wait before it does."""

from __future__ import annotations

from _contextvars import ContextVar

from .. import errors
from ..options import seconds, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

UNDONE = (
    errors.DeadlockError,
    errors.SerializationError,
    errors.LockTimeoutError,
    errors.DisconnectionError,
    errors.TooManyConnectionsError,
)
"""Errors after which the transaction surely left nothing behind, once the session has rolled back."""
PREPARED_LOST = frozenset(["42P05", "26000", 1615, 1243])
"""SQLSTATEs and errnos of a prepared statement that the server no longer knows, or knows otherwise (poolers, failover)."""

active: ContextVar[bool] = ContextVar("sessionkit_retries", default=True)
"""Whether anything is run again at all: a switch for tests."""


def may_repeat(exc: BaseException, idempotent: bool = False) -> bool:
    """
    Tell whether the transaction that `exc` ended can be run again without doing its work twice.

    A transaction found aborted or lost is judged by the error that did it. An unknown commit may only be
    repeated by a function that is `idempotent`. A read-only answer counts after a failover: where writing was allowed. Who waited
    for a connection in vain waits again only where the server did not answer: else it would make a crowd larger.
    """
    if isinstance(exc, errors.CommitUnknownError):
        return idempotent
    if isinstance(exc, (errors.TransactionAbortedError, errors.TransactionLostError)):
        return exc.__cause__ is not None and may_repeat(exc.__cause__, False)
    if isinstance(exc, errors.PoolTimeoutError):
        return exc.outage
    if isinstance(exc, errors.ReadOnlyError):
        return exc.failover
    if isinstance(exc, errors.Error) and (exc.sqlstate in PREPARED_LOST or exc.code in PREPARED_LOST):
        return True
    if isinstance(exc, errors.NotSupportedError):
        return exc.sqlstate == "0A000" and "cached plan" in str(exc.orig)
    return isinstance(exc, UNDONE)


class Retry:
    """
    How often and how long: `attempts` in all, `timeout` seconds in all, waits with full jitter.

    The n-th wait is random between 0 and `base * 2**n` seconds, `cap` at most ("full jitter", AWS
    Architecture Blog, 2015). `on_retry(attempt, error, seconds)` is called before each wait, with what failed. `clock`,
    `sleep` and `random` are parameters so that tests need not wait; `sessionkit.testing.no_retries()` turns all off.
    """

    __slots__ = ("attempts", "base", "cap", "clock", "on_retry", "random", "sleep", "timeout")

    def __init__(
        self,
        attempts: int = 5,
        timeout: float = 30.0,
        *,
        base: float = 0.02,
        cap: float = 2.0,
        on_retry: Callable[[int, errors.Error, float], object] | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        if clock is None or sleep is None:
            import time

            clock, sleep = clock or time.monotonic, sleep or time.sleep
        if random is None:
            from random import random as dice

            random = dice
        self.attempts = whole("attempts", attempts)
        self.timeout = seconds("timeout", timeout)
        self.base = seconds("base", base)
        self.cap = seconds("cap", cap)
        self.on_retry = on_retry
        self.clock = clock
        self.sleep = sleep
        self.random = random

    def pause(self, attempt: int, started: float, least: int = 1) -> float | None:
        """Return the seconds to wait after the failure of `attempt` (from 1), None for no other one; `least` attempts may be."""
        left = self.timeout - (self.clock() - started)
        if attempt >= max(self.attempts, least) or left <= 0 or not active.get():
            return None
        return min(self.random() * min(self.cap, self.base * 2.0 ** min(attempt, 30)), left)

    def announce(self, attempt: int, started: float, failed: errors.Error, least: int = 1) -> float | None:
        """Say what failed, and return the seconds to wait; None, in silence, when no other attempt is to be."""
        pause = self.pause(attempt, started, least)
        if pause is None:
            return None
        from logging import getLogger

        getLogger("sessionkit.retry").warning(
            "trying again after attempt %d, in %.2f s: %s (%s)",
            attempt, pause, type(failed).__name__, failed.code or failed.sqlstate,
        )  # fmt: skip
        if self.on_retry is not None:
            self.on_retry(attempt, failed, pause)
        return pause

    def wait(self, attempt: int, started: float, failed: errors.Error, least: int = 1) -> bool:
        """Say what failed, and wait; False, at once and in silence, when no other attempt is to be; `least` as with `pause`."""
        pause = self.announce(attempt, started, failed, least)
        if pause is not None:
            self.sleep(pause)
        return pause is not None
