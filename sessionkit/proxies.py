"""The DB-API connection and cursor of a session, as stand-ins that end with the transaction they belong to.

They serve clients that want PEP 249 objects (pandas, polars, notebooks). A late use raises, instead of reaching
the next borrower's transaction.
"""

from __future__ import annotations

from .errors import InvalidRequestError, map_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .guard import Guard
    from .link import Link

    Opened = Callable[[Any, Callable[[Any, Any], object]], tuple[Link, Any]]
    """Runs a statement with a new cursor of the driver; what it runs it in, and that cursor, open."""


class ConnectionProxy:
    """
    A session's connection while the transaction lasts: `cursor`, `commit`, `rollback`, `close`.

    `commit` and `rollback` are the session's own; `close` only lets go of this stand-in.
    """

    def __init__(self, link: Link, session: Any, opened: Opened, guard: Guard) -> None:
        self._link: Link | None = link
        self._lease = link.lease
        self._session = session
        self._opened = opened
        self._guard = guard

    @property
    def driver_connection(self) -> Any:
        """
        The driver's own connection. What is done to it directly is not watched over, so it is closed when it comes home.
        """
        with self._guard:
            return self._live().hand_out()

    def cursor(self) -> CursorProxy:
        """Return a cursor that takes SQL and parameters in the driver's own paramstyle."""
        self._live()

        def opened(operation: Any, run: Callable[[Any, Any], object]) -> tuple[Link, Any]:
            self._live()
            return self._opened(operation, run)

        return CursorProxy(opened, self._guard)

    def commit(self) -> None:
        """Commit the session."""
        self._live()
        self._session.commit()

    def rollback(self) -> None:
        """Roll the session back."""
        self._live()
        self._session.rollback()

    def close(self) -> None:
        """Let go; the session keeps its connection until its transaction ends."""
        self._link = None

    def _live(self) -> Link:
        link = self._link
        if link is None or link.lease is None or link.lease is not self._lease:
            raise InvalidRequestError(
                "this connection was given back when its transaction ended; ask for connection() again"
            )
        return link

    def __repr__(self) -> str:
        link = self._link
        live = link is not None and link.lease is not None and link.lease is self._lease
        return f"<ConnectionProxy: {'live' if live else 'detached'}>"


class CursorProxy:
    """
    A PEP 249 cursor that works inside the session's transaction; SQL and parameters are in the driver's paramstyle.

    It takes no connection before it is used. The transaction's end closes it, and a late fetch raises.
    """

    arraysize = 1

    def __init__(self, opened: Opened, guard: Guard) -> None:
        self._opened = opened
        self._guard = guard
        self._link: Link | None = None
        self._cursor: Any = None
        self._closed = False

    def execute(self, operation: str, parameters: Any = None) -> CursorProxy:
        """Run one statement and return this cursor; errors arrive as sessionkit's."""
        return self._run(operation, lambda driver, cursor: driver.execute(cursor, operation, parameters))

    def executemany(self, operation: str, parameters: Sequence[Any]) -> CursorProxy:
        """Run a statement once for each row of parameters."""
        rows = list(parameters)
        return self._run(operation, lambda driver, cursor: driver.executemany(cursor, operation, rows))

    def _run(self, operation: str, run: Callable[[Any, Any], object]) -> CursorProxy:
        with self._guard:
            self._check_open()
            self._end()
            self._link, self._cursor = self._opened(operation, run)
        return self

    @property
    def description(self) -> Any:
        """PEP 249's description, None before the first statement and for one without rows."""
        return None if self._cursor is None else self._cursor.description

    @property
    def rowcount(self) -> int:
        """PEP 249's rowcount."""
        return -1 if self._cursor is None else int(self._cursor.rowcount)

    @property
    def lastrowid(self) -> Any:
        """The key that was generated last, where the driver tells."""
        return getattr(self._cursor, "lastrowid", None)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._fetch("fetchone")

    def fetchmany(self, size: int | None = None) -> Any:
        """Return the next `size` rows."""
        return self._fetch("fetchmany", size or self.arraysize)

    def fetchall(self) -> Any:
        """Return all rows that are left."""
        return self._fetch("fetchall")

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def _fetch(self, method: str, *arguments: Any) -> Any:
        with self._guard:
            self._check_open()
            link, cursor = self._link, self._cursor
            if link is None or cursor is None:
                raise InvalidRequestError("nothing to fetch: execute a statement first")
            if not link.has_cursor(cursor):
                raise InvalidRequestError(
                    "the transaction of this cursor has ended, and its rows with it; execute again"
                )
            with map_errors(link.source.driver, values=True):
                if link.limit is not None:
                    link.arm(link.conn())
                return getattr(cursor, method)(*arguments)

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Close the cursor; a second time does nothing."""
        with self._guard:
            self._closed = True
            self._end()

    def _end(self) -> None:
        link, cursor, self._cursor = self._link, self._cursor, None
        if link is not None and cursor is not None:
            link.close_open_cursor(cursor)

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError("this cursor is closed; ask the session for another")

    def __enter__(self) -> CursorProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
