"""The driver contract, with defaults that suit any PEP 249 module; transaction status; capabilities.

A driver file says how one DB-API module connects, what state a connection is in, the words that begin a
transaction, and what its errors mean. It imports its module only when it connects.
"""

from __future__ import annotations

from .. import errors
from .._typing import ACTIVE, BROKEN, IDLE, INERROR, UNKNOWN
from ..options import ISOLATION_LEVELS
from ..sql.lexer import Lexicon
from ._bulk import BulkRows
from ._clients import Standins
from ._transactions import Transactions
from ._values import ValueRules
from .sqlstates import SQLSTATES, by_sqlstate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType
    from typing import Any, ClassVar

    from ..errors import Diagnosis
    from ..url import URL

__all__ = [
    "ACTIVE", "BROKEN", "CONNECTING", "GRACE", "IDLE", "INERROR", "ISOLATION_LEVELS", "SQLSTATES", "UNKNOWN", "Driver"
]  # fmt: skip


GRACE = 0.2
"""Seconds that a client waits beyond the server's own limit, so that the server's better answer comes first."""
CONNECTING = 10
"""Seconds that connecting may take where nothing else was said."""


class Driver(Transactions, Standins, ValueRules, BulkRows):
    """
    One DB-API module, as sessionkit needs it. Subclass it, set the class attributes, override what differs.

    `name` is for messages, `schemes` the URL schemes it serves, `module` the DB-API module's name, `extra`
    what to install for it, `lexicon` the server's lexical rules. A driver holds no state of a connection, so one
    object serves all threads.
    """

    name: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ()
    module: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    modules: ClassVar[tuple[str, ...]] = ()
    """Further top-level modules that define its exceptions and connections, such as one in C."""
    lexicon: ClassVar[Lexicon] = Lexicon()
    identifier_quote: ClassVar[str] = '"'
    returning: ClassVar[bool] = False
    """Whether INSERT … RETURNING brings a generated key; else the cursor's lastrowid does."""
    for_update: ClassVar[str] = " FOR UPDATE"
    """What a SELECT ends with to lock its row; '' where writing transactions exclude each other anyway."""
    autocommit: ClassVar[bool] = False
    """Whether the connections that `connect` makes commit each statement by themselves until `begin` says otherwise."""
    always_begun: ClassVar[bool] = False
    """Whether a transaction is open at all times, so that the status says nothing about a given connection."""
    begins_with_first: ClassVar[bool] = False
    """Whether a BEGIN without modes can travel with the first statement, by `fetch_first`."""
    limits_locally: ClassVar[bool] = False
    """Whether the limit that `begin_limited` sets ends with its transaction; else `limit_server` takes it back."""
    unknown_means_ended: ClassVar[bool] = False
    """Whether UNKNOWN after ACTIVE means that the transaction that was ACTIVE has ended (another may have begun)."""
    may_keep: ClassVar[bool] = False
    """Whether a rollback may leave something (tables without transactions), and IDLE does not say that nothing was written."""
    may_commit_implicitly: ClassVar[bool] = True
    """Whether a statement that commits by itself may run where nothing was written before it."""
    is_default: ClassVar[bool] = True  # whether a URL with one of `schemes` means this driver without a name after `+`
    spellings: ClassVar[tuple[str, ...]] = ()
    """The names after `scheme+` that mean this driver."""
    transaction_id: ClassVar[str | None] = None
    """SQL for the open transaction's number as text, where the server can tell later what became of it."""
    transaction_fate: ClassVar[str] = ""
    """SQL for that, by `:id`: 'committed', 'aborted' or anything else."""

    # -- connecting

    def dbapi(self) -> ModuleType:
        """
        Import and return the DB-API module.

        Raises:
            InterfaceError: it is not installed; the text says what to install.
        """
        from importlib import import_module

        try:
            return import_module(self.module)
        except ImportError as exc:
            package = f"pip install 'dbapi-sessionkit[{self.extra}]'"
            how = package if self.extra else f"install the package that has {self.module}"
            raise errors.InterfaceError(
                f"{self.name} needs the module {self.module}, which cannot be imported ({type(exc).__name__}); {how}"
            ) from exc

    def connect(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Open a connection. `options` are the engine's further arguments, which win over the URL's."""
        return self.dbapi().connect(**self.arguments(url, options))

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for the module's `connect`: user, password, host, port, database, query, options."""
        parts = {
            "user": url.username,
            "password": url.password,
            "host": url.host,
            "port": url.port,
            "database": url.database,
        }
        return {**{key: value for key, value in parts.items() if value is not None}, **url.query, **options}

    def option_names(self) -> list[str]:
        """Return the names of the options that `connect` takes, for the text of an error."""
        from inspect import signature

        return list(signature(self.dbapi().connect).parameters)

    def check(self, url: URL, options: Mapping[str, Any]) -> None:
        """Refuse a URL or options that can never work, without I/O."""

    def set_up(self, conn: Any, url: URL) -> None:
        """Do what the URL asks of a new connection, or of one that was reset, beyond what `connect` takes."""

    def close(self, conn: Any) -> None:
        """Close a connection; a second time does nothing, and a broken one raises nothing worth telling."""
        try:
            conn.close()
        except Exception as exc:
            if self.diagnose(exc) is None:
                raise

    def writers(self, url: URL, options: Mapping[str, Any]) -> tuple[str, float] | None:
        """
        Return what to call the database and the seconds that a writer waits, where writers exclude each other as a whole.

        Then they stand in line.
        """
        return None

    def is_shared_memory(self, url: URL) -> bool:
        """Tell whether every connection to `url` is a database of its own, so that the pool must keep one for ever."""
        return False

    # -- state

    def status(self, conn: Any) -> int:
        """Return IDLE, ACTIVE, INERROR, BROKEN or UNKNOWN, without a round trip."""
        return UNKNOWN

    def status_after_error(self, conn: Any) -> int:
        """Return the status after a failed statement, with a round trip where nothing else tells the truth."""
        return self.status(conn)

    def is_in_step(self, conn: Any) -> bool:
        """Tell whether the wire is surely in step after an exception that is not the driver's own (a bad value)."""
        return False

    def fileno(self, conn: Any) -> int | None:
        """Return the socket to poll for a hang-up while the connection is idle, or None."""
        return None

    def is_cut(self, conn: Any) -> bool:
        """Tell, when a socket turned readable though nothing was asked, whether the server hung up. In doubt it did."""
        return True

    def ping(self, conn: Any) -> None:
        """Make a round trip, and raise when the connection is dead. No transaction may be left open."""
        cursor = conn.cursor()
        try:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        finally:
            cursor.close()
        conn.rollback()

    def clean(self, conn: Any) -> bool:
        """Make a connection that comes home idle and empty; False when it cannot be, or is in doubt."""
        status = self.status(conn)
        if status == IDLE:
            return True
        if status == BROKEN:
            return False
        self.rollback(conn)
        return self.status(conn) in (IDLE, UNKNOWN)

    def reset(self, conn: Any) -> bool:
        """
        Make an idle connection as a new one is: settings, variables, temporary tables, locks. False: close it instead.

        The engine then does again what it does to a new connection.
        """
        return False

    def make_like(self, conn: Any, like: Any) -> None:
        """Undo what was left on a connection that cannot be replaced, as far as it is known; `like` is a new one."""

    def lexicon_of(self, conn: Any) -> Lexicon:
        """Return the lexical rules that hold on a connection now, without a round trip: for a lexicon that `has_modes`."""
        return self.lexicon

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """
        Tell what a statement may leave on the connection that outlives its transaction: NOTHING, RESET or CLOSE.

        `tokens` are its significant tokens in upper case, a literal or quoted name by its first character.
        """
        if tokens[:1] == ["CREATE"]:
            return not {"TEMP", "TEMPORARY"}.isdisjoint(tokens[1:5])
        return tokens[:1] == ["SET"] and tokens[1:2] not in (["LOCAL"], ["TRANSACTION"])

    # -- statements

    def text(self, conn: Any, operation: Any) -> str:
        """Return a statement that a client gave to a cursor as text; some drivers take other things too."""
        if isinstance(operation, (bytes, bytearray)):
            return operation.decode()
        return operation  # type: ignore[no-any-return]  # the compiler refuses what is no string

    def execute(self, cursor: Any, sql: str, parameters: Any) -> None:
        """Run one statement; `parameters` is None when there are none, and the text must then reach the server as it is."""
        if parameters is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, parameters)

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it: rows or None, description, rowcount, lastrowid. The cursor is closed."""
        cursor = self.cursor(conn)
        try:
            self.execute(cursor, sql, parameters)
            description = cursor.description
            if description is None:
                return None, None, cursor.rowcount, self.lastrowid(cursor)
            rows = cursor.fetchall()
            return rows, description, len(rows), None
        finally:
            self.close_cursor(cursor)

    def fetch_shown(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """As `fetch`, for a first statement that runs what nobody sees: the status says ACTIVE after it, unless that ended it."""
        return self.fetch(conn, sql, parameters)

    def fetch_many(self, conn: Any, sql: str, rows: list[Any]) -> tuple[Any, Any, int, int | None]:
        """
        Run one statement for each row of parameters; the result is as with `fetch`, the rowcount that of all together.

        The rows are None each when the statement has no placeholder.
        """
        cursor = self.cursor(conn)
        try:
            if rows[0] is None:
                return None, None, sum([self._count(cursor, sql) for _ in rows]), self.lastrowid(cursor)
            self.executemany(cursor, sql, rows)
            return None, None, cursor.rowcount, self.lastrowid(cursor)
        finally:
            self.close_cursor(cursor)

    def _count(self, cursor: Any, sql: str) -> int:
        self.execute(cursor, sql, None)
        return int(cursor.rowcount)

    def close_cursor(self, cursor: Any) -> None:
        """Close a cursor whatever happened to it: that of a failed statement would hold its locks."""
        try:
            cursor.close()
        except Exception as exc:
            if self.diagnose(exc) is None:
                raise

    def executemany(self, cursor: Any, sql: str, rows: list[Any]) -> None:
        """Run one statement for each row of parameters, in the fastest portable form."""
        cursor.executemany(sql, rows)

    def lastrowid(self, cursor: Any) -> int | None:
        """Return the key that the last INSERT generated, or None."""
        return getattr(cursor, "lastrowid", None) or None

    def commits_implicitly(self, words: tuple[str, ...]) -> bool:
        """Tell whether a statement that starts with these words commits the open transaction by itself."""
        return False

    # -- what it is

    def describe(self, conn: Any) -> dict[str, str]:
        """Return what a person wants to know of a connection: versions, isolation. With round trips."""
        return {"driver": f"{self.module} {getattr(self.dbapi(), '__version__', 'of unknown version')}"}

    def system(self, scheme: str) -> str:
        """Return OpenTelemetry's name of the database (`db.system.name`); `scheme` is that of the URL."""
        return "other_sql"

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """Return known hazards of this driver and server, each with what to do."""
        return []

    # -- errors

    def owns(self, exc: BaseException) -> bool:
        """Tell whether an exception is of this DB-API module."""
        return self.made(type(exc))

    def made(self, kind: type) -> bool:
        """Tell whether a class, or one that it is derived from, is of this DB-API module."""
        roots = (self.module.partition(".")[0], *self.modules)
        return any(cls.__module__.partition(".")[0] in roots for cls in kind.__mro__)

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """Say what a driver's exception means, or None when it is not the driver's. The text must hold no value."""
        if not self.owns(exc):
            return None
        return by_sqlstate(exc)
