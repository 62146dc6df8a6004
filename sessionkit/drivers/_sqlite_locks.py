"""Waiting for SQLite's locks from Python: asked for again and again, so that signals and other threads get through."""

from __future__ import annotations

import time
from functools import cache
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BUSY = (5, 261, 773, 6)
"""SQLITE_BUSY, _BUSY_RECOVERY, _BUSY_TIMEOUT, SQLITE_LOCKED; a snapshot that is too old (517) is no lock."""
POLLING = 0.01
"""Seconds that SQLite itself waits for a lock, each time that it is asked."""


def patience(conn: Any) -> float:
    """Return the seconds that a connection waits for a lock; 0 for a given one, whose own timeout holds."""
    return getattr(conn, "sessionkit_patience", 0.0)


def again(conn: Any, exc: Exception, call: Callable[..., Any], *arguments: Any) -> Any:
    """
    Do again what met a lock, every millisecond or so, until the connection's patience is over; another error is raised.

    SQLite itself asks with growing pauses, so that who waits longest is asked least, and in C, where no Ctrl-C gets through.
    Where it does not wait at all, waiting would be in vain: two transactions have read, and each is in the way of the other.
    """
    began = monotonic()
    while getattr(exc, "sqlite_errorcode", 0) in _BUSY and monotonic() < began + patience(conn):
        time.sleep(0.001)
        started = monotonic()
        try:
            return call(*arguments)
        except Exception as failed:
            exc = failed
        if conn.in_transaction and monotonic() - started < POLLING / 3:
            break
    try:
        raise exc
    finally:
        del exc  # no frame keeps what is raised through it


@cache
def patient(factory: Any) -> Any:
    """Return a class of connections that can have an attribute."""
    from sqlite3 import Connection

    return type("Connection", (factory or Connection,), {"__module__": "sqlite3"})
