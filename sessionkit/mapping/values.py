"""Values on their way in: what a program gives, as the driver takes it."""

from __future__ import annotations

from operator import countOf

from ..errors import ArgumentError, DataError, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Way = Callable[[Any], Any]
    """Makes a value for the driver out of the program's."""
    Own = Mapping[type, tuple[Way, Way]]
    """A program's own types: how each goes to the database, and how it comes back."""


class BadValue(ValueError):
    """A value that no database, or not this one, can hold; the text says what to do."""


class Values:
    """
    How values travel between a program and one database. Thread-safe; an engine has one.

    `adapters` is the driver's table (see `Driver.adapters`): from a type, or its name with its module, to a function that
    makes what the driver takes, None where the driver takes it as it is. A type that is not there is looked up by its
    bases, and what no base says goes to the driver as it is. `own` holds the program's types, and wins.
    """

    __slots__ = ("_adapters", "_plain", "_ways", "own", "plans")

    def __init__(self, adapters: Mapping[Any, Way | None], own: Own | None = None) -> None:
        self.own = _checked(own or {})
        self._adapters = adapters
        self._ways: dict[type, Way | None] = {}
        self._plain: frozenset[type] = frozenset()
        self.plans: dict[Any, Any] = {}
        """What was found out about classes and columns: a cache of the rooms that make rows."""
        for kind in (bool, int, str, bytes, type(None), float):
            self._way(kind)

    # -- in

    def adapt(self, bound: Any, statement: str) -> Any:
        """
        Return the parameters of one statement (a sequence, or a mapping for drivers that want one) as the driver takes them.

        Raises:
            DataError: a value cannot be stored faithfully; nothing was sent.
        """
        if type(bound) is dict:
            if self._plain.issuperset(map(type, bound.values())):
                return bound
            return dict(zip(bound, self._row(list(bound.values()), statement), strict=True))
        if self._plain.issuperset(map(type, bound)):
            return bound
        return self._row(bound, statement)

    def adapt_many(self, rows: list[Any], statement: str) -> list[Any]:
        """Return many rows of parameters as the driver takes them; errors as with `adapt`, and which row it was."""
        plain = self._plain
        if rows[0] is None or type(rows[0]) is dict:
            return [row and self.adapt(row, statement) for row in rows]
        try:
            return [row if plain.issuperset(map(type, row)) else self._row(row, statement) for row in rows]
        except DataError:
            for number, row in enumerate(rows):
                try:
                    self.adapt(row, statement)
                except DataError as exc:
                    exc.args = (f"row {number} (counted from 0): {exc}",)
                    raise
            raise

    def column(self, column: Sequence[Any]) -> Sequence[Any]:
        """Return the values of one column as the driver takes them, itself if they are so; ValueError when one cannot be."""
        kind = type(column[0])
        if countOf(map(type, column), kind) == len(column):
            return self._column_of(column, self._way(kind))
        ways = {kind: self._way(kind) for kind in set(map(type, column))}
        if not any(ways.values()):
            return column
        return [value if (way := ways[type(value)]) is None else way(value) for value in column]

    def _column_of(self, column: Sequence[Any], way: Way | None) -> Sequence[Any]:
        """Do one thing to all values of a column."""
        if way is None:
            return column
        is_well = getattr(way, "is_well", None)
        if is_well is not None and all(map(is_well, column)):
            return column
        return list(map(way, column))

    def _row(self, row: Sequence[Any], statement: str) -> tuple[Any, ...]:
        try:
            return tuple([way(value) if (way := self._way(type(value))) is not None else value for value in row])
        except (BadValue, DataError) as exc:
            failed = exc
        for number, value in enumerate(row, 1):
            try:
                self.one(value)
            except (BadValue, DataError) as exc:
                text = f'{exc} (parameter {number} of "{shorten(statement)}")'
                raise DataError(text, statement=statement, orig=exc) from None
        raise failed

    def one(self, value: Any) -> Any:
        """Return a single value as the driver takes it; BadValue when it cannot be."""
        way = self._way(type(value))
        return value if way is None else way(value)

    def _way(self, kind: type) -> Way | None:
        """Return what is done to values of a type: found by the type, then by its bases, and remembered."""
        try:
            return self._ways[kind]
        except KeyError:
            pass
        way = self._found(kind)
        if len(self._ways) < 4096:  # programs that make types without end are not remembered without end
            self._ways[kind] = way
            if way is None:
                self._plain |= {kind}
        return way

    def _found(self, kind: type) -> Way | None:
        if kind in self.own:
            return self._then(self.own[kind][0])
        names = [_name(base) for base in kind.__mro__]
        for base in kind.__mro__[1:]:
            if base in self.own:
                return self._then(self.own[base][0])
        if "enum.Enum" in names:
            return lambda value: self.one(value.value)
        if kind.__module__.partition(".")[0] == "numpy" and hasattr(kind, "item"):
            return self._numpy
        for base, name in zip(kind.__mro__, names, strict=True):
            for key in (base, name):
                if key in self._adapters:
                    return self._nested(self._adapters[key])
        return None

    def _then(self, way: Way) -> Way:
        """What a program's own function made is a value like others."""

        def both(value: Any) -> Any:
            """Do both."""
            made = way(value)
            return made if type(made) is type(value) else self.one(made)

        return both

    def _nested(self, way: Way | None) -> Way | None:
        """A list that goes to the driver as a list has its items adapted."""
        if way is not items:
            return way
        return lambda value: [self.one(item) for item in value]

    def _numpy(self, value: Any) -> Any:
        """numpy's scalars by their own `item()`; it is not imported here."""
        if getattr(value, "ndim", 0):
            raise BadValue("a numpy array is no value of a database; give value.tolist()")
        made = value.item()
        if type(made) is type(value) or (
            getattr(value, "dtype", None) is not None and value.dtype.kind in "mM" and type(made) is int
        ):
            raise BadValue(
                f"a numpy {value.dtype} has no exact form in Python; convert it, to microseconds for example"
            )
        return self.one(made)


def items(value: Any) -> Any:
    """Stands in a driver's table for: a list, whose items are adapted one by one."""
    return value


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _checked(own: Any) -> Own:
    """
    Return a program's own types.

    Raises:
        ArgumentError: it is no mapping of types to two functions each.
    """
    try:
        for kind, pair in own.items():
            to_database, from_database = pair
            if not (isinstance(kind, type) and callable(to_database) and callable(from_database)):
                raise TypeError
    except (AttributeError, TypeError, ValueError):
        raise ArgumentError(
            "values= is a mapping from a type to two functions: values={Money: (to_database, from_database)}"
        ) from None
    return own  # type: ignore[no-any-return]
