"""How one database's part of a transaction ends: savepoints released or undone, commit, rollback; and what is known of it."""

from __future__ import annotations

from .. import errors
from .._typing import BROKEN, IDLE, INERROR, UNKNOWN
from ..errors import is_interruption, map_error
from .holding import Hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..errors import Error


class Ending(Hold):
    """The ends of a link; `Link` adds how it begins."""

    __slots__ = ()

    def _begin_now(self, conn: Any) -> None:
        """Send a BEGIN that was to travel with the first statement, if there is one, because something else comes first."""
        if self.pending:
            self.expected = self.source.driver.begin(conn, None, False, False)
            self.pending = False

    # -- savepoints

    def _speak(self, verb: str, name: str, depth: int) -> bool:
        """Say a savepoint's word (`savepoint`, `release` or `rollback_to`), after which `depth` of them are set."""
        driver, conn, listened = self.source.driver, self.conn(), self.source.listeners.functions
        started = self._started(f"{verb.upper().replace('_', ' ')} {name}") if listened else 0.0
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            self._begin_now(conn)
            kept = bool(getattr(driver, verb)(conn, name))
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise self._failed(exc, f"{verb.upper().replace('_', ' ')} {name}")
        self.depth = depth  # before the doubt ends: an interrupt between the two is a reason to discard
        self.doubt = False
        if listened:
            self._report_word(verb.replace("_", " "), started, name)
        return kept

    def release(self, level: int, name: str) -> None:
        """Keep the work since the savepoint of `level` (1: the first nested one), if it was ever set."""
        if self.depth >= level:
            if not self.stands():
                raise self.lost()
            self._speak("release", name, level - 1)

    def rollback_to(self, level: int, name: str) -> None:
        """
        Undo the work since the savepoint of `level`, if it was set and the transaction still has it.

        Where that fails, the transaction is doomed: what was to be undone must not be kept with the rest.

        Raises:
            TransactionLostError: the transaction was ended by something that nobody saw.
            RollbackIncompleteError: tables without transactions keep what was written to them.
        """
        if self.depth < level:
            return
        if self.open_cursors:
            self.close_open_cursors(level)
        kept = False
        if not self.is_doomed:
            if not self.stands() and self.is_gone:
                self.depth = level - 1
                raise self.lost()
            if self.failure is None or self.status() == INERROR:
                try:
                    kept = self._speak("rollback_to", name, level - 1)
                except errors.Error as exc:
                    self.doom(exc)
                    raise
                finally:
                    self.depth = level - 1
                self.failure = None
        self.depth = level - 1
        if kept:
            raise self._incomplete()

    # -- ending

    def commit(self) -> None:
        """
        Commit and give the connection back; whatever fails, the connection is given back or discarded.

        Raises:
            TransactionLostError: the server had hung up before COMMIT was sent, as its socket showed.
            CommitUnknownError: the connection was lost after COMMIT was sent.
            Error: the database refused; nothing was committed.
        """
        if self.open_cursors:
            self.close_open_cursors()
        if self.begun and (self.expected or self.first_write or self.status() != IDLE):
            driver, lease = self.source.driver, self.lease
            conn = lease.conn if lease is not None else self.conn()
            if lease is not None and lease.poll is not None and lease.poll(0) and driver.is_cut(conn):
                raise self._hung_up()
            listened = self.source.listeners.functions
            started = self._started("COMMIT") if listened else 0.0
            self.doubt = True
            try:
                if self.limit is not None:
                    self.arm(conn)
                driver.commit(conn)
            except Exception as exc:
                if is_interruption(exc, driver, values=False):
                    raise
                failed = self._commit_failed(map_error(exc, driver, "COMMIT"), exc)
                if listened:
                    self._report_word("commit failed", started, None, failed)
                try:
                    raise failed
                finally:
                    del failed  # no frame keeps what is raised through it
            self.doubt = False
            if listened:
                self._report_word("commit", started)
        elif self.begun and self.source.listeners.functions:
            self._report_silent_end()
        self.begun = False
        self.give_back()

    def _hung_up(self) -> Error:
        self.failure = errors.DisconnectionError("the server hung up before COMMIT was sent")
        self.doubt = True  # so that nothing more is said on it
        self.source.lender.suspect()
        return self.lost()

    def _commit_failed(self, error: Error, exc: BaseException) -> Error:
        if isinstance(error, (errors.DisconnectionError, errors.CommitUnknownError)):
            self.source.lender.suspect()
            kind: type[Error] = errors.CommitUnknownError
            text = f"the connection was lost during COMMIT{self._on()}: nobody knows whether it happened; "
            text += "look before doing it again"
            if self.modes[1]:  # nothing can have been written
                kind = errors.DisconnectionError
                text = f"the connection was lost at the end of a transaction{self._on()} that only read"
            lost = kind(text, orig=exc, sqlstate=error.sqlstate, code=error.code, statement="COMMIT")
            lost.__cause__ = exc
            return lost
        if isinstance(error, errors.ReadOnlyError):  # a node that left its cluster says so to COMMIT too
            error.failover = self._is_failover()
            self.source.lender.suspect()
        self.doubt = False
        return error

    def undo(self, discard: bool = False) -> None:
        """
        Roll back if there is anything to roll back, and give the connection back; errors come after it is gone.

        `discard` closes it instead, with nothing said on it.

        Raises:
            TransactionLostError: the transaction had been ended by something that nobody saw.
            RollbackIncompleteError: tables without transactions keep what was written to them.
        """
        if self.stream is not None and not self.source.is_given:  # closing costs less than reading the rest
            discard = True
        try:
            if not discard:
                self.close_open_cursors()
            kept = self._left_over(discard)
            if self.begun and self.source.listeners.functions:
                self._report_silent_end()
            self.begun = False
        except BaseException:
            self.give_up()
            raise
        if discard:
            self.give_up()
        else:
            self.give_back()
        if kept is not None:
            try:
                raise kept
            finally:
                del kept  # no frame keeps what is raised through it

    def _left_over(self, discard: bool) -> Error | None:
        """Roll back unless `discard`; return the error that says what may be kept all the same."""
        if not self.begun or self.doubt or self.lease is None:
            return None
        status = self.status()
        if self.failure is None and status in (IDLE, UNKNOWN) and self.stands() and status == IDLE:
            self.is_gone = self.is_shown
        if self.is_gone:
            return None if self.is_gone_reported else self.lost()
        written_alone = status == IDLE and bool(self.written) and self.failure is None and self.source.driver.may_keep
        if not discard and (status not in (IDLE, BROKEN) or written_alone) and self._send_rollback():
            return self._incomplete()
        return None

    def _incomplete(self) -> Error:
        driver, conn = self.source.driver, self.conn()
        tables: list[str] = []
        self.doubt = True
        try:
            tables = driver.kept_tables(conn, [statement.sql for statement in self.written])
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
        else:
            self.doubt = False
        return errors.RollbackIncompleteError(
            f"the rollback{self._on()} left what was written to tables without transactions (MyISAM, MEMORY, Aria and such)"
            + (f": {', '.join(tables)}" if tables else "") + "; it is there for good", tables=tables,
        )  # fmt: skip

    def _send_rollback(self) -> bool:
        driver, conn, listened = self.source.driver, self.conn(), self.source.listeners.functions
        started = self._started("ROLLBACK") if listened else 0.0
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            kept = bool(driver.rollback(conn))
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise map_error(exc, driver, "ROLLBACK")
        self.doubt = self.begun = False
        if listened:
            self._report_word("rollback", started)
        return kept
