"""Whether a transaction is open in this context, a thread's or a task's: what `run` asks before it starts one of its own."""

from __future__ import annotations

from _contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from weakref import ref

_opened: ContextVar[tuple[ref[Any], ...]] = ContextVar("sessionkit_opened", default=())
"""The sessions' levels that began a transaction in this context and may have it open still; weakly, so that none lives longer."""


def note_begin(stack: ref[Any]) -> None:
    """Remember who has begun here; those whose transaction has ended are forgotten, so that nothing grows."""
    found: tuple[ref[Any], ...] = (stack,)
    for known in _opened.get():
        other = known()
        if other is not None and other.levels:
            found += (known,)
    _opened.set(found)


def is_inside() -> bool:
    """Tell whether a transaction of any session is open that was begun in this context."""
    return any(stack is not None and stack.has_begun for stack in (known() for known in _opened.get()))
