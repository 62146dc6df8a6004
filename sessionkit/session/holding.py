"""A lease and the state of what is on it: in doubt, doomed, well; and the ways to let go of it."""

from __future__ import annotations

from .. import errors
from .._typing import ACTIVE, BROKEN, IDLE, INERROR, UNKNOWN
from ..errors import map_error, shorten
from ..events import TURN, ConnectionEvent, Origin, TransactionEvent
from ..sql.words import names, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._typing import Holder, Lease, Modes, Source
    from ..errors import Error
    from ..sql.parameters import Statement

REMEMBERED = 16
"""How many of the statements that changed data are remembered, to name the tables that kept something."""


class Hold:
    """
    What a link knows of its connection: whether the transaction on it still stands, and what to do with it at the end.

    It owns its lease: the connection is out of the pool while `lease` is set. `doubt` is True from before a
    driver call until it has returned well or failed in step, so whatever interrupts it, the connection is
    discarded. `failure` is the first error that spoilt the transaction; nothing but an end is possible then. `is_doomed`
    says that it spoilt the transaction as a whole: no savepoint helps. `is_gone` says that the transaction was ended by
    something that nobody saw, so that what it wrote may be kept; `is_gone_reported`, that an error has said so.
    `holder` tells the lender who holds: the `id()` of the session, and where it was made. `depth` counts the nested
    levels whose savepoint is set here, `written` has the first statements that changed data, each once.
    """

    __slots__ = (
        "begun", "depth", "doubt", "expected", "failure", "holder", "is_doomed", "is_gone", "is_gone_reported", "is_left",
        "is_shown", "lease", "limit", "modes", "open_cursors", "origin", "pending", "restoring", "source", "stream", "turn",
        "written",
    )  # fmt: skip

    def __init__(self, source: Source, holder: Holder, modes: Modes = (None, False, None, False)) -> None:
        self.source = source
        self.holder = holder
        self.modes = modes
        self.limit = source.statement_timeout if modes[2] is None else modes[2]  # seconds for each call of the driver
        self.lease: Lease | None = None
        self.origin: Origin | None = None  # made when somebody listens
        self.depth = 0
        self.written: tuple[Statement, ...] = ()
        self.begun = False
        self.pending = False  # BEGIN is to travel with the first statement
        self.expected = False  # begun by words, or the driver's status said so once: so it must say so
        self.restoring = False  # modes were set that outlive the transaction
        self.doubt = False
        self.failure: Error | None = None
        self.is_doomed = self.is_gone = self.is_gone_reported = False
        self.is_shown = False  # the status had to say ACTIVE before a statement that runs what nobody sees
        self.turn: Any = None  # to write, where writers stand in line
        self.open_cursors: tuple[
            tuple[Any, int], ...
        ] = ()  # of streams and stand-ins, with the depth; closed by every end
        self.is_left = (
            False  # the stream's block was left by an exception: its rest is read when something else is to run
        )
        self.stream: Any = None  # a cursor that keeps the connection busy (MySQL): until it ends, the link is in doubt

    def conn(self) -> Any:
        """Return the leased connection; one that is gone (closed, or a parent process's) ends the transaction."""
        conn = self.lease.conn if self.lease is not None else None
        if conn is None:
            self.failure = self.failure or errors.DisconnectionError(
                "the connection is gone (closed, or a parent process's)"
            )
            raise self.lost()
        return conn

    @property
    def first_write(self) -> str | None:
        """The first statement that changed data, or None."""
        return self.written[0].sql if self.written else None

    def remember(self, statement: Statement) -> None:
        """Keep a statement that changed data."""
        if len(self.written) < REMEMBERED:
            self.written += (statement,)

    def arm(self, conn: Any) -> None:
        """Let the next call of the driver end in time."""
        self.source.driver.limit_next(conn, self.limit)

    # -- state

    def stands(self) -> bool:
        """Tell whether the transaction that we began is still open and well; the driver is asked, at no round trip."""
        if self.failure is not None:
            return False
        if self.stream is not None:
            self.close_open_cursors()
        status = self.status()
        if status == ACTIVE:
            self.expected = True
            return True
        if status == INERROR:
            self.failure = self.failure or errors.TransactionAbortedError("an earlier statement failed")
            return False
        if status == BROKEN:
            self.failure = self.failure or errors.DisconnectionError(
                "the connection is closed or in the middle of a command"
            )
            return False
        if self.expected and (status == IDLE or self.source.driver.unknown_means_ended):
            self.is_gone = True
            return False
        return True

    def is_well(self) -> bool:
        """Whether statements can run: nothing has doomed the transaction, if it has begun."""
        return self.failure is None and not self.doubt and (not self.begun or self.stands())

    def status(self) -> int:
        """Return the connection's transaction status; one that cannot be read is BROKEN."""
        lease = self.lease
        if lease is None or lease.conn is None or self.doubt:
            return BROKEN
        try:
            return self.source.driver.status(lease.conn)  # type: ignore[no-any-return]
        except Exception:  # whatever it is, it is no status
            return BROKEN

    def lost(self) -> Error:
        """Return the error for using a transaction that is aborted or over, its cause being what did it."""
        if self.stream is not None:
            return errors.InvalidRequestError(
                "a stream is open on this connection, and this database runs nothing else on it until the stream ends: read it to "
                "its end, leave its block, or use another session"
            )
        cause = self.failure
        if cause is not None and not self.is_doomed and (self.status() == INERROR or self.pending):
            error: Error = errors.TransactionAbortedError(
                f"the transaction{self._on()} failed earlier and keeps nothing; roll back"
                + (", or use begin_nested() to go on after an error" if self.source.driver.has_savepoints else ""),
            )
        else:
            error = errors.TransactionLostError(f"{self._what_became()}; roll back, or leave the block")
        error.__cause__ = cause
        return error

    def _what_became(self) -> str:
        """Say of a transaction that is over what is known of its work."""
        if self.is_gone:
            self.is_gone_reported = True
            how = f"{shorten(str(self.failure), 200)}, in a statement that may have committed" if self.failure else ""
            return (
                f"the transaction{self._on()} was ended inside it by something that nobody saw "
                f"({how or 'a procedure, EXECUTE, the driver’s connection used directly'}); what it wrote before that may be kept"
            )
        why = "a call on it was interrupted" if self.failure is None else shorten(str(self.failure), 200)
        return f"the transaction{self._on()} is over and its work is not kept: {why}"

    def doom(self, error: Error) -> None:
        """Let nothing of the transaction be kept: what was to be undone in it could not be."""
        self.failure, self.is_doomed = error, True

    # -- failing

    def _failed(self, exc: Exception, sql: str, is_opaque: bool = False, parameters: Any = None) -> Error:
        """
        Map a statement's error, and find out what it left of the transaction; an opaque one may have committed first.

        `parameters` are the values that its text must not show.
        """
        driver = self.source.driver
        error = map_error(exc, driver, sql, parameters)
        if isinstance(error, (errors.IntegrityError, errors.DataError)):
            self._locate(error, sql)
        own = isinstance(exc, errors.Error) or driver.diagnose(exc) is not None
        if own or (self.lease is not None and driver.is_in_step(self.lease.conn)):
            self.doubt = False
        self._after_error(error, is_opaque)
        return error

    def _locate(self, error: Error, sql: str) -> None:
        """Where the server did not say which table it was, the statement does; a key of one column often has its name."""
        if error.table is None:
            error.table = target(self.source.driver.lexicon.tokens(sql))
        if (
            error.column is None
            and error.constraint
            and names(self.source.driver.lexicon.tokens(sql), error.constraint)
        ):
            error.column = error.constraint

    def _after_error(self, error: Error, is_opaque: bool) -> None:
        if isinstance(error, errors.ReadOnlyError):
            error.failover = self._is_failover()
        if isinstance(error, errors.DisconnectionError) or getattr(error, "failover", False):
            self.source.lender.suspect()
        if self.doubt or self.lease is None or self.lease.conn is None:
            self.failure = self.failure or error
            return
        driver = self.source.driver
        self.doubt = True  # it may speak with the server
        try:
            status = driver.status_after_error(self.lease.conn)
        except Exception as exc:
            if driver.diagnose(exc) is None:
                raise
            status = BROKEN
        self.doubt = False
        if self.pending:
            self.pending = status == IDLE
            if self.pending and error.sqlstate is not None:  # BEGIN was refused together with the statement
                self.failure = self.failure or error
        undone = isinstance(error, (errors.DeadlockError, errors.SerializationError))
        ended = status == IDLE and (self.expected or undone)
        if status in (INERROR, BROKEN) or ended:
            self.failure = self.failure or error
        if ended and is_opaque and not undone:
            self.is_gone = True

    def _is_failover(self) -> bool:
        """Tell whether a server said read-only though nobody had asked for that: after a failover, the old writer does."""
        lease = self.lease
        if self.modes[1] or lease is None or lease.conn is None:
            return False
        return self.source.driver.fileno(lease.conn) is not None

    # -- letting go

    def has_cursor(self, cursor: Any) -> bool:
        """Tell whether a cursor that was opened here still is."""
        return any(known is cursor for known, _ in self.open_cursors)

    def close_open_cursor(self, cursor: Any) -> None:
        """Close a cursor that was opened here, if it still is open."""
        if self.has_cursor(cursor):
            self.open_cursors = tuple(known for known in self.open_cursors if known[0] is not cursor)
            self.source.driver.close_cursor(cursor)
            if cursor is self.stream:  # its rest was read
                self.stream = None
                self.doubt = self.is_left = False

    def close_open_cursors(self, depth: int = 0) -> None:
        """Close what was left open, at a depth of savepoints or below: an unfinished SELECT would keep its locks."""
        while self.open_cursors and self.open_cursors[-1][1] >= depth:
            self.close_open_cursor(self.open_cursors[-1][0])

    def give_back(self) -> None:
        """Give the connection back clean, or discard it when in doubt. Nothing to do without one."""
        if self.doubt or self.begun:  # a connection that is broken in other ways, the lender finds out
            self.give_up()
            return
        if (self.restoring or self.limit is not None) and self.lease is not None:
            self._restore(self.lease)
        lease, self.lease = self.lease, None
        try:
            if lease is not None:
                self.source.lender.checkin(lease)
                if self.source.listeners.functions:
                    self._report_lease("checkin")
        finally:
            turn = self.turn
            if turn is not None:  # last: who comes next gets this connection, whose cache of pages is warm
                self.turn = None
                self.source.line.give(turn)

    def _restore(self, lease: Lease) -> None:
        driver, conn = self.source.driver, lease.conn
        if conn is None:
            return
        self.doubt = True
        try:
            if self.restoring:
                if self.modes[1]:
                    driver.restore(conn)
                if self.modes[2] is not None and not (self.source.is_given or driver.limits_locally):
                    driver.limit_server(conn, self.source.statement_timeout)
            if self.limit is not None:
                driver.limit_next(conn, None)
        except BaseException:
            self.give_up()
            raise
        self.doubt = self.restoring = False

    def give_up(self) -> None:
        """Discard the connection, whatever its state."""
        cursors, self.open_cursors, self.stream = self.open_cursors, (), None
        lease, self.lease = self.lease, None
        try:
            if lease is not None:
                self.source.lender.discard(lease)
                if self.source.listeners.functions:
                    self._report_discard()
            for cursor, _ in cursors:  # of a closed connection: nothing is sent
                self.source.driver.close_cursor(cursor)
        finally:
            if self.turn is not None:
                self.give_turn()

    def take_turn(self) -> None:
        """Wait in line where writers stand in one; before the connection is taken, so that who waits holds none."""
        line = self.source.line
        if line is not None and self.turn is None:
            listened = self.source.listeners.functions
            started = self._started(TURN) if listened else 0.0
            self.turn = line.take(self.holder, self.source.patience)
            if listened:
                self._report_lease("turn", started)

    def give_turn(self) -> None:
        """Give the turn to the next writer in line."""
        turn, self.turn = self.turn, None
        self.source.line.give(turn)

    # -- telling those who listen

    def _origin(self) -> Origin:
        origin = self.origin
        if origin is None:
            origin = self.origin = Origin(id(self), *self.holder)
        return origin

    def _started(self, what: str) -> float:
        """Say what is about to run, and return the time."""
        self.source.listeners.start(self.source.name, what, self._origin())
        return self.source.clock()

    def _report_word(self, action: str, started: float, name: str | None = None, error: Error | None = None) -> None:
        source = self.source
        kind = type(error).__name__ if error is not None else None
        code = (error.sqlstate or error.code) if error is not None else None
        took = source.clock() - started
        source.listeners.notify(TransactionEvent(source.name, action, name, took, kind, code, self._origin()))

    def _report_lease(self, action: str, started: float | None = None, conn: Any = None) -> None:
        source = self.source
        took = 0.0 if started is None else source.clock() - started
        host = None if conn is None or source.where is None else source.where(conn)
        source.listeners.notify(ConnectionEvent(source.name, action, took, self._origin(), host))

    def _report_silent_end(self) -> None:
        """Tell of an end for which no word was spoken: nothing had been sent, or the server had ended it, or it is lost."""
        source = self.source
        action = "ended" if self.status() in (IDLE, UNKNOWN) else "lost"
        source.listeners.notify(TransactionEvent(source.name, action, origin=self._origin()))

    def _report_discard(self) -> None:
        if self.begun:
            self._report_silent_end()
        self._report_lease("discard")

    def abandon(self) -> None:
        """Close the connection without touching the pool: for a finaliser, after which the place dies and is remade."""
        lease, self.lease = self.lease, None
        if lease is not None:
            self.source.lender.abandon(lease)
        self.turn = None  # it dies, and is made anew

    def _on(self) -> str:
        return f" on {self.source.name}" if self.source.name else ""
