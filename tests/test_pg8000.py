"""pg8000, the second driver for PostgreSQL: what the contract does not ask."""

from __future__ import annotations

import ipaddress
import socket
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    ArgumentError,
    CheckViolation,
    DataError,
    DisconnectionError,
    OperationalError,
    ProgrammingError,
    QueryCancelledError,
    TransactionAbortedError,
    UniqueViolation,
    create_engine,
)

from .conftest import Item
from .test_values import OWN, VALUES, column_of, expected, given_value, is_same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine

    from .conftest import Database


def url_of(db: Database) -> str:
    """Return the URL of a PostgreSQL with pg8000 as its driver."""
    return db.url.replace("postgresql://", "postgresql+pg8000://")


@pytest.fixture
def engine(postgres: Database) -> Iterator[Engine]:
    """An engine on pg8000, with the usual tables."""
    with create_engine(url_of(postgres), values=OWN, pool_size=2) as engine:
        yield engine


def test_which_driver_a_url_means(postgres: Database) -> None:
    """psycopg without a name; another name is an error that lists both."""
    assert create_engine("postgresql://u@h/d").driver.name == "psycopg"
    assert create_engine("postgresql+pg8000://u@h/d").driver.name == "pg8000"
    with pytest.raises(ArgumentError, match="sessionkit uses pg8000 or psycopg there"):
        create_engine("postgresql+asyncpg://u@h/d")
    for url in ("mssql+pyodbc://u@h/d", "oracle+oracledb://u@h/d"):
        with pytest.raises(
            ArgumentError, match=r"no driver for \w+:// URLs .*write a Driver, of thirty lines \(docs/drivers\.md\)"
        ):
            create_engine(url)


@pytest.mark.parametrize("name", VALUES)
def test_a_value(engine: Engine, name: str) -> None:
    """Comes back as it went in, or is refused and nothing is stored."""
    from dataclasses import make_dataclass

    cls: Any = make_dataclass("Thing", [("id", int), ("v", VALUES[name].annotation)])
    engine.execute("drop table if exists pg8000_thing")
    engine.execute(f"create table pg8000_thing (id int primary key, v {column_of('postgres', name)})")
    with engine.begin() as session:
        try:
            with session.begin_nested():
                session.execute("insert into pg8000_thing (id, v) values (:id, :v)", cls(1, given_value(name)))
        except DataError:
            assert session.scalar("select count(*) from pg8000_thing") == 0
            assert name in ("a text with NUL", "a tuple", "a path", "a set")
            return
        assert is_same(expected(name), session.query(cls, "select * from pg8000_thing").one().v)


def test_a_value_of_no_known_type(engine: Engine) -> None:
    """pg8000 would write it as text."""
    with pytest.raises(DataError, match="pg8000 has no form for a value of type object"):
        engine.execute("select ?", (object(),))
    assert engine.execute("select cast(? as text)", (ipaddress.ip_address("10.0.0.1"),)).scalar() == "10.0.0.1"


def test_errors(engine: Engine) -> None:
    """With their class, names and words; no value in them."""
    with engine.begin() as session:
        session.insert(Item("a", 1))
        for sql, values, error, about in (
            (
                "insert into item (name, price) values (?, 1)",
                ("a",),
                UniqueViolation,
                ("item_name_key", "item", "name"),
            ),
            (
                "insert into item (name, price) values (?, -1)",
                ("b",),
                CheckViolation,
                ("item_price_check", "item", None),
            ),
            ("insert into item (name, price) values (?, 1)", ("hunter2" * 20,), DataError, (None, "item", None)),
            ("selec ?", ("hunter2",), ProgrammingError, (None, None, None)),
        ):
            with pytest.raises(error) as caught, session.begin_nested():
                session.execute(sql, values)
            assert (caught.value.constraint, caught.value.table, caught.value.column) == about
            assert "hunter2" not in str(caught.value)
    with pytest.raises(TransactionAbortedError), engine.begin() as session:
        with pytest.raises(ProgrammingError):
            session.execute("selec 1")
    assert engine.execute("select name from item").scalars() == ["a"]


@pytest.mark.filterwarnings(
    "ignore:unclosed", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pg8000's, after a failed greeting
def test_in_time(engine: Engine, postgres: Database) -> None:
    """A statement that takes too long is ended by the server; where nobody answers, a moment later here."""
    with pytest.raises(QueryCancelledError), engine.begin(statement_timeout=0.2) as session:
        session.execute("select pg_sleep(10)")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with create_engine(f"postgresql+pg8000://u@127.0.0.1:{port}/d?connect_timeout=0.3") as dead:
            with pytest.raises((DisconnectionError, OperationalError), match="connecting to postgresql"):
                dead.execute("select 1")
        assert time.monotonic() - started < 3


def test_much_data(engine: Engine) -> None:
    """By what suits any driver."""
    with engine.begin() as session:
        assert session.copy_in("item", [(f"n{n}", n) for n in range(1000)], ("name", "price")) == 1000
        session.copy_in("item", [("n1", 5)], ("name", "price"), on_conflict="update", key="name")
        assert [item.id is not None for item in session.insert_all([Item("x", 1), Item("y", 2)])] == [True, True]
        assert session.upsert(Item("x", 7), on="name").id is not None
        with session.stream("select price from item where name in ('n1', 'x') order by name", into=int) as rows:
            assert list(rows) == [5, 7]
        assert session.execute("select count(*) as n from item").frame("arrow").to_pylist() == [{"n": 1002}]


def test_what_is_left_on_a_connection_is_taken_off(postgres: Database) -> None:
    """By DISCARD ALL."""
    with create_engine(url_of(postgres), pool_size=1) as engine:
        with engine.begin() as session:
            session.execute("set application_name = 'mine'")
            session.execute("create temporary table left_over (a int)")
        with engine.begin() as session:
            assert session.scalar("show application_name") != "mine"
            with pytest.raises(ProgrammingError), session.begin_nested():
                session.execute("select * from left_over")


def test_a_lost_commit_is_found_out(postgres: Database) -> None:
    """By the transaction's number, as with psycopg."""
    with create_engine(url_of(postgres)) as engine:
        assert engine.run(lambda session: session.insert(Item("a", Decimal(1))).name, resolve=True) == "a"
    assert postgres.names() == ["a"]


def test_what_it_is(engine: Engine) -> None:
    """`check` tells versions."""
    told, hazards = engine.inspect()
    assert told["driver"].startswith("pg8000 ")
    assert told["server"].startswith("PostgreSQL ")
    assert told["isolation"] == "READ COMMITTED"
    assert hazards == []
