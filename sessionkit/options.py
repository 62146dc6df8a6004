"""What an option may be (a number, seconds, an isolation level, something to call), and the ArgumentError that says so."""

from __future__ import annotations

from .errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


ISOLATION_LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
"""The SQL standard's levels, weakest first: one spelling for all databases."""


def whole(name: str, value: int, least: int = 1) -> int:
    """Return a whole number of at least `least`, as it was given."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(f"{name} is a whole number of at least {least}, got {value!r}")
    return value


def seconds(name: str, value: float) -> float:
    """Return a number of seconds as it was given: 0 or more, and `inf` for ever."""
    if not (_is_number(value) and value >= 0):
        raise ArgumentError(f"{name} is a number of seconds, 0 or more; got {value!r}")
    return value


def seconds_or_never(name: str, value: float | None) -> float | None:
    """Return a number of seconds as it was given, 0 or more, or None, which means never."""
    if value is not None and not (_is_number(value) and value >= 0):
        raise ArgumentError(f"{name} is a number of seconds, 0 or more, or None for never; got {value!r}")
    return value


def limit(name: str, value: float | None) -> float | None:
    """Return the seconds that something may take, as they were given: above 0, or None for no limit."""
    if value is not None and not (_is_number(value) and 0 < value < float("inf")):
        raise ArgumentError(f"{name} is a number of seconds above 0, or None; got {value!r}")
    return value


def function(name: str, value: F) -> F:
    """Return something to call, as it was given."""
    if not callable(value):
        raise ArgumentError(f"{name} is something to call, got {type(value).__name__}")
    return value


def switch(name: str, value: bool | str) -> bool:
    """Return a switch as a bool; in a URL it is written on or off, true or false, yes or no, 1 or 0."""
    word = str(value).lower()
    if word in ("on", "true", "yes", "1"):
        return True
    if word not in ("off", "false", "no", "0"):
        raise ArgumentError(f"{name} is on or off, got {value!r}")
    return False


def spelled(isolation_level: str | None) -> str | None:
    """
    Return an isolation level in the standard's spelling; case, `_` and `-` do not matter.

    Raises:
        ArgumentError: the standard has no such level; the text lists those there are.
    """
    if isolation_level is None:
        return None
    words = " ".join(str(isolation_level).upper().replace("_", " ").replace("-", " ").split())
    if words not in ISOLATION_LEVELS:
        hint = "; for statements outside a transaction use engine.execute()" if words == "AUTOCOMMIT" else ""
        raise ArgumentError(f"unknown isolation level {isolation_level!r} (known: {', '.join(ISOLATION_LEVELS)}){hint}")
    return words


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
