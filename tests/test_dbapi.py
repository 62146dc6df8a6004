"""PEP 249, word by word: `sessionkit.dbapi`, and the stand-ins where they promise the same."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import InvalidRequestError, dbapi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database


@pytest.fixture(params=["module", "stand-in"])
def conn(request: pytest.FixtureRequest, db: Database) -> Iterator[Any]:
    """A connection of the module, and one of a session."""
    if request.param == "module":
        connection = dbapi.connect(db.main)
        yield connection
        connection.close()
        return
    with db.main.session() as session:
        yield session.connection()
        session.rollback()


@pytest.fixture
def mark(conn: Any, db: Database) -> str:
    """The placeholder: `?` with the module, the driver's own with a stand-in."""
    return "?" if isinstance(conn, dbapi.Connection) or db.kind == "sqlite" else "%s"


def test_the_module() -> None:
    """Its globals, type objects and constructors."""
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 1, "qmark")
    assert issubclass(dbapi.Error, Exception)
    assert issubclass(dbapi.Warning, Exception)
    for name in ("InterfaceError", "DatabaseError"):
        assert issubclass(getattr(dbapi, name), dbapi.Error)
    for name in (
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert issubclass(getattr(dbapi, name), dbapi.DatabaseError)
    assert dbapi.Date(2026, 2, 3) == datetime.date(2026, 2, 3)
    assert dbapi.Time(1, 2, 3) == datetime.time(1, 2, 3)
    assert dbapi.Timestamp(2026, 2, 3, 4, 5, 6) == datetime.datetime(2026, 2, 3, 4, 5, 6)
    now = 1_700_000_000
    assert dbapi.TimestampFromTicks(now) == datetime.datetime.fromtimestamp(now)
    assert dbapi.DateFromTicks(now) == datetime.date.fromtimestamp(now)
    assert dbapi.TimeFromTicks(now) == datetime.datetime.fromtimestamp(now).time()
    assert dbapi.Binary(b"x") == b"x"
    told = [(str, "x"), (bytes, b"x"), (int, 1), (datetime.date, None)]
    kinds = [dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME]
    assert [[kind == type_ for kind in kinds] for type_, _ in told] == [[a == b for b in range(4)] for a in range(4)]
    assert all(hasattr(dbapi, name) for name in dbapi.__all__)


def test_commit_and_rollback(conn: Any, db: Database) -> None:
    """What is committed is there, what is rolled back is not; with nothing begun neither does anything."""
    cursor = conn.cursor()
    conn.commit()
    conn.rollback()
    cursor.execute("insert into item (name, price) values ('a', 1)")
    conn.rollback()
    cursor.execute("insert into item (name, price) values ('b', 1)")
    conn.commit()
    cursor.execute("insert into item (name, price) values ('c', 1)")
    conn.rollback()
    assert db.names() == ["b"]


def test_close(conn: Any, db: Database) -> None:
    """It rolls back; then everything is an error, but for closing again."""
    cursor = conn.cursor()
    cursor.execute("select 1")
    conn.close()
    conn.close()
    wanted = dbapi.InterfaceError if isinstance(conn, dbapi.Connection) else InvalidRequestError
    for call in (conn.commit, conn.rollback, conn.cursor, lambda: cursor.execute("select 1")):
        with pytest.raises(wanted):
            call()
    assert issubclass(wanted, dbapi.Error)


def test_the_module_rolls_back_at_close(db: Database) -> None:
    """In silence, as PEP 249 has it."""
    connection = dbapi.connect(db.main)
    connection.cursor().execute("insert into item (name, price) values ('a', 1)")
    connection.close()
    assert db.names() == []
    assert db.main.pool.stats()["used"] == 0


def test_cursors(conn: Any, mark: str) -> None:
    """description, rowcount, lastrowid, arraysize, and every way of fetching."""
    cursor = conn.cursor()
    assert (cursor.description, cursor.rowcount, cursor.arraysize, cursor.connection is conn) == (None, -1, 1, True)
    with pytest.raises(dbapi.Error):
        cursor.fetchone()
    cursor.executemany(
        f"insert into item (name, price) values ({mark}, {mark})", [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)]
    )
    assert cursor.rowcount == 5
    assert cursor.description is None
    if isinstance(conn, dbapi.Connection):  # some drivers return nothing instead
        with pytest.raises(dbapi.Error):
            cursor.fetchall()
    cursor.execute(f"select name, price from item where price > {mark} order by id", (0,))
    assert [(column[0], len(column)) for column in cursor.description] == [("name", 7), ("price", 7)]
    assert cursor.fetchone() == ("a", 1)
    assert list(cursor.fetchmany()) == [("b", 2)]
    assert list(cursor.fetchmany(2)) == [("c", 3), ("d", 4)]
    assert cursor.rownumber == 4
    assert list(cursor.fetchall()) == [("e", 5)]
    assert cursor.fetchone() is None
    assert list(cursor.fetchmany(3)) == []
    assert list(cursor.fetchall()) == []
    cursor.execute("select name from item order by id")
    cursor.arraysize = 3
    assert len(cursor.fetchmany()) == 3
    assert [row[0] for row in cursor] == ["d", "e"]
    cursor.setinputsizes([1])
    cursor.setoutputsize(1, 2)
    other = conn.cursor()
    other.execute("select 1")
    cursor.close()
    cursor.close()
    assert other.fetchone() == (1,)
    with pytest.raises(dbapi.Error):
        cursor.execute("select 1")
    with conn.cursor() as third:
        third.execute("select 1")
    with pytest.raises(dbapi.Error):
        third.fetchone()


def test_errors(conn: Any, db: Database, mark: str) -> None:
    """By PEP 249's classes, which the connection has too."""
    cursor = conn.cursor()
    for sql, parameters, expected in (
        ("selec", (), "ProgrammingError"),
        ("select * from nowhere", (), "ProgrammingError"),
        (f"insert into item (name, price) values ({mark}, null)", ("a",), "IntegrityError"),
        ("select 1; select 2", (), "ProgrammingError"),
        ("commit", (), "ProgrammingError"),
    ):
        with pytest.raises(getattr(dbapi, expected)) as caught:
            cursor.execute(sql, parameters)
        assert isinstance(caught.value, getattr(conn, expected))
        assert isinstance(caught.value, conn.Error)
        conn.rollback()


def test_both_forms_of_placeholders_on_every_driver(db: Database) -> None:
    """`?` with a sequence, `:name` with a mapping, in execute and executemany; None is NULL; text stays text."""
    with dbapi.connect(db.main) as connection:
        cursor = connection.cursor()
        cursor.execute("insert into item (name, price) values (?, ?)", ["it's", 1])
        cursor.executemany(
            "insert into item (name, price) values (:name, :price)",
            [{"name": None, "price": 2}, {"name": "100% :x ?", "price": 3}],
        )
        cursor.execute("select name from item where price in (:*these) order by id", {"these": [1, 2, 3]})
        assert cursor.fetchall() == [("it's",), (None,), ("100% :x ?",)]
        cursor.execute("insert into item (name, price) values (?, ?)", ("last", 4))
        if db.kind != "postgres":
            assert cursor.lastrowid == 4
    assert db.names() == ["it's", None, "100% :x ?", "last"]


def test_a_result_can_be_read_after_commit_and_moved_in(db: Database) -> None:
    """It was fetched when its statement ran; scroll goes to and by numbers."""
    connection = dbapi.connect(db.main)
    cursor = connection.cursor()
    cursor.execute("select 1 union all select 2 union all select 3")
    connection.commit()
    assert db.main.pool.stats()["used"] == 0
    assert cursor.fetchone() == (1,)
    cursor.scroll(1)
    assert cursor.fetchone() == (3,)
    cursor.scroll(0, "absolute")
    assert cursor.fetchall() == [(1,), (2,), (3,)]
    for value, mode in ((9, "relative"), (-1, "absolute")):
        with pytest.raises(IndexError):
            cursor.scroll(value, mode)
    with pytest.raises(dbapi.ProgrammingError, match="mode"):
        cursor.scroll(0, "sideways")
    assert cursor.nextset() is None
    connection.close()


def test_with_connection(db: Database) -> None:
    """It commits, or rolls back on an exception, and stays open."""
    connection = dbapi.connect(db.main)
    with connection:
        connection.cursor().execute("insert into item (name, price) values ('a', 1)")
    with pytest.raises(KeyError), connection:
        connection.cursor().execute("insert into item (name, price) values ('b', 1)")
        raise KeyError
    assert db.names() == ["a"]
    connection.close()


def test_a_commit_that_did_not_commit_is_an_error(postgres: Database) -> None:
    """Every promise of a session holds."""
    connection = dbapi.connect(postgres.main)
    cursor = connection.cursor()
    cursor.execute("insert into item (name, price) values ('a', 1)")
    with pytest.raises(dbapi.ProgrammingError):
        cursor.execute("selec")
    with pytest.raises(sessionkit.TransactionAbortedError):
        connection.commit()
    connection.close()
    assert postgres.names() == []


def test_connections_to_one_url_share_a_pool(db: Database) -> None:
    """And those with other options do not; every database in memory is one of its own."""
    one, two = dbapi.connect(db.url, pool_size=1), dbapi.connect(db.url, pool_size=1)
    one.cursor().execute("select 1")
    one.commit()
    assert two.session.execute("select 1").scalar() == 1
    two.rollback()
    assert one._engine is two._engine
    assert dbapi.connect(db.url, pool_size=2)._engine is not one._engine
    memory = [dbapi.connect("sqlite://") for _ in range(2)]
    for connection in memory:
        connection.cursor().execute("create table t (a)")
        connection.commit()
        connection.close()
    with pytest.raises(dbapi.ProgrammingError, match="options already"):
        dbapi.connect(db.main, pool_size=3)
    with pytest.raises(dbapi.ProgrammingError, match="not a database URL"):
        dbapi.connect("nonsense")
    dbapi.dispose()


def test_threads_use_connections_of_their_own(db: Database) -> None:
    """Each gets its own from the pool."""
    done: list[int] = []

    def work(number: int) -> None:
        with dbapi.connect(db.main) as connection:
            connection.cursor().execute("insert into item (name, price) values (?, ?)", (f"n{number}", number))
        connection.close()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(8))
    assert sorted(db.names()) == [f"n{number}" for number in range(8)]


def test_importing_it_imports_no_driver() -> None:
    """Only what it needs."""
    code = "import sys, sessionkit.dbapi; print([m for m in ('sqlite3', 'psycopg', 'pymysql') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
