"""One database within one transaction: its lease, begin, status, savepoints, and the guarded driver call."""

from __future__ import annotations

from . import errors
from ._typing import ACTIVE, BROKEN, IDLE, INERROR, UNTOLD
from .errors import is_interruption, map_error, shorten
from .events import StatementEvent, TransactionEvent
from .hold import Hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ._typing import Fetched, Lease
    from .errors import Error
    from .params import Statement


class Link(Hold):
    """A session's hold on one database, from the first statement of a transaction to its end."""

    __slots__ = ()

    # -- statements

    def execute_alone(self, statement: Statement, sql: str, bound: Any) -> Fetched:
        """
        Run a statement in a transaction of its own and give the connection back: one round trip under autocommit.

        Raises:
            CommitUnknownError: the connection was lost while a writing statement ran, which commits by itself.
        """
        self.lease = self.source.lender.checkout(None, self.holder, 3)
        if not self.source.driver.autocommit or self.source.isolation_level:
            self._begin(self.lease, statement.writes)
        try:
            fetched = self.execute(statement, sql, bound)
        except errors.DisconnectionError as exc:
            if statement.writes and not self.begun:
                raise self._commit_failed(exc, exc.orig or exc) from exc
            raise
        if self.begun and not self.stands():
            raise self.lost()
        self.commit()
        return fetched

    def execute(self, statement: Statement, sql: str, bound: Any, many: bool = False) -> Fetched:
        """
        Run a statement in the driver's terms; `ready()` has prepared for it. Rows come back fetched, the cursor closed.

        This is the guarded driver call: whatever fails in it arrives as ours, and whatever interrupts it leaves doubt.
        With `many`, `bound` is a list of rows of parameters.

        Raises:
            Error: the driver's error as ours.
        """
        source = self.source
        conn = self.lease.conn if self.lease is not None else None
        if conn is None:
            conn = self.conn()
        told = source.listeners.told
        started = source.clock() if told else 0.0
        self.doubt = True
        try:
            driver = source.driver
            if self.limit is not None:
                self.arm(conn)
            if many:
                self._begin_now(conn)
                fetched: Fetched = driver.fetch_many(conn, sql, bound)
            elif self.pending:
                fetched = driver.fetch_first(conn, sql, bound, source.distant)
                self.pending = False
            else:
                fetched = driver.fetch(conn, sql, bound)
        except Exception as exc:
            if is_interruption(exc, source.driver):
                raise
            raise self._failed_and_told(exc, statement, started)
        self.doubt = False
        if statement.writes and self.first_write is None:
            self.first_write = statement.sql
        if told:
            self._tell(statement, started, fetched[2], None)
        return fetched

    def _failed_and_told(self, exc: Exception, statement: Statement, started: float) -> Error:
        error = self._failed(exc, statement.sql)
        if self.source.listeners.told:
            self._tell(statement, started, -1, error)
        return error

    def _tell(self, statement: Statement, started: float, rowcount: int, error: Error | None) -> None:
        source = self.source
        name = type(error).__name__ if error is not None else None
        source.listeners.tell(StatementEvent(source.name, statement.sql, source.clock() - started, rowcount, name))

    def open_cursor(self, sql: str, run: Callable[[Any, Any], object]) -> Any:
        """Run a statement in the driver's own terms, and return its cursor, open until the transaction ends."""
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            self._begin_now(conn)
            cursor = driver.cursor(conn)
            self.open_cursors += (cursor,)
            run(driver, cursor)
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise self._failed(exc, sql)
        self.doubt = False
        return cursor

    # -- beginning

    def ready(self, statement: Statement, levels: Sequence[Any], write: bool, depth: int = 4) -> None:
        """
        Prepare for a statement: lease, begin, look whether the transaction still stands, set outstanding savepoints.

        `levels` are the open transactions, outermost first; `write` says that the statement is going to lock;
        `depth` is how many frames above the pool's checkout the borrowing code is, at least.

        Raises:
            TransactionAbortedError, TransactionLostError: it stands no more; what did it is the cause.
            ImplicitCommitError: the statement would commit what is not to be committed yet.
        """
        lease = self.lease
        if lease is None:
            if self.failure is not None:
                raise self.lost()
            self.lease = lease = self.source.lender.checkout(None, self.holder, depth)
        elif self.doubt:  # an interrupt hit the last call, which may have been BEGIN
            raise self.lost()
        if statement.commits:
            self._check_implicit_commit(statement, len(levels) > 1 or not levels[0].auto)
        if not self.begun:
            self._begin(lease, write or statement.writes or not (levels[0].auto or self.modes[1]))
        elif not self.stands():
            raise self.lost()
        while self.depth < len(levels) - 1:
            self._speak("savepoint", levels[self.depth + 1].name, self.depth + 1)
        lease.statement = statement.sql

    def _check_implicit_commit(self, statement: Statement, explicit: bool) -> None:
        if explicit or self.first_write or self.modes[1] or not self.source.driver.may_commit_implicitly:
            raise errors.ImplicitCommitError(
                f'this database commits the transaction at "{shorten(statement.sql)}"; it was not sent: '
                "commit first and run it outside a block, or use engine.execute()",
                statement=statement.sql,
            )

    def after_implicit_commit(self, statement: Statement) -> bool:
        """Tell whether `statement`, which has run, ended the transaction by itself: the link stands as if unused."""
        if not statement.commits:
            return False
        self.first_write, self.expected = None, False
        return True

    def _begin(self, lease: Lease, write: bool) -> None:
        driver, conn = self.source.driver, lease.conn
        if conn is None:
            conn = self.conn()
        self.doubt = lease.in_transaction = True
        level, read_only, limit = self.modes
        if read_only or limit is not None:
            self.restoring = True
        level = level or self.source.isolation_level
        try:
            if self.limit is not None:
                self.arm(conn)
            if limit is not None and not self.source.is_given:
                word = level and driver.level(level)
                self.expected = driver.begin_limited(conn, word, bool(read_only), write, limit)
            elif driver.begins_with_first and not level and not read_only:
                self.pending = True
            else:
                self.expected = driver.begin(conn, level and driver.level(level), bool(read_only), write)
        except Exception as exc:
            self.give_up()
            if is_interruption(exc, driver):
                raise
            raise map_error(exc, driver, "BEGIN")
        self.begun = True
        self.doubt = False
        if self.source.listeners.told:
            self.source.listeners.tell(TransactionEvent(self.source.name, "begin"))

    def _begin_now(self, conn: Any) -> None:
        """Send a BEGIN that was to travel with the first statement, if there is one, because something else comes first."""
        if self.pending:
            self.expected = self.source.driver.begin(conn, None, False, False)
            self.pending = False

    # -- savepoints

    def _speak(self, verb: str, name: str, depth: int) -> None:
        """Say a savepoint's word (`savepoint`, `release` or `rollback_to`), after which `depth` of them are set."""
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            self._begin_now(conn)
            getattr(driver, verb)(conn, name)
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise self._failed(exc, f"{verb.upper().replace('_', ' ')} {name}")
        self.depth = depth  # before the doubt ends: an interrupt between the two is a reason to discard
        self.doubt = False
        if self.source.listeners.told:
            self.source.listeners.tell(TransactionEvent(self.source.name, verb.replace("_", " "), name))

    def release(self, level: int, name: str) -> None:
        """Keep the work since the savepoint of `level` (1: the first nested one), if it was ever set."""
        if self.depth >= level:
            if not self.stands():
                raise self.lost()
            self._speak("release", name, level - 1)

    def rollback_to(self, level: int, name: str) -> None:
        """Undo the work since the savepoint of `level`, if it was set and the transaction still has it."""
        if self.depth >= level:
            status = self.status()
            if status in (ACTIVE, INERROR, UNTOLD) and (self.failure is None or status == INERROR):
                self._speak("rollback_to", name, level - 1)
                self.failure = None
            self.depth = level - 1

    # -- ending

    def commit(self) -> None:
        """
        Commit and give the connection back; whatever fails, the connection is given back or discarded.

        Raises:
            TransactionLostError: the server had hung up before COMMIT was sent, which its socket told.
            CommitUnknownError: the connection was lost after COMMIT was sent.
            Error: the database refused; nothing was committed.
        """
        if self.open_cursors:
            self.close_open_cursors()
        if self.begun and (self.expected or self.first_write or self.status() != IDLE):
            driver, lease = self.source.driver, self.lease
            conn = lease.conn if lease is not None else self.conn()
            if lease is not None and lease.poll is not None and lease.poll(0) and driver.is_cut(conn):
                self.failure = errors.DisconnectionError("the server hung up before COMMIT was sent")
                self.doubt = True  # so that nothing more is said on it
                self.source.lender.suspect()
                raise self.lost()
            self.doubt = True
            try:
                if self.limit is not None:
                    self.arm(conn)
                driver.commit(conn)
            except Exception as exc:
                if is_interruption(exc, driver, values=False):
                    raise
                raise self._commit_failed(map_error(exc, driver, "COMMIT"), exc)
            self.doubt = False
            if self.source.listeners.told:
                self.source.listeners.tell(TransactionEvent(self.source.name, "commit"))
        self.begun = False
        self.give_back()

    def _commit_failed(self, error: Error, exc: BaseException) -> Error:
        if isinstance(error, (errors.DisconnectionError, errors.CommitUnknownError)):
            self.source.lender.suspect()
            unknown = errors.CommitUnknownError(
                f"the connection was lost during COMMIT{self._on()}: nobody knows whether it happened; look before doing it again",
                orig=exc, sqlstate=error.sqlstate, code=error.code, statement="COMMIT",
            )  # fmt: skip
            unknown.__cause__ = exc
            return unknown
        self.doubt = False
        return error

    def undo(self) -> None:
        """Roll back if there is anything to roll back, and give the connection back; errors after it is gone."""
        try:
            self.close_open_cursors()
            if self.begun and not self.doubt and self.lease is not None and self.status() not in (IDLE, BROKEN):
                self._send_rollback()
            self.begun = False
        except BaseException:
            self.give_up()
            raise
        self.give_back()

    def _send_rollback(self) -> None:
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            driver.rollback(conn)
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise map_error(exc, driver, "ROLLBACK")
        self.doubt = False
        if self.source.listeners.told:
            self.source.listeners.tell(TransactionEvent(self.source.name, "rollback"))
