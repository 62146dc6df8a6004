"""The DB-API cursor of a session, as a stand-in that ends with the transaction it belongs to."""

from __future__ import annotations

from ..errors import InvalidRequestError, map_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .guard import Guard
    from .link import Link

    Make = Callable[[Any, Any], Any]
    """Makes a cursor, of a driver and its connection."""
    Opened = Callable[[Any, Callable[[Any, Any], object], Any, Make | None], tuple[Link, Any]]
    """Runs a statement (by a function of driver and cursor, its parameters shown in no error) with a cursor that is made for it;
    what it runs in, and that cursor, open."""


class CursorProxy:
    """
    A PEP 249 cursor that works inside the session's transaction; SQL and parameters are in the driver's paramstyle.

    It takes no connection before it is used. The transaction's end closes it, and a late fetch raises.
    """

    def __init__(
        self,
        opened: Opened,
        guard: Guard,
        connection: Callable[[], Any],
        make: Make | None = None,
        speak: Callable[[str], bool] | None = None,
    ) -> None:
        self.arraysize = 1
        self._opened = opened
        self._guard = guard
        self._connection = connection
        self._make = make
        self._speak = speak  # takes a client's own savepoints
        self._link: Link | None = None
        self._cursor: Any = None
        self._closed = False
        self._count = 0

    @property
    def connection(self) -> Any:
        """The connection that it works on."""
        return self._connection()

    def execute(self, operation: Any, parameters: Any = None, **options: Any) -> CursorProxy:
        """Run one statement and return this cursor; errors arrive as sessionkit's. `options` are the driver's."""

        def run(driver: Any, cursor: Any) -> object:
            """Run the statement with the driver's cursor."""
            if options:
                return cursor.execute(operation, parameters, **options)
            return driver.execute(cursor, operation, parameters)

        return self._run(operation, run, parameters)

    def executemany(self, operation: Any, parameters: Iterable[Any]) -> CursorProxy:
        """Run a statement once for each row of parameters."""
        rows = list(parameters)
        return self._run(operation, lambda driver, cursor: driver.executemany(cursor, operation, rows), rows)

    def callproc(self, name: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        """
        Call a stored procedure and return the parameters as they were given; its rows can be fetched.

        Raises:
            NotSupportedError: the database has none.
        """
        given, marks = tuple(parameters), ", ".join(["%s"] * len(parameters))
        self._run(
            lambda driver: driver.call(name, marks),
            lambda driver, cursor: driver.execute(cursor, driver.call(name, marks), given or None),
            given,
        )
        return parameters

    def nextset(self) -> Any:
        """Go on to the next set of rows of a procedure; None when there is none."""
        with self._guard(), map_errors(self._open_link().source.driver):
            move = getattr(self._cursor, "nextset", None)
            self._count = 0
            return move() if move is not None else None

    def _run(self, operation: Any, run: Callable[[Any, Any], object], parameters: Any) -> CursorProxy:
        if self._speak is not None and isinstance(operation, str) and self._speak(operation):
            self._cursor = None
            return self
        with self._guard():
            self._check_open()
            self._end()
            self._link, self._cursor = self._opened(operation, run, parameters, self._make)
            self._count = 0
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
    def rownumber(self) -> int | None:
        """The number of the next row, from 0; None before the first statement."""
        return None if self._cursor is None else self._count

    @property
    def lastrowid(self) -> Any:
        """The key that was generated last, where the driver tells."""
        return getattr(self._cursor, "lastrowid", None)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        row = self._fetch("fetchone")
        self._count += row is not None
        return row

    def fetchmany(self, size: int | None = None) -> Any:
        """Return the next `size` rows (`arraysize`, where nothing is said)."""
        rows = self._fetch("fetchmany", size or self.arraysize)
        self._count += len(rows)
        return rows

    def fetchall(self) -> Any:
        """Return all rows that are left."""
        rows = self._fetch("fetchall")
        self._count += len(rows)
        return rows

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def _fetch(self, method: str, *arguments: Any) -> Any:
        with self._guard():
            link = self._open_link()
            with map_errors(link.source.driver, values=True):
                if link.limit is not None:
                    link.arm(link.conn())
                return getattr(self._cursor, method)(*arguments)

    def _open_link(self) -> Link:
        self._check_open()
        link, cursor = self._link, self._cursor
        if link is None or cursor is None:
            raise InvalidRequestError("nothing to fetch: execute a statement first")
        if not link.has_cursor(cursor):
            raise InvalidRequestError("the transaction of this cursor has ended, and its rows with it; execute again")
        return link

    def setinputsizes(self, sizes: object) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Close the cursor; a second time does nothing."""
        with self._guard():
            self._closed = True
            self._end()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            link = self._link
            if link is not None and name in link.source.driver.cursor_extras:
                return getattr(self._cursor, name)
            if name == "executescript" and name in self._connection()._driver.extras:
                return self._run_script
        raise AttributeError(f"this cursor has no {name!r}")

    def _run_script(self, text: str) -> CursorProxy:
        """Run the statements of a script one by one, inside the transaction."""
        self._connection().run_script(text)
        return self

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
