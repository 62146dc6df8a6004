"""The event loop: what an awaited call costs beside `asyncio.to_thread` around the same call, in one run."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sessionkit.aio import AsyncEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sessionkit import Engine

ROUNDS, CALLS, TASKS = 11, 300, 1000


def measure(engine: Engine) -> dict[str, dict[str, float]]:
    """Return the median of each candidate of each case, in microseconds for one call."""
    return asyncio.run(_measure(engine))


async def _measure(engine: Engine) -> dict[str, dict[str, float]]:
    asynchronous = AsyncEngine(engine)

    def cycle() -> None:
        with engine.begin() as session:
            session.execute("select 1")

    async def awaited_cycle() -> None:
        async with asynchronous.begin() as session:
            await session.execute("select 1")

    async def threaded_cycle() -> None:  # what a program does without sessionkit.aio: each call is a trip to a thread
        block = engine.begin()
        session = await asyncio.to_thread(block.__enter__)
        await asyncio.to_thread(session.execute, "select 1")
        await asyncio.to_thread(block.__exit__, None, None, None)

    found: dict[str, dict[str, float]] = {}
    async with asynchronous.session() as session:
        sync = engine.session()
        found["a statement in a transaction"] = await _compare({
            "asyncio.to_thread(session.execute, …)": lambda: asyncio.to_thread(sync.execute, "select 1"),
            "await session.execute(…)": lambda: session.execute("select 1"),
        })  # fmt: skip
        sync.close()
    found["begin, a statement, commit"] = await _compare({
        "asyncio.to_thread, each call": threaded_cycle,
        "asyncio.to_thread, the whole": lambda: asyncio.to_thread(cycle),
        "async with engine.begin()": awaited_cycle,
    })  # fmt: skip
    found[f"{TASKS:,} tasks at once, each begin, statement, commit"] = await _compare({
        "asyncio.to_thread, the whole": lambda: _together(lambda: asyncio.to_thread(cycle)),
        "async with engine.begin()": lambda: _together(awaited_cycle),
    }, calls=1, per=TASKS)  # fmt: skip
    return found


async def _together(call: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.gather(*[call() for _ in range(TASKS)])


async def _compare(
    candidates: dict[str, Callable[[], Awaitable[Any]]], calls: int = CALLS, per: int = 1
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        await call()
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            started = perf_counter()
            for _ in range(calls):
                await call()
            times[name].append((perf_counter() - started) / calls / per)
    return {name: median(found) * 1e6 for name, found in times.items()}
