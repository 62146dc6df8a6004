"""Places: in the pool, which are the leases of those who borrowed them; in its queue; and the text that describes each."""

from __future__ import annotations

import threading
from _thread import _count, allocate_lock, get_ident
from sys import _getframe, getrefcount

from ..errors import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType
    from typing import Any

    from .._typing import Holder


_ROOT = __name__.partition(".")[0]
OURS = frozenset(
    [_ROOT, *(f"{_ROOT}.{room}" for room in ("session", "retry", "pool", "sql", "mapping", "drivers", "aio"))]
)
"""The packages whose code is never the borrower."""
NOBODY: Holder = (0, None, 0)
"""The holder of a lease that was borrowed without naming one."""
EMPTY = -1
"""The generation of a slot without a connection, which no pool ever has: so that one look tells both."""


class Slot:
    """
    A place in the pool, and the lease of its borrower.

    `conn` is the connection, or None when there is none (any more). `statement` is the borrower's last SQL and
    `in_transaction` whether it has begun: which the text for a caller that waits in vain shows. `is_marked` and `is_raw` it sets
    when the next borrower must not get the connection as it is.
    """

    __slots__ = (
        "__weakref__", "at", "code", "conn", "expires", "generation", "holder", "in_transaction", "is_marked", "is_raw", "poll",
        "pool", "since", "statement", "thread", "warned",
    )  # fmt: skip

    def __init__(self, pool: object) -> None:
        self.pool: object | None = pool  # None: it belongs to a parent process, or is no longer counted
        self.conn: Any = None
        self.generation = EMPTY
        self.expires = 0.0
        self.since = 0.0  # lent or returned at, monotonic
        self.poll: Callable[[int], Any] | None = None
        self.holder: Holder | None = None  # None when not lent
        self.thread = 0
        self.code: CodeType | None = None  # where it was borrowed: code and instruction
        self.at = 0
        self.statement: str | None = None
        self.in_transaction = False
        self.is_marked = False  # something may be left on the connection
        self.is_raw = False  # nobody knows what is left, as where a program had the connection itself
        self.warned = False  # that it is held for long


class LeaseInfo:
    """
    What is known of a lease: `age` in seconds, `thread`, `place` (file:line), `statement`, `in_transaction`.

    `host` is the server that its connection leads to (`name:port`), where there are several; else None.
    """

    __slots__ = ("age", "host", "in_transaction", "place", "statement", "thread", "waiting")

    def __init__(
        self, slot: Slot, now: float, waiting: Sequence[int] = (), where: Callable[[Any], str | None] | None = None
    ) -> None:
        conn = slot.conn  # its borrower may give it back meanwhile
        self.host = None if where is None or conn is None else where(conn)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        self.age = now - slot.since
        self.thread = names.get(slot.thread, f"ended thread {slot.thread}")
        self.place = place(slot.code, slot.at)
        statement = slot.statement
        self.statement = shorten(statement, 40) if statement else None
        self.in_transaction = slot.in_transaction
        self.waiting = slot.thread in waiting

    def __str__(self) -> str:
        statement = f', "{self.statement}"' if self.statement else ""
        state = ", in transaction" if self.in_transaction else ""
        host = f", on {self.host}" if self.host else ""
        return f"{self.age:.1f} s, thread {self.thread}, {self.place}{host}{statement}{state}" + (
            ", itself waiting" if self.waiting else ""
        )

    def __repr__(self) -> str:
        return f"<LeaseInfo: {self}>"


class Bell:
    """In place of a waiter's lock for one that has no thread to wait in: it wakes an event loop when it is released."""

    __slots__ = ("_lock", "_wake", "acquire")

    def __init__(self, wake: Callable[[], object]) -> None:
        self._lock = allocate_lock()
        self._wake = wake
        self.acquire = self._lock.acquire

    def release(self) -> None:
        """Wake it; where the loop is closed, the slot dies with its waiter, and is made anew."""
        self._lock.release()
        try:
            self._wake()
        except RuntimeError:
            pass

    def again(self) -> Bell:
        """Return another one that wakes the same."""
        return Bell(self._wake)


class Waiter:
    """Who stands in the queue: a lock that is released to wake it, and a claim that only one side can win."""

    __slots__ = ("__weakref__", "claim", "lock", "slot", "thread")

    def __init__(self, bell: Bell | None = None) -> None:
        self.lock: Any = bell or allocate_lock()
        self.lock.acquire()
        self.claim = [True]
        self.slot: Slot | None = None
        self.thread = get_ident() if bell is None else 0

    def again(self) -> Waiter:
        """Return another one in its place."""
        return Waiter(self.lock.again() if isinstance(self.lock, Bell) else None)

    def taken(self) -> Slot:
        """Return what was handed over, once."""
        slot, self.slot = self.slot, None
        assert slot is not None  # set before the lock was released
        return slot


def timeout_text(limit: float, size: int, lent: Sequence[LeaseInfo], connect_error: str | None) -> str:
    """Return what a caller that waited in vain is shown: who holds the connections, or why none could be made."""
    text = f"no connection within {limit:g} s ({len(lent)} of {size} lent"
    text += f"; oldest: {'; '.join(map(str, lent))})" if lent else ")"
    if connect_error:
        text += f"; the last attempt to connect failed: {connect_error}"
    return text


def place(code: CodeType | None, instruction: int) -> str:
    """Return file:line of an instruction; the line is looked up only now, because noting it would cost more."""
    if code is None:
        return "unknown"
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"


def caller(frame: FrameType) -> FrameType:
    """Return the innermost frame outside this package, from `frame` upward."""
    while frame.f_globals.get("__package__") in OURS and frame.f_back is not None:
        frame = frame.f_back
    return frame


def holds_all(frame: FrameType, lent: Sequence[Slot]) -> bool:
    """
    Tell whether every lease is of a session that was lent on this thread and is a local variable somewhere on this stack.

    Then only this thread can give one back, which waits, unless a session was handed to another thread meanwhile. The code that
    borrowed may have returned long ago, in layered code, so it is not asked.
    """
    me = get_ident()
    holders = {(slot.holder or NOBODY)[0] for slot in lent if slot.thread == me}  # one look: it may be given back
    if len(holders) < len(lent):
        return False
    above: FrameType | None = frame
    while above is not None and holders:
        holders -= _found_among_locals(above, holders)
        above = above.f_back
    return not holders


def _found_among_locals(frame: FrameType, wanted: set[int]) -> set[int]:
    """Return which of these objects, by their `id()`, are values of local variables."""
    values = frame.f_locals
    found = {id(value) for value in list(values.values())} & wanted
    is_copy = isinstance(values, dict) and frame.f_code.co_flags & _OPTIMIZED
    if (
        is_copy and getrefcount(values) == _OURS_ALONE
    ):  # before Python 3.13: it keeps its values alive as long as its frame
        values.clear()
    return found


_OPTIMIZED = 1
"""CO_OPTIMIZED: a function's code, whose variables are not those of a dict."""


def _count_own() -> int:
    values = _getframe().f_locals
    return getrefcount(values)


_OURS_ALONE = _count_own()
"""The references to a frame's copy of its variables that nobody has asked for but this module."""


def is_alone() -> bool:
    """Tell whether this process has one thread only; greenlets (gevent has put its own in the place of threads) count as many."""
    return not _count() and isinstance(get_ident, type(len))
