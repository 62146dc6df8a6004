"""One database within one transaction: its lease, begin, status, savepoints, and the guarded driver call."""

from __future__ import annotations

from . import errors
from ._typing import ACTIVE, BROKEN, IDLE, INERROR, UNTOLD
from .errors import map_error, shorten
from .events import StatementEvent, TransactionEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ._typing import Lease, Source
    from .errors import Error
    from .params import Statement

Fetched = tuple["Sequence[Any] | None", "Sequence[Any] | None", int, "int | None"]
"""What a statement brought: rows or None, description, rowcount, lastrowid."""


class Link:
    """
    A session's hold on one database, from the first statement of a transaction to its end.

    It owns its lease: the connection is out of the pool while `lease` is set. `doubt` is True from before a
    driver call until it has returned well or failed in step, so whatever interrupts it, the connection is
    discarded. `failure` is the first error that doomed the transaction; nothing but an end is possible then.
    """

    __slots__ = (
        "begun", "by_words", "depth", "doubt", "failure", "first_write", "holder", "isolation_level", "lease",
        "open_cursors", "read_only", "restoring", "seen", "source",
    )  # fmt: skip

    def __init__(
        self, source: Source, holder: int, isolation_level: str | None = None, read_only: bool = False
    ) -> None:
        self.source = source
        self.holder = holder
        self.isolation_level = isolation_level or source.isolation_level
        self.read_only = read_only
        self.lease: Lease | None = None
        self.begun = False
        self.by_words = False  # the transaction was begun by words, so the driver's status must say so
        self.seen = False  # the driver's status has said so
        self.restoring = False
        self.doubt = False
        self.depth = 0  # how many of the nested levels have their savepoint set here
        self.failure: Error | None = None
        self.first_write: str | None = None
        self.open_cursors: list[Any] = []  # of stand-ins that clients hold; closed by every end

    # -- statements

    def execute(self, statement: Statement, sql: str, bound: Any) -> Fetched:
        """
        Run a statement in the driver's terms; `ready()` has prepared for it. Rows come back fetched, the cursor closed.

        Raises:
            Error: the driver's error as ours.
        """
        return self._guarded(statement, lambda driver, cursor: driver.execute(cursor, sql, bound))

    def executemany(self, statement: Statement, sql: str, rows: Sequence[Any]) -> Fetched:
        """Run a statement once for each row of parameters in the driver's terms; as `execute` otherwise."""
        return self._guarded(statement, lambda driver, cursor: driver.executemany(cursor, sql, rows))

    def execute_alone(self, statement: Statement, sql: str, bound: Any) -> Fetched:
        """
        Run a statement in a transaction of its own and give the connection back: one round trip under autocommit.

        Raises:
            CommitUnknownError: the connection was lost while a writing statement ran, which commits by itself.
        """
        self._take()
        if not self.source.driver.autocommit or self.isolation_level:
            self._begin(statement.writes)
        try:
            fetched = self.execute(statement, sql, bound)
        except errors.DisconnectionError as exc:
            if statement.writes and not self.begun:
                raise self._commit_failed(exc, exc.orig or exc) from exc
            raise
        self.check_commit()
        self.commit()
        return fetched

    def _guarded(self, statement: Statement, run: Callable[[Any, Any], object]) -> Fetched:
        """The guarded driver call: run, fetch, close the cursor, and turn whatever fails into ours."""
        driver, source = self.source.driver, self.source
        started = source.clock() if source.listeners else 0.0
        cursor = error = None
        rowcount = -1
        conn = self.conn()
        self.doubt = True
        try:
            cursor = driver.cursor(conn)
            run(driver, cursor)
            description = cursor.description
            rows = cursor.fetchall() if description else None
            rowcount = cursor.rowcount if rows is None else len(rows)
            lastrowid = driver.lastrowid(cursor) if rows is None else None
            self.doubt = False
            if statement.writes and self.first_write is None:
                self.first_write = statement.sql
            return rows, description, rowcount, lastrowid
        except Exception as exc:
            error = self._failed(exc, statement.sql)
            raise error from exc
        finally:
            if cursor is not None:
                self._close_cursor(cursor)
            if source.listeners:
                name = type(error).__name__ if error is not None else None
                source.listeners.tell(
                    StatementEvent(source.name, statement.sql, source.clock() - started, rowcount, name)
                )

    def _close_cursor(self, cursor: Any) -> None:
        """Close it whatever happened: the cursor of a failed statement holds its locks."""
        try:
            cursor.close()
        except Exception as exc:
            if self.source.driver.diagnose(exc) is None:
                raise

    def open_cursor(self, sql: str, run: Callable[[Any, Any], object]) -> Any:
        """Run a statement in the driver's own terms, and return its cursor, open until the transaction ends."""
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            cursor = driver.cursor(conn)
            self.open_cursors.append(cursor)
            run(driver, cursor)
        except Exception as exc:
            error = self._failed(exc, sql)
            raise error from exc
        self.doubt = False
        return cursor

    def has_cursor(self, cursor: Any) -> bool:
        """Tell whether a cursor that was opened here still is."""
        return any(known is cursor for known in self.open_cursors)

    def close_open_cursor(self, cursor: Any) -> None:
        """Close a cursor that was opened here, if it still is open."""
        if self.has_cursor(cursor):
            self.open_cursors = [known for known in self.open_cursors if known is not cursor]
            self._close_cursor(cursor)

    def close_open_cursors(self) -> None:
        """Close what clients left open: an unfinished SELECT would keep its locks."""
        while self.open_cursors:
            self._close_cursor(self.open_cursors.pop())

    def conn(self) -> Any:
        """Return the leased connection; one that is gone (closed, or a parent process's) ends the transaction."""
        conn = self.lease.conn if self.lease is not None else None
        if conn is None:
            self.failure = self.failure or errors.DisconnectionError(
                "the connection is gone (closed, or a parent process's)"
            )
            raise self.lost()
        return conn

    # -- beginning

    def ready(self, statement: Statement, savepoints: Sequence[str], explicit: bool, write: bool) -> None:
        """
        Prepare for a statement: lease, begin, look whether the transaction still stands, set outstanding savepoints.

        `explicit` says that somebody called `begin()`, `write` that the transaction is going to write.

        Raises:
            TransactionAbortedError, TransactionLostError: it stands no more; what did it is the cause.
            ImplicitCommitError: the statement would commit what is not to be committed yet.
        """
        if self.lease is None:
            self._take()
        writes = statement.writes
        if writes and self.source.driver.commits_implicitly(statement.words):
            self._check_implicit_commit(statement, explicit or bool(savepoints))
        if not self.begun:
            self._begin(write or writes)
        elif self.failure is not None or not self._stands():
            raise self.lost()
        while self.depth < len(savepoints):
            self._speak("savepoint", savepoints[self.depth], self.depth + 1)
        if self.lease is not None:
            self.lease.statement = statement.sql
            self.lease.in_transaction = True

    def _check_implicit_commit(self, statement: Statement, explicit: bool) -> None:
        if explicit or self.first_write or self.read_only or not self.source.driver.may_commit_implicitly:
            raise errors.ImplicitCommitError(
                f'this database commits the transaction at "{shorten(statement.sql)}"; it was not sent: '
                "commit first and run it outside a block, or use engine.execute()",
                statement=statement.sql,
            )

    def after_implicit_commit(self, statement: Statement) -> bool:
        """Tell whether `statement`, which has run, ended the transaction by itself: the link stands as if unused."""
        if not (statement.writes and self.source.driver.commits_implicitly(statement.words)):
            return False
        self.first_write, self.seen = None, False
        return True

    def _take(self) -> None:
        if self.failure is not None:
            raise self.lost()
        self.lease = self.source.lender.checkout(holder=self.holder)

    def _begin(self, write: bool) -> None:
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        self.restoring = self.read_only
        level = driver.level(self.isolation_level) if self.isolation_level else None
        try:
            self.by_words = driver.begin(conn, level, self.read_only, write)
        except Exception as exc:
            error = map_error(exc, driver, "BEGIN")
            self.give_up()
            raise error from exc
        self.begun = True
        self.doubt = False
        if self.source.listeners:
            self.source.listeners.tell(TransactionEvent(self.source.name, "begin"))

    def _stands(self) -> bool:
        """Ask the driver, without a round trip, whether the transaction that we began is still open and well."""
        status = self.status()
        if status == ACTIVE:
            self.seen = True
            return True
        if status == UNTOLD:
            return True
        if status == INERROR:
            self.failure = self.failure or errors.TransactionAbortedError("an earlier statement failed")
            return False
        if status == BROKEN:
            self.failure = self.failure or errors.DisconnectionError(
                "the connection is closed or in the middle of a command"
            )
            return False
        return not (self.by_words or self.seen)

    def is_well(self) -> bool:
        """Whether statements can run: nothing has doomed the transaction, if it has begun."""
        return self.failure is None and not self.doubt and (not self.begun or self._stands())

    def status(self) -> int:
        """Return the connection's transaction status; one that cannot be read is BROKEN."""
        conn = self.lease.conn if self.lease is not None else None
        if conn is None or self.doubt:
            return BROKEN
        try:
            found: int = self.source.driver.status(conn)
        except Exception:  # whatever it is, it is no status
            return BROKEN
        return found

    def lost(self) -> Error:
        """Return the error for using a transaction that is aborted or over, its cause being what did it."""
        cause = self.failure
        name = f" on {self.source.name}" if self.source.name else ""
        if cause is not None and self.status() == INERROR:
            error: Error = errors.TransactionAbortedError(
                f"the transaction{name} failed earlier and keeps nothing; roll back, or use begin_nested() to go on after an error",
            )
        else:
            error = errors.TransactionLostError(
                f"the transaction{name} is over and its work is not kept: "
                + (
                    _cause_text(cause)
                    if cause is not None
                    else "something ended it (a statement, a trigger or the server)"
                )
                + "; roll back, or leave the block",
            )
        error.__cause__ = cause
        return error

    # -- failing

    def _failed(self, exc: Exception, sql: str) -> Error:
        """Map a statement's error, and find out what it left of the transaction."""
        driver = self.source.driver
        error = map_error(exc, driver, sql)
        if driver.diagnose(exc) is not None or driver.in_step_after_error or isinstance(exc, errors.Error):
            self.doubt = False
        self._after_error(error)
        return error

    def _after_error(self, error: Error) -> None:
        if isinstance(error, errors.DisconnectionError):
            self.source.lender.suspect()
        if self.doubt or self.lease is None or self.lease.conn is None:
            self.failure = self.failure or error
            return
        driver = self.source.driver
        try:
            status = driver.status_after_error(self.lease.conn)
        except Exception as exc:
            if driver.diagnose(exc) is None:
                raise
            status = BROKEN
        undone = isinstance(error, (errors.DeadlockError, errors.SerializationError))
        ended = status == IDLE and (self.by_words or self.seen or undone)
        if status in (INERROR, BROKEN) or ended:
            self.failure = self.failure or error

    # -- savepoints

    def _speak(self, verb: str, name: str, depth: int) -> None:
        """Say a savepoint's word (`savepoint`, `release` or `rollback_to`), after which `depth` of them are set."""
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            getattr(driver, verb)(conn, name)
        except Exception as exc:
            error = self._failed(exc, f"{verb.upper().replace('_', ' ')} {name}")
            raise error from exc
        self.depth = depth  # before the doubt ends: an interrupt between the two is a reason to discard
        self.doubt = False
        if self.source.listeners:
            self.source.listeners.tell(TransactionEvent(self.source.name, verb.replace("_", " "), name))

    def release(self, level: int, name: str) -> None:
        """Keep the work since the savepoint of `level` (1: the first nested one), if it was ever set."""
        if self.depth >= level:
            if self.failure is not None or not self._stands():
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

    def check_commit(self) -> None:
        """
        Raise when COMMIT would not commit: the driver's own status is asked first, at no round trip.

        Raises:
            TransactionAbortedError, TransactionLostError: with what did it as the cause.
        """
        if self.begun and (self.failure is not None or not self._stands()):
            raise self.lost()

    def commit(self) -> None:
        """
        Commit and give the connection back; whatever fails, the connection is given back or discarded.

        Raises:
            CommitUnknownError: the connection was lost after COMMIT was sent.
            Error: the database refused; nothing was committed.
        """
        self.close_open_cursors()
        if self.begun and not (self.status() == IDLE and not self.first_write):
            self._send_commit()
        self.begun = False
        self.give_back()

    def _send_commit(self) -> None:
        driver, conn = self.source.driver, self.conn()
        self.doubt = True
        try:
            driver.commit(conn)
        except Exception as exc:
            raise self._commit_failed(map_error(exc, driver, "COMMIT"), exc) from exc
        self.doubt = False
        if self.source.listeners:
            self.source.listeners.tell(TransactionEvent(self.source.name, "commit"))

    def _commit_failed(self, error: Error, exc: BaseException) -> Error:
        if isinstance(error, (errors.DisconnectionError, errors.CommitUnknownError)):
            self.source.lender.suspect()
            return errors.CommitUnknownError(
                f"the connection was lost during COMMIT{self._on()}: nobody knows whether it happened; look before doing it again",
                orig=exc, sqlstate=error.sqlstate, code=error.code, statement="COMMIT",
            )  # fmt: skip
        self.doubt = self.source.driver.diagnose(exc) is None and not isinstance(exc, errors.Error)
        return error

    def _on(self) -> str:
        return f" on {self.source.name}" if self.source.name else ""

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
            driver.rollback(conn)
        except Exception as exc:
            raise map_error(exc, driver, "ROLLBACK") from exc
        self.doubt = False
        if self.source.listeners:
            self.source.listeners.tell(TransactionEvent(self.source.name, "rollback"))

    def give_back(self) -> None:
        """Give the connection back clean, or discard it when in doubt. Nothing to do without one."""
        lease = self.lease
        if lease is None:
            return
        if self.doubt or self.begun or self.status() == BROKEN:
            self.give_up()
            return
        if self.restoring:
            self._restore(lease)
        self.lease = None
        self.source.lender.checkin(lease)

    def _restore(self, lease: Lease) -> None:
        self.doubt = True
        try:
            self.source.driver.restore(lease.conn)
        except BaseException:
            self.give_up()
            raise
        self.doubt = self.restoring = False

    def give_up(self) -> None:
        """Discard the connection, whatever its state."""
        self.open_cursors = []
        lease, self.lease = self.lease, None
        if lease is not None:
            self.source.lender.discard(lease)

    def abandon(self) -> None:
        """Close the connection without touching the pool: for a finaliser, after which the place dies and is remade."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self.source.lender.abandon(lease)


def _cause_text(cause: Error) -> str:
    return shorten(str(cause), 200)
