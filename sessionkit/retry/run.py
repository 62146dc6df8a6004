"""A function in a transaction of its own, and all of it again where that is safe: what engine and registry share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from .. import errors
from ..events import RetryEvent
from ..options import function
from ..session.context import is_inside
from ..session.marker import undone
from .outcome import Witness, witness_for
from .policy import Retry, may_repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._typing import Source
    from ..session.session import Block, Session

P = ParamSpec("P")
T = TypeVar("T")
Resolve = Literal["xid", "marker", True, False, None]


class Runner:
    """Runs functions in a session with a transaction: the base of Engine and Registry."""

    if TYPE_CHECKING:

        def begin(self, **options: Any) -> Block: ...
        def resolve(self, name: str | None) -> Source: ...

    def run(
        self,
        fn: Callable[..., T],
        *args: Any,
        attempts: int = 5,
        timeout: float = 30.0,
        idempotent: bool = False,
        resolve: Resolve = None,
        retry: Retry | None = None,
        **options: Any,
    ) -> T:
        """
        Run `fn(session, *args)` in a fresh session and transaction, and all of it again after errors that undid it.

        `attempts` and `timeout` (seconds) bound it, or `retry` does. While it waits, it holds no connection. `options`
        are the session's. A commit with an unknown outcome is repeated only when `fn` is `idempotent`, or when `resolve`
        found out that it did not happen (on the default database): "xid" asks PostgreSQL for the transaction's status,
        "marker" keeps a row of the table `sessionkit_marker`, True takes the better one. Either costs a round trip in
        each attempt.

        Raises:
            ArgumentError: `fn` is no plain function.
            InvalidRequestError: inside an open transaction of the same context, which it could not be part of.
            CommitUnknownError: nobody knows whether the last attempt committed.
            Error: the last error, with a note of how often it was tried and for how long.
        """
        _check(fn)
        return _run(self, fn, args, retry or Retry(attempts, timeout), idempotent, resolve, options)

    @overload
    def transactional(self, fn: Callable[Concatenate[Session, P], T], /) -> Callable[P, T]: ...
    @overload
    def transactional(
        self, fn: None = None, /, **options: Any
    ) -> Callable[[Callable[Concatenate[Session, P], T]], Callable[P, T]]: ...
    def transactional(self, fn: Any = None, /, **options: Any) -> Any:
        """
        Make a function of a session one that runs in a transaction of its own: `@engine.transactional`, or with `run`'s options.

        It is called without the session: `run` makes one for each attempt.
        """
        return _decorated(self.run, fn, options)


_LATER = 0x20 | 0x80 | 0x200
"""A code's flags that say that a call runs nothing of it yet: generator, coroutine, asynchronous generator (`inspect`)."""


def _check(fn: Any) -> None:
    """
    Refuse what cannot be run in a transaction.

    Raises:
        ArgumentError: it cannot be called, or a call only makes a generator or coroutine, whose body would run after COMMIT.
    """
    function("what run() runs", fn)
    if getattr(getattr(fn, "__code__", None), "co_flags", 0) & _LATER:
        raise errors.ArgumentError(
            f"{fn.__qualname__} is a generator or coroutine function: its body would run after the transaction; use a plain one"
        )


def _run(
    runner: Runner, fn: Callable[..., T], args: tuple[Any, ...], policy: Retry, idempotent: bool, resolve: Resolve,
    options: dict[str, Any],
) -> T:  # fmt: skip
    """Run `fn(session, *args)` in a block, again and again as the policy says; the last error is raised, with a note."""
    attempts = Attempts(runner, policy, idempotent, resolve, options)
    while True:
        value: Any = None
        try:
            attempts.start()
            with runner.begin(**options) as session:
                value = fn(session, *args)
                attempts.note(session)
            return value  # type: ignore[no-any-return]
        except errors.Error as exc:
            failed = exc
        try:
            if attempts.has_happened(failed):
                return value  # type: ignore[no-any-return]
            policy.sleep(attempts.pause(failed))
        finally:
            del failed  # no frame keeps what is raised through it


class Attempts:
    """
    The attempts of one `run`, whoever makes them: what is noted in each, and whether there is to be another.

    Each begins with `start()`; `note(session)` is called when its work is done, before COMMIT. When it failed, `has_happened(exc)`
    tells whether it was committed all the same, and then `pause(exc)` returns the seconds to wait before the next one.

    Raises:
        InvalidRequestError: a transaction is open in this context.
    """

    def __init__(
        self, runner: Any, policy: Retry, idempotent: bool, resolve: Resolve, options: Mapping[str, Any]
    ) -> None:
        if is_inside():
            raise errors.InvalidRequestError(
                "run() inside an open transaction: it could see nothing of it, might wait for it for ever, and could not be "
                "undone with it; call the function with the session that you have"
            )
        read_only = options.get("read_only")  # whether it committed makes no difference
        witness = witness_for(runner, resolve)
        self._witness: Witness | None = None if read_only else witness
        self._source: Any = runner.resolve(None)
        self._policy = policy
        self._idempotent = idempotent
        self._number = 0
        self._started = policy.clock()
        self._has_begun = self._is_noted = self._is_undone = False

    @property
    def has_witness(self) -> bool:
        """Whether `start` and `note` have something to do, which makes round trips."""
        return self._witness is not None

    def start(self) -> None:
        """Begin an attempt; what fails in here has done no work."""
        self._number += 1
        self._has_begun = self._is_noted = self._is_undone = False
        if self._witness is not None:
            self._witness.prepare()
        self._has_begun = True

    def note(self, session: Session) -> None:
        """Note in the transaction itself that it is this one."""
        if self._witness is not None:
            self._witness.note(session)
            self._is_noted = True

    def has_happened(self, failed: errors.Error) -> bool:
        """
        Tell whether an attempt that failed was committed, asking the database where that is not known and can be found out.

        Raises:
            CommitUnknownError: it is not known, and could not be found out.
        """
        if self._is_noted and self._witness is not None and isinstance(failed, errors.CommitUnknownError):
            if _outcome(self._witness, self._policy, failed):
                return True
            self._is_undone = True
        return False

    def pause(self, failed: errors.Error) -> float:
        """
        Return the seconds to wait before the next attempt; what failed is logged.

        Raises:
            Error: what failed, when there is to be no other attempt, with a note of how often it was tried and for how long.
        """
        repeat = self._is_undone or may_repeat(failed, self._idempotent or not self._has_begun)
        if self._is_undone:
            failed = undone(failed)
        pause = self._policy.announce(self._number, self._started, failed) if repeat else None
        if self._source.listeners.functions:
            self._source.listeners.notify(
                RetryEvent(
                    self._source.name, self._number, type(failed).__name__, failed.sqlstate or failed.code, pause
                )
            )
        try:
            if pause is None:
                if repeat or self._number > 1:
                    failed.add_note(
                        f"attempt {self._number}, {self._policy.clock() - self._started:.1f} s after the first began"
                    )
                raise failed
            return pause
        finally:
            del failed  # no frame keeps what is raised through it


FINDING = 10
"""Attempts to find out what became of a commit, at least: asking again does no work twice."""


def _outcome(witness: Witness, policy: Retry, unknown: errors.Error) -> bool:
    """Return whether the commit happened; where nobody can tell in time, `unknown` is raised."""
    started, attempt, failed = policy.clock(), 0, unknown
    try:
        while True:
            attempt += 1
            found, failed = None, unknown
            try:
                found = witness.committed()
            except errors.Error as exc:
                if not may_repeat(exc, idempotent=True):
                    unknown.add_note(f"what became of it could not be found out: {exc}")
                    raise unknown from exc
                failed = exc
            if found is not None:
                return found
            if not policy.wait(attempt, started, failed, FINDING):  # a cut transaction may be under way still
                unknown.add_note(f"what became of it could not be found out in {policy.clock() - started:.1f} s")
                raise unknown
    finally:
        del unknown, failed  # no frame keeps what is raised through it


def _decorated(run: Callable[..., Any], fn: Callable[..., T] | None, options: dict[str, Any]) -> Any:
    """Return the decorator form of `run`, or what it makes of `fn`."""
    from functools import wraps

    def decorate(fn: Callable[..., T]) -> Callable[..., T]:
        _check(fn)

        @wraps(fn)
        def call(*args: Any, **keywords: Any) -> T:
            def work(session: Any) -> T:
                return fn(session, *args, **keywords)

            found: T = run(work, **options)
            return found

        return call

    return decorate if fn is None else decorate(fn)
