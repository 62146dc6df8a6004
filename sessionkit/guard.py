"""One call at a time: two threads inside one session are detected, never interleaved."""

from __future__ import annotations

import sys
import threading
from _thread import get_ident

from .errors import ConcurrentUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Guard(dict[int, int]):
    """
    A mark of which thread is inside; a second thread is refused, the same thread may come in again (hooks).

    The mark is its one entry, set by `setdefault`, which is atomic. A mark that an interrupt left behind is
    recognised: its thread is no longer inside. Hot paths say what `with` says: `setdefault`, `contest`, `pop`.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        me = get_ident()
        if self.setdefault(0, me) != me:
            self.contest(me)

    def __exit__(self, *exc: object) -> None:
        self.pop(0, None)

    def contest(self, me: int) -> None:
        """Take over a mark that was left behind, or raise ConcurrentUseError."""
        owner = self.get(0, me)
        if not self._is_inside(owner):
            self[0] = me
            return
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        raise ConcurrentUseError(
            f"thread {names.get(me, me)} called a session that thread {names.get(owner, owner)} is using at this moment; "
            "give each thread a session of its own, or hand one over when no call is running (this call changed nothing)"
        )

    def _is_inside(self, thread: int) -> bool:
        frame: Any = sys._current_frames().get(thread)
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("sessionkit.") and _guard_of(frame) is self:
                return True
            frame = frame.f_back
        return False


def _guard_of(frame: Any) -> object:
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, Guard) else getattr(owner, "_guard", None)
