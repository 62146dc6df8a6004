"""PostgreSQL, whatever module speaks with it: levels, generated keys, transaction numbers, deferred constraints."""

from __future__ import annotations

from .base import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCKERS = (
    "SELECT pid, unnest(pg_blocking_pids(pid)) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared"
_DEFERRED = "sessionkit_deferred"


class PostgreSQL(Driver):
    """What psycopg's driver and pg8000's share."""

    isolation_levels = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    returning = True
    transaction_id = "SELECT CAST(pg_current_xact_id() AS text)"

    def blockers(self, conn: Any) -> list[tuple[int, int]]:
        """pg_blocking_pids tells."""
        rows = self.fetch(conn, _BLOCKERS, None)[0]
        return [(int(waiting), int(blocking)) for waiting, blocking in rows or ()]

    def system(self, scheme: str) -> str:
        """One name, whatever the module."""
        return "postgresql"

    def set_read_only(self, conn: Any) -> bool:
        """It ends with the savepoint."""
        self.run(conn, "SET TRANSACTION READ ONLY")
        return True

    def prepared(self, conn: Any) -> list[str]:
        """Of this database; the server has others too."""
        rows = self.fetch(conn, _PREPARED, None)[0] or ()
        return [str(row[0]) for row in rows]

    def check_deferred(self, conn: Any) -> None:
        """All at once, in a savepoint that is undone, so that they are deferred again."""
        self.savepoint(conn, _DEFERRED)
        self.run(conn, "SET CONSTRAINTS ALL IMMEDIATE")
        self.rollback_to(conn, _DEFERRED)


def begin_words(isolation_level: str | None, read_only: bool) -> str:
    """Return BEGIN with its modes."""
    words = f"BEGIN ISOLATION LEVEL {isolation_level}" if isolation_level else "BEGIN"
    return words + " READ ONLY" if read_only else words


def timeout_words(seconds: float | None) -> str:
    """Return PostgreSQL's setting, in milliseconds; 0 is none."""
    return f"statement_timeout = {0 if seconds is None else max(1, round(seconds * 1000))}"
