"""The levels of a session and their ends: commit over several links, the one way out, hooks."""

from __future__ import annotations

from weakref import ref

from .. import errors
from ..errors import InvalidRequestError, Rollback, RollbackIncompleteError, TransactionLostError
from .block import COMMITTED, LOST, NO_MODES, OPEN, ROLLED_BACK, UNKNOWN, Transaction, filled
from .cleanup import note, quieten, raise_first, run_hooks
from .context import note_begin
from .guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._typing import Held, Hook, Modes


class Stack:
    """
    What a session has open: levels, outermost first, and a link for each database that they use.

    `held` is what the session holds of the database and forgets at an end (at a commit if `expire`). Between the
    first step of an end and its last, `ending` is set: an interrupt at any instruction leaves either a
    transaction that stands, or one that the next end finishes.
    """

    __slots__ = (
        "__weakref__",
        "_serial",
        "ending",
        "expire",
        "guard",
        "held",
        "levels",
        "links",
        "orphans",
        "owed",
        "struck",
    )

    make_link: Any = None  # how a link is made, where it is not a plain one

    def __init__(self, expire: bool) -> None:
        self.guard = Guard()
        self.held: Held | None = None  # set when something is first held
        self.expire = expire
        self.links: dict[object, Any] = {}  # by source
        self.levels: tuple[Transaction, ...] = ()
        self.orphans: tuple[Transaction, ...] = ()  # blocks whose transaction was ended under them
        self.owed: tuple[Hook, ...] = ()  # rollback hooks of savepoints that were rolled back
        self.ending: str | None = None  # while an end is under way: the outcome to tell if it is interrupted
        self._serial = 0
        self.struck = 0  # the `id()` of what interrupted the cleaning up

    def forget(self) -> None:
        """Let go of every object that is held."""
        if self.held is not None:
            self.held.clear()

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
        `modes` are what was asked for, None where nothing was said; `defaults` fill in.
        """
        asked = modes != (None, None, None, None)
        if not self.levels:
            return self.begin(filled(modes, defaults))
        root = self.levels[0]
        if not root.auto or len(self.levels) > 1:
            if asked:
                raise InvalidRequestError(
                    "isolation_level, read_only, statement_timeout and pipeline belong to the outermost begin(), not to a savepoint"
                )
            return self.nest()
        if asked:
            if any(link.begun for link in self.links.values()):
                raise InvalidRequestError(
                    "a statement has run in this transaction already; commit or roll back, then begin(…)"
                )
            self.links.clear()
            root.modes = filled(modes, root.modes)
        root.auto = False
        return root

    def begin(self, modes: Modes, auto: bool = False) -> Transaction:
        """Begin the outermost level; `auto` says that it begins by itself. No connection is taken for it."""
        me: ref[Stack] = ref(self)
        level = Transaction(me, None, auto, modes)
        note_begin(me)
        self.levels = (level,)
        return level

    def nest(self) -> Transaction:
        """Begin a level with a savepoint, set on each database by its first statement there."""
        self._serial += 1
        level = Transaction(ref(self), f"sk_{self._serial}", False, NO_MODES)
        self.levels += (level,)
        return level

    @property
    def has_begun(self) -> bool:
        """Whether an open transaction is more than the intention: a block or handle, or a connection that is held."""
        levels = self.levels
        return bool(levels) and (not levels[0].auto or any(link.lease is not None for link in self.links.values()))

    @property
    def in_block(self) -> bool:
        """Whether a `with` block of a transaction is open."""
        return bool(self.orphans) or any(level.entered for level in self.levels)

    # -- ending a level

    def commit(self, level: Transaction) -> None:
        """End a level by keeping its work; whatever fails, the level has ended and the session is usable."""
        if self.levels[-1] is not level:
            raise InvalidRequestError("a transaction within this one is still open; end that first, or roll back")
        if level.name is None:
            self.commit_all(level)
        else:
            self._release(level)

    def _release(self, level: Transaction) -> None:
        number = len(self.levels) - 1
        having = [link for link in self.links.values() if link.depth >= number]
        try:
            for link in having:
                link.release(number, level.name)
        except BaseException as exc:
            for link in having:
                if link.depth < number:  # it cannot undo any more what it has released
                    link.doom(
                        exc
                        if isinstance(exc, errors.Error)
                        else errors.OperationalError("releasing a savepoint on several databases was interrupted")
                    )
            self._undo_level(level, exc)
            raise
        parent = self.levels[-2]
        parent.commit_hooks += level.commit_hooks
        parent.rollback_hooks += level.rollback_hooks
        parent.undo += level.undo
        level.status = COMMITTED
        self.levels = self.levels[:-1]

    def _undo_level(self, level: Transaction, exc: BaseException) -> None:
        """Roll a level back because of `exc`, which must come out whatever else fails."""
        try:
            self.rollback(level)
        except Exception as failed:
            self._note(exc, failed)

    def _note(self, exc: BaseException, failed: Exception) -> None:
        """Let what failed in cleaning up become a note on `exc`, unless it is an interruption, which is raised."""
        if id(failed) == self.struck:
            raise failed
        note(exc, failed)

    def rollback(self, level: Transaction) -> None:
        """End a level, and all within it, by undoing their work."""
        if not level.nested:
            self.drop(raising=True)
            return
        number = self.levels.index(level)
        self.forget()
        failures: list[BaseException] = []
        try:
            for link in self.links.values():
                try:
                    link.rollback_to(number, level.name)
                except BaseException as exc:
                    self._failed(failures, exc)
            while len(self.levels) > number:
                inner = self.levels[-1]
                _run_undo(inner)
                self.owed += inner.rollback_hooks
                inner.status = ROLLED_BACK
                self.levels = self.levels[:-1]
            raise_first(failures)
        finally:
            failures.clear()  # an exception whose frames keep it would live until the garbage is collected

    # -- ending it all

    def commit_all(self, root: Transaction) -> None:
        """Commit for good on every database, those written to first; all are looked at before the first COMMIT."""
        links = self.links
        try:
            for link in links.values():
                if link.begun and not link.stands():
                    raise link.lost()
        except BaseException as exc:
            self._drop_because(exc, LOST if isinstance(exc, TransactionLostError) else ROLLED_BACK)
            raise
        current: Any = None
        try:
            self.ending = UNKNOWN
            for current in links.values() if len(links) == 1 else self._by_risk():
                current.commit()
            self.ending = COMMITTED
            links.clear()
            if self.expire:
                self.forget()
            root.status = COMMITTED
            self.levels = ()
            self.ending = None
        except BaseException as exc:
            self._commit_stopped(exc, current)
            raise
        if root.commit_hooks or self.owed:
            hooks, self.owed = root.commit_hooks + self.owed, ()
            run_hooks(hooks)

    def _by_risk(self) -> list[Any]:
        """Return the links in the order of their commits: what was only read can hardly fail, so it comes last."""
        for source, link in list(self.links.items()):
            if link.lease is None:  # no connection could be had, so there is nothing to commit
                del self.links[source]
        return sorted(self.links.values(), key=lambda link: link.first_write is None)

    def _commit_stopped(self, exc: BaseException, link: Any) -> None:
        """COMMIT failed, or was interrupted, on one of the databases: undo what can be, and say what cannot."""
        if self.ending != UNKNOWN or link is None:  # an interrupt hit before the first COMMIT, or after the last
            self._drop_because(exc, COMMITTED if self.ending == COMMITTED else ROLLED_BACK)
            return
        failed = link.source.name
        others = [other for other in self.links.values() if other is not link]
        committed = [other.source.name for other in others if other.lease is None]  # its connection is back
        rest = [other.source.name for other in others if other.lease is not None]
        unknown = isinstance(exc, errors.CommitUnknownError) or not isinstance(exc, errors.Error)
        self._drop_because(exc, UNKNOWN if unknown or committed else ROLLED_BACK)
        if not isinstance(exc, errors.Error):
            exc.add_note(
                f"COMMIT was under way{' on ' + failed if failed else ''}: whether it happened is not known"
                + (f"; committed on {', '.join(committed)}" if committed else "")
            )
        if committed and isinstance(exc, errors.Error):
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
            self._note(exc, failed)

    def drop(
        self,
        *,
        raising: bool = False,
        discard: bool = False,
        outcome: str | None = None,
        because: BaseException | None = None,
    ) -> tuple[str, ...]:
        """
        The one way out: forget, give every connection back clean or discard it, end the levels, run the hooks.

        All of it happens, whatever fails. Failures of ROLLBACK are raised with `raising`, else logged, and become notes on
        `because`, the exception in flight; an interrupt and the errors of hooks come out in any case. `discard` closes the
        connections unasked. Returns what there is to say, where it was not raised, of work that may be kept all the same.
        """
        if not (self.levels or self.links):
            return ()
        outcome = self.ending = outcome or self.ending or ROLLED_BACK
        self.forget()
        failures: list[BaseException] = []
        kept: tuple[str, ...] = ()
        try:
            if self._let_go(discard, failures):
                outcome = self.ending = LOST if outcome == ROLLED_BACK else outcome
                for level in self.levels:  # nobody knows whether the work is kept
                    level.rollback_hooks = level.undo = self.owed = ()
            hooks: tuple[Hook, ...] = ()
            if outcome in (ROLLED_BACK, LOST):  # the work is not kept, whoever undid it
                for level in reversed(self.levels):
                    _run_undo(level)
                hooks = tuple(hook for level in self.levels for hook in level.rollback_hooks) + self.owed
            if not raising:
                kept = quieten(failures, because)
            try:
                self._finish(outcome, hooks)
            except BaseException as exc:
                failures.append(exc)
            raise_first(failures)
        finally:
            failures.clear()  # as above
        return kept

    def _let_go(self, discard: bool, failures: list[BaseException]) -> bool:
        """Give every connection back, or discard it; what fails is collected. Return whether a transaction was gone before."""
        gone = False
        while self.links:
            source, link = next(reversed(self.links.items()))
            try:
                link.undo(discard)
            except BaseException as exc:
                self._failed(failures, exc)
            gone = gone or link.is_gone
            link.failure = None  # whose traceback has frames in which the link is
            del self.links[source]
        return gone

    def _failed(self, failures: list[BaseException], exc: BaseException) -> None:
        """Collect what failed on one of the databases; what is no error of ours is an interruption, and comes first."""
        if isinstance(exc, errors.Error):
            failures.append(exc)
        else:
            self.struck = id(exc)
            failures.insert(0, exc)

    def _finish(self, outcome: str, hooks: tuple[Hook, ...]) -> None:
        """End the levels, then run the hooks: the connections are back and the session is idle."""
        for level in self.levels:
            if level.entered:
                self.orphans += (level,)
            level.status = outcome
        self.levels = ()
        self.ending = None
        self.owed = ()
        run_hooks(hooks)

    def forsake(self) -> None:
        """Let go of the levels, whose session is gone: their work was undone with its connections."""
        for level in self.levels:
            level.status = LOST
        self.levels = ()

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
            try:
                self._undo_level(level, error)
                raise error
            finally:
                del error  # no frame keeps what is raised through it
        self.commit(level)

    def leave_block_by(self, level: Transaction, exc: BaseException) -> None:
        """The block of `level` ends by an exception, which goes on: what fails in cleaning up becomes a note on it."""
        if level.status != OPEN or self.ending:
            self._disown(level)
            return
        if not isinstance(exc, Rollback):
            self._undo_level(level, exc)
            return
        try:
            self.rollback(level)
        except (TransactionLostError, RollbackIncompleteError):  # what the block says is undone may be kept
            raise
        except Exception as failed:
            self._note(exc, failed)

    def _disown(self, level: Transaction) -> None:
        self.orphans = tuple(orphan for orphan in self.orphans if orphan is not level)
        if self.ending and not self.in_block:
            self.drop()


def _run_undo(level: Transaction) -> None:
    while level.undo:
        *rest, last = level.undo
        level.undo = tuple(rest)
        last()
