"""A pool under everything at once: random operations from several threads, and an account of every place at the end."""

from __future__ import annotations

import gc
import random
import threading
from collections import Counter
from typing import Any

from sessionkit import Pool, PoolTimeoutError

SIZE = 4
THREADS = 8


class Refused(Exception):
    """A connect that fails."""


class Conn:
    """A plain object as a connection, which knows whether two threads have it at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.holders = 0
        world.opened()

    def __del__(self) -> None:
        self.world.gone.append(1)  # atomic, as a finaliser must be


class World:
    """What is true of the connections of one run."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.made = 0
        self.most = 0
        self.trouble: list[str] = []
        self._lock = threading.Lock()

    def opened(self) -> None:
        """One more is open."""
        with self._lock:
            self.made += 1
            self.most = max(self.most, self.made - len(self.gone))


def run(operations: int, seed: int) -> Counter[str]:
    """
    Do so many operations, spread over the threads; return how often each was done.

    Raises:
        AssertionError: more than `SIZE` were lent, one was lent twice, or a place is missing at the end.
    """
    world = World()
    failing = threading.Event()

    def connect() -> Conn:
        if failing.is_set():
            raise Refused
        return Conn(world)

    pool = Pool(connect, close=lambda conn: None, size=SIZE, timeout=0.02)
    counts: list[Counter[str]] = [Counter() for _ in range(THREADS)]

    def work(number: int) -> None:
        own = random.Random(seed * 1000 + number)
        count = counts[number]
        try:
            for _ in range(operations // THREADS):
                count[_one(pool, own, failing)] += 1
        except BaseException as exc:
            world.trouble.append(repr(exc))
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failing.clear()
    gc.collect()
    assert world.trouble == []
    leases = [pool.checkout(1.0) for _ in range(SIZE)]
    assert len({id(lease.conn) for lease in leases}) == SIZE
    assert pool.stats() == {
        "max": SIZE, "open": SIZE, "idle": 0, "used": SIZE, "pending_requests": 0, "timeouts": pool.stats()["timeouts"],
    }  # fmt: skip
    for lease in leases:
        pool.checkin(lease)
    return sum(counts, Counter())


def _one(pool: Pool, dice: random.Random, failing: threading.Event) -> str:
    """Do one random thing; return what it was, or what came of it."""
    what = dice.random()
    if what < 0.001:
        pool.suspect()
        return "suspect"
    if what < 0.002:
        pool.dispose()
        return "dispose"
    if what < 0.004:
        failing.set() if dice.random() < 0.5 else failing.clear()
        return "connects fail, or no longer"
    try:
        lease = pool.checkout(dice.choice((0.0, 0.001, None, None)))
    except PoolTimeoutError:
        return "timeout"
    except Refused:
        failing.clear()
        return "connect failed"
    conn: Any = lease.conn
    conn.holders += 1
    if conn.holders != 1:
        conn.world.trouble.append("one connection was lent to two")
    conn.holders -= 1
    if what < 0.98:
        pool.checkin(lease)
        return "lent and returned"
    if what < 0.99:
        pool.discard(lease)
        return "lent and discarded"
    if what < 0.9999:
        return "lent and lost"  # the last reference goes with this frame
    ring: list[Any] = [lease]
    ring.append(ring)
    return "lent and lost in a cycle"
