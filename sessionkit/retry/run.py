"""A function in a transaction of its own, and all of it again where that is safe: what engine and registry share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from .. import errors
from ..options import function
from ..session.context import is_inside
from .outcome import Witness, witness_for
from .policy import Retry, may_repeat

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """
    Run `fn(session, *args)` in a block, again and again as the policy says; the last error is raised, with a note.

    Raises:
        InvalidRequestError: a transaction is open in this context.
    """
    if is_inside():
        raise errors.InvalidRequestError(
            "run() inside an open transaction: it could see nothing of it, might wait for it for ever, and could not be "
            "undone with it; call the function with the session that you have"
        )
    witness = witness_for(runner, resolve)
    if options.get("read_only"):
        witness = None  # whether it committed makes no difference
    started, attempt = policy.clock(), 0
    while True:
        attempt += 1
        begun = noted = False
        value: Any = None
        try:
            if witness is not None:
                witness.prepare()
            begun = True
            with runner.begin(**options) as session:
                value = fn(session, *args)
                if witness is not None:
                    witness.note(session)
                    noted = True
            return value  # type: ignore[no-any-return]
        except errors.Error as exc:
            failed = exc
        try:
            repeat = may_repeat(failed, idempotent or not begun)
            if noted and witness is not None and isinstance(failed, errors.CommitUnknownError):
                if _outcome(witness, policy, failed):
                    return value  # type: ignore[no-any-return]
                failed, repeat = _undone(failed), True
            if not repeat or not policy.wait(attempt, started, failed):
                if repeat or attempt > 1:
                    failed.add_note(f"attempt {attempt}, {policy.clock() - started:.1f} s after the first began")
                raise failed
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


def _undone(unknown: errors.Error) -> errors.Error:
    """Return what to say of a commit that was unknown, once it is known that it did not happen."""
    error = errors.DisconnectionError(
        "the connection was lost during COMMIT, and it was found out that nothing was committed",
        orig=unknown.orig, sqlstate=unknown.sqlstate, code=unknown.code, statement="COMMIT",
    )  # fmt: skip
    error.__cause__ = unknown
    return error


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
