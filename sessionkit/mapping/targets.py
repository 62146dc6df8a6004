"""What a row becomes: a class's object, a dict, one column's value, or whatever a callable makes of it."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, DataError
from .conversions import FAILURES, Reader, hints, is_column, reader
from .entity import declared
from .rows import unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .values import Values

    Make = Callable[[Any], Any]
    Types = tuple[str | None, ...]
    """What the driver surely brings in each column, None where nobody knows."""

_KEPT = 512


def maker(target: Any, columns: Sequence[str], types: Types, values: Values) -> Make:
    """
    Return the function that makes a `target` of one driver's tuple; found once for a target, its columns and their types.

    A dataclass, NamedTuple, TypedDict or attrs class takes the columns that bear its fields' names, each brought to its field's
    annotation; a pydantic model and a msgspec struct are made by their own libraries; a `dict`, `tuple` or `list` holds the row;
    a type such as `int` or `Decimal` stands for the one column; any other callable gets every column as a keyword argument.

    Raises:
        ArgumentError: `target` cannot be called, or a class needs columns that are not there.
    """
    if not isinstance(target, type):  # a function: nothing is to be found out
        return _made(target, columns, types, values)
    key = (target, tuple(columns), types)
    try:
        return values.plans[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    if len(values.plans) >= _KEPT:
        values.plans.clear()
    made = values.plans[key] = _made(target, columns, types, values)
    return made


def _made(target: Any, columns: Sequence[str], types: Types, values: Values) -> Make:
    name = getattr(target, "__name__", type(target).__name__)
    if not callable(target):
        raise ArgumentError(f"query() takes a class or a callable to make of each row, got {type(target).__name__}")
    if target is tuple:
        return tuple
    if target is list:
        return list
    if is_column(target, values.own):
        return _one_column(target, columns, types, values)
    names = unique_names(columns, name)
    if target is dict:
        return lambda row: dict(zip(names, row, strict=True))
    if hasattr(target, "model_validate"):  # pydantic
        validate = getattr(target, "model_validate")  # noqa: B009
        return lambda row: validate(dict(zip(names, row, strict=True)))
    if hasattr(target, "__struct_fields__"):
        return _struct(target, names)
    fields = fields_of(target)
    if fields is None:
        return lambda row: target(**dict(zip(names, row, strict=True)))
    return _record(target, name, names, types, fields, values)


def _one_column(target: Any, columns: Sequence[str], types: Types, values: Values) -> Make:
    if len(columns) != 1:
        raise ArgumentError(
            f"{target.__name__} stands for one column, and the row has {len(columns)}: {', '.join(columns)}"
        )
    found = reader(target, types[0] if types[0] else "", values.own)
    return itemgetter(0) if found is None else row_maker([found], [0], "", [columns[0]], only=True)


def _struct(target: Any, names: list[str]) -> Make:
    from msgspec import convert  # type: ignore[import-not-found, unused-ignore]  # it is there: the struct is made with it

    return lambda row: convert(dict(zip(names, row, strict=True)), target, strict=False, from_attributes=True)


class Field:
    """One field of a class that rows are made of: its name, what the constructor calls it, whether it may be left out, and how."""

    __slots__ = ("argument", "by_name", "name", "needed")

    def __init__(self, name: str, argument: str, needed: bool, by_name: bool) -> None:
        self.name = name
        self.argument = argument
        self.needed = needed
        self.by_name = by_name


def fields_of(target: Any) -> list[Field] | None:
    """Return the fields of a dataclass, NamedTuple, TypedDict or attrs class, None for another callable."""
    from typing import is_typeddict

    if hasattr(target, "__dataclass_fields__"):
        from dataclasses import MISSING, fields

        return [
            Field(f.name, f.name, f.default is MISSING and f.default_factory is MISSING, f.kw_only is True)
            for f in fields(target)
            if f.init
        ]
    if isinstance(target, type) and issubclass(target, tuple) and hasattr(target, "_fields"):
        return [Field(name, name, name not in target._field_defaults, False) for name in target._fields]  # type: ignore[attr-defined]
    attributes = getattr(target, "__attrs_attrs__", None)
    if attributes is not None:
        return [
            Field(f.name, getattr(f, "alias", None) or f.name.lstrip("_"), _has_no_default(f), f.kw_only)
            for f in attributes
            if f.init
        ]
    if is_typeddict(target):
        required: frozenset[str] = getattr(target, "__required_keys__", frozenset())
        return [Field(name, name, name in required, True) for name in hints(target)]
    return None


def _has_no_default(field: Any) -> bool:
    return type(field.default).__name__ in ("_Nothing", "NothingType")


def _record(target: Any, name: str, names: list[str], types: Types, fields: list[Field], values: Values) -> Make:
    known = {field.name for field in fields}
    surplus = [column for column in names if column not in known]
    lacking = [field.name for field in fields if field.needed and field.name not in names]
    if surplus or lacking:
        problems = [f"no field for: {', '.join(surplus)}"] * bool(surplus) + [
            f"no column for: {', '.join(lacking)}"
        ] * bool(lacking)
        raise ArgumentError(f"the row does not fit {name}: {'; '.join(problems)}")
    readers = readers_of(target, name, names, types, values)
    given = [field for field in fields if field.name in names]
    positional = all(not field.by_name for field in given) and given == fields[: len(given)]
    arguments = None if positional else [field.argument for field in given]
    order = [names.index(field.name) for field in given]
    if hasattr(target, "__total__"):  # a TypedDict
        target = dict
    return row_maker([readers[at] for at in order], order, name, [field.name for field in given], target, arguments)


def readers_of(
    target: Any, name: str, columns: Sequence[str], types: Sequence[str | None], values: Values
) -> list[Reader | None]:
    """
    Return how each column becomes what its field's annotation says.

    Raises:
        ArgumentError: an annotation names what cannot be found at run time.
    """
    try:
        known = hints(target)
    except (NameError, TypeError) as exc:
        known = _hints_one_by_one(target, name, columns, exc)
    return [reader(known.get(column, Any), kind, values.own) for column, kind in zip(columns, types, strict=True)]


def _hints_one_by_one(target: Any, name: str, columns: Sequence[str], failed: Exception) -> dict[str, Any]:
    """Only the annotations that matter need be found."""
    import sys

    found: dict[str, Any] = {}
    for cls in reversed(target.__mro__):
        space = {**vars(sys.modules.get(cls.__module__, sys)), cls.__name__: cls}
        for field, annotation in _annotations(cls).items():
            try:
                text = getattr(annotation, "__forward_arg__", annotation)
                found[field] = eval(text, space) if isinstance(text, str) else annotation
            except Exception:
                if field in columns:
                    raise ArgumentError(
                        f"the annotation of {name}.{field} cannot be read ({failed}): import what it names at run time, at the "
                        "top of the module, and not under TYPE_CHECKING or inside a function"
                    ) from failed
    return found


def _annotations(cls: type) -> dict[str, Any]:
    """Return a class's own annotations, those that cannot be evaluated as text or as what stands for them (PEP 649)."""
    import sys

    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(cls, format=Format.FORWARDREF)
    from inspect import get_annotations

    return get_annotations(cls)


def row_maker(
    readers: Sequence[Reader | None],
    order: Sequence[int],
    name: str,
    fields: Sequence[str],
    target: Any = None,
    arguments: Sequence[str] | None = None,
    only: bool = False,
) -> Make:
    """
    Return the function that makes `target` (None: a tuple; `only`: the one value) of a row, each column through its reader.

    It is written as Python source, as dataclasses write their `__init__`: a value that is right already costs a look at its type.

    Raises (the function):
        DataError: a value cannot be brought to what its field wants; class, field and types are named, the value is not.
    """
    if not any(readers) and arguments is None and list(order) == list(range(len(order))):
        return (lambda row: target(*row)) if target is not None else tuple
    space: dict[str, Any] = {"target": target}
    parts = [_expression(found, at, space) for found, at in zip(readers, order, strict=True)]
    if arguments is not None and target is dict:  # its names need not be names to Python
        call = f"{{{', '.join(f'{argument!r}: {part}' for argument, part in zip(arguments, parts, strict=True))}}}"
    elif arguments is not None:
        call = f"target({', '.join(f'{argument}={part}' for argument, part in zip(arguments, parts, strict=True))})"
    elif only:
        call = parts[0]
    else:
        call = f"{'target' if target is not None else ''}({', '.join(parts)}{',' * (target is None)})"

    def slowly(row: Any, failed: Exception) -> Any:
        """Make it again, step by step, so that what does not fit is named."""
        found = [_read(one, row[at], name, field) for one, at, field in zip(readers, order, fields, strict=True)]
        if only:
            return found[0]
        if target is None:
            return tuple(found)
        return target(*found) if arguments is None else target(**dict(zip(arguments, found, strict=True)))

    space["slowly"] = slowly
    space["FAILURES"] = FAILURES
    first = ""
    if arguments is None and target is not None and list(order) == list(range(len(order))):
        looks = [f"type(r[{at}]) is s{at}" for found, at in zip(readers, order, strict=True) if found is not None]
        if all(found is None or (found.same is not None and found.quick is None) for found in readers):
            first = f" if {' and '.join(looks)}: return target(*r)\n"  # right already: nothing is to be read
    exec(f"def make(r):\n{first} try:\n  return {call}\n except FAILURES as exc:\n  return slowly(r, exc)", space)
    return space["make"]  # type: ignore[no-any-return]


def _expression(found: Reader | None, at: int, space: dict[str, Any]) -> str:
    """Return the source that reads one column."""
    if found is None:
        return f"r[{at}]"
    space[f"c{at}"] = found
    text = f"c{at}(v)"
    if found.same is not None:
        space[f"s{at}"] = found.same
        text = f"v if t is s{at} else {text}"
    if found.quick is not None:
        space[f"t{at}"], space[f"q{at}"] = found.quick
        text = f"q{at}(v) if t is t{at} else {text}"
    return f"({text.replace('t is', f'(t := type(v := r[{at}])) is', 1)})" if "t is" in text else f"c{at}(r[{at}])"


def entity_rows(entity: Any, columns: Sequence[str], types: Types, values: Values) -> Make | None:
    """
    Return the function that makes of a row of these columns the values of an entity's fields in their order; None: nothing to do.

    Raises:
        ArgumentError: a column is missing, superfluous or there twice.
    """
    key = (entity, tuple(columns), types)
    try:
        return values.plans[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    order = entity.order(columns)
    at = range(len(columns)) if order is None else order
    cls = entity.cls
    readers = readers_of(cls, cls.__name__, entity.fields, [types[position] for position in at], values)
    made = None if order is None and not any(readers) else row_maker(readers, list(at), cls.__name__, entity.fields)
    if len(values.plans) >= _KEPT:
        values.plans.clear()
    values.plans[key] = made
    return made


def row_of(target: Any, columns: Sequence[str], types: Types, values: Values) -> Make:
    """Return the function that makes a target or an entity of a row, the entity held by nobody; errors as with `maker`."""
    entity = declared(target)
    if entity is None:
        return maker(target, columns, types, values)
    convert, make = entity_rows(entity, columns, types, values), entity.make
    return make if convert is None else lambda row: make(convert(row))


def entity_key(entity: Any, key: Any, values: Values) -> Any:
    """Return a key as an entity's annotations want it, so that one row is one object however its key is written."""
    found = values.plans.get((entity, "key"))
    if found is None:
        readers = readers_of(entity.cls, entity.cls.__name__, entity.key, [None] * len(entity.key), values)
        found = values.plans[entity, "key"] = readers if any(readers) else ()
    if not found or key is None:
        return key
    name = entity.cls.__name__
    if len(found) == 1:
        return _read(found[0], key, name, entity.key[0])
    if not isinstance(key, tuple) or len(key) != len(found):
        return key  # refused where it is used
    return tuple([_read(one, part, name, field) for one, part, field in zip(found, key, entity.key, strict=True)])


def _read(found: Reader | None, value: Any, name: str, field: str) -> Any:
    if found is None or value is None or type(value) is found.same:
        return value
    try:
        return found.convert(value)
    except FAILURES as exc:
        kind = type(value).__name__
        came = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        where = f"{name}.{field}" if name else f"the column {field}"
        raise DataError(f"{where} is {found.wanted}, and the value that came, {came}, cannot become one") from exc
