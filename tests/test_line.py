"""SQLite's writers stand in a fair line: served in order, whatever is interrupted, forked or killed; readers never wait."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import LockTimeoutError, PoolDeadlockError, SerializationError, create_engine
from sessionkit.pool.line import Line, line_for

from .test_interrupts import STRIDE, Injector, Interrupt

if TYPE_CHECKING:
    from pathlib import Path

    from sessionkit import Engine

    from .conftest import Database

INSERT = "insert into item (name, price) values (?, 1)"


def in_thread(work: Any) -> threading.Thread:
    """Start a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def until(condition: Any) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_writers_are_served_in_order(sqlite: Database) -> None:
    """Of two engines on the file; who waits holds no connection."""
    engines = [sqlite.main, sqlite.engine(pool_size=1)]
    assert engines[0].line is engines[1].line
    line: Any = sqlite.main.line
    order: list[int] = []

    def write(number: int) -> None:
        with engines[number % 2].begin() as session:
            session.execute(INSERT, (f"n{number}",))
            order.append(number)

    threads = []
    with sqlite.main.begin() as session:
        session.execute(INSERT, ("first",))
        for number in range(12):
            threads.append(in_thread(lambda number=number: write(number)))
            until(lambda number=number: len(line._waiters) == number + 1)
        assert engines[1].pool.stats()["used"] == 0
        assert engines[0].pool.stats()["used"] == 1
    for thread in threads:
        thread.join(10)
    assert order == list(range(12))
    assert len(sqlite.names()) == 13


def test_under_contention_everybody_gets_as_much(sqlite: Database) -> None:
    """Sixteen threads and connections, transactions of a millisecond: nobody fails, the unluckiest has at least half of the luckiest."""
    engine = sqlite.engine(pool_size=16)
    counts: Counter[int] = Counter()
    stop = time.monotonic() + 1.5
    failed: list[Exception] = []

    def work(me: int) -> None:
        try:
            while time.monotonic() < stop:
                with engine.begin() as session:
                    session.execute(INSERT, (f"{me}-{counts[me]}",))
                    time.sleep(0.001)
                counts[me] += 1
        except Exception as exc:
            failed.append(exc)

    threads = [in_thread(lambda me=me: work(me)) for me in range(16)]
    for thread in threads:
        thread.join(30)
    assert not failed
    assert len(counts) == 16
    assert min(counts.values()) >= max(counts.values()) / 2


def test_readers_and_statements_that_only_read_never_wait(sqlite: Database) -> None:
    """Sessions that begin with a read, read-only blocks, engine.execute; and a write alone does wait."""
    engine = sqlite.engine(busy_timeout=0.3)
    with sqlite.main.begin() as writing:
        writing.execute(INSERT, ("a",))
        started = time.monotonic()

        def read() -> None:
            assert engine.execute("select count(*) from item").scalar() == 0
            with engine.session() as session:
                assert session.scalar("select count(*) from item") == 0
            with engine.begin(read_only=True) as session:
                assert session.scalar("select count(*) from item") == 0

        thread = in_thread(read)
        thread.join(10)
        assert time.monotonic() - started < 0.25
        failed: list[Exception] = []

        def write() -> None:
            try:
                engine.execute(INSERT, ("b",))
            except Exception as exc:
                failed.append(exc)

        thread = in_thread(write)
        thread.join(10)
    assert isinstance(failed[0], LockTimeoutError)
    assert "within 0.3 s" in str(failed[0])
    assert f"{__file__}:" in str(failed[0])  # where the session that has the turn was made
    assert sqlite.names() == ["a"]


def test_a_session_that_waits_for_this_very_thread_is_told_at_once() -> None:
    """In a process of one thread; it can never come."""
    code = (
        "import time\nfrom sessionkit import PoolDeadlockError, create_engine\n"
        "def handler(engine):\n"
        "    with engine.begin() as outer:\n"
        "        outer.execute('create table t (a)')\n"
        "        audit(engine)\n"
        "def audit(engine):\n"
        "    with engine.begin() as inner:\n"
        "        inner.execute('create table u (a)')\n"
        "started = time.monotonic()\n"
        "try:\n"
        "    handler(create_engine('sqlite:///x.db'))\n"
        "except PoolDeadlockError as exc:\n"
        "    print('its turn to write' in str(exc), time.monotonic() - started < 1)\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_a_signal_reaches_a_waiting_writer_at_once(sqlite: Database) -> None:
    """In line, and where another process has the lock; its turn goes on to the next."""
    raw = sqlite3.connect(sqlite.url.removeprefix("sqlite:///"), isolation_level=None)
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        for hold in ("line", "lock"):
            held, go_on = threading.Event(), threading.Event()

            def holder(held: Any = held, go_on: Any = go_on) -> None:
                with sqlite.main.session() as session:
                    session.execute(INSERT, ("held",))
                    held.set()
                    go_on.wait(10)
                    session.rollback()

            thread = in_thread(holder) if hold == "line" else None
            if thread is None:
                raw.execute("begin immediate")
            else:
                held.wait(10)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            started = time.monotonic()
            with pytest.raises(Interrupt):
                sqlite.engine(busy_timeout=30).execute(INSERT, ("x",))
            assert time.monotonic() - started < 1
            go_on.set()
            if thread is not None:
                thread.join(10)
            raw.rollback()
            sqlite.main.execute(INSERT, (hold,))
    finally:
        signal.signal(signal.SIGALRM, before)
        raw.close()
    assert sqlite.names() == ["line", "lock"]


def _ring(*_: object) -> None:
    raise Interrupt


def test_a_session_that_nobody_kept_loses_its_turn(sqlite: Database) -> None:
    """The next writer waits for no longer than a moment."""

    def leave() -> None:
        session = sqlite.main.session()
        session.execute(INSERT, ("lost",))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        leave()
        gc.collect()
    started = time.monotonic()
    sqlite.main.execute(INSERT, ("kept",))
    assert time.monotonic() - started < 1
    assert sqlite.names() == ["kept"]


def test_every_end_hands_the_turn_on(sqlite: Database) -> None:
    """Commit, rollback, close, reset, invalidate, an error, a statement alone that fails, no connection to be had."""
    engine = sqlite.engine(pool_size=1, pool_timeout=0.05)
    line: Any = engine.line

    def is_free() -> bool:
        return not line._lent()

    for end in ("commit", "rollback", "close", "reset", "invalidate"):
        session = engine.session()
        session.execute(INSERT, (end,))
        assert not is_free()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(session, end)()
        assert is_free()
    with pytest.raises(KeyError), engine.begin() as session:
        session.execute(INSERT, ("x",))
        raise KeyError
    assert is_free()
    with pytest.raises(Exception, match="no such table"):
        engine.execute("insert into nowhere values (1)")
    assert is_free()
    lease = engine.pool.checkout()
    with pytest.raises(Exception, match="no connection"):
        engine.execute(INSERT, ("x",))
    assert is_free()
    engine.pool.checkin(lease)
    with engine.session() as session:
        session.scalar("select 1")
        session.execute(INSERT, ("from a read",))  # no turn: it competes for the lock
        assert is_free()
        session.commit()
    assert sqlite.names() == ["commit", "from a read"]


def test_a_transaction_that_read_first(sqlite: Database) -> None:
    """SQLite lets it wait for no lock, and tells when its snapshot is old; `run` tries again after both."""
    engine = sqlite.engine(busy_timeout=5)
    with engine.session() as session:
        session.scalar("select count(*) from item")
        with sqlite.main.begin() as other:
            other.execute(INSERT, ("other",))
        with pytest.raises(SerializationError):
            session.execute(INSERT, ("late",))
        session.rollback()
    with engine.session() as session, sqlite.engine().session() as other:
        session.scalar("select count(*) from item")
        other.execute(INSERT, ("undone",))
        started = time.monotonic()
        with pytest.raises(LockTimeoutError):
            session.execute(INSERT, ("too soon",))
        assert time.monotonic() - started < 1
        other.rollback()
        session.execute(INSERT, ("now",))  # the lock is free, and the snapshot is still good
        session.commit()
    assert sqlite.names() == ["other", "now"]


def test_two_that_read_and_then_write_in_a_rollback_journal(tmp_path: Path) -> None:
    """Each is in the way of the other, so waiting is in vain, and told long before the patience is over."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", journal_mode="delete", busy_timeout=20)
    engine.execute("create table t (a)")
    one, two = engine.session(), engine.session()
    one.scalar("select count(*) from t")
    two.scalar("select count(*) from t")
    one.execute("insert into t values (1)")
    started = time.monotonic()
    with pytest.raises(LockTimeoutError):
        two.execute("insert into t values (2)")
    assert time.monotonic() - started < 5
    two.rollback()
    one.commit()
    one.close()
    two.close()
    assert engine.execute("select a from t").scalars() == [1]
    engine.dispose()


# -- other processes

CHILD = """
import sys, time
from sessionkit import create_engine
engine = create_engine(sys.argv[1], busy_timeout=20)
session = engine.session()
session.execute("insert into item (name, price) values ('child', 1)")
print("has it", flush=True)
sys.stdin.readline()
session.commit()
print("done", flush=True)
"""


def child(database: Database) -> Any:
    """Start a process that has its turn, and commits when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


def test_another_process_has_the_lock(sqlite: Database) -> None:
    """It is asked for every millisecond or so; who waits in line waits with who asks."""
    process = child(sqlite)
    threads = [in_thread(lambda name=name: sqlite.main.execute(INSERT, (name,))) for name in "ab"]
    time.sleep(0.1)
    process.stdin.write("\n")
    process.stdin.flush()
    for thread in threads:
        thread.join(10)
    process.wait(10)
    process.stdin.close()
    process.stdout.close()
    assert sorted(sqlite.names()) == ["a", "b", "child"]


def test_a_process_is_killed_while_it_has_its_turn(sqlite: Database) -> None:
    """Its lock dies with it."""
    process = child(sqlite)
    thread = in_thread(lambda: sqlite.main.execute(INSERT, ("a",)))
    time.sleep(0.05)
    process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()
    thread.join(10)
    assert sqlite.names() == ["a"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_the_line_is_full(sqlite: Database) -> None:
    """The child starts with a free turn; the parent's line goes on. (SQLite itself takes a lock that was held over a fork for ever.)"""
    threads = []
    with sqlite.main.begin() as session:
        session.execute(INSERT, ("held",))
        for number in range(3):
            threads.append(in_thread(lambda number=number: sqlite.main.execute(INSERT, (f"n{number}",))))
        until(lambda: len(sqlite.main.line._waiters) == 3)  # type: ignore[union-attr]
        pid = os.fork()
        if pid == 0:
            try:
                assert not sqlite.main.line._lent()  # type: ignore[union-attr]
                turn(sqlite.main.line)  # type: ignore[arg-type]
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
    for thread in threads:
        thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sorted(sqlite.names()) == ["held", "n0", "n1", "n2"]


# -- interrupts


def turn(line: Line) -> None:
    """Take a turn and give it on."""
    slot = line.take((1, None, 0), 5.0)
    line.give(slot)


def test_an_interrupt_at_every_bytecode_of_a_turn() -> None:
    """The next gets it within half a second, whether or not somebody waits."""
    at = 1
    while True:
        line = line_for("a test")
        turn(line)
        injector = Injector(at)
        try:
            with injector:
                turn(line)
        except Interrupt:
            pass
        started = time.monotonic()
        turn(line)
        assert time.monotonic() - started < 0.5, injector.where
        if injector.count < at:
            break
        at += 1
    assert at > 30


@pytest.mark.timeout(600)
def test_an_interrupt_at_every_bytecode_of_a_writing_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block on a file: the next writer goes on, and every block that ended well is there."""
    monkeypatch.setattr(sys, "unraisablehook", lambda told: None)
    at, done = 1, 0
    with create_engine(f"sqlite:///{tmp_path}/x.db", pool_size=2, busy_timeout=5) as engine:
        engine.execute("create table t (a)")

        def work(engine: Engine) -> None:
            with engine.begin() as session:
                session.execute("insert into t values (1)")

        work(engine)
        while True:
            injector = Injector(at)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                try:
                    with injector:
                        work(engine)
                    done += 1
                except Interrupt:
                    pass
                gc.collect(0)
                started = time.monotonic()
                work(engine)
                assert time.monotonic() - started < 1.5, injector.where
            if injector.count < at:
                break
            at += STRIDE
        assert at > 200
        assert engine.execute("select count(*) from t").scalar() >= done


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_among_waiting_writers(sqlite: Database) -> None:
    """Signals while four threads write: each comes out of the call it struck, and nothing that ended well is lost."""
    engine = sqlite.engine(pool_size=5)
    stop = threading.Event()
    done: list[str] = []

    def others(me: int) -> None:
        nth = 0
        while not stop.is_set():
            nth += 1
            engine.execute(INSERT, (f"{me}-{nth}",))
            done.append(f"{me}-{nth}")

    threads = [in_thread(lambda me=me: others(me)) for me in range(3)]
    before = signal.signal(signal.SIGALRM, _ring)
    struck = 0
    try:
        for number in range(150):
            name = f"main-{number}"
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + (number % 10) * 0.0003)
                with engine.begin() as session:
                    session.execute(INSERT, (name,))
                    time.sleep(0.001)
                signal.setitimer(signal.ITIMER_REAL, 0)
                done.append(name)
            except Interrupt:
                struck += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert struck > 10
    assert set(done) <= set(sqlite.names())
    assert not engine.line._lent()  # type: ignore[union-attr]


def test_a_deadlock_text_names_the_file(sqlite: Database) -> None:
    """Among threads it is told after half the time."""
    engine = sqlite.engine(busy_timeout=0.4)
    with engine.begin() as outer:
        outer.execute(INSERT, ("x",))
        with pytest.raises(PoolDeadlockError, match=r"test\.db"):
            engine.execute(INSERT, ("y",))
