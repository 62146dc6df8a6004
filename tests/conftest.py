"""Databases for the tests: real ones, each started once per run, with the same tables everywhere."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import Engine, create_engine, entity
from sessionkit.testing import FakeDriver, fake_engine, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sessionkit.testing.proxy import Proxy

KINDS = ("sqlite", "postgres", "mariadb")
_STARTERS: dict[str, Callable[[Path], Any]] = {"postgres": servers.start_postgres, "mariadb": servers.start_mariadb}
_missing: dict[str, str] = {}

TABLES = {
    "sqlite": "id integer primary key, name varchar(60) unique, price double not null check (price >= 0)",
    "postgres": "id serial primary key, name varchar(60) unique, price double precision not null check (price >= 0)",
    "mariadb": "id int auto_increment primary key, name varchar(60) unique, price double not null check (price >= 0)",
}

SLEEP = {  # ten seconds, or for ever
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "postgres": "select pg_sleep(10)",
    "mariadb": "select 1 from dual where sleep(10) = 0",  # a bare SLEEP() is not cancelled on MySQL: it returns 1
}


@entity("item", key="id")
@dataclass
class Item:
    """The entity that most tests use."""

    name: str
    price: float
    id: int | None = None


@dataclass
class Database:
    """A real database of one kind, with an engine and empty tables `item` and `tag` (which points to item)."""

    kind: str
    url: str
    server: Any = None
    engines: list[Engine] = field(default_factory=list)

    def engine(self, **options: Any) -> Engine:
        """Return a further engine on this database, disposed of after the test."""
        engine = create_engine(self.url, **{"name": self.kind, **options})
        self.engines.append(engine)
        return engine

    def through(self, proxy: Proxy, **options: Any) -> Engine:
        """Return a further engine, whose connections go through a proxy to this server."""
        engine = create_engine(self.url.replace(f":{self.server.port}/", f":{proxy.port}/"), name=self.kind, **options)
        self.engines.append(engine)
        return engine

    @property
    def main(self) -> Engine:
        """The engine that the tables were made with."""
        return self.engines[0]

    def create(self) -> None:
        """Make the tables anew."""
        execute = self.main.execute
        execute("drop table if exists tag")
        execute("drop table if exists item")
        execute(f"create table item ({TABLES[self.kind]})")
        execute(
            "create table tag (item_id integer not null, word varchar(20) not null, primary key (item_id, word), "
            "foreign key (item_id) references item (id))"
        )

    def names(self) -> list[str]:
        """Return the names that are committed, as another connection sees them."""
        return self.main.execute("select name from item order by id").scalars()

    def open_transactions(self) -> int:
        """Return how many transactions of anybody's are open on the server."""
        if self.kind == "postgres":
            sql = "select count(*) from pg_stat_activity where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend'"
        elif self.kind == "mariadb":
            sql = "select count(*) from information_schema.innodb_trx where trx_mysql_thread_id <> connection_id()"
        else:
            return 0
        return int(self.main.execute(sql).scalar())


class _Servers:
    """The servers of this run, each started when a test first asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: dict[str, Any] = {}

    def get(self, kind: str, start: Callable[[Path], Any] | None = None) -> Any:
        """Return the server of a kind, started (by `start`) when it is first asked for; where it cannot be had, the test is skipped."""
        with self._lock:
            if kind not in self._started and kind not in _missing:
                folder = servers.make_folder()
                try:
                    self._started[kind] = (start or _STARTERS[kind])(folder)
                except servers.Unavailable as exc:
                    _missing[kind] = str(exc)
        if kind in _missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{kind} cannot be had: {_missing[kind]}")
            pytest.skip(f"{kind} cannot be had: see the end of the run")
        return self._started[kind]

    def stop(self) -> None:
        for server in self._started.values():
            server.stop()


def pytest_configure(config: pytest.Config) -> None:
    """Let a termination run the cleaning up, so that no server outlives the run."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def pytest_collection_finish() -> None:
    """Take what is loaded by now out of the garbage collector's sight: pandas and its kin would make each collection take long."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly which databases the run had to do without."""
    for kind, why in _missing.items():
        terminalreporter.section(f"NOT TESTED: {kind}", red=True, bold=True)
        terminalreporter.line(why)


@pytest.fixture(scope="session")
def running() -> Iterator[_Servers]:
    """The servers of this run."""
    found = _Servers()
    yield found
    found.stop()


@pytest.fixture
def make_database(running: _Servers, tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Return a function that makes the database of a kind ready; afterwards nothing may be lent or in a transaction."""
    made: list[Database] = []

    def make(kind: str) -> Database:
        server = None if kind == "sqlite" else running.get(kind)
        url = f"sqlite:///{tmp_path}/test.db" if server is None else server.url
        database = Database(kind, url, server)
        database.engine()
        made.append(database)
        database.create()
        return database

    yield make
    try:
        for database in made:
            lent = {repr(engine): [str(lease) for lease in engine.pool.leases()] for engine in database.engines}
            assert not any(lent.values()), lent
            deadline = time.monotonic() + 2
            while (left := database.open_transactions()) and time.monotonic() < deadline:
                time.sleep(0.15)  # InnoDB refreshes the table of transactions at most every 0.1 s
            assert left == 0
    finally:
        for database in made:
            for engine in database.engines:
                engine.dispose()


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Database:
    """A database of each kind in turn."""
    return make_database(request.param)


@pytest.fixture(params=KINDS[1:])
def server_db(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Database:
    """A database behind a server, of each kind in turn."""
    return make_database(request.param)


@pytest.fixture
def sqlite(make_database: Callable[[str], Database]) -> Database:
    """A SQLite file."""
    return make_database("sqlite")


@pytest.fixture
def postgres(make_database: Callable[[str], Database]) -> Database:
    """PostgreSQL."""
    return make_database("postgres")


@pytest.fixture
def mariadb(make_database: Callable[[str], Database]) -> Database:
    """MariaDB."""
    return make_database("mariadb")


@pytest.fixture
def fake() -> Iterator[Engine]:
    """An engine on the strict fake driver; afterwards nothing was misused, lent or left in a transaction."""
    engine = fake_engine(FakeDriver(), pool_timeout=0.2)
    yield engine
    assert engine.pool.stats()["used"] == 0, engine.pool.leases()
    engine.driver.verify()  # type: ignore[attr-defined]
