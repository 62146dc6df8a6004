"""A function in a transaction of its own: run again where that is safe, never twice, never inside another."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import ArgumentError, CommitUnknownError, Registry, Session, errors
from sessionkit.retry.policy import Retry, may_repeat
from sessionkit.testing import FakeError, fake_engine, no_retries
from sessionkit.testing.proxy import Proxy, is_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database


def quick(**options: object) -> Retry:
    """Return a policy that does not wait."""
    return Retry(sleep=lambda seconds: None, random=lambda: 1.0, **options)  # type: ignore[arg-type]


def test_run_tries_again(fake: sessionkit.Engine) -> None:
    """All of it, in a fresh session; hooks of failed tries do not run as commits."""
    ran: list[str] = []
    tries: list[Session] = []

    def work(session: Session, word: str) -> str:
        tries.append(session)
        session.execute("insert")
        session.after_commit(lambda: ran.append("commit"))
        if len(tries) < 3:
            fake.driver.fail("commit", FakeError("serialization"))
        return word

    assert fake.run(work, "done", retry=quick()) == "done"
    assert (len({id(session) for session in tries}), ran) == (3, ["commit"])


def test_run_gives_up(fake: sessionkit.Engine) -> None:
    """After `attempts`; the last error has a note; other errors are not repeated."""
    count = 0

    def work(session: Session) -> None:
        nonlocal count
        count += 1
        session.execute("insert")
        fake.driver.fail("commit", FakeError("deadlock"))

    with pytest.raises(errors.DeadlockError) as caught:
        fake.run(work, retry=quick(attempts=3))
    assert (count, "attempt 3" in caught.value.__notes__[-1]) == (3, True)
    with pytest.raises(errors.UniqueViolation):
        fake.run(
            lambda session: fake.driver.fail("execute", FakeError("unique")) or session.execute("insert"), retry=quick()
        )


def test_what_may_be_repeated() -> None:
    """A lost transaction is judged by what did it; an unknown commit only when it does no harm."""
    lost = errors.TransactionLostError("x")
    lost.__cause__ = errors.DeadlockError("y")
    assert [may_repeat(exc) for exc in (lost, errors.TransactionLostError(), errors.CommitUnknownError(), errors.UniqueViolation())] == [
        True, False, False, False,
    ]  # fmt: skip
    assert may_repeat(errors.CommitUnknownError(), idempotent=True)
    with pytest.raises(ArgumentError):
        Retry(attempts=0)


def test_waits_have_full_jitter_and_a_cap() -> None:
    """And none begins after the time is over."""
    now, slept = [0.0], []
    policy = Retry(attempts=9, timeout=10, base=1, cap=4, clock=lambda: now[0], sleep=slept.append, random=lambda: 0.5)
    failed = errors.DeadlockError()
    assert [policy.wait(attempt, 0.0, failed) for attempt in (1, 2, 3)] == [True, True, True]
    assert slept == [1.0, 2.0, 2.0]
    now[0] = 10.0
    assert not policy.wait(4, 0.0, failed)


def test_two_threads_that_deadlock_both_finish(server_db: Database) -> None:
    """Each in engine.run: totals are right."""
    with server_db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [("a", 100), ("b", 100)])
    engine = server_db.engine()
    barrier = threading.Barrier(2, timeout=20)

    def move(session: Session, source: str, target: str, first: list[bool]) -> None:
        session.execute("update item set price = price - 1 where name = ?", (source,))
        if first.pop() if first else False:
            barrier.wait()
        session.execute("update item set price = price + 1 where name = ?", (target,))

    threads = [
        threading.Thread(target=engine.run, args=(move, "a", "b", [True])),
        threading.Thread(target=engine.run, args=(move, "b", "a", [True])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert server_db.main.execute("select price from item order by name").scalars() == [100, 100]


def test_what_is_told_of_another_attempt(fake: sessionkit.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The hook hears which attempt failed, with what, and how long the wait is; the log too, with no text of the server."""
    told: list[Any] = []
    policy = quick(on_retry=lambda attempt, error, seconds: told.append((attempt, type(error).__name__, seconds)))
    fake.driver.fail("commit", FakeError("deadlock"), times=2)
    fake.run(lambda session: session.execute("insert"), retry=policy)
    assert told == [(1, "DeadlockError", 0.04), (2, "DeadlockError", 0.08)]
    assert [record.getMessage() for record in caplog.records] == [
        "trying again after attempt 1, in 0.04 s: DeadlockError (None)",
        "trying again after attempt 2, in 0.08 s: DeadlockError (None)",
    ]


def test_retries_can_be_turned_off(fake: sessionkit.Engine) -> None:
    """In a test: the first failure comes out, saying that it could have been tried again."""
    fake.driver.fail("commit", FakeError("deadlock"))
    with no_retries(), pytest.raises(errors.DeadlockError) as caught:
        fake.run(lambda session: session.execute("insert"), retry=quick())
    assert "attempt 1" in caught.value.__notes__[-1]
    fake.driver.fail("commit", FakeError("deadlock"))
    fake.run(lambda session: session.execute("insert"), retry=quick())


def test_while_it_waits_it_holds_no_connection(fake: sessionkit.Engine) -> None:
    """The pool is whole during the wait."""
    used: list[int] = []
    policy = Retry(sleep=lambda seconds: used.append(fake.pool.stats()["used"]))
    fake.driver.fail("commit", FakeError("deadlock"))
    fake.run(lambda session: session.execute("insert"), retry=policy)
    assert used == [0]


def test_the_decorator(fake: sessionkit.Engine) -> None:
    """Bare and with options, of an engine and of a registry; the function keeps its name and text."""
    registry = Registry({"main": fake})
    fake.driver.fail("commit", FakeError("deadlock"), times=2)

    @fake.transactional
    def count(session: Session, word: str, *, times: int = 1) -> str:
        """Count."""
        session.execute("insert")
        return word * times

    @registry.transactional(retry=quick(attempts=2))
    def add(session: Session, a: int, b: int) -> int:
        session.execute("insert")
        return a + b

    assert (count("a", times=3), count.__name__, count.__doc__) == ("aaa", "count", "Count.")
    assert add(1, b=2) == 3


def test_what_would_run_after_the_transaction_is_refused(fake: sessionkit.Engine) -> None:
    """A call of these only makes something whose body runs later; and what cannot be called runs never."""

    def generator(session: Session) -> Iterator[int]:
        yield 1

    async def coroutine(session: Session) -> None: ...

    before = list(fake.driver.calls)
    for wrong, told in (
        (generator, "generator"),
        (coroutine, "coroutine"),
        (None, "something to call"),
        (5, "got int"),
    ):
        with pytest.raises(ArgumentError, match=told):
            fake.run(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="generator"):
        fake.transactional(generator)
    with pytest.raises(ArgumentError, match="something to call"), fake.session() as session:
        session.after_commit(None)  # type: ignore[arg-type]
    assert fake.driver.calls == before


# -- never inside an open transaction


def test_run_inside_a_transaction_is_refused(fake: sessionkit.Engine) -> None:
    """Of a block, of a session that began by itself, of another engine, of another run: before anything is sent."""
    other = fake_engine()
    fake.execute("select 1")
    before = list(fake.driver.calls)

    def refused() -> None:
        with pytest.raises(errors.InvalidRequestError, match="inside an open transaction"):
            fake.run(lambda session: session.execute("insert"))

    with other.begin():
        refused()
    with other.begin() as session:
        session.execute("select 1")
        with other.begin():
            pass  # one within it that has ended hides nothing
        refused()
    with other.session() as session:
        session.execute("select 1")
        refused()
        session.commit()
    other.run(lambda session: refused())
    assert fake.driver.calls == before
    assert fake.run(lambda session: 1) == 1


def test_a_session_without_a_connection_is_no_open_transaction(fake: sessionkit.Engine) -> None:
    """Its first statement could not have one: nothing has begun anywhere."""
    busy = fake_engine(pool_size=1, pool_timeout=0.01)
    lease = busy.pool.checkout()
    with busy.session() as session:
        with pytest.raises(errors.PoolTimeoutError):
            session.execute("select 1")
        assert fake.run(lambda session: 1) == 1
        busy.pool.checkin(lease)
        session.execute("select 1")
        with pytest.raises(errors.InvalidRequestError, match="inside an open transaction"):
            fake.run(lambda session: 1)


def test_a_lost_session_is_no_open_transaction(fake: sessionkit.Engine) -> None:
    """Nothing outlives it."""
    with pytest.warns(ResourceWarning):
        fake.session().execute("select 1")
    assert fake.run(lambda session: 1) == 1


def test_what_has_ended_is_forgotten(sqlite: Database) -> None:
    """A context remembers no more than what is open: by one session used for ever, by sessions that overlap for ever."""
    engine = sqlite.engine(pool_size=3)
    last = reused = engine.session()

    def overlapping() -> None:
        nonlocal last
        session = engine.session()
        session.execute("select 1")
        last.close()
        last = session

    def again() -> None:
        reused.execute("select 1")
        reused.commit()

    for step in (overlapping, again):
        for _ in range(300):  # fills the caches
            step()
        tracemalloc.start()
        try:
            step()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(2000):
                step()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 2000 * 28  # bytes: less than any object for each transaction
    last.close()


def test_the_context_counts_and_not_the_thread() -> None:
    """A task with an open transaction does not keep another task of the same thread from running one; a thread neither."""
    engine = fake_engine()

    async def holding() -> None:
        with engine.begin():
            await asyncio.sleep(0)
            await other
            with pytest.raises(errors.InvalidRequestError):
                engine.run(lambda session: 1)

    async def running() -> int:
        await asyncio.sleep(0)
        return engine.run(lambda session: 1)

    async def main() -> None:
        nonlocal other
        other = asyncio.create_task(running(), context=contextvars.Context())
        await holding()

    other: Any = None
    asyncio.run(main())
    with engine.begin():
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(engine.run(lambda session: 1)))
        thread.start()
        thread.join(10)
        assert found == [1]


# -- which errors


REPEATED = {
    "postgres": ["40001", "40P01", "55P03", "08000", "08003", "08006", "57P01", "57P02", "57P03", "25P03", "25006", "53300",
                 "53400", "42P05", "26000"],
    "mariadb": [1213, 1020, 8002, 8005, 8022, 8028, 9007, 1205, 3572, 2006, 2013, 2055, 1053, 1927, 4031, 1290, 1836, 1792,
                1047, 1040, 1203, 9001, 9002, 9003, 9004, 9005, 9006, 1615, 1243],
}  # fmt: skip
NOT_REPEATED = {
    "postgres": ["23505", "22012", "42601", "42P01", "57014", "53100"],
    "mariadb": [1062, 1064, 1146, 1969, 1264],
}


def raising(kind: str, code: Any) -> str:
    """Return a statement at which the server raises this code."""
    if kind == "postgres":
        return f"do $$ begin raise exception 'x' using errcode = '{code}'; end $$"
    return f"signal sqlstate 'HY000' set mysql_errno = {code}, message_text = 'x'"


@pytest.mark.parametrize("repeated", [True, False], ids=["repeated", "not repeated"])
def test_each_code_is_judged_as_the_table_says(server_db: Database, repeated: bool) -> None:
    """Raised by the server itself, inside a transaction."""
    wrong = []
    for code in (REPEATED if repeated else NOT_REPEATED)[server_db.kind]:
        tries = 0

        def work(session: Session, code: Any = code) -> None:
            nonlocal tries
            tries += 1
            session.execute(raising(server_db.kind, code))

        with pytest.raises(errors.Error):
            server_db.main.run(work, retry=quick(attempts=2))
        if tries != (2 if repeated else 1):
            wrong.append((code, tries))
    assert wrong == []


def test_vitess_says_deadlock_in_its_text(mariadb: Database) -> None:
    """Errno 1105 with errno 1213 in the text."""
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(1)
        session.execute(
            "signal sqlstate 'HY000' set mysql_errno = 1105, message_text = 'lost (errno 1213) (sqlstate 40001)'"
        )

    with pytest.raises(errors.DeadlockError):
        mariadb.main.run(work, retry=quick(attempts=2))
    assert len(tries) == 2


def test_a_write_in_a_read_only_block_is_not_repeated(server_db: Database) -> None:
    """The program asked for read-only: that is no failover."""
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(1)
        session.execute("insert into item (name, price) values ('x', 1)")

    with pytest.raises(errors.ReadOnlyError):
        server_db.main.run(work, retry=quick(), read_only=True)
    assert len(tries) == 1


# -- a commit that nobody answered


@pytest.fixture
def proxy(server_db: Database) -> Iterator[Proxy]:
    """A wire to the server."""
    with Proxy(server_db.server.port) as made:
        yield made


def cut_commits(proxy: Proxy, which: list[str]) -> None:
    """Cut the next COMMITs, each "before" the server gets it or "after" it has done it."""
    state: list[str] = []

    def on_sent(data: bytes) -> bool:
        if is_commit(data) and which:
            state.append(which.pop(0))
            return state[-1] != "before"
        return True

    def on_answer(data: bytes) -> bool:
        return not (state and state.pop() == "after")

    proxy.on_sent, proxy.on_answer = on_sent, on_answer


def add(session: Session) -> str:
    """Insert a row."""
    session.execute("insert into item (name, price) values ('x', 1)")
    return "done"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_commit_is_not_repeated(server_db: Database, proxy: Proxy, when: str) -> None:
    """The same error, whatever the server did; nothing is done twice."""
    engine = server_db.through(proxy)
    engine.ping()
    cut_commits(proxy, [when])
    with pytest.raises(CommitUnknownError):
        engine.run(add, retry=quick())
    assert len(server_db.names()) == (when == "after")


def test_an_idempotent_function_is_repeated(server_db: Database, proxy: Proxy) -> None:
    """It said that this does no harm."""
    engine = server_db.through(proxy)
    engine.ping()
    cut_commits(proxy, ["before", "before"])
    assert engine.run(add, retry=quick(), idempotent=True) == "done"
    assert server_db.names() == ["x"]


@pytest.mark.parametrize("resolve", [True, "marker"])
@pytest.mark.parametrize(
    "cuts", [["before"], ["after"], ["before", "before"], ["before", "after"], ["after", "before"]]
)
def test_resolve_finds_out(server_db: Database, proxy: Proxy, resolve: Any, cuts: list[str]) -> None:
    """The work is done once, and what the function returned comes back, though COMMITs were cut, the fence's own too."""
    engine = server_db.through(proxy)
    engine.run(lambda session: None, resolve=resolve)  # makes the table
    cut_commits(proxy, list(cuts))
    assert engine.run(add, retry=quick(), resolve=resolve) == "done"
    assert server_db.names() == ["x"]
    server_db.main.execute("drop table if exists sessionkit_marker")


def test_a_commit_that_is_known_not_to_have_happened(server_db: Database, proxy: Proxy) -> None:
    """After the last attempt the error says what was found out, and not that nobody knows."""
    engine = server_db.through(proxy)
    engine.run(lambda session: None, resolve=True)
    cut_commits(proxy, ["before"])
    with pytest.raises(errors.DisconnectionError, match="nothing was committed") as caught:
        engine.run(add, retry=Retry(attempts=1), resolve=True)
    assert isinstance(caught.value.__cause__, CommitUnknownError)
    assert server_db.names() == []
    server_db.main.execute("drop table if exists sessionkit_marker")


def test_a_read_only_run_needs_no_witness(db: Database) -> None:
    """Whether it committed makes no difference."""
    assert db.main.run(lambda session: session.scalar("select 1"), resolve="marker", read_only=True) == 1


def test_making_the_table_is_tried_again(server_db: Database, proxy: Proxy) -> None:
    """Nothing of the work has begun then."""
    engine = server_db.through(proxy)
    engine.ping()
    cut_commits(proxy, ["before", "after"])
    assert engine.run(add, retry=quick(), resolve="marker") == "done"
    assert server_db.names() == ["x"]
    server_db.main.execute("drop table sessionkit_marker")


def test_resolve_costs_one_round_trip(server_db: Database, proxy: Proxy) -> None:
    """In each attempt; none without it."""
    engine = server_db.through(proxy)
    trips = {}
    for resolve in (None, True, "marker"):
        engine.run(lambda session: session.execute("select 1"), resolve=resolve)  # makes the table
        before = proxy.trips
        engine.run(
            lambda session: session.execute("insert into item (name, price) values (:n, 1)", {"n": str(resolve)}),
            resolve=resolve,
        )
        trips[resolve] = proxy.trips - before
    plain = trips[None]
    assert trips == {None: plain, True: plain + 1, "marker": plain + 1}
    server_db.main.execute("drop table sessionkit_marker")


def test_what_cannot_be_found_out_stays_unknown(server_db: Database, proxy: Proxy) -> None:
    """The server is gone for good: CommitUnknownError, saying so."""
    engine = server_db.through(proxy, pool_timeout=0.1, connect_timeout=2)
    resolve: Any = "xid" if server_db.kind == "postgres" else "marker"
    engine.run(lambda session: None, resolve=resolve)
    cut_commits(proxy, ["after"])

    def work(session: Session) -> None:
        add(session)
        proxy.refusing = True

    with pytest.raises(CommitUnknownError) as caught:
        engine.run(work, retry=quick(attempts=2), resolve=resolve)
    assert "could not be found out" in caught.value.__notes__[-1]
    server_db.main.execute("drop table if exists sessionkit_marker")


def test_an_unknown_commit_of_something_else(db: Database) -> None:
    """That the function itself met one says nothing about its own transaction: not repeated, nothing kept."""
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(1)
        add(session)
        raise CommitUnknownError("somebody else's")

    with pytest.raises(CommitUnknownError, match="somebody else's"):
        db.main.run(work, retry=quick(), resolve="marker")
    assert (len(tries), db.names()) == (1, [])
    db.main.execute("drop table sessionkit_marker")


def test_resolve_with_a_wrong_word(db: Database) -> None:
    """Told before anything runs."""
    with pytest.raises(ArgumentError, match="resolve is"):
        db.main.run(add, resolve="guess")  # type: ignore[arg-type]
    if db.kind != "postgres":
        with pytest.raises(ArgumentError, match="resolve is"):
            db.main.run(add, resolve="xid")
    assert db.names() == []


# -- a loss that is known


def test_a_connection_that_was_cut_before_commit(server_db: Database) -> None:
    """The socket says so before COMMIT is sent: nothing was committed, that is known, and `run` does it again."""
    tries: list[int] = []

    def work(session: Session) -> None:
        tries.append(1)
        add(session)
        if len(tries) == 1:
            if server_db.kind == "postgres":
                pid = session.scalar("select pg_backend_pid()")
                server_db.main.execute("select pg_terminate_backend(:p, 5000)", {"p": pid})
            else:
                pid = session.scalar("select connection_id()")
                server_db.main.execute(f"kill {pid}")
            conn = session.connection().driver_connection
            poll = server_db.main.driver.fileno(conn)
            _wait_until_readable(poll)

    engine = server_db.engine()
    assert engine.run(work, retry=quick()) is None
    assert (len(tries), server_db.names()) == (2, ["x"])


def _wait_until_readable(fileno: int) -> None:
    import select

    assert select.select([fileno], [], [], 5)[0]


def test_a_node_that_has_left_its_cluster_says_so_to_commit(mariadb: Database) -> None:
    """Galera's 1047 in the answer to COMMIT: nothing was committed there, and `run` goes on (a proxy says it instead of the server)."""
    left = b"\x17\x00\x00\x01\xff\x17\x04#08S01WSREP not ready"
    left = bytes([len(left) - 4]) + left[1:]
    armed = [True]
    with Proxy(mariadb.server.port) as proxy:
        engine = mariadb.through(proxy)
        engine.ping()

        def on_sent(data: bytes) -> bool | bytes:
            if is_commit(data) and armed:
                armed.clear()
                proxy.on_answer = answer
                return data.replace(b"COMMIT", b"DO 1+1")  # of the same length
            return True

        def answer(data: bytes) -> bytes:
            proxy.on_answer = lambda data: True
            return left

        proxy.on_sent = on_sent
        assert engine.run(add, retry=quick()) == "done"
    assert mariadb.names() == ["x"]
    assert armed == []


def test_a_driver_that_is_out_of_step_in_commit(postgres: Database) -> None:
    """More answers than were asked for (PgBouncer, when it lost its server): nobody knows what became of COMMIT."""
    import psycopg

    error = postgres.main.driver.diagnose(psycopg.InternalError("received 2 results from command 'COMMIT'"))
    assert error is not None
    assert error.error is errors.DisconnectionError
