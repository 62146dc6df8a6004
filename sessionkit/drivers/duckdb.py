"""DuckDB: embedded, for analysis. BEGIN and COMMIT are words of ours; no savepoints; an error aborts the transaction."""

from __future__ import annotations

from functools import partial
from weakref import WeakSet

from .. import errors
from ..errors import Diagnosis, NotSupportedError
from ..options import switch
from ..sql.lexer import Lexicon
from ..sql.words import leaves_on_duckdb
from ._duckdb import Cursor, Streamed, call, meaning, name_patterns, outcome, own_words
from ._values import DUCKDB, DUCKDB_TYPES
from .base import BROKEN, INERROR, UNKNOWN, Driver
from .sqlstates import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..url import URL

_PROBE = "SELECT 1"
_BEGUN: WeakSet[Any] = WeakSet()
"""The connections on which `begin` has been and no end yet: a DuckDB connection takes no attribute."""


class DuckDB(Driver):
    """
    DuckDB. All connections of a process to one file share its database; another process cannot open it meanwhile.

    Whether a transaction is open DuckDB does not tell; whether it is aborted, a look at the names in a statement does, in a few
    microseconds. COMMIT of an aborted one answers nothing and keeps nothing, so that look comes before it.
    """

    name = "duckdb"
    schemes = ("duckdb",)
    module = "duckdb"
    modules = ("_duckdb",)
    extra = "duckdb"
    spellings = ("duckdb", "duckdb_engine")
    autocommit = True
    has_savepoints = False
    tells_status = False
    lexicon = Lexicon("qmark", dollar=True, nested=True, empty_set="SELECT NULL WHERE FALSE")
    isolation_levels = ("REPEATABLE READ",)
    returning = True
    for_update = ""
    adapters, column_types, utc_words = DUCKDB, DUCKDB_TYPES, "SET TimeZone = 'UTC'"
    copies = streams_alone = True
    extras = frozenset(
        "df pl fetchnumpy arrow sql query table_function extract_statements get_table_names interrupt".split()
    )
    marking_extras = frozenset(
        "register unregister create_function remove_function load_extension install_extension".split()
    )

    # -- connecting

    def connect(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Open a database file, or one in memory. What is no argument of `duckdb.connect` is a setting of its `config`."""
        given = {**url.query, **options}
        config = {**given.pop("config", {})}
        read_only = switch("read_only", given.pop("read_only", False))
        return self.dbapi().connect(url.database or ":memory:", read_only=read_only, config={**config, **given})

    def option_names(self) -> list[str]:
        """Ours; DuckDB tells which of its settings it does not know."""
        return ["read_only", "config"]

    def is_shared_memory(self, url: URL) -> bool:
        """A database in memory lives in its one connection."""
        return not url.database or url.database.startswith(":memory:")

    # -- state

    def status(self, conn: Any) -> int:
        """Aborted or closed, which naming the tables of a statement finds out; else nobody knows."""
        try:
            conn.get_table_names(_PROBE)
        except self.dbapi().Error as exc:
            return INERROR if meaning(exc) is errors.TransactionAbortedError else BROKEN
        return UNKNOWN

    def is_in_step(self, conn: Any) -> bool:
        """There is no wire."""
        return True

    def clean(self, conn: Any) -> bool:
        """Roll back what was begun."""
        self.rollback(conn)
        return self.status(conn) == UNKNOWN

    def ping(self, conn: Any) -> None:
        """Nothing can have hung up."""
        conn.execute(_PROBE)

    def leaves_state(self, tokens: Sequence[str], sql: str) -> bool:
        """What lives and dies with a connection, which costs microseconds to replace."""
        return leaves_on_duckdb(tokens, sql)

    def make_like(self, conn: Any, like: Any) -> None:
        """Drop what is temporary, forget variables, and set back the settings; those of the whole database too."""
        for kind in ("view", "table"):
            found = conn.execute(
                f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE temporary AND NOT internal"
            ).fetchall()
            for (name,) in found:
                conn.execute(f"DROP {kind} IF EXISTS temp.{_quoted(name)}")
        for (name,) in conn.execute("SELECT name FROM duckdb_variables()").fetchall():
            conn.execute(f"RESET VARIABLE {_quoted(name)}")
        wanted, found = (
            dict(one.execute("SELECT name, value FROM duckdb_settings()").fetchall()) for one in (like, conn)
        )
        for name, value in found.items():
            if wanted.get(name) != value:
                conn.execute(f"SET {name} = '{(wanted.get(name) or '').replace(chr(39), chr(39) * 2)}'")

    # -- statements

    def cursor(self, conn: Any) -> Cursor:
        """DuckDB's own `cursor()` is another connection."""
        return Cursor(conn)

    def client_cursor(self, conn: Any, arguments: Any, options: Any, row_factory: Any) -> Cursor:
        """The same."""
        return Cursor(conn)

    def stream_cursor(self, conn: Any, words: Sequence[str]) -> Cursor:
        """One whose rows stay with DuckDB until they are asked for."""
        return Streamed(conn)

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it."""
        if parameters is None:
            call(conn.execute, sql)
        else:
            call(conn.execute, sql, parameters)
        description, count = outcome(conn, sql)
        if description is None:
            return None, None, count, None
        rows = call(conn.fetchall)
        return rows, description, len(rows), None

    def run(self, conn: Any, words: str) -> None:
        """Run words that return nothing."""
        call(conn.execute, words)

    def copy_words(self, table: str, columns: str) -> str:
        """DuckDB's appender has no words; these are for errors, and say what it is to append to."""
        return f"APPEND {table}{columns}"

    def copy_rows(self, cursor: Any, words: str, rows: Sequence[Any]) -> None:
        """Append, or insert where a conflict is to be minded. What an iterator has left tells which row could not be taken."""
        if not words.startswith("APPEND "):
            super().copy_rows(cursor, words, rows)
            return
        table, _, columns = words.removeprefix("APPEND ").partition(" (")
        names = _names(columns.removesuffix(")")) if columns else None
        appender = call(partial(cursor.connection.appender, columns=names), table)
        left = iter(rows)
        try:
            try:
                call(appender.append_rows, left)
            except Exception as exc:
                exc.sessionkit_row = len(rows) - left.__length_hint__() - 1  # type: ignore[attr-defined]
                raise
            call(appender.flush)
        finally:
            appender.clear()

    # -- transactions

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """
        BEGIN; every transaction sees a snapshot.

        Raises:
            NotSupportedError: SERIALIZABLE was asked for, which a snapshot is not.
        """
        if isolation_level == "SERIALIZABLE":
            raise NotSupportedError(
                "DuckDB isolates by snapshots (REPEATABLE READ) and has no SERIALIZABLE: two transactions may each write what "
                "the other has read"
            )
        call(conn.execute, "BEGIN READ ONLY" if read_only else "BEGIN")
        _BEGUN.add(conn)
        return True

    def commit(self, conn: Any) -> None:
        """COMMIT, unless the transaction is aborted: then it would answer nothing and keep nothing."""
        if self.status(conn) == INERROR:
            raise errors.TransactionAbortedError(
                "the transaction is aborted: a statement in it failed, and nothing of it is kept"
            )
        _BEGUN.discard(conn)  # whatever COMMIT answers, it is over
        call(conn.execute, "COMMIT")

    def rollback(self, conn: Any) -> bool:
        """ROLLBACK where something was begun; else there is nothing that could be undone."""
        if conn in _BEGUN:
            call(conn.execute, "ROLLBACK")
            _BEGUN.discard(conn)
        return False

    def savepoint(self, conn: Any, name: str) -> None:
        """There are none."""
        raise NotSupportedError(
            "DuckDB has no savepoints: a block inside a block (begin_nested(), or begin() inside begin()) cannot be undone alone; "
            "use one block, or sessions of their own"
        )

    def for_given(self, conn: Any) -> DuckDB:
        """
        Return the driver for a given connection.

        Raises:
            ArgumentError: it is in a transaction, of which a session could undo nothing alone.
        """
        one, other = (conn.execute("SELECT txid_current()").fetchone() for _ in "ab")
        if one == other:
            raise errors.ArgumentError(
                "this DuckDB connection is in a transaction, and without savepoints a session cannot work inside of it; commit or "
                "roll back first"
            )
        return self

    # -- in time

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """max_execution_time, in milliseconds, for each statement of this connection."""
        self.run(conn, f"SET SESSION max_execution_time = {round((seconds or 0) * 1000)}")

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """DuckDB's own interrupt."""
        conn.interrupt()

    # -- what it is

    def system(self, scheme: str) -> str:
        """OpenTelemetry has none yet."""
        return "duckdb"

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions; isolation is by snapshots."""
        version = conn.execute("SELECT version()").fetchone()[0]
        return {
            "driver": f"duckdb {self.dbapi().__version__}",
            "server": f"DuckDB {version}",
            "isolation": "REPEATABLE READ (a snapshot)",
        }

    # -- errors

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """By the class and the text: DuckDB has no codes."""
        found = super().diagnose(exc)
        if found is None:
            return None
        text = str(exc).partition("\n\nLINE ")[0]
        names: dict[str, Any] = {**named(text, name_patterns())}
        return Diagnosis(meaning(exc) or found.error, text=own_words(exc), **names)


def _names(columns: str) -> list[str]:
    """Return the names in a list of columns, some of which are quoted."""
    import re

    found = re.findall(r'"((?:[^"]|"")*)"|([^,"\s]+)', columns)
    return [one.replace('""', '"') or other for one, other in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


driver = DuckDB()
