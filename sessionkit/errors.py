"""The error tree: PEP 249's classes, our leaves below them, and the one place that maps a driver's error to ours.

An error's text is the server's own words, because they help best, without the values in them (`redact`) and without any
password. The driver's exception stays in `.orig`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from ._typing import Diagnoser

SHOWN = 72
"""How many characters of a statement a message shows."""


class Error(Exception):
    """
    The root of every error that sessionkit raises. PEP 249 has this class.

    `orig` is the driver's exception or None, `sqlstate` the five characters of the SQL standard where the
    server gives them, `code` the driver's own number, `statement` the SQL as the program wrote it. `constraint`, `table` and
    `column` name what it is about, where the server tells or its text does, else None; of several columns all, with commas.
    """

    constraint: str | None = None
    table: str | None = None
    column: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        orig: BaseException | None = None,
        sqlstate: str | None = None,
        code: int | None = None,
        statement: str | None = None,
    ) -> None:
        super().__init__(message)
        self.orig = orig
        self.sqlstate = sqlstate
        self.code = code
        self.statement = statement

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the driver's exception, which may hold sockets and results."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("orig", "__notes__")}
        return (type(self), self.args, state)


class InterfaceError(Error):
    """The client side was used in a way that its state does not allow. PEP 249 has this class."""


class DatabaseError(Error):
    """The database refused or failed. PEP 249 has this class."""


class DataError(DatabaseError):
    """A value did not fit: out of range, of a wrong type, not encodable. PEP 249 has this class."""


class OperationalError(DatabaseError):
    """The database's operation failed, not necessarily by the program's fault. PEP 249 has this class."""


class IntegrityError(DatabaseError):
    """A constraint was violated. PEP 249 has this class."""


class InternalError(DatabaseError):
    """The database or the driver failed inside. PEP 249 has this class."""


class ProgrammingError(DatabaseError):
    """The statement or the call is wrong: syntax, unknown table, misuse. PEP 249 has this class."""


class NotSupportedError(DatabaseError):
    """This database or driver cannot do what was asked. PEP 249 has this class."""


# -- integrity


class UniqueViolation(IntegrityError):
    """A row with the same unique key is already there."""


class ForeignKeyViolation(IntegrityError):
    """The row points to one that is not there, or is still pointed to."""


class NotNullViolation(IntegrityError):
    """A column that must have a value got NULL."""


class CheckViolation(IntegrityError):
    """A CHECK constraint said no."""


# -- operational: what the server did


class DeadlockError(OperationalError):
    """The server ended this transaction to break a deadlock; run all of it again."""


class SerializationError(OperationalError):
    """What this transaction read is stale; run all of it again."""


class LockTimeoutError(OperationalError):
    """A lock was not free in time; roll back and try again."""


class DisconnectionError(OperationalError):
    """The connection is gone, or could not be made."""


class QueryCancelledError(OperationalError):
    """The statement was cancelled: by a timeout, an administrator or the program."""


class ReadOnlyError(OperationalError):
    """
    A write met a read-only transaction, file or server.

    `failover` is True when a server said so though nobody had asked for read-only: it may no longer be the writer.
    """

    failover = False


class TooManyConnectionsError(OperationalError):
    """The server accepts no further connection now."""


# -- operational: what became of a transaction


class TransactionAbortedError(OperationalError):
    """An earlier statement failed and the server kept nothing of the transaction; its error is the cause."""


class TransactionLostError(OperationalError):
    """The transaction that the program believes in is over; the text says what is known of its work."""


class RollbackIncompleteError(OperationalError):
    """
    A rollback left what was written to tables without transactions (MyISAM, MEMORY, Aria); `tables` names those that are known.
    """

    def __init__(self, message: str = "", *, tables: Sequence[str] = (), **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.tables = list(tables)


class CommitUnknownError(OperationalError):
    """The connection was lost during COMMIT: nobody knows whether it happened."""


class PartialCommitError(OperationalError):
    """
    One database committed and a later one did not; the failure is the cause.

    `committed`, `failed` and `rolled_back` name the databases.
    """

    def __init__(
        self,
        message: str = "",
        *,
        committed: Sequence[str] = (),
        failed: str = "",
        rolled_back: Sequence[str] = (),
        **details: object,
    ) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.committed = list(committed)
        self.failed = failed
        self.rolled_back = list(rolled_back)


class PoolTimeoutError(OperationalError):
    """
    No connection came free in time; the text names who holds them.

    `outage` is True when that is because none could be made: the server does not answer.
    """

    outage = False


class PoolDeadlockError(PoolTimeoutError):
    """Waiting for a connection could never end: this very call stack holds them all."""


class StaleObjectError(OperationalError):
    """The row has changed or gone since this object was read (optimistic locking, or an update of nothing)."""


# -- interface


class PoolClosedError(InterfaceError):
    """The pool was disposed of, or a lease was given back twice or to another pool."""


class SessionClosedError(InterfaceError):
    """The session was closed for good (`close_resets_only=False`)."""


class ConcurrentUseError(InterfaceError):
    """Two threads called one session at the same time; this call changed nothing."""


# -- programming


class InvalidRequestError(ProgrammingError):
    """The call makes no sense in this state; the text says how to do it."""


class ArgumentError(InvalidRequestError):
    """An argument is wrong: its name, type or value."""


class NoResultFound(InvalidRequestError):
    """One row was asked for and there is none."""


class MultipleResultsFound(InvalidRequestError):
    """One row was asked for and there are several."""


class ImplicitCommitError(InvalidRequestError):
    """The statement would commit the open transaction by itself (MySQL DDL); it was not sent."""


class Rollback(Exception):
    """
    Raise this inside a block to undo that block and go on after it.

    It is not an error: the innermost `begin()` or `begin_nested()` block around it rolls back and swallows it.
    """


class UncommittedWorkWarning(UserWarning):
    """A session was closed with writes that nobody committed: they were rolled back, or the text says why they may be kept."""


class Diagnosis:
    """
    What a driver file says about one exception: our class, the codes, the server's words, and what they are about.

    `text` may have values in it between two of `redact.MARK`; quoted parameters are found without.
    """

    __slots__ = ("code", "column", "constraint", "error", "sqlstate", "table", "text")

    def __init__(
        self,
        error: type[Error],
        sqlstate: str | None = None,
        code: int | None = None,
        text: str = "",
        *,
        constraint: str | None = None,
        table: str | None = None,
        column: str | None = None,
    ) -> None:
        self.error = error
        self.sqlstate = sqlstate
        self.code = code
        self.text = text
        self.constraint = constraint
        self.table = table
        self.column = column


def shorten(statement: str, width: int = SHOWN) -> str:
    """Return a statement on one line, cut to `width` characters with an ellipsis."""
    line = " ".join(statement.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


_OF_VALUES = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError)
"""What the adapting of a value raises, in drivers and in the program's own adapters."""


def is_interruption(exc: BaseException, diagnoser: Diagnoser, values: bool = True) -> bool:
    """
    Tell whether what came out of a driver's call is neither its own nor of the kind that a value raises, if `values` were sent.

    Then it is a signal handler's time limit, MemoryError and the like, and goes on as it is.
    """
    if isinstance(exc, Error) or (values and isinstance(exc, _OF_VALUES)):
        return False
    return diagnoser.diagnose(exc) is None


def map_error(exc: BaseException, diagnoser: Diagnoser, statement: str | None = None, parameters: Any = None) -> Error:
    """
    Return our error for a driver's exception, which is its cause; to be raised at once, and in no variable.

    (A frame that keeps an error which it raises keeps all frames above alive until the garbage is collected.)

    An error of ours is returned as it is. What the driver does not know as its own (a value that cannot be
    adapted: OverflowError, UnicodeEncodeError, TypeError) is a DataError; see `is_interruption` for what is to go on unmapped.
    `parameters` are the values that must not be shown.
    """
    if isinstance(exc, Error):
        exc.statement = exc.statement or statement
        return exc
    from .redact import redacted  # which compiles expressions that nobody needs where all is well

    found: Diagnosis = diagnoser.diagnose(exc) or _of_a_value(exc)
    names = (found.constraint, found.table, found.column)
    text = redacted(found.text, parameters, statement or "", names) or first_sentence(found.error)
    codes = ", ".join(
        part for part in (found.sqlstate and f"sqlstate {found.sqlstate}", found.code and f"code {found.code}") if part
    )
    message = f"{text} ({codes})" if codes else text
    if statement:
        message += f' in "{shorten(statement)}"'
    error = found.error(message, orig=exc, sqlstate=found.sqlstate, code=found.code, statement=statement)
    error.constraint, error.table, error.column = names
    error.__cause__ = exc
    return error


def _of_a_value(exc: BaseException) -> Diagnosis:
    """Say what the adapting of a value raised, in the driver or in the program's own adapter."""
    if isinstance(exc, UnicodeEncodeError):
        return Diagnosis(
            DataError, text=f"a text cannot be encoded as {exc.encoding} at its character {exc.start + 1}: {exc.reason}"
        )
    return Diagnosis(DataError, text=f"the driver could not take a value ({type(exc).__name__}): {exc}")


def first_sentence(error: type[Error]) -> str:
    """Return what an error class stands for, as the start of a message."""
    line = (error.__doc__ or error.__name__).strip().splitlines()[0].partition(". ")[0]
    return line[0].lower() + line[1:].rstrip(".")


class map_errors:
    """Turn the driver errors of a `with` block into ours: the form of `map_error` for paths that are not hot."""

    __slots__ = ("diagnoser", "statement", "values")

    def __init__(self, diagnoser: Diagnoser, statement: str | None = None, values: bool = False) -> None:
        self.diagnoser = diagnoser
        self.statement = statement
        self.values = values

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if not isinstance(exc, Exception) or isinstance(exc, Error):
            return
        if not is_interruption(exc, self.diagnoser, self.values):
            raise map_error(exc, self.diagnoser, self.statement)


def lookup(table: Mapping[object, type[Error]], *keys: object, default: type[Error] = DatabaseError) -> type[Error]:
    """Return the class of the first of `keys` that the table knows: exact codes first, then classes of codes."""
    for key in keys:
        found = table.get(key)
        if found is not None:
            return found
    return default
