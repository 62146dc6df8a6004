"""Every candidate in turn, round after round, and the median of each: what one run can compare."""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 11


def compare(candidates: dict[str, Callable[[], object]], *, calls: int = 2000, per: int = 1) -> dict[str, float]:
    """Return each candidate's median, in microseconds for one of `per` things that a call does."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    gc.collect()
    gc.freeze()  # what the peers' modules hold is no part of what a candidate costs
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            started = perf_counter()
            for _ in range(calls):
                call()
            times[name].append((perf_counter() - started) / calls)
    return {name: median(found) / per * 1e6 for name, found in times.items()}


def table(title: str, found: dict[str, float], yardstick: str | None = None, unit: str = "µs") -> str:
    """Return a case as text: each candidate's figure, and its ratio to the yardstick (the first, if none is named)."""
    base = found[yardstick or next(iter(found))]
    lines = [title]
    for name, took in found.items():
        lines.append(f"  {name:44} {took:10.2f} {unit}  {took / base:7.2f} ×")
    return "\n".join(lines)
