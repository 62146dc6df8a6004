"""Many writers on one file of SQLite: how many transactions a second, how evenly, how long the slowest, how many failed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionkit import create_engine

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 20.0
UPDATE = "update t set n = n + 1 where id = ?"
CASES = {  # processes, threads in each, milliseconds that a transaction lasts
    "16 threads × 2 ms": (1, 16, 0.002),
    "16 threads × 0": (1, 16, 0.0),
    "1 thread × 0": (1, 1, 0.0),
    "4 processes × 4 threads × 2 ms": (4, 4, 0.002),
}


def sessionkit(path: str, threads: int) -> Callable[[int, float], None]:
    """A block of an engine."""
    engine = create_engine(f"sqlite:///{path}", pool_size=threads, pool_timeout=60)

    def write(me: int, hold: float) -> None:
        with engine.begin() as session:
            session.execute(UPDATE, (me,))
            if hold:
                time.sleep(hold)

    return write


def raw(path: str, threads: int) -> Callable[[int, float], None]:
    """The standard library's module, a connection for each thread, BEGIN IMMEDIATE."""
    local = threading.local()

    def write(me: int, hold: float) -> None:
        if not hasattr(local, "conn"):
            local.conn = sqlite3.connect(path, timeout=5, isolation_level=None)
        local.conn.execute("begin immediate")
        try:
            local.conn.execute(UPDATE, (me,))
            if hold:
                time.sleep(hold)
        except BaseException:
            local.conn.rollback()
            raise
        local.conn.execute("commit")

    return write


def sqlalchemy(path: str, threads: int) -> Callable[[int, float], None]:
    """SQLAlchemy Core as its documentation has it, with BEGIN IMMEDIATE and five seconds of patience."""
    from sqlalchemy import create_engine, event, text

    engine = create_engine(f"sqlite:///{path}", pool_size=threads, connect_args={"timeout": 5})

    @event.listens_for(engine, "connect")
    def connected(conn: Any, record: Any) -> None:
        conn.isolation_level = None

    @event.listens_for(engine, "begin")
    def begun(conn: Any) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    statement = text("update t set n = n + 1 where id = :id")

    def write(me: int, hold: float) -> None:
        with engine.begin() as conn:
            conn.execute(statement, {"id": me})
            if hold:
                time.sleep(hold)

    return write


def peewee(path: str, threads: int) -> Callable[[int, float], None]:
    """peewee's pool, an immediate transaction."""
    from playhouse.pool import PooledSqliteDatabase

    database = PooledSqliteDatabase(path, max_connections=threads, timeout=60, check_same_thread=False)

    def write(me: int, hold: float) -> None:
        with database.atomic("IMMEDIATE"):
            database.execute_sql(UPDATE, (me,))
            if hold:
                time.sleep(hold)

    return write


PEERS = {"raw driver": raw, "sessionkit": sessionkit, "SQLAlchemy Core": sqlalchemy, "peewee": peewee}


def prepare(path: str) -> None:
    """Make the file, in WAL mode."""
    conn = sqlite3.connect(path)
    conn.execute("pragma journal_mode = wal")
    conn.execute("create table t (id integer primary key, n integer)")
    conn.executemany("insert into t values (?, 0)", [(number,) for number in range(64)])
    conn.commit()
    conn.close()


def contend(peer: str, path: str, threads: int, hold: float, seconds: float) -> dict[str, Any]:
    """Let threads write for some seconds; return how often each did, the slowest call in seconds, and the errors."""
    write = PEERS[peer](path, threads)
    counts, slowest, errors = [0] * threads, [0.0] * threads, [0] * threads
    stop = time.monotonic() + seconds

    def work(me: int) -> None:
        while time.monotonic() < stop:
            started = time.monotonic()
            try:
                write(me, hold)
                counts[me] += 1
            except Exception:
                errors[me] += 1
            slowest[me] = max(slowest[me], time.monotonic() - started)

    running = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return {"counts": counts, "slowest": max(slowest), "errors": sum(errors)}


def measure(seconds: float = SECONDS) -> dict[str, dict[str, dict[str, float]]]:
    """Return for each case and peer: transactions a second, unluckiest over luckiest thread, slowest in seconds, errors."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for case, (processes, threads, hold) in CASES.items():
        for peer in PEERS:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder, "contended.db"))
                prepare(path)
                command = [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.contention",
                    peer,
                    path,
                    str(threads),
                    str(hold),
                    str(seconds),
                ]
                running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
                told = [json.loads(process.communicate()[0]) for process in running]
            counts = [count for one in told for count in one["counts"]]
            found.setdefault(case, {})[peer] = {
                "a second": sum(counts) / seconds, "share": min(counts) / max(counts), "slowest": max(one["slowest"] for one in told),
                "errors": sum(one["errors"] for one in told),
            }  # fmt: skip
    return found


def show(found: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the table."""
    print("writers on one file of SQLite: transactions a second, unluckiest over luckiest thread, slowest, errors")
    for case, peers in found.items():
        for peer, told in peers.items():
            print(
                f"  {case:32} {peer:16} {told['a second']:8.0f}  {told['share']:5.2f}  {told['slowest']:6.3f} s  {told['errors']:4.0f}"
            )


if __name__ == "__main__":
    print(json.dumps(contend(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))))
