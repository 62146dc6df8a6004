"""Much data: streams out, fast ways in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import Error, OperationalError
from ..mapping.copying import Batches, Conflict, adapted, checked_table, column_name, insert_into
from ..mapping.entity import entity_of, quoted
from ..mapping.objects import alike
from ..mapping.results import types_of
from ..mapping.rows import row_class
from ..mapping.targets import row_of
from ..options import whole
from .statements import Statements
from .stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from .._typing import SQL, Parameters, Source
    from ..mapping.rows import Row
    from ..sql.parameters import Statement
    from .block import Transaction
    from .link import Link

T = TypeVar("T")
_BATCH = 5000
"""Rows that `copy_in` reads before it sends them: what a generator raises, it raises between two of the driver's calls."""
_TOGETHER = 500
"""Rows that one INSERT of `insert_all` holds."""


class Bulk(Statements):
    """The methods of a session for much data."""

    if TYPE_CHECKING:

        def begin_nested(self) -> Transaction: ...

    @overload
    def stream(
        self, statement: SQL, parameters: Parameters = None, *, batch: int = 1000, bind: str | None = None
    ) -> Stream[Row]: ...
    @overload
    def stream(
        self,
        statement: SQL,
        parameters: Parameters = None,
        *,
        into: Callable[..., T],
        batch: int = 1000,
        bind: str | None = None,
    ) -> Stream[T]: ...
    def stream(
        self,
        statement: SQL,
        parameters: Parameters = None,
        into: Any = None,
        *,
        batch: int = 1000,
        bind: str | None = None,
    ) -> Stream[Any]:
        """
        Return the rows of a statement one by one, in constant memory: `with session.stream("select …") as rows: …`.

        `into` is what a row becomes, as with `query`; entities are not held in the identity map. `batch` rows are fetched at a
        time. Meanwhile other statements run on SQLite and PostgreSQL, and are refused on MySQL and DuckDB. Leaving early costs
        nothing, but on MySQL the rest is read, or the connection closed when the transaction is rolled back.

        Raises (when it is entered or read):
            InvalidRequestError: the statement returns no rows, or the block or the transaction has ended.
            Error: as with `execute`.
        """
        whole("batch", batch)

        def opened() -> tuple[Link, Any, Statement, Callable[[Any], Any]]:
            """Run the statement."""
            source = self._source(bind, into)
            compiled, text, bound = self._bound(source, statement, parameters)
            link = self._ready(source, compiled)
            cursor = link.open_cursor(
                compiled,
                lambda driver, cursor: driver.execute(cursor, text, bound),
                bound,
                lambda driver, conn: (
                    driver.cursor(conn) if compiled.writes else driver.stream_cursor(conn, compiled.words)
                ),
            )
            description = cursor.description or ()
            columns = tuple([column[0] for column in description])
            if into is None:
                return link, cursor, compiled, row_class(columns)
            types = types_of(description, source.driver.column_types)
            return link, cursor, compiled, row_of(into, columns, types, source.values)

        return Stream(opened, self._guard, batch)

    def copy_in(
        self,
        table: str,
        rows: Any,
        columns: Sequence[str] | None = None,
        *,
        on_conflict: str | None = None,
        key: Sequence[str] | str | None = None,
        bind: str | None = None,
    ) -> int:
        """
        Put many rows into a table in the fastest way there is, and return how many there were.

        `rows` is any iterable of sequences, mappings, dataclasses or entities, read in constant memory, or a pandas, polars or
        pyarrow table. `columns` names the table's columns; mappings and objects bring their own names. `on_conflict="skip"` leaves
        a row alone whose `key` is there, `"update"` overwrites its other columns (MySQL goes by any unique key of the table).
        It is COPY on PostgreSQL, packed INSERTs on MySQL, a prepared INSERT on SQLite, the appender on DuckDB (where a failure
        ends the whole transaction).

        Raises:
            Error: a row was refused; the text says which one, counted from 0, where it is known. Nothing of the call is kept.
            ArgumentError: rows have no columns that are asked for, or differ in their number of values.
        """
        conflict = Conflict(on_conflict, key)
        source = self._source(bind)
        batches = Batches(rows, columns, _BATCH)
        with self._guard():
            self._ensure_begun()  # or begin_nested() would be the outer block, and commit
        if batches.is_empty:
            return 0
        driver = source.driver
        quote = driver.identifier_quote
        insert = insert_into(checked_table(table), batches.columns, batches.width, quote)
        clause = conflict.clause(batches.columns, quote, driver.upserts == "ON CONFLICT")
        with self._whole({source}):
            if driver.copies and clause:
                self._copy_over(source, table, batches, conflict, clause)
                return batches.done
            names = f" ({', '.join(column_name(name, quote) for name in batches.columns)})" if batches.columns else ""
            words = driver.copy_words(quoted(table, quote), names) if driver.copies else None
            for batch in batches:
                self._send(source, insert + clause, batch, batches.done, words)
        return batches.done

    def _whole(self, sources: set[Source]) -> AbstractContextManager[object]:
        """Return a block of which nothing is kept when it fails: a savepoint, or the whole transaction where there are none."""
        if all(source.driver.has_savepoints for source in sources):
            return self.begin_nested()
        return self._doomed_by_failure(sources)

    @contextmanager
    def _doomed_by_failure(self, sources: set[Source]) -> Iterator[None]:
        try:
            yield
        except BaseException as exc:
            for source in sources:
                link = self._link(source)
                if link.begun and link.failure is None:
                    link.doom(exc if isinstance(exc, Error) else OperationalError(f"{type(exc).__name__} in many rows"))
            raise

    def _copy_over(self, source: Source, table: str, batches: Batches, conflict: Conflict, clause: str) -> None:
        """Copy into a table of the transaction's own, and from there into the other: the last of rows with one key wins."""
        quote, columns = source.driver.identifier_quote, list(batches.columns or ())
        names = ", ".join(column_name(name, quote) for name in columns)
        target, numbered = quoted(table, quote), quoted("sessionkit_row", quote)
        scratch = quoted("sessionkit_copy", quote)
        like = f"SELECT {names}, CAST(0 AS bigint) AS {numbered} FROM {target}"
        with self._guard():
            self._run(source, f"CREATE TEMPORARY TABLE {scratch} AS {like} WITH NO DATA", None)
        insert = insert_into("sessionkit_copy", [*columns, "sessionkit_row"], len(columns) + 1, quote)
        words = source.driver.copy_words(scratch, f" ({names}, {numbered})")
        for batch in batches:
            done = batches.done
            self._send(source, insert, [(*row, number) for number, row in enumerate(batch, done)], done, words)
        chosen = f"SELECT * FROM {scratch}"
        if conflict.what == "update":
            keys = ", ".join(column_name(name, quote) for name in conflict.key)
            chosen = f"SELECT DISTINCT ON ({keys}) * FROM {scratch} ORDER BY {keys}, {numbered} DESC"
        with self._guard():
            self._run(
                source,
                f"INSERT INTO {target} ({names}) SELECT {names} FROM ({chosen}) r ORDER BY {numbered}{clause}",
                None,
            )
            self._run(source, f"DROP TABLE {scratch}", None)

    def _send(self, source: Source, insert: str, batch: list[Any], done: int, words: str | None) -> None:
        """Send one batch of `copy_in`."""
        with self._guard():
            rows = adapted(source.values, batch, done, insert)
            compiled = source.compile(insert, rows[0])
            text = compiled.bind(rows[0])[0]
            link = self._ready(source, compiled)
            try:
                cursor = link.open_cursor(
                    compiled, lambda driver, cursor: driver.copy_rows(cursor, words or text, rows), rows
                )
                link.close_open_cursor(cursor)
            except Error as exc:
                number = getattr(exc.orig, "sessionkit_row", None)
                if number is not None:
                    exc.args = (f"row {done + number} (counted from 0): {exc}",)
                raise

    def insert_all(self, objects: Iterable[T], *, bind: str | None = None) -> list[T]:
        """
        Insert entities as new rows in few statements, and return them; a key that is None is filled in by the database.

        Raises:
            Error: a row was refused. Nothing of the call is kept.
        """
        inserted = list(objects)
        for obj in inserted:
            entity_of(type(obj))
        with self._guard():
            self._ensure_begun()
        with self._whole({self._source(bind, type(obj)) for obj in inserted}):
            for group in alike(inserted):
                source = self._source(bind, type(group[0]))
                for at in range(0, len(group), _TOGETHER):
                    with self._guard():
                        self._objects.insert_many(source, group[at : at + _TOGETHER], self._insert_keys)
        return inserted

    def _insert_keys(self, source: Source, insert: str, rows: list[Any], with_keys: bool) -> list[Any]:
        """Insert rows, and return the keys that the database gave them, if that is asked for."""
        rows = adapted(source.values, rows, 0, insert)
        compiled = source.compile(insert, rows[0])
        text = compiled.bind(rows[0])[0]
        link = self._ready(source, compiled)
        found: list[Any] = []

        def run(driver: Any, cursor: Any) -> None:
            """Insert them."""
            if with_keys:
                found.extend(driver.insert_keys(cursor, text, rows))
            else:
                driver.copy_rows(cursor, text, rows) if not driver.copies else driver.executemany(cursor, text, rows)

        link.close_open_cursor(link.open_cursor(compiled, run, rows))
        return found

    def upsert(self, obj: T, on: Sequence[str] | str | None = None, *, bind: str | None = None) -> T:
        """
        Insert an entity, or update every other column of the row that has the same values in `on` (by default its key).

        It is one statement; `on` names fields that a unique index is on (MySQL goes by any unique index). A key that is None
        is filled in. Of an entity with a version, ArgumentError: it is updated by `update()`, which looks at the version.
        """
        with self._guard():
            fields = (on,) if isinstance(on, str) else None if on is None else tuple(on)
            upserted: T = self._objects.upsert(self._source(bind, type(obj)), obj, fields)
            return upserted
