"""Two threads in one session: one of them is refused, and what the other does happens once."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ConcurrentUseError, create_engine
from sessionkit.session.guard import Guard

from .test_interrupts import Injector, Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine

    from .conftest import Database

SECONDS = float(os.environ.get("SESSIONKIT_HAMMER_SECONDS", "1.5"))
pytestmark = pytest.mark.timeout(60 + 3 * SECONDS)


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("count", [4, 16])
def test_threads_that_hammer_one_session(db: Database, switching: None, count: int) -> None:
    """Refused or done: every success is in the database once, nothing is lost, and the session works afterwards."""
    engine = db.engine(pool_size=2)
    deadline = time.monotonic() + SECONDS
    refused, rounds = 0, 0
    while time.monotonic() < deadline:
        rounds += 1
        refused += hammer(engine, count, rounds)
    assert refused
    assert rounds > 1


def hammer(engine: Engine, count: int, number: int) -> int:
    """Let threads insert through one session; return how many calls were refused."""
    session = engine.session()
    done: list[str] = []
    refused: list[str] = []
    failed: list[BaseException] = []
    start = threading.Barrier(count)

    def work(me: int) -> None:
        start.wait()
        for nth in range(40):
            name = f"{number}-{me}-{nth}"
            try:
                session.execute("insert into item (name, price) values (:n, 1)", {"n": name})
                done.append(name)
            except ConcurrentUseError:
                refused.append(name)
            except BaseException as exc:
                failed.append(exc)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    session.commit()
    assert sorted(engine.execute("select name from item").scalars()) == sorted(done)
    assert len(done) + len(refused) == 40 * count
    engine.execute("delete from item")
    session.close()
    return len(refused)


def test_the_same_thread_comes_in_again() -> None:
    """A hook that calls its session; the mark stays the outer call's."""
    guard = Guard()
    with guard():
        with guard():
            pass
        assert guard
        with pytest.raises(ConcurrentUseError, match="changed nothing"):
            in_a_thread(guard)
    assert not guard
    in_a_thread(guard)


def in_a_thread(guard: Guard) -> None:
    """Use a guard in another thread, and raise here what comes of it."""
    failed: list[Exception] = []

    def use() -> None:
        try:
            with guard():
                pass
        except Exception as exc:
            failed.append(exc)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_a_mark_that_was_left_behind_is_taken_over() -> None:
    """By any thread, and by one of several at once."""
    guard = Guard()
    guard[0] = [threading.get_ident() + 1]
    in_a_thread(guard)
    assert not guard
    for _ in range(200):
        guard[0] = [1]
        entered: list[int] = []
        inside = threading.Semaphore(1)
        start = threading.Barrier(4)

        def use(entered: list[int] = entered, inside: Any = inside, start: Any = start) -> None:
            start.wait()
            try:
                with guard():
                    assert inside.acquire(blocking=False)
                    entered.append(1)
                    inside.release()
            except ConcurrentUseError:
                pass

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert entered
        assert not guard


def test_a_lost_lock_of_the_contests_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever had it was interrupted before it could let go."""
    from sessionkit.session import guard as module

    monkeypatch.setattr(module, "_LONG", 0.05)
    lost = module._contests
    lost.acquire()
    guard = Guard()
    guard[0] = [1]
    in_a_thread(guard)
    assert not guard
    assert module._contests is not lost


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_an_interrupt_at_every_bytecode_another_thread_can_go_on() -> None:
    """Wherever it hit a call, its mark is no obstacle."""
    at = 1
    while True:
        with create_engine("sqlite://") as engine:
            session = engine.session()
            injector = Injector(at)
            try:
                with injector:
                    session.execute("select 1")
                    session.commit()
            except Interrupt:
                pass
            failed: list[BaseException] = []

            def use(session: Any = session, failed: list[BaseException] = failed) -> None:
                try:
                    session.close()
                    session.execute("select 1")
                    session.close()
                except BaseException as exc:
                    failed.append(exc)

            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
            assert not failed, (injector.where, failed)
        if injector.count < at:
            break
        at += 1
    assert at > 100
