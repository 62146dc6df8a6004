"""Records of what happened, and the functions that are called with them."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any


TURN = "(wait for the turn to write)"
"""What a StartEvent says when a session begins to stand in the line of SQLite's writers."""


class Origin(NamedTuple):
    """
    Where an event comes from.

    `transaction` is a number that all events of one transaction on one database have; `session` is the `id()` of the session. Both
    are used again when that is over. `code` and `at` say where the session was made.
    """

    transaction: int
    session: int
    code: CodeType | None = None
    at: int = 0


class StatementEvent(NamedTuple):
    """
    A statement ran on `database`, in `seconds`; `error` is the class of what it raised, `code` its SQLSTATE or number. No values.
    """

    database: str
    statement: str
    seconds: float
    rowcount: int
    error: str | None = None
    code: str | int | None = None
    origin: Origin | None = None


class StartEvent(NamedTuple):
    """A statement is about to run; or a word (BEGIN, COMMIT), or waiting for a connection or the turn to write is to begin."""

    database: str
    statement: str
    origin: Origin | None = None


class TransactionEvent(NamedTuple):
    """
    A transaction's word was spoken, in `seconds`: begin, commit, rollback, savepoint, release, rollback to or prepare.

    Or it ended without one: `commit failed` (with `error` and `code`), `lost` (with its connection), `ended` (nothing had been
    sent, or the server had ended it).
    """

    database: str
    action: str
    name: str | None = None
    seconds: float = 0.0
    error: str | None = None
    code: str | int | None = None
    origin: Origin | None = None


class ConnectionEvent(NamedTuple):
    """
    A connection was made or closed (connect, close), or went to a session and came back (checkout, checkin, discard).

    `turn`: a session got its turn to write, where writers stand in line (SQLite). `seconds` is how long connecting or waiting took.
    `host` is the server that the connection leads to, at a checkout where there are several.
    """

    database: str
    action: str
    seconds: float = 0.0
    origin: Origin | None = None
    host: str | None = None


class RetryEvent(NamedTuple):
    """Attempt number `attempt` of a `run` failed; the next one begins after `pause` seconds, or (None) there is none."""

    database: str
    attempt: int
    error: str
    code: str | int | None
    pause: float | None


Event = StatementEvent | TransactionEvent | ConnectionEvent | RetryEvent


class Listeners:
    """The functions that are called with each event, in turn and outside every lock; their errors are only logged."""

    __slots__ = ("functions", "starting")

    def __init__(self) -> None:
        self.functions: tuple[Callable[[Event], object], ...] = ()
        self.starting: tuple[Callable[[StartEvent], object], ...] = ()

    def add(
        self, listener: Callable[[Event], object], starting: Callable[[StartEvent], object] | None = None
    ) -> Callable[[], None]:
        """Call `listener` with every event from now on, and `starting` before each; the function returned takes them off again."""
        self.functions = (*self.functions, listener)
        if starting is not None:
            self.starting = (*self.starting, starting)

        def remove() -> None:
            self.functions = tuple(function for function in self.functions if function is not listener)
            self.starting = tuple(function for function in self.starting if function is not starting)

        return remove

    def notify(self, event: Event) -> None:
        """Call each function with `event`."""
        self._call(self.functions, event)

    def start(self, database: str, statement: str, origin: Origin) -> None:
        """Say that something is about to run, to those who want to know."""
        if self.starting:
            self._call(self.starting, StartEvent(database, statement, origin))

    def _call(self, functions: tuple[Callable[[Any], object], ...], event: Any) -> None:
        for function in functions:
            try:
                function(event)
            except Exception as exc:
                from logging import getLogger

                getLogger("sessionkit.session").warning(
                    "a listener failed on %s: %s", type(event).__name__, type(exc).__name__
                )


def log_statement(event: Event) -> None:
    """Write an event to the log `sessionkit.sql`: what `echo=True` listens with."""
    from logging import getLogger

    log = getLogger("sessionkit.sql")
    if isinstance(event, StatementEvent):
        outcome = event.error or f"{event.rowcount} rows"
        log.info("%s: %s (%.1f ms, %s)", event.database, event.statement, event.seconds * 1000, outcome)
    elif isinstance(event, TransactionEvent):
        log.info("%s: %s", event.database, event.action if event.name is None else f"{event.action} {event.name}")
    elif isinstance(event, ConnectionEvent):
        log.debug("%s: %s", event.database, event.action)
