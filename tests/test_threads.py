"""Sixteen threads at the same moment against each thing that threads share; without the GIL they really run together."""

from __future__ import annotations

import subprocess
import sys
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sessionkit import Registry
from sessionkit.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Database

THREADS = 16


def together(work: Callable[[int], object]) -> None:
    """Let sixteen threads begin `work` at one moment, each with its number; raise what any of them raised."""
    start = threading.Barrier(THREADS)
    failed: list[BaseException] = []

    def run(me: int) -> None:
        try:
            start.wait()
            work(me)
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(me,)) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_the_pool() -> None:
    """No connection is lent twice, none is lost; the leases can be listed meanwhile."""
    pool = Pool(list, close=lambda conn: None, size=5, timeout=30)

    def work(me: int) -> None:
        for nth in range(300):
            lease = pool.checkout()
            assert lease.conn == []
            lease.conn.append(me)
            assert lease.conn == [me]
            lease.conn.clear()
            if nth % 10 == 0:
                assert len(pool.leases()) <= 5
            pool.checkin(lease)

    together(work)
    assert pool.leases() == []
    leases = [pool.checkout(0.5) for _ in range(5)]
    assert len({id(lease.conn) for lease in leases}) == 5
    for lease in leases:
        pool.checkin(lease)


def test_writers_in_line(sqlite: Database) -> None:
    """Each write is there once."""
    engine = sqlite.engine(pool_size=16, pool_timeout=60, busy_timeout=60)

    def work(me: int) -> None:
        for nth in range(15):
            engine.execute("insert into item (name, price) values (?, 1)", (f"{me}-{nth}",))

    together(work)
    assert len(set(sqlite.names())) == len(sqlite.names()) == 15 * THREADS


def test_compiled_statements_and_plans_of_rows(db: Database) -> None:
    """The caches start over again and again, and give each thread its own statement and class."""
    engine = db.engine(pool_size=THREADS, pool_timeout=60)
    engine.compiler.size = 8

    def work(me: int) -> None:
        with engine.session() as session:
            for nth in range(60):
                at = (me * 7 + nth) % 20
                assert session.execute(f"select :x as a{at}", {"x": "v"}).one()._fields == (f"a{at}",)
                assert session.query(Decimal, f"select '{at}.5' as d{at}").one() == Decimal(f"{at}.5")

    together(work)


def test_listeners(sqlite: Database) -> None:
    """Every event is told to those who listen, while others come and go."""
    engine = sqlite.engine(pool_size=THREADS)
    told: list[Any] = []
    engine.listen(told.append)

    def work(me: int) -> None:
        for nth in range(50):
            end = engine.listen(lambda event: None)
            engine.execute(f"select {me * 1000 + nth}")
            end()

    together(work)
    assert len({event.statement for event in told if hasattr(event, "statement")}) == 50 * THREADS


def test_the_registry() -> None:
    """One name is one engine, whoever adds it."""
    registry = Registry()
    found: list[Any] = [None] * THREADS

    def work(me: int) -> None:
        for nth in range(30):
            engine = registry.add(f"db{nth}", "sqlite://")
            assert registry[f"db{nth}"] is registry.add(f"db{nth}", "sqlite://")
            if nth == 29:
                found[me] = engine
            assert registry.default is registry["db0"]
            assert list(registry)

    together(work)
    assert len(registry) == 30
    assert len({id(engine) for engine in found}) == 1


def test_names_that_are_imported_when_first_used() -> None:
    """By all at once, in an interpreter that has imported nothing yet."""
    code = (
        "import threading, sessionkit\n"
        "start, failed = threading.Barrier(16), []\n"
        "def run():\n"
        "    try:\n"
        "        start.wait()\n"
        "        for name in sessionkit.__all__: getattr(sessionkit, name)\n"
        "        with sessionkit.create_engine('sqlite://') as engine: assert engine.execute('select 1').scalar() == 1\n"
        "    except BaseException as exc: failed.append(exc)\n"
        "threads = [threading.Thread(target=run) for _ in range(16)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert not failed, failed\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
