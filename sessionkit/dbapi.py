"""
A PEP 249 module over sessions: the same DB-API connection for every database, pooled, with every promise of a session.

    from sessionkit import dbapi

    connection = dbapi.connect("postgresql://app@localhost/shop")
    cursor = connection.cursor()
    cursor.execute("select name from item where price < ?", (5,))
    cursor.execute("select name from item where price < :most", {"most": 5})
    connection.commit()

`?` with a sequence and `:name` with a mapping work on every driver. A result is fetched whole when its statement runs, and can be
read after commit.
"""

from __future__ import annotations

import datetime
import threading
import time
from typing import TYPE_CHECKING, Any

from . import errors
from .engine import Engine, create_engine
from .errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from .session.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .mapping.results import Result

__all__ = [
    "BINARY", "DATETIME", "NUMBER", "ROWID", "STRING", "Binary", "Connection", "Cursor", "DataError", "DatabaseError", "Date",
    "DateFromTicks", "Error", "IntegrityError", "InterfaceError", "InternalError", "NotSupportedError", "OperationalError",
    "ProgrammingError", "Time", "TimeFromTicks", "Timestamp", "TimestampFromTicks", "Warning", "apilevel", "connect", "dispose",
    "paramstyle", "threadsafety",
]  # fmt: skip

apilevel = "2.0"
threadsafety = 1
"""Threads may share the module, and not a connection."""
paramstyle = "qmark"


class Warning(UserWarning):
    """PEP 249's Warning; nothing here raises it."""


Date, Time, Timestamp = datetime.date, datetime.time, datetime.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> datetime.date:
    """Return the date of a number of seconds since the epoch, in local time (PEP 249)."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:
    """Return the time of day of a number of seconds since the epoch, in local time (PEP 249)."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:
    """Return the date and time of a number of seconds since the epoch, in local time (PEP 249)."""
    return Timestamp(*time.localtime(ticks)[:6])


class _Type:
    """A type of column: equal to the Python types whose values it has (PEP 249, type objects)."""

    def __init__(self, *types: type) -> None:
        self._types = types

    def __eq__(self, other: object) -> bool:
        return other is self or other in self._types

    __hash__ = object.__hash__


STRING, BINARY, NUMBER = _Type(str), _Type(bytes, bytearray, memoryview), _Type(int, float, bool)
DATETIME, ROWID = _Type(datetime.date, datetime.time, datetime.datetime, datetime.timedelta), _Type(int)

_engines: dict[tuple[str, str], Engine] = {}
_lock = threading.Lock()


def connect(database: str | Engine, **options: Any) -> Connection:
    """
    Return a connection to a database: a URL, or an engine.

    Connections to one URL with the same options share a pool; a real connection is taken from it by the first statement, and
    given back by commit, rollback and close. `options` are those of `create_engine`. Every database in memory (`sqlite://`) is
    one of its own.

    Raises:
        InterfaceError, ProgrammingError: the URL or an option is wrong (when the first statement runs, the rest of PEP 249's).
    """
    if isinstance(database, Engine):
        if options:
            raise errors.ArgumentError("an engine has its options already; give them to create_engine()")
        return Connection(database)
    key = (database, repr(sorted(options.items())))
    with _lock:
        engine = _engines.get(key)
    if engine is not None:
        return Connection(engine)
    engine = create_engine(database, **options)
    if engine.is_in_memory:
        return Connection(engine, owns=True)
    with _lock:
        return Connection(_engines.setdefault(key, engine))


def dispose() -> None:
    """Close the idle connections of every pool that `connect` has made from a URL; those in use are closed when they come home."""
    with _lock:
        found = list(_engines.values())
        _engines.clear()
    for engine in found:
        engine.dispose()


class Connection:
    """
    A PEP 249 connection. A transaction begins with the first statement; `close` rolls back.

    `with connection:` commits, or rolls back on an exception, and leaves it open, as sqlite3 has it.
    """

    Warning, Error, InterfaceError, DatabaseError, DataError = Warning, Error, InterfaceError, DatabaseError, DataError
    OperationalError, IntegrityError, InternalError = OperationalError, IntegrityError, InternalError
    ProgrammingError, NotSupportedError = ProgrammingError, NotSupportedError

    def __init__(self, engine: Engine, owns: bool = False) -> None:
        self._engine = engine
        self._owns = owns
        self._session = Session(engine, close_resets_only=False)

    @property
    def session(self) -> Session:
        """The session that does the work."""
        self._check()
        return self._session

    def cursor(self) -> Cursor:
        """Return a cursor; it takes no connection before it is used."""
        self._check()
        return Cursor(self)

    def commit(self) -> None:
        """
        Commit; with nothing begun it does nothing.

        Raises:
            TransactionAbortedError, TransactionLostError, CommitUnknownError: it did not, or nobody knows.
        """
        self._check()
        self._session.commit()

    def rollback(self) -> None:
        """Roll back; with nothing begun it does nothing."""
        self._check()
        self._session.rollback()

    def close(self) -> None:
        """Roll back what is open and let go for good; a second time does nothing."""
        if not self._session.closed:
            self._session.rollback()
            self._session.close()
            if self._owns:
                self._engine.dispose()

    def _check(self) -> None:
        if self._session.closed:
            raise InterfaceError("this connection is closed; connect() again")

    def __enter__(self) -> Connection:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.commit() if kind is None else self.rollback()

    def __repr__(self) -> str:
        return f"<Connection: {'closed' if self._session.closed else self._engine.url}>"


class Cursor:
    """A PEP 249 cursor, its result a value: it can be read after commit, and in another thread."""

    def __init__(self, connection: Connection) -> None:
        self.arraysize = 1
        self._connection = connection
        self._is_closed = False
        self._result: Result[Any] | None = None
        self._rows: Sequence[Any] | None = None
        self._next = 0

    @property
    def connection(self) -> Connection:
        """The connection that it was made by."""
        return self._connection

    def execute(self, operation: str, parameters: Any = None) -> Cursor:
        """Run one statement, and return this cursor: `?` with a sequence, `:name` with a mapping."""
        self._check()
        self._keep(None)
        self._keep(self._connection.session.execute(operation, parameters))
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Any]) -> Cursor:
        """Run a statement once for each of several rows of parameters."""
        self._check()
        self._keep(None)
        self._keep(self._connection.session.executemany(operation, seq_of_parameters))
        return self

    def _keep(self, result: Result[Any] | None) -> None:
        self._result = result
        self._rows = result.raw() if result is not None and result.columns else None
        self._next = 0

    def callproc(self, procname: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        """
        Call a stored procedure (on PostgreSQL a function), and return the parameters as they were given.

        Raises:
            NotSupportedError: the database has none.
        """
        words = self._connection._engine.driver.call(procname, ", ".join("?" * len(parameters)))
        self.execute(words, tuple(parameters))
        return parameters

    def nextset(self) -> None:
        """Return None: one call is one statement and one set of rows."""
        self._check()
        self._found()
        self._keep(None)

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """The columns in seven parts each (PEP 249), of which the name and, where a value tells it, the type are filled in."""
        if self._result is None or self._rows is None:
            return None
        return [
            (
                name,
                next((type(row[at]) for row in self._rows if row[at] is not None), None),
                None,
                None,
                None,
                None,
                None,
            )
            for at, name in enumerate(self._result.columns)
        ]

    @property
    def rowcount(self) -> int:
        """How many rows a statement brought or changed; -1 before the first."""
        return -1 if self._result is None else self._result.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The key that an INSERT generated, where the driver tells."""
        return None if self._result is None else self._result.lastrowid

    @property
    def rownumber(self) -> int | None:
        """The number of the next row, from 0; None where there are no rows."""
        return None if self._rows is None else self._next

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        found = self._take(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next `size` rows (`arraysize`, where nothing is said)."""
        return self._take(self.arraysize if size is None else size)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self._take(len(self._found()) - self._next)

    def _take(self, count: int) -> list[tuple[Any, ...]]:
        rows = self._found()[self._next : self._next + count]
        self._next += len(rows)
        return list(map(tuple, rows))

    def _found(self) -> Sequence[Any]:
        self._check()
        if self._rows is None:
            raise ProgrammingError("there are no rows: execute a statement that returns some")
        return self._rows

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move among the rows, by or to a number of them (PEP 249); IndexError beyond them."""
        rows = self._found()
        if mode not in ("relative", "absolute"):
            raise errors.ArgumentError(f"mode is 'relative' or 'absolute', got {mode!r}")
        at = value + (self._next if mode == "relative" else 0)
        if not 0 <= at <= len(rows):
            raise IndexError(f"row {at} of {len(rows)}")
        self._next = at

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Let go of the rows; a second time does nothing."""
        self._is_closed = True
        self._keep(None)

    def _check(self) -> None:
        self._connection._check()
        if self._is_closed:
            raise InterfaceError("this cursor is closed; ask the connection for another")

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
