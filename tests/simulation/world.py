"""A clock that costs no time, clients that are greenlets, a server that can be gone; pool and policy are the real ones."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from greenlet import getcurrent, greenlet

from sessionkit.errors import DisconnectionError, Error
from sessionkit.pool.pool import Pool
from sessionkit.retry.policy import Retry, may_repeat

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTING = 0.005
"""Seconds that a new connection takes."""


class World:
    """What happens, in the order of its time; `now` is in seconds."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.dice = random.Random(seed)
        self._numbers = count()
        self._events: list[tuple[float, int, Any, int]] = []
        self._waits: dict[Any, int] = {}  # for what a greenlet waits now: other events for it are stale
        self._hub: Any = None

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def at(self, when: float, work: Callable[[], object]) -> None:
        """Let something begin at a time."""
        self._wake(greenlet(work), when)

    def _wake(self, who: Any, when: float) -> None:
        number = next(self._numbers)
        heapq.heappush(self._events, (when, number, who, self._waits.setdefault(who, 0)))

    def sleep(self, seconds: float) -> None:
        """Let time pass for the client that calls."""
        self._wake(getcurrent(), self.now + seconds)
        self._hub.switch()

    def waker(self) -> Callable[[], object]:
        """Return what wakes the client that calls, once it has parked."""
        me = getcurrent()
        return lambda: self._wake(me, self.now)

    def run(self) -> None:
        """Let everything happen."""
        self._hub = getcurrent()
        while self._events:
            when, _, who, wait = heapq.heappop(self._events)
            if self._waits.get(who) != wait:
                continue
            self._waits[who] += 1
            self.now = max(self.now, when)
            who.switch()
            if who.dead:
                del self._waits[who]


class Served(NamedTuple):
    """A request: when it came, how long it took, in which attempt it was done (0: it failed)."""

    came: float
    took: float
    attempt: int


class Shop:
    """A server behind a pool of `size` connections, whose units of work take `hold` seconds each."""

    def __init__(self, world: World, size: int, hold: float, timeout: float = 5.0) -> None:
        self.world, self.hold = world, hold
        self.is_up = True
        self.deaths = 0
        self.connects: list[float] = []
        self.served: list[Served] = []
        self.pool = Pool(
            self._connect, close=lambda conn: None, size=size, timeout=timeout, clock=world.clock, sleep=world.sleep,
            is_outage=lambda exc: True, recycle=None, idle=None,
        )  # fmt: skip

    def _connect(self) -> int:
        self.connects.append(self.world.now)
        self.world.sleep(CONNECTING)
        if not self.is_up:
            raise DisconnectionError("nobody answers")
        return self.deaths

    def fail(self, at: float, seconds: float) -> None:
        """Let the server be gone for some time, with every connection to it."""

        def gone() -> None:
            self.is_up, self.deaths = False, self.deaths + 1
            self.world.sleep(seconds)
            self.is_up = True

        self.world.at(at, gone)

    def _borrow(self) -> Any:
        """Wait in the pool's line, as an event loop does; then connect if need be, as a thread does."""
        pool, world = self.pool, self.world
        deadline = world.now + pool.timeout
        slot = pool.take_free()
        if slot is None:
            waiter = pool.stand_in_line(world.waker())
            slot, waiter = pool.look(waiter)
            while slot is None and world.now < deadline:
                world.sleep(deadline - world.now)
                slot, waiter = pool.look(waiter)
            if slot is None:
                pool.step_out(waiter)
                raise pool.timed_out(pool.timeout)
        return pool.checkout(max(deadline - world.now, 0.0), slot=slot)

    def work(self) -> None:
        """Do one unit of work, or raise what keeps it from being done."""
        lease = self._borrow()
        self.world.sleep(self.hold)
        if lease.conn != self.deaths:
            self.pool.suspect()
            self.pool.discard(lease)
            raise DisconnectionError("the connection was lost")
        self.pool.checkin(lease)

    def request(self, policy: Retry) -> None:
        """Do a unit of work, again and again as the policy says."""
        came, attempt = self.world.now, 0
        while True:
            attempt += 1
            try:
                self.work()
            except Error as exc:
                pause = policy.pause(attempt, came) if may_repeat(exc) else None
                if pause is None:
                    self.served.append(Served(came, self.world.now - came, 0))
                    return
            else:
                self.served.append(Served(came, self.world.now - came, attempt))
                return
            self.world.sleep(pause)

    def policy(self, attempts: int, timeout: float) -> Retry:
        """Return a policy of this world."""
        return Retry(attempts, timeout, clock=self.world.clock, sleep=self.world.sleep, random=self.world.dice.random)

    def requests(self, rate: float, seconds: float, policy: Retry) -> None:
        """Let `rate` requests come in each second, at random (a Poisson process)."""
        when = 0.0
        while (when := when + self.world.dice.expovariate(rate)) < seconds:
            self.world.at(when, lambda: self.request(policy))
