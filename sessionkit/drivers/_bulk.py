"""What a driver does with many rows: the fastest way into a table, and the keys that the database generates for them."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from ..errors import DataError, IntegrityError
from ._limits import TooLarge
from ._sqlite_locks import again

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

ROW = "sessionkit_row"
"""The attribute by which a driver's exception tells which row of a batch it was about."""
_SAVEPOINT = "sessionkit_rows"
_PACKED = 1000
"""Rows of one packed INSERT."""
_numbers = count(1)  # of cursors on the server


class BulkRows:
    """The part of the driver contract that is about many rows; the defaults suit any PEP 249 module."""

    copies: ClassVar[bool] = False
    """Whether `copy_rows` has a way of its own from the client into a table, for which `copy_words` are the words."""
    streams_alone: ClassVar[bool] = False
    """Whether nothing else runs on a connection while the rows of `stream_cursor` come."""
    upserts: ClassVar[str] = "ON CONFLICT"
    """How an INSERT says what to do where the key is there: ON CONFLICT (SQLite, PostgreSQL), ON DUPLICATE KEY (MySQL)."""

    def stream_cursor(self, conn: Any, words: Sequence[str]) -> Any:
        """Return a cursor that brings the rows of a statement (its first words) as they are asked for, where there is one."""
        return self.cursor(conn)

    def copy_words(self, table: str, columns: str) -> str:
        """Return the words that begin a copy; `table` and `columns` (with parentheses, or nothing) are quoted."""
        return ""

    def copy_rows(self, cursor: Any, words: str, rows: Sequence[Any]) -> None:
        """
        Put rows into a table by an INSERT, or by `copy_words`.

        An exception that is about one row has its number in the batch as its attribute `sessionkit_row`.
        """
        self.executemany(cursor, words, list(rows))

    def insert_keys(self, cursor: Any, words: str, rows: Sequence[Any]) -> list[Any]:
        """Run an INSERT for each row; return the key that each got, as a tuple, in their order."""
        found: list[Any] = []
        for row in rows:
            self.execute(cursor, words, row)
            found.append(cursor.fetchone() if cursor.description is not None else (self.lastrowid(cursor),))
        return found

    if TYPE_CHECKING:

        def cursor(self, conn: Any) -> Any: ...
        def dbapi(self) -> Any: ...
        def diagnose(self, exc: BaseException) -> Any: ...
        def savepoint(self, conn: Any, name: str) -> None: ...
        def release(self, conn: Any, name: str) -> None: ...
        def rollback_to(self, conn: Any, name: str) -> bool: ...
        def execute(self, cursor: Any, sql: str, parameters: Any) -> None: ...
        def executemany(self, cursor: Any, sql: str, rows: list[Any]) -> None: ...
        def lastrowid(self, cursor: Any) -> int | None: ...


def _packed(words: str, width: int, count: int) -> str:
    """Return an INSERT of one row as one of many."""
    head, rest = words.split(" VALUES ", 1)
    row = f"({', '.join(['%s'] * width)})" if width else "()"
    return f"{head} VALUES {', '.join([row] * count)}{rest[len(row) :]}"


class InTurn(BulkRows):
    """SQLite's: nothing is nearer."""

    def copy_rows(self, cursor: Any, words: str, rows: Any) -> None:
        """Only its first row can meet a lock."""
        try:
            self._insert(cursor, words, rows)
        except Exception as exc:
            if getattr(exc, ROW):
                raise
            again(cursor.connection, exc, self._insert, cursor, words, rows)

    def _insert(self, cursor: Any, words: str, rows: Any) -> None:
        """sqlite3 takes one row after the other, so what it has taken tells which one failed."""
        left = iter(rows)
        try:
            cursor.executemany(words, left)
        except Exception as exc:
            exc.sessionkit_row = len(rows) - left.__length_hint__() - 1  # type: ignore[attr-defined]
            raise


class ByCopy(BulkRows):
    """PostgreSQL's, by psycopg."""

    copies = True

    def stream_cursor(self, conn: Any, words: Sequence[str]) -> Any:
        """A cursor on the server, for what DECLARE takes."""
        if words[0] not in ("SELECT", "VALUES", "WITH", "TABLE"):
            return self.cursor(conn)
        return conn.cursor(f"sessionkit_{next(_numbers)}", row_factory=tuple_row())

    def copy_words(self, table: str, columns: str) -> str:
        """COPY."""
        return f"COPY {table}{columns} FROM STDIN"

    def copy_rows(self, cursor: Any, words: str, rows: Any) -> None:
        """COPY names the line that it could not take."""
        try:
            with cursor.copy(words) as copy:
                write = copy.write_row
                for row in rows:
                    write(row)
        except self.dbapi().Error as exc:
            line = _copied_line(getattr(exc.diag, "context", None) or "")
            if line is not None:
                exc.sessionkit_row = line - 1
            raise

    def insert_keys(self, cursor: Any, words: str, rows: Any) -> list[Any]:
        """In one pipeline, each INSERT with its answer."""
        cursor.executemany(words, rows, returning=True)
        found = [cursor.fetchone()]
        while cursor.nextset():
            found.append(cursor.fetchone())
        return found


class Packed(BulkRows):
    """MySQL's: few statements of many rows."""

    upserts = "ON DUPLICATE KEY"
    streams_alone = True

    def copy_rows(self, cursor: Any, words: str, rows: Any) -> None:
        """Packed into few statements; where a row is refused, all are undone, and then it is found out which it was."""
        conn = cursor.connection
        self.savepoint(conn, _SAVEPOINT)
        try:
            self._insert_packed(cursor, words, rows)
        except Exception as exc:
            found = self.diagnose(exc)
            if found is None or not issubclass(found.error, (IntegrityError, DataError)):
                raise
            self.rollback_to(conn, _SAVEPOINT)
            self._find(cursor, words, rows)
            raise
        self.release(conn, _SAVEPOINT)

    def _insert_packed(self, cursor: Any, words: str, rows: Any) -> None:
        for at in range(0, len(rows), _PACKED):
            part = rows[at : at + _PACKED]
            try:
                many = _packed(words, len(rows[0]), len(part))
                self.execute(cursor, many, [value for row in part for value in row] or None)
            except TooLarge:  # nothing of it was sent
                self.executemany(cursor, words, part)

    def _find(self, cursor: Any, words: str, rows: Any) -> None:
        for number, row in enumerate(rows):
            try:
                self.execute(cursor, words, row)
            except Exception as exc:
                setattr(exc, ROW, number)
                raise

    def insert_keys(self, cursor: Any, words: str, rows: Any) -> list[Any]:
        """One INSERT of all rows gets consecutive keys (MySQL, 15.7.1.6), a step apart that a cluster sets."""
        many = _packed(words, len(rows[0]), len(rows))
        self.execute(cursor, many, [value for row in rows for value in row] or None)
        first = self.lastrowid(cursor)
        if first is None:
            return [(None,)] * len(rows)
        self.execute(cursor, "SELECT @@auto_increment_increment", None)
        step = cursor.fetchone()[0]
        return [(first + number * step,) for number in range(len(rows))]


def _copied_line(context: str) -> int | None:
    """Return the line that PostgreSQL's COPY was at, counted from 1, by the context of its error."""
    import re

    found = re.search(r"^COPY .*?, line (\d+)", context, re.MULTILINE)
    return int(found[1]) if found else None


@cache
def tuple_row() -> Any:
    """Return psycopg's row factory for tuples."""
    from psycopg import rows

    return rows.tuple_row
