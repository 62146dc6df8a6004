"""PgBouncer in transaction mode, a real one: what works through it, what is refused by name, and what is said without `pooler=`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, NotSupportedError, ProgrammingError, QueryCancelledError, create_engine
from sessionkit.testing import servers

from .clusters.pgbouncer import start_pgbouncer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessionkit import Engine

    from .conftest import Database


@pytest.fixture(scope="session")
def bouncer(running: Any) -> servers.Server:
    """PgBouncer with two connections to the server of the tests."""
    port = running.get("postgres").port
    found: servers.Server = running.get(
        "pgbouncer", lambda folder: start_pgbouncer(folder, f"host=127.0.0.1 port={port}")
    )
    return found


@pytest.fixture
def engine(bouncer: servers.Server, postgres: Database) -> Iterator[Engine]:
    """An engine of more connections than PgBouncer has to the server."""
    with create_engine(f"{bouncer.url}?pooler=pgbouncer", pool_size=8) as engine:
        yield engine


def in_threads(number: int, work: Callable[[], object]) -> list[BaseException]:
    """Run something in so many threads at once; return what failed."""
    failed: list[BaseException] = []

    def once() -> None:
        try:
            work()
        except Exception as exc:
            failed.append(exc)

    threads = [threading.Thread(target=once) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def many_statements(engine: Engine) -> None:
    """Run the same statement more often than psycopg lets pass without preparing it."""
    for number in range(30):
        with engine.begin() as session:
            session.scalar("select count(*) from item where price > :number", {"number": number})


def test_nothing_is_prepared(engine: Engine) -> None:
    """Eight clients share two connections, and a statement that all of them run often."""
    assert in_threads(8, lambda: many_statements(engine)) == []


def test_without_a_word(bouncer: servers.Server, postgres: Database) -> None:
    """What psycopg prepared is on another connection; the error says what to set. PgBouncer from 1.22 on follows it by itself."""
    with create_engine(bouncer.url, pool_size=8) as engine:
        failed = in_threads(8, lambda: many_statements(engine))
        assert all(type(exc) is ProgrammingError and exc.sqlstate in ("42P05", "26000") for exc in failed)
        assert all('say create_engine(…, pooler="pgbouncer")' in str(exc) for exc in failed)
        assert failed or version(bouncer) >= (1, 22)


def version(bouncer: servers.Server) -> tuple[int, ...]:
    """Return PgBouncer's version."""
    import subprocess

    text = subprocess.run([bouncer.command[0], "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.split()[1].split("."))[:2]


def test_check_recognises_it(bouncer: servers.Server, engine: Engine, postgres: Database) -> None:
    """By the process id; where it is said, it is no hazard."""
    with create_engine(bouncer.url) as plain:
        assert any("pooler" in what for what, _ in plain.inspect()[1])
    assert engine.inspect()[0]["pooler"] == "pgbouncer, in transaction mode"
    assert engine.inspect()[1] == []
    assert postgres.main.inspect()[1] == []


@pytest.mark.parametrize(
    ("statement", "instead"),
    [
        ("set search_path to elsewhere", "SET LOCAL"),
        ("reset all", "SET LOCAL"),
        ("select set_config('work_mem', '8MB', false)", "set_config(name, value, true)"),
        ("select pg_advisory_lock(1)", "pg_advisory_xact_lock"),
        ("listen news", "directly"),
        ("create temporary table mine (a int)", "ON COMMIT DROP"),
        ("declare c cursor with hold for select 1", "session.stream()"),
        ("prepare p as select 1", "execute the text itself"),
        ("discard all", "leave it out"),
    ],
)
def test_what_would_reach_another_client(engine: Engine, statement: str, instead: str) -> None:
    """Refused by name before it is sent, through every way; the transaction stands."""
    ways: list[Callable[[Any], object]] = [
        lambda session: session.execute(statement),
        lambda session: session.script(statement),
        lambda session: session.cursor().execute(statement),
        lambda session: session.connection().cursor().execute(statement),
    ]
    for way in ways:
        with engine.begin() as session:
            session.scalar("select 1")
            with pytest.raises(NotSupportedError) as caught:
                way(session)
            assert "behind pgbouncer" in str(caught.value)
            assert instead in str(caught.value)
            assert session.scalar("select 2") == 2
    with pytest.raises(NotSupportedError):
        engine.execute(statement)


def test_what_ends_with_the_transaction_works(engine: Engine) -> None:
    """SET LOCAL, a lock of the transaction, a temporary table that is dropped, a stream, savepoints, modes."""
    with engine.begin(isolation_level="serializable", read_only=False) as session:
        session.execute("set local work_mem to '9MB'")
        session.execute("select pg_advisory_xact_lock(1)")
        session.execute("create temporary table mine (a int) on commit drop")
        session.executemany("insert into mine (a) values (?)", [(1,), (2,)])
        with session.begin_nested():
            session.execute("insert into mine (a) values (3)")
        with session.stream("select a from mine order by a") as rows:
            assert [row.a for row in rows] == [1, 2, 3]
        assert session.scalar("show transaction_isolation") == "serializable"
    with engine.begin(read_only=True) as session:
        assert session.scalar("show work_mem") != "9MB"
        assert session.scalar("show transaction_read_only") == "on"


def test_limits_of_time_are_local(bouncer: servers.Server, engine: Engine) -> None:
    """The engine's, the session's: each ends with its transaction, and no other client has it."""
    with create_engine(f"{bouncer.url}?pooler=pgbouncer", statement_timeout=0.3) as limited:
        for _ in range(3):
            assert limited.execute("show statement_timeout").scalar() == "300ms"
            assert engine.execute("show statement_timeout").scalar() == "0"
        with pytest.raises(QueryCancelledError), limited.begin() as session:
            session.execute("select pg_sleep(5)")
        with pytest.raises(QueryCancelledError):
            limited.execute("select pg_sleep(5)")
    with engine.begin(statement_timeout=7) as session:
        assert session.scalar("show statement_timeout") == "7s"
        assert engine.execute("show statement_timeout").scalar() == "0"
    assert {engine.execute("show statement_timeout").scalar() for _ in range(5)} == {"0"}


def test_utc_is_each_clients_own(bouncer: servers.Server, engine: Engine, postgres: Database) -> None:
    """PgBouncer carries a client's time zone to each of its transactions."""
    with create_engine(f"{bouncer.url}?pooler=pgbouncer&utc=true") as utc:
        there = engine.execute("show timezone").scalar()
        for _ in range(5):
            assert utc.execute("show timezone").scalar() == "UTC"
            assert engine.execute("show timezone").scalar() == there


def test_a_statement_is_cancelled_through_it(engine: Engine) -> None:
    """The request goes to the right server connection."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            engine.pool.discard(lease) if lease.conn.execute("select pg_sleep(30)") else None
        except Exception as exc:
            failed.append(exc)

    lease = engine.pool.checkout()
    thread = threading.Thread(target=work)
    thread.start()
    while not engine.execute("select count(*) from pg_stat_activity where query = 'select pg_sleep(30)'").scalar():
        pass
    engine.cancel(lease.conn)
    thread.join(10)
    engine.pool.discard(lease)
    assert "canceling statement" in str(failed[0])


def test_pipelines(bouncer: servers.Server, engine: Engine, postgres: Database) -> None:
    """They go through it, with a limit of time too."""

    def work() -> None:
        for _ in range(20):
            with engine.begin(pipeline=True) as session:
                session.execute("insert into item (price) values (:price)", {"price": 1})
                session.execute("insert into item (price) values (:price)", {"price": 2})

    assert in_threads(8, work) == []
    assert postgres.main.execute("select count(*) from item").scalar() == 320
    with create_engine(f"{bouncer.url}?pooler=pgbouncer", statement_timeout=0.3) as limited:
        with pytest.raises(QueryCancelledError), limited.begin(pipeline=True) as session:
            session.execute("select pg_sleep(5)")
        with limited.begin(pipeline=True) as session:
            assert session.scalar("show statement_timeout") == "300ms"
    assert engine.execute("show statement_timeout").scalar() == "0"


def test_the_pooler_is_restarted(bouncer: servers.Server, engine: Engine, postgres: Database) -> None:
    """`run` goes on, and what it told is there once."""

    def work() -> None:
        for _ in range(20):
            engine.run(put, resolve=True, attempts=1000, timeout=60)

    def put(session: Any) -> None:
        session.execute("insert into item (price) values (1)")

    thread = threading.Thread(target=work)
    thread.start()
    bouncer.restart()
    thread.join(60)
    assert postgres.main.execute("select count(*) from item").scalar() == 20


def test_what_cannot_be(bouncer: servers.Server) -> None:
    """Another pooler, another database, SQL for each new connection that would reach another client."""
    with pytest.raises(ArgumentError, match="pooler is pgbouncer, or left out; got 'odyssey'"):
        create_engine(f"{bouncer.url}?pooler=odyssey")
    with pytest.raises(ArgumentError, match="for PostgreSQL through psycopg; this is sqlite3"):
        create_engine("sqlite://", pooler="pgbouncer")
    with pytest.raises(NotSupportedError, match="SET LOCAL"):
        create_engine(f"{bouncer.url}?pooler=pgbouncer", on_connect="set search_path to elsewhere")
