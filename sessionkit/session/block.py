"""One level of a session's transaction, as people hold it: a `with` block, or a handle that is ended once."""

from __future__ import annotations

from _thread import get_ident

from ..errors import InvalidRequestError, Rollback, TransactionLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol

    from .._typing import Hook, Modes
    from .guard import Guard

    class Owner(Protocol):
        """The stack that a level is part of, and that ends it."""

        guard: Guard
        levels: tuple[Transaction, ...]

        def commit(self, level: Transaction) -> None: ...
        def rollback(self, level: Transaction) -> None: ...
        def leave_block(self, level: Transaction) -> None: ...
        def leave_block_by(self, level: Transaction, exc: BaseException) -> None: ...


OPEN, COMMITTED, ROLLED_BACK, LOST, UNKNOWN = "active", "committed", "rolled back", "lost", "unknown"

NO_MODES: Modes = (None, False, None, False)


class Transaction:
    """
    A level of a session's transaction: the outermost, or one with a savepoint. Lives as long as that level.

    As a `with` block it commits on a normal end and rolls back on any exception. As a handle it is ended once,
    by `commit()` or `rollback()`. `status` tells its fate: active, committed, rolled back, lost, unknown.
    """

    __slots__ = (
        "_stack", "auto", "commit_hooks", "entered", "modes", "name", "rollback_hooks", "status", "undo",
    )  # fmt: skip

    def __init__(self, stack: Callable[[], Owner | None], name: str | None, auto: bool, modes: Modes) -> None:
        self._stack = stack  # weak: no cycle keeps what a session held when its finaliser was interrupted
        self.name = name  # of the savepoint; None for the outermost
        self.auto = auto  # began by itself
        self.modes = modes
        self.entered = False  # a `with` block is open
        self.status = OPEN
        self.commit_hooks: tuple[Hook, ...] = ()
        self.rollback_hooks: tuple[Hook, ...] = ()
        self.undo: tuple[Hook, ...] = ()  # what puts objects back when this level is rolled back

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.status == OPEN

    @property
    def nested(self) -> bool:
        """Whether it is a savepoint in another."""
        return self.name is not None

    def commit(self) -> None:
        """
        Commit this level: the outermost for good, a nested one into the level around it.

        Raises:
            InvalidRequestError: it has ended, is a `with` block, or has an inner handle that is still open.
        """
        stack = self._owner("commit")
        with stack.guard():
            self._check_handle(stack, "commit")
            stack.commit(self)

    def rollback(self) -> None:
        """
        Undo this level and all within it.

        Raises:
            InvalidRequestError: it has ended, or it or one within it is a `with` block.
        """
        stack = self._owner("rollback")
        with stack.guard():
            self._check_handle(stack, "rollback")
            stack.rollback(self)

    def _owner(self, verb: str) -> Owner:
        stack = self._stack()
        if stack is None:
            self.status = LOST if self.status == OPEN else self.status
            raise InvalidRequestError(f"{verb}(): the session of this transaction is gone; it is {self.status}")
        return stack

    def _check_handle(self, stack: Owner, verb: str) -> None:
        levels = stack.levels
        if self.status != OPEN or self not in levels:
            raise InvalidRequestError(f"this transaction is {self.status} already; a handle is ended once")
        if any(level.entered for level in levels[levels.index(self) :]):
            raise InvalidRequestError(
                f"{verb}() inside the transaction's own block: leave the block to commit, raise sessionkit.Rollback to undo it"
            )

    def __enter__(self) -> Transaction:
        if self.status != OPEN or self.entered:
            state = "is entered" if self.entered else f"is {self.status}"
            raise InvalidRequestError(
                f"this transaction {state} already; a block is entered once, begin() gives a new one"
            )
        self.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        stack, mark = self._stack(), [get_ident()]
        if stack is None:
            return self._leave_alone(exc)
        guard = stack.guard
        try:
            if guard.setdefault(0, mark) is not mark:
                guard.contest(mark)
            self.entered = False
            if exc is None:
                stack.leave_block(self)
                return None
            stack.leave_block_by(self, exc)
        finally:
            if guard.get(0) is mark:
                del guard[0]
        return isinstance(exc, Rollback)

    def _leave_alone(self, exc: BaseException | None) -> bool:
        """The block ends after its session, which nobody kept: what it did was undone with its connection."""
        self.entered = False
        if self.status == OPEN:
            self.status = LOST
        if exc is None:
            raise TransactionLostError(
                f"the session of this block is gone ({self.status}); keep it while the block lasts"
            )
        return isinstance(exc, Rollback)

    def __repr__(self) -> str:
        kind = f"savepoint {self.name}" if self.nested else "begun by itself" if self.auto else "begun"
        return f"<Transaction: {self.status}, {kind}>"


def filled(modes: Modes, defaults: Modes) -> Modes:
    """Return the modes asked for, with the defaults where nothing was said."""
    return (
        modes[0] or defaults[0],
        defaults[1] if modes[1] is None else modes[1],
        defaults[2] if modes[2] is None else modes[2],
        defaults[3] if modes[3] is None else modes[3],
    )
