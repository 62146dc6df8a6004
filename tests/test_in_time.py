"""Everything ends in time: against a server that is slow, frozen, gone without a word, or answers a byte at a time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    ArgumentError,
    CommitUnknownError,
    DisconnectionError,
    InvalidRequestError,
    QueryCancelledError,
    TransactionLostError,
    create_engine,
)
from sessionkit.testing.proxy import Proxy

from .conftest import SLEEP, Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine

    from .conftest import Database

LIMIT = 0.3  # seconds


@contextmanager
def in_time(limit: float = LIMIT) -> Iterator[None]:
    """What is done here ends within `limit` plus half a second."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started <= limit + 0.5


@pytest.fixture
def proxy(server_db: Database) -> Iterator[Proxy]:
    """A wire to the server."""
    with Proxy(server_db.server.port) as made:
        yield made


@pytest.fixture
def limited(server_db: Database, proxy: Proxy) -> Engine:
    """An engine of one connection whose statements have half a second."""
    engine = server_db.through(proxy, pool_size=1, statement_timeout=LIMIT, connect_timeout=2)
    engine.ping()
    return engine


@pytest.fixture(params=["frozen", "black hole", "trickle"])
def how(request: pytest.FixtureRequest, server_db: Database) -> str:
    """A way in which a server falls silent."""
    if request.param == "frozen" and not hasattr(server_db.server, "freeze"):
        pytest.skip("a server that somebody else runs cannot be stopped")
    return str(request.param)


def hinder(how: str, server_db: Database, proxy: Proxy) -> None:
    """Make the server fall silent in one of three ways."""
    if how == "frozen":
        server_db.server.freeze()
    elif how == "black hole":
        proxy.frozen = True
    else:
        proxy.trickle = 0.2


@contextmanager
def hindered(how: str, server_db: Database, proxy: Proxy) -> Iterator[None]:
    """Make the server fall silent here."""
    hinder(how, server_db, proxy)
    try:
        yield
    finally:
        proxy.frozen, proxy.trickle = False, 0.0
        if how == "frozen":
            server_db.server.thaw()


# -- the server answers


def test_a_slow_statement_is_ended_by_the_server(db: Database) -> None:
    """QueryCancelledError; the connection is still good."""
    engine = db.engine(pool_size=1, statement_timeout=LIMIT)
    engine.ping()
    with in_time(), engine.session() as session:
        with pytest.raises(QueryCancelledError):
            session.execute(SLEEP[db.kind])
        session.rollback()
        assert session.scalar("select 1") == 1
    assert engine.pool.stats()["open"] == 1


def test_a_limit_for_one_block(db: Database) -> None:
    """It holds in the block, not after it; on a savepoint it is refused."""
    engine = db.engine(pool_size=1)
    with pytest.raises(QueryCancelledError):
        with in_time(), engine.begin(statement_timeout=LIMIT) as session:
            with pytest.raises(InvalidRequestError):
                session.begin(statement_timeout=1)
            session.execute(SLEEP[db.kind])
    slow = {"postgres": "select pg_sleep(0.7)", "mariadb": "select sleep(0.7)", "sqlite": "select 0"}
    assert engine.execute(slow[db.kind]).scalar() in ("", 0)


def test_what_takes_no_time_is_as_ever(db: Database) -> None:
    """With and without parameters, many rows, savepoints, entities: a limit changes nothing."""
    with db.engine(pool_size=1, statement_timeout=5).begin() as session:
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "a"})
        session.executemany("insert into item (name, price) values (?, 1)", [("b",), ("c",)])
        with session.begin_nested():
            session.execute("update item set price = 2")
        assert session.query(Item, "select id, name, price from item where price = ?", (2,)).first()
    assert db.names() == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [0, -1, "5", True])
def test_a_wrong_limit(wrong: Any) -> None:
    """Told at once."""
    with pytest.raises(ArgumentError, match="seconds above 0"):
        create_engine("sqlite://", statement_timeout=wrong)
    with create_engine("sqlite://") as engine, pytest.raises(ArgumentError, match="seconds above 0"):
        engine.session(statement_timeout=wrong)


# -- nobody answers


def test_a_statement(server_db: Database, proxy: Proxy, limited: Engine, how: str) -> None:
    """DisconnectionError within the limit; that connection is not used again, and the next one works."""
    with limited.session() as session:
        session.execute("select 1")
        lease = limited.pool.leases()[0]
        with hindered(how, server_db, proxy), in_time():
            with pytest.raises(DisconnectionError):
                session.execute("select 2")
            with pytest.raises(TransactionLostError):
                session.commit()
        assert lease.in_transaction
        assert limited.pool.stats()["open"] == 0
        assert session.execute("select 3").scalar() == 3


def test_the_first_statement(server_db: Database, proxy: Proxy, limited: Engine, how: str) -> None:
    """The same, when BEGIN travels with it."""
    with hindered(how, server_db, proxy), in_time(), limited.session() as session:
        with pytest.raises(DisconnectionError):
            session.execute("select 1")
    assert limited.execute("select 3").scalar() == 3


def test_commit(server_db: Database, proxy: Proxy, limited: Engine, how: str) -> None:
    """CommitUnknownError within the limit: COMMIT was sent, and nobody said what became of it."""
    with limited.session() as session:
        session.execute("insert into item (name, price) values ('x', 1)")
        with hindered(how, server_db, proxy), in_time(), pytest.raises(CommitUnknownError):
            session.commit()
        assert limited.pool.stats()["open"] == 0
    assert limited.execute("select 3").scalar() == 3


def test_close(server_db: Database, proxy: Proxy, limited: Engine, how: str) -> None:
    """Quiet and within the limit; the connection is thrown away."""
    session = limited.session()
    session.execute("select 1")
    with hindered(how, server_db, proxy), in_time():
        session.close()
    assert limited.pool.stats()["open"] == 0
    assert limited.execute("select 3").scalar() == 3


def test_connect(server_db: Database, proxy: Proxy, how: str) -> None:
    """An error within connect_timeout."""
    limit = 2 if server_db.kind == "postgres" else 1  # libpq knows nothing shorter
    engine = server_db.through(proxy, pool_size=1, pool_timeout=1, connect_timeout=limit)
    with hindered(how, server_db, proxy), in_time(limit), pytest.raises(DisconnectionError):
        engine.execute("select 1")
    assert server_db.through(proxy, pool_size=1).execute("select 3").scalar() == 3


def test_connect_in_the_handshake_of_tls(mariadb: Database) -> None:
    """A server that offers TLS and then falls silent: PyMySQL's own timeouts do not reach there."""
    with Proxy(mariadb.server.port) as proxy:

        def offer_tls(greeting: bytes) -> bytes:
            """Set CLIENT.SSL in the lower half of the capabilities: after the version, a thread id and nine bytes of salt."""
            proxy.frozen = True
            at = greeting.index(b"\0", 5) + 1 + 4 + 9 + 1
            return greeting[:at] + bytes([greeting[at] | 0x08]) + greeting[at + 1 :]

        proxy.on_answer = offer_tls
        engine = mariadb.through(proxy, pool_size=1, pool_timeout=1, connect_timeout=1)
        with in_time(1), pytest.raises(DisconnectionError):
            engine.execute("select 1")
        assert engine.pool.stats()["open"] == 0


def test_a_ping(server_db: Database, proxy: Proxy) -> None:
    """A connection that idled for long is pinged, at most for a while; then a new one is made."""
    engine = server_db.through(proxy, pool_size=1, connect_timeout=2)
    lease = engine.pool.checkout()
    conn = lease.conn
    engine.driver.limit_next(conn, LIMIT)
    with hindered("black hole", server_db, proxy), in_time(), pytest.raises(Exception) as caught:
        engine.driver.ping(conn)
    assert engine.driver.diagnose(caught.value).error is DisconnectionError
    engine.pool.discard(lease)


# -- what is not ours


def test_a_given_connection_keeps_its_settings(server_db: Database) -> None:
    """A limit for the session is kept here; the server's own, which somebody else may have set, is left alone."""
    from sessionkit import Session

    conn = server_db.server.connect()
    setting = {
        "postgres": "show statement_timeout",
        "mariadb": "select 0 /*M! + @@max_statement_time */ /*!80000 + @@max_execution_time / 1000 */",
    }[server_db.kind]
    change = {
        "postgres": "set statement_timeout = 7000",
        "mariadb": "set @x = 0 /*M!, max_statement_time = 7 */ /*!80000 , max_execution_time = 7000 */",
    }[server_db.kind]
    try:
        with conn.cursor() as cursor:
            cursor.execute(change)
        with Session(conn, statement_timeout=LIMIT) as session:
            before = session.scalar(setting)
            with in_time(), pytest.raises(DisconnectionError):
                session.execute(SLEEP[server_db.kind])
        assert before in ("7s", 7)
    finally:
        conn.close() if server_db.kind == "postgres" or conn.open else None


def test_a_slow_reader_of_a_cursor(sqlite: Database) -> None:
    """Each fetch has the whole time: that the program takes long between them is its own affair."""
    with sqlite.engine(statement_timeout=0.1).session() as session:
        cursor = session.cursor().execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n limit 5000) select i from n"
        )
        assert cursor.fetchone() == (1,)
        time.sleep(0.15)
        assert len(cursor.fetchmany(4000)) == 4000
