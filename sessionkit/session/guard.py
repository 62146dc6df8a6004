"""One call at a time: two threads inside one session are detected, never interleaved."""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident
from sys import getrefcount

from ..errors import ConcurrentUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_contests = allocate_lock()
_LONG = 1.0
"""Seconds after which a caller takes the lock above for lost: what is done under it takes microseconds."""


class Call(list[int]):
    """A call on a session by a thread: the mark of a `with` block. The block holds it, by the method that will end it."""

    __slots__ = ("_guard",)

    def __init__(self, guard: Guard) -> None:
        super().__init__((get_ident(),))
        self._guard = guard

    def __enter__(self) -> None:
        if self._guard.setdefault(0, self) is not self:
            self._guard.contest(self)

    def __exit__(self, *exc: object) -> None:
        self._guard.leave(self)


class Guard(dict[int, list[int]]):
    """
    A mark of the call that is inside; a second thread's is refused, the same thread may come in again (hooks).

    The mark is the one entry: a list with the thread's number, set by `setdefault`, which is atomic. It is a local variable of the
    call too, so a mark that nobody but this dict refers to was left behind by an interrupt: its call is over, and it may be
    taken over. No other thread's frames are looked at. Hot paths say what `with guard():` says, in these words:

        mark = [get_ident()]
        try:
            if guard.setdefault(0, mark) is not mark:
                guard.contest(mark)
            ...
        finally:
            if guard.get(0) is mark:
                del guard[0]
    """

    __slots__ = ()

    def __call__(self) -> Call:
        """Return the mark of a call, for `with`."""
        return Call(self)

    def leave(self, mark: list[int]) -> None:
        """Take a mark off, if it is the one that is set."""
        if self.get(0) is mark:
            del self[0]

    def contest(self, mark: list[int]) -> None:
        """Come in all the same, in the same thread or over a mark that was left behind, or raise ConcurrentUseError."""
        global _contests
        lock, has_lock = _contests, False
        try:
            has_lock = lock.acquire(timeout=_LONG)
            if not has_lock:  # its holder was interrupted
                _contests = allocate_lock()
            owner = self._settle(mark)
        finally:
            if has_lock:
                lock.release()
        if owner is None:
            return
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        me = mark[0]
        raise ConcurrentUseError(
            f"thread {names.get(me, me)} called a session that thread {names.get(owner, owner)} is using at this moment; "
            "give each thread a session of its own, or hand one over when no call is running (this call changed nothing)"
        )

    def _settle(self, mark: list[int]) -> int | None:
        """Return the thread that is inside, or None when this one is now. No variable here keeps the mark that is set."""
        while True:
            owner = self.setdefault(0, mark)[0]
            if _is_left_behind(self):
                self[0] = mark
            elif owner != mark[0]:
                return owner
            return None


def _is_left_behind(marks: dict[int, Any]) -> bool:
    """
    Tell whether nobody but this dict refers to the mark that is set.

    It must still be there after the counting: a call that ends takes its mark off the dict and keeps it a moment longer, and that
    counts the same. Nobody but its owner takes a mark off, so one that is left behind stays until somebody takes it over.
    """
    mark = marks.get(0)
    try:
        return getrefcount(mark) == _ALONE and marks.get(0) is mark
    finally:
        del mark


def _alone() -> int:
    marks = {0: [0]}
    mark = marks.get(0)
    return getrefcount(mark)


_ALONE = _alone()
