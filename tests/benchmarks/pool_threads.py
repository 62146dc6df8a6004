"""Checkouts a second of one pool by one and two threads, and cycles of SQLite in memory: `python -m tests.benchmarks.pool_threads`."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from sessionkit import create_engine
from sessionkit.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 3.0


def rate(work: Callable[[], object], threads: int) -> float:
    """Return how often a second `work` is done by so many threads together."""
    counts = [0] * threads
    start = threading.Barrier(threads + 1)

    def run(me: int) -> None:
        start.wait()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for _ in range(100):
                work()
            counts[me] += 100

    workers = [threading.Thread(target=run, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    for worker in workers:
        worker.join()
    return sum(counts) / SECONDS


def main() -> None:
    """Print both figures for one thread and for two."""
    pool = Pool(object, close=lambda conn: None, size=4)
    engines = {n: create_engine("sqlite://") for n in range(2)}
    number = iter(range(10**9))
    mine = threading.local()

    def checkout() -> None:
        pool.checkin(pool.checkout())

    def cycle() -> None:
        if not hasattr(mine, "engine"):
            mine.engine = engines[next(number) % 2]
        with mine.engine.session() as session:
            session.execute("select 1").first()
            session.commit()

    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, GIL {'on' if gil else 'off'}")
    for name, work in (("pool: checkout + checkin", checkout), ("SQLite in memory: cycle", cycle)):
        figures = [rate(work, threads) for threads in (1, 2)]
        print(f"  {name:28} one thread {figures[0]:10,.0f}/s   two threads {figures[1]:10,.0f}/s")


if __name__ == "__main__":
    main()
