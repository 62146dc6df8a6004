"""Fifty greenlets of twenty transfers; every tenth has a timeout that strikes in the middle, and five are killed. Run by a test."""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import random  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from itertools import pairwise  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from sessionkit import create_engine  # noqa: E402

ACCOUNTS = 10


def transfer(session: Any, source: int, target: int) -> None:
    """Move one, in the order of the accounts so that nobody waits in a circle."""
    one, other = sorted((source, target))
    session.execute("update acct set n = n - 1 where id = ?", (one,))
    gevent.sleep(0.001)
    session.execute("update acct set n = n + 1 where id = ?", (other,))


def main(url: str) -> None:
    """Print what was done, timed out, killed and wrong."""
    engine = create_engine(url, pool_size=5, pool_timeout=20)
    engine.execute("drop table if exists acct")
    engine.execute("create table acct (id integer primary key, n integer)")
    for number in range(ACCOUNTS):
        engine.execute("insert into acct values (?, 100)", (number,))
    counts = {"done": 0, "timed out": 0}
    ticks: list[float] = []
    failed: list[BaseException] = []

    def work(me: int) -> None:
        try:
            for _ in range(20):
                source, target = random.sample(range(ACCOUNTS), 2)
                try:
                    if me % 10 == 3:
                        with gevent.Timeout(0.03):
                            engine.run(transfer, source, target)
                    else:
                        engine.run(transfer, source, target, attempts=50)
                    counts["done"] += 1
                except gevent.Timeout:
                    counts["timed out"] += 1
        except Exception as exc:
            failed.append(exc)

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)

    started = time.monotonic()
    clock = gevent.spawn(tick)
    workers = [gevent.spawn(work, me) for me in range(50)]
    victims = [gevent.spawn(work, 100) for _ in range(5)]
    for victim in victims:
        gevent.sleep(0.05)
        victim.kill()
    gevent.joinall(workers, timeout=60)
    clock.kill()
    stood_still = max(after - before for before, after in pairwise(ticks))
    total = engine.execute("select sum(n) from acct").scalar()
    used = engine.pool.stats()["used"]
    alive = sum(not worker.dead for worker in workers)
    print(
        f"{counts['done'] + counts['timed out'] >= 1000} {counts['timed out'] > 0} {total} {used} {alive} {failed} {stood_still < 1}"
    )
    print(f"{counts}, {time.monotonic() - started:.1f} s, stood still for {stood_still:.3f} s", file=sys.stderr)
    engine.dispose()


main(sys.argv[1])
