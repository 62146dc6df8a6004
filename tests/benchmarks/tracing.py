"""What recording costs: for each event, and for a program that does nothing but transactions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from sessionkit.events import StatementEvent
from sessionkit.trace import Recording, record

from .harness import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine, Session

EVENTS, UNITS = 1_000_000, 500
THREADS, TRANSFERS = 4, 400


def an_event() -> dict[str, float]:
    """Return what keeping one event costs, in microseconds, and how long a million take the ring of 100,000."""
    recording = Recording()
    event = StatementEvent("shop", "select 1", 0.001, 1)
    return compare({"keep an event": lambda: recording.hear(event)}, calls=10_000)


def cycles(engine: Engine) -> dict[str, Callable[[], object]]:
    """A unit of work of five statements, unrecorded, and recorded with a watcher."""

    def work() -> None:
        with engine.begin() as session:
            for _ in range(5):
                session.execute("update item set price = price + 1 where id = 1")

    def recorded() -> None:
        with record(engine):
            for _ in range(UNITS):
                work()

    def unrecorded() -> None:
        for _ in range(UNITS):
            work()

    return {"unrecorded": unrecorded, "recorded": recorded}


def bank(engine: Engine) -> dict[str, Callable[[], object]]:
    """Four threads that move money, each transfer by `run`: a program that does something, unrecorded and recorded."""
    engine.execute("drop table if exists account")
    engine.execute("create table account (id integer primary key, balance integer)")
    with engine.begin() as session:
        session.executemany("insert into account values (?, 1000)", [(number,) for number in range(50)])

    def transfer(session: Session, source: int, target: int) -> None:
        for one, amount in sorted([(source, -1), (target, 1)]):
            session.execute("update account set balance = balance + ? where id = ?", (amount, one))
        if session.scalar("select sum(balance) from account") != 50_000:
            raise AssertionError("money was lost")

    def work(seed: int) -> None:
        dice = Random(seed)
        for _ in range(TRANSFERS // THREADS):
            engine.run(transfer, *dice.sample(range(50), 2), attempts=50)

    def unrecorded() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(work, range(THREADS)))

    def recorded() -> None:
        with record(engine):
            unrecorded()

    return {"unrecorded": unrecorded, "recorded": recorded}


def a_million(engine: Engine) -> dict[str, float]:
    """Return the seconds that enough units of work take for a million events, and how many events are kept of them."""
    with record(engine) as recording:
        started = perf_counter()
        while recording.dropped + 100_000 < EVENTS:
            for _ in range(1000):
                with engine.begin() as session:
                    session.execute("update item set price = price + 1 where id = 1")
        took = perf_counter() - started
        return {"seconds": took, "events kept": float(len(recording.events))}
