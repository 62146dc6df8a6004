"""Sessions in event loops: the names and promises of `Session` under asyncio and trio, and what a cancelled task leaves: nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from sessionkit import (
    ArgumentError,
    ConcurrentUseError,
    DeadlockError,
    InvalidRequestError,
    LockTimeoutError,
    NoResultFound,
    PoolDeadlockError,
    PoolTimeoutError,
    Registry,
    Rollback,
    Session,
    TransactionLostError,
    UncommittedWorkWarning,
    UniqueViolation,
    create_engine,
)
from sessionkit.aio import AsyncEngine, AsyncRegistry, AsyncSession, AsyncTransaction
from sessionkit.session.block import Transaction
from sessionkit.testing import sandbox

from .conftest import SLEEP, Item

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Database

CANCELS = int(os.environ.get("SESSIONKIT_CANCELS", "50"))
"""How many tasks are cancelled at random moments; 1,000 for the figure in docs/aio.md."""
_ALIKE = "update item set price = price + 1 where name = 'a'"


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """What runs an `async def` in each kind of event loop."""

    def run(work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run it; a test that hangs is cancelled."""

        async def limited() -> Any:
            with anyio.fail_after(90):
                return await work(*args)

        return anyio.run(limited, backend=request.param)

    return run


def test_the_names_are_those_of_the_synchronous_session() -> None:
    """With the same parameters; what has no place in an event loop is `run_sync`'s."""

    def names(cls: type) -> dict[str, list[str]]:
        found = {name: member for name, member in inspect.getmembers(cls) if not name.startswith("_")}
        return {
            name: list(inspect.signature(member).parameters) if callable(member) else []
            for name, member in found.items()
        }

    sync, asynchronous = names(Session), names(AsyncSession)
    for only_sync in ("connection", "cursor"):
        del sync[only_sync]
    sync["begin"] = ["self", "modes"]
    assert {**sync, "run_sync": ["self", "fn", "args", "keywords"]} == asynchronous
    known = {"status", "is_active", "nested", "commit", "rollback"}
    assert {name for name in dir(AsyncTransaction) if not name.startswith("_")} == known
    assert known <= set(dir(Transaction))


def test_a_unit_of_work(run: Any, db: Database) -> None:
    """Statements, blocks, savepoints, entities, streams; COMMIT is there for everybody."""
    engine = AsyncEngine(db.engine())

    async def work() -> None:
        async with engine.begin() as session:
            item = await session.insert(Item("a", 1))
            assert await session.get(Item, item.id) is item
            assert item in session
            assert list(session.identity_map) == [(Item, item.id)]
            with pytest.raises(UniqueViolation):
                async with session.begin_nested():
                    await session.insert(Item("b", 1))
                    await session.insert(Item("a", 1))
            async with session.begin_nested() as level:
                assert session.in_nested_transaction()
                await session.insert_all([Item("c", 1), Item("d", 1)])
                raise Rollback
            assert (level.status, level.nested, level.is_active) == ("rolled back", True, False)
            item.price = 5
            await session.update(item)
            await session.executemany("insert into item (name, price) values (:name, 1)", [{"name": "e"}])
            assert await session.copy_in("item", [{"name": "f", "price": 1}]) == 1
            await session.script(
                "update item set price = 2 where name = 'e'; update item set price = 3 where name = 'f'"
            )
            assert await session.scalar("select price from item where name = 'e'") == 2
            assert [one.name for one in await session.query(Item, "select * from item order by id")] == ["a", "e", "f"]
            assert await session.get(Item, item.id, for_update=True) is item
            await session.refresh(item)
            e = (await session.query(Item, "select * from item where name = 'e'")).one()
            await session.delete(e)
            with pytest.raises(NoResultFound):
                await session.refresh(e)
            session.expunge(item)
            assert item not in session
            session.expunge_all()
            await session.upsert(Item("a", 7), on="name")
        assert db.names() == ["a", "f"]
        async with engine.session() as session:
            seen = []
            async with session.stream("select name, price from item order by name", batch=1) as rows:
                assert rows.columns == ("name", "price")
                async for row in rows:
                    seen.append((row.name, row.price))
            assert seen == [("a", 7), ("f", 3)]
            async with session.stream("select * from item order by name", into=Item) as items:
                assert [one.name async for one in items] == ["a", "f"]
            transaction = session.begin()
            await session.insert(Item("g", 1))
            await transaction.rollback()
            assert session.get_transaction() is None
            await session.insert(Item("h", 1))
            await session.commit()
            assert session.is_active
            assert not session.closed
        assert await engine.ping() < 5
        assert (await engine.execute("select count(*) from item")).scalar() == 3

    run(work)


def test_a_pool_and_its_line_are_one_for_tasks_and_threads(run: Any, db: Database) -> None:
    """A thread and tasks take turns with one connection, in order of asking."""
    sync = db.engine(pool_size=1)
    engine, served = AsyncEngine(sync), []
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        with sync.begin() as session:
            session.execute(_ALIKE)
            entered.set()
            release.wait(10)

    async def task(me: int) -> None:
        async with engine.begin() as session:
            await session.execute(_ALIKE)
            served.append(me)

    async def work() -> None:
        await anyio.to_thread.run_sync(entered.wait)
        async with anyio.create_task_group() as group:
            for me in range(5):
                group.start_soon(task, me)
                while sync.pool.stats()["pending_requests"] + (len(sync.line._waiters) if sync.line else 0) <= me:
                    await anyio.sleep(0.001)
            release.set()

    thread = threading.Thread(target=hold)
    thread.start()
    run(work)
    thread.join()
    assert served == [0, 1, 2, 3, 4]


def test_a_thousand_tasks_on_five_connections(run: Any, db: Database) -> None:
    """All are served, in order, by no more threads than there are connections; and none of the event loop's own is taken."""
    engine = AsyncEngine(db.engine(pool_size=5, pool_timeout=60))
    arrived: list[int] = []
    order: list[int] = []
    threads: set[int] = set()

    async def task(me: int) -> None:
        arrived.append(me)
        async with engine.begin() as session:
            await session.run_sync(lambda _: threads.add(threading.get_ident()))
            order.append(me)
            await session.execute("select count(*) from item")

    async def work() -> int:
        async with anyio.create_task_group() as group:
            for me in range(1000):
                group.start_soon(task, me)
            most = 0
            while len(order) < 1000:
                # the threads that the program has for its own calls are all free
                most = max(most, anyio.to_thread.current_default_thread_limiter().statistics().borrowed_tokens)
                await anyio.sleep(0.01)
        return most

    assert run(work) == 0
    assert sorted(order) == list(range(1000))
    if db.kind == "sqlite":  # a server takes longer to connect to: four go on meanwhile
        places = {me: place for place, me in enumerate(arrived)}
        assert max(place - places[me] for place, me in enumerate(order)) <= 5, "served in another order"
    assert len(threads) <= 5 + 1


@pytest.mark.parametrize("how", ["scope", "task", "timeout"])
def test_a_cancelled_statement_ends_on_the_server(how: str, db: Database) -> None:
    """Whatever cancels the task: in a moment nothing runs there any more, and nothing of the transaction is kept."""
    engine = AsyncEngine(db.engine(pool_size=1))

    async def sleeper() -> None:
        async with engine.begin() as session:
            await session.insert(Item("gone", 1))
            await session.execute(SLEEP[db.kind])

    async def work() -> None:
        if how == "scope":
            with anyio.move_on_after(0.2) as scope:
                await sleeper()
            assert scope.cancelled_caught
        elif how == "task":
            task = asyncio.create_task(sleeper())
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # impatient
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await sleeper()
        assert engine.sync.pool.stats()["used"] == 0
        async with engine.begin() as session:
            await session.insert(Item("next", 1))

    started = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - started < 4
    assert running(db) == 0
    assert db.names() == ["next"]


def running(db: Database) -> int:
    """Return how many statements of this test run on the server."""
    if db.kind == "postgres":
        sql = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()"
    elif db.kind == "mariadb":
        sql = "select count(*) from information_schema.processlist where info like 'select 1 from dual%'"
    else:
        return 0
    return int(db.main.execute(sql).scalar())


def test_tasks_that_are_cancelled_at_random_moments(run: Any, db: Database) -> None:
    """No place is lost, nothing is half kept, no statement runs on, the next task works; those let be have all committed."""
    engine = AsyncEngine(db.engine(pool_size=3, pool_timeout=60))
    dice = random.Random(CANCELS)
    committed: list[int] = []
    cancelled = 0

    async def task(me: int) -> None:
        async with engine.begin() as session:
            await session.execute("insert into item (name, price) values (:name, 0)", {"name": f"{me} a"})
            async with session.stream("select * from item", batch=2) as rows:
                async for _ in rows:
                    pass
            await session.execute("insert into item (name, price) values (:name, 0)", {"name": f"{me} b"})
        committed.append(me)

    async def work() -> None:
        nonlocal cancelled
        usual = 1.0
        for number in range(-5, 0):  # the quickest, so that a moment of other work does not make all cancels come late
            started = time.monotonic()
            await task(number)
            usual = min(usual, time.monotonic() - started)

        async def doomed(me: int) -> None:
            nonlocal cancelled
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(partial(cancel_after, scope, dice.random() * 6 * usual))
                    await task(me)
                    group.cancel_scope.cancel()
            cancelled += scope.cancelled_caught

        for first in range(0, CANCELS, 5):
            async with anyio.create_task_group() as group:
                for me in range(first, first + 5):
                    group.start_soon(doomed, me)
        await task(CANCELS)
        await engine.dispose()

    async def cancel_after(scope: Any, seconds: float) -> None:
        await anyio.sleep(seconds)
        scope.cancel()

    run(work)
    names = set(db.names())
    assert cancelled > CANCELS / 10
    assert {f"{me} {half}" for me in committed for half in "ab"} <= names
    whole = {name.split()[0] for name in names}
    assert names == {f"{me} {half}" for me in whole for half in "ab"}, "half a task was kept"
    assert engine.sync.pool.stats() | {"timeouts": 0} == {
        "max": 3, "open": 0, "idle": 0, "used": 0, "pending_requests": 0, "timeouts": 0,
    }  # fmt: skip


def test_a_commit_under_way_is_let_finish(db: Database) -> None:
    """A task that is cancelled while it commits ends when COMMIT has ended, and what it wrote is there."""
    engine, entered, go = AsyncEngine(db.engine()), threading.Event(), threading.Event()

    async def writer() -> None:
        async with engine.begin() as session:
            await session.insert(Item("a", 1))
            session._session.after_commit(lambda: (entered.set(), go.wait(5)))  # in the thread, when COMMIT is done

    async def work() -> None:
        task = asyncio.create_task(writer())
        await asyncio.to_thread(entered.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.02)
            assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert db.names() == ["a"]


def test_who_is_cancelled_before_the_end_of_the_block_does_not_commit(run: Any, db: Database) -> None:
    """Cancelled in the block, without a call of the session: it is rolled back."""
    engine = AsyncEngine(db.engine())

    async def work() -> None:
        with anyio.CancelScope() as scope:
            async with engine.begin() as session:
                await session.insert(Item("a", 1))
                scope.cancel()
        assert scope.cancelled_caught

    run(work)
    assert db.names() == []


def test_a_timeout_in_a_savepoint(db: Database) -> None:
    """`asyncio.timeout` around a nested block: what was before it can go on where the database can, or is told as lost."""
    engine = AsyncEngine(db.engine())

    async def work() -> None:
        async with engine.begin() as session:
            await session.insert(Item("a", 1))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), session.begin_nested():
                    await session.insert(Item("b", 1))
                    await session.execute(SLEEP[db.kind])
            await session.insert(Item("c", 1))

    asyncio.run(work())
    assert db.names() == ["a", "c"]


def test_who_waits_for_a_connection_can_be_cancelled(run: Any, db: Database) -> None:
    """It leaves the line without a trace; the next one gets the connection."""
    engine = AsyncEngine(db.engine(pool_size=1, pool_timeout=20))

    async def work() -> None:
        async with engine.begin() as session:
            await session.execute(_ALIKE)
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(engine.execute, _ALIKE)
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
        assert engine.sync.pool.stats()["pending_requests"] == 0
        assert (await engine.execute("select count(*) from item")).scalar() == 0

    run(work)


def test_waiting_in_vain(run: Any, db: Database) -> None:
    """The errors are those of threads; the holder's file and line are the task's own."""
    engine = AsyncEngine(
        db.engine(pool_size=1, pool_timeout=0.3, **({"busy_timeout": 0.3} if db.kind == "sqlite" else {}))
    )

    async def hold(entered: anyio.Event, leave: anyio.Event) -> None:
        async with engine.begin(read_only=True) as session:
            await session.execute("select 1")
            entered.set()
            await leave.wait()

    async def work() -> None:
        entered, leave = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(hold, entered, leave)
            await entered.wait()
            with pytest.raises(
                PoolTimeoutError, match=r"1 of 1 lent; oldest: .*test_aio\.py:\d+, \"select 1\", in transaction"
            ):
                await engine.execute("select 1")
            leave.set()
        async with engine.begin() as session:
            await session.execute(_ALIKE)
            with pytest.raises((PoolDeadlockError, LockTimeoutError)):
                await engine.execute(_ALIKE)
            with pytest.raises(PoolDeadlockError, match="use the session you have"):
                await engine.execute("select 1")

    run(work)


def test_two_tasks_in_one_session(run: Any, db: Database) -> None:
    """The second call is refused, and changes nothing; the first one goes on."""
    engine = AsyncEngine(db.engine())

    async def work() -> None:
        refused = []
        async with engine.begin() as session:

            async def insert(name: str) -> None:
                try:
                    await session.insert(Item(name, 1))
                except ConcurrentUseError as exc:
                    refused.append(str(exc))

            async with anyio.create_task_group() as group:
                group.start_soon(insert, "a")
                group.start_soon(insert, "b")
        assert len(refused) == 1
        assert "two tasks use one session" in refused[0]

    run(work)
    assert len(db.names()) == 1


def test_run_tries_again(run: Any, server_db: Database) -> None:
    """Two tasks that deadlock: both finish, and `transactional` is the same as a decorator."""
    engine = AsyncEngine(server_db.engine())
    tries = []

    async def work() -> None:
        async with engine.begin() as session:
            await session.insert_all([Item("a", 0), Item("b", 0)])
        both = [anyio.Event(), anyio.Event()]

        @engine.transactional(attempts=10)
        async def swap(session: AsyncSession, me: int) -> int:
            tries.append(me)
            for step in (me, 1 - me):
                await session.execute("update item set price = price + 1 where name = ?", ["ab"[step]])
                both[me].set()
                await both[1 - me].wait()
            return me

        async with anyio.create_task_group() as group:
            group.start_soon(swap, 0)
            group.start_soon(swap, 1)

    run(work)
    assert len(tries) >= 3
    assert server_db.main.execute("select price from item").scalars() == [2, 2]


def test_what_run_refuses(run: Any, db: Database) -> None:
    """A plain function, and a transaction that is open in this task; another task's is no matter."""
    engine = AsyncEngine(db.engine())

    async def insert(session: AsyncSession, name: str) -> str:
        await session.insert(Item(name, 1))
        return name

    async def work() -> None:
        assert await engine.run(insert, "a") == "a"
        with pytest.raises(ArgumentError, match="takes an async def"):
            await engine.run(lambda session: 1)
        async with engine.session() as session:
            await session.execute("select 1")
            with pytest.raises(InvalidRequestError, match="inside an open transaction"):
                await engine.run(insert, "b")
            await session.rollback()
            assert await engine.run(insert, "c", resolve=True if db.kind != "sqlite" else None) == "c"

    run(work)
    assert db.names() == ["a", "c"]


def test_hooks_run_in_the_event_loop(run: Any, db: Database) -> None:
    """With the connection returned; `async def` too; what fails in one does not keep the others back."""
    engine, ran = AsyncEngine(db.engine(pool_size=1)), []

    async def count() -> None:
        ran.append((threading.get_ident(), (await engine.execute("select count(*) from item")).scalar()))

    async def work() -> None:
        def fails() -> None:
            raise KeyError("hook")

        with pytest.raises(KeyError, match="hook"):
            async with engine.begin() as session:
                await session.insert(Item("a", 1))
                session.after_commit(fails)
                session.after_commit(count)
                session.after_rollback(lambda: ran.append("never"))
        with pytest.raises(ValueError, match="mine"):
            async with engine.begin() as session:
                await session.insert(Item("b", 1))
                session.after_rollback(count)
                raise ValueError("mine")

    run(work)
    me = threading.get_ident()
    assert ran == [(me, 1), (me, 1)]


def test_a_registry(run: Any, sqlite: Database, postgres: Database) -> None:
    """Several databases in one session, and by name."""
    with Registry() as sync:
        sync.add("file", sqlite.url)
        sync.add("server", postgres.url)

        async def work() -> None:
            registry = AsyncRegistry(sync)
            async with registry.begin() as session:
                await session.insert(Item("here", 1))
                await session.insert(Item("there", 1), bind="server")
                assert await session.scalar("select count(*) from item", bind="server") == 1
            assert (await registry["server"].execute("select name from item")).scalars() == ["there"]
            assert (await registry.execute("select name from item", bind="file")).scalars() == ["here"]
            await registry.dispose()

        run(work)


def test_in_a_sandbox(run: Any, db: Database) -> None:
    """What tasks commit is undone; many share the one connection."""
    engine = db.engine()

    async def work() -> None:
        asynchronous = AsyncEngine(engine)

        async def insert(me: int) -> None:
            async with asynchronous.begin() as session:
                await session.insert(Item(f"{me}", 1))

        async with anyio.create_task_group() as group:
            for me in range(20):
                group.start_soon(insert, me)
        assert (await asynchronous.execute("select count(*) from item")).scalar() == 20

    with sandbox(engine):
        run(work)
    assert db.names() == []


def test_code_that_is_not_asynchronous(run: Any, db: Database) -> None:
    """`run_sync` gives a plain function the session, in this transaction."""
    engine = AsyncEngine(db.engine())

    def plain(session: Session, name: str, price: float = 0) -> list[Any]:
        session.insert(Item(name, price))
        with session.connection().cursor() as cursor:
            cursor.execute("select name, price from item")
            return [tuple(row) for row in cursor.fetchall()]

    async def work() -> None:
        async with engine.begin() as session:
            assert await session.run_sync(plain, "a", price=2) == [("a", 2)]
            raise Rollback

    run(work)
    assert db.names() == []


def test_a_session_that_nobody_closes(run: Any, db: Database) -> None:
    """It is said where it was made, and its place is not lost; close() says which writes it dropped."""
    engine = AsyncEngine(db.engine(pool_size=1))

    async def work() -> None:
        session = engine.session()
        await session.insert(Item("a", 1))
        with pytest.warns(UncommittedWorkWarning, match="INSERT INTO"):
            await session.close()
        left = engine.session()
        await left.insert(Item("b", 1))
        with pytest.warns(ResourceWarning, match=r"made at .*test_aio\.py:\d+ was never closed"):
            del left
            for _ in range(20):  # the thread that ran the last call lets go of it a moment later
                gc.collect()
                await anyio.sleep(0.01)
        async with engine.session(close_resets_only=False) as session:
            await session.insert(Item("c", 1))
            transaction = session.begin()
            await session.reset()
            with pytest.raises(InvalidRequestError):
                await transaction.commit()
            await session.invalidate()

    run(work)
    assert db.names() == []


def test_close_in_a_block(run: Any, db: Database) -> None:
    """As with the synchronous session: the block's end says that its work is lost."""
    engine = AsyncEngine(db.engine())

    async def work() -> None:
        with pytest.warns(UncommittedWorkWarning), pytest.raises(TransactionLostError):
            async with engine.begin() as session:
                await session.insert(Item("a", 1))
                await session.close()

    run(work)
    assert db.names() == []


def test_the_server_goes_away(run: Any, postgres: Database) -> None:
    """A killed backend in a block is told as it is in threads; `run` goes on by itself."""
    engine = AsyncEngine(postgres.engine())

    async def work() -> None:
        first = True

        async def insert(session: AsyncSession) -> None:
            nonlocal first
            pid = await session.scalar("select pg_backend_pid()")
            if first:
                first = False
                postgres.main.execute("select pg_terminate_backend(?)", [pid])
            await session.insert(Item("a", 1))

        await engine.run(insert)

    run(work)
    assert postgres.names() == ["a"]


def test_a_loop_that_ends_while_somebody_waits(db: Database) -> None:
    """Its waiters die with it: the next loop, and threads, get the connection."""
    sync = db.engine(pool_size=1)
    with sync.begin() as session:
        session.execute("select 1")

        async def work() -> None:
            task = asyncio.create_task(AsyncEngine(sync).execute("select 1"))
            await asyncio.sleep(0.05)
            del task

        asyncio.run(work())
    assert sync.execute("select 1").scalar() == 1
    assert asyncio.run(AsyncEngine(sync).execute("select 1")).scalar() == 1


def test_what_is_no_engine() -> None:
    """Said at once."""
    with pytest.raises(ArgumentError, match="takes an Engine"):
        AsyncEngine("sqlite://")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="takes a Registry"):
        AsyncRegistry(create_engine("sqlite://"))  # type: ignore[arg-type]
    assert issubclass(DeadlockError, Exception)
