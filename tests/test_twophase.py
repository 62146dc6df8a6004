"""Two-phase commit over real databases: on all of them or on none, whatever fails, and whenever the program dies."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    ArgumentError,
    CommitUnknownError,
    DeadlockError,
    Error,
    IntegrityError,
    NotSupportedError,
    Registry,
    Rollback,
    Session,
    UniqueViolation,
    create_engine,
    errors,
    trace,
)
from sessionkit.aio import AsyncRegistry
from sessionkit.testing import sandbox
from sessionkit.testing.proxy import Proxy, is_commit

from .test_interrupts import Injector, Interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Database

STRIDE = int(os.environ.get("SESSIONKIT_STRIDE", "151"))
KILLS = int(os.environ.get("SESSIONKIT_KILLS", "40"))
BOTH = [
    ("postgres", "mariadb"),
    ("mariadb", "postgres"),
    ("postgres", "postgres"),
    ("mariadb", "mariadb"),
    ("sqlite", "postgres"),
]


class Shops:
    """Two databases by the names `first` and `second`, with an account in each; all together they have 100."""

    def __init__(self, make: Callable[[str], Database], kinds: tuple[str, str], second_url: str = "") -> None:
        self.kinds = kinds
        self.databases = [make(kind) for kind in dict.fromkeys(kinds)]
        first, second = self.databases[0], self.databases[-1]
        self.tables = ("first_account", "second_account")
        for database, table in zip((first, second), self.tables, strict=True):
            database.main.execute(f"drop table if exists {table}")
            database.main.execute(f"create table {table} (id integer primary key, amount integer not null)")
            database.main.execute(f"insert into {table} values (1, 50)")
        self.urls = {"first": first.url, "second": second_url or second.url}
        self.registry = self.make()

    def make(self) -> Registry:
        """Return a registry of its own."""
        return Registry(self.urls)

    def session(self, **options: Any) -> Session:
        """Return a session that commits on both."""
        return self.registry.session(two_phase=True, **options)

    def amounts(self) -> list[int]:
        """Return what is on the accounts, as another program sees it."""
        with self.make() as registry:
            return [
                registry.execute(f"select amount from {table} where id = 1", bind=name).scalar()
                for name, table in zip(self.urls, self.tables, strict=True)
            ]

    def prepared(self) -> list[str]:
        """Return what is prepared anywhere."""
        names: set[str] = set()
        for database in self.databases:
            lease = database.main.pool.checkout()
            names.update(database.main.driver.prepared(lease.conn))
            database.main.pool.checkin(lease)
        return sorted(names)

    def transfer(self, session: Session, amount: int = 10) -> None:
        """Move something from the first to the second."""
        session.execute("update first_account set amount = amount - ? where id = 1", (amount,), bind="first")
        session.execute("update second_account set amount = amount + ? where id = 1", (amount,), bind="second")


@pytest.fixture
def make_shops(make_database: Callable[[str], Database]) -> Iterator[Callable[..., Shops]]:
    """Return a function that makes two databases ready; afterwards nothing may be prepared."""
    made: list[Shops] = []

    def make(*kinds: str, **options: Any) -> Shops:
        shops = Shops(make_database, kinds, **options)  # type: ignore[arg-type]
        made.append(shops)
        return shops

    yield make
    for shops in made:
        lent = [lease for name in shops.registry for lease in shops.registry[name].pool.leases()]
        shops.registry.recover()
        left = shops.prepared()
        shops.registry.dispose()
        assert lent == left == []


@pytest.fixture(params=BOTH, ids="-".join)
def shops(request: pytest.FixtureRequest, make_shops: Callable[..., Shops]) -> Shops:
    """Two databases of each pair of kinds."""
    return make_shops(*request.param)


def test_on_both(shops: Shops) -> None:
    """By the block, by commit(), with savepoints, many times on the same connections; rolled back, nothing is left."""
    for _ in range(3):
        with shops.session() as session, session.begin():
            shops.transfer(session)
    assert shops.amounts() == [20, 80]
    with shops.session() as session, session.begin():
        shops.transfer(session, -10)
        with session.begin_nested():
            shops.transfer(session, 5)
            session.execute("update second_account set amount = 0", bind="second")
            raise Rollback
    session = shops.session()
    shops.transfer(session, -10)
    session.commit()
    assert shops.amounts() == [40, 60]
    shops.transfer(session, -10)
    session.rollback()
    shops.registry.run(lambda session: shops.transfer(session, 1), two_phase=True)
    assert shops.amounts() == [39, 61]
    assert shops.prepared() == []
    assert [shops.registry[name].pool.stats()["open"] for name in ("first", "second")] == [1, 1]


@pytest.mark.parametrize("where", ["first", "second"])
def test_what_is_refused_at_the_end(make_shops: Callable[..., Shops], where: str) -> None:
    """A deferred constraint fails on either: nothing is kept on any, and the session goes on."""
    shops = make_shops("postgres", "mariadb") if where == "first" else make_shops("mariadb", "postgres")
    engine = shops.registry[where]
    engine.execute("drop table if exists late")
    engine.execute("create table late (id int, constraint once unique (id) deferrable initially deferred)")
    session = shops.session()
    for _ in range(2):
        with pytest.raises(UniqueViolation), session.begin():
            shops.transfer(session)
            session.execute("insert into late values (1), (1)", bind=where)
        assert shops.amounts() == [50, 50]
        assert shops.prepared() == []
    with session.begin():
        shops.transfer(session)
    assert shops.amounts() == [40, 60]
    engine.execute("drop table late")


def test_an_error_and_a_deadlock_in_an_xa_transaction(make_shops: Callable[..., Shops]) -> None:
    """The connection is closed rather than lent on, for its status says idle."""
    shops = make_shops("postgres", "mariadb")
    with pytest.raises(IntegrityError), shops.session() as session, session.begin():
        shops.transfer(session)
        session.execute("insert into second_account values (1, 1)", bind="second")
    other = shops.make()
    with other, other.session() as blocker, shops.session() as session:
        shops.registry.execute("insert into second_account values (2, 0)", bind="second")
        shops.transfer(session)
        blocker.execute("update second_account set amount = 1 where id = 2", bind="second")
        told: list[BaseException] = []

        def wait() -> None:
            try:
                blocker.execute("update second_account set amount = 1 where id = 1", bind="second")
            except DeadlockError as exc:
                told.append(exc)

        import threading

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        try:
            session.execute("update second_account set amount = 1 where id = 2", bind="second")
        except DeadlockError as exc:
            told.append(exc)
        session.reset()
        thread.join()
        blocker.reset()
        assert len(told) == 1
    assert shops.amounts() == [50, 50]
    with shops.session() as session, session.begin():
        shops.transfer(session)
    assert shops.amounts() == [40, 60]


def test_what_cannot_be(make_database: Callable[[str], Database], make_shops: Callable[..., Shops]) -> None:
    """A database that cannot prepare is the first or none; names are needed; Galera's and old servers' refusals come out as they are."""
    shops = make_shops("sqlite", "postgres")
    with shops.session() as session:
        session.execute("select 1", bind="second")
        with pytest.raises(NotSupportedError, match="use first first"):
            session.execute("select 1", bind="first")
    with (
        Registry({"a" * 60: shops.urls["first"], "b" * 60: shops.urls["second"]}) as registry,
        registry.session(two_phase=True) as session,
    ):
        session.execute("select 1")
        with pytest.raises(ArgumentError, match="too long together"):
            session.execute("select 1", bind="b" * 60)
    with shops.session() as session, session.begin():  # one alone needs no second phase
        session.execute("insert into second_account values (7, 7)", bind="second")
    assert shops.registry.execute("select count(*) from second_account", bind="second").scalar() == 2


def test_prepared_transactions_are_disabled(make_database: Callable[[str], Database]) -> None:
    """The server's words come out, and nothing is kept anywhere."""
    from sessionkit.testing import servers

    server: Any = servers.start_postgres(servers.make_folder())
    try:
        server.command = [
            part.replace("max_prepared_transactions=100", "max_prepared_transactions=0") for part in server.command
        ]
        server.restart()
        sqlite = make_database("sqlite")
        with Registry({"first": sqlite.url, "second": server.url}) as registry:
            registry.execute("create table t (id int)", bind="second")
            with (
                pytest.raises(Error, match="prepared transactions are disabled"),
                registry.begin(two_phase=True) as session,
            ):
                session.execute("insert into item (name, price) values ('a', 1)", bind="first")
                session.execute("insert into t values (1)", bind="second")
            assert sqlite.names() == []
    finally:
        server.stop()


def test_in_a_sandbox(make_shops: Callable[..., Shops]) -> None:
    """It is undone there as everything is, and nothing is prepared."""
    shops = make_shops("postgres", "mariadb")
    with sandbox(shops.registry):
        with shops.session() as session, session.begin():
            shops.transfer(session)
        assert shops.registry.execute("select amount from first_account").scalar() == 40
        assert shops.prepared() == []
    assert shops.amounts() == [50, 50]


@pytest.mark.parametrize("kinds", [("postgres", "mariadb"), ("mariadb", "postgres")], ids="-".join)
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_answer_to_the_deciding_commit_is_lost(
    make_shops: Callable[..., Shops], kinds: tuple[str, str], when: str
) -> None:
    """It is found out by the row, and all of them do the same."""
    shops = make_shops(*kinds)
    database = shops.databases[0]
    proxy = Proxy(database.server.port)
    try:
        shops.urls["first"] = database.url.replace(f":{database.server.port}/", f":{proxy.port}/")
        with Registry(shops.urls) as registry:
            session = registry.session(two_phase=True)
            shops.transfer(session)
            commits: list[bool] = []  # the first is cut

            def sent(data: bytes) -> bool:
                if is_commit(data):
                    commits.append(True)
                    return when == "after" or len(commits) > 1
                return True

            def answered(data: bytes) -> bool:
                is_first, commits[:] = len(commits) == 1 and when == "after", commits * 2
                return not is_first

            proxy.on_sent, proxy.on_answer = sent, answered
            if when == "before":
                with pytest.raises(errors.DisconnectionError, match="nothing was committed"):
                    session.commit()
            else:
                session.commit()
            session.close()
            shops.urls["first"] = database.url
            assert shops.amounts() == ([50, 50] if when == "before" else [40, 60])
            assert shops.prepared() == []
    finally:
        proxy.close()


def test_a_participant_is_gone_when_it_should_commit(
    make_shops: Callable[..., Shops], caplog: pytest.LogCaptureFixture
) -> None:
    """All is decided: the session says that it committed, the log says what is left, and recover() ends it."""
    shops = make_shops("mariadb", "postgres")
    session = shops.session()
    shops.transfer(session)
    engine = shops.registry["second"]
    lease = engine.pool.leases()
    assert lease
    decider = shops.registry["first"]
    stop = decider.listen(lambda event: kill_backends(shops) if getattr(event, "action", "") == "commit" else None)
    session.commit()
    stop()
    assert shops.amounts() == [40, 60]
    assert shops.prepared() == []
    assert caplog.records == []


def kill_backends(shops: Shops) -> None:
    """Kill every other connection to PostgreSQL."""
    shops.databases[1].main.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


def test_another_program_recovers_meanwhile(make_shops: Callable[..., Shops]) -> None:
    """What is under way is waited for; what another one ended is ended."""
    shops = make_shops("mariadb", "postgres")
    session = shops.session()
    shops.transfer(session)
    told: list[Any] = []

    def recover() -> None:
        with shops.make() as registry:
            told.extend(registry.recover())

    decider = shops.registry["first"]
    stop = decider.listen(lambda event: recover() if getattr(event, "action", "") == "commit" else None)
    session.commit()
    stop()
    assert [(found.database, found.action) for found in told] == [("second", "committed")]
    assert shops.amounts() == [40, 60]


def test_recover_waits_no_longer_than_it_is_told(make_shops: Callable[..., Shops]) -> None:
    """A transaction whose program stands still between the phases is left alone."""
    shops = make_shops("postgres", "postgres")
    told: list[Any] = []

    def recover(event: Any) -> None:
        if getattr(event, "action", "") == "prepare":
            with shops.make() as registry:
                told.extend(registry.recover(timeout=0.5))

    stop = shops.registry["second"].listen(recover)
    with shops.session() as session, session.begin():
        shops.transfer(session)
    stop()
    assert [found.action for found in told] == ["left"]
    assert "statement timeout" in told[0].reason
    assert shops.amounts() == [40, 60]
    with Registry({"second": shops.urls["second"]}) as registry:
        assert registry.recover() == []


def child(shops: Shops, told: int) -> None:
    """Move 1 from the first to the second again and again, until killed; tell of each."""
    registry = shops.make()
    while True:
        try:
            with registry.begin(two_phase=True) as session:
                shops.transfer(session, 1)
            os.write(told, b".")
        except CommitUnknownError:
            os._exit(3)


@pytest.mark.parametrize("kinds", BOTH, ids="-".join)
def test_the_program_is_killed_at_any_moment(make_shops: Callable[..., Shops], kinds: tuple[str, str]) -> None:
    """SIGKILL: after recover() no transfer is half done, and no prepared transaction is left (SESSIONKIT_KILLS moments, 40)."""
    shops = make_shops(*kinds)
    actions: dict[str, int] = {}
    dice = random.Random(int(os.environ.get("SESSIONKIT_SEED", "1")))
    for _ in range(max(2, KILLS // len(BOTH))):
        hear, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(shops, tell)
            finally:
                os._exit(1)
        os.read(hear, 1)
        time.sleep(dice.random() * 0.03)
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.close(hear), os.close(tell)
        for found in shops.registry.recover():
            actions[found.action] = actions.get(found.action, 0) + 1
        assert sum(shops.amounts()) == 100
        assert shops.prepared() == []
    assert shops.amounts()[0] < 50
    assert set(actions) <= {"committed", "rolled back"}
    print(kinds, actions)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kinds", [("postgres", "mariadb"), ("mariadb", "postgres")], ids="-".join)
def test_an_interrupt_at_every_few_bytecodes(make_shops: Callable[..., Shops], kinds: tuple[str, str]) -> None:
    """In work and commit: after recover() it is all there or nothing is, and the session's connections are whole."""
    shops = make_shops(*kinds)
    for name in ("first", "second"):
        shops.registry[name].pool.timeout = 5.0
    at, moved = 1, 0
    while True:
        injector = Injector(at)
        before = shops.amounts()
        try:
            with injector, shops.registry.begin(two_phase=True) as session:
                shops.transfer(session, 1)
        except Interrupt:
            pass
        gc.collect(0)
        shops.registry.recover()
        after = shops.amounts()
        assert sum(after) == 100, injector.where
        assert before[0] - after[0] in (0, 1), injector.where
        assert shops.prepared() == [], injector.where
        moved += before[0] - after[0]
        if injector.count < at:
            break
        at += STRIDE
    assert at > 500
    assert moved > 0


@pytest.mark.parametrize(
    "kinds", [("postgres", "mariadb"), ("mariadb", "postgres"), ("sqlite", "postgres")], ids="-".join
)
def test_in_an_event_loop(make_shops: Callable[..., Shops], kinds: tuple[str, str]) -> None:
    """The same, with one connection in each pool."""
    shops = make_shops(*kinds)
    urls = {name: f"{url}" for name, url in shops.urls.items()}
    prepared: list[Any] = []

    async def main() -> list[Any]:
        registry = Registry()
        for name, url in urls.items():
            registry.add(name, url, pool_size=1).listen(lambda event: prepared.append(getattr(event, "action", "")))
        async with AsyncRegistry(registry) as loop:
            for _ in range(3):
                async with loop.begin(two_phase=True) as session:
                    await session.execute("update first_account set amount = amount - 10 where id = 1", bind="first")
                    await session.execute("update second_account set amount = amount + 10 where id = 1", bind="second")
            return await loop.recover()

    assert asyncio.run(main()) == []
    assert prepared.count("prepare") == 3
    assert shops.amounts() == [20, 80]


def test_what_only_reads_is_not_prepared(make_shops: Callable[..., Shops]) -> None:
    """There is nothing to decide."""
    shops = make_shops("postgres", "mariadb")
    with shops.session() as session, session.begin(read_only=True):
        assert session.scalar("select amount from first_account", bind="first") == 50
        assert session.scalar("select amount from second_account", bind="second") == 50


def test_what_listens_and_shows(make_shops: Callable[..., Shops]) -> None:
    """The trace has PREPARE, in text and page, and says what it means."""
    shops = make_shops("postgres", "mariadb")
    with trace.record(shops.registry) as recording, shops.session() as session, session.begin():
        shops.transfer(session)
    kinds = [moment.kind for moment in recording.events if moment.kind not in ("statement", "pool")]
    assert kinds == ["begin", "begin", "prepare", "commit", "commit"]
    assert "PREPARE" in recording.text()
    assert "is prepared: the database keeps" in recording.html()


def through(shops: Shops, name: str, proxy: Proxy) -> Registry:
    """Return a registry of the two databases, one of them through a proxy."""
    database = shops.databases[0 if name == "first" else -1]
    registry = Registry()
    for known, url in shops.urls.items():
        over = url.replace(f":{database.server.port}/", f":{proxy.port}/") if known == name else url
        registry.add(known, over, pool_timeout=0.5, connect_timeout=1, statement_timeout=5)
    return registry


def test_nobody_can_find_out_what_became_of_it(make_shops: Callable[..., Shops]) -> None:
    """The first database is gone after COMMIT was sent: unknown, and what is prepared waits for recover(), which finds it out."""
    shops = make_shops("mariadb", "postgres")
    with Proxy(shops.databases[0].server.port) as proxy, through(shops, "first", proxy) as registry:
        session = registry.session(two_phase=True)
        shops.transfer(session)
        cursor = session.cursor(bind="second")  # left open: it ends with its transaction
        cursor.execute("select amount from second_account")
        sent: list[bool] = []

        def look(data: bytes) -> bool:
            if is_commit(data):
                sent.append(True)
                proxy.refusing = True
            return True

        proxy.on_sent, proxy.on_answer = look, lambda data: not sent
        with pytest.raises(CommitUnknownError) as caught:
            session.commit()
        assert "what is prepared on second waits for recover()" in caught.value.__notes__[0]
        assert len(shops.prepared()) == 1
        with Registry({"second": shops.urls["second"]}) as other:
            (left,) = other.recover()
        assert (left.action, left.reason) == ("left", "its fate is written on first, which this registry does not have")
        with pytest.raises(Error):
            registry.execute("select 1")
        (left,) = [found for found in registry.recover(timeout=0.5) if found.database == "second"]
        assert left.action == "left"
        proxy.refusing = False
        proxy.on_answer = lambda data: True
        assert [found.action for found in shops.registry.recover()] == ["committed"]
        session.close()
    assert shops.amounts() == [40, 60]


@pytest.mark.parametrize("kinds", [("mariadb", "postgres"), ("postgres", "mariadb")], ids="-".join)
def test_a_participant_cannot_be_told(
    make_shops: Callable[..., Shops], kinds: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its server is out of reach when the first has committed: committed all the same; the log says what is left, for recover()."""
    shops = make_shops(*kinds)
    with Proxy(shops.databases[1].server.port) as proxy, through(shops, "second", proxy) as registry:
        session = registry.session(two_phase=True)
        shops.transfer(session)

        def hear(event: Any) -> None:
            if getattr(event, "action", "") == "commit":
                proxy.refusing = True
                proxy.cut()

        stop = registry["first"].listen(hear)
        session.commit()
        stop()
        assert (
            "committed as a whole is still prepared on second, and holds its locks there until recover()" in caplog.text
        )
        assert len(shops.prepared()) == 1
        proxy.refusing = False
        assert [found.action for found in registry.recover()] == ["committed"]
    assert shops.amounts() == [40, 60]


def test_what_others_have_prepared(make_shops: Callable[..., Shops]) -> None:
    """It is left alone; so is what another program calls otherwise."""
    shops = make_shops("postgres", "postgres")
    engine = shops.registry["first"]
    lease = engine.pool.checkout()
    try:
        for xid in ("somebody's own", f"sessionkit:{'0' * 32}:elsewhere:third"):
            engine.driver.run(lease.conn, "BEGIN")
            engine.driver.two_phase(xid).prepare(lease.conn)
        assert shops.registry.recover() == []
        for xid in engine.driver.prepared(lease.conn):
            assert engine.driver.end_prepared(lease.conn, xid, False)
    finally:
        engine.pool.checkin(lease)


def test_names_that_do_not_tell_databases_apart(make_shops: Callable[..., Shops]) -> None:
    """Each has one, its own."""
    shops = make_shops("postgres", "mariadb")
    with Registry() as registry:
        for name in ("a", "b"):
            registry.add(name, create_engine(shops.urls["first" if name == "a" else "second"], name="same"))
        with registry.session(two_phase=True) as session:
            session.execute("select 1", bind="a")
            with pytest.raises(ArgumentError, match="have names, each its own; these are 'same' and 'same'"):
                session.execute("select 1", bind="b")


@pytest.mark.parametrize(
    ("version", "keeps"),
    [
        ("10.4.12-MariaDB", False), ("5.5.5-10.4.12-MariaDB-log", False), ("5.5.5-10.11.19-MariaDB", True),
        ("11.8.2-MariaDB-ubu2404", True), ("5.7.6", False), ("5.7.44", True), ("8.4.0", True),
    ],
)  # fmt: skip
def test_a_server_that_forgets_what_was_prepared(version: str, keeps: bool) -> None:
    """Refused before the transaction begins, by what it tells of itself."""
    from sessionkit.drivers._twophase import _check_version

    if keeps:
        _check_version(version)
    else:
        with pytest.raises(NotSupportedError, match=r"MariaDB 10.5 or MySQL 5.7.7: this server \(.*\) forgets"):
            _check_version(version)
