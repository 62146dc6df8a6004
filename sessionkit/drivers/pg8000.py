"""PostgreSQL through pg8000, which is pure Python: it begins with the first statement, by itself."""

from __future__ import annotations

from .. import errors
from ..errors import Diagnosis
from ..sql.lexer import Lexicon
from ..sql.words import leaves_on_postgresql
from ._limits import CANCEL_CONNECTING
from ._names import POSTGRESQL_NAMES, POSTGRESQL_OF_TYPES
from ._postgresql import PostgreSQL
from ._values import PG8000, POSTGRESQL_TYPES
from .base import ACTIVE, BROKEN, CONNECTING, GRACE, IDLE, INERROR
from .sqlstates import by_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..url import URL

_STATUS = {b"I": IDLE, b"T": ACTIVE, b"E": INERROR}  # ReadyForQuery (PostgreSQL, 55.7 Message Formats)


_TIMETZ = 1266  # which pg8000 brings as text
_TYPES = {oid: kind for oid, kind in POSTGRESQL_TYPES.items() if oid != _TIMETZ}


class Pg8000(PostgreSQL):
    """pg8000. BEGIN and COMMIT are a round trip each; a statement is one, with parameters three: pg8000 prepares each anew."""

    name = "pg8000"
    schemes = ("postgresql", "postgres")
    module = "pg8000.dbapi"
    extra = "pg8000"
    spellings = ("pg8000",)
    is_default = False
    lexicon = Lexicon("format", dollar=True, nested=True, percent="unquoted", max_parameters=65535)
    adapters, column_types, utc_words = PG8000, _TYPES, "SET TIME ZONE 'UTC'"
    type_names, names_of_types, decimal_digits = POSTGRESQL_NAMES, POSTGRESQL_OF_TYPES, (131072, 16383)
    transaction_fate = "SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))"

    # -- connecting

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """A time limit for connecting; pg8000 has one for the socket, which `limit_next` sets anew."""
        given = {"timeout": CONNECTING, **super().arguments(url, options)}
        given["timeout"] = float(given.pop("connect_timeout", given["timeout"]))
        if "user" not in given:
            from getpass import getuser

            given["user"] = getuser()  # as libpq
        return given

    def connect(self, url: URL, options: Mapping[str, Any]) -> Any:
        """Connect; the limit was for that alone."""
        conn = super().connect(url, options)
        self.limit_next(conn, None)
        return conn

    def close(self, conn: Any) -> None:
        """A second close raises in pg8000; and what it writes through would keep its socket where the network failed."""
        if conn._usock is None:
            return
        file = conn._sock
        try:
            super().close(conn)
        finally:
            try:
                file.close()
            except (OSError, ValueError):  # there is something in it that can be sent no more
                pass

    # -- state

    def status(self, conn: Any) -> int:
        """The last ReadyForQuery message tells."""
        return BROKEN if conn._usock is None else _STATUS.get(conn._transaction_status, BROKEN)

    def fileno(self, conn: Any) -> int | None:
        """The socket to poll while the connection is idle."""
        return None if conn._usock is None else int(conn._usock.fileno())

    def reset(self, conn: Any) -> bool:
        """DISCARD ALL, which no transaction can hold."""
        conn.autocommit = True
        try:
            self.run(conn, "DISCARD ALL")
        finally:
            conn.autocommit = False
        conn._caches.clear()  # of prepared statements, which are gone
        return True

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """What DISCARD ALL undoes."""
        return leaves_on_postgresql(tokens, sql)

    def commit(self, conn: Any) -> None:
        """Send COMMIT as a word; pg8000's own `commit()` prepares it, which is three round trips."""
        self.run(conn, "COMMIT")

    def rollback(self, conn: Any) -> bool:
        """Roll back, in a failed transaction too."""
        self.run(conn, "ROLLBACK")
        return False

    # -- in time

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """statement_timeout, in milliseconds."""
        self.run(conn, f"SET statement_timeout = {round((seconds or 0) * 1000)}")
        conn.commit()

    def limit_next(self, conn: Any, seconds: float | None) -> None:
        """The socket's timeout: for each read, so that a server that trickles is not caught."""
        if conn._usock is not None:
            conn._usock.settimeout(None if seconds is None else seconds + GRACE)

    def connection_id(self, conn: Any) -> int | None:
        """The backend's process, which it told at the start."""
        return int.from_bytes(conn._backend_key_data[:4], "big")

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """By a connection of its own: pg8000 has no request for it."""
        number = self.connection_id(conn)
        other = self.connect(url, {**options, "connect_timeout": CANCEL_CONNECTING})
        try:
            self.run(other, f"SELECT pg_cancel_backend({number})")
        finally:
            self.close(other)

    # -- what it is

    def describe(self, conn: Any) -> dict[str, str]:
        """Versions and the default isolation."""
        version, isolation = self.fetch(
            conn, "SELECT current_setting('server_version'), current_setting('default_transaction_isolation')", None
        )[0][0]
        conn.rollback()
        number = __import__("pg8000").__version__
        return {"driver": f"pg8000 {number}", "server": f"PostgreSQL {version}", "isolation": isolation.upper()}

    # -- errors

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """By SQLSTATE, which pg8000 has in a dict of the answer's fields; without one the connection is gone, or was never made."""
        if isinstance(exc, (TimeoutError, ConnectionError)):
            return Diagnosis(errors.DisconnectionError, text="no answer in time, or the connection is gone")
        if not self.owns(exc):
            return None
        fields = exc.args[0] if exc.args and isinstance(exc.args[0], dict) else None
        if fields is None:
            text = str(exc)
            lost = any(
                part in text for part in ("network error", "closed", "Can't create a connection", "communication")
            )
            return Diagnosis(errors.DisconnectionError, text=text) if lost else super().diagnose(exc)
        names = {"constraint": fields.get("n"), "table": fields.get("t"), "column": fields.get("c")}
        sqlstate, text, detail = (str(fields.get(field, "")) for field in "CMD")
        return by_fields(sqlstate, text, names, detail, errors.DatabaseError)


driver = Pg8000()
