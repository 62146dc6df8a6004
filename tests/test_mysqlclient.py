"""mysqlclient: what the contract does not ask. Where it cannot be built these are skipped; `tox -e mysqlclient` runs them."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    DataError,
    DisconnectionError,
    InvalidRequestError,
    OperationalError,
    QueryCancelledError,
    RollbackIncompleteError,
    Session,
    TransactionLostError,
    UniqueViolation,
    create_engine,
)
from sessionkit.cli import main
from sessionkit.testing.proxy import Proxy

from .conftest import Item
from .test_values import OWN, VALUES, WAYS, tried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine

    from .conftest import Database

pytest.importorskip("MySQLdb", reason="mysqlclient needs a C compiler: tox -e mysqlclient runs these")


def url_of(db: Database) -> str:
    """Return the URL of a MariaDB with mysqlclient as its driver."""
    return db.url.replace("mysql://", "mysql+mysqldb://")


@pytest.fixture
def engine(mariadb: Database) -> Iterator[Engine]:
    """An engine on mysqlclient, with the usual tables."""
    with create_engine(url_of(mariadb), values=OWN, pool_size=2) as engine:
        yield engine


@pytest.mark.parametrize("name", VALUES)
def test_a_value(engine: Engine, name: str) -> None:
    """Comes back as it went in, or is refused and nothing is stored: as with PyMySQL."""
    table = f"thing_{list(VALUES).index(name)}_"
    for way in WAYS:
        engine.execute(f"drop table if exists {table}{WAYS.index(way)}")
    found = {way: tried(engine, "mariadb", name, way) for way in WAYS[1:]}
    with create_engine(str(engine.url).replace("+mysqldb", ""), values=OWN) as other:
        for way in WAYS:
            other.execute(f"drop table if exists {table}{WAYS.index(way)}")
        assert found == {way: tried(other, "mariadb", name, way) for way in WAYS[1:]}
        for way in WAYS:
            other.execute(f"drop table if exists {table}{WAYS.index(way)}")


def test_a_date_that_is_none(engine: Engine) -> None:
    """mysqlclient's own converter makes NULL of 0000-00-00; here it comes as the text that it is."""
    with engine.begin() as session:
        session.execute("set session sql_mode = ''")
        assert session.scalar("select cast('0000-00-00' as date)") == "0000-00-00"
        assert session.scalar("select cast(null as date)") is None


def test_moments_in_utc(mariadb: Database) -> None:
    """They come back with their zone."""
    from datetime import UTC, datetime

    with create_engine(url_of(mariadb), utc=True) as engine:
        moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
        engine.execute("create table if not exists moment (at datetime(6))")
        engine.execute("insert into moment values (?)", (moment,))
        assert engine.execute("select at from moment").scalar() == moment
        engine.execute("drop table moment")


def test_a_procedure_that_commits(engine: Engine) -> None:
    """The server is asked after a CALL: what was to be rolled back and is kept is told."""
    engine.execute("drop procedure if exists commits")
    engine.execute("create procedure commits() begin insert into item (name, price) values ('p', 1); commit; end")
    with engine.session() as session:
        session.insert(Item("a", 1))
        session.execute("call commits()")
        with pytest.raises(TransactionLostError):
            session.rollback()
    assert engine.execute("select name from item order by id").scalars() == ["a", "p"]
    engine.execute("drop procedure commits")


def test_an_error_leaves_the_transaction(engine: Engine) -> None:
    """The server is asked whether it still stands, and it does."""
    with engine.begin() as session:
        session.insert(Item("a", 1))
    with engine.session() as session:
        session.insert(Item("b", 1))
        with pytest.raises(UniqueViolation):
            session.execute("insert into item (name, price) values ('a', 1)")
        assert session.scalar("select count(*) from item") == 2
        session.rollback()
    assert engine.execute("select count(*) from item").scalar() == 1


def test_what_tables_without_transactions_keep(engine: Engine) -> None:
    """Told with their names."""
    engine.execute("create table if not exists kept (i integer) engine = aria transactional = 0")
    with engine.session() as session, pytest.raises(RollbackIncompleteError) as caught:
        session.execute("insert into kept values (1)")
        session.rollback()
    assert caught.value.tables == ["kept"]
    engine.execute("drop table kept")


def test_a_stream_is_alone(engine: Engine) -> None:
    """Rows stay on the wire; other statements are refused meanwhile, and what is left early is no trouble."""
    with engine.begin() as session:
        session.copy_in("item", [(f"n{n}", 1) for n in range(3000)], ["name", "price"])
        with session.stream("select name from item order by id", into=str) as rows:
            assert next(iter(rows)) == "n0"
            with pytest.raises(InvalidRequestError, match="a stream is open"):
                session.execute("select 1")
        assert session.scalar("select count(*) from item") == 3000
    with pytest.raises(KeyError), engine.begin() as session, session.stream("select * from item") as rows:
        raise KeyError(next(iter(rows)))
    assert engine.execute("select count(*) from item").scalar() == 3000


def test_a_statement_that_is_too_large(engine: Engine) -> None:
    """Refused before it is sent, because the server would hang up."""
    limit = engine.execute("select @@max_allowed_packet").scalar()
    with engine.begin() as session:
        with pytest.raises(DataError, match="max_allowed_packet"):
            session.execute("select ?", ("x" * (limit + 1),))
        assert session.scalar("select 1") == 1


def test_a_given_connection(engine: Engine) -> None:
    """Idle it is begun and ended; in a transaction the session works below a savepoint; the server is asked which."""
    conn: Any = engine.driver.connect(engine.url, {})
    with Session(conn) as session:
        session.insert(Item("a", 1))
        session.commit()
    conn.query("insert into item (name, price) values ('outer', 1)")
    with Session(conn) as session:
        session.insert(Item("inner", 1))
        session.rollback()
    conn.commit()
    conn.close()
    assert engine.execute("select name from item order by id").scalars() == ["a", "outer"]


def test_in_time(engine: Engine, mariadb: Database) -> None:
    """The server ends a statement; a connection attempt ends in time; `read_timeout` is for a server that answers no more."""
    with pytest.raises(QueryCancelledError), engine.begin(statement_timeout=0.2) as session:
        session.execute("select 1 from dual where sleep(10) = 0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mysql+mysqldb://u@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=1"
        started = time.monotonic()
        with (
            create_engine(url) as dead,
            pytest.raises((DisconnectionError, OperationalError), match="connecting to mysql"),
        ):
            dead.execute("select 1")
        assert time.monotonic() - started < 4
    with Proxy(mariadb.server.port) as proxy:
        url = url_of(mariadb).replace(f":{mariadb.server.port}", f":{proxy.port}") + "?read_timeout=1"
        with create_engine(url) as engine:
            assert engine.ping() > 0
            proxy.frozen = True
            with pytest.raises(DisconnectionError):
                engine.execute("select 1")
            proxy.frozen = False


def test_check(mariadb: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line names it, and what a signal waits for."""
    assert main(["check", url_of(mariadb)]) == 0
    told = capsys.readouterr().out
    assert "mysqlclient 2." in told
    assert "read_timeout=60" in told
