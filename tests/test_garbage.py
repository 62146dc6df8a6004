"""What fails leaves no cycle behind: a session that is let go dies at once, and its place with it, collector or not."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import Rollback, create_engine, errors
from sessionkit.testing import FakeError, fake_engine
from sessionkit.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessionkit import Session

    from .conftest import Database


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Nothing here may need it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def a_wrong_statement(session: Session) -> None:
    """It dooms the transaction on PostgreSQL."""
    session.execute("select nope from item")


def a_doomed_transaction(session: Session) -> None:
    """The first error is the cause of the second."""
    try:
        session.execute("select nope from item")
    finally:
        session.execute("select 1")


def a_wrong_value(session: Session) -> None:
    """It is never sent."""
    session.execute("select :x", {"x": object()})


def many_wrong_rows(session: Session) -> None:
    """In a pipeline, on PostgreSQL."""
    session.executemany("insert into item (name, price) values (?, ?)", [("a", 1), ("a", 1)])


def a_block(session: Session) -> None:
    """It is rolled back."""
    with session.begin():
        a_wrong_statement(session)


def a_nested_block(session: Session) -> None:
    """It is rolled back, and so is the outer one."""
    with session.begin(), session.begin_nested():
        a_wrong_statement(session)


def an_open_handle(session: Session) -> None:
    """The block ends while a handle within it is open."""
    with session.begin():
        session.begin_nested()


def hooks(session: Session) -> None:
    """Two of them fail."""
    with session.begin():
        for _ in range(2):
            session.after_commit(lambda: 1 / 0)


def undone(session: Session) -> None:
    """No error."""
    with session.begin():
        session.execute("select 1")
        raise Rollback


@pytest.mark.parametrize(
    "fail", [a_wrong_statement, a_doomed_transaction, a_wrong_value, many_wrong_rows, a_block, a_nested_block, an_open_handle, hooks, undone]
)  # fmt: skip
def test_a_session_that_failed(db: Database, fail: Callable[[Session], None]) -> None:
    """It is closed and let go: nothing has kept it."""

    def work() -> weakref.ref[Session]:
        with db.main.session() as session:
            try:
                fail(session)
            except Exception as exc:
                assert str(exc)
            return weakref.ref(session)

    assert work()() is None


FAILURES: dict[str, Callable[[], BaseException]] = {
    "the driver's error": lambda: FakeError("error"),
    "the connection is gone": lambda: FakeError("gone"),
    "Ctrl-C": KeyboardInterrupt,
    "a handler's exception": lambda: RuntimeError("time is up"),
}


@pytest.mark.parametrize("step", ["commit", "rollback", "begin", "savepoint", "close", "connect"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_step_that_failed(step: str, failure: str) -> None:
    """Whatever fails, and by what."""
    engine = fake_engine(pool_size=1, pool_timeout=0.1)

    def work() -> weakref.ref[Session]:
        session = engine.session()
        engine.driver.fail(step, FAILURES[failure]())  # type: ignore[attr-defined]
        try:
            with session.begin(), session.begin_nested():
                session.execute("insert")
                if step == "rollback":
                    raise Rollback
        except BaseException as exc:
            assert exc is not None
        session.close()
        return weakref.ref(session)

    assert work()() is None
    assert engine.pool.stats()["used"] == 0


def test_a_finaliser_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python swallows the interrupt; the session's place is back all the same."""
    swallowed: list[Any] = []

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", lambda told: swallowed.append(told.exc_type))
    monkeypatch.setattr("sessionkit.session.session._abandon", interrupted)
    engine = fake_engine(pool_size=1, pool_timeout=0.1)
    engine.session().execute("insert")
    assert swallowed == [KeyboardInterrupt]
    engine.pool.checkin(engine.pool.checkout())


def test_the_session_of_a_handle_is_gone() -> None:
    """The handle tells, and a block does not end as if its work were kept."""
    engine = fake_engine()
    handle = engine.session().begin()
    with pytest.raises(errors.InvalidRequestError, match="is gone"):
        handle.commit()
    assert handle.status == "lost"
    with pytest.raises(errors.TransactionLostError, match="is gone"), engine.session().begin():
        pass
    with engine.session().begin():
        raise Rollback


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_connection_that_was_lost_keeps_no_lock(sqlite: Database) -> None:
    """Nobody closed it, and sqlite3's connections are in a cycle: the next who borrows need not wait for the lock."""
    engine = sqlite.engine(pool_size=2)
    lease = engine.pool.checkout()
    lease.conn.execute("begin immediate")
    other = engine.pool.checkout()
    engine.pool.checkin(other)
    del lease
    began = time.monotonic()
    with engine.begin() as session:
        session.execute("insert into item (name, price) values ('a', 1)")
    assert time.monotonic() - began < 0.5
    assert sqlite.names() == ["a"]


def test_run() -> None:
    """It gives up after three attempts; none of their sessions is left."""
    engine = fake_engine()
    seen: list[weakref.ref[Session]] = []

    def work(session: Session) -> None:
        seen.append(weakref.ref(session))
        raise errors.DeadlockError("again")

    with pytest.raises(errors.DeadlockError):
        engine.run(work, attempts=2, timeout=0.5)
    assert [session() for session in seen] == [None, None]


def test_an_outage() -> None:
    """However many ask while nobody listens: no error is kept with its traceback, which would grow with each who gets it."""
    engine = create_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/none", pool_timeout=0.01, connect_timeout=2)

    def ask() -> weakref.ref[Session]:
        session = engine.session()
        with pytest.raises(errors.DisconnectionError):
            session.execute("select 1")
        return weakref.ref(session)

    seen = [ask() for _ in range(20)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            ask()
        gc.collect()  # psycopg's connect() keeps what it raises
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        engine.dispose()
    assert [session() for session in seen] == [None] * 20
    assert grown < 300 * 100  # bytes
