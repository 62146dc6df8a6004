"""The pool, with plain objects as connections: fair, bounded, and whole whatever is interrupted."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import PoolClosedError, PoolDeadlockError, PoolTimeoutError
from sessionkit.pool.pool import Pool
from sessionkit.testing import fake_engine

from .soak import lending

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

    from .conftest import Database


class Conn:
    """A connection that knows whether it is open and clean."""

    def __init__(self) -> None:
        self.open = True
        self.clean = True


class Bench:
    """A pool of plain objects, with counters and ways to make things fail."""

    def __init__(self, size: int = 4, **options: Any) -> None:
        self.made: list[Conn] = []
        self.on_connect: Callable[[], object] = lambda: None
        self.most = 0
        self._lock = threading.Lock()
        self.pool = Pool(self._connect, close=self._close, clean=lambda conn: conn.clean, size=size, **options)

    def _connect(self) -> Conn:
        self.on_connect()
        with self._lock:
            conn = Conn()
            self.made.append(conn)
            self.most = max(self.most, self.open())
        return conn

    def _close(self, conn: Conn) -> None:
        assert conn.open, "closed twice"
        conn.open = False

    def open(self) -> int:
        """Return how many connections are open."""
        return sum(conn.open for conn in self.made)


def run_all(threads: list[threading.Thread], seconds: float = 30) -> None:
    """Start threads and wait for all of them."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive()


def test_connections_are_opened_when_needed_and_reused() -> None:
    """Last in, first out, so that surplus ones age."""
    bench = Bench()
    first = bench.pool.checkout()
    second = bench.pool.checkout()
    conn = first.conn
    bench.pool.checkin(second)
    bench.pool.checkin(first)
    assert bench.pool.checkout().conn is conn
    assert len(bench.made) == 2


def test_never_more_than_size_and_all_are_served() -> None:
    """Twenty threads on four connections."""
    bench = Bench(4, timeout=20)
    served: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            lease = bench.pool.checkout()
            assert lease.conn.open
            bench.pool.checkin(lease)
        served.append(number)

    run_all([threading.Thread(target=work, args=(number,)) for number in range(20)])
    assert (sorted(served), bench.most <= 4, bench.pool.stats()["used"]) == (list(range(20)), True, 0)


def test_waiters_are_served_in_order() -> None:
    """Twenty staggered waiters on one connection."""
    bench = Bench(1, timeout=20)
    lease = bench.pool.checkout()
    order: list[int] = []

    def work(number: int) -> None:
        mine = bench.pool.checkout()
        order.append(number)
        bench.pool.checkin(mine)

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        while bench.pool.stats()["pending_requests"] <= number:
            time.sleep(0.001)
    bench.pool.checkin(lease)
    for thread in threads:
        thread.join(20)
    assert order == list(range(20))


def test_a_busy_thread_does_not_overtake_a_waiter() -> None:
    """The polite one gets the next connection: overtaken at most threads - 1 times."""
    bench = Bench(1, timeout=20)
    overtaken = []
    count = 0
    stop = threading.Event()

    def busy() -> None:
        nonlocal count
        while not stop.is_set():
            lease = bench.pool.checkout()
            count += 1
            bench.pool.checkin(lease)

    thread = threading.Thread(target=busy)
    thread.start()
    for _ in range(50):
        waiting = threading.Event()
        before = count
        waiting.set()
        lease = bench.pool.checkout()
        overtaken.append(count - before)
        bench.pool.checkin(lease)
    stop.set()
    thread.join(10)
    queued = sorted(overtaken)[: len(overtaken) * 9 // 10]  # until it is in the queue, the other may run a time slice
    assert queued[len(queued) // 2] <= 1


def test_timeouts_that_coincide_with_returns() -> None:
    """Ten thousand randomised: none lost, none lent twice."""
    bench = Bench(2, timeout=0.002)
    lent: set[int] = set()
    lock = threading.Lock()
    errors: list[str] = []
    done = [0, 0]

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(1250):
            try:
                lease = bench.pool.checkout(dice.random() * 0.002)
            except PoolTimeoutError:
                done[1] += 1
                continue
            with lock:
                if id(lease.conn) in lent:
                    errors.append("lent twice")
                lent.add(id(lease.conn))
            if dice.random() < 0.5:
                time.sleep(dice.random() * 0.001)
            with lock:
                lent.discard(id(lease.conn))
            bench.pool.checkin(lease)
            done[0] += 1

    run_all([threading.Thread(target=work, args=(seed,)) for seed in range(8)], 60)
    assert errors == []
    stats = bench.pool.stats()
    assert (stats["open"], stats["idle"], stats["used"], stats["pending_requests"]) == (
        bench.open(),
        bench.open(),
        0,
        0,
    )
    assert stats["timeouts"] == done[1]
    assert [bench.pool.checkout(1).conn.open for _ in range(2)] == [True, True]


def test_a_hand_over_that_takes_long() -> None:
    """A bringer that is held up between finding a waiter and handing to it: its slot is neither lost nor handed to nobody."""
    bench = Bench(1)
    lease = bench.pool.checkout()

    class Slow(deque[Any]):
        """A queue whose first reader is held up once it has found who waits."""

        pauses = [0.6]

        def popleft(self) -> Any:
            found = super().popleft()
            return lambda: (found(), time.sleep(self.pauses.pop() if self.pauses else 0))[0]

    bench.pool._waiters = Slow()
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(bench.pool.checkout(3)))
    waiting.start()
    while not bench.pool.stats()["pending_requests"]:
        time.sleep(0.01)  # until it waits
    bench.pool.checkin(lease)
    waiting.join(5)
    assert [slot.conn for slot in got] == bench.made
    bench.pool.checkin(got.pop())
    assert (len(bench.made), bench.open(), bench.pool.stats()["open"]) == (1, 1, 1)


def test_a_hanging_connect_delays_nobody_else() -> None:
    """Other threads with free capacity go on."""
    bench = Bench(2)
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        go_on.wait(10)

    bench.on_connect = hang
    thread = threading.Thread(target=lambda: bench.pool.checkin(bench.pool.checkout()))
    thread.start()
    hanging.wait(10)
    bench.on_connect = lambda: None
    started = time.monotonic()
    bench.pool.checkin(bench.pool.checkout())
    took = time.monotonic() - started
    go_on.set()
    thread.join(10)
    assert took < 1


def test_a_failed_connect_wakes_the_next_waiter_at_once() -> None:
    """The place is free again, and whoever waits gets it."""
    bench = Bench(1, timeout=10)
    trying, fail = threading.Event(), threading.Event()

    def failing() -> None:
        trying.set()
        fail.wait(10)
        bench.on_connect = lambda: None
        raise OSError("refused")

    bench.on_connect = failing
    results: list[object] = []

    def first() -> None:
        try:
            bench.pool.checkout()
        except OSError as exc:
            results.append(exc)

    def second() -> None:
        started = time.monotonic()
        bench.pool.checkin(bench.pool.checkout())
        results.append(time.monotonic() - started)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    trying.wait(10)
    threads[1].start()
    while not bench.pool.stats()["pending_requests"]:
        time.sleep(0.001)
    fail.set()
    for thread in threads:
        thread.join(10)
    took = next(result for result in results if isinstance(result, float))
    assert took < 5


def test_a_timed_out_waiter_leaves_no_ghost() -> None:
    """The next one gets the connection."""
    bench = Bench(1)
    lease = bench.pool.checkout()
    with pytest.raises(PoolTimeoutError):
        bench.pool.checkout(0.01)
    bench.pool.checkin(lease)
    assert bench.pool.checkout(0.01) is lease


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this platform")
def test_an_interrupted_waiter_leaves_no_ghost() -> None:
    """A signal while waiting: the next one gets the connection."""
    bench = Bench(1, timeout=20)
    lease = bench.pool.checkout()

    def interrupt(*_: object) -> None:
        raise InterruptedError("by a signal")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in (0.01, 0.1):  # before the first tick: what is raised inside a garbage collection Python swallows
            signal.setitimer(signal.ITIMER_REAL, delay)
            with pytest.raises(InterruptedError):
                bench.pool.checkout()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert bench.pool.stats()["pending_requests"] == 0
    bench.pool.checkin(lease)
    assert bench.pool.checkout(0.01) is lease


def test_an_interrupted_checkout_whose_traceback_is_kept() -> None:
    """As a killed greenlet keeps it: while the idle connection's socket is looked at, gevent switches to others."""
    bench = Bench(1, timeout=1)

    def interrupted(timeout: int) -> object:
        raise KeyboardInterrupt

    lease = bench.pool.checkout()
    bench.pool.checkin(lease)
    lease.poll = interrupted
    with pytest.raises(KeyboardInterrupt) as kept:
        bench.pool.checkout()
    assert bench.pool.stats()["used"] == 0
    bench.pool.checkin(bench.pool.checkout())
    assert kept.value.__traceback__ is not None
    assert [conn.open for conn in bench.made] == [False, True]


def test_a_dirty_connection_is_not_lent_again() -> None:
    """What cannot be cleaned is closed; the next borrower gets another."""
    bench = Bench(1)
    lease = bench.pool.checkout()
    lease.conn.clean = False
    bench.pool.checkin(lease)
    assert bench.pool.checkout().conn.clean
    assert [conn.open for conn in bench.made] == [False, True]


def test_double_and_foreign_checkin() -> None:
    """A clear error, and nothing changes."""
    one, two = Bench(1), Bench(1)
    lease = one.pool.checkout()
    with pytest.raises(PoolClosedError, match="another pool"):
        two.pool.checkin(lease)
    one.pool.checkin(lease)
    with pytest.raises(PoolClosedError, match="already"):
        one.pool.checkin(lease)
    with pytest.raises(PoolClosedError, match="already"):
        one.pool.discard(lease)
    assert one.pool.stats()["idle"] == 1


def test_a_dropped_lease_gives_its_place_back() -> None:
    """Nobody gave it back: its place is there again, empty."""
    bench = Bench(1, timeout=2)
    bench.pool.checkout()
    gc.collect(0)
    assert bench.pool.checkout().conn is bench.made[1]


def test_dispose_while_two_are_out() -> None:
    """Idle ones close at once, the others when they come home; the pool can be used again."""
    bench = Bench(3)
    leases = [bench.pool.checkout() for _ in range(3)]
    bench.pool.checkin(leases.pop())
    bench.pool.dispose()
    assert bench.open() == 2
    for lease in leases:
        bench.pool.checkin(lease)
    assert bench.open() == 0
    assert bench.pool.checkout().conn.open


def test_age_and_idleness_are_judged_by_a_monotonic_clock() -> None:
    """Too old, or idle for too long: replaced; otherwise kept."""
    now = [0.0]
    bench = Bench(1, recycle=100.0, idle=50.0, clock=lambda: now[0])

    def conn_at(moment: float) -> Conn:
        now[0] = moment
        lease = bench.pool.checkout()
        bench.pool.checkin(lease)
        conn: Conn = lease.conn
        return conn

    first = conn_at(0)
    assert conn_at(49) is first
    second = conn_at(100)  # older than 100 s less 10 % jitter at most
    assert second is not first
    assert conn_at(151) is not second  # idle for 51 s
    assert bench.open() == 1


def test_a_connection_that_is_too_old_is_closed_when_it_comes_home() -> None:
    """Age is judged at checkin too."""
    now = [0.0]
    bench = Bench(1, recycle=100.0, clock=lambda: now[0])
    lease = bench.pool.checkout()
    now[0] = 101.0
    bench.pool.checkin(lease)
    assert bench.open() == 0


def test_surplus_connections_are_closed_after_idling() -> None:
    """Lazily, when another comes home."""
    now = [0.0]
    bench = Bench(3, recycle=None, idle=50.0, clock=lambda: now[0])
    leases = [bench.pool.checkout() for _ in range(3)]
    for lease in leases:
        bench.pool.checkin(lease)
    for moment in (30.0, 60.0):
        now[0] = moment
        bench.pool.checkin(bench.pool.checkout())
    assert bench.open() == 1


def leaking_function(pool: Pool) -> Any:
    """Borrow and keep."""
    return pool.checkout()


def test_a_timeout_names_the_culprits() -> None:
    """The leak's file and line, its thread, and how long."""
    bench = Bench(1, timeout=0.01)
    lease = leaking_function(bench.pool)
    lease.statement, lease.in_transaction = "select secret from places", True
    line = leaking_function.__code__.co_firstlineno + 2
    with pytest.raises(PoolTimeoutError, match=rf'test_pool\.py:{line}, "select secret from places", in transaction'):
        threading_result(bench.pool.checkout)


def threading_result(fn: Callable[[], Any]) -> Any:
    """Run in another thread, and return or raise what came out."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(fn())
        except Exception as exc:
            found.append(exc)

    run_all([threading.Thread(target=work)])
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def test_a_timeout_tells_the_last_connect_error() -> None:
    """If connecting fails, that is why."""
    bench = Bench(2, timeout=0.01)
    lease = bench.pool.checkout()

    def fail() -> None:
        raise OSError("nobody listens there")

    bench.on_connect = fail
    with pytest.raises(OSError, match="nobody"):
        bench.pool.checkout()
    other = bench.pool._idle.pop()  # somebody is trying again just now
    with pytest.raises(PoolTimeoutError, match="nobody listens there"):
        threading_result(bench.pool.checkout)
    bench.pool._idle.append(other)
    bench.pool.checkin(lease)


class Outage:
    """A clock that sleeping moves, and a server that cannot be connected to until a moment."""

    def __init__(self, bench_options: dict[str, Any] | None = None, until: float = 0.0) -> None:
        self.now = 0.0
        self.until = until
        self.attempts: list[float] = []
        options: dict[str, Any] = {
            "is_outage": lambda exc: isinstance(exc, OSError),
            "clock": lambda: self.now,
            "sleep": self.sleep,
        }
        self.bench = Bench(4, **{**options, **(bench_options or {})})
        self.bench.on_connect = self.connect

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds

    def connect(self) -> None:
        """Succeed once the outage is over."""
        self.attempts.append(self.now)
        if self.now < self.until:
            raise OSError("refused")


def test_an_outage_is_waited_for_with_spaced_attempts() -> None:
    """Once it was connected, a caller tries until its timeout; the first success is soon after the server is back."""
    outage = Outage({"timeout": 60.0})
    outage.bench.pool.discard(outage.bench.pool.checkout())
    outage.until = 30.0
    outage.bench.pool.checkin(outage.bench.pool.checkout())
    assert 30.0 <= outage.now <= 31.2
    assert len(outage.attempts) < 50


def test_an_outage_that_outlasts_the_timeout() -> None:
    """The last error comes out, and the place is free again."""
    outage = Outage({"timeout": 5.0})
    outage.bench.pool.discard(outage.bench.pool.checkout())
    outage.until = 30.0
    with pytest.raises(OSError, match="refused"):
        outage.bench.pool.checkout()
    assert outage.now <= 5.0
    assert outage.bench.pool.stats()["used"] == 0


def test_a_pool_that_was_never_connected_fails_at_once() -> None:
    """And those who ask again too soon get the same error without an attempt: no storm of connects."""
    outage = Outage(until=30.0)
    for _ in range(100):
        with pytest.raises(OSError, match="refused"):
            outage.bench.pool.checkout()
        outage.now += 0.01
    assert outage.now == pytest.approx(1.0)
    assert len(outage.attempts) <= 8


def test_other_errors_of_connecting_are_not_spaced_out() -> None:
    """A wrong password is told at once, to everybody, and not repeated."""
    bench = Bench(1, is_outage=lambda exc: False)
    attempts: list[int] = []

    def refuse() -> None:
        attempts.append(1)
        raise PermissionError("wrong password")

    bench.pool.discard(bench.pool.checkout())
    bench.on_connect = refuse
    for _ in range(3):
        with pytest.raises(PermissionError):
            bench.pool.checkout()
    assert len(attempts) == 3


def test_a_lease_held_for_long_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the place that borrowed it; noticed when another connection comes home, or it does."""
    now = [0.0]
    bench = Bench(2, hold_warning=10.0, clock=lambda: now[0])
    lease = leaking_function(bench.pool)
    for moment in (5.0, 11.0, 20.0):
        now[0] = moment
        bench.pool.checkin(bench.pool.checkout())
    bench.pool.checkin(lease)
    assert caplog.text.count("held for long") == 1
    assert "test_pool.py" in caplog.text


def test_requests_survive_a_restart_of_the_server(server_db: Database) -> None:
    """A program that asks while the server is away is served when it is back."""
    if not hasattr(server_db.server, "restart"):
        pytest.skip("a server that somebody else runs cannot be restarted")
    engine = server_db.engine(pool_timeout=30.0)
    engine.execute("select 1")
    server_db.server.stop()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(engine.execute("select 2").scalar()))
    thread.start()
    server_db.server.start()  # by this thread: a server dies with the thread that started it
    thread.join(60)
    assert found == [2]


def alone(code: str) -> str:
    """Run code in a process of its own, with one thread; return what it printed."""
    head = (
        "import threading, time\nfrom sessionkit import PoolDeadlockError, PoolTimeoutError\n"
        "from sessionkit.testing import fake_engine\nengine = fake_engine(pool_size=1, pool_timeout=4)\nstarted = time.monotonic()\n"
    )
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LAYERED = """
def audit():
    with engine.begin() as inner:
        inner.execute("insert")

def find(session):
    session.execute("select 1")     # borrows, and returns

def handler():
    outer = engine.session()
    find(outer)
    audit()
"""
TELL = """
try:
    handler()
except PoolDeadlockError as exc:
    print("deadlock", "holds all 1" in str(exc), round(time.monotonic() - started))
except PoolTimeoutError as exc:
    print("timeout", round(time.monotonic() - started))
"""


def test_a_deadlock_with_oneself_is_told_at_once() -> None:
    """In a process with one thread; also where the code that borrowed has returned long ago."""
    assert alone(LAYERED + TELL) == "deadlock True 0"


def test_a_deadlock_with_oneself_among_threads_is_told_after_half_the_timeout() -> None:
    """One of them might have been handed the session."""
    wait = "threading.Thread(target=time.sleep, args=(3,)).start()\n"
    assert alone(LAYERED + wait + TELL) == "deadlock True 2"


def test_a_session_that_another_thread_gives_back_is_no_deadlock() -> None:
    """The connection is on its way."""
    assert (
        alone(
            LAYERED.replace("    audit()", "    threading.Timer(1, outer.close).start()\n    audit()")
            + "handler()\nprint(round(time.monotonic() - started))"
        )
        == "1"
    )


def test_a_session_that_is_no_local_variable_is_no_deadlock_for_sure() -> None:
    """It waits its time."""
    code = LAYERED.replace("outer = engine.session()", "handler.outer = engine.session()").replace(
        "find(outer)", "find(handler.outer)"
    )
    assert alone(code + TELL) == "timeout 4"


def test_looking_for_a_deadlock_keeps_nothing_alive(fake: Engine) -> None:
    """A session whose variable is deleted dies at once, although its frame was looked at."""
    engine = fake_engine(fake.driver, pool_size=1, pool_timeout=0.1)
    session = engine.session()
    session.execute("select 1")
    with pytest.raises(PoolDeadlockError):
        engine.execute("select 1")
    session.close()
    seen = weakref.ref(session)
    del session
    assert seen() is None


def test_sessions_that_hop_over_threads_are_no_deadlock(fake: Engine) -> None:
    """Four clients on a pool of two, each statement in whichever worker is free: never a false alarm."""
    from concurrent.futures import ThreadPoolExecutor

    engine = fake_engine(fake.driver, pool_size=2, pool_timeout=20)

    def step(session: Any) -> None:
        session.execute("insert")

    def end(session: Any) -> None:
        session.commit()

    with ThreadPoolExecutor(4) as workers:

        def client() -> None:
            for _ in range(30):
                session = engine.session()
                for action in (step, step, end):
                    workers.submit(action, session).result(30)

        run_all([threading.Thread(target=client) for _ in range(4)])
    assert engine.pool.stats()["used"] == 0


def test_returned_in_a_transaction(db: Database) -> None:
    """In a transaction, a failed one, or in mid-command: the next user finds it idle and empty, or gets another."""
    engine = db.engine(pool_size=1)
    for spoil in ("insert into item (name, price) values ('x', 1)", "nonsense"):
        lease = engine.pool.checkout()
        engine.driver.begin(lease.conn, None, False, True)
        cursor = engine.driver.cursor(lease.conn)
        try:
            cursor.execute(spoil)
        except Exception as exc:
            assert engine.driver.diagnose(exc) is not None
        cursor.close()
        engine.pool.checkin(lease)
        with engine.session() as session:
            assert session.scalar("select count(*) from item") == 0


def test_mariadb_returned_in_mid_command(mariadb: Database) -> None:
    """An unfinished unbuffered result: that connection is closed."""
    from pymysql.cursors import SSCursor

    engine = mariadb.engine(pool_size=1)
    lease = engine.pool.checkout()
    cursor = lease.conn.cursor(SSCursor)
    many = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 900) select repeat('x', 9999) from n"
    )
    cursor.execute(many)
    cursor.fetchone()
    engine.pool.checkin(lease)
    assert engine.execute("select 1").scalar() == 1


def test_connections_that_the_server_closed_are_not_lent(server_db: Database) -> None:
    """Four idle, all of them killed: eight requests, none fails."""
    engine = server_db.engine(pool_size=4)
    leases = [engine.pool.checkout() for _ in range(4)]
    for lease in leases:
        engine.pool.checkin(lease)
    if server_db.kind == "postgres":
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
        server_db.main.execute(kill)
        others = (
            "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        while server_db.main.execute(others).scalar():
            time.sleep(0.01)  # the backends end when they notice
    else:
        own = server_db.main.execute("select connection_id()").scalar()
        for ident in server_db.main.execute(
            "select id from information_schema.processlist where user = 'root'"
        ).scalars():
            if ident != own:
                server_db.main.execute(f"kill {ident}")
    assert [engine.execute("select 1").scalar() for _ in range(8)] == [1] * 8


# -- fork and exit


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_with_two_idle_and_one_lent(db: Database) -> None:
    """The parent's three still work; the child opens its own."""
    engine = db.engine(pool_size=3)
    sessions = [engine.session() for _ in range(3)]
    for session in sessions:
        session.execute("select 1")
    for session in sessions[:2]:
        session.rollback()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sessions[2].close()
            with engine.session() as session:
                code = 0 if session.scalar("select 40 + 2") == 42 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sessions[2].scalar("select 3") == 3
    sessions[2].rollback()
    assert [engine.execute("select 4").scalar() for _ in range(4)] == [4] * 4
    assert engine.pool.stats()["open"] == 3


SCRIPT = """
import sys
from sessionkit import create_engine, Registry
registry = Registry()
registry.add("one", sys.argv[1])
session = registry.session()
session.execute("select 1")
held = registry["one"].pool.checkout()
other = registry.session()
other.execute("select 2")
other.commit()
"""


def test_a_script_that_closes_nothing(db: Database) -> None:
    """It ends at once, with status 0 and nothing on standard error."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, db.url], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_random_operations_from_eight_threads() -> None:
    """With failing connects, leaks, timeouts and disposals: at the end every place is accounted for."""
    done = lending.run(20_000, seed=1)
    assert done.total() == 20_000
    assert min(done[what] for what in ("lent and returned", "lent and discarded", "lent and lost", "dispose")) > 0
