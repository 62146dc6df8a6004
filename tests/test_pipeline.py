"""`begin(pipeline=True)`: statements sent without waiting, and every promise about errors, losses and COMMIT holds all the same."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    CheckViolation,
    CommitUnknownError,
    ConcurrentUseError,
    DataError,
    DisconnectionError,
    Error,
    ForeignKeyViolation,
    QueryCancelledError,
    Rollback,
    TransactionAbortedError,
    TransactionLostError,
    UniqueViolation,
    trace,
)
from sessionkit.drivers._pipeline import Pipeline
from sessionkit.testing import sandbox
from sessionkit.testing.proxy import Proxy

from .conftest import Item
from .test_interrupts import Injector, Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine, Session

    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, :price)"
STRIDE = int(os.environ.get("SESSIONKIT_STRIDE", "11"))


@pytest.fixture
def wire(postgres: Database) -> Iterator[tuple[Proxy, Engine]]:
    """A wire to PostgreSQL that counts, and an engine of one connection on it."""
    with Proxy(postgres.server.port) as proxy:
        engine = postgres.through(proxy, pool_size=1)
        engine.ping()
        yield proxy, engine


def put(session: Session, name: str, price: float = 1) -> Any:
    """Insert an item."""
    return session.execute(INSERT, {"name": name, "price": price})


@pytest.mark.parametrize("writes", [2, 10])
@pytest.mark.parametrize(("looks", "trips"), [(0, 1), (1, 2)])
def test_round_trips(wire: tuple[Proxy, Engine], postgres: Database, writes: int, looks: int, trips: int) -> None:
    """A unit of work of any number of writes is one; with one result looked at it is two."""
    proxy, engine = wire
    before = proxy.trips
    with engine.begin(pipeline=True) as session:
        results = [put(session, f"{number}") for number in range(writes)]
        for result in results[-1:] * looks:
            assert result.rowcount == 1
    assert proxy.trips - before == trips
    assert len(postgres.names()) == writes
    assert [result.rowcount for result in results] == [1] * writes
    before = proxy.trips
    engine.run(lambda session: put(session, "by run"), pipeline=True)
    assert proxy.trips - before == 1


def test_over_a_distance(wire: tuple[Proxy, Engine]) -> None:
    """Where the server is far, a transfer takes one round trip's time instead of four (measured: docs/servers.md)."""
    proxy, engine = wire
    proxy.delay = 0.01
    took = {}
    for pipeline in (False, True):
        times = []
        for number in range(5):
            started = time.monotonic()
            with engine.begin(pipeline=pipeline) as session:
                put(session, f"{pipeline} {number} a"), put(session, f"{pipeline} {number} b")
            times.append(time.monotonic() - started)
        took[pipeline] = min(times)
    assert took[True] < took[False] * 0.6


def test_results_are_as_ever(db: Database) -> None:
    """Looked at in any order, after the end too; on other databases nothing changes."""
    engine = db.engine(pool_size=2)
    with engine.begin(pipeline=True) as session:
        put(session, "a", 1.5)
        put(session, "b", 2.5)
        both = session.execute("select name, price from item order by name")
        one = session.execute("select name from item where price > ?", (2,))
        late = session.execute("select count(*) as n from item")
        nothing = session.execute("select name from item where price > 100")
        assert one.scalar_one() == "b"
        assert [row.name for row in both] == ["a", "b"]
        assert both.columns == ("name", "price")
        assert not nothing
        assert nothing.first() is None
    assert late.one().n == 2
    assert "2 rows" in repr(both)
    assert engine.pool.stats()["used"] == 0


def test_entities(db: Database) -> None:
    """Keys come back, versions are checked: each look is a trip, and all is one transaction."""
    with db.engine(pool_size=1).begin(pipeline=True) as session:
        item = session.insert(Item("a", 1.0))
        assert item.id is not None
        item.price = 2.0
        session.update(item)
        other = session.insert(Item("b", 5.0))
        session.delete(other)
    assert db.main.execute("select name, price from item").all() == [("a", 2.0)]


def test_what_ends_the_pipeline(postgres: Database) -> None:
    """Savepoints, streams, executemany, cursors, scripts: what is outstanding comes first, and all is one transaction."""
    engine = postgres.engine(pool_size=1)
    with engine.begin(pipeline=True) as session:
        first = put(session, "a")
        with session.begin_nested():
            put(session, "b")
            raise Rollback
        assert first.rowcount == 1
        session.executemany(INSERT, [{"name": "c", "price": 1}, {"name": "d", "price": 1}])
        with session.stream("select name from item order by name") as rows:
            assert [row.name for row in rows] == ["a", "c", "d"]
    with engine.begin(pipeline=True) as session:
        put(session, "e")
        cursor = session.cursor()
        cursor.execute("select count(*) from item")
        assert cursor.fetchone() == (4,)
    with engine.begin(pipeline=True) as session:
        put(session, "f")
        assert session.connection().driver_connection.execute("select count(*) from item").fetchone() == (5,)
        put(session, "g")
        session.script("insert into item (name, price) values ('h', 1); insert into item (name, price) values ('i', 1)")
    assert postgres.names() == ["a", "c", "d", "e", "f", "g", "h", "i"]
    with pytest.raises(UniqueViolation) as caught, engine.begin(pipeline=True) as session:
        put(session, "x")
        put(session, "a")
        with session.begin_nested():
            put(session, "y")
    assert caught.value.statement == INSERT
    assert len(postgres.names()) == 8


def test_much_data_in_a_pipeline(db: Database) -> None:
    """Copies, objects by the dozen and upserts are part of the transaction, in the order in which they stand there."""
    engine = db.engine(pool_size=1)
    with engine.begin(pipeline=True) as session:
        put(session, "a")
        assert session.copy_in("item", [("b", 2.0), ("c", 3.0)], ("name", "price")) == 2
        put(session, "d")
        items = [Item("e", 5.0), Item("f", 6.0)]
        session.insert_all(items)
        assert all(item.id for item in items)
        session.upsert(Item("a", 9.0), on="name")
    assert db.main.execute("select name, price from item order by name").all() == [
        ("a", 9.0), ("b", 2.0), ("c", 3.0), ("d", 1.0), ("e", 5.0), ("f", 6.0),
    ]  # fmt: skip
    with pytest.raises(UniqueViolation), engine.begin(pipeline=True) as session:
        put(session, "g")
        put(session, "a")
        session.copy_in("item", [("h", 2.0)], ("name", "price"))
    assert len(db.names()) == 6


def test_the_first_error_is_the_cause(postgres: Database) -> None:
    """It comes at the end or at a look, with the statement that failed; the server skips the rest, and nothing is kept."""
    engine = postgres.engine(pool_size=1)
    put_alone = engine.execute(INSERT, {"name": "a", "price": 1})
    assert put_alone.rowcount == 1
    last: Any = None  # is not there where the error came before it was sent
    with pytest.raises(UniqueViolation) as caught, engine.begin(pipeline=True) as session:
        put(session, "b")
        failing = put(session, "a")
        last = session.execute("update item set price = 7")
    assert caught.value.statement == INSERT
    assert caught.value.constraint == "item_name_key"
    with pytest.raises(UniqueViolation):
        failing.rowcount  # noqa: B018
    if last is not None:
        with pytest.raises(TransactionAbortedError, match="a statement before this one failed"):
            last.rowcount  # noqa: B018

    session = engine.session(pipeline=True)
    put(session, "b")
    failing = put(session, "a")
    with pytest.raises(UniqueViolation):
        session.execute("select 1").scalar()
    with pytest.raises((TransactionAbortedError, UniqueViolation)):
        put(session, "c")
    with pytest.raises(TransactionAbortedError) as aborted:
        session.commit()
    assert isinstance(aborted.value.__cause__, UniqueViolation)
    put(session, "d")
    session.commit()
    session.close()
    assert postgres.names() == ["a", "d"]
    assert engine.pool.stats()["open"] == 1


def ends(session: Session) -> None:
    """Nothing but the end."""


def sends(session: Session) -> None:
    """Another statement."""
    put(session, "y")


def looks_on(session: Session) -> None:
    """A look at another one."""
    session.scalar("select 1")


def nests(session: Session) -> None:
    """A savepoint."""
    with session.begin_nested():
        put(session, "y")


def many(session: Session) -> None:
    """Many rows."""
    session.executemany(INSERT, [{"name": "y", "price": 1}])


def streams(session: Session) -> None:
    """A stream."""
    with session.stream("select 1 as one") as rows:
        list(rows)


def swallows(session: Session) -> None:
    """The error is caught; the end says so."""
    try:
        session.scalar("select 1")
    except Error:
        pass


@pytest.mark.parametrize("when", ["before", "at COMMIT", "late"])
@pytest.mark.parametrize("then", [ends, sends, looks_on, nests, many, streams, swallows])
def test_after_an_error_the_connection_is_as_new(
    postgres: Database, when: str, then: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever its answer comes: before the next thing is sent, while COMMIT is sent, later. What comes next gets its own answers."""
    send = Pipeline.send

    def slowly(pipe: Pipeline, sql: str, *arguments: Any) -> Any:
        """Send COMMIT when the error has come, of which nobody has looked yet."""
        if when == "at COMMIT" and sql == "COMMIT":
            time.sleep(0.05)
        return send(pipe, sql, *arguments)

    monkeypatch.setattr(Pipeline, "send", slowly)
    engine = postgres.engine(pool_size=1)
    engine.execute(INSERT, {"name": "a", "price": 1})
    for number in range(3):
        with pytest.raises((UniqueViolation, TransactionAbortedError)), engine.begin(pipeline=True) as session:
            put(session, "x")
            put(session, "a")
            if when == "before":
                time.sleep(0.05)  # the server tells an error at once
            then(session)
        with engine.begin(pipeline=number == 1) as session:
            assert session.scalars("select name from item") == ["a"]
            assert session.scalar("select 7") == 7
    assert engine.pool.stats()["open"] == 1


def test_errors_that_come_at_any_moment(postgres: Database) -> None:
    """A thousand times: the error names its statement, what comes next on the connection gets its own answer, and it is not replaced."""
    engine = postgres.engine(pool_size=1)
    engine.execute(INSERT, {"name": "a", "price": 1})
    pid = engine.execute("select pg_backend_pid()").scalar()
    for number in range(1000):
        with pytest.raises(UniqueViolation) as caught, engine.begin(pipeline=True) as session:
            put(session, "b")
            put(session, "a")
            if number % 3 == 0:
                put(session, "c")
        assert caught.value.statement == INSERT
        with engine.begin() as session:
            assert session.execute("select name, pg_backend_pid() as pid from item").raw() == [("a", pid)]


def test_an_error_that_is_swallowed_keeps_nothing(postgres: Database) -> None:
    """The block's end raises."""
    engine = postgres.engine(pool_size=1)
    with pytest.raises(TransactionAbortedError), engine.begin(pipeline=True) as session:
        put(session, "a", -1)
        try:
            session.scalar("select 1")
        except CheckViolation:
            pass
    assert postgres.names() == []


def test_bad_values_doom_nothing(postgres: Database) -> None:
    """What cannot be sent is told at once; the transaction stands."""
    engine = postgres.engine(pool_size=1)
    with engine.begin(pipeline=True) as session:
        put(session, "a")
        with pytest.raises(DataError):
            session.execute("select :n", {"n": object()})
        put(session, "b")
    assert postgres.names() == ["a", "b"]


def test_a_deferred_constraint_at_the_end(postgres: Database) -> None:
    """COMMIT is refused: its error, nothing kept, the connection is well."""
    engine = postgres.engine(pool_size=1)
    engine.execute("drop table if exists late")
    engine.execute("create table late (id int references item (id) deferrable initially deferred)")
    try:
        with pytest.raises(ForeignKeyViolation), engine.begin(pipeline=True) as session:
            put(session, "a")
            session.execute("insert into late values (12345)")
        with engine.begin(pipeline=True) as session:
            put(session, "b")
        assert postgres.names() == ["b"]
        assert engine.pool.stats()["open"] == 1
    finally:
        engine.execute("drop table late")


def test_modes_and_limits(postgres: Database) -> None:
    """They go with BEGIN."""
    engine = postgres.engine(pool_size=1, isolation_level="REPEATABLE READ")
    with engine.begin(pipeline=True, read_only=True, statement_timeout=3) as session:
        shown = [
            session.execute(f"show {name}")
            for name in ("transaction_isolation", "transaction_read_only", "statement_timeout")
        ]
        assert [result.scalar() for result in shown] == ["repeatable read", "on", "3s"]
    with pytest.raises(QueryCancelledError), engine.begin(pipeline=True, statement_timeout=0.2) as session:
        session.execute("select pg_sleep(20)")
        put(session, "a")
    assert engine.execute("show statement_timeout").scalar() == "0"
    assert postgres.names() == []


@pytest.mark.parametrize("end", ["reset", "close", "invalidate", "rollback", "abandoned"])
def test_what_is_outstanding_is_undone(postgres: Database, end: str) -> None:
    """Whatever way it ends; a result that nobody looked at in time says so."""
    engine = postgres.engine(pool_size=1)
    session = engine.session(pipeline=True)
    session.execute("select 1")
    result = put(session, "a")
    if end == "abandoned":
        with pytest.warns(ResourceWarning, match="was never closed"):
            del session
    elif end == "close":
        with pytest.warns(Warning, match="nobody committed"):
            session.close()
    else:
        getattr(session, end)()
    with pytest.raises(TransactionLostError):
        result.rowcount  # noqa: B018
    with engine.begin(pipeline=True) as session:
        put(session, "b")
    assert postgres.names() == ["b"]


def test_another_thread_looks_at_a_result(postgres: Database) -> None:
    """Waiting is a call on the session: two at once are refused."""
    engine = postgres.engine(pool_size=1)
    told: list[BaseException] = []

    def look() -> None:
        try:
            result.scalar()
        except ConcurrentUseError as exc:
            told.append(exc)

    with engine.begin(pipeline=True) as session:
        result = session.execute("select 7")
        with session._guard():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        assert result.scalar() == 7
    assert len(told) == 1


def test_a_backend_that_is_killed_before_commit(postgres: Database) -> None:
    """It hung up before COMMIT was sent: that is known, and `run` goes on."""
    engine = postgres.engine(pool_size=1)
    kills = [1]

    def work(session: Session) -> None:
        pid = session.scalar("select pg_backend_pid()")
        put(session, "a")
        if kills:
            kills.pop()
            postgres.main.execute("select pg_terminate_backend(?)", (pid,))
            time.sleep(0.1)

    with pytest.raises((TransactionLostError, DisconnectionError)), engine.begin(pipeline=True) as session:
        work(session)
    kills.append(1)
    engine.run(work, pipeline=True)
    assert postgres.names() == ["a"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_wire_is_cut_at_the_end(wire: tuple[Proxy, Engine], postgres: Database, when: str) -> None:
    """Nobody knows, in both cases; with `resolve` `run` finds out, and it is there once."""
    proxy, engine = wire
    cuts: list[int] = [1]

    def sent(data: bytes) -> bool:
        if b"COMMIT" in data and cuts:
            cuts.clear()
            if when == "before":
                return False
            proxy.on_answer = lambda data: False
        return True

    proxy.on_sent = sent
    with pytest.raises(CommitUnknownError), engine.begin(pipeline=True) as session:
        put(session, "a")
    proxy.on_answer = lambda data: True
    time.sleep(0.1)
    assert postgres.names() == (["a"] if when == "after" else [])

    def work(session: Session) -> None:
        proxy.on_answer = lambda data: True
        put(session, "b")

    cuts.append(1)
    threading.Timer(0.3, lambda: setattr(proxy, "on_answer", lambda data: True)).start()
    engine.run(work, pipeline=True, resolve=True)
    assert postgres.names().count("b") == 1


def test_events(postgres: Database) -> None:
    """Each statement is told of when its answer has come, with its rowcount, or its error."""
    engine = postgres.engine(pool_size=1)
    with trace.record(engine) as recording:
        with engine.begin(pipeline=True) as session:
            put(session, "a")
            session.execute("update item set price = 3")
        with pytest.raises(UniqueViolation), engine.begin(pipeline=True) as session:
            put(session, "a")
    found = [(moment.kind, moment.error) for moment in recording.events if moment.kind != "pool"]
    assert found == [
        ("begin", None), ("statement", None), ("statement", None), ("commit", None),
        ("begin", None), ("statement", "UniqueViolation"), ("commit failed", "UniqueViolation"),
    ]  # fmt: skip
    assert [moment.rowcount for moment in recording.events if moment.kind == "statement"] == [1, 1, -1]


def test_in_a_sandbox_and_behind_a_given_connection(postgres: Database) -> None:
    """It changes nothing there."""
    engine = postgres.engine(pool_size=1)
    with sandbox(engine):
        with engine.begin(pipeline=True) as session:
            put(session, "a")
        assert engine.execute("select count(*) from item").scalar() == 1
    assert postgres.names() == []


def transfers(engine: Engine, dice: random.Random, told: list[str], until: float) -> None:
    """Move money, in pipelines, and note what was told."""

    def move(session: Session, amount: Decimal, bad: bool) -> None:
        session.execute("update item set price = price - ? where name = 'from'", (float(amount),))
        if bad:
            session.execute("insert into item (name, price) values ('from', 0)")
        session.execute("update item set price = price + ? where name = 'to'", (float(amount),))
        if dice.random() < 0.3:
            session.scalar("select 1")

    while time.monotonic() < until:
        bad = dice.random() < 0.2
        try:
            engine.run(move, Decimal(1), bad, pipeline=True, resolve=True, timeout=60)
            told.append("done")
            assert not bad
        except UniqueViolation:
            assert bad
        except Error as exc:
            told.append(type(exc).__name__)


def test_a_bank_whose_backends_are_killed(postgres: Database) -> None:
    """What was told done is there, once; what failed is not; nobody is told otherwise."""
    engine = postgres.engine(pool_size=3, pool_timeout=30)
    with engine.begin() as session:
        put(session, "from", 1_000_000)
        put(session, "to", 0)
    told: list[str] = []
    dice = random.Random(int(os.environ.get("SESSIONKIT_SEED", "1")))
    until = time.monotonic() + 3
    threads = [threading.Thread(target=transfers, args=(engine, dice, told, until)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        postgres.main.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend' "
            "and query like 'update item%' or query like 'COMMIT%' limit 1"
        )
    for thread in threads:
        thread.join()
    amounts = dict(postgres.main.execute("select name, price from item").tuples())
    assert set(told) == {"done"}
    assert len(told) > 50
    assert amounts == {"from": 1_000_000 - len(told), "to": len(told)}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_every_few_bytecodes(postgres: Database) -> None:
    """Nothing is kept, or all of it; the next one works on a clean connection."""
    engine = postgres.engine(pool_size=1, pool_timeout=5)
    at, kept = 1, 0
    while True:
        injector = Injector(at)
        try:
            with injector, engine.begin(pipeline=True) as session:
                put(session, f"a{at}")
                session.execute("select count(*) from item").scalar()
                put(session, f"b{at}")
        except Interrupt:
            pass
        gc.collect(0)
        with engine.begin(pipeline=True) as session:
            names = session.scalars("select name from item")
            assert names in ([], [f"a{at}", f"b{at}"]), injector.where
            kept += len(names)
            session.execute("delete from item")
        if injector.count < at:
            break
        at += STRIDE
    assert at > 300
    assert kept > 0


class TimeIsUpError(Exception):
    """What a signal's handler raises."""


def commits(engine: Engine) -> None:
    """Wait in COMMIT of a pipeline."""
    with engine.begin(pipeline=True) as session:
        put(session, "a")
        session.execute("select pg_sleep(20)")


def looks(engine: Engine) -> None:
    """Wait at a look."""
    with engine.begin(pipeline=True) as session:
        put(session, "a")
        session.scalar("select pg_sleep(20)")


def leaves(engine: Engine) -> None:
    """Wait where the pipeline is left."""
    with engine.begin(pipeline=True) as session:
        put(session, "a")
        session.execute("select pg_sleep(20)")
        with session.begin_nested():
            put(session, "b")


def begins_distantly(engine: Engine) -> None:
    """Wait in a first statement that BEGIN travels with."""
    with engine.begin() as session:
        session.execute("insert into item (name, price) select 'a', 1 where pg_sleep(:s) is not null", {"s": 20})


def executes_many(engine: Engine) -> None:
    """Wait in rows that psycopg sends in a pipeline of its own."""
    with engine.begin() as session:
        session.executemany("insert into item (price) select 1 where pg_sleep(?) is not null", [(10,), (10,)])


@pytest.mark.parametrize("kind", [TimeIsUpError, KeyboardInterrupt])
@pytest.mark.parametrize("work", [commits, looks, leaves, begins_distantly, executes_many])
def test_a_signal_comes_out_as_itself(postgres: Database, work: Any, kind: type[BaseException]) -> None:
    """Soon, and not as an error of psycopg's about the pipeline that it stands in; nothing is kept."""
    engine = postgres.engine(pool_size=1, distant=work is begins_distantly)

    def ring(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    try:
        with pytest.raises(kind) as caught:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            work(engine)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert type(caught.value) is kind
    assert time.monotonic() - started < 5
    assert engine.pool.stats()["used"] == 0
    assert postgres.names() == []
