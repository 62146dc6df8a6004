"""One database within one transaction: its lease, begin, and the guarded driver call."""

from __future__ import annotations

from .. import errors
from .._typing import CLOSE
from ..errors import is_interruption, map_error, shorten
from ..events import StatementEvent
from .ending import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._typing import Fetched, Lease
    from ..errors import Error
    from ..sql.lexer import Lexicon
    from ..sql.parameters import Statement


class Link(Ending):
    """A session's hold on one database, from the first statement of a transaction to its end."""

    __slots__ = ()

    # -- statements

    def execute_alone(self, statement: Statement, sql: str, bound: Any) -> Fetched:
        """
        Run a statement in a transaction of its own and give the connection back: one round trip under autocommit.

        Raises:
            CommitUnknownError: the connection was lost while a writing statement ran, which commits by itself.
        """
        if statement.writes and self.source.line is not None:
            self.take_turn()
        lease = self.lend(4)
        if statement.is_special:
            if statement.commits and not self.source.driver.may_commit_implicitly:
                self._check_implicit_commit(statement, True)
            if statement.leaves:
                self._mark(lease, statement)
        if not self.source.driver.autocommit or self.source.isolation_level:
            self._begin(lease, statement.writes)
        decides = not self.begun  # whether the call under way may be the one that commits
        try:
            fetched = self.execute(statement, sql, bound)
            if self.begun and not statement.commits and not self.stands():
                raise self.lost()
            decides = True
            self.commit()
        except errors.DisconnectionError as exc:
            if statement.writes and decides:
                raise self._commit_failed(exc, exc.orig or exc) from exc
            raise
        except errors.Error:
            raise
        except BaseException as exc:
            if statement.writes and decides and self.doubt:
                exc.add_note(
                    f"a statement that commits by itself was under way{self._on()}: whether it happened is not known"
                )
            raise
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
        listened = source.listeners.functions
        started = self._started(statement.sql) if listened else 0.0
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
                self.expected = True
            elif statement.is_opaque and not self.expected:
                self.is_shown = True
                fetched = driver.fetch_shown(conn, sql, bound)
            else:
                fetched = driver.fetch(conn, sql, bound)
        except Exception as exc:
            if is_interruption(exc, source.driver):
                raise
            raise self._failed_and_reported(exc, statement, bound, started)
        self.doubt = False
        if statement.writes and statement not in self.written:
            self.remember(statement)
        if listened:
            self._report(statement, started, fetched[2], None)
        return fetched

    def _failed_and_reported(self, exc: Exception, statement: Statement, bound: Any, started: float) -> Error:
        error = self._failed(exc, statement.sql, statement.is_opaque, bound)
        if self.source.listeners.functions:
            self._report(statement, started, -1, error)
        return error

    def _report(self, statement: Statement, started: float, rowcount: int, error: Error | None) -> None:
        source = self.source
        name = type(error).__name__ if error is not None else None
        code = (error.sqlstate or error.code) if error is not None else None
        took = source.clock() - started
        source.listeners.notify(StatementEvent(source.name, statement.sql, took, rowcount, name, code, self._origin()))

    def open_cursor(
        self,
        statement: Statement,
        run: Callable[[Any, Any], object],
        parameters: Any,
        make: Callable[[Any, Any], Any] | None = None,
    ) -> Any:
        """
        Run a statement in the driver's own terms, and return its cursor, open until the transaction ends.

        `parameters` are the values that an error's text must not show; `make` makes the cursor, of the driver and its connection.
        """
        driver, conn, listened = self.source.driver, self.conn(), self.source.listeners.functions
        started = self._started(statement.sql) if listened else 0.0
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            self._begin_now(conn)
            if statement.is_opaque and not self.expected:
                self.is_shown = driver.begin_visibly(conn)
            cursor = driver.cursor(conn) if make is None else make(driver, conn)
            self.open_cursors += ((cursor, self.depth),)
            run(driver, cursor)
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise self._failed_and_reported(exc, statement, parameters, started)
        self.doubt = False
        if statement.writes and statement not in self.written:
            self.remember(statement)
        if listened:
            self._report(statement, started, int(cursor.rowcount), None)
        return cursor

    def fetch(self, cursor: Any, size: int, sql: str) -> list[Any]:
        """Return the next rows of an open cursor, none at its end; what fails in it spoils the transaction as a statement does."""
        if self.limit is not None:
            self.arm(self.conn())
        was, self.doubt = self.doubt, True
        try:
            rows: list[Any] = cursor.fetchmany(size)
        except Exception as exc:
            if is_interruption(exc, self.source.driver):
                raise
            self.stream = None
            raise self._failed(exc, sql)
        self.doubt = was
        return rows

    def hand_out(self) -> Any:
        """Return the driver's own connection, its transaction begun in a way that its status shows; it is not lent again."""
        driver, conn = self.source.driver, self.conn()
        if self.lease is not None:
            self.lease.is_raw = True
        self.doubt = True
        try:
            self._begin_now(conn)
            if driver.begin_visibly(conn):
                self.expected = True
        except Exception as exc:
            if is_interruption(exc, driver):
                raise
            raise self._failed(exc, "BEGIN")
        self.doubt = False
        return conn

    # -- beginning

    def lend(self, depth: int) -> Lease:
        """Return the lease, taken now if there is none; `depth` is as with `ready`."""
        lease = self.lease
        if lease is None:
            if self.failure is not None:
                raise self.lost()
            listened = self.source.listeners.functions
            started = self._started("(wait for a connection)") if listened else 0.0
            try:
                self.lease = lease = self.source.lender.checkout(None, self.holder, depth)
            except BaseException:
                if self.turn is not None:
                    self.give_turn()
                raise
            if listened:
                self._report_lease("checkout", started, lease.conn)
        return lease

    def lexicon(self, depth: int) -> Lexicon:
        """Return the lexical rules that hold on the connection now, which is leased for that."""
        self.lend(depth + 1)
        found: Lexicon = self.source.driver.lexicon_of(self.conn())
        return found

    def scan(self, sql: str, parameters: Any, depth: int, own: bool = False) -> Statement:
        """Return the scanned form of a text that depends on a mode of the server; `own`: its placeholders are the driver's."""
        compiler = self.source.compiler.by(self.lexicon(depth + 1))
        found: Statement = compiler.own(sql) if own else compiler(sql, parameters)
        return found

    def ready(self, statement: Statement, levels: Sequence[Any], write: bool, depth: int = 4) -> None:
        """
        Prepare for a statement: lease, begin, look whether the transaction still stands, set outstanding savepoints.

        `levels` are the open transactions, outermost first; `write` says that the statement is going to lock;
        `depth` is how many frames above the pool's checkout the borrowing code is, at least.

        Raises:
            TransactionAbortedError, TransactionLostError: it stands no more; what did it is the cause.
            ImplicitCommitError: the statement would commit what is not to be committed yet.
        """
        lease, begun, writes = self.lease, self.begun, False
        if (
            lease is not None and self.doubt
        ):  # an interrupt hit the last call, which may have been BEGIN; or a stream is open
            if not self.is_left:
                raise self.lost()
            self.close_open_cursors()
        if not begun:
            writes = write or statement.writes or not (levels[0].auto or self.modes[1])
            if writes and self.turn is None:
                line = self.source.line
                if line is not None and not self.modes[1]:
                    self.take_turn()
        if lease is None:
            lease = self.lend(depth + 1)
        if statement.is_special:
            if statement.commits:
                self._check_implicit_commit(statement, len(levels) > 1 or not levels[0].auto)
            if statement.leaves:
                self._mark(lease, statement)
        if begun:
            if not self.stands():
                raise self.lost()
        else:
            self._begin(lease, writes)
        while self.depth < len(levels) - 1:
            self._speak("savepoint", levels[self.depth + 1].name, self.depth + 1)
        lease.statement = statement.sql

    def _mark(self, lease: Lease, statement: Statement) -> None:
        """Note on the lease that the connection is not to be lent on as it is."""
        lease.is_marked = True
        lease.is_raw = lease.is_raw or statement.leaves == CLOSE

    def _check_implicit_commit(self, statement: Statement, explicit: bool) -> None:
        if explicit or self.written or self.modes[1] or not self.source.driver.may_commit_implicitly:
            raise errors.ImplicitCommitError(
                f'this database commits the transaction at "{shorten(statement.sql)}"; it was not sent: '
                f"{self.source.driver.instead_of_implicit_commit}",
                statement=statement.sql,
            )

    def after_implicit_commit(self, statement: Statement) -> bool:
        """Tell whether `statement`, which has run, ended the transaction by itself: the link stands as if unused."""
        if not statement.commits:
            return False
        self.written, self.expected = (), False
        return True

    def _begin(self, lease: Lease, write: bool) -> None:
        driver, conn = self.source.driver, lease.conn
        if conn is None:
            conn = self.conn()
        self.doubt = lease.in_transaction = True
        level, read_only, limit, _ = self.modes
        if read_only or limit is not None:
            self.restoring = True
        level = level or self.source.isolation_level
        listened = self.source.listeners.functions
        started = self._started("BEGIN") if listened else 0.0
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
        if listened:
            self._report_word("begin", started)
