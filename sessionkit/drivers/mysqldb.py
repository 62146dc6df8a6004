"""MySQL and MariaDB through mysqlclient (module MySQLdb): C, fast at fetching. It does not show the server's status flags."""

from __future__ import annotations

from functools import cache

from ..errors import ArgumentError
from ._limits import sized
from ._mysql import MySQL
from ._values import MYSQLDB, read_moments, text_of_date
from .base import ACTIVE, BROKEN, CONNECTING, IDLE, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..url import URL

_DATES = (7, 10, 12)  # TIMESTAMP, DATE, DATETIME


class MySQLdb(MySQL):
    """
    mysqlclient. A unit of work of one statement is two round trips: the statement and COMMIT.

    What may have ended the transaction is followed by a question, `SELECT @@in_transaction`, which is a round trip: a CALL, an
    error, and whatever ran on the connection itself. Oracle's MySQL has no such variable: a procedure that commits is not
    noticed there.
    """

    name = "mysqlclient"
    module = "MySQLdb"
    extra = "mysqlclient"
    spellings = ("mysqldb", "mysqlclient")
    is_default = False
    tells_status = False
    adapters = MYSQLDB
    extras = frozenset("escape escape_string literal insert_id affected_rows thread_id get_server_info open".split())
    marking_extras = frozenset(["select_db", "change_user", "set_character_set"])

    # -- connecting

    def connect_at(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Connect, and keep the server's number for the connection, which mysqlclient tells no thread while it is in use."""
        conn = super().connect_at(url, options)
        conn.sessionkit_thread_id = conn.thread_id()
        return conn

    def connection_id(self, conn: Any) -> int | None:
        """As it was when it was made."""
        return int(conn.sessionkit_thread_id)

    def found_rows(self) -> int:
        """mysqlclient's."""
        from MySQLdb.constants import CLIENT

        return int(CLIENT.FOUND_ROWS)

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """One statement in a text; binary values are marked as such; a date that is none (0000-00-00) comes as text, no NULL."""
        given: dict[str, Any] = {"multi_statements": False, "binary_prefix": True, "connect_timeout": CONNECTING}
        given |= super().arguments(url, options)
        if "conv" not in given:
            from MySQLdb.converters import conversions

            given["conv"] = {**conversions, **{kind: text_of_date(conversions[kind]) for kind in _DATES}}
        return given

    def option_names(self) -> list[str]:
        """Those of its documentation."""
        names = (
            "host user password port unix_socket conv connect_timeout read_timeout write_timeout compress init_command"
        )
        return [
            *names.split(),
            "charset",
            "collation",
            "sql_mode",
            "ssl",
            "ssl_mode",
            "local_infile",
            "use_unicode",
            "autocommit",
        ]

    def close(self, conn: Any) -> None:
        """A second close raises in mysqlclient."""
        if conn.open:
            super().close(conn)

    # -- state

    def status(self, conn: Any) -> int:
        """Idle after COMMIT and ROLLBACK; else nobody knows without a question, which is asked where something unseen ran."""
        if not conn.open:
            return BROKEN
        state = conn.__dict__
        if state.get("sessionkit_unseen"):
            return self._asked(conn)
        return IDLE if state.get("sessionkit_idle") else UNKNOWN

    def status_after_error(self, conn: Any) -> int:
        """A round trip."""
        return self._asked(conn)

    def _asked(self, conn: Any) -> int:
        if not conn.open:
            return BROKEN
        if "MariaDB" not in conn.get_server_info():
            conn.ping()
            return UNKNOWN
        with conn.cursor(_cursor_class()) as cursor:
            cursor.execute("SELECT @@in_transaction")
            return ACTIVE if cursor.fetchone()[0] else IDLE

    def fileno(self, conn: Any) -> int | None:
        """The socket."""
        return int(conn.fileno()) if conn.open else None

    def ping(self, conn: Any) -> None:
        """It never connects anew by itself."""
        conn.ping()

    def set_utc(self, conn: Any) -> None:
        """DATETIME and TIMESTAMP come back with UTC as their zone."""
        super().set_utc(conn)
        read_moments(conn.converter)

    def for_given(self, conn: Any) -> MySQLdb:
        """
        Return the driver for a given connection, which asks for its state each time.

        Raises:
            ArgumentError: the server cannot be asked.
        """
        if "MariaDB" not in conn.get_server_info():
            raise ArgumentError(
                "mysqlclient does not tell whether this connection is in a transaction, and Oracle's MySQL cannot be asked; give "
                "the session an engine, or a connection of PyMySQL"
            )
        return Asking()

    # -- statements

    def cursor(self, conn: Any) -> Any:
        """Return a buffered cursor that yields tuples, whatever the connection's cursorclass."""
        conn.sessionkit_idle = False
        return conn.cursor(_cursor_class())

    def stream_cursor(self, conn: Any, words: Sequence[str]) -> Any:
        """A cursor whose rows stay on the wire until they are asked for."""
        conn.sessionkit_idle = False
        return conn.cursor(_stream_class())

    def run(self, conn: Any, words: str) -> None:
        """Run words that return nothing."""
        conn.sessionkit_idle = False
        super().run(conn, words)

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it; what a procedure brings after its first rows is read too, for its errors."""
        cursor = self.cursor(conn)
        try:
            self.execute(cursor, sql, parameters)
            description = cursor.description
            if description is None:
                return None, None, cursor.rowcount, self.lastrowid(cursor)
            rows = cursor.fetchall()
            while conn.more_results() and cursor.nextset():
                pass
            return rows, description, len(rows), None
        finally:
            self.close_cursor(cursor)

    def fetch_shown(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Asked before, so that it can be asked after."""
        self.begin_visibly(conn)
        return self.fetch(conn, sql, parameters)

    def written_types(self, conn: Any) -> dict[type, object]:
        """Its encoders', and those that it writes without one."""
        known = conn.__dict__.get("sessionkit_known")
        if known is None:
            known = conn.sessionkit_known = {**conn.encoders, str: None, bytes: None, bytearray: None}
        return known  # type: ignore[no-any-return]

    # -- transactions

    def begin_visibly(self, conn: Any) -> bool:
        """START TRANSACTION where none is open; from then on the server is asked. False where it cannot be."""
        status = self._asked(conn)
        if status == UNKNOWN:
            return False
        if status == IDLE:
            self.run(conn, "START TRANSACTION")
        conn.sessionkit_unseen = True
        return True

    def commit(self, conn: Any) -> None:
        """COMMIT, after which it is idle."""
        super().commit(conn)
        self._ended(conn)

    def rollback(self, conn: Any) -> bool:
        """ROLLBACK, after which it is idle."""
        kept = super().rollback(conn)
        self._ended(conn)
        return kept

    def _ended(self, conn: Any) -> None:
        conn.sessionkit_unseen = False
        conn.sessionkit_idle = True

    def warned(self, conn: Any, words: str) -> bool:
        """The answer has the number of warnings."""
        self.run(conn, words)
        return bool(conn.warning_count())

    # -- what it is

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions and the default isolation."""
        is_mariadb = "MariaDB" in conn.get_server_info()
        variable = "tx_isolation" if is_mariadb else "transaction_isolation"
        version, isolation = self.fetch(conn, f"SELECT VERSION(), @@SESSION.{variable}", None)[0][0]
        self.rollback(conn)
        number = ".".join(map(str, self.dbapi().version_info[:3]))
        return {
            "driver": f"mysqlclient {number}",
            "server": f"{'MariaDB' if is_mariadb else 'MySQL'} {version}",
            "isolation": isolation.replace("-", " "),
        }

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """A call waits in C: neither a signal nor a limit of time reaches it, unless the connection has a limit of its own."""
        return [(
            "a call of mysqlclient waits for a server that does not answer for ever, and a signal waits with it",
            "add ?read_timeout=60 to the URL, in seconds, or use mysql:// (PyMySQL)",
        )]  # fmt: skip


class Asking(MySQLdb):
    """For a given connection: what has run on it nobody here has seen, so the server is asked."""

    def status(self, conn: Any) -> int:
        """A round trip."""
        return self._asked(conn)


@cache
def _cursor_class() -> Any:
    from MySQLdb.cursors import Cursor

    return sized(Cursor)


@cache
def _stream_class() -> Any:
    from MySQLdb.cursors import SSCursor

    return sized(SSCursor)


driver = MySQLdb()
