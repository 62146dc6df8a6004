"""How often a unit of work waits for the server, counted on the wire: never more often than with the driver alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ProgrammingError, Rollback, TransactionAbortedError, TransactionLostError, UniqueViolation
from sessionkit.testing.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessionkit import Engine, Session

    from .conftest import Database


@pytest.fixture
def proxy(server_db: Database) -> Iterator[Proxy]:
    """A wire to the server that counts."""
    with Proxy(server_db.server.port) as made:
        yield made


def commit(session: Session) -> None:
    """Read and commit."""
    session.execute("select 1")
    session.commit()


def commit_with_parameters(session: Session) -> None:
    """Read by a parameter and commit."""
    session.execute("select name from item where id = :id", {"id": 1})
    session.commit()


def roll_back(session: Session) -> None:
    """Read and roll back."""
    session.execute("select 1")
    session.rollback()


def write_in_a_block(session: Session) -> None:
    """Insert in a block."""
    with session.begin():
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "a"})


def three_statements(session: Session) -> None:
    """Three statements and COMMIT."""
    for _ in range(3):
        session.execute("select 1")
    session.commit()


def a_savepoint(session: Session) -> None:
    """BEGIN, SAVEPOINT, a statement, RELEASE, COMMIT; MariaDB says itself that nothing was begun by a SELECT of no table."""
    with session.begin(), session.begin_nested():
        session.execute("select 1")


def an_undone_savepoint(session: Session) -> None:
    """As before with ROLLBACK TO and RELEASE, which are one query on PostgreSQL."""
    with session.begin(), session.begin_nested():
        session.execute("select 1")
        raise Rollback


def a_limit(session: Session) -> None:
    """On PostgreSQL it travels with BEGIN and ends with the transaction; MariaDB has its own words before and after."""
    with session.begin(statement_timeout=5):
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "a"})


def nothing(session: Session) -> None:
    """Begin, commit, close: nothing to say to a server."""
    with session.begin():
        pass
    session.commit()
    session.close()


@pytest.mark.parametrize(
    ("work", "trips"),
    [
        pytest.param(commit, {"postgres": 2, "mariadb": 2}, id="select and commit"),
        pytest.param(commit_with_parameters, {"postgres": 3, "mariadb": 2}, id="with a parameter"),
        pytest.param(roll_back, {"postgres": 2, "mariadb": 2}, id="select and roll back"),
        pytest.param(write_in_a_block, {"postgres": 3, "mariadb": 2}, id="insert in a block"),
        pytest.param(three_statements, {"postgres": 4, "mariadb": 4}, id="three statements"),
        pytest.param(a_savepoint, {"postgres": 5, "mariadb": 3}, id="a savepoint"),
        pytest.param(an_undone_savepoint, {"postgres": 5, "mariadb": 4}, id="a savepoint undone"),
        pytest.param(a_limit, {"postgres": 3, "mariadb": 4}, id="a limit"),
        pytest.param(nothing, {"postgres": 0, "mariadb": 0}, id="nothing"),
    ],
)
def test_round_trips(server_db: Database, proxy: Proxy, work: Callable[[Any], None], trips: dict[str, int]) -> None:
    """Opening the session, checkout, checkin and a close after commit add none."""
    engine = server_db.through(proxy, pool_size=1)
    engine.ping()
    before = proxy.trips
    with engine.session() as session:
        work(session)
    assert proxy.trips - before == trips[server_db.kind]


def test_a_distant_server(server_db: Database, proxy: Proxy) -> None:
    """`distant=True`: BEGIN travels with every first statement."""
    engine = server_db.through(proxy, pool_size=1, distant=True)
    engine.ping()
    before = proxy.trips
    with engine.begin() as session:
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "a"})
    assert proxy.trips - before == 2
    assert server_db.names() == ["a"]


def test_one_statement_alone(server_db: Database, proxy: Proxy) -> None:
    """`engine.execute` is one round trip on PostgreSQL; MySQL's protocol needs COMMIT."""
    engine = server_db.through(proxy, pool_size=1)
    engine.ping()
    before = proxy.trips
    engine.execute("insert into item (name, price) values (:n, 1)", {"n": "a"})
    assert proxy.trips - before == {"postgres": 1, "mariadb": 2}[server_db.kind]


# -- a BEGIN that travels


FIRST: list[Any] = [
    pytest.param("insert into item (name, price) values ('x', 1)", None, id="without parameters"),
    pytest.param("insert into item (name, price) values (:n, 1)", {"n": "x"}, id="with parameters"),
]


@pytest.fixture(params=[False, True], ids=["near", "distant"])
def engine(request: pytest.FixtureRequest, postgres: Database) -> Engine:
    """PostgreSQL, near and distant."""
    return postgres.engine(pool_size=1, distant=request.param)


@pytest.mark.parametrize(("sql", "parameters"), FIRST)
def test_the_first_statement_is_inside_the_transaction(
    postgres: Database, engine: Engine, sql: str, parameters: Any
) -> None:
    """Rolled back with the rest, committed with the rest, and its result is its own."""
    for keep in (False, True):
        session = engine.session()
        assert session.execute(sql, parameters).rowcount == 1
        assert session.execute("select count(*) from item").scalar() == 1
        session.commit() if keep else session.rollback()
    assert postgres.names() == ["x"]
    assert engine.execute("select 1 as one", None).first() == (1,)


@pytest.mark.parametrize(("sql", "parameters"), FIRST)
def test_the_first_statement_fails(postgres: Database, engine: Engine, sql: str, parameters: Any) -> None:
    """The transaction is aborted, as if BEGIN had travelled alone; after rollback the session works."""
    engine.execute(sql, parameters)
    session = engine.session()
    with pytest.raises(UniqueViolation):
        session.execute(sql, parameters)
    with pytest.raises(TransactionAbortedError) as caught:
        session.execute("select 1")
    assert isinstance(caught.value.__cause__, UniqueViolation)
    session.rollback()
    assert session.scalar("select count(*) from item") == 1
    session.close()


@pytest.mark.parametrize("parameters", [None, {"n": 1}])
def test_the_first_statement_has_a_syntax_error(engine: Engine, parameters: Any) -> None:
    """Then BEGIN was not executed either, and what follows is refused all the same: nothing runs outside a transaction."""
    session = engine.session()
    with pytest.raises(ProgrammingError):
        session.execute("selct :n" if parameters else "selct 1", parameters)
    with pytest.raises(TransactionAbortedError):
        session.execute("insert into item (name, price) values ('x', 1)")
    with pytest.raises(TransactionAbortedError):
        session.commit()
    session.execute("insert into item (name, price) values ('y', 1)")
    session.rollback()
    assert engine.execute("select count(*) from item").scalar() == 0


def test_a_bad_value_in_the_first_statement(engine: Engine) -> None:
    """Nothing was sent, nothing is doomed, and what follows is inside the transaction."""
    session = engine.session()
    with pytest.raises(Exception, match="cannot adapt"):
        session.execute("select :n", {"n": object()})
    session.execute("insert into item (name, price) values ('x', 1)")
    session.rollback()
    assert engine.execute("select count(*) from item").scalar() == 0


def test_a_transaction_ended_behind_the_back(postgres: Database, engine: Engine) -> None:
    """The connection comes home as it left: what runs alone on it next is kept."""
    with engine.session() as session:
        session.execute("insert into item (name, price) values (:n, 1)", {"n": "lost"})
        session.connection().driver_connection.rollback()
        with pytest.raises(TransactionLostError):
            session.commit()
    engine.execute("insert into item (name, price) values ('x', 1)")
    assert postgres.names() == ["x"]


@pytest.mark.parametrize(("sql", "parameters"), FIRST)
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_given_connection_in_a_transaction(postgres: Database, sql: str, parameters: Any, autocommit: bool) -> None:
    """Nothing travels there: the session works below its savepoint."""
    from sessionkit import Session

    conn = postgres.server.connect()
    conn.autocommit = autocommit
    try:
        conn.execute("begin") if autocommit else conn.execute("select 1")
        with Session(conn) as session:
            session.execute(sql, parameters)
            session.rollback()
            session.execute(sql, parameters)
            session.commit()
        assert conn.execute("select count(*) from item").fetchone() == (1,)
        conn.execute("rollback") if autocommit else conn.rollback()
        assert postgres.names() == []
    finally:
        conn.close()
