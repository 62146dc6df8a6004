"""What a client is answered when the database refused or could not be had: a status and words of ours, never the server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import errors
from ..engine import Engine

if TYPE_CHECKING:
    from ..registry import Registry

RETRY_AFTER = {"Retry-After": "1"}


class Answer(NamedTuple):
    """A response: its status, a sentence, and headers."""

    status: int
    error: str
    headers: dict[str, str]


MEANINGS: dict[type[errors.Error], tuple[int, str]] = {
    errors.UniqueViolation: (409, "{column} is taken already"),
    errors.StaleObjectError: (409, "somebody else has changed this meanwhile; read it again"),
    errors.ForeignKeyViolation: (422, "{column} refers to something that is not there, or is referred to"),
    errors.CheckViolation: (422, "a value is not allowed"),
    errors.NotNullViolation: (422, "{column} is missing"),
    errors.PoolTimeoutError: (503, "the server is busy; try again"),
    errors.TooManyConnectionsError: (503, "the server is busy; try again"),
    errors.DisconnectionError: (503, "the database cannot be reached now; try again"),
    errors.DeadlockError: (503, "the server is busy; try again"),
    errors.SerializationError: (503, "the server is busy; try again"),
    errors.LockTimeoutError: (503, "the server is busy; try again"),
}
"""What each error means to a client. Any other is the program's fault: 500."""


def answer_to(exc: BaseException) -> Answer | None:
    """Return what a client is answered because of an error, or None where it is the program's fault (500)."""
    if isinstance(exc, errors.PoolDeadlockError):
        return None
    found = next((MEANINGS[kind] for kind in type(exc).__mro__ if kind in MEANINGS), None)
    if found is None:
        return None
    status, text = found
    column = getattr(exc, "column", None)
    return Answer(status, text.format(column=column or "a value"), RETRY_AFTER if status == 503 else {})


def health(database: Engine | Registry) -> tuple[int, dict[str, Any]]:
    """
    Return a status (200 or 503) and, for each database, its round trip in milliseconds and its pool's figures.

    `{"default": {"ok": true, "ping_ms": 0.4, "pool": {"max": 5, "used": 1, …}}}`
    """
    engines = (
        {"default": database} if isinstance(database, Engine) else {name: database[name] for name in database.names}
    )
    found: dict[str, Any] = {}
    for name, engine in engines.items():
        try:
            found[name] = {"ok": True, "ping_ms": round(engine.ping() * 1000, 3)}
        except errors.Error as exc:
            found[name] = {"ok": False, "error": type(exc).__name__}
        found[name]["pool"] = engine.pool.stats()
    return (200 if all(one["ok"] for one in found.values()) else 503), found
