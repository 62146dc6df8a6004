"""Levels and their fate; the ends: commit over several links, the one way out, hooks."""

from __future__ import annotations

from . import errors
from .aftermath import note, quietened, raise_first, run_hooks
from .errors import InvalidRequestError, Rollback, TransactionLostError
from .guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._typing import Held, Hook

    Modes = tuple[str | None, bool | None]

OPEN, COMMITTED, ROLLED_BACK, LOST, UNKNOWN = "active", "committed", "rolled back", "lost", "unknown"

_NO_MODES: Modes = (None, False)


class Transaction:
    """
    A level of a session's transaction: the outermost, or one with a savepoint. Lives as long as that level.

    As a `with` block it commits on a normal end and rolls back on any exception. As a handle it is ended once,
    by `commit()` or `rollback()`. `status` tells its fate: active, committed, rolled back, lost, unknown.
    """

    entered = False  # a `with` block is open
    status = OPEN
    isolation_level: str | None = None
    read_only = False
    commit_hooks: tuple[Hook, ...] = ()
    rollback_hooks: tuple[Hook, ...] = ()
    undo: tuple[Hook, ...] = ()  # what puts objects back when this level is rolled back

    def __init__(self, stack: Stack, name: str | None, auto: bool) -> None:
        self._stack = stack
        self.name = name  # of the savepoint; None for the outermost
        self.auto = auto  # began by itself

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
        with self._stack.guard:
            self._check_handle("commit")
            self._stack.commit(self)

    def rollback(self) -> None:
        """
        Undo this level and all within it.

        Raises:
            InvalidRequestError: it has ended, or it or one within it is a `with` block.
        """
        with self._stack.guard:
            self._check_handle("rollback")
            self._stack.rollback(self)

    @property
    def _guard(self) -> Guard:
        return self._stack.guard

    def _check_handle(self, verb: str) -> None:
        levels = self._stack.levels
        if self.status != OPEN or self not in levels:
            raise InvalidRequestError(f"this transaction is {self.status} already; a handle is ended once")
        if any(level.entered for level in levels[levels.index(self) :]):
            raise InvalidRequestError(
                f"{verb}() inside the transaction's own block: leave the block to commit, raise sessionkit.Rollback to undo it"
            )

    def __enter__(self) -> Transaction:
        if self.status != OPEN or self.entered:
            told = "is entered" if self.entered else f"is {self.status}"
            raise InvalidRequestError(
                f"this transaction {told} already; a block is entered once, begin() gives a new one"
            )
        self.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        with self._stack.guard:
            self.entered = False
            if exc is None:
                self._stack.leave_block(self)
                return False
            self._stack.leave_block_by(self, exc)
        return isinstance(exc, Rollback)

    def __repr__(self) -> str:
        kind = f"savepoint {self.name}" if self.nested else "begun by itself" if self.auto else "begun"
        return f"<Transaction: {self.status}, {kind}>"


class Stack:
    """
    What a session has open: levels, outermost first, and a link for each database that they use.

    `held` is what the session holds of the database and forgets at an end (at a commit if `expire`). Between the
    first step of an end and its last, `ending` is set: an interrupt at any instruction leaves either a
    transaction that stands, or one that the next end finishes.
    """

    orphans: tuple[Transaction, ...] = ()  # blocks whose transaction was ended under them
    owed: tuple[Hook, ...] = ()  # rollback hooks of savepoints that were rolled back
    ending: str | None = None  # while an end is under way: the outcome to tell if it is interrupted
    _serial = 0

    def __init__(self, held: Held, expire: bool) -> None:
        self.guard = Guard()
        self.held = held
        self.expire = expire
        self.levels: list[Transaction] = []
        self.links: dict[object, Any] = {}  # by source

    # -- beginning

    def check_open(self) -> None:
        """
        Raise when statements must not run: a block is open whose transaction has ended.

        Raises:
            TransactionLostError: until that block ends.
        """
        if self.orphans:
            raise TransactionLostError(
                "close, reset or invalidate ended the transaction of this block; leave the block"
            )
        if self.ending:
            if any(level.entered for level in self.levels):
                raise TransactionLostError(
                    "an interrupt hit the end of this transaction; leave the block, or call close()"
                )
            self.drop()

    def open(self, modes: Modes, defaults: Modes) -> Transaction:
        """
        Begin: the outermost level, or take over one that began by itself, or a savepoint. No connection is taken.

        `modes` are the isolation level and read_only asked for, None where nothing was said; `defaults` fill in.
        """
        asked = modes[0] is not None or modes[1] is not None
        if not self.levels:
            return self.begin((modes[0] or defaults[0], defaults[1] if modes[1] is None else modes[1]))
        root = self.levels[0]
        if not root.auto or len(self.levels) > 1:
            if asked:
                raise InvalidRequestError(
                    "isolation_level and read_only belong to the outermost begin(), not to a savepoint"
                )
            return self.nest()
        if asked:
            if any(link.begun for link in self.links.values()):
                raise InvalidRequestError(
                    "a statement has run in this transaction already; commit or roll back, then begin(…)"
                )
            self.links.clear()
            root.isolation_level = modes[0] if modes[0] is not None else root.isolation_level
            root.read_only = root.read_only if modes[1] is None else modes[1]
        root.auto = False
        return root

    def begin(self, modes: Modes, auto: bool = False) -> Transaction:
        """Begin the outermost level; `auto` says that it begins by itself. No connection is taken for it."""
        level = Transaction(self, None, auto)
        if modes != _NO_MODES:
            level.isolation_level, level.read_only = modes[0], bool(modes[1])
        self.levels.append(level)
        return level

    def nest(self) -> Transaction:
        """Begin a level with a savepoint, set on each database by its first statement there."""
        self._serial += 1
        level = Transaction(self, f"sk_{self._serial}", auto=False)
        self.levels.append(level)
        return level

    @property
    def in_block(self) -> bool:
        """Whether a `with` block of a transaction is open."""
        return bool(self.orphans) or any(level.entered for level in self.levels)

    # -- ending a level

    def commit(self, level: Transaction) -> None:
        """End a level by keeping its work; whatever fails, the level has ended and the session is usable."""
        if self.levels[-1] is not level:
            raise InvalidRequestError("a transaction within this one is still open; end that first, or roll back")
        if level.nested:
            self._release(level)
        else:
            self.commit_all(level)

    def _release(self, level: Transaction) -> None:
        number = len(self.levels) - 1
        try:
            for link in self.links.values():
                link.release(number, level.name)
        except BaseException as exc:
            self._undo_level(level, exc)
            raise
        parent = self.levels[-2]
        parent.commit_hooks += level.commit_hooks
        parent.rollback_hooks += level.rollback_hooks
        parent.undo += level.undo
        level.status = COMMITTED
        self.levels.pop()

    def _undo_level(self, level: Transaction, exc: BaseException) -> None:
        """Roll a level back because of `exc`, which must come out whatever else fails."""
        try:
            self.rollback(level)
        except Exception as failed:
            note(exc, failed)

    def rollback(self, level: Transaction) -> None:
        """End a level, and all within it, by undoing their work."""
        if not level.nested:
            self.drop(raising=True)
            return
        number = self.levels.index(level)
        self.held.clear()
        failures: list[BaseException] = []
        for link in self.links.values():
            try:
                link.rollback_to(number, level.name)
            except BaseException as exc:
                failures.append(exc)
        while len(self.levels) > number:
            inner = self.levels[-1]
            _run_undo(inner)
            self.owed += inner.rollback_hooks
            inner.status = ROLLED_BACK
            self.levels.pop()
        raise_first(failures)

    # -- ending it all

    def commit_all(self, root: Transaction) -> None:
        """Commit for good on every database, first those that were written to; each is asked before any is told."""
        links = list(self.links.values())
        try:
            for link in links:
                link.check_commit()
        except BaseException as exc:
            self._drop_because(exc, LOST if isinstance(exc, TransactionLostError) else ROLLED_BACK)
            raise
        self.ending = UNKNOWN
        committed: list[str] = []
        if len(links) > 1:
            links.sort(key=lambda link: link.first_write is None)  # what was only read can hardly fail: last
        for link in links:
            try:
                link.commit()
                committed.append(link.source.name)
                del self.links[link.source]
            except BaseException as exc:
                self._commit_stopped(exc, link.source.name, committed)
                raise
        if self.expire:
            self.held.clear()
        self._finish(COMMITTED, root.commit_hooks + self.owed)

    def _commit_stopped(self, exc: BaseException, failed: str, committed: list[str]) -> None:
        """COMMIT failed on one of the databases: undo what can be, and say what cannot."""
        rest = [link.source.name for link in self.links.values() if link.source.name != failed]
        unknown = isinstance(exc, errors.CommitUnknownError) or not isinstance(exc, Exception)
        self._drop_because(exc, UNKNOWN if unknown or committed else ROLLED_BACK)
        if committed and isinstance(exc, Exception):
            known = "may have committed" if unknown else "did not"
            raise errors.PartialCommitError(
                f"committed on {', '.join(committed)}, but {failed} {known}"
                + (f"; rolled back: {', '.join(rest)}" if rest else "") + "; bring them in line by hand",
                committed=committed, failed=failed, rolled_back=rest,
            ) from exc  # fmt: skip

    def _drop_because(self, exc: BaseException, outcome: str = ROLLED_BACK) -> None:
        """Leave because of `exc`, which must come out whatever else fails."""
        try:
            self.drop(raising=True, outcome=outcome)
        except Exception as failed:
            note(exc, failed)

    def drop(self, *, raising: bool = False, discard: bool = False, outcome: str | None = None) -> None:
        """
        The one way out: forget, give every connection back clean or discard it, end the levels, run the hooks.

        All of it happens, whatever fails. Failures of ROLLBACK are raised with `raising`, else logged; an
        interrupt and the errors of hooks come out in any case. `discard` closes the connections unasked.
        """
        if not (self.levels or self.links):
            return
        outcome = self.ending = outcome or self.ending or ROLLED_BACK
        self.held.clear()
        failures: list[BaseException] = []
        while self.links:
            source, link = next(reversed(self.links.items()))
            try:
                if discard:
                    link.give_up()
                else:
                    link.undo()
            except BaseException as exc:
                failures.append(exc)
            del self.links[source]
        hooks: tuple[Hook, ...] = ()
        if outcome in (ROLLED_BACK, LOST):  # the work is not kept, whoever undid it
            for level in reversed(self.levels):
                _run_undo(level)
            hooks = tuple(hook for level in self.levels for hook in level.rollback_hooks) + self.owed
        failures = quietened(failures, raising)
        try:
            self._finish(outcome, hooks)
        except BaseException as exc:
            failures.append(exc)
        raise_first(failures)

    def _finish(self, outcome: str, hooks: tuple[Hook, ...]) -> None:
        """End the levels, then run the hooks: the connections are back and the session is idle."""
        for level in self.levels:
            if level.entered:
                self.orphans += (level,)
            level.status = outcome
        self.levels = []
        self.ending = None
        if self.owed:
            self.owed = ()
        if hooks:
            run_hooks(hooks)

    # -- blocks

    def leave_block(self, level: Transaction) -> None:
        """The block of `level` ends normally."""
        if level.status != OPEN or self.ending:
            self._disown(level)
            raise TransactionLostError(
                f"the transaction of this block was ended inside it ({level.status}); its work is not kept"
            )
        if self.levels[-1] is not level:
            error = InvalidRequestError(
                "the block ends while a transaction begun within it is open; it was rolled back"
            )
            self._undo_level(level, error)
            raise error
        self.commit(level)

    def leave_block_by(self, level: Transaction, exc: BaseException) -> None:
        """The block of `level` ends by an exception, which goes on: what fails in cleaning up becomes a note on it."""
        if level.status != OPEN or self.ending:
            self._disown(level)
            return
        self._undo_level(level, exc)

    def _disown(self, level: Transaction) -> None:
        self.orphans = tuple(orphan for orphan in self.orphans if orphan is not level)
        if self.ending and not self.in_block:
            self.drop()


def _run_undo(level: Transaction) -> None:
    while level.undo:
        *rest, last = level.undo
        level.undo = tuple(rest)
        last()
