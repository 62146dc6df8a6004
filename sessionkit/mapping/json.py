"""JSON in a column: what is written as JSON, and how."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Json(Generic[T]):
    """
    A value that is stored as JSON, whatever it is: `Json([1, 2])` where a list alone would be an array, `Json("a text")`.

    A dataclass's field `options: Json[dict[str, Decimal]]` holds one: `.value` is the value, of the type in brackets.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]  # the value may change

    def __repr__(self) -> str:
        return f"Json({self.value!r})"


def to_text(value: Any) -> str:
    """
    Return a value as JSON text. Decimal and UUID become strings, dates ISO 8601, an Enum its value, a dataclass an object.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
        TypeError: something has no form in JSON, or a key is no string.
    """
    from json import dumps

    _check_keys(value)
    return dumps(value, default=_part, ensure_ascii=False, allow_nan=False)


def _part(part: Any) -> Any:
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(part).__mro__]
    if isinstance(part, Json):
        return part.value
    if "enum.Enum" in names:
        return part.value
    if hasattr(type(part), "__dataclass_fields__"):
        return {name: getattr(part, name) for name in type(part).__dataclass_fields__}
    if "datetime.datetime" in names or "datetime.date" in names or "datetime.time" in names:
        return part.isoformat()
    if "datetime.timedelta" in names:
        return microseconds(part)
    if "decimal.Decimal" in names or "uuid.UUID" in names:
        return str(part)
    if names[0].startswith("numpy.") and hasattr(part, "item"):
        return part.item()
    raise TypeError(f"a value of type {type(part).__name__} has no form in JSON")


def _check_keys(value: Any) -> None:
    """JSON's keys are strings: 1 and True would come back as others."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key of a JSON object is a string, got {type(key).__name__}")
            _check_keys(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_keys(part)


def microseconds(value: Any) -> int:
    """Return a timedelta as whole microseconds, exactly."""
    return int((value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds)
