"""Money is moved on a cluster while its nodes are killed and cut off, and what was told is compared with what is there."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from sessionkit import CommitUnknownError, create_engine, errors
from sessionkit.retry.policy import Retry
from tests.soak.bank import ACCOUNTS, START, move
from tests.soak.checker import DONE, FAILED, UNKNOWN, History, Transfer, anomalies

if TYPE_CHECKING:
    from sessionkit import Engine

PATIENCE = 60.0
"""Seconds that each transfer has to go on."""


class Event(NamedTuple):
    """Something that was done to the cluster, `at` seconds after the beginning."""

    at: float
    what: str


class Bank:
    """
    Threads that move money on `url` by `engine.run`, and one that does so with the driver alone, which shows when the cluster takes writes.

    `done` are the moments at which transfers ended, in seconds after the beginning, and how long each took; `writable`, those at which
    the driver alone wrote.
    """

    def __init__(self, url: str, threads: int = 4, **options: Any) -> None:
        self.url = url
        self.history = History()
        self.done: list[tuple[float, float]] = []
        self.writable: list[float] = []
        self.events: list[Event] = []
        self.failed: list[str] = []
        self._options = options
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._prepare()
        self.engine = create_engine(url, pool_size=threads, pool_timeout=PATIENCE, **options)
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        self._threads.append(threading.Thread(target=self._probe))

    def _prepare(self) -> None:
        with create_engine(self.url, **self._options) as engine:
            engine.execute("drop table if exists ledger")
            engine.execute("drop table if exists account")
            engine.execute("drop table if exists probe")
            engine.execute("create table account (id integer primary key, balance integer not null)")
            engine.execute(
                "create table ledger (id varchar(36) not null primary key, source integer not null, target integer not null, "
                "amount integer not null)"
            )
            engine.execute("create table probe (id integer primary key, n integer)")
            engine.execute("insert into probe values (1, 0)")
            with engine.begin() as session:
                session.executemany(
                    "insert into account values (?, ?)", [(number, START) for number in range(ACCOUNTS)]
                )

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, what: str) -> None:
        """Note that something is done to the cluster."""
        self.events.append(Event(self.now(), what))

    def _tell(self, word: str, what: object) -> None:
        with self._lock:
            self.history.add(f"{word} {what}")

    def _work(self, number: int) -> None:
        dice = random.Random(number)
        while not self._stopping.is_set():
            id = str(uuid4())
            source, target = dice.sample(range(ACCOUNTS), 2)
            self._tell("begin", id)
            started = self.now()
            try:
                self.engine.run(
                    move,
                    id,
                    source,
                    target,
                    dice.randint(1, 9),
                    retry=Retry(100_000, PATIENCE, cap=0.2),
                    resolve="marker",
                )
            except CommitUnknownError as exc:
                self._tell(UNKNOWN, id)
                self.failed.append(repr(exc))
            except errors.Error as exc:
                self._tell(FAILED, id)
                self.failed.append(repr(exc))
            else:
                self._tell(DONE, id)
                self.done.append((self.now(), self.now() - started))

    def _probe(self) -> None:
        """Write with the driver alone, on a new connection each time the last one failed: what the cluster can do by itself."""
        engine = create_engine(self.url, pool_size=1, **self._options)
        conn: Any = None
        while not self._stopping.is_set():
            try:
                if conn is None:
                    conn = engine.driver.connect(engine.url, engine.connect_options)
                cursor = conn.cursor()
                cursor.execute("update probe set n = n + 1 where id = 1")
                conn.commit()
                self.writable.append(self.now())
            except Exception as exc:
                if not isinstance(exc, (errors.Error, ConnectionError)) and engine.driver.diagnose(exc) is None:
                    raise
                conn = None
            self._stopping.wait(0.02)
        engine.dispose()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every transfer end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self.engine.dispose()

    def wait_for(self, transfers: int) -> None:
        """Wait until so many more transfers are done."""
        wanted = len(self.done) + transfers
        while len(self.done) < wanted:
            time.sleep(0.02)

    # -- what came of it

    def outage(self) -> float:
        """Return the longest time in which the driver alone could not write, in seconds."""
        return _longest([0.0, *self.writable])

    def longest(self) -> float:
        """Return how long the slowest transfer took, in seconds."""
        return max(took for _, took in self.done)

    def anomalies(self) -> list[str]:
        """Return what is wrong."""

        def read(engine: Engine) -> tuple[list[Transfer], dict[int, int]]:
            with engine.begin() as session:
                rows = session.execute("select id, source, target, amount from ledger").tuples()
                return [Transfer(*row) for row in rows], dict(
                    session.execute("select id, balance from account").tuples()
                )  # type: ignore[arg-type]

        with create_engine(self.url, **self._options) as engine:
            ledger, balances = read(engine)
        return anomalies(self.history, ledger, balances, START, True)

    def rates(self, step: float = 1.0) -> list[int]:
        """Return how many transfers ended in each `step` seconds."""
        counts = [0] * (int(self.now() / step) + 1)
        for at, _ in self.done:
            counts[int(at / step)] += 1
        return counts


def _longest(moments: list[float]) -> float:
    return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)
