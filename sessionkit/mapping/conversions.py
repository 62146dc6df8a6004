"""From what a driver brings to what an annotation asks for: a reader for each annotation, found once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .json import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Convert = Callable[[Any], Any]

FAILURES = (ValueError, TypeError, KeyError, ArithmeticError, AttributeError)
"""What conversions raise when a value does not fit."""
PARSED = "JSON"  # what a driver's table of columns calls a value that was JSON and is parsed


class Reader(NamedTuple):
    """
    How the values of one column become what an annotation says.

    `convert` takes any value but None, and raises one of FAILURES. Ahead of it: values whose type is `same` stay as they are, and
    those whose type is `quick[0]` become `quick[1](value)`, or else go through `convert`.
    """

    wanted: str
    convert: Convert
    same: type | None = None
    quick: tuple[type, Convert] | None = None

    def __call__(self, value: Any) -> Any:
        """Return the value as it is wanted; None stays None."""
        return value if value is None or type(value) is self.same else self.convert(value)


def reader(annotation: Any, brings: str | None, own: Mapping[type, Any]) -> Reader | None:
    """
    Return how a column's values become what `annotation` says, None when nothing is to be done.

    `brings` is the type that the driver surely brings there, as its table has it; None: nobody knows.
    """
    annotation = bare(annotation)
    if annotation is Any or annotation is object:
        return None
    if not isinstance(annotation, type) or hasattr(annotation, "__origin__"):
        return _container(annotation, brings, own)
    if annotation in own:
        return _own(annotation, own[annotation][1])
    name = f"{annotation.__module__}.{annotation.__qualname__}"
    if name in _SIMPLE:
        if brings == annotation.__name__ or (brings is None and name in _NATURAL):
            return None
        return _simple(annotation, name)
    names = [f"{base.__module__}.{base.__qualname__}" for base in annotation.__mro__]
    if "enum.Enum" in names:
        return _enum(annotation, own)
    found = _container(annotation, brings, own)
    if found is not None or getattr(annotation, "_is_protocol", False):
        return found
    return Reader(annotation.__name__, lambda value: _instance(annotation, value))


def is_column(target: Any, own: Mapping[type, Any]) -> bool:
    """Tell whether a target stands for one column's value: `int`, `Decimal`, an Enum, one of the program's own types."""
    if not isinstance(target, type):
        return False
    names = [f"{base.__module__}.{base.__qualname__}" for base in target.__mro__]
    return target in own or names[0] in _SIMPLE or "enum.Enum" in names or target is Json


def bare(annotation: Any) -> Any:
    """Return an annotation without what says nothing of the type: `T | None`, Annotated, NewType, Final."""
    from types import NoneType, UnionType
    from typing import Annotated, Final, NotRequired, Required, Union, get_args, get_origin

    while True:
        origin = get_origin(annotation)
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif origin in (Annotated, Final, Required, NotRequired):
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            parts = [part for part in get_args(annotation) if part is not NoneType]
            if len(parts) != 1:
                return Any
            annotation = parts[0]
        else:
            return annotation


# -- one value


def _bool(value: Any) -> bool:
    if isinstance(value, bytes) and value in (b"\0", b"\1"):  # MySQL's BIT(1)
        return value == b"\1"
    if value != 0 and value != 1:
        raise ValueError
    return bool(value)


def _int(value: Any) -> int:
    if isinstance(value, str) or int(value) != value:
        raise ValueError
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, (str, bool)):
        raise ValueError
    return float(value)


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    if type(value).__name__ == "UUID":
        return str(value)
    raise ValueError


def _bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise ValueError


def _decimal(value: Any) -> Any:
    from decimal import Decimal

    if isinstance(value, bool):
        raise ValueError
    return value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)


def _datetime(value: Any) -> Any:
    from datetime import datetime

    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _date(value: Any) -> Any:
    from datetime import date, datetime, time

    if isinstance(value, str):
        value = date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.timetz() != time():
            raise ValueError
        return value.date()
    return _instance(date, value)


def _time(value: Any) -> Any:
    from datetime import datetime, time, timedelta

    if isinstance(value, timedelta):  # MySQL's TIME
        if not timedelta() <= value < timedelta(1):
            raise ValueError
        return (datetime.min + value).time()
    return value if isinstance(value, time) else time.fromisoformat(value)


def _timedelta(value: Any) -> Any:
    from datetime import timedelta

    if isinstance(value, timedelta):
        return value
    if type(value) is not int:
        raise TypeError
    return timedelta(0, 0, value)


def _uuid(value: Any) -> Any:
    from uuid import UUID

    return (
        UUID(bytes=value)
        if isinstance(value, bytes)
        else UUID(value)
        if isinstance(value, str)
        else _instance(UUID, value)
    )


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


_NATURAL = ("builtins.int", "builtins.str", "builtins.bytes")
"""Types that a driver of which nothing is known brings as they are."""
_SIMPLE: dict[
    str, tuple[Convert, type | None]
] = {  # the function for anything, and the type for which the kind's own parser is right
    "builtins.bool": (_bool, int),
    "builtins.int": (_int, None),
    "builtins.float": (_float, None),
    "builtins.str": (_str, None),
    "builtins.bytes": (_bytes, None),
    "decimal.Decimal": (_decimal, str),
    "datetime.datetime": (_datetime, str),
    "datetime.date": (_date, str),
    "datetime.time": (_time, str),
    "datetime.timedelta": (_timedelta, None),
    "uuid.UUID": (_uuid, str),
}
_FLAGS = {0: False, 1: True}


def _simple(annotation: Any, name: str) -> Reader:
    convert, parsed = _SIMPLE[name]
    quick: tuple[type, Convert] | None
    if parsed is None:
        quick = None
    elif annotation is bool:
        quick = (int, _FLAGS.__getitem__)
    else:
        quick = (parsed, getattr(annotation, "fromisoformat", annotation))
    return Reader(annotation.__name__, convert, annotation, quick)


def _own(annotation: type, from_database: Convert) -> Reader:
    return Reader(
        annotation.__name__, lambda value: value if isinstance(value, annotation) else from_database(value), annotation
    )


def _enum(annotation: Any, own: Mapping[type, Any]) -> Reader:
    values = [member.value for member in annotation]
    kinds = set(map(type, values))
    inner = reader(kinds.pop(), "", own) if len(kinds) == 1 else None

    def convert(value: Any) -> Any:
        """Find the member by its value, or by what the value becomes."""
        try:
            return annotation(value)
        except ValueError:
            if inner is None:
                raise
            return annotation(inner.convert(value))

    quick = None
    if values and type(values[0]) in (str, int):
        quick = (type(values[0]), annotation._value2member_map_.__getitem__)
    return Reader(annotation.__name__, convert, annotation, quick)


# -- JSON


def _container(annotation: Any, brings: str | None, own: Mapping[type, Any]) -> Reader | None:
    """Return how JSON text, or an array, becomes the dict, list, tuple, TypedDict, dataclass or Json that is asked for."""
    from typing import get_args, get_origin

    if (get_origin(annotation) or annotation) is Json:
        inner = nested((get_args(annotation) or (Any,))[0], own)

        def convert(value: Any) -> Any:
            """Wrap what the JSON says."""
            if isinstance(value, Json):
                return value
            found = value if brings == PARSED else _loaded(value)
            return Json(found if inner is None or found is None else inner(found))

        return Reader("Json", convert)
    made = _structure(annotation, own)
    if made is None:
        return None
    name = getattr(annotation, "__name__", str(annotation))
    return Reader(
        name, lambda value: made(_loaded(value) if isinstance(value, (str, bytes)) and brings != PARSED else value)
    )


def _loaded(text: Any) -> Any:
    from json import loads

    return loads(text)


def nested(annotation: Any, own: Mapping[type, Any]) -> Convert | None:
    """Return what makes of a part of JSON what its annotation says, None when nothing is to be done."""
    made = _structure(annotation, own)
    if made is not None:
        return made
    found = reader(annotation, None, own)
    return None if found is None else found.__call__


def _structure(annotation: Any, own: Mapping[type, Any]) -> Convert | None:
    """Return what makes a dict, list, tuple, TypedDict or dataclass of parsed JSON; None for any other annotation."""
    from typing import get_args, get_origin, is_typeddict

    annotation = bare(annotation)
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if not isinstance(origin, type):
        return None
    if is_typeddict(origin) or hasattr(origin, "__dataclass_fields__"):
        return _record(origin, own)
    if origin.__module__ == "collections.abc":
        origin = dict if "Mapping" in origin.__name__ else list if "Sequence" in origin.__name__ else origin
    if origin is dict:
        return _dict(arguments, own)
    return _list(origin, arguments, own) if origin in (list, tuple) else None


def _dict(arguments: tuple[Any, ...], own: Mapping[type, Any]) -> Convert:
    key, part = (nested(argument, own) or _same for argument in arguments or (Any, Any))
    if key is _same and part is _same:
        return lambda value: _instance(dict, value)
    return lambda value: {
        key(name): None if found is None else part(found) for name, found in _instance(dict, value).items()
    }


def _list(origin: type, arguments: tuple[Any, ...], own: Mapping[type, Any]) -> Convert:
    if origin is tuple and arguments and arguments[-1] is not ...:
        parts = [nested(argument, own) or _same for argument in arguments]
        return lambda value: tuple([_none_or(part, found) for part, found in zip(parts, value, strict=True)])
    part = nested(arguments[0], own) if arguments else None

    def convert(value: Any) -> Any:
        """Make a list or tuple of a list."""
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return origin(value if part is None else [_none_or(part, found) for found in value])

    return convert


def _record(kind: Any, own: Mapping[type, Any]) -> Convert:
    """A TypedDict's or dataclass's parts; a name that it does not have is an error."""
    parts: dict[str, Convert] = {}

    def convert(value: Any) -> Any:
        """Make it of an object of JSON."""
        if hasattr(kind, "__dataclass_fields__") and isinstance(value, kind):
            return value
        if not parts:  # found late: the class may contain itself
            parts.update({name: nested(annotation, own) or _same for name, annotation in hints(kind).items()})
        return kind(**{name: _none_or(parts[name], found) for name, found in _instance(dict, value).items()})

    return convert


def _none_or(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _same(value: Any) -> Any:
    return value


def hints(kind: Any) -> dict[str, Any]:
    """
    Return the annotations of a class's fields, resolved.

    Raises:
        NameError: one names something that cannot be found at run time.
    """
    from typing import get_type_hints

    return get_type_hints(kind, include_extras=True)
