"""The traps: each a program that looks right, and the rows that may be there when it has said that all is well."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from sessionkit.testing import servers
from sessionkit.testing.proxy import Proxy, is_commit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Handle, Peer


class World:
    """A database with an empty table t (id primary key), asked and disturbed from outside."""

    def __init__(self, kind: str, url: str, server: Any) -> None:
        self.kind, self.url, self.server = kind, url, server
        self.expected: list[int] | None = None
        self.execute("drop table if exists t")
        self.execute("drop table if exists t2")
        self.execute("create table t (id integer primary key, n integer)")
        self.execute("insert into t values (0, 0)")

    def execute(self, sql: str) -> list[Any]:
        """Run a statement on a connection of its own."""
        conn = self.connect()
        cursor = conn.cursor()
        cursor.execute(sql)
        rows = list(cursor.fetchall()) if cursor.description else []
        cursor.close()
        conn.close()
        return rows

    def connect(self) -> Any:
        """Return a connection in autocommit mode."""
        if self.server is None:
            import sqlite3

            return sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        return servers.connect(self.url)

    def ids(self) -> list[int]:
        """Return the rows that are committed, beyond the first."""
        return [row[0] for row in self.execute("select id from t where id > 0 order by id")]

    def kill_all(self) -> None:
        """End every other session of the server."""
        if self.kind == "postgres":
            self.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        else:
            for (number,) in self.execute(
                "select id from information_schema.processlist where user = 'root' and id <> connection_id()"
            ):
                try:
                    self.execute(f"kill {number}")
                except Exception:  # it has ended by itself
                    pass
        time.sleep(0.1)  # until the sessions have heard of it


def swallow(fn: Callable[[], Any]) -> None:
    """What programs do: go on after an error."""
    try:
        fn()
    except Exception:
        pass


def insert(handle: Handle, number: int) -> None:
    """Insert a row."""
    handle.execute(f"insert into t values ({number}, 0)")


# Each trap returns what the program had been told: nothing (all is well), or it raises.


def error_then_commit(peer: Peer, world: World) -> None:
    """A statement fails, the error is swallowed, the block ends normally."""
    with peer.block() as handle:
        insert(handle, 1)
        swallow(lambda: insert(handle, 0))


def deadlock_then_work(peer: Peer, world: World) -> None:
    """Chosen as the victim of a deadlock, the program swallows the error and goes on."""
    world.execute("insert into t values (-1, 0)")
    world.execute("insert into t values (-2, 0)")
    other = world.connect()
    cursor = other.cursor()
    cursor.execute("begin")
    cursor.execute("update t set n = 1 where id = -2")
    for number in range(200):  # the one that has written less is the victim
        cursor.execute(f"insert into t values ({-1000 - number}, 0)")

    def block_it() -> None:
        swallow(lambda: cursor.execute("update t set n = 1 where id = -1"))

    thread = threading.Thread(target=block_it)
    try:
        with peer.block() as handle:
            insert(handle, 1)
            handle.execute("update t set n = 2 where id = -1")
            thread.start()
            time.sleep(0.3)  # until the other one waits: the peers tell nobody
            swallow(lambda: handle.execute("update t set n = 2 where id = -2"))
            insert(handle, 2)
    finally:
        thread.join(20)
        cursor.execute("rollback")
        other.close()


def disk_error_then_work(peer: Peer, world: World) -> None:
    """The disk refuses a write in mid-transaction, the error is swallowed, and the program goes on."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_much(handle: Handle) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            handle.execute(
                "with recursive n(i) as (select 1000 union all select i + 1 from n limit 60000) insert into t select -i, hex(randomblob(20)) from n"
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        with peer.block() as handle:
            insert(handle, 1)
            handle.execute("pragma cache_size = 5")
            swallow(lambda: write_much(handle))
            insert(handle, 2)
    finally:
        signal.signal(signal.SIGXFSZ, before)


def or_rollback_then_work(peer: Peer, world: World) -> None:
    """A conflict with OR ROLLBACK ends the transaction, the error is swallowed, and the program goes on."""
    with peer.block() as handle:
        insert(handle, 1)
        swallow(lambda: handle.execute("insert or rollback into t values (0, 0)"))
        insert(handle, 2)


def ddl_then_failure(peer: Peer, world: World) -> None:
    """A table is made in the block, then the block fails: MySQL has committed what was before it."""
    with peer.block() as handle:
        insert(handle, 1)
        handle.execute("create table t2 (id integer)")
        raise ZeroDivisionError


def killed_then_work(peer: Peer, world: World) -> None:
    """The server ends the session in mid-transaction, the next error is swallowed, and the program goes on."""
    with peer.block() as handle:
        insert(handle, 1)
        world.kill_all()
        swallow(lambda: insert(handle, 2))
        insert(handle, 3)


def cut_commit(peer: Peer, world: World) -> None:
    """The wire is cut when the server has committed, before its answer comes."""
    with Proxy(world.server.port) as proxy:
        mine = type(peer)(peer.kind, peer.url.replace(f":{world.server.port}/", f":{proxy.port}/"))
        seen: list[bool] = []

        def on_sent(data: bytes) -> bool:
            if is_commit(data):
                seen.append(True)
            return True

        proxy.on_sent, proxy.on_answer = on_sent, lambda data: not seen
        with mine.block() as handle:
            insert(handle, 1)


def close_inside(peer: Peer, world: World) -> None:
    """Something inside the block closes what the block works with; the block ends normally."""
    with peer.block() as handle:
        insert(handle, 1)
        handle.close()


def inner_failure(peer: Peer, world: World) -> None:
    """An inner block fails, its error is swallowed outside it; the outer block goes on."""

    def inner() -> None:
        with handle.nested():
            insert(handle, 2)
            insert(handle, 0)

    with peer.block() as handle:
        insert(handle, 1)
        swallow(inner)
        insert(handle, 3)


def shared_by_threads(peer: Peer, world: World) -> None:
    """Two threads at once with one handle: what each was told to be inserted must be there."""
    with peer.block() as handle:
        begin = threading.Barrier(2)
        told: list[int] = []

        def work(first: int) -> None:
            begin.wait()
            for number in range(first, first + 200):
                insert(handle, number)
                told.append(number)

        other = threading.Thread(target=lambda: swallow(lambda: work(1000)))
        other.start()
        swallow(lambda: work(1))
        other.join(10)
        if other.is_alive():
            raise TimeoutError
    world.expected = sorted(told)


def restart_with_idle(peer: Peer, world: World) -> str:
    """Four idle connections, the server is restarted, eight requests."""
    barrier = threading.Barrier(4)

    def warm() -> None:
        with peer.block() as handle:
            handle.execute("select 1")
            barrier.wait(5)

    threads = [threading.Thread(target=lambda: swallow(warm)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.server.restart()
    failed = 0
    for number in range(8):
        try:
            with peer.block() as handle:
                insert(handle, number + 1)
        except Exception:
            failed += 1
    return f"{failed} of 8 failed"


def interrupted_borrower(peer: Peer, world: World) -> str:
    """Signals at random moments while connections are borrowed and given back: what is left of the pool."""
    import random

    class Interrupt(BaseException):
        pass

    def handler(number: int, frame: Any) -> None:
        while frame is not None and frame.f_code is not work.__code__:
            frame = frame.f_back
        if frame is not None:
            raise Interrupt

    def work() -> None:
        for _ in range(500):
            peer.borrow()

    sys.unraisablehook = lambda told: None
    signal.signal(signal.SIGALRM, handler)
    dice = random.Random(1)
    hits, until = 0, time.monotonic() + 3
    while time.monotonic() < until:
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + dice.random() * 1e-3)
            work()
        except Interrupt:
            hits += 1
        except Exception as exc:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return f"{type(exc).__name__} after {hits} interrupts"
        signal.setitimer(signal.ITIMER_REAL, 0)
    whole = _places(peer)
    return f"{whole} of {peer.size} places left after {hits} interrupts"


def _places(peer: Peer) -> int:
    """Return how many threads can hold a connection at once."""
    inside: list[int] = []
    enough = threading.Event()

    def hold() -> None:
        with peer.block() as handle:
            handle.execute("select 1")
            inside.append(1)
            enough.wait(1.5)

    threads = [threading.Thread(target=lambda: swallow(hold), daemon=True) for _ in range(peer.size)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.2
    while len(inside) < peer.size and time.monotonic() < deadline:
        time.sleep(0.01)  # looks again until a deadline
    enough.set()
    return len(inside)


class Trap:
    """A program, the database it is for, and the rows that are right when it has been told that all is well, or not."""

    def __init__(
        self, run: Callable[[Peer, World], str | None], kind: str, well: list[list[int]], failed: list[list[int]]
    ) -> None:
        self.run, self.kind, self.well, self.failed = run, kind, well, failed
        self.name = f"{run.__name__.replace('_', ' ')}, {kind}"


TRAPS = [
    Trap(error_then_commit, "postgres", [[1]], [[]]),
    Trap(deadlock_then_work, "mariadb", [[1, 2]], [[]]),
    Trap(disk_error_then_work, "sqlite", [[1, 2]], [[]]),
    Trap(or_rollback_then_work, "sqlite", [[1, 2]], [[]]),
    Trap(ddl_then_failure, "mariadb", [[]], [[]]),
    Trap(killed_then_work, "postgres", [[1, 3], [1, 2, 3]], [[]]),
    Trap(killed_then_work, "mariadb", [[1, 3], [1, 2, 3]], [[]]),
    Trap(cut_commit, "postgres", [[1]], [[]]),
    Trap(cut_commit, "mariadb", [[1]], [[]]),
    Trap(close_inside, "sqlite", [[1]], [[]]),
    Trap(close_inside, "postgres", [[1]], [[]]),
    Trap(inner_failure, "postgres", [[1, 3]], [[]]),
    Trap(shared_by_threads, "postgres", [], [[]]),
    Trap(shared_by_threads, "mariadb", [], [[]]),
    Trap(restart_with_idle, "postgres", [list(range(1, 9))], []),
    Trap(restart_with_idle, "mariadb", [list(range(1, 9))], []),
    Trap(interrupted_borrower, "postgres", [[]], []),
]
