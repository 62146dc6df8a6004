"""The sandbox and the pytest plugin: whatever code commits, in whatever thread, is undone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    DeadlockError,
    ForeignKeyViolation,
    ImplicitCommitError,
    InvalidRequestError,
    NotSupportedError,
    PoolDeadlockError,
    Registry,
    TransactionLostError,
    UniqueViolation,
    create_engine,
)
from sessionkit.testing import sandbox

from .conftest import Item

if TYPE_CHECKING:
    from sessionkit import Engine, Session

    from .conftest import Database

ROOT = Path(__file__).parent.parent


def insert(engine: Engine | Registry, name: str) -> None:
    """What a program does: it commits."""
    with engine.begin() as session:
        session.insert(Item(name, 1))


def names(engine: Engine) -> list[str]:
    """Return what is there."""
    return engine.execute("select name from item order by id").scalars()


def test_everything_is_undone(db: Database) -> None:
    """Blocks, `execute`, `run`, savepoints, a rollback in the middle; hooks run as ever."""
    engine, ran = db.engine(), []
    insert(engine, "before")
    with sandbox(engine) as same:
        assert same is engine
        insert(engine, "a")
        with pytest.raises(KeyError), engine.begin() as session:
            session.insert(Item("undone", 1))
            session.after_rollback(lambda: ran.append("rollback"))
            raise KeyError
        engine.execute("insert into item (name, price) values ('b', 1)")
        with pytest.raises(UniqueViolation):
            engine.execute("insert into item (name, price) values ('b', 1)")
        with engine.begin() as session:
            session.after_commit(lambda: ran.append("commit"))
            session.insert(Item("c", 1))
            with pytest.raises(UniqueViolation), session.begin_nested():
                session.insert(Item("c", 1))
            session.insert(Item("d", 1))
        engine.run(lambda session: session.insert(Item("e", 1)))
        with engine.session() as session:
            session.insert(Item("f", 1))
            session.commit()
            session.insert(Item("not kept", 1))
            session.rollback()
        assert names(engine) == ["before", "a", "b", "c", "d", "e", "f"]
        assert db.names() == ["before"] if db.kind != "sqlite" else True
    assert ran == ["rollback", "commit"]
    assert names(engine) == ["before"]
    assert engine.pool.stats()["used"] == 0
    insert(engine, "after")


def test_other_threads_wait_in_line(db: Database) -> None:
    """They get the one connection in turn, and see what was committed before."""
    engine = db.engine()
    with sandbox(engine):
        with engine.begin() as session:
            session.insert(Item("first", 1))
            threads = [threading.Thread(target=insert, args=(engine, f"t{n}")) for n in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert sorted(names(engine)) == ["first", "t0", "t1", "t2", "t3"]
    assert names(engine) == []


def test_a_second_session_of_the_same_thread(db: Database) -> None:
    """At once an error that says where the first one is."""
    engine = db.engine(pool_timeout=30)
    with sandbox(engine), engine.begin() as session:
        session.insert(Item("a", 1))
        started = time.monotonic()
        with pytest.raises(PoolDeadlockError, match=r"another session of this thread holds it.*test_sandbox\.py:\d+"):
            engine.execute("select 1")
        assert time.monotonic() - started < 1


def test_a_session_that_is_left_open(db: Database) -> None:
    """Named at the end, with its place; it finds its connection gone, and nothing is kept. With an exception of the test it is a note."""
    engine = db.engine()
    with (
        pytest.raises(
            InvalidRequestError, match=r"a session still held its connection: .*test_sandbox\.py:\d+, \"insert"
        ),
        sandbox(engine),
    ):
        left = engine.session()
        left.execute("insert into item (name, price) values ('a', 1)")
    with pytest.raises(TransactionLostError):
        left.execute("select 1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left.close()
    assert names(engine) == []
    with pytest.raises(KeyError) as caught, sandbox(engine):
        left = engine.session()
        left.execute("select 1")
        raise KeyError("mine")
    assert "a session still held its connection" in caught.value.__notes__[0]
    left.close()
    assert engine.pool.stats()["used"] == 0


def test_a_session_that_was_open_before(db: Database) -> None:
    """Its connection could not come home: refused."""
    engine = db.engine()
    with engine.session() as session:
        session.execute("select 1")
        with pytest.raises(InvalidRequestError, match="a session holds a connection of"), sandbox(engine):
            pass
    with sandbox(engine):
        insert(engine, "a")
    assert names(engine) == []


def test_ddl(db: Database) -> None:
    """Undone too; refused on MariaDB, with what to do."""
    engine = db.engine()
    for way in (engine.execute, lambda sql: engine.run(lambda session: session.execute(sql))):
        with sandbox(engine):
            insert(engine, "a")
            if db.kind == "mariadb":
                with pytest.raises(ImplicitCommitError, match="make tables before it, in a fixture"):
                    way("create table sandboxed (i integer)")
            else:
                way("create table sandboxed (i integer)")
                way("insert into sandboxed values (1)")
        assert names(engine) == []
    engine.execute("create table sandboxed (i integer)")
    engine.execute("drop table sandboxed")


def test_what_is_left_on_the_connection(db: Database) -> None:
    """Settings and temporary tables go with it."""
    engine = db.engine(pool_size=1)
    with sandbox(engine):
        with engine.begin() as session:
            session.execute("create temporary table scratch (i integer)")
        with engine.begin() as session:
            session.execute("insert into scratch values (1)")
            conn: Any = session.connection().driver_connection
            assert conn is not None
        assert engine.execute("select count(*) from scratch").scalar() == 1
    with pytest.raises(Exception, match="scratch"):
        engine.execute("select count(*) from scratch")


def test_deferred_constraints(sqlite: Database, postgres: Database) -> None:
    """Checked where the code's COMMIT would check them, and deferred again afterwards."""
    for db in (sqlite, postgres):
        engine = db.engine()
        engine.execute(
            "create table late (id integer primary key, next integer references late (id) deferrable initially deferred)"
        )
        with sandbox(engine):
            for _ in range(2):
                with pytest.raises(ForeignKeyViolation), engine.begin() as session:
                    session.execute("insert into late values (1, 2)")
                assert engine.execute("select count(*) from late").scalar() == 0
            with engine.begin() as session:
                session.execute("insert into late values (1, 2)")
                session.execute("insert into late values (2, 1)")
            assert engine.execute("select count(*) from late").scalar() == 2
        engine.execute("drop table late")


def test_modes(db: Database) -> None:
    """A level that the outer transaction has is quiet, another is named once; read-only is kept where it can be."""
    engine = db.engine()
    other = {"sqlite": None, "postgres": "SERIALIZABLE", "mariadb": "READ COMMITTED"}[db.kind]
    same = {"sqlite": "SERIALIZABLE", "postgres": "READ COMMITTED", "mariadb": "REPEATABLE READ"}[db.kind]
    with sandbox(engine):
        with engine.begin(isolation_level=same) as session:
            session.execute("select 1")
        if other is not None:
            with (
                pytest.warns(UserWarning, match="has no effect in a sandbox"),
                engine.begin(isolation_level=other) as session,
            ):
                session.execute("select 1")
            with engine.begin(isolation_level=other) as session:
                session.execute("select 1")
        if db.kind == "mariadb":
            with pytest.warns(UserWarning, match="read_only=True"), engine.begin(read_only=True) as session:
                session.execute("select 1")
        else:
            with pytest.raises(Exception, match=r"read-?only"), engine.begin(read_only=True) as session:
                session.execute("insert into item (name, price) values ('a', 1)")
        with engine.begin(statement_timeout=5) as session:
            session.execute("select 1")
        insert(engine, "b")
        assert names(engine) == ["b"]
    assert names(engine) == []


def test_a_registry(sqlite: Database, postgres: Database, mariadb: Database) -> None:
    """Each of its databases; a transaction over several of them too."""
    registry = Registry()
    for db in (sqlite, postgres, mariadb):
        registry.add(db.kind, db.url)
    with sandbox(registry):
        with registry.begin() as session:
            for name in registry.names:
                session.execute("insert into item (name, price) values ('a', 1)", bind=name)
        for name in registry.names:
            assert registry.execute("select count(*) from item", bind=name).scalar() == 1
    for name in registry.names:
        assert registry.execute("select count(*) from item", bind=name).scalar() == 0
    registry.dispose()


def test_memory() -> None:
    """A database in memory outlives its sandbox."""
    with create_engine("sqlite://") as engine:
        engine.execute("create table item (id integer primary key, name text, price real)")
        for _ in range(2):
            with sandbox(engine):
                insert(engine, "a")
                assert names(engine) == ["a"]
            assert names(engine) == []


def test_a_deadlock_ends_it(mariadb: Database) -> None:
    """MariaDB undoes all of the sandbox's transaction: what comes after is told that."""
    engine = mariadb.engine()
    for name in "ab":
        insert(engine, name)
    other = mariadb.main.session()
    with sandbox(engine):
        insert(engine, "c")
        other.execute("update item set price = 2 where name = 'a'")
        with pytest.raises(DeadlockError), engine.begin() as session:
            session.execute("update item set price = 3 where name = 'b'")
            waiting = threading.Thread(
                target=_ignore_deadlock, args=(other, "update item set price = 2 where name = 'b'")
            )
            for n in range(50):  # so that this one is the smaller, and chosen
                other.execute("insert into item (name, price) values (?, 1)", (f"more{n}",))
            waiting.start()
            time.sleep(0.3)
            session.execute("update item set price = 3 where name = 'a'")
        waiting.join()
        other.rollback()
        with pytest.raises(TransactionLostError, match="the sandbox's own transaction was ended"):
            insert(engine, "d")
    assert names(engine) == ["a", "b"]


def _ignore_deadlock(session: Session, sql: str) -> None:
    try:
        session.execute(sql)
    except DeadlockError:
        pass


def test_no_savepoints_no_sandbox() -> None:
    """DuckDB is refused by name."""
    with (
        create_engine("duckdb://") as engine,
        pytest.raises(NotSupportedError, match="duckdb has none"),
        sandbox(engine),
    ):
        pass


# -- the plugin

CONFTEST = """
import pytest
from sessionkit import create_engine

@pytest.fixture(scope="session")
def database(database_url):
    with create_engine(database_url) as engine:
        engine.execute("create table account (id integer primary key, balance integer not null)")
        engine.execute("insert into account values (1, 100)")
        yield engine
"""
TESTS = """
import pytest

def pay(engine, amount):
    with engine.begin() as session:
        session.execute("update account set balance = balance - :n where id = 1", {"n": amount})

def balance(engine):
    return engine.execute("select balance from account").scalar()

@pytest.mark.parametrize("amount", [10, 20, 30])
def test_pay(sandbox, statements, amount):
    pay(sandbox, amount)
    assert len(statements) == 1
    assert balance(sandbox) == 100 - amount
"""


def pytest_in(folder: Path, *arguments: str, alone: bool = True) -> str:
    """Run pytest on the project of thirty lines in a folder, `alone` without others' plugins, and return what it printed."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_account.py").write_text(TESTS)
    plugin = ["-p", "sessionkit.testing.plugin"] if alone or not _has_entry_point() else []
    plugin += ["-p", "xdist"] if alone else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *arguments], cwd=folder, capture_output=True, text=True, timeout=110, check=False,
        env={**{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}, "PYTHONPATH": str(ROOT), **({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} if alone else {})},
    )  # fmt: skip
    return done.stdout + done.stderr


def _has_entry_point() -> bool:
    from importlib.metadata import entry_points

    return any(found.value == "sessionkit.testing.plugin" for found in entry_points(group="pytest11"))


def test_a_project_of_thirty_lines(
    tmp_path: Path, postgres: Database, mariadb: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file without a word, on servers by one option, also in workers of pytest-xdist."""
    assert "3 passed" in pytest_in(tmp_path, alone=False)
    assert "3 passed" in pytest_in(tmp_path, "-n", "2")
    for db in (postgres, mariadb):
        db.main.execute("drop table if exists account")
        assert "3 passed" in pytest_in(tmp_path, f"--database={db.url}")
        db.main.execute("drop table account")
        assert "3 passed" in pytest_in(tmp_path, f"--database={db.url}", "-n", "2")
    monkeypatch.setenv("SESSIONKIT_POSTGRES_URL", postgres.url)
    assert "3 passed" in pytest_in(tmp_path, "--database=postgres")
    postgres.main.execute("drop table account")
    assert "--database is sqlite, postgres, mariadb or a URL, got 'oracle'" in pytest_in(tmp_path, "--database=oracle")


def test_the_plugin_brings_nothing() -> None:
    """Each run of pytest imports it; the rest comes with the first fixture."""
    program = "import sys, sessionkit.testing.plugin; print([m for m in sys.modules if m.startswith('sessionkit.')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout == "['sessionkit.testing', 'sessionkit.testing.plugin']\n"
