"""Rows one by one, in constant memory: an open cursor that ends with its block, or with the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import InvalidRequestError
from ..mapping.results import types_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..sql.parameters import Statement
    from .guard import Guard
    from .link import Link

    Opened = Callable[[], tuple[Link, Any, Statement, Callable[[Any], Any]]]
    """Runs the statement: the link it runs in, its open cursor, the statement, and what makes an object of a row."""

T = TypeVar("T")


class Stream(Generic[T]):
    """
    The rows of one statement as they come: `with session.stream("select …") as rows: for row in rows: …`.

    Entering runs the statement; leaving ends it, and so does every end of its transaction. Reading on after that raises
    InvalidRequestError. The rows are read once, in batches.
    """

    def __init__(self, opened: Opened, guard: Guard, batch: int) -> None:
        self._opened = opened
        self._guard = guard
        self._batch = batch
        self._link: Link | None = None
        self._cursor: Any = None
        self._at_end = False
        self.columns: tuple[str, ...] = ()
        """The names of the columns, in order, once it is entered."""
        self.types: tuple[str | None, ...] = ()
        """The names of the Python types that surely come in each column, None where the driver does not tell."""

    def __enter__(self) -> Stream[T]:
        with self._guard():
            if self._link is not None:
                raise InvalidRequestError("this stream was read already; ask the session for another")
            self._link, self._cursor, self._statement, self._make = self._opened()
            description = self._cursor.description or ()
            self.columns = tuple([column[0] for column in description])
            self.types = types_of(description, self._link.source.driver.column_types)
            if not self.columns:
                self._end()
                raise InvalidRequestError(f"this statement returns no rows to stream: {self._statement.sql!r}")
            if self._link.source.driver.streams_alone:
                self._link.stream, self._link.doubt = self._cursor, True
        return self

    def __iter__(self) -> Iterator[T]:
        return self._rows()

    def _rows(self) -> Iterator[T]:
        while True:
            rows = self._more()
            if not rows:
                return
            make, link, cursor = self._make, self._link, self._cursor
            if self._at_end:  # what is in hand needs no connection
                yield from map(make, rows)
                return
            opened = link.open_cursors if link is not None else ()
            for row in rows:
                if link is None or link.open_cursors is not opened:  # something was opened or closed: was it this?
                    if link is None or not link.has_cursor(cursor):
                        raise self._over()
                    opened = link.open_cursors
                yield make(row)

    def _more(self) -> list[Any]:
        with self._guard():
            if self._at_end:
                return []
            link = self._link
            if link is None or not link.has_cursor(self._cursor):
                raise self._over()
            rows = link.fetch(self._cursor, self._batch, self._statement.sql)
            if len(rows) < self._batch:
                self._at_end = True
                link.close_open_cursor(self._cursor)
            return rows

    def _over(self) -> InvalidRequestError:
        if self._link is None:
            return InvalidRequestError("a stream is read inside its block: with session.stream(…) as rows")
        return InvalidRequestError(
            "this stream has ended with its block or its transaction, before it was read to its end"
        )

    def _end(self) -> None:
        if self._link is not None:
            self._link.close_open_cursor(self._cursor)

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        link = self._link
        if kind is not None and link is not None and link.stream is self._cursor:
            link.is_left = True  # a rollback closes the connection: reading the rest could take long
            return
        with self._guard():
            self._end()
