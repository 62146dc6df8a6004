"""MySQL and MariaDB through PyMySQL: autocommit off, so that the first statement begins by itself."""

from __future__ import annotations

from functools import cache
from time import monotonic

from ._limits import LARGE, Reader, send_together, sized
from ._mysql import MySQL
from ._values import read_moments
from .base import ACTIVE, BROKEN, CONNECTING, GRACE, IDLE, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..sql.lexer import Lexicon
    from ..url import URL

# flags of the OK packet: SERVER_STATUS_IN_TRANS, SERVER_STATUS_NO_BACKSLASH_ESCAPES, and MariaDB's SERVER_STATUS_ANSI_QUOTES
_IN_TRANSACTION, _NO_BACKSLASH, _ANSI_QUOTES = 0x0001, 0x0200, 0x8000
_INIT_DB, _QUERY, _RESET_CONNECTION = 0x02, 0x03, 0x1F  # COM_RESET_CONNECTION: MySQL 5.7.3, MariaDB 10.2.4
_KEPT = 1196  # ER_WARNING_NOT_COMPLETE_ROLLBACK

_STALE = object()  # no timeout that a socket can have


class PyMySQL(MySQL):
    """PyMySQL. A unit of work of one statement is two round trips: the statement and COMMIT."""

    name = "pymysql"
    module = "pymysql"
    extra = "mysql"
    spellings = ("pymysql",)
    extras = frozenset(
        "escape escape_string literal insert_id affected_rows thread_id get_server_info open charset".split()
    )
    marking_extras = frozenset(["select_db"])
    unknown_means_ended = True

    # -- connecting

    def found_rows(self) -> int:
        """PyMySQL's."""
        return int(self.dbapi().constants.CLIENT.FOUND_ROWS)

    def close(self, conn: Any) -> None:
        """A second close raises in PyMySQL, so does one on a broken socket; an unread result would be drained later."""
        unread = conn._result
        if unread is not None and unread.unbuffered_active:
            unread.unbuffered_active, unread.connection = False, None
        if conn.open:
            super().close(conn)

    def connect_at(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Connect; PyMySQL's connect_timeout is for the socket only, so greeting, TLS and login get a deadline here."""
        given = self.arguments(url, options)
        limit = given.setdefault("connect_timeout", CONNECTING)
        conn = self.dbapi().connect(**{**given, "defer_connect": True})
        own = conn._read_timeout, conn._write_timeout
        conn._read_timeout = conn._write_timeout = limit  # TLS shakes hands within the timeout of the last write
        until, read = monotonic() + limit, conn._read_bytes

        def read_in_time(size: int) -> Any:
            """In place of the method by which PyMySQL reads."""
            Reader.of(conn, own).until = until  # TLS brings a file of its own
            return read(size)

        conn._read_bytes = read_in_time
        try:
            conn.connect()
        finally:
            del conn._read_bytes
        self.limit_next(conn, None)
        return conn

    # -- state

    def status(self, conn: Any) -> int:
        """
        The flag of the last OK packet, which rows do not bring: PyMySQL drops the one in the packet that ends them.

        So after a SELECT a flag that says idle proves nothing. An unfinished unbuffered result is a command under way.
        """
        if conn._sock is None:
            return BROKEN
        if conn.server_status & _IN_TRANSACTION:
            return BROKEN if conn._result is not None and conn._result.unbuffered_active else ACTIVE
        last = conn._result
        if last is None or last.server_status is not None:
            return IDLE
        return BROKEN if last.unbuffered_active else UNKNOWN

    def status_after_error(self, conn: Any) -> int:
        """An error packet carries no flag; COM_PING brings the true one."""
        if self.status(conn) == BROKEN:
            return BROKEN
        try:
            conn.ping(reconnect=False)
        except Exception as exc:
            if self.diagnose(exc) is None:
                raise
            return BROKEN
        return self.status(conn)

    def fileno(self, conn: Any) -> int | None:
        """PyMySQL's socket."""
        sock = conn._sock
        return None if sock is None else int(sock.fileno())

    def ping(self, conn: Any) -> None:
        """Never with reconnect: it would lose a transaction silently."""
        conn.ping(reconnect=False)

    def reset(self, conn: Any) -> bool:
        """
        COM_RESET_CONNECTION, the default database, and what PyMySQL sets on a new connection, sent together: one round trip.

        Where the server had been given no default database, there is no command to forget one.
        """
        if not conn.db:
            return False
        database = conn.db if isinstance(conn.db, bytes) else str(conn.db).encode(conn.encoding)
        names = f"SET NAMES {conn.charset}" + (f" COLLATE {conn.collation}" if conn.collation else "")
        mode = "" if conn.sql_mode is None else f", sql_mode = {conn.escape(conn.sql_mode)}"
        commands = [(_RESET_CONNECTION, b""), (_INIT_DB, database), (_QUERY, f"{names}, autocommit = 0{mode}".encode())]
        send_together(conn, commands)
        for _ in commands:
            conn._next_seq_id = 1  # each answer counts anew
            conn._read_ok_packet()
        if conn.init_command is not None:
            self.run(conn, conn.init_command)
        return True

    def set_utc(self, conn: Any) -> None:
        """DATETIME and TIMESTAMP come back with UTC as their zone."""
        super().set_utc(conn)
        conn.decoders = read_moments({**conn.decoders})

    def lexicon_of(self, conn: Any) -> Lexicon:
        """The server tells its mode with each OK; ANSI_QUOTES MariaDB only."""
        return _LEXICONS[conn.server_status & (_NO_BACKSLASH | _ANSI_QUOTES)]

    # -- statements

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it; what a procedure brings after its first rows is read too, for its errors."""
        cursor = conn.cursor(_cursor_class())
        try:
            self.execute(cursor, sql, parameters)
            return self._fetched(conn, cursor)
        finally:
            self.close_cursor(cursor)

    def fetch_shown(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """START TRANSACTION travels before it, unless rows came already, which may have begun one."""
        if self.status(conn) != IDLE:
            return self.fetch(conn, sql, parameters)
        cursor = conn.cursor(_cursor_class())
        try:
            text = cursor.mogrify(sql, None if parameters is None else self.checked(cursor, parameters))
            sent = text.encode(conn.encoding, "surrogateescape")
            if len(sent) > LARGE:
                self.begin_visibly(conn)
                return self.fetch(conn, sql, parameters)
            send_together(conn, [(_QUERY, b"START TRANSACTION"), (_QUERY, sent)])
            conn._read_ok_packet()
            conn._next_seq_id = 1  # the second answer counts anew
            conn._affected_rows = conn._read_query_result()
            cursor._do_get_result()
            cursor._executed = text
            return self._fetched(conn, cursor)
        finally:
            self.close_cursor(cursor)

    def _fetched(self, conn: Any, cursor: Any) -> tuple[Any, Any, int, int | None]:
        description = cursor.description
        if description is None:
            return None, None, cursor.rowcount, self.lastrowid(cursor)
        rows = cursor.fetchall()
        if conn._result.has_next:
            while cursor.nextset():
                pass
        return rows, description, len(rows), None

    def cursor(self, conn: Any) -> Any:
        """Return a buffered cursor that yields tuples, whatever the connection's cursorclass."""
        return conn.cursor(_cursor_class())

    def stream_cursor(self, conn: Any, words: Sequence[str]) -> Any:
        """An unbuffered cursor, whose rows stay on the wire until they are asked for."""
        return conn.cursor(_stream_class())

    def written_types(self, conn: Any) -> Mapping[type, object]:
        """Those of its encoders."""
        return conn.encoders  # type: ignore[no-any-return]

    # -- transactions

    def begin_visibly(self, conn: Any) -> bool:
        """START TRANSACTION where nothing has run yet; what has run may have begun, which COM_PING tells."""
        if self.status(conn) == UNKNOWN:
            conn.ping(reconnect=False)
        if self.status(conn) == IDLE:
            self.run(conn, "START TRANSACTION")
        return True

    def warned(self, conn: Any, words: str) -> bool:
        """The OK packet has the number of warnings."""
        conn.query(words)
        return bool(conn._result.warning_count)

    # -- in time

    def limit_next(self, conn: Any, seconds: float | None) -> None:
        """PyMySQL reads in one place, which gets a deadline; its socket's timeout alone would start anew with each byte."""
        if conn._sock is None:
            return
        if seconds is None and not isinstance(conn._rfile, Reader):
            return
        reader = Reader.of(conn, (conn._read_timeout, conn._write_timeout))
        reader.until = None if seconds is None else monotonic() + seconds + GRACE
        own = reader.timeouts if seconds is None else (seconds + GRACE, seconds + GRACE)
        conn._read_timeout, conn._write_timeout = own
        conn._current_timeout = _STALE  # so that PyMySQL sets the socket's timeout anew

    # -- what it is

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions and the default isolation."""
        with conn.cursor() as cursor:
            cursor.execute(
                "SELECT VERSION(), @@SESSION.tx_isolation"
                if "MariaDB" in conn.get_server_info()
                else "SELECT VERSION(), @@SESSION.transaction_isolation"
            )
            version, isolation = cursor.fetchone()
        conn.rollback()
        number = ".".join(map(str, self.dbapi().VERSION[:3]))
        kind = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        return {"driver": f"PyMySQL {number}", "server": f"{kind} {version}", "isolation": isolation.replace("-", " ")}

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """PyMySQL before 1.2.4 quotes some values wrongly."""
        if self.dbapi().VERSION[:3] < (1, 2, 4):
            return [("this PyMySQL has known SQL-injection faults", "update to PyMySQL 1.2.4 or later")]
        return []

    # -- errors


_LEXICONS = {  # the rules under each mode that the server tells
    flags: PyMySQL.lexicon.but(backslash=not flags & _NO_BACKSLASH, double_strings=not flags & _ANSI_QUOTES)
    for flags in (0, _NO_BACKSLASH, _ANSI_QUOTES, _NO_BACKSLASH | _ANSI_QUOTES)
}


@cache
def _cursor_class() -> Any:
    from pymysql.cursors import Cursor

    return sized(Cursor)


@cache
def _stream_class() -> Any:
    from pymysql.cursors import SSCursor

    return sized(SSCursor)


driver = PyMySQL()
