"""A database within a transaction whose statements are sent without waiting: results are fetched when they are looked at."""

from __future__ import annotations

from .. import errors
from .._typing import ACTIVE, INERROR
from ..errors import TransactionAbortedError, TransactionLostError, is_interruption, map_error
from .link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._typing import Fetched, Holder, Lease, Modes
    from ..errors import Error
    from ..sql.parameters import Statement
    from .guard import Guard


class Answer:
    """What a statement will have given back: in place of the tuple, by whose numbers it is asked."""

    __slots__ = ("bound", "cursor", "error", "fetched", "link", "started", "statement")

    def __init__(self, link: PipelinedLink, statement: Statement, bound: Any, cursor: Any, started: float) -> None:
        self.link: PipelinedLink | None = link  # until it has come
        self.statement = statement
        self.bound = bound
        self.cursor = cursor
        self.started = started
        self.fetched: Fetched | None = None
        self.error: Error | None = None

    @property
    def is_known(self) -> bool:
        """Whether it has come."""
        return self.fetched is not None

    def __getitem__(self, at: int) -> Any:
        """
        Return a part of it, for which all answers are waited for that are outstanding.

        Raises:
            Error: of this statement, or of an earlier one, which spoilt it.
        """
        if self.fetched is None and self.link is not None:
            with self.link.guard():
                self.link.collect()
        if self.fetched is None:
            raise self.error or TransactionLostError(
                "nobody waited for the answer to this statement, whose transaction is over"
            )
        return self.fetched[at]

    def come(self, fetched: Fetched | None, error: Error | None = None) -> None:
        """Take what has come."""
        self.fetched, self.error = fetched, error
        self.link = self.cursor = self.bound = None


class PipelinedLink(Link):
    """
    A link that sends statements without waiting, as long as nothing else is asked of it: `pipe` is the driver's pipeline.

    Savepoints, streams, `executemany` and the driver's own connection end that: what is outstanding is waited for, and the
    transaction goes on as any other. `answers` are outstanding, in the order in which their statements were sent.
    """

    __slots__ = ("answers", "guard", "pipe")

    def __init__(self, source: Any, holder: Holder, modes: Modes, guard: Guard) -> None:
        super().__init__(source, holder, modes)
        self.guard = guard
        self.pipe: Any = None
        self.answers: list[Answer] = []

    # -- statements

    def execute(self, statement: Statement, sql: str, bound: Any, many: bool = False) -> Any:
        """Send a statement; what is returned is looked at later."""
        pipe = self.pipe
        if pipe is None or many:
            return super().execute(statement, sql, bound, many)
        source, conn = self.source, self.conn()
        listened = source.listeners.functions
        started = self._started(statement.sql) if listened else 0.0
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            cursor = pipe.send(sql, bound)
        except Exception as exc:
            if is_interruption(exc, source.driver):
                raise
            raise self._not_sent(exc, statement, bound)
        answer = Answer(self, statement, bound, cursor, started)
        self.answers.append(answer)
        self.doubt = False
        if statement.writes and statement not in self.written:
            self.remember(statement)
        return answer

    def _not_sent(self, exc: Exception, statement: Statement, bound: Any) -> Error:
        """A statement could not be sent: for its values, which spoils nothing; or because an earlier one failed; or all is lost."""
        found = self.source.driver.diagnose(exc)
        if found is None or (found.sqlstate is None and not issubclass(found.error, errors.DisconnectionError)):
            self.doubt = False
            return map_error(exc, self.source.driver, statement.sql, bound)
        return self._spoilt(exc, statement, bound)

    def collect(self) -> None:
        """Wait for the answers to all that was sent."""
        if self.pipe is None:
            return
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(self.conn())
            self.pipe.collect()
        except Exception as exc:
            if is_interruption(exc, self.source.driver):
                raise
            raise self._spoilt(exc)
        self._take()
        self.doubt = False

    def _take(self) -> None:
        """Hand out the answers that have come."""
        while self.answers and self.pipe.has_answer(self.answers[0].cursor):
            answer = self.answers[0]
            try:
                answer.come(self.source.driver.answer(self.conn(), answer.cursor))
            except Exception as exc:  # a value that cannot be read
                if is_interruption(exc, self.source.driver):
                    raise
                answer.come(None, map_error(exc, self.source.driver, answer.statement.sql))
            del self.answers[0]
            if self.source.listeners.functions:
                self._report(
                    answer.statement, answer.started, answer.fetched[2] if answer.fetched else -1, answer.error
                )

    def _spoilt(self, exc: Exception, last: Statement | None = None, bound: Any = None) -> Error:
        """
        Return our error for what ended the pipeline: that of the first statement which has no answer.

        `last` was being sent just now, with the parameters `bound`; so it may be that one.
        """
        self._take()
        started = self.source.clock()
        if self.answers:
            failed = self.answers[0]
            last, bound, started = failed.statement, failed.bound, failed.started
        error = map_error(exc, self.source.driver, None if last is None else last.sql, bound)
        if last is not None and isinstance(error, (errors.IntegrityError, errors.DataError)):
            self._locate(error, last.sql)
        if isinstance(error, errors.DisconnectionError):
            self.source.lender.suspect()
        elif isinstance(error, errors.ReadOnlyError):
            error.failover = self._is_failover()
        else:
            self.doubt = False
        self.failure = self.failure or error
        if last is not None and self.source.listeners.functions:
            self._report(last, started, -1, error)
        self._tell_the_rest(error)
        return error

    def _tell_the_rest(self, error: Error | None) -> None:
        answers, self.answers = self.answers, []
        for number, answer in enumerate(answers):
            if error is None:
                answer.come(None)
            elif number == 0:
                answer.come(None, error)
            else:
                spoilt = TransactionAbortedError("a statement before this one failed, so it did not run; roll back")
                spoilt.__cause__ = error
                answer.come(None, spoilt)

    # -- state

    def status(self) -> int:
        """In a pipeline the driver's own says that a command is under way."""
        if self.pipe is None or self.doubt:
            return super().status()
        return ACTIVE if self.failure is None else INERROR

    # -- beginning and ending

    def _begin(self, lease: Lease, write: bool) -> None:
        """BEGIN is sent with what follows, where the driver can."""
        source = self.source
        if source.has_other_lender:
            super()._begin(lease, write)
            return
        driver, conn, listened = source.driver, self.conn(), source.listeners.functions
        level, read_only, limit, _ = self.modes
        level = level or source.isolation_level
        self.doubt = lease.in_transaction = True
        started = self._started("BEGIN") if listened else 0.0
        try:
            if self.limit is not None:
                self.arm(conn)
            seconds = limit if limit is not None else driver.seconds_each
            self.pipe = driver.pipeline(conn, level and driver.level(level), bool(read_only), seconds)
        except Exception as exc:
            self.give_up()
            if is_interruption(exc, driver):
                raise
            raise map_error(exc, driver, "BEGIN")
        if self.pipe is None:
            self.doubt = False
            super()._begin(lease, write)
            return
        self.begun = self.expected = True
        self.doubt = False
        if listened:
            self._report_word("begin", started)

    def _begin_now(self, conn: Any) -> None:
        """Something else comes than a statement whose answer can wait: leave the pipeline."""
        if self.pipe is not None:
            try:
                self.pipe.leave()
            except Exception as exc:
                if is_interruption(exc, self.source.driver):
                    raise
                raise self._spoilt(exc)
            self._take()
            self.pipe = None
        super()._begin_now(conn)

    def commit(self) -> None:
        """Send COMMIT, and wait for what is outstanding: one round trip. The first statement that failed is what is raised."""
        pipe, lease = self.pipe, self.lease
        if pipe is None or lease is None:
            super().commit()
            return
        driver, conn, listened = self.source.driver, self.conn(), self.source.listeners.functions
        if lease.poll is not None and lease.poll(0) and pipe.is_cut():
            raise self._hung_up()
        started = self._started("COMMIT") if listened else 0.0
        self.doubt = True
        try:
            if self.limit is not None:
                self.arm(conn)
            word = pipe.send("COMMIT", None, False)
            pipe.leave()
        except Exception as exc:
            if is_interruption(exc, driver, values=False):
                raise
            raise self._end_failed(exc, started)
        self._take()
        self.pipe = None
        if word.statusmessage != "COMMIT":
            self.doubt = False
            raise TransactionLostError(
                f"the server answered {word.statusmessage} to COMMIT{self._on()}: nothing is kept"
            )
        self.doubt = self.begun = False
        if listened:
            self._report_word("commit", started)
        self.give_back()

    def _end_failed(self, exc: Exception, started: float) -> Error:
        """Return the error of the statement that failed, if the server named one before COMMIT; else it is COMMIT's own."""
        self._take()
        found = self.source.driver.diagnose(exc)
        if self.answers and found is not None and found.sqlstate is not None:
            error = self._spoilt(exc)
        else:
            error = self._commit_failed(map_error(exc, self.source.driver, "COMMIT"), exc)
            self._tell_the_rest(error)
        if self.source.listeners.functions:
            self._report_word("commit failed", started, None, error)
        return error

    def undo(self, discard: bool = False) -> None:
        """Leave the pipeline, whatever has become of its statements, and roll back."""
        pipe = self.pipe
        if pipe is not None and not (discard or self.doubt):
            self.doubt = True
            try:
                pipe.leave()
                self.doubt = False
            except BaseException as exc:
                found = self.source.driver.diagnose(exc) if isinstance(exc, Exception) else None
                if found is None:
                    self.give_up()
                    raise
                self.doubt = issubclass(found.error, errors.DisconnectionError)
            self.pipe = None
        self._tell_the_rest(None)
        super().undo(discard)

    def give_back(self) -> None:
        """A connection that has not left its pipeline is not lent again."""
        if self.pipe is None:
            super().give_back()
        else:
            self.give_up()

    def give_up(self) -> None:
        """Discard the connection, and its pipeline."""
        self._let_go_of_pipe()
        super().give_up()

    def abandon(self) -> None:
        """As every link does; and no circle is left."""
        self._let_go_of_pipe()
        super().abandon()

    def _let_go_of_pipe(self) -> None:
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            pipe.drop()
        self._tell_the_rest(None)
