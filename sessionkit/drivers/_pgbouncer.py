"""PostgreSQL behind PgBouncer in transaction mode: a server's connection is a client's for one transaction only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NotSupportedError, shorten
from ..sql.words import leaves_on_postgresql
from .psycopg import Psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..url import URL

_OPAQUE = frozenset(["DO", "CALL"])  # they may leave something, and mostly do not: they run
_INSTEAD = {
    "SET": "use SET LOCAL, which ends with the transaction",
    "RESET": "use SET LOCAL, which ends with the transaction",
    "PREPARE": "execute the text itself",
    "EXECUTE": "execute the text itself",
    "DEALLOCATE": "leave it out",
    "DISCARD": "leave it out",
    "DECLARE": "use session.stream(), whose cursor ends with the transaction",
    "CREATE": "end the statement with ON COMMIT DROP",
}
_ADVISORY = "use pg_advisory_xact_lock, which ends with the transaction"
_CONFIG = "use set_config(name, value, true), which ends with the transaction"
_DIRECT = "do it on a connection that goes to the server directly"


class BehindPgBouncer(Psycopg):
    """
    psycopg through PgBouncer in transaction mode (Odyssey and PgCat do the same).

    Nothing prepared outlives a transaction, nothing is set for a session, limits of time are SET LOCAL. PgBouncer itself carries
    a client's TimeZone to each of its transactions (PgBouncer, "Feature matrix for pooling modes"), so `utc` works.
    """

    name = "psycopg behind pgbouncer"

    def arguments(self, url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
        """Without prepared statements: the next transaction may have another server connection, which does not know them."""
        return {**super().arguments(url, options), "prepare_threshold": None}

    def reset(self, conn: Any) -> bool:
        """What could be left would be on a connection that is another client's by now; so it is refused before."""
        return True

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """
        Nothing that is known.

        Raises:
            NotSupportedError: the statement would leave something for whichever client comes next.
        """
        words = [token for token in tokens if token[0].isalpha()]
        first = words[0] if words else ""
        if first in _OPAQUE or not leaves_on_postgresql(tokens, sql) or words[-3:] == ["ON", "COMMIT", "DROP"]:
            return 0
        text = sql.upper()
        found = _ADVISORY if "ADVISORY" in text else _CONFIG if "SET_CONFIG" in text else _INSTEAD.get(first, _DIRECT)
        raise NotSupportedError(
            f'"{shorten(sql)}" leaves something on the connection that outlives the transaction, and behind pgbouncer the '
            f"connection is another client's then; it was not sent: {found}",
            statement=sql,
        )

    def describe(self, conn: Any) -> dict[str, str]:
        """And who is between."""
        return {**super().describe(conn), "pooler": "pgbouncer, in transaction mode"}

    def hazards(self, conn: Any) -> list[tuple[str, str]]:
        """That it stands between is known."""
        return []

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """In each transaction, not for as long as the connection lives."""


class InTime(BehindPgBouncer):
    """The same for an engine with a limit of time, which goes with each BEGIN; so each statement has one."""

    autocommit = begins_with_first = False

    def __init__(self, seconds: float) -> None:
        self.seconds_each = self._seconds = seconds

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """With SET LOCAL."""
        return self.begin_limited(conn, isolation_level, read_only, write, self._seconds)
