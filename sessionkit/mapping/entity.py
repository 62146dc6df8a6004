"""Which table and key a class stands for, and its four statements."""

from __future__ import annotations

import re
from operator import itemgetter

from ..errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    C = TypeVar("C", bound=type)

_ATTRIBUTE = "__sessionkit_entity__"
_PART = r'(?:[^\W\d][\w$]*|"[^"]+"|`[^`]+`)'
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_ATOMS = frozenset(
    [
        "NoneType",
        "bool",
        "int",
        "float",
        "complex",
        "str",
        "bytes",
        "date",
        "datetime",
        "time",
        "timedelta",
        "Decimal",
        "UUID",
        "Fraction",
    ]
)


def entity(
    table: str, *, key: str | Sequence[str], bind: str | None = None, version: str | None = None
) -> Callable[[C], C]:
    """
    Declare that a dataclass stands for a table: `@entity("item", key="id")` above `@dataclass`.

    `key` names the primary key's field, or a sequence of fields. `bind` is the database's name in the
    registry. `version` names an integer field for optimistic locking: each update adds one to it, and an
    update or delete of a row that somebody else has changed raises StaleObjectError. A field's column has
    the field's name, or that of its metadata: `field(metadata={"column": "unitPrice"})`.

    Raises:
        ArgumentError: the class is no dataclass, or a name is not a field of it.
    """

    def declare(cls: C) -> C:
        setattr(cls, _ATTRIBUTE, Entity(cls, table, (key,) if isinstance(key, str) else tuple(key), bind, version))
        return cls

    return declare


class Entity:
    """What `@entity` knows of a class: table, columns, key, version; and the SQL that follows from them."""

    __slots__ = (
        "_selects", "_statements", "bind", "cls", "columns", "fields", "key", "key_row", "make_positional", "table", "version",
        "version_at",
    )  # fmt: skip

    def __init__(self, cls: type, table: str, key: tuple[str, ...], bind: str | None, version: str | None) -> None:
        fields = _fields(cls)
        self.cls = cls
        self.table = _checked(table, f"@entity of {cls.__name__}: table")
        self.fields = tuple(field.name for field in fields)
        self.columns = tuple(
            _checked(field.metadata.get("column", field.name), f"column of {cls.__name__}.{field.name}")
            for field in fields
        )
        self.key = key
        self.bind = bind
        self.version = version
        for name in (*key, *([version] if version else [])):
            if name not in self.fields:
                raise ArgumentError(
                    f"@entity of {cls.__name__}: {name!r} is not one of its fields ({', '.join(self.fields)})"
                )
        if not key:
            raise ArgumentError(f"@entity of {cls.__name__}: the key names no field")
        positions = [self.fields.index(name) for name in key]
        self.key_row: Callable[[Any], Any] = itemgetter(*positions)
        self.version_at = self.fields.index(version) if version else -1
        self.make_positional = all(field.init and not field.kw_only for field in fields)
        self._selects: dict[tuple[str, str], str] = {}
        self._statements: dict[tuple[str, str, tuple[str, ...]], str] = {}

    # -- between objects and rows

    def row_of(self, obj: object) -> tuple[Any, ...]:
        """Return the values of an object's fields, in the order of the columns."""
        return tuple([getattr(obj, name) for name in self.fields])

    def key_of(self, obj: object) -> Any:
        """Return an object's key as its attributes have it: a value, or a tuple for a composite key."""
        if len(self.key) == 1:
            return getattr(obj, self.key[0])
        return tuple([getattr(obj, name) for name in self.key])

    def make(self, row: Sequence[Any]) -> Any:
        """Return a new object for a row in the order of the fields."""
        if self.make_positional:
            return self.cls(*row)
        from dataclasses import fields

        taken = {field.name for field in fields(self.cls) if field.init}
        obj = self.cls(**{name: value for name, value in zip(self.fields, row, strict=True) if name in taken})
        for name, value in zip(self.fields, row, strict=True):
            if name not in taken:
                object.__setattr__(obj, name, value)
        return obj

    def set(self, obj: object, name: str, value: object) -> None:
        """Set a field, of a frozen dataclass too."""
        object.__setattr__(obj, name, value)

    def changed(self, obj: object, row: Sequence[Any]) -> list[str]:
        """Return the fields whose value is no longer the row's; mutable values always count as changed."""
        return [name for name, old in zip(self.fields, row, strict=True) if is_changed(old, getattr(obj, name))]

    def order(self, columns: Sequence[str]) -> list[int] | None:
        """
        Return where the fields are among these columns, in the order of the fields; None if they are in order.

        Raises:
            ArgumentError: a column is missing, superfluous or there twice.
        """
        wanted = [unquoted(name) for name in self.columns]
        found = list(columns)
        if found == wanted:
            return None
        lowered = [name.lower() for name in found]
        names = [name.lower() for name in wanted]
        lacking = [name for name in wanted if name.lower() not in lowered]
        surplus = [name for name in found if name.lower() not in names]
        if lacking or surplus or len(found) != len(wanted):
            wrong = [
                f"{what}: {', '.join(which)}"
                for what, which in (("missing", lacking), ("superfluous", surplus))
                if which
            ]
            raise ArgumentError(
                f"a query for {self.cls.__name__} must bring each of its columns once ({'; '.join(wrong) or 'some came twice'}); "
                f"select {', '.join(wanted)}"
            )
        order = [lowered.index(name) for name in names]
        return None if order == list(range(len(order))) else order

    # -- the four statements; parameters are named k0, k1 … for the key and v0, v1 … for the fields

    def select(self, quote: str, suffix: str = "") -> str:
        """Return the SELECT of one row by its key, whose values are parameters by position."""
        found = self._selects.get((quote, suffix))
        if found is None:
            where = " AND ".join(f"{self._column(quote, name)} = ?" for name in self.key)
            found = f"SELECT {self._list(quote, self.fields)} FROM {quoted(self.table, quote)} WHERE {where}{suffix}"
            self._selects[quote, suffix] = found
        return found

    def insert(self, quote: str, names: tuple[str, ...], returning: bool, by_position: bool = False) -> str:
        """Return the INSERT of the fields `names`, with RETURNING for the key if asked; `by_position`: with `?` for them."""

        def build() -> str:
            marks = ", ".join("?" if by_position else f":v{self.fields.index(name)}" for name in names)
            table = quoted(self.table, quote)
            text = (
                f"INSERT INTO {table} ({self._list(quote, names)}) VALUES ({marks})"
                if names
                else f"INSERT INTO {table} DEFAULT VALUES"
            )
            return f"{text} RETURNING {self._list(quote, self.key)}" if returning else text

        return self._text("insert", quote, (f"{returning} {by_position}", *names), build)

    def upsert(self, quote: str, names: tuple[str, ...], on: Sequence[str], by_key: bool, with_key: bool) -> str:
        """
        Return the INSERT of the fields `names` that overwrites the row with the same values in `on`; `with_key`: it brings the key.

        `by_key`: with ON CONFLICT and RETURNING, else MySQL's ON DUPLICATE KEY UPDATE, where LAST_INSERT_ID(key) brings it.
        """

        def build() -> str:
            others = [self._column(quote, name) for name in names if name not in on and name not in self.key]
            head = self.insert(quote, names, False)
            if by_key:
                sets = ", ".join(f"{name} = excluded.{name}" for name in others or [self._column(quote, on[0])])
                text = f"{head} ON CONFLICT ({self._list(quote, on)}) DO UPDATE SET {sets}"
                return f"{text} RETURNING {self._list(quote, self.key)}" if with_key else text
            column = self._column(quote, self.key[0])
            sets = ", ".join(f"{name} = VALUES({name})" for name in others)
            brings = f"{column} = LAST_INSERT_ID({column})" if with_key else "" if others else f"{column} = {column}"
            return f"{head} ON DUPLICATE KEY UPDATE {', '.join(filter(None, (sets, brings)))}"

        return self._text("upsert", quote, (f"{by_key} {with_key}", *on, "of", *names), build)

    def key_by(self, quote: str, on: Sequence[str]) -> str:
        """Return the SELECT of the key of the row with the values of the fields `on`."""
        return self._text("key", quote, tuple(on), lambda: (
            f"SELECT {self._list(quote, self.key)} FROM {quoted(self.table, quote)} WHERE "
            + " AND ".join(f"{self._column(quote, name)} = :v{self.fields.index(name)}" for name in on)
        ))  # fmt: skip

    def update(self, quote: str, names: Sequence[str]) -> str:
        """Return the UPDATE of the fields `names` of one row by its key, and by its version if it has one."""
        return self._text("update", quote, tuple(names), lambda: (
            f"UPDATE {quoted(self.table, quote)} SET "
            + ", ".join(f"{self._column(quote, name)} = :v{self.fields.index(name)}" for name in names)
            + f" WHERE {self._where(quote)}{self._and_version(quote)}"
        ))  # fmt: skip

    def delete(self, quote: str) -> str:
        """Return the DELETE of one row by its key, and by its version if it has one."""
        return self._text("delete", quote, (), lambda: (
            f"DELETE FROM {quoted(self.table, quote)} WHERE {self._where(quote)}{self._and_version(quote)}"
        ))  # fmt: skip

    def key_values(self, key: Any) -> tuple[Any, ...]:
        """
        Return a key's values as a tuple.

        Raises:
            ArgumentError: a composite key was not given as a tuple of its length.
        """
        if len(self.key) == 1:
            return (key,)
        if not isinstance(key, tuple) or len(key) != len(self.key):
            raise ArgumentError(
                f"the key of {self.cls.__name__} is a tuple ({', '.join(self.key)}), got {type(key).__name__}"
            )
        return key

    def key_parameters(self, key: Any) -> dict[str, Any]:
        """Return the parameters that stand for a key by name; errors as with `key_values`."""
        return {f"k{number}": part for number, part in enumerate(self.key_values(key))}

    def field_parameters(self, obj: object, names: Iterable[str]) -> dict[str, Any]:
        """Return the parameters that stand for an object's fields."""
        return {f"v{self.fields.index(name)}": getattr(obj, name) for name in names}

    def _text(self, verb: str, quote: str, names: tuple[str, ...], build: Callable[[], str]) -> str:
        key = (verb, quote, names)
        found = self._statements.get(key)
        if found is None:
            found = self._statements[key] = build()
        return found

    def _column(self, quote: str, name: str) -> str:
        return quoted(self.columns[self.fields.index(name)], quote)

    def _list(self, quote: str, names: Iterable[str]) -> str:
        return ", ".join(self._column(quote, name) for name in names)

    def _where(self, quote: str) -> str:
        return " AND ".join(f"{self._column(quote, name)} = :k{number}" for number, name in enumerate(self.key))

    def _and_version(self, quote: str) -> str:
        return f" AND {self._column(quote, self.version)} = :version" if self.version else ""


def entity_of(cls: type) -> Entity:
    """
    Return what `@entity` declared for a class.

    Raises:
        ArgumentError: nothing was declared for the class itself.
    """
    found = declared(cls)
    if found is None:
        name = getattr(cls, "__name__", type(cls).__name__)
        raise ArgumentError(f'{name} is no entity: put @entity("table", key="…") above its @dataclass')
    return found


def declared(cls: object) -> Entity | None:
    """Return what `@entity` declared for this very class (a base class's entity is not it), or None."""
    found = cls.__dict__.get(_ATTRIBUTE) if isinstance(cls, type) else None
    return found if isinstance(found, Entity) else None


def is_changed(old: object, new: object) -> bool:
    """Tell whether a value is to be written: it differs from the old one, or it could have been changed in place."""
    if type(new).__name__ not in _ATOMS and not _is_fixed(new):
        return True
    return not (new is old or (type(new) is type(old) and new == old))


def _is_fixed(value: object) -> bool:
    from enum import Enum

    return isinstance(value, (Enum, str, bytes, int, float)) or (
        isinstance(value, (tuple, frozenset)) and not any(is_changed(item, item) for item in value)
    )


def is_name(name: str) -> bool:
    """Tell whether this is a name as SQL writes it: letters, digits and _, or quoted, with dots between its parts."""
    return _NAME.fullmatch(name) is not None


def quoted(name: str, quote: str) -> str:
    """
    Return a name for SQL: lower-case parts quoted, so that a reserved word is no trouble; others as written.

    A quoted lower-case name means what an unquoted one means on SQLite, PostgreSQL and MySQL alike; upper
    case does not, so write the quotes where you need it.
    """
    return ".".join(
        f"{quote}{part}{quote}" if part[0] not in '"`' and part == part.lower() else part for part in _parts(name)
    )


def unquoted(name: str) -> str:
    """Return the last part of a name without quotes: what a result calls the column."""
    return _parts(name)[-1].strip('"`')


def _parts(name: str) -> list[str]:
    return re.findall(_PART, name)


def _checked(name: str, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(f"{what} is a name (letters, digits, _, quoted otherwise), got {name!r}")
    return name


def _fields(cls: type) -> tuple[Any, ...]:
    from dataclasses import fields, is_dataclass

    if not is_dataclass(cls) or "__dataclass_fields__" not in cls.__dict__:
        raise ArgumentError(f"@entity goes above @dataclass, and {getattr(cls, '__name__', cls)} is no dataclass yet")
    return fields(cls)
