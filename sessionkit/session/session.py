"""The session: one unit of work as people see it, from its beginning to its end."""

from __future__ import annotations

import sys
from _thread import get_ident
from sys import _getframe
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequestError, UncommittedWorkWarning, shorten
from ..options import function, limit, spelled
from ..pool.lease import caller, place
from .block import NO_MODES
from .bulk import Bulk
from .cleanup import note
from .external import Given
from .statements import given_source
from .transaction import Stack

if TYPE_CHECKING:
    from types import TracebackType

    from .._typing import Binder, DBAPIConnection, Hook
    from .block import Transaction


class Session(Bulk):
    """
    A unit of work: it begins by itself, ends cleanly whatever happens, and keeps one object per row while it lasts.

    `bind` is a Registry, an Engine or a live DB-API connection (which it never closes). A session takes a
    connection with its first statement and gives it back with commit, rollback, close, reset or invalidate.
    It lives as long as one piece of work, and belongs to one thread at a time.

    `close_resets_only=False` makes `close()` final. `expire_on_commit=False` keeps the identity map over a
    commit. `autobegin=False` refuses statements outside `begin()`. `isolation_level`, `read_only` and `statement_timeout`
    (seconds) and `pipeline` (see `begin`) hold for every transaction that does not say otherwise. `two_phase=True` commits on
    several databases as one: on all of them or on none (see `Registry.recover`). `info` is a dict of the program's own.
    """

    _links: dict[Any, Any] = {}  # for the finaliser of one that was never made

    def __init__(
        self,
        bind: Binder | DBAPIConnection,
        *,
        close_resets_only: bool = True,
        expire_on_commit: bool = True,
        autobegin: bool = True,
        isolation_level: str | None = None,
        read_only: bool = False,
        statement_timeout: float | None = None,
        pipeline: bool = False,
        two_phase: bool = False,
        info: dict[Any, Any] | None = None,
    ) -> None:
        self._stack = stack = Stack(expire_on_commit) if not two_phase else _two_phase_stack(expire_on_commit)
        self._guard = stack.guard
        self._links = stack.links
        binder: Any = bind
        fixed: Any = binder if hasattr(binder, "lender") else None
        if fixed is None and not hasattr(binder, "resolve"):
            binder = fixed = given_source(bind)
        self._binder = binder
        self._fixed = fixed
        self._autobegin = autobegin
        self._defaults = NO_MODES
        if isolation_level is not None or read_only or statement_timeout is not None or pipeline:
            self._defaults = (
                spelled(isolation_level),
                read_only,
                limit("statement_timeout", statement_timeout),
                pipeline,
            )
        self._close_resets_only = close_resets_only
        self._closed = False
        self._info = None if info is None else dict(info)
        frame = caller(_getframe(1))
        self._holder = (id(self), frame.f_code, frame.f_lasti)

    # -- transactions

    def begin(
        self,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
        statement_timeout: float | None = None,
        pipeline: bool | None = None,
    ) -> Transaction:
        """
        Begin a transaction: as a `with` block it commits on a normal end and rolls back on any exception.

        Nothing begun: it begins. Begun by itself by an earlier statement: the block takes that over and commits
        it. Inside another block or handle: a savepoint. No connection is taken before the first statement.
        With `pipeline` (PostgreSQL; elsewhere it changes nothing) statements are sent without waiting for their answers. A result
        is fetched when it is first looked at, and COMMIT travels with what is outstanding: errors come there.

        Raises:
            InvalidRequestError: an option for a savepoint, or after a statement has run.
            TransactionLostError: a block is open whose transaction has ended.
        """
        with self._guard():
            self._check_usable()
            stack = self._stack
            stack.check_open()
            asked = (spelled(isolation_level), read_only, limit("statement_timeout", statement_timeout), pipeline)
            return stack.open(asked, self._defaults)

    def begin_nested(self) -> Transaction:
        """Begin a savepoint inside the transaction; with nothing begun it is the outer block itself."""
        with self._guard():
            self._check_usable()
            self._stack.check_open()
            return self._stack.nest() if self._stack.levels else self._stack.begin(self._defaults)

    def commit(self) -> None:
        """
        Commit. Whatever fails, the session is idle afterwards and the connection is back or thrown away.

        Raises:
            InvalidRequestError: inside a block, which commits by itself at its end.
            TransactionAbortedError, TransactionLostError: there was nothing (left) to commit; the cause says why.
            CommitUnknownError: the connection was lost during COMMIT.
            PartialCommitError: of several databases, one committed and a later one did not.
        """
        guard, mark = self._guard, [get_ident()]
        try:
            if guard.setdefault(0, mark) is not mark:
                guard.contest(mark)
            stack = self._stack
            levels = stack.levels
            if len(levels) != 1 or levels[0].entered or stack.ending:
                levels = self._committable()
            if levels:
                stack.commit_all(levels[0])
        finally:
            if guard.get(0) is mark:
                del guard[0]

    def rollback(self) -> None:
        """Roll back everything, savepoints included; with nothing begun, nothing is sent. It always recovers the session."""
        with self._guard():
            self._check_usable()
            if not self._stack.ending:
                self._check_not_in_block("rollback", "raise sessionkit.Rollback to undo it")
            self._stack.drop(raising=True)

    def after_commit(self, hook: Hook) -> None:
        """
        Call `hook()` once, after the outermost commit, with the connection already returned.

        It belongs to the level that is open now: a savepoint that is rolled back drops it. With nothing begun,
        a transaction begins (and no connection is taken).
        """
        with self._guard():
            function("a hook", hook)
            self._ensure_begun()
            self._stack.levels[-1].commit_hooks += (hook,)

    def after_rollback(self, hook: Hook) -> None:
        """Call `hook()` once, after the outermost end, if the level that is open now was rolled back."""
        with self._guard():
            function("a hook", hook)
            self._ensure_begun()
            self._stack.levels[-1].rollback_hooks += (hook,)

    # -- the way out

    def close(self) -> None:
        """
        Roll back, give the connections back, empty the identity map; with `close_resets_only=False` for good.

        Idempotent. Writes that nobody committed emit UncommittedWorkWarning. A failing ROLLBACK is logged and its
        connection closed, not raised.
        """
        if self._closed_idle():
            return
        with self._guard():
            dropped = self._dropped_work()
            kept = self._way_out(final=True)
        _warn(dropped, kept)

    def reset(self) -> None:
        """As `close()`, but the session stays usable whatever `close_resets_only` says, and dropped writes are no surprise."""
        with self._guard():
            self._check_usable()
            kept = self._way_out()
        _warn(None, kept)

    def invalidate(self) -> None:
        """As `close()`, but the connections are closed and not pooled, with no round trip; dropped writes are no surprise."""
        with self._guard():
            kept = self._way_out(discard=True, final=True)
        _warn(None, kept)

    def _way_out(
        self, *, discard: bool = False, final: bool = False, because: BaseException | None = None
    ) -> tuple[str, ...]:
        try:
            self._stack.forget()
            return self._stack.drop(discard=discard, because=because)
        finally:
            if final and not self._close_resets_only:
                self._closed = True
                self._fixed = None  # so that what a statement looks at first sends it to be refused

    def _closed_idle(self) -> bool:
        """Close a session with nothing begun, which has nothing to do but forget; False when there is more to do."""
        stack = self._stack
        if stack.levels or stack.links or self._guard:
            return False
        stack.forget()
        if not self._close_resets_only:
            self._closed, self._fixed = True, None
        return True

    def _dropped_work(self) -> str | None:
        if self._stack.ending:
            return None
        for link in self._stack.links.values():
            if link.begun and link.first_write:
                return str(link.first_write)
        return None

    def __enter__(self) -> Session:
        self._check_usable()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._closed_idle():
            return
        with self._guard():
            dropped = self._dropped_work()
            kept: tuple[str, ...] = ()
            try:
                kept = self._way_out(final=True, because=exc)
            except Exception as failed:  # of a hook: the exception in flight is the one that is raised
                if exc is None:
                    raise
                note(exc, failed)
        if exc is None:
            _warn(dropped, kept)

    # -- state

    @property
    def info(self) -> dict[Any, Any]:
        """A dict of the program's own, which survives close and reset."""
        if self._info is None:
            self._info = {}
        return self._info

    def in_transaction(self) -> bool:
        """Whether a transaction has begun, by itself or by `begin()`."""
        return bool(self._stack.levels)

    def in_nested_transaction(self) -> bool:
        """Whether a savepoint level is open."""
        return len(self._stack.levels) > 1

    def get_transaction(self) -> Transaction | None:
        """Return the outermost transaction, or None."""
        return self._stack.levels[0] if self._stack.levels else None

    @property
    def is_active(self) -> bool:
        """Whether statements can run: False once closed for good, and while a rollback is owed."""
        owed = (
            self._stack.ending or self._stack.orphans or any(not link.is_well() for link in self._stack.links.values())
        )
        return not (self._closed or owed)

    @property
    def closed(self) -> bool:
        """Whether it was closed for good (`close_resets_only=False`)."""
        return self._closed

    # -- inside

    def _committable(self) -> tuple[Transaction, ...]:
        """Return the levels that commit() ends, none or one; raise where it may not."""
        self._check_usable()
        self._check_not_in_block("commit", "leave the block to commit")
        self._stack.check_open()
        if len(self._stack.levels) > 1:
            raise InvalidRequestError("a begin_nested() handle is still open; end it first, or roll back")
        return self._stack.levels

    def _check_not_in_block(self, verb: str, how: str) -> None:
        if self._stack.in_block:
            raise InvalidRequestError(f"{verb}() inside a begin() block, which ends the transaction itself; {how}")

    def __reduce__(self) -> Any:
        raise TypeError("a session cannot be pickled or copied: it owns a connection and a transaction; make a new one")

    def __copy__(self) -> Any:
        return self.__reduce__()

    def __deepcopy__(self, memo: object) -> Any:
        return self.__reduce__()

    def __del__(self) -> None:
        if self._links and sys is not None and not sys.is_finalizing():
            _abandon(self._stack, place(*self._holder[1:]))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if not self._stack.levels else repr(self._stack.levels[-1])
        if isinstance(self._binder, Given) and self._binder.is_inside:
            state += "; inside a transaction that it does not end"
        return f"<Session: {state}, {len(self._identity)} objects>"


def _two_phase_stack(expire: bool) -> Stack:
    from .twophase import TwoPhaseStack

    return TwoPhaseStack(expire)


def _warn(first_write: str | None, kept: tuple[str, ...]) -> None:
    """Say that close() dropped writes, or could not: after it is done, because a warning may be turned into an error."""
    if first_write is None and not kept:
        return
    import warnings

    text = "; ".join(kept) or (
        f'the session was closed with writes that nobody committed, the first being "{shorten(first_write or "")}"; '
        "they are rolled back: commit(), or use begin(); or say rollback() or reset() to drop them"
    )
    warnings.warn(text, UncommittedWorkWarning, stacklevel=3)


def _abandon(stack: Stack, made: str) -> None:
    """Close what an uncollected session held, without touching the pool, and say where it was made."""
    import warnings

    held = any(link.lease is not None for link in stack.links.values())
    while stack.links:
        stack.links.popitem()[1].abandon()
    stack.forsake()
    if not held:  # no connection could be had
        return
    warnings.warn(
        f"a session made at {made} was never closed; its connection was closed and what it had not committed is undone: "
        "use 'with', or close()",
        ResourceWarning,
        stacklevel=3,
    )


class Block:
    """A session and its transaction in one block: what `engine.begin()` and `registry.begin()` return."""

    __slots__ = ("_bind", "_options", "_session", "_transaction")

    def __init__(self, bind: Binder, options: dict[str, Any]) -> None:
        self._bind = bind
        self._options = options

    def __enter__(self) -> Session:
        self._session = session = Session(self._bind, **self._options) if self._options else Session(self._bind)
        self._transaction = level = session._stack.begin(session._defaults)
        level.entered = True
        return session

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        session = self._session
        try:
            swallowed = self._transaction.__exit__(kind, exc, tb)
        except BaseException as failed:
            session.__exit__(type(failed), failed, failed.__traceback__)
            raise
        if swallowed:
            kind = exc = tb = None
        if not session._closed_idle():
            session.__exit__(kind, exc, tb)
        return swallowed
