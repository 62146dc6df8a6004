"""PostgreSQL through psycopg 3: autocommit connections, and a BEGIN that travels with the first statement."""

from __future__ import annotations

from time import monotonic

from .. import errors
from ..errors import Diagnosis
from ..sql.lexer import Lexicon
from ..sql.words import leaves_on_postgresql
from ..url import host_port
from ._bulk import ByCopy, tuple_row
from ._hosts import check, shares
from ._limits import Waiting, cancel
from ._names import POSTGRESQL_NAMES, POSTGRESQL_OF_TYPES
from ._pipeline import Pipeline, Pipelining, pipelines
from ._postgresql import begin_words, timeout_words
from ._twophase import PostgreSQLPrepares, end_on_postgresql
from ._values import POSTGRESQL, POSTGRESQL_TYPES
from .base import ACTIVE, BROKEN, CONNECTING, GRACE, IDLE, INERROR, Driver
from .sqlstates import CONNECTING_TEXTS, attempts, by_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..url import URL

# libpq's PQtransactionStatus: idle, a command is running, in a transaction, in a failed one, unknown
_STATUS = (IDLE, BROKEN, ACTIVE, INERROR, BROKEN)
_RUNNING = 1


class Psycopg(ByCopy, Pipelining):
    """psycopg 3. In autocommit mode a statement alone is one round trip; BEGIN is sent when a transaction is wanted."""

    name = "psycopg"
    schemes = ("postgresql", "postgres", "postgis", "cockroachdb")
    module = "psycopg"
    extra = "postgres"
    spellings = ("psycopg", "psycopg3", "psycopg_binary")
    autocommit = True
    lexicon = Lexicon("format", dollar=True, nested=True, has_modes=True, max_parameters=65535)
    adapters, column_types, utc_words = POSTGRESQL, POSTGRESQL_TYPES, "SET TIME ZONE 'UTC'"
    type_names, names_of_types, decimal_digits = POSTGRESQL_NAMES, POSTGRESQL_OF_TYPES, (131072, 16383)
    extras = frozenset("execute info closed broken fileno".split())
    marking_extras = frozenset("adapters add_notice_handler remove_notice_handler".split())
    leaving = (True, True)
    begins_with_first = True
    limits_locally = True
    transaction_fate = "SELECT pg_xact_status(CAST(:id AS xid8))"

    # -- connecting

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """libpq's names; several hosts go to it as lists (libpq, 34.1.1.3 Specifying Multiple Hosts)."""
        given: dict[str, Any] = {"autocommit": True, "connect_timeout": CONNECTING}
        given |= {
            key: part
            for key, part in (("user", url.username), ("password", url.password), ("dbname", url.database))
            if part is not None
        }
        if url.host and "," in url.host:
            places = [host_port(place) for place in url.host.split(",")]
            given["host"] = ",".join(host for host, _ in places)
            given["port"] = ",".join(port for _, port in places)
        else:
            given |= {key: value for key, value in (("host", url.host), ("port", url.port)) if value}
        query = {key: value for key, value in url.query.items() if key not in ("target", "load_balance")}
        return {**given, **dict(shares(url)), **query, **options, "autocommit": True}

    def check(self, url: URL, options: Mapping[str, Any]) -> None:
        """What the URL says of several hosts."""
        check(url)

    def option_names(self) -> list[str]:
        """psycopg's and libpq's."""
        import psycopg

        return [*super().option_names(), *(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())]

    def close(self, conn: Any) -> None:
        """
        Say goodbye; what an exception interrupted would run on at the server, so it is cancelled first.

        psycopg's own close does nothing a second time.
        """
        if conn.pgconn.transaction_status == _RUNNING:
            cancel(conn)
        conn.close()

    # -- state

    def status(self, conn: Any) -> int:
        """libpq knows the transaction's status from the last answer."""
        return _STATUS[conn.pgconn.transaction_status]

    def is_in_step(self, conn: Any) -> bool:
        """A value is adapted before anything is sent; libpq knows whether a command is under way."""
        return self.status(conn) != BROKEN

    def fileno(self, conn: Any) -> int | None:
        """libpq's socket."""
        return int(conn.pgconn.socket)

    def is_cut(self, conn: Any) -> bool:
        """libpq reads what has come: a notice or notification leaves the connection well."""
        try:
            for _ in range(2):  # a server that ends a session says why, and then hangs up
                conn.pgconn.consume_input()
                conn.pgconn.is_busy()  # makes libpq look at what it read
        except Exception as exc:
            if self.diagnose(exc) is None:
                raise
        return self.status(conn) == BROKEN

    def ping(self, conn: Any) -> None:
        """An empty query is the cheapest round trip."""
        conn.execute("")

    def reset(self, conn: Any) -> bool:
        """DISCARD ALL: settings, prepared names, temporary tables, advisory locks, LISTEN, cursors; one round trip."""
        self.run(conn, "DISCARD ALL")
        return True

    def lexicon_of(self, conn: Any) -> Lexicon:
        """The server tells each change of `standard_conforming_strings`; off, a backslash escapes in `'…'`."""
        setting = b"" if conn.closed else conn.pgconn.parameter_status(b"standard_conforming_strings")
        return _BACKSLASH if setting == b"off" else self.lexicon

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """What DISCARD ALL undoes."""
        return leaves_on_postgresql(tokens, sql)

    # -- statements

    def text(self, conn: Any, operation: Any) -> str:
        """psycopg takes bytes, and its own composed SQL."""
        return operation.as_string(conn) if hasattr(operation, "as_string") else super().text(conn, operation)

    def cursor(self, conn: Any) -> Any:
        """Return a client cursor that yields tuples, whatever the connection's factories."""
        return conn.cursor(row_factory=tuple_row())

    def client_cursor(self, conn: Any, arguments: Any, options: Any, row_factory: Any) -> Any:
        """A cursor with the options of psycopg's own; tuples where no row_factory is asked for."""
        return conn.cursor(*arguments, **{"row_factory": row_factory or tuple_row(), **options})

    def call(self, procedure: str, marks: str) -> str:
        """A function's rows, as with psycopg2."""
        return f"SELECT * FROM {procedure}({marks})"

    def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]:
        """Run one statement and fetch all of it; the names of the columns are read off libpq's result."""
        with conn.cursor(row_factory=tuple_row()) as cursor:
            cursor.execute(sql, parameters)
            return self._fetched(conn, cursor)

    def _fetched(self, conn: Any, cursor: Any) -> tuple[Any, Any, int, int | None]:
        result = cursor.pgresult
        if result is None or not result.nfields:
            return None, None, cursor.rowcount, None
        encoding = conn.info.encoding
        numbers = range(result.nfields)
        description = tuple([(result.fname(number).decode(encoding), result.ftype(number)) for number in numbers])
        rows = cursor.fetchall()
        return rows, description, len(rows), None

    def run(self, conn: Any, words: str) -> None:
        """Run words without counting them towards automatic preparation."""
        with conn.cursor() as cursor:
            cursor.execute(words, prepare=False)

    def lastrowid(self, cursor: Any) -> int | None:
        """PostgreSQL has RETURNING instead."""
        return None

    # -- transactions

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """BEGIN with its modes, as words."""
        self.run(conn, begin_words(isolation_level, read_only))
        return True

    def begin_visibly(self, conn: Any) -> bool:
        """By `begin`."""
        return True

    def rollback_to(self, conn: Any, name: str) -> bool:
        """Both words in one round trip."""
        self.run(conn, f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
        return False

    def fetch_first(self, conn: Any, sql: str, parameters: Any, distant: bool) -> tuple[Any, Any, int, int | None]:
        """
        BEGIN and a statement without parameters are one simple query; else psycopg sends its own BEGIN first.

        For a distant server they go as one pipeline, which costs more time here than a short trip does.
        """
        if parameters is None:
            with conn.cursor(row_factory=tuple_row()) as cursor:
                cursor.execute(f"BEGIN; {sql}", prepare=False)
                cursor.nextset()
                return self._fetched(conn, cursor)
        if not (distant and pipelines()):
            conn.autocommit = False
            return self.fetch(conn, sql, parameters)
        pipe = Pipeline(conn)
        try:
            pipe.send("BEGIN", None, False)
            cursor = pipe.send(sql, parameters)
        except BaseException as exc:
            pipe.after(exc, self)
            raise
        pipe.leave()
        return self.answer(conn, cursor)

    def commit(self, conn: Any) -> None:
        """Commit, and go back to autocommit."""
        conn.commit()
        if not conn.autocommit:
            conn.autocommit = True

    def rollback(self, conn: Any) -> bool:
        """Roll back, and go back to autocommit."""
        conn.rollback()
        if not conn.autocommit:
            conn.autocommit = True
        return False

    def clean(self, conn: Any) -> bool:
        """Idle nearly always, which one look tells; and in autocommit mode again, where no statement came to be sent."""
        if conn.pgconn.transaction_status != IDLE:
            return super().clean(conn)
        if not conn.autocommit:
            conn.autocommit = True
        return True

    def for_given(self, conn: Any) -> Psycopg:
        """Return the driver for a given connection, which may be one that begins by itself."""
        return self if conn.autocommit else BeginsByItself()

    def two_phase(self, xid: str) -> PostgreSQLPrepares:
        """PREPARE TRANSACTION, where the server has `max_prepared_transactions` above 0."""
        return PostgreSQLPrepares(self, xid)

    def end_prepared(self, conn: Any, xid: str, commit: bool) -> bool:
        """COMMIT PREPARED, ROLLBACK PREPARED."""
        return end_on_postgresql(self, conn, xid, commit)

    # -- in time

    def begin_limited(
        self, conn: Any, isolation_level: str | None, read_only: bool, write: bool, seconds: float
    ) -> bool:
        """SET LOCAL travels with BEGIN and ends with the transaction, also where a pooler lends the server's connection on."""
        self.run(conn, f"{begin_words(isolation_level, read_only)}; SET LOCAL {timeout_words(seconds)}")
        return True

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """statement_timeout, for as long as the connection lives."""
        self.run(conn, f"SET {timeout_words(seconds)}")

    def limit_next(self, conn: Any, seconds: float | None) -> None:
        """psycopg waits in one place, which gets a deadline."""
        wait = conn.__dict__.get("wait")
        if wait is None:
            if seconds is None:
                return
            wait = conn.wait = Waiting(conn, _gave_up)
        wait.until = None if seconds is None else monotonic() + seconds + GRACE

    def connection_id(self, conn: Any) -> int | None:
        """The backend's process."""
        return int(conn.pgconn.backend_pid)

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """libpq's request, encrypted as the connection is."""
        cancel(conn)

    # -- what it is

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions and the default isolation."""
        import psycopg

        isolation = conn.execute("SHOW default_transaction_isolation").fetchone()[0]
        version = conn.execute("SHOW server_version").fetchone()[0]
        return {
            "driver": f"psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}",
            "server": f"PostgreSQL {version}",
            "isolation": isolation.upper(),
        }

    def place(self, conn: Any) -> str | None:
        """As libpq chose among several hosts."""
        try:
            host, port = conn.pgconn.host, conn.pgconn.port
        except Exception as exc:  # it is closed
            if self.diagnose(exc) is None:
                raise
            return None
        return f"{host.decode() or 'localhost'}:{port.decode()}"

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """A pooler tells a process id of its own when it is connected to."""
        return (
            [] if self.fetch(conn, "SELECT pg_backend_pid()", None)[0] == [(self.connection_id(conn),)] else [_POOLER]
        )

    # -- errors

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """By SQLSTATE; without one the connection is gone, or was never made."""
        if not self.owns(exc):
            return None
        sqlstate = getattr(exc, "sqlstate", None)
        if sqlstate is None:
            return self._without_sqlstate(exc)
        diag = getattr(exc, "diag", None)
        text, detail = (getattr(diag, f"message_{part}", None) or "" for part in ("primary", "detail"))
        names = {key: getattr(diag, f"{key}_name", None) for key in ("constraint", "table", "column")}
        fallback = super().diagnose(exc)
        default = fallback.error if fallback else errors.DatabaseError
        if sqlstate in ("42P05", "26000"):  # the server's connection is not the one on which psycopg prepared
            text += '; behind a pooler say create_engine(…, pooler="pgbouncer")'
        return by_fields(sqlstate, text, names, detail, default)

    def _without_sqlstate(self, exc: BaseException) -> Diagnosis | None:
        text = str(exc)
        names = {cls.__name__ for cls in type(exc).__mro__}
        if "PipelineAborted" in names:  # skipped, because a statement before it failed
            return Diagnosis(errors.TransactionAbortedError, text=text)
        if "OperationalError" in names:
            if "number of parameters" in text:  # refused by libpq, and nothing was sent
                return Diagnosis(errors.DataError, text=text)
            kind = next((error for part, error in CONNECTING_TEXTS if part in text), errors.DisconnectionError)
            if kind is errors.DisconnectionError and "FATAL:" in text and "does not exist" in text:  # the database
                kind = errors.OperationalError
            return Diagnosis(kind, text=attempts(text))
        if "InternalError" in names:  # out of step: a pooler that lost its server answers more than was asked
            return Diagnosis(errors.DisconnectionError, text=text)
        if "cannot adapt" in text:
            return Diagnosis(errors.DataError, text=text)
        if "InterfaceError" in names and "closed" in text:
            return Diagnosis(errors.DisconnectionError, text="the connection is closed")
        return super().diagnose(exc)


def _gave_up(conn: Any) -> Exception:
    """Close a connection whose server did not answer in time, and return what to raise."""
    import psycopg

    cancel(conn)
    conn.pgconn.finish()
    return psycopg.OperationalError("timeout: no answer in time; the connection was closed")


class BeginsByItself(Psycopg):
    """A given connection that is not in autocommit mode: it begins by itself with its first statement, and stays so."""

    begins_with_first = False
    begin, begin_visibly = Driver.begin, Driver.begin_visibly  # PEP 249's
    commit, rollback = Driver.commit, Driver.rollback


_POOLER = (
    "a pooler stands between, or this is no PostgreSQL: the server's process is not the one that was told at connecting",
    'a pooler in transaction mode needs create_engine(…, pooler="pgbouncer"), or ?pooler=pgbouncer in the URL',
)
_BACKSLASH = Psycopg.lexicon.but(backslash=True)  # under standard_conforming_strings = off


driver = Psycopg()
