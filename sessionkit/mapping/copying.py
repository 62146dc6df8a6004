"""What `copy_in` takes: rows of any kind, read in batches, and the SQL that puts them into a table."""

from __future__ import annotations

from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, DataError, shorten
from .entity import declared, is_name, quoted, unquoted
from .values import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .values import Values

    Read = Callable[[Any], tuple[Any, ...]]


class Batches:
    """
    Rows (sequences, mappings, dataclasses, entities, a pandas, polars or pyarrow table) as lists of tuples, one batch at a time.

    `columns` are the names that the rows have, None for sequences of which nothing was said; `width` how many.
    """

    def __init__(self, rows: Any, columns: Sequence[str] | None, size: int) -> None:
        found = _frame(rows)
        if found is not None:
            names, rows = found
            columns = names if columns is None else columns
            if len(columns) != len(names):
                raise ArgumentError(f"the table has {len(names)} columns, and {len(columns)} names were given")
        elif isinstance(rows, (str, bytes)) or not hasattr(rows, "__iter__"):
            raise ArgumentError(
                "rows are an iterable of sequences, mappings or objects, or a pandas, polars or pyarrow table; got "
                f"{type(rows).__name__}"
            )
        self._rows = iter(rows)
        self._size = size
        first = list(islice(self._rows, 1))
        self.is_empty = not first
        self._rows = chain(first, self._rows)
        self.columns, self._read, self.width = _form(first[0], columns) if first else (columns, None, 0)
        self._is_whole = (
            columns is None and bool(first) and hasattr(first[0], "keys")
        )  # no key of a mapping may get lost
        self.done = 0
        """Rows of the batches before this one."""

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        while batch := list(islice(self._rows, self._size)):
            if self._read is not None:
                read = self._through(self._read, batch)
                if self._is_whole and set(map(len, batch)) != {self.width}:
                    self._wrong(batch)
                batch = read
            elif set(map(len, batch)) != {self.width}:
                self._wrong(batch)
            yield batch
            self.done += len(batch)

    def _through(self, read: Read, batch: list[Any]) -> list[tuple[Any, ...]]:
        try:
            return list(map(read, batch))
        except (KeyError, AttributeError, TypeError, IndexError):
            for number, row in enumerate(batch, self.done):
                try:
                    read(row)
                except (KeyError, AttributeError, TypeError, IndexError) as exc:
                    raise ArgumentError(
                        f"row {number} (counted from 0) has no {', '.join(self.columns or ())}: {type(exc).__name__} {exc}"
                    ) from exc
            raise

    def _wrong(self, batch: list[Any]) -> None:
        number, row = next((n, row) for n, row in enumerate(batch, self.done) if len(row) != self.width)
        raise ArgumentError(f"row {number} (counted from 0) has {len(row)} values, and the first has {self.width}")


def _form(first: Any, columns: Sequence[str] | None) -> tuple[Sequence[str] | None, Read | None, int]:
    """Return the columns, how a row becomes a tuple (None: it is a sequence), and how many values it has."""
    names = None if columns is None else list(columns)
    if hasattr(first, "keys") and hasattr(first, "__getitem__"):
        names = names or list(first.keys())
        return names, _getter(itemgetter, names), len(names)
    if hasattr(type(first), "__dataclass_fields__"):
        entity = declared(type(first))
        fields = own = list(type(first).__dataclass_fields__)
        if entity is not None:  # a key that the database generates is left out
            kept = [name for name in entity.fields if name not in entity.key or getattr(first, name) is not None]
            fields, own = kept, [entity.columns[entity.fields.index(name)] for name in kept]
        if names is None:
            return own, _getter(attrgetter, fields), len(fields)
        attribute = dict(zip(map(unquoted, own), fields, strict=True))
        wanted = [attribute.get(unquoted(name), name) for name in names]
        return names, _getter(attrgetter, wanted), len(names)
    if isinstance(first, (str, bytes)) or not (hasattr(first, "__len__") and hasattr(first, "__getitem__")):
        raise ArgumentError(f"a row is a sequence, a mapping or a dataclass; the first is {type(first).__name__}")
    if names is not None and len(names) != len(first):
        raise ArgumentError(
            f"row 0 (counted from 0) has {len(first)} values for {len(names)} columns: {', '.join(names)}"
        )
    return names, None, len(first)


def _getter(kind: Any, names: list[str]) -> Read:
    get = kind(*names)
    return (lambda row: (get(row),)) if len(names) == 1 else get


def _frame(rows: Any) -> tuple[list[str], Iterable[Any]] | None:
    """Return the columns and rows of a pandas, polars or pyarrow table, missing values as None; None for anything else."""
    root = type(rows).__module__.partition(".")[0]
    if root == "pandas" and hasattr(rows, "itertuples"):
        names = [str(name) for name in rows.columns]
        columns = [rows.iloc[:, at] for at in range(len(names))]
        plain = [column.astype(object).where(column.notna(), None).tolist() for column in columns]
        return names, zip(*plain, strict=True)
    if root == "polars" and hasattr(rows, "iter_rows"):
        return list(rows.columns), rows.iter_rows()
    if root == "pyarrow" and hasattr(rows, "to_batches"):
        parts = (zip(*[column.to_pylist() for column in part.columns], strict=True) for part in rows.to_batches())
        return list(rows.column_names), chain.from_iterable(parts)
    return None


def adapted(values: Values, batch: list[tuple[Any, ...]], done: int, statement: str) -> list[tuple[Any, ...]]:
    """Return a batch as the driver takes it; a value that cannot be stored is a DataError that says in which row."""
    columns: list[Any] = []
    is_same = True
    for column in zip(*batch, strict=True):
        try:
            columns.append(values.column(column))
            is_same = is_same and columns[-1] is column
        except BadValue as exc:
            for number, value in enumerate(column, done):
                try:
                    values.one(value)
                except BadValue as found:
                    text = f'row {number} (counted from 0): {found}; in "{shorten(statement)}"'
                    raise DataError(text, statement=statement, orig=exc) from None
            raise
    return batch if is_same else list(zip(*columns, strict=True))


def _bare(name: str) -> str:
    return unquoted(name) if is_name(name) else name.strip('"`')


class Conflict:
    """What `copy_in` does with a row whose key is there: None (an error), "skip" or "update"."""

    def __init__(self, what: str | None, key: Sequence[str] | str | None) -> None:
        if what not in (None, "skip", "update"):
            raise ArgumentError(f'on_conflict is "skip", "update" or None, got {what!r}')
        self.what = what
        self.key = (key,) if isinstance(key, str) else tuple(key or ())
        if what == "update" and not self.key:
            raise ArgumentError(
                'on_conflict="update" needs key=: the columns whose values tell that a row is there, key=("sku",)'
            )
        if self.key and what is None:
            raise ArgumentError('key= goes with on_conflict="skip" or "update"')

    def clause(self, columns: Sequence[str] | None, quote: str, by_key: bool) -> str:
        """Return what an INSERT ends with; `by_key`: ON CONFLICT (…), else MySQL's ON DUPLICATE KEY UPDATE."""
        if self.what is None:
            return ""
        if columns is None:
            raise ArgumentError("on_conflict needs to know the columns: give columns=, or rows that have names")
        keys = [_bare(name) for name in self.key]
        lacking = [name for name in keys if name not in [_bare(column) for column in columns]]
        if lacking:
            raise ArgumentError(
                f"key= names {', '.join(lacking)}, which is not among the columns: {', '.join(columns)}"
            )
        others = (
            [column_name(name, quote) for name in columns if _bare(name) not in keys] if self.what == "update" else []
        )
        if by_key:
            target = f" ({', '.join(column_name(name, quote) for name in self.key)})" if self.key else ""
            action = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}" if others else "NOTHING"
            return f" ON CONFLICT{target} DO {action}"
        if others:
            return f" ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in others)}"
        same = column_name(columns[0], quote)
        return f" ON DUPLICATE KEY UPDATE {same} = {same}"


def column_name(name: str, quote: str) -> str:
    """Return a column's name for SQL, whatever is in it; one that is quoted already stays as it is."""
    if is_name(name):
        return quoted(name, quote)
    if len(name) > 1 and name[0] == name[-1] == quote:
        return name
    return f"{quote}{name.replace(quote, quote * 2)}{quote}"


def checked_table(name: str) -> str:
    """Return a table's name, `schema.table` too; ArgumentError when it is none."""
    if not isinstance(name, str) or not is_name(name):
        raise ArgumentError(f"a table is a name (letters, digits, _, a dot, quoted otherwise), got {name!r}")
    return name


def insert_into(table: str, columns: Sequence[str] | None, width: int, quote: str, rows: int = 1) -> str:
    """Return the INSERT of rows with `?`."""
    names = f" ({', '.join(column_name(name, quote) for name in columns)})" if columns is not None else ""
    marks = f"({', '.join('?' * width)})"
    return f"INSERT INTO {quoted(table, quote)}{names} VALUES {', '.join([marks] * rows)}"
