"""A strict fake driver that fails on request.

`FakeDriver` is no database. It is there for what a real server cannot be made to do: a COMMIT that raises, a ROLLBACK
that is interrupted. Whatever a real driver would suffer in silence it refuses.
"""

from __future__ import annotations

import threading
from typing import Any

from .. import errors
from .._typing import ACTIVE, BROKEN, IDLE
from ..drivers.base import Driver
from ..engine import Engine, create_engine
from ..errors import Diagnosis
from ..sql.lexer import Lexicon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..url import URL


class FakeError(Exception):
    """What the fake driver raises as its own: `code` is one of the keys of `FakeDriver.CODES`."""

    def __init__(self, code: str = "error") -> None:
        super().__init__(code)
        self.code = code


class FakeDriver(Driver):
    """
    A driver without a database, strict about its use: no double close, no use after close, no sharing, no dirty reuse.

    `fail("commit", KeyboardInterrupt())` makes the next COMMIT raise; the operations are connect, begin, execute, commit,
    rollback, savepoint, release, rollback_to, close, ping, status. `calls` lists what was done, as (connection number, word).
    `rows` is what a SELECT brings. `misuse` collects what a strict driver refuses, for `verify()`.
    """

    name = "fake"
    schemes = ("fake",)
    module = "sessionkit.testing.fake"
    lexicon = Lexicon("qmark")
    CODES = {
        "error": errors.DatabaseError,
        "unique": errors.UniqueViolation,
        "deadlock": errors.DeadlockError,
        "serialization": errors.SerializationError,
        "gone": errors.DisconnectionError,
        "busy": errors.TooManyConnectionsError,
    }

    def __init__(self, rows: list[tuple[Any, ...]] | None = None) -> None:
        self.rows = rows if rows is not None else [(1,)]
        self.connections: list[FakeConnection] = []
        self.calls: list[tuple[int, str]] = []
        self.misuse: list[str] = []
        self._failures: list[tuple[str, BaseException | Callable[[], object]]] = []

    def fail(self, operation: str, error: BaseException | Callable[[], object] | None = None, times: int = 1) -> None:
        """Make the next `times` of an operation raise `error`; a function is called instead and may wait or raise."""
        self._failures += [(operation, error if error is not None else FakeError())] * times

    def verify(self) -> None:
        """Raise AssertionError when a connection was misused, or one that is open is not idle."""
        dirty = [conn.number for conn in self.connections if conn.in_transaction and not conn.closed]
        assert not self.misuse, self.misuse
        assert not dirty, f"connections left in a transaction: {dirty}"

    def open_connections(self) -> int:
        """Return how many connections are open."""
        return sum(not conn.closed for conn in self.connections)

    def words(self) -> list[str]:
        """Return what was done, without the connections' numbers."""
        return [word for _, word in self.calls]

    def step(self, conn: FakeConnection | None, operation: str, shown: str | None = None) -> None:
        """Note an operation, and fail if that was asked for."""
        self.calls.append((conn.number if conn is not None else 0, shown or operation))
        at = next((number for number, failure in enumerate(self._failures) if failure[0] == operation), None)
        if at is None:
            return
        if isinstance(self._failures[at][1], BaseException):
            raise self._failures.pop(at)[1]  # type: ignore[misc]  # in no variable, which would make a cycle
        self._failures.pop(at)[1]()  # type: ignore[operator]

    # -- the contract

    def connect(self, url: URL, options: Mapping[str, Any]) -> FakeConnection:
        """Make a connection, numbered from 1."""
        self.step(None, "connect")
        conn = FakeConnection(self, len(self.connections) + 1)
        self.connections.append(conn)
        return conn

    def close(self, conn: FakeConnection) -> None:
        """Close; the contract says that a second time does nothing."""
        if not conn.closed:
            conn.close()

    def status(self, conn: FakeConnection) -> int:
        """Tell the truth, or fail as asked."""
        if any(operation == "status" for operation, _ in self._failures):
            self.step(conn, "status")
        return BROKEN if conn.closed else ACTIVE if conn.in_transaction else IDLE

    def ping(self, conn: FakeConnection) -> None:
        """Make a round trip to nowhere."""
        conn.use("ping")

    def begin(self, conn: FakeConnection, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """BEGIN; a transaction that is open already is dirty reuse."""
        if conn.in_transaction:
            self.misuse.append(f"begin on connection {conn.number}, which is in a transaction")
        conn.use("begin")
        conn.in_transaction = True
        return True

    def savepoint(self, conn: FakeConnection, name: str) -> None:
        """Set a savepoint."""
        conn.use("savepoint", f"savepoint {name}")
        conn.savepoints.append(name)

    def release(self, conn: FakeConnection, name: str) -> None:
        """Release a savepoint that must be there."""
        conn.use("release", f"release {name}")
        conn.forget_savepoint(name)

    def rollback_to(self, conn: FakeConnection, name: str) -> bool:
        """Undo to a savepoint that must be there."""
        conn.use("rollback_to", f"rollback_to {name}")
        conn.forget_savepoint(name)
        return False

    def owns(self, exc: BaseException) -> bool:
        """The fake's own errors only."""
        return isinstance(exc, FakeError)

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """By the error's code."""
        if not isinstance(exc, FakeError):
            return None
        return Diagnosis(self.CODES.get(exc.code, errors.DatabaseError), text=f"fake {exc.code}")


class FakeConnection:
    """A connection of the fake driver."""

    def __init__(self, driver: FakeDriver, number: int) -> None:
        self.driver = driver
        self.number = number
        self.closed = False
        self.in_transaction = False
        self.savepoints: list[str] = []
        self._using = threading.Lock()

    def use(self, operation: str, shown: str | None = None) -> None:
        """Do something on this connection: refused when closed, or when another thread is at it."""
        if self.closed:
            self.driver.misuse.append(f"{operation} on connection {self.number}, which is closed")
            raise FakeError("gone")
        if not self._using.acquire(blocking=False):
            self.driver.misuse.append(f"{operation} on connection {self.number}, which another thread is using")
            raise FakeError("error")
        try:
            self.driver.step(self, operation, shown)
        finally:
            self._using.release()

    def cursor(self) -> FakeCursor:
        """Return a cursor."""
        return FakeCursor(self)

    def commit(self) -> None:
        """COMMIT."""
        self.use("commit")
        self.in_transaction, self.savepoints = False, []

    def rollback(self) -> None:
        """ROLLBACK."""
        self.use("rollback")
        self.in_transaction, self.savepoints = False, []

    def close(self) -> None:
        """Close; a second time is misuse."""
        if self.closed:
            self.driver.misuse.append(f"close of connection {self.number}, which is closed")
        self.closed = True
        self.driver.step(self, "close")

    def forget_savepoint(self, name: str) -> None:
        """Drop a savepoint and those after it; one that was never set is misuse."""
        if name not in self.savepoints:
            self.driver.misuse.append(f"savepoint {name} does not exist on connection {self.number}")
            raise FakeError("error")
        del self.savepoints[self.savepoints.index(name) :]


class FakeCursor:
    """A cursor of the fake driver: a SELECT brings the driver's rows, anything else matches one row."""

    lastrowid = 1

    def __init__(self, conn: FakeConnection) -> None:
        self.connection = conn
        self.description: list[tuple[str]] | None = None
        self.rowcount = -1
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, operation: str, parameters: Any = ()) -> None:
        """Note a statement by its first word."""
        word = operation.split()[0].lower()
        self.connection.use("execute", word)
        self.description, self.rowcount = None, 1
        if word == "select":
            rows = self._rows = list(self.connection.driver.rows)
            self.description = [(f"c{i}",) for i in range(len(rows[0]) if rows else 1)]
            self.rowcount = len(rows)

    def executemany(self, operation: str, parameters: Any) -> None:
        """Note a statement once for all its rows."""
        self.execute(operation)
        self.rowcount = len(parameters)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        """Close."""


def fake_engine(driver: FakeDriver | None = None, **options: Any) -> Engine:
    """Return an engine on a strict fake driver; `engine.driver` is it."""
    return create_engine("fake://", driver=driver or FakeDriver(), **options)
