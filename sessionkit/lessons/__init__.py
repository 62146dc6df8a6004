"""
Twelve lessons on transactions, each a program of two or three sessions side by side: `python -m sessionkit learn`.

A lesson is a module: its docstring says what happens, `NOTICE` what to look at, `QUESTION` asks something, and `lesson(stage)`
plays it, checks what it claims, and returns the answer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

NAMES = (
    "l01_commit", "l02_all_or_nothing", "l03_lost_update", "l04_isolation", "l05_deadlock", "l06_savepoints", "l07_identity",
    "l08_pool", "l09_optimistic", "l10_unknown_commit", "l11_write_skew", "l12_two_databases",
)  # fmt: skip


def lesson(number: int) -> ModuleType:
    """Return a lesson by its number, from 1; ArgumentError where there is none."""
    if not 1 <= number <= len(NAMES):
        from ..errors import ArgumentError

        raise ArgumentError(f"there is no lesson {number}; they are 1 to {len(NAMES)}")
    return import_module(f"{__name__}.{NAMES[number - 1]}")


def title(found: Any) -> str:
    """Return a lesson's title: the first line of its docstring, without the full stop."""
    return str(found.__doc__).strip().splitlines()[0].rstrip(".")
