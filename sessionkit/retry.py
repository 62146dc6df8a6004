"""Which errors mean that a whole transaction may run again, and how long to wait before it does."""

from __future__ import annotations

from . import errors

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


def may_repeat(exc: BaseException, idempotent: bool = False) -> bool:
    """
    Tell whether the transaction that `exc` ended can be run again without doing its work twice.

    A transaction found aborted or lost is judged by the error that did it. An unknown commit may only be
    repeated by a function that is `idempotent`.
    """
    if isinstance(exc, errors.CommitUnknownError):
        return idempotent
    if isinstance(exc, (errors.TransactionAbortedError, errors.TransactionLostError)):
        return exc.__cause__ is not None and may_repeat(exc.__cause__, False)
    return isinstance(exc, UNDONE)


class Retry:
    """
    How often and how long: `attempts` in all, `timeout` seconds in all, waits with full jitter.

    The n-th wait is random between 0 and `base * 2**n` seconds, `cap` at most ("full jitter", AWS
    Architecture Blog, 2015). `clock`, `sleep` and `random` are parameters so that tests need not wait.
    """

    __slots__ = ("attempts", "base", "cap", "clock", "random", "sleep", "timeout")

    def __init__(
        self,
        attempts: int = 5,
        timeout: float = 30.0,
        *,
        base: float = 0.02,
        cap: float = 2.0,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        if attempts < 1:
            raise errors.ArgumentError(f"attempts is at least 1, got {attempts}")
        if clock is None or sleep is None:
            import time

            clock, sleep = clock or time.monotonic, sleep or time.sleep
        if random is None:
            from random import random as dice

            random = dice
        self.attempts = attempts
        self.timeout = timeout
        self.base = base
        self.cap = cap
        self.clock = clock
        self.sleep = sleep
        self.random = random

    def wait(self, attempt: int, started: float) -> bool:
        """Wait after the failure of `attempt` (from 1); False, at once, when there is to be no other."""
        left = self.timeout - (self.clock() - started)
        if attempt >= self.attempts or left <= 0:
            return False
        self.sleep(min(self.random() * min(self.cap, self.base * 2**attempt), left))
        return True
