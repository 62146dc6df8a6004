"""What a driver says of transactions: the words that begin and end them, savepoints, isolation, and limits of time."""

from __future__ import annotations

from ..errors import NotSupportedError
from ..options import ISOLATION_LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from ..url import URL


class Transactions:
    """The part of the driver contract that is about transactions; the defaults suit PEP 249's implicit begin."""

    isolation_levels: ClassVar[tuple[str, ...]] = ISOLATION_LEVELS
    """The levels that the server has; a weaker one that is asked for is raised to the next of these."""
    tells_status: ClassVar[bool] = True
    """Whether `status` tells a transaction that is open from one that is not; else it says UNKNOWN, and does not guess."""
    instead_of_implicit_commit: ClassVar[str] = "commit first and run it outside a block, or use engine.execute()"
    """What the error says to do when a statement that commits by itself is refused."""
    has_savepoints: ClassVar[bool] = True
    """Whether a part of a transaction can be undone; else `savepoint` raises NotSupportedError and sends nothing."""

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """
        Begin a transaction; return True when it is open now, False when the next statement opens it by itself.

        `write` says that it will write, for databases that take the lock at once. The default suits PEP 249's
        implicit begin, and knows the standard's SET TRANSACTION.
        """
        if isolation_level or read_only:
            self.run(conn, self.set_transaction(isolation_level, read_only))
        return False

    def fetch_first(self, conn: Any, sql: str, parameters: Any, distant: bool) -> tuple[Any, Any, int, int | None]:
        """
        Begin, and run the first statement as `fetch` does: for drivers that say `begins_with_first`.

        `distant` says that a round trip costs more than anything that saves it.
        """
        self.begin(conn, None, False, False)
        return self.fetch(conn, sql, parameters)

    def level(self, wanted: str) -> str:
        """Return the weakest isolation level of this server that is at least as strong as `wanted`."""
        stronger = ISOLATION_LEVELS[ISOLATION_LEVELS.index(wanted) :]
        return next((level for level in stronger if level in self.isolation_levels), ISOLATION_LEVELS[-1])

    def set_transaction(self, isolation_level: str | None, read_only: bool) -> str:
        """Return the standard's SET TRANSACTION statement."""
        modes = [f"ISOLATION LEVEL {isolation_level}"] * bool(isolation_level) + ["READ ONLY"] * read_only
        return f"SET TRANSACTION {', '.join(modes)}"

    def restore(self, conn: Any) -> None:
        """Undo what `begin` set for a read-only or isolated transaction, where it outlives the transaction."""

    def begin_visibly(self, conn: Any) -> bool:
        """Make the status say ACTIVE until the transaction ends, though nothing has run yet; False where that cannot be."""
        return False

    def commit(self, conn: Any) -> None:
        """Commit, and raise when nothing was committed."""
        conn.commit()

    def rollback(self, conn: Any) -> bool:
        """Roll back; return True when the server said that it kept something (tables without transactions)."""
        conn.rollback()
        return False

    def kept_tables(self, conn: Any, statements: Sequence[str]) -> list[str]:
        """Return which tables that these statements wrote to have no transactions, after a rollback that kept something."""
        return []

    def savepoint(self, conn: Any, name: str) -> None:
        """Set a savepoint."""
        self.run(conn, f"SAVEPOINT {name}")

    def release(self, conn: Any, name: str) -> None:
        """Release a savepoint, keeping its work."""
        self.run(conn, f"RELEASE SAVEPOINT {name}")

    def rollback_to(self, conn: Any, name: str) -> bool:
        """Undo back to a savepoint, and release it; return what `rollback` returns."""
        self.run(conn, f"ROLLBACK TO SAVEPOINT {name}")
        self.run(conn, f"RELEASE SAVEPOINT {name}")
        return False

    def set_read_only(self, conn: Any) -> bool:
        """Let nothing be written from here on until the innermost savepoint ends; return False where that cannot be."""
        return False

    def check_deferred(self, conn: Any) -> None:
        """Raise what COMMIT would raise because of a deferred constraint; the transaction goes on, and they stay deferred."""

    def run(self, conn: Any, words: str) -> None:
        """Run words that return nothing."""
        cursor = conn.cursor()
        try:
            cursor.execute(words)
        finally:
            cursor.close()

    # -- without waiting

    seconds_each: float | None = None
    """The limit of time that goes with each BEGIN, where a connection cannot have it for as long as it lives (behind a pooler)."""

    def pipeline(self, conn: Any, isolation_level: str | None, read_only: bool, seconds: float | None) -> Any:
        """
        Begin a transaction whose statements are sent without waiting for their answers; None where there is no such thing.

        What is returned does as `drivers._pipeline.Pipeline`; `seconds` limits each statement on the server.
        """
        return None

    def answer(self, conn: Any, cursor: Any) -> tuple[Any, Any, int, int | None]:
        """Return what a statement in a pipeline gave back, which has come, as `fetch` does."""
        raise NotSupportedError(f"{self.name} has no pipelines")

    # -- in two phases

    def two_phase(self, xid: str) -> Any:
        """
        Return this driver for a transaction that is to be prepared as `xid` (128 bytes at most); None where that cannot be.

        It has all that a driver has, and `prepare(conn)`; `begins` tells whether its `begin` differs, so that a transaction that
        has begun otherwise cannot be prepared any more.
        """
        return None

    def end_prepared(self, conn: Any, xid: str, commit: bool) -> bool:
        """End a prepared transaction, from any connection to its database that is idle; False when there is none of that name."""
        raise NotSupportedError(f"{self.name} has no two-phase commit")

    def prepared(self, conn: Any) -> list[str]:
        """Return the names of the transactions that are prepared on this database, or server; the connection is idle afterwards."""
        return []

    def for_given(self, conn: Any) -> Any:
        """Return the driver for a connection that a session is given; refuse one whose state cannot be known."""
        return self

    # -- in time

    def begin_limited(
        self, conn: Any, isolation_level: str | None, read_only: bool, write: bool, seconds: float
    ) -> bool:
        """Begin as `begin` does a transaction whose statements the server is to end after `seconds` each."""
        self.limit_server(conn, seconds)
        return self.begin(conn, isolation_level, read_only, write)

    def limit_server(self, conn: Any, seconds: float | None) -> None:
        """
        Ask the server to end what runs longer than `seconds` by itself (None: no longer), with a round trip.

        Raises:
            NotSupportedError: the driver limits neither here nor by `limit_next`.
        """
        if seconds is not None and type(self).limit_next is Transactions.limit_next:
            raise NotSupportedError(f"{self.name} has no way to end a statement in time; leave statement_timeout out")

    def limit_next(self, conn: Any, seconds: float | None) -> None:
        """
        Let each call from now until the next `limit_next` end within `seconds`, a little more than the server's own limit.

        Where nobody answers, the connection is closed. All that is done until the next `limit_next` shares the time.
        None: no limit. It makes no round trip.
        """

    def connection_id(self, conn: Any) -> int | None:
        """Return the server's number for a connection, from any thread and without a round trip; None where there is none."""
        return None

    def place(self, conn: Any) -> str | None:
        """Return the `host:port` that a connection leads to, without a round trip; None where there is none."""
        return None

    def blockers(self, conn: Any) -> list[tuple[int, int]]:
        """Return who waits for a lock of whom now, by their connections' numbers; `conn` is a connection that does not."""
        return []

    def cancel(self, conn: Any, url: URL, options: Mapping[str, Any]) -> None:
        """
        Ask, from another thread, that what `conn` runs at this moment end; `url` and `options` are what it was made with.

        It may come too late, and end what runs next, so the connection is not lent again. The default does nothing.
        """

    if TYPE_CHECKING:
        name: ClassVar[str]

        def fetch(self, conn: Any, sql: str, parameters: Any) -> tuple[Any, Any, int, int | None]: ...
