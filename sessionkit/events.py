"""Records of what happened, and the functions that are called with them."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class StatementEvent(NamedTuple):
    """A statement ran on `database`, in `seconds`; `error` is the class of what it raised. No values."""

    database: str
    statement: str
    seconds: float
    rowcount: int
    error: str | None = None


class TransactionEvent(NamedTuple):
    """A transaction's word was spoken: begin, commit, rollback, savepoint, release or rollback to."""

    database: str
    action: str
    name: str | None = None


class ConnectionEvent(NamedTuple):
    """A connection came or went: connect, checkout, checkin, discard."""

    database: str
    action: str


Event = StatementEvent | TransactionEvent | ConnectionEvent


class Listeners:
    """The functions that are called with each event, in turn and outside every lock; their errors are only logged."""

    __slots__ = ("functions",)

    def __init__(self) -> None:
        self.functions: tuple[Callable[[Event], object], ...] = ()

    def add(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call `listener` with every event from now on; the function returned takes it off again."""
        self.functions = (*self.functions, listener)

        def remove() -> None:
            self.functions = tuple(function for function in self.functions if function is not listener)

        return remove

    def notify(self, event: Event) -> None:
        """Call each function with `event`."""
        for function in self.functions:
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
    else:
        log.debug("%s: %s", event.database, event.action)
