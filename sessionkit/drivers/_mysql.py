"""MySQL and MariaDB, whatever module speaks with them: words, state left behind, errors."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import ArgumentError, Diagnosis, lookup
from ..mapping.values import BadValue
from ..options import switch
from ..redact import MARK
from ..sql.lexer import Lexicon
from ..sql.words import commits_on_mysql, leaves_on_mysql, written_names
from ._bulk import Packed
from ._hosts import Unreachable, check, first_that_is_wanted, is_plain
from ._limits import CANCEL_CONNECTING, TooLarge
from ._mysql_errors import CODES, name_patterns, value_pattern
from ._names import MYSQL_NAMES, MYSQL_OF_TYPES
from ._twophase import XA, end_on_mysql
from ._values import CONTAINERS, MYSQL, MYSQL_TYPES, UTC_MYSQL, written
from .base import CONNECTING, Driver
from .sqlstates import named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..url import URL

_BLOCKERS = (
    "SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id FROM information_schema.innodb_lock_waits w "
    "JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id "
    "JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id"
)
_BLOCKERS_MYSQL = "SELECT waiting_pid, blocking_pid FROM sys.innodb_lock_waits"
_PORT = 3306
KEPT = 1196  # ER_WARNING_NOT_COMPLETE_ROLLBACK


class MySQL(Packed, Driver):
    """What PyMySQL's driver and mysqlclient's share. Autocommit is off: the first statement begins by itself."""

    schemes = ("mysql", "mariadb", "mysql2", "tidb")
    leaving = (False, True)
    may_keep = True
    identifier_quote = "`"
    lexicon = Lexicon(
        "format", backslash=True, double_strings=True, escape_strings=False, mysql_comments=True, backtick=True,
        empty_set="SELECT NULL FROM DUAL WHERE FALSE", has_modes=True,
    )  # fmt: skip
    adapters, utc_adapters, column_types, utc_words = MYSQL, UTC_MYSQL, MYSQL_TYPES, "SET time_zone = '+00:00'"
    type_names, names_of_types, decimal_digits = MYSQL_NAMES, MYSQL_OF_TYPES, (65, 30)

    def check(self, url: URL, options: Mapping[str, Any]) -> None:
        """What the URL says of several hosts, and of reads on Galera."""
        check(url)
        switch("causal_reads", url.query.get("causal_reads", "off"))

    def connect(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Connect to the host, or to the first of several that answers and is what `?target=` wants."""
        if is_plain(url):
            return self.connect_at(url, options)
        limit = float(options.get("connect_timeout") or url.query.get("connect_timeout") or CONNECTING)
        conn, place = first_that_is_wanted(
            url, options, _PORT, limit, self.connect_at, self._why_not, self.close,
            lambda exc: self.diagnose(exc) is not None,
        )  # fmt: skip
        conn.sessionkit_place = place
        return conn

    def set_up(self, conn: Any, url: URL) -> None:
        """
        With `?causal_reads=true`, a node of Galera answers when it has what was committed on the others before.

        It holds for reads, and for what UPDATE, DELETE, INSERT and REPLACE read (MariaDB manual, wsrep_sync_wait: 1 + 2 + 4).
        """
        if switch("causal_reads", url.query.get("causal_reads", "off")):
            self.run(conn, "SET SESSION wsrep_sync_wait = 7")

    def connect_at(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Connect to one host."""
        return super().connect(url, options)

    def _why_not(self, conn: Any, target: str) -> str | None:
        """Tell why a server is not what is wanted: it is read-only, or it is not; or a node of Galera that is not synced."""
        if target == "any":
            return None
        with self.cursor(conn) as cursor:
            cursor.execute("SELECT @@global.read_only")
            is_read_only = str(cursor.fetchone()[0]) not in ("0", "OFF")
            cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")
            node = cursor.fetchone()
        conn.rollback()
        if node is not None and node[1] != "ON" and _is_galera(conn):
            return "it is not synced with its cluster"
        if is_read_only != (target == "standby"):
            return "it is read-only" if is_read_only else "it is no standby"
        return None

    def place(self, conn: Any) -> str | None:
        """As it was chosen among several hosts."""
        host, port = getattr(conn, "sessionkit_place", None) or (
            getattr(conn, "host", None),
            getattr(conn, "port", None),
        )
        return None if host is None else f"{host}:{port}"

    def _at(self, conn: Any, url: URL) -> URL:
        """Return the URL of the very host that a connection is to."""
        place = getattr(conn, "sessionkit_place", None)
        return url if place is None else url.without("target").without("load_balance").at(*place)

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """utf8mb4, and rowcount as rows found rather than rows changed (CLIENT.FOUND_ROWS), as on other databases."""
        given = super().arguments(url, options)
        for key in ("connect_timeout", "read_timeout", "write_timeout", "port"):
            if isinstance(given.get(key), str):
                given[key] = _number(key, given[key])
        given.pop("causal_reads", None)
        flags = self.found_rows() | int(given.pop("client_flag", 0))
        return {"charset": "utf8mb4", **given, "client_flag": flags, "autocommit": False}

    def connection_id(self, conn: Any) -> int | None:
        """The server's thread."""
        return int(conn.thread_id())

    def found_rows(self) -> int:
        """Return the module's CLIENT.FOUND_ROWS."""
        raise NotImplementedError

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """What COM_RESET_CONNECTION undoes, and USE."""
        return leaves_on_mysql(tokens, sql)

    def call(self, procedure: str, marks: str) -> str:
        """CALL; parameters that come back are not fetched."""
        return f"CALL {procedure}({marks})"

    def commits_implicitly(self, words: tuple[str, ...]) -> bool:
        """DDL and administration do."""
        return commits_on_mysql(words)

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """Nothing is sent unless a mode is asked for (SET TRANSACTION: for the next), or a given connection has autocommit on."""
        if not (isolation_level or read_only or conn.get_autocommit()):
            return False
        if isolation_level:
            self.run(conn, f"SET TRANSACTION ISOLATION LEVEL {isolation_level}")
        self.run(conn, "START TRANSACTION READ ONLY" if read_only else "START TRANSACTION")
        return True

    def rollback(self, conn: Any) -> bool:
        """Roll back; a warning comes with the answer when tables without transactions keep what was written to them."""
        return self.warned(conn, "ROLLBACK") and self.has_kept(conn)

    def rollback_to(self, conn: Any, name: str) -> bool:
        """As `rollback`."""
        kept = self.warned(conn, f"ROLLBACK TO SAVEPOINT {name}") and self.has_kept(conn)
        self.run(conn, f"RELEASE SAVEPOINT {name}")
        return kept

    def two_phase(self, xid: str) -> XA:
        """XA."""
        return XA(self, xid)

    def end_prepared(self, conn: Any, xid: str, commit: bool) -> bool:
        """XA COMMIT, XA ROLLBACK."""
        return end_on_mysql(self, conn, xid, commit)

    def prepared(self, conn: Any) -> list[str]:
        """Of the whole server; others than ours may have names that are no text."""
        rows = self.fetch(conn, "XA RECOVER", None)[0] or ()
        conn.rollback()
        names = (row[3] if isinstance(row[3], str) else bytes(row[3]).decode(errors="replace") for row in rows)
        return sorted(names)

    # -- statements

    def execute(self, cursor: Any, sql: str, parameters: Any) -> None:
        """Both modules write an unknown object as its str(): such values are refused here, before anything is sent."""
        if parameters is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, self.checked(cursor, parameters))

    def executemany(self, cursor: Any, sql: str, rows: list[Any]) -> None:
        """Both modules join the rows of INSERT … VALUES into few statements."""
        types = set(map(type, chain.from_iterable(rows)))
        if not (self.written_types(cursor.connection).keys() >= types and types.isdisjoint(CONTAINERS)):
            rows = [self.checked(cursor, row) for row in rows]
        cursor.executemany(sql, rows)

    def checked(self, cursor: Any, row: Any) -> Any:
        """Return a row of parameters as the module writes it faithfully, or raise BadValue."""
        known = self.written_types(cursor.connection)
        types = set(map(type, row))
        if known.keys() >= types and types.isdisjoint(CONTAINERS):
            return row
        return tuple([written(value, known) for value in row])

    def written_types(self, conn: Any) -> Mapping[type, object]:
        """Return the types that a connection writes faithfully, as keys."""
        raise NotImplementedError

    def warned(self, conn: Any, words: str) -> bool:
        """Run words, and return whether a warning came with the answer."""
        raise NotImplementedError

    def has_kept(self, conn: Any) -> bool:
        """Look in the warnings of a rollback whether something could not be undone."""
        return any(int(row[1]) == KEPT for row in self.fetch(conn, "SHOW WARNINGS", None)[0])

    def kept_tables(self, conn: Any, statements: Sequence[str]) -> list[str]:
        """Ask which of the tables that are named between the verb and the values have an engine without transactions."""
        names = {name for sql in statements for name in written_names(self.lexicon.tokens(sql))}
        if not names:
            return []
        marks = ", ".join(["%s"] * len(names))
        with self.cursor(conn) as cursor:
            cursor.execute(
                "SELECT t.table_name FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine "
                f"WHERE e.transactions = 'NO' AND t.table_name IN ({marks}) AND "
                f"(t.table_schema = DATABASE() OR t.table_schema IN ({marks})) ORDER BY 1",
                (*names, *names),
            )
            return [str(row[0]) for row in cursor.fetchall()]

    def blockers(self, conn: Any) -> list[tuple[int, int]]:
        """InnoDB's table of lock waits: MariaDB has it in information_schema, MySQL in sys."""
        words = _BLOCKERS if "MariaDB" in conn.get_server_info() else _BLOCKERS_MYSQL
        rows = self.fetch(conn, words, None)[0]
        conn.rollback()
        return [(int(waiting), int(blocking)) for waiting, blocking in rows or ()]

    def system(self, scheme: str) -> str:
        """What the URL says that it is."""
        return "mariadb" if scheme == "mariadb" else "mysql"

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """MariaDB's max_statement_time, in seconds; MySQL's max_execution_time, in milliseconds and of SELECT only."""
        if "MariaDB" in conn.get_server_info():
            self.run(conn, f"SET SESSION max_statement_time = {seconds or 0:g}")
        else:
            self.run(conn, f"SET SESSION max_execution_time = {round((seconds or 0) * 1000)}")

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """KILL QUERY, by a connection of its own."""
        other = self.connect_at(self._at(conn, url), {**options, "connect_timeout": CANCEL_CONNECTING})
        try:
            self.run(other, f"KILL QUERY {self.connection_id(conn)}")
        finally:
            self.close(other)

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """By errno; InterfaceError (0, '') is a connection that is closed. Bad values are found before anything is sent."""
        if isinstance(exc, (BadValue, TooLarge)):
            return Diagnosis(errors.DataError, text=str(exc))
        if isinstance(exc, Unreachable):
            return Diagnosis(errors.DisconnectionError, text=str(exc))
        if not self.owns(exc):
            return None
        code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else None
        found = super().diagnose(exc)
        default = found.error if found else errors.DatabaseError
        if not code:
            if default is errors.InterfaceError or "Already closed" in str(exc):
                return Diagnosis(errors.DisconnectionError, text="the connection is closed")
            return found
        if code == 1105 and "(errno 1213)" in str(exc):  # Vitess
            return Diagnosis(errors.DeadlockError, code=code, text=str(exc.args[-1]))
        text = str(exc.args[1]) if len(exc.args) > 1 else ""
        names = named(text, name_patterns())
        if "column" in names:
            names["column"] = names["column"].replace("`", "")
        return Diagnosis(
            lookup(CODES, code, default=default),
            code=code,
            text=value_pattern().sub(rf"{MARK}\g<0>{MARK}", text),
            **names,
        )


def _is_galera(conn: Any) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'")
        found = cursor.fetchone()
    conn.rollback()
    return found is not None and found[1] == "ON"


def _number(key: str, text: str) -> int:
    if not text.isdigit():
        raise ArgumentError(f"{key} is a whole number (seconds), got something else in the URL's query")
    return int(text)
