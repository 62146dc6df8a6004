"""Named rows: tuples whose columns are attributes too."""

from __future__ import annotations

from operator import itemgetter

from ..errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_KNOWN: dict[tuple[str, ...], type[Row]] = {}
_KEPT = 512
_OURS = ("_fields", "_asdict", "_replace")


class Row(tuple):  # type: ignore[type-arg]
    """
    A row of a result: a tuple whose columns are attributes too (`row.name`, `row[1]`, unpacking).

    `_fields`, `_asdict()` and `_replace(**changes)` are those of named tuples. Of duplicate column names the first has
    the name; all have their position. A column's name wins over a tuple's method (`row.count`), but not over Python's own
    `__names__`. Rows compare, hash and pickle as tuples do.
    """

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def _asdict(self) -> dict[str, Any]:
        """Return the row as a dict by column name, in their order; the first of duplicate names wins."""
        return {name: self[self._fields.index(name)] for name in self._fields}

    def _replace(self, **changes: Any) -> Row:
        """
        Return the row with other values in some columns.

        Raises:
            ValueError: it has no such column (as with named tuples).
        """
        unknown = [name for name in changes if name not in self._fields]
        if unknown:
            raise ValueError(f"the row has no column {', '.join(unknown)} (columns: {', '.join(self._fields)})")
        values = list(self)
        for name, value in changes.items():
            values[self._fields.index(name)] = value
        return type(self)(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:

        def __getattr__(self, name):
            known = ", ".join(self._fields)
            raise AttributeError(f"the row has no column {name!r} (columns: {known})")

    def __repr__(self) -> str:
        pairs = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"Row({', '.join(pairs)})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self._fields, tuple(self)))


def row_class(columns: Sequence[str]) -> type[Row]:
    """Return the Row class for these columns, made once and kept."""
    key = tuple(columns)
    found = _KNOWN.get(key)
    if found is not None:
        return found
    if len(_KNOWN) >= _KEPT:
        _KNOWN.clear()
    members: dict[str, object] = {"__slots__": (), "__module__": __name__, "__doc__": Row.__doc__}
    for position, name in enumerate(key):
        if name not in members and name not in _OURS and not (name.startswith("__") and name.endswith("__")):
            members[name] = property(itemgetter(position))
    members["_fields"] = key
    made = _KNOWN[key] = type("Row", (Row,), members)
    return made


def _rebuild(columns: tuple[str, ...], values: tuple[object, ...]) -> Row:
    return row_class(columns)(values)


def unique_names(columns: Sequence[str], what: str) -> list[str]:
    """
    Return the columns as a list.

    Raises:
        ArgumentError: two columns have one name, so that a value would get lost.
    """
    if len(set(columns)) != len(columns):
        twice = sorted({name for name in columns if list(columns).count(name) > 1})
        raise ArgumentError(f"columns named twice cannot make a {what}: {', '.join(twice)}; name them apart with AS")
    return list(columns)
