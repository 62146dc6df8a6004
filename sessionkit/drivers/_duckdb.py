"""DuckDB's cursors, what its errors mean, and where its texts have names and values."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from .. import errors
from ..redact import MARK

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

# the first words of statements whose "Count" or "Success" is a column that they asked for
_ASKING = frozenset(
    ["SELECT", "WITH", "FROM", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE", "SHOW", "DESCRIBE", "DESC", "SUMMARIZE",
     "EXPLAIN", "PRAGMA", "CALL", "PIVOT", "UNPIVOT"]
)  # fmt: skip


def call(run: Any, *arguments: Any) -> Any:
    """
    Call a method of a DuckDB connection.

    Raises:
        KeyboardInterrupt: a signal's handler raised while DuckDB worked, which then says only that its query was interrupted.
    """
    try:
        return run(*arguments)
    except RuntimeError as exc:
        if str(exc) == "Query interrupted":
            raise KeyboardInterrupt("DuckDB's query was interrupted by a signal's handler") from exc
        raise


def outcome(conn: Any, sql: str) -> tuple[Any, int]:
    """Return the description (None: the statement returns no rows) and the rowcount (-1: unknown) of what ran last."""
    description, count = conn.description, int(conn.rowcount)
    if count >= 0 or description is None:
        return None, count
    if len(description) == 1 and description[0][0] in ("Count", "Success"):
        words = sql.split(None, 1)
        if words and words[0].isalpha() and words[0].upper() not in _ASKING:
            return None, count
    return [(column[0], column[1].id, *column[2:]) for column in description], -1


class Cursor:
    """PEP 249's cursor on a connection that is one itself: it holds its rows, so that several may be open."""

    arraysize = 1

    def __init__(self, conn: Any) -> None:
        self.connection = conn
        self.description: Any = None
        self.rowcount = -1
        self._rows: list[Any] = []
        self._at = 0

    def execute(self, sql: str, parameters: Any = None) -> Cursor:
        """Run a statement, and fetch all of it."""
        self._run(sql, parameters)
        self._rows = self.connection.fetchall() if self.description is not None else []
        if self.description is not None:
            self.rowcount = len(self._rows)
        return self

    def _run(self, sql: str, parameters: Any) -> None:
        self._rows, self._at, self.description, self.rowcount = [], 0, None, -1
        conn = self.connection
        call(conn.execute, *((sql,) if parameters is None else (sql, parameters)))
        self.description, self.rowcount = outcome(conn, sql)

    def executemany(self, sql: str, rows: Sequence[Any]) -> Cursor:
        """Run a statement for each row."""
        self._rows, self._at, self.description, self.rowcount = [], 0, None, 0
        if rows:
            call(self.connection.executemany, sql, rows)
            self.rowcount = int(self.connection.rowcount)
        return self

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        start, self._at = self._at, self._at + (self.arraysize if size is None else size)
        return self._rows[start : self._at]

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchall(self) -> list[Any]:
        """Return the rest."""
        start, self._at = self._at, len(self._rows)
        return self._rows[start:]

    def __iter__(self) -> Any:
        return iter(self.fetchone, None)

    def setinputsizes(self, sizes: Any) -> None:
        """Nothing to do."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Let the rows go; the connection is the lender's."""
        self._rows = []


class Streamed(Cursor):
    """A cursor whose rows stay with DuckDB until they are asked for: the next statement on its connection would end it."""

    def execute(self, sql: str, parameters: Any = None) -> Cursor:
        """Run a statement."""
        self._run(sql, parameters)
        return self

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        found: list[Any] = call(self.connection.fetchmany, self.arraysize if size is None else size)
        return found

    def fetchall(self) -> list[Any]:
        """Return the rest."""
        found: list[Any] = call(self.connection.fetchall)
        return found


# -- errors

_KINDS: tuple[tuple[str, str, type[errors.Error]], ...] = (
    ("TransactionException", "transaction is aborted", errors.TransactionAbortedError),
    ("TransactionException", "no transaction is active", errors.TransactionLostError),
    ("TransactionException", "read-only", errors.ReadOnlyError),
    ("TransactionException", "within a transaction", errors.InternalError),
    ("TransactionException", "", errors.SerializationError),
    ("ConstraintException", "NOT NULL", errors.NotNullViolation),
    ("ConstraintException", "CHECK", errors.CheckViolation),
    ("ConstraintException", "foreign key", errors.ForeignKeyViolation),
    ("ConstraintException", "uplicate key", errors.UniqueViolation),
    ("ConnectionException", "already closed", errors.DisconnectionError),
    ("FatalException", "", errors.DisconnectionError),
    ("InterruptException", "", errors.QueryCancelledError),
    ("InvalidInputException", "onversion Failure", errors.DataError),
    ("InvalidInputException", "Python integer", errors.DataError),
    ("InvalidInputException", "read-only", errors.ReadOnlyError),
    ("NotImplementedException", "python value", errors.DataError),
)
"""By the class of an exception and a part of its text: DuckDB has no codes. What is left is judged by its PEP 249 class."""


def meaning(exc: BaseException) -> type[errors.Error] | None:
    """Return what an exception of DuckDB's means, or None where its PEP 249 class tells."""
    name, text = type(exc).__name__, str(exc)
    return next((error for kind, part, error in _KINDS if kind == name and part in text), None)


def own_words(exc: BaseException) -> str:
    """Return the words of an exception without its kind and the place in the statement, and with its values marked."""
    text = str(exc).split("\n\nLINE ", 1)[0]
    kind, _, words = text.partition(" Error: ")
    text = words if words and len(kind) < 40 else text
    return value_pattern().sub(rf"{MARK}\g<0>{MARK}", " ".join(text.split()))


@cache
def value_pattern() -> re.Pattern[str]:
    """Where DuckDB quotes a value."""
    import re

    return re.compile(
        r"""(?<=key ")[^"]*: .*?(?=" (?:violates|does|is))|(?<=duplicate key ").*(?=")|(?<=string ').*(?=' to )"""
        r"""|(?<=with value ).+?(?= can't be cast)|(?<=type: ).*(?=$)|(?<=: )-?\d+$""",
        re.DOTALL,
    )


@cache
def name_patterns() -> list[re.Pattern[str]]:
    """Where a text says which constraint, table and column it is about."""
    import re

    return [
        re.compile(r"NOT NULL constraint failed: \"?(?P<table>.+?)\"?\.\"?(?P<column>[^.\"]+)\"?$"),
        re.compile(r'CHECK constraint failed on table "(?P<table>.+?)" with expression (?P<constraint>.+)$'),
        re.compile(r'key "(?P<column>[^":]+): .*" violates (?:primary|unique)'),
        re.compile(r"Table with name (?P<table>.+?) does not exist"),
        re.compile(r'Referenced column "(?P<column>.+?)" '),
    ]
