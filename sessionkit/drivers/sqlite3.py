"""SQLite through the standard library's sqlite3: driver-level autocommit, and BEGIN, COMMIT, ROLLBACK as words."""

from __future__ import annotations

from time import monotonic

from .. import errors
from ..errors import ArgumentError, Diagnosis, lookup
from ..options import switch
from ..sql.lexer import Lexicon
from ..sql.words import leaves_on_sqlite
from ._bulk import InTurn
from ._names import SQLITE_NAMES, SQLITE_OF_TYPES
from ._sqlite_errors import CODES, name_patterns
from ._sqlite_locks import POLLING, again, patient
from ._sqlite_locks import patience as seconds
from ._sqlite_state import check_deferred, make_like
from ._values import SQLITE, UTC_SQLITE
from .base import ACTIVE, BROKEN, IDLE, Driver
from .sqlstates import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..url import URL

_OWN_OPTIONS = ("busy_timeout", "foreign_keys", "journal_mode", "mode", "vfs", "uri", "cache", "immutable", "nolock")
_IN_URI = ("mode", "vfs", "cache", "immutable", "nolock")


class SQLite(InTurn, Driver):
    """sqlite3. Connections are made for any thread: the pool lends each to one at a time (threadsafety 3)."""

    name = "sqlite3"
    schemes = ("sqlite", "sqlite3")
    module = "sqlite3"
    spellings = ("sqlite3", "pysqlite", "sqlite")
    autocommit = True
    lexicon = Lexicon("qmark", escape_strings=False, backtick=True, bracket=True, empty_set="")
    isolation_levels = ("SERIALIZABLE",)
    for_update = ""
    adapters, utc_adapters = SQLITE, UTC_SQLITE
    type_names, names_of_types = SQLITE_NAMES, SQLITE_OF_TYPES
    extras = frozenset("execute executemany executescript total_changes iterdump backup interrupt getlimit".split())
    marking_extras = frozenset(
        "create_function create_aggregate create_window_function create_collation set_authorizer set_trace_callback "
        "enable_load_extension load_extension setlimit".split()
    )

    @property
    def returning(self) -> bool:  # type: ignore[override]
        """RETURNING came with SQLite 3.35."""
        return bool(self.dbapi().sqlite_version_info >= (3, 35))

    # -- connecting

    def check(self, url: URL, options: Mapping[str, Any]) -> None:
        """Refuse a host, and query keys that SQLite does not know."""
        unknown = [key for key in url.query if key not in _OWN_OPTIONS]
        if unknown:
            raise ArgumentError(
                f"unknown in a sqlite URL's query: {', '.join(unknown)} (known: {', '.join(_OWN_OPTIONS)})"
            )

    def option_names(self) -> list[str]:
        """Ours; the module's own cannot be asked for."""
        return [*_OWN_OPTIONS, "timeout", "detect_types", "factory", "cached_statements"]

    def is_shared_memory(self, url: URL) -> bool:
        """A `:memory:` or unnamed database lives in its one connection."""
        return (
            not url.database
            or url.database == ":memory:"
            or url.database == "file::memory:"
            or url.query.get("mode") == "memory"
        )

    def connect(self, url: URL, options: Mapping[str, Any]) -> Any:
        """
        Open a database file, or one in memory, with `foreign_keys` on, `busy_timeout` (seconds, 5) and WAL.

        `journal_mode=None` leaves the file's journal mode alone; another word sets it instead of WAL.
        """
        settings: dict[str, Any] = {**url.query, **options}
        own = {key: settings.pop(key) for key in _OWN_OPTIONS if key in settings}
        path, uri = _path(url, own)
        patience = _patience(own)
        conn = self.dbapi().connect(
            path,
            **{
                "timeout": min(patience, POLLING), "isolation_level": None, "check_same_thread": False, "uri": uri,
                "cached_statements": 256, **settings, "factory": patient(settings.get("factory")),
            },
        )  # fmt: skip
        conn.sessionkit_patience = patience
        try:
            conn.execute(
                f"PRAGMA foreign_keys = {'ON' if switch('foreign_keys', own.get('foreign_keys', True)) else 'OFF'}"
            )
            if not self.is_shared_memory(url):
                self._set_journal(conn, own.get("journal_mode", "wal"), asked="journal_mode" in own)
        except BaseException:
            conn.close()
            raise
        return conn

    def _set_journal(self, conn: Any, wanted: str | None, asked: bool) -> None:
        """Set the journal mode where it is not so already. WAL unasked for is set where it can be, on no read-only file."""
        if wanted in (None, "", "keep"):
            return
        word = str(wanted).upper()
        if word not in ("WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"):
            raise ArgumentError(
                f"unknown journal_mode {wanted!r} (wal, delete, truncate, persist, memory, off; None leaves it alone)"
            )
        if self._run(conn, "PRAGMA journal_mode").fetchone()[0].upper() == word:
            return
        try:
            self._run(conn, f"PRAGMA journal_mode = {word}").fetchall()
        except self.dbapi().OperationalError as exc:
            in_use, read_only, no_room = 5, 8, 14
            if asked or (getattr(exc, "sqlite_errorcode", 0) & 0xFF) not in (in_use, read_only, no_room):
                raise

    def close(self, conn: Any) -> None:
        """Roll back first: an unfinished statement keeps its lock after close()."""
        try:
            conn.rollback()
        except Exception as exc:
            if self.diagnose(exc) is None:
                raise
        conn.close()

    # -- state

    def status(self, conn: Any) -> int:
        """SQLite's own autocommit flag says whether a transaction is open."""
        try:
            return ACTIVE if conn.in_transaction else IDLE
        except self.dbapi().ProgrammingError:
            return BROKEN

    def is_in_step(self, conn: Any) -> bool:
        """There is no wire."""
        return True

    def cursor(self, conn: Any) -> Any:
        """Return a cursor that yields tuples, whatever the connection's row_factory."""
        cursor = conn.cursor()
        if conn.row_factory is not None:
            cursor.row_factory = None
        return cursor

    def client_cursor(self, conn: Any, arguments: Any, options: Any, row_factory: Any) -> Any:
        """A cursor of any class, with the stand-in's row_factory."""
        cursor = conn.cursor(*arguments, **options) if arguments or options else self.cursor(conn)
        if row_factory is not None:
            cursor.row_factory = row_factory
        return cursor

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it; the same as elsewhere, in fewer steps."""
        cursor = conn.cursor()
        try:
            if conn.row_factory is not None:
                cursor.row_factory = None
            try:
                if parameters is None:
                    cursor.execute(sql)
                else:
                    cursor.execute(sql, parameters)
            except Exception as exc:
                again(conn, exc, cursor.execute, *((sql,) if parameters is None else (sql, parameters)))
            description = cursor.description
            if description is None:
                return None, None, cursor.rowcount, cursor.lastrowid
            rows = cursor.fetchall()
            return rows, description, len(rows), None
        finally:
            cursor.close()

    def execute(self, cursor: Any, sql: str, parameters: Any) -> None:
        """Run one statement, with patience."""
        try:
            super().execute(cursor, sql, parameters)
        except Exception as exc:
            again(cursor.connection, exc, super().execute, cursor, sql, parameters)

    def executemany(self, cursor: Any, sql: str, rows: list[Any]) -> None:
        """Only its first row can meet a lock."""
        try:
            cursor.executemany(sql, rows)
        except Exception as exc:
            again(cursor.connection, exc, cursor.executemany, sql, rows)

    def clean(self, conn: Any) -> bool:
        """Idle nearly always, which one look tells."""
        try:
            if not conn.in_transaction:
                return True
        except self.dbapi().ProgrammingError:
            return False
        return super().clean(conn)

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """What lives and dies with a connection."""
        return leaves_on_sqlite(tokens, sql)

    def make_like(self, conn: Any, like: Any) -> None:
        """Detach what was attached, drop what is temporary, and set back the pragmas that can be read."""
        make_like(conn, like)

    def ping(self, conn: Any) -> None:
        """Nothing can have hung up."""
        conn.execute("SELECT 1").fetchall()

    # -- transactions

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """BEGIN IMMEDIATE for what will write: a deferred transaction that reads first cannot always be upgraded."""
        if read_only:
            conn.execute("PRAGMA query_only = ON")
        self._run(conn, "BEGIN IMMEDIATE" if write and not read_only else "BEGIN")
        return True

    def restore(self, conn: Any) -> None:
        """`query_only` outlives the transaction."""
        conn.execute("PRAGMA query_only = OFF")

    def commit(self, conn: Any) -> None:
        """Send COMMIT as a word: `conn.commit()` does nothing under `autocommit=True`."""
        self._run(conn, "COMMIT")

    def begin_visibly(self, conn: Any) -> bool:
        """BEGIN was sent already. On the connection itself SQLite's own waiting for locks holds."""
        conn.execute(f"PRAGMA busy_timeout = {round(seconds(conn) * 1000)}")
        return True

    def rollback(self, conn: Any) -> bool:
        """Roll back; no round trip, so it is cheap to be sure."""
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        return False

    def run(self, conn: Any, words: str) -> None:
        """Run words that return nothing."""
        self._run(conn, words).close()

    def check_deferred(self, conn: Any) -> None:
        """SQLite counts the rows that lack what they point to, and tells nobody; so they are looked for."""
        check_deferred(conn)

    def set_read_only(self, conn: Any) -> bool:
        """At any time."""
        conn.execute("PRAGMA query_only = ON")
        return True

    def for_given(self, conn: Any) -> SQLite:
        """
        Return the driver for a given connection: Python 3.12's `autocommit=False` has a way of its own.

        Raises:
            ArgumentError: such a connection has changed rows, so the session might commit what is not its own.
        """
        if getattr(conn, "autocommit", True) is not False:
            return self
        if conn.total_changes:
            raise ArgumentError(
                "a sqlite3 connection with autocommit=False has changed rows, and SQLite cannot tell whether they "
                "are committed; commit or roll back, set conn.autocommit = True, then give it to the session"
            )
        return AlwaysBegun()

    # -- waiting for locks

    def writers(self, url: URL, options: Mapping[str, Any]) -> tuple[str, float]:
        """By the file."""
        from os.path import realpath

        path, uri = _path(url, {})
        return realpath(path.removeprefix("file:").partition("?")[0] if uri else path), _patience(
            {**url.query, **options}
        )

    def _run(self, conn: Any, words: str) -> Any:
        try:
            return conn.execute(words)
        except Exception as exc:
            return again(conn, exc, conn.execute, words)

    def table_options(self) -> str:
        """STRICT (since SQLite 3.37): a value of another type is an error."""
        return " STRICT" if self.dbapi().sqlite_version_info >= (3, 37) else ""

    # -- in time

    def limit_next(self, conn: Any, seconds: float | None) -> None:
        """SQLite asks every thousand instructions whether to go on; while it waits for a lock, busy_timeout counts."""
        if seconds is None:
            conn.set_progress_handler(None, 0)
            return
        until = monotonic() + seconds
        conn.set_progress_handler(lambda: monotonic() > until, 1000)

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """What runs is interrupted; what waits for a lock does so no longer."""
        conn.sessionkit_patience = 0.0
        conn.interrupt()

    # -- what it is

    def system(self, scheme: str) -> str:
        """One name."""
        return "sqlite"

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions, journal mode and isolation."""
        journal = conn.execute("PRAGMA journal_mode").fetchone()[0]
        return {
            "driver": "sqlite3 of the standard library",
            "server": f"SQLite {self.dbapi().sqlite_version}, journal mode {journal}",
            "isolation": "SERIALIZABLE",
        }

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """SQLite's WAL-reset bug: 3.7.0 to 3.51.2, mended in 3.51.3 and, back-ported, in 3.44.6 and 3.50.7."""
        version = self.dbapi().sqlite_version_info[:3]
        journal = conn.execute("PRAGMA journal_mode").fetchone()[0]
        if journal != "wal" or not has_wal_bug(version):
            return []
        return [(
            f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug: two connections that write can, rarely, corrupt the file",
            "update SQLite to 3.51.3 (or 3.50.7, 3.44.6), or add ?journal_mode=delete to the URL",
        )]  # fmt: skip

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """Use SQLite's extended error code; what has none comes from the module itself."""
        if not self.owns(exc):
            return None
        code = getattr(exc, "sqlite_errorcode", None)
        if code is None:
            found = super().diagnose(exc)
            if found is not None and found.error is errors.ProgrammingError and "closed database" in str(exc):
                return Diagnosis(errors.DisconnectionError, text="the connection is closed")
            if "binding parameter" in str(exc):
                return Diagnosis(errors.DataError, text=str(exc))
            return found
        text = str(exc)
        names = named(text, name_patterns())
        if "columns" in names:
            names["column"] = ", ".join(part.rpartition(".")[2] for part in names.pop("columns").split(", "))
        return Diagnosis(lookup(CODES, code, code & 0xFF), code=code, text=text, **names)


class AlwaysBegun(SQLite):
    """A given connection with `autocommit=False`: it has a transaction open at all times, which commit() ends and begins."""

    always_begun = True
    commit, rollback = Driver.commit, Driver.rollback  # PEP 249's

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """It has begun."""
        if read_only:
            conn.execute("PRAGMA query_only = ON")
        return True


def has_wal_bug(version: tuple[int, ...]) -> bool:
    """Tell whether a version of SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, but not 3.44.6 and 3.50.7 and their successors."""
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return version >= (3, 7) and not mended


def _patience(given: Mapping[str, Any]) -> float:
    try:
        return float(given.get("busy_timeout", 5.0))
    except (TypeError, ValueError):
        raise ArgumentError(f"busy_timeout is a number of seconds, got {given['busy_timeout']!r}") from None


def _path(url: URL, own: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the path for `sqlite3.connect`, and whether it is a URI."""
    path = url.database or ":memory:"
    extra = {key: own[key] for key in _IN_URI if key in own}
    if not path.startswith("file:") and not extra:
        return path, False
    from urllib.parse import quote, urlencode

    head = path if path.startswith("file:") else "file:" + quote(path)
    return head + (("&" if "?" in head else "?") + urlencode(extra) if extra else ""), True


driver = SQLite()
