"""The questions of docs/scale.md, each answered by a simulation."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .world import Shop, World

if TYPE_CHECKING:
    from .world import Served


def failover(
    rate: float, size: int, hold: float, gone: float, attempts: int, timeout: float, pool_timeout: float, seed: int = 1
) -> tuple[list[Served], list[float]]:
    """
    Let a server be gone from the 10th second on, for `gone` seconds, under `rate` requests a second on `size` connections.

    `attempts` and `timeout` are those of `run`. Return the requests in the order of their coming, and when a connection was tried.
    """
    world = World(seed)
    shop = Shop(world, size, hold, pool_timeout)
    shop.fail(10.0, gone)
    shop.requests(rate, 20.0 + gone * 3, shop.policy(attempts, timeout))
    world.run()
    assert shop.pool.stats()["used"] == 0
    return sorted(shop.served), shop.connects


def crowd(sessions: int, size: int, hold: float, seed: int = 1) -> list[Served]:
    """Let so many sessions come at once; return them in the order in which they were served."""
    world = World(seed)
    shop = Shop(world, size, hold, timeout=float("inf"))
    for number in range(sessions):
        world.at(number * 1e-9, lambda: shop.request(shop.policy(1, 0.0)))
    world.run()
    return shop.served


def herd(clients: int, jitter: bool, seed: int = 1) -> list[float]:
    """Let so many clients lose their connection at one moment; return when each attempt after that begins, in seconds."""
    world = World(seed)
    shop = Shop(world, clients, 0.001)
    policy = shop.policy(6, 30.0)
    if not jitter:
        policy.random = lambda: 1.0
    begun: list[float] = []

    def client() -> None:
        for attempt in range(1, 6):
            pause = policy.pause(attempt, 0.0)
            assert pause is not None
            world.sleep(pause)
            begun.append(world.now)

    for _ in range(clients):
        world.at(0.0, client)
    world.run()
    return begun


def peak(moments: list[float], width: float = 0.01) -> int:
    """Return how many moments fall into the fullest stretch of `width` seconds."""
    counts: dict[int, int] = {}
    for moment in moments:
        counts[int(moment / width)] = counts.get(int(moment / width), 0) + 1
    return max(counts.values())


def back_to_normal(served: list[Served], end: float, usual: float) -> float:
    """Return how many seconds after `end` the last request came that took more than ten times as long as usual."""
    late = [one.came for one in served if one.took > 10 * usual]
    return max(0.0, max(late, default=end) - end)


def typical(served: list[Served], before: float) -> float:
    """Return how long a request takes that comes before some time."""
    return median(one.took for one in served if one.came < before)
