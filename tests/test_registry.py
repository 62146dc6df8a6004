"""Registry and engine: names, defaults, options, run."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import ArgumentError, Registry, create_engine, errors
from sessionkit.testing import FakeDriver

if TYPE_CHECKING:
    from .conftest import Database


def test_names_and_the_default() -> None:
    """The first added, or one called default."""
    registry = Registry({"shop": "sqlite://", "audit": "sqlite://"})
    assert (registry.names, registry.default, list(registry), len(registry)) == (
        ["shop", "audit"],
        registry["shop"],
        ["shop", "audit"],
        2,
    )
    registry.add("default", "sqlite://")
    assert registry.default is registry["default"]
    assert ("audit" in registry, repr(registry)) == (True, "<Registry: shop, audit, default>")


def test_adding_twice() -> None:
    """Quiet with the same options, an error with different ones; adding does no I/O."""
    driver = FakeDriver()
    registry = Registry()
    first = registry.add("shop", "fake://", driver=driver, pool_size=2)
    assert registry.add("shop", "fake://", driver=driver, pool_size=2) is first
    with pytest.raises(ArgumentError, match="'shop' is registered already"):
        registry.add("shop", "fake://", driver=driver, pool_size=3)
    assert driver.calls == []


def test_unknown_names_list_the_known_ones() -> None:
    """And an empty registry says what to do."""
    with pytest.raises(ArgumentError, match=r"unknown database 'shp' \(known: audit, shop\)"):
        Registry({"shop": "sqlite://", "audit": "sqlite://"})["shp"]
    with pytest.raises(ArgumentError, match="add"):
        Registry().execute("select 1")
    for name in ("", 5):
        with pytest.raises(ArgumentError):
            Registry().add(name, "sqlite://")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="bound to one engine"):
        create_engine("sqlite://").session().execute("select 1", bind="other")


def test_from_the_environment() -> None:
    """DATABASE_URL and <NAME>_DATABASE_URL; a bad one is told by its variable, without its password."""
    registry = Registry.from_env({"AUDIT_DATABASE_URL": "sqlite:///a.db", "DATABASE_URL": "sqlite://", "PATH": "/bin"})
    assert registry.names == ["default", "audit"]
    with pytest.raises(ArgumentError, match=r"^X_DATABASE_URL: ") as caught:
        Registry.from_env({"X_DATABASE_URL": "postgresql://a:p@ss@h/x"})
    assert "p@ss" not in str(caught.value)
    with pytest.raises(ArgumentError, match="DATABASE_URL"):
        Registry.from_env({})


def test_two_engines_without_names_are_two_databases() -> None:
    """What a session has begun is kept by engine, not by name."""
    registry = Registry()
    for name in ("one", "two"):
        registry.add(name, create_engine("sqlite://"))
    with registry.begin() as session:
        session.execute("create table only_here (a int)", bind="two")
        with pytest.raises(errors.ProgrammingError):
            session.execute("select * from only_here", bind="one")
    registry.dispose()


def test_dispose_goes_on_after_a_failure() -> None:
    """Every engine is disposed of, then the first failure comes out."""
    drivers = [FakeDriver(), FakeDriver()]
    registry = Registry()
    for number, driver in enumerate(drivers):
        registry.add(f"db{number}", "fake://", driver=driver)
        registry.execute("insert", bind=f"db{number}")
    drivers[0].fail("close", ValueError("close"))
    with pytest.raises(ValueError, match="close"), registry:
        pass
    assert [driver.open_connections() for driver in drivers] == [0, 0]


# -- engine


def test_execute_is_a_transaction_of_its_own(db: Database) -> None:
    """Committed at once; a failing one leaves nothing and gives the connection back."""
    db.main.execute("insert into item (name, price) values (:n, 1)", {"n": "tea"})
    with pytest.raises(errors.UniqueViolation):
        db.main.execute("insert into item (name, price) values (:n, 1)", {"n": "tea"})
    assert db.names() == ["tea"]


def test_execute_runs_what_no_transaction_can_hold(db: Database) -> None:
    """VACUUM and its like."""
    found = db.main.execute({"sqlite": "vacuum", "postgres": "vacuum", "mariadb": "optimize table item"}[db.kind])
    assert found.columns == (("Table", "Op", "Msg_type", "Msg_text") if db.kind == "mariadb" else ())


def test_postgres_several_hosts(postgres: Database) -> None:
    """The first that answers is taken; the URL is handed through to libpq as lists."""
    url = postgres.main.url
    engine = create_engine(f"postgresql://postgres@127.0.0.1:1,{url.host}:{url.port}/postgres?connect_timeout=5")
    assert engine.execute("select inet_server_port()").scalar() == url.port
    engine.dispose()


def test_a_memory_database_lives_until_dispose() -> None:
    """One connection, whatever interrupts it; another after dispose."""
    engine = create_engine("sqlite://", pool_size=7)
    engine.execute("create table t (a int)")
    with pytest.raises(KeyboardInterrupt), engine.begin() as session:
        session.execute("insert into t values (1)")
        session.connection().driver_connection.create_function("boom", 0, lambda: None)
        raise KeyboardInterrupt
    session = engine.session()
    session.execute("select * from t")
    session.invalidate()
    assert engine.execute("select count(*) from t").scalar() == 0
    assert engine.pool.size == 1
    engine.dispose()
    with pytest.raises(errors.ProgrammingError):
        engine.execute("select * from t")
    engine.dispose()


def test_dispose_while_a_memory_database_is_in_use() -> None:
    """Its connection is closed when it comes home, and not before."""
    engine = create_engine("sqlite://")
    with engine.begin() as session:
        session.execute("create table t (a int)")
        engine.dispose()
        session.execute("insert into t values (1)")
        assert session.scalar("select count(*) from t") == 1
    with pytest.raises(errors.ProgrammingError):
        engine.execute("select * from t")
    engine.dispose()


def test_memory_databases_shared_by_a_name() -> None:
    """Through SQLite's memdb VFS several connections see one database."""
    engine = create_engine("sqlite:///file:/shared-test?vfs=memdb", pool_size=2)
    with engine.begin() as session:
        session.execute("create table t (a int)")
    leases = [engine.pool.checkout() for _ in range(2)]
    assert [lease.conn.execute("select count(*) from t").fetchone() for lease in leases] == [(0,), (0,)]
    for lease in leases:
        engine.pool.checkin(lease)
    engine.dispose()


def test_on_connect_and_on_return(db: Database) -> None:
    """SQL or functions, for each new connection and for each that comes home."""
    seen: list[str] = []
    engine = db.engine(
        pool_size=1,
        on_connect=["select 1", lambda conn: seen.append("connect")],
        on_return=lambda conn: seen.append("return"),
    )
    for _ in range(2):
        with engine.begin() as session:
            session.execute("select 1")
    assert seen == ["connect", "return", "return"]
    with pytest.raises(ArgumentError, match="on_connect"):
        db.engine(on_connect=[5])


def test_sqlite_settings(sqlite: Database) -> None:
    """Foreign keys on, a busy timeout of 5 s, WAL; each can be chosen, by URL too."""

    def settings(**options: object) -> tuple[object, ...]:
        engine = sqlite.engine(**options)
        with engine.session() as session:
            patience = session.connection().driver_connection.sessionkit_patience
            return session.scalar("pragma foreign_keys"), patience, session.scalar("pragma journal_mode")

    assert settings() == (1, 5.0, "wal")
    assert settings(foreign_keys="off", busy_timeout=0.5, journal_mode=None) == (0, 0.5, "wal")
    with pytest.raises(errors.LockTimeoutError):
        settings(
            journal_mode="delete", busy_timeout=0
        )  # others have it open: what was asked for cannot be, and that is told
    for engine in sqlite.engines:
        engine.dispose()
    assert settings(journal_mode="delete") == (1, 5.0, "delete")
    with pytest.raises(ArgumentError, match="journal_mode"):
        settings(journal_mode="fast")


def test_echo_logs_statements_without_values(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """To sessionkit.sql."""
    caplog.set_level(logging.INFO, "sessionkit.sql")
    with db.engine(echo=True).begin() as session:
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "hunter2"})
    assert "insert into item (name, price) values (:n, 1)" in caplog.text
    assert "commit" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_listener_that_fails_is_logged(fake: sessionkit.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """And harms nobody; it can be taken off again."""

    def fails(event: object) -> None:
        raise ValueError

    remove = fake.listen(fails)
    with fake.begin() as session:
        session.execute("insert")
    assert "a listener failed" in caplog.text
    caplog.clear()
    remove()
    with fake.begin() as session:
        session.execute("insert")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        *[("pool_size", wrong) for wrong in (0, -1, "5", 2.5, None, True)],
        *[("pool_timeout", wrong) for wrong in (-1, "5", None, float("nan"))],
        *[(name, wrong) for name in ("pool_recycle", "pool_idle", "hold_warning") for wrong in (-1, "5", float("nan"))],
        *[("statement_timeout", wrong) for wrong in (0, "5", float("inf"))],
        *[(name, wrong) for name in ("on_connect", "on_return") for wrong in (5, [5])],
        ("isolation_level", "bogus"),
    ],
)
def test_a_wrong_option(option: str, wrong: Any) -> None:
    """Told when the engine is made, by name, with what was found; -1 is SQLAlchemy's word for never, None is ours."""
    found = wrong[0] if isinstance(wrong, list) else wrong
    told = "got int" if option.startswith("on_") else repr(found)
    with pytest.raises(ArgumentError, match=re.escape(told)) as caught:
        create_engine("sqlite:///never-opened.db", **{option: wrong})
    assert option.partition("_level")[0] in str(caught.value)


def test_an_option_that_the_driver_does_not_take() -> None:
    """Told by name, when the first connection is opened, with the one that was meant; no value is shown."""
    for url, option, meant in (
        ("sqlite://", "pool_sise", "pool_size"),
        ("sqlite://", "bussy_timeout", "busy_timeout"),
        ("postgresql://127.0.0.1:1/x", "pool_sise", "pool_size"),
        ("postgresql://127.0.0.1:1/x", "aplication_name", "application_name"),
        ("mysql://127.0.0.1:1/x", "pool_sise", "pool_size"),
        ("mysql://127.0.0.1:1/x", "conect_timeout", "connect_timeout"),
    ):
        with sessionkit.create_engine(url, **{option: "hunter2"}) as engine:
            with pytest.raises(ArgumentError, match=f"unknown option {option}: .* did you mean {meant}") as caught:
                engine.execute("select 1")
        assert "hunter2" not in str(caught.value)
    with sessionkit.create_engine("sqlite://", frobnicate=1) as engine:
        with pytest.raises(ArgumentError, match=r"unknown option frobnicate: neither the engine nor sqlite3 has it$"):
            engine.execute("select 1")
