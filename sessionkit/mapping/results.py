"""What a statement gave back, as a value: it holds its rows and needs no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..errors import ArgumentError, InvalidRequestError, MultipleResultsFound, NoResultFound, shorten
from .rows import row_class, unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .._typing import Fetched, Shaped

T = TypeVar("T")
U = TypeVar("U")
_SHOWN_ROWS = 50


class Result(Generic[T]):
    """
    The rows of one statement, fetched when it ran and readable for ever: after commit, close, in another thread.

    `columns` are their names (empty for a statement that returns no rows).
    """

    __slots__ = ("_fetched", "_made", "_make", "_statement")

    def __init__(self, fetched: Fetched, statement: Shaped) -> None:
        self._fetched = fetched
        self._statement = statement
        self._make: Callable[[Any], Any] | None = None
        self._made: list[Any] | None = None

    @property
    def statement(self) -> str:
        """The program's own text, as it was executed."""
        return self._statement.sql

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple([column[0] for column in self._fetched[1] or ()])

    def types(self, known: Mapping[Any, str]) -> tuple[str | None, ...]:
        """Return the type that the driver surely brings in each column, by its table of what the description says."""
        return types_of(self._fetched[1] or (), known)

    @property
    def rowcount(self) -> int:
        """The rows that were returned or matched; -1 where the driver cannot tell."""
        return self._fetched[2]

    @property
    def lastrowid(self) -> int | None:
        """The key that the database generated last, or None."""
        return self._fetched[3]

    def all(self) -> list[T]:
        """Return every row."""
        return list(self._objects())

    def first(self) -> T | None:
        """Return the first row, or None when there is none."""
        rows = self._fetched[0] or self.raw()
        if not rows:
            return None
        if self._made is not None:
            return cast("T", self._made[0])
        make: Callable[[Any], T] = self._make or self._maker()
        return make(rows[0])

    def one(self) -> T:
        """
        Return the only row.

        Raises:
            NoResultFound: there is none.
            MultipleResultsFound: there are several.
        """
        found = self.one_or_none()
        if found is None and not self.raw():
            raise NoResultFound(f'one row was asked for, none found by "{shorten(self.statement)}"')
        return cast("T", found)

    def one_or_none(self) -> T | None:
        """Return the only row, or None when there is none; several raise MultipleResultsFound."""
        count = len(self.raw())
        if count > 1:
            raise MultipleResultsFound(f'one row was asked for, {count} found by "{shorten(self.statement)}"')
        return self.first()

    def scalar(self) -> Any:
        """Return the first column of the first row, or None when there is no row."""
        rows = self.raw()
        return rows[0][0] if rows else None

    def scalar_one(self) -> Any:
        """Return the first column of the only row; none raises NoResultFound, several MultipleResultsFound."""
        self.one()
        return self.raw()[0][0]

    def scalars(self) -> list[Any]:
        """Return the first column of every row."""
        return [row[0] for row in self.raw()]

    def mappings(self) -> list[dict[str, Any]]:
        """Return every row as a dict by column name, in their order; the first of duplicate names wins, as with `row.name`."""
        names = self.columns
        if len(set(names)) == len(names):
            return [dict(zip(names, row, strict=True)) for row in self.raw()]
        first = {name: names.index(name) for name in names}
        return [{name: row[at] for name, at in first.items()} for row in self.raw()]

    def tuples(self) -> list[tuple[Any, ...]]:
        """Return every row as a plain tuple."""
        return list(map(tuple, self.raw()))

    def frame(self, kind: str = "pandas") -> Any:
        """
        Return the rows as a table of another library: "pandas", "polars" or "arrow". It must be installed.

        Raises:
            ArgumentError: it is none of these, or two columns have one name.
        """
        names, rows = unique_names(self.columns, "table"), self.raw()
        if kind == "pandas":
            from pandas import DataFrame

            return DataFrame.from_records([tuple(row) for row in rows], columns=names)
        if kind == "polars":
            import polars

            return polars.DataFrame([tuple(row) for row in rows], schema=names, orient="row", infer_schema_length=None)
        if kind == "arrow":
            import pyarrow

            return pyarrow.table({name: [row[at] for row in rows] for at, name in enumerate(names)})
        raise ArgumentError(f'frame() makes "pandas", "polars" or "arrow", not {kind!r}')

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects())

    def __len__(self) -> int:
        return len(self._fetched[0] or ())

    def __bool__(self) -> bool:
        """Tell whether there are rows; the result of a statement that returns none (an UPDATE) is true."""
        rows = self._fetched[0]
        return rows is None or bool(rows)

    def becoming(self, make: Callable[[Any], U], objects: list[U] | None = None) -> Result[U]:
        """Return this result with another idea of what a row becomes (`objects`: already made)."""
        self.raw()
        other = cast("Result[U]", self)
        other._make = make
        other._made = objects
        return other

    def raw(self) -> Sequence[Any]:
        """Return the rows as the driver brought them; a statement without rows raises InvalidRequestError."""
        rows = self._fetched[0]
        if rows is None:
            raise InvalidRequestError(
                f'this statement returned no rows (its rowcount is {self.rowcount}): "{shorten(self.statement)}"'
            )
        return rows

    def _maker(self) -> Callable[[Any], Any]:
        """Return the Row class, which is kept with the statement for as long as its columns stay the same."""
        shape, description = self._statement.shape, self._fetched[1]
        if shape is None or shape[0] != description:
            shape = self._statement.shape = (description, row_class(self.columns))
        make: Callable[[Any], Any] = shape[1]
        self._make = make
        return make

    def _objects(self) -> list[T]:
        if self._made is None:
            self._made = list(map(self._make or self._maker(), self.raw()))
        return self._made

    def __repr__(self) -> str:
        if not getattr(self._fetched, "is_known", True):  # in a pipeline
            return "<Result: not looked at yet>"
        if self._fetched[0] is None:
            return f"<Result: no rows, rowcount {self.rowcount}>"
        return f"<Result: {len(self)} rows of {', '.join(self.columns) or 'nothing'}>"

    def __str__(self) -> str:
        """Return the rows as an aligned table, the first fifty of them."""
        rows = self._fetched[0]
        if rows is None:
            return repr(self)
        return aligned(self.columns, rows[:_SHOWN_ROWS], len(rows))

    def _repr_html_(self) -> str:
        """Return the first fifty rows as an HTML table, for notebooks."""
        from html import escape

        def cells(tag: str, values: Any) -> str:
            return "".join(f"<{tag}>{escape(shown(value))}</{tag}>" for value in values)

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in (self._fetched[0] or ())[:_SHOWN_ROWS])
        more = len(self) - _SHOWN_ROWS
        note = f"<p>… {more} more rows</p>" if more > 0 else ""
        return f"<table><thead><tr>{cells('th', self.columns)}</tr></thead><tbody>{body}</tbody></table>{note}"


def types_of(description: Sequence[Any], known: Mapping[Any, str]) -> tuple[str | None, ...]:
    """Return the type that the driver surely brings in each column of a description, by its table; None where it does not tell."""
    if not known:
        return (None,) * len(description)
    return tuple([known.get(column[1]) for column in description])


def shown(value: object) -> str:
    """Return a value as a table shows it: NULL for None, one line for text."""
    if value is None:
        return "NULL"
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]], total: int | None = None) -> str:
    """Return rows as a text table: numbers to the right, text to the left, and how many rows are not shown."""
    layout = Layout(columns, rows)
    lines = [*layout.head, *map(layout.line, rows)]
    if total is not None and total > len(rows):
        lines.append(f"… {total - len(rows)} more rows")
    return "\n".join(lines)


class Layout:
    """How a text table's columns are aligned, by its first rows: later rows may be wider."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        texts = [[shown(value) for value in row] for row in rows]
        widths = [max([len(name), *(len(text[i]) for text in texts)]) for i, name in enumerate(columns)]
        self._columns = [(width, _is_numeric([row[i] for row in rows])) for i, width in enumerate(widths)]
        self.head = [self._joined(columns), "  ".join("-" * width for width in widths)]
        """The lines above the rows: names, and dashes."""

    def line(self, row: Sequence[Any]) -> str:
        """Return a row as a line."""
        return self._joined(list(map(shown, row)))

    def _joined(self, cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, (width, right) in zip(cells, self._columns, strict=True)
        )
        return "  ".join(padded).rstrip()


def _is_numeric(values: Sequence[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(isinstance(v, (int, float)) or type(v).__name__ == "Decimal" for v in found)
