"""Clients of the DB-API that nobody here wrote, on the stand-ins of a session's connection."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import aiosql
import pandas
import petl
import polars
import pytest
import sqlite_utils

from sessionkit import InvalidRequestError, NotSupportedError, Registry, errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Session

    from .conftest import Database

QUERIES = """
-- name: all_items
select name from item order by id
-- name: dear(least)
select name from item where price >= :least order by id
-- name: one(name)^
select name, price from item where name = :name
-- name: count()$
select count(*) from item
-- name: add(name, price)!
insert into item (name, price) values (:name, :price)
-- name: add_many(name, price)*!
insert into item (name, price) values (:name, :price)
-- name: make()#
create table made (id integer);
"""
ADAPTERS = {"sqlite": "sqlite3", "postgres": "psycopg", "mariadb": "pymysql"}


@pytest.fixture
def session(db: Database) -> Any:
    """A session on a pool of one, with two rows committed."""
    engine = db.engine(pool_size=1)
    engine.execute("insert into item (name, price) values ('tea', 3), ('oil', 9)")
    with engine.session() as session:
        yield session
    with engine.session() as session:  # whatever was left: the next one can work
        session.execute("select 1")


# -- the clients


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy")
def test_pandas_reads(session: Session) -> None:
    """Whole and in chunks."""
    sql = "select name, price from item order by id"
    assert pandas.read_sql(sql, session.connection()).to_dict("list") == {"name": ["tea", "oil"], "price": [3, 9]}
    chunks = pandas.read_sql(sql, session.connection(), chunksize=1)
    assert [list(chunk["name"]) for chunk in chunks] == [["tea"], ["oil"]]


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy")
def test_pandas_writes(sqlite: Database) -> None:
    """Append, replace and chunks; it commits as it goes, and the stand-in lives on."""
    frame = pandas.DataFrame({"name": ["a", "b", "c"], "price": [1.5, 2.5, 3.5]})
    with sqlite.main.session() as session:
        conn = session.connection()
        frame.to_sql("frame", conn, index=False)
        frame.to_sql("frame", conn, index=False, if_exists="append", chunksize=1)
        assert pandas.read_sql("select count(*) as n from frame", conn)["n"][0] == 6
        frame.to_sql("frame", conn, index=False, if_exists="replace")
        with pytest.raises(ValueError, match="exists"):
            frame.to_sql("frame", conn, index=False)
    assert sqlite.main.execute("select count(*), sum(price) from frame").one() == (3, 7.5)


def test_polars_reads(session: Session) -> None:
    """Whole and in batches."""
    sql = "select name, price from item order by id"
    assert polars.read_database(sql, session.connection()).to_dict(as_series=False) == {
        "name": ["tea", "oil"],
        "price": [3, 9],
    }
    batches = polars.read_database(sql, session.connection(), iter_batches=True, batch_size=1)
    assert [batch.rows() for batch in batches] == [[("tea", 3)], [("oil", 9)]]


def test_petl_reads_and_writes(db: Database) -> None:
    """It finds the paramstyle in the module of the connection's class; for MySQL it wants ANSI_QUOTES, over its commits."""
    mode = ["set sql_mode = concat(@@sql_mode, ',ANSI_QUOTES')"] if db.kind == "mariadb" else []
    with db.engine(pool_size=1, on_connect=mode).session() as session:
        conn = session.connection()
        petl.appenddb([["name", "price"], ["rye", 2], ["it's", 4]], conn, "item")
        assert db.names() == ["rye", "it's"]
        assert petl.nrows(petl.fromdb(conn, "select * from item")) == 2
        petl.todb([["name", "price"], ["one", 1]], conn, "item")
        assert db.names() == ["one"]


def test_aiosql(session: Session, db: Database) -> None:
    """Every kind of query, and commits between."""
    conn: Any = session.connection()
    queries: Any = aiosql.from_str(QUERIES, ADAPTERS[db.kind], mandatory_parameters=False)
    assert [row[0] for row in queries.all_items(conn)] == ["tea", "oil"]
    assert [row[0] for row in queries.dear(conn, least=5)] == ["oil"]
    assert queries.add(conn, name="rye", price=2) == 1
    conn.commit()
    assert db.names() == ["tea", "oil", "rye"]
    queries.add_many(conn, [{"name": "a", "price": 1}, {"name": "b", "price": 2}])
    assert queries.count(conn) == 5
    conn.rollback()
    assert tuple(queries.one(conn, name="oil")) == ("oil", 9)
    assert queries.one(conn, name="a") is None
    with queries.all_items_cursor(conn) as cursor:
        assert [row[0] for row in cursor] == ["tea", "oil", "rye"]
    conn.rollback()
    db.main.execute("drop table if exists made")
    queries.make(conn)
    conn.commit()
    assert db.main.execute("select count(*) from made").scalar() == 0
    db.main.execute("drop table made")


def test_sqlite_utils(sqlite: Database) -> None:
    """Tables, upserts, transforms, full text, functions; its savepoints are the session's nested transactions."""
    engine = sqlite.engine(pool_size=1)
    with engine.session() as session:
        database = sqlite_utils.Database(session.connection())
        table: Any = database["kept"]
        table.insert({"id": 1, "name": "a"}, pk="id")
        table.insert_all([{"id": number, "name": f"n{number}"} for number in range(2, 300)], pk="id")
        table.upsert({"id": 1, "name": "c"}, pk="id")
        table.create_index(["name"])
        table.add_column("more", int)
        table.update(1, {"more": 3})
        table.delete(2)
        table.transform(rename={"more": "most"})
        table.enable_fts(["name"])
        with pytest.raises(Exception, match="UNIQUE"), database.atomic():
            table.insert({"id": 900, "name": "x"})
            table.insert({"id": 1, "name": "x"})
        assert [dict(row) for row in database.query("select id, name, most from kept where id in (1, 900)")] == [
            {"id": 1, "name": "c", "most": 3}
        ]
        database.register_function(lambda text: text[::-1], name="turned")
        assert [*database.query("select turned('abc') as t")] == [{"t": "cba"}]
        session.commit()
    assert engine.execute("select count(*) from kept").scalar() == 298
    with pytest.raises(errors.ProgrammingError, match="turned"):  # what it registered is not lent on
        engine.execute("select turned('abc')")


# -- what they need


def test_commit_and_rollback_keep_the_stand_in(session: Session, db: Database) -> None:
    """The next use begins anew; between them the connection is back in the pool, and a rolled-back row is gone."""
    pool = db.engines[-1].pool
    conn = session.connection()
    cursor = conn.cursor()
    insert = "insert into item (name, price) values ('x', 1)"
    cursor.execute(insert)
    conn.rollback()
    conn.rollback()
    assert pool.stats()["used"] == 0
    cursor.execute(insert)
    conn.commit()
    conn.commit()
    assert pool.stats()["used"] == 0
    assert db.names()[-1] == "x"
    assert conn.in_transaction
    session.execute("select 1")
    session.commit()
    cursor.execute("select 1")  # it was not in use when the session committed
    session.rollback()
    with pytest.raises(InvalidRequestError, match="given back"):
        cursor.execute("select 1")
    assert not conn.in_transaction


def test_a_failed_commit_keeps_it_too(postgres: Database) -> None:
    """The transaction is over, and the client can go on."""
    with postgres.main.session() as session:
        conn = session.connection()
        with pytest.raises(errors.ProgrammingError):
            conn.execute("selec")
        with pytest.raises(errors.TransactionAbortedError):
            conn.commit()
        assert conn.execute("select 1").fetchone() == (1,)
        conn.rollback()


def test_in_a_block_it_commits_nothing(db: Database) -> None:
    """commit() is refused there, as the session's own is; the block goes on."""
    with db.main.begin() as session:
        conn = session.connection()
        conn.cursor().execute("insert into item (name, price) values ('x', 1)")
        with pytest.raises(InvalidRequestError, match="block"):
            conn.commit()
        assert conn.in_transaction
    assert db.names() == ["x"]


@pytest.mark.parametrize("fails", [False, True])
def test_with_connection_does_what_the_drivers_does(session: Session, db: Database, fails: bool) -> None:
    """sqlite3 commits and stays open, psycopg commits and closes, PyMySQL closes only."""
    conn = session.connection()
    try:
        with conn as same:
            assert same is conn
            conn.cursor().execute("insert into item (name, price) values ('x', 1)")
            if fails:
                raise KeyError
    except KeyError:
        pass
    if db.kind != "sqlite":
        with pytest.raises(InvalidRequestError, match="closed"):
            conn.cursor()
    session.rollback()
    assert (db.names()[-1] == "x") == (not fails and db.kind != "mariadb")


def test_what_pep_249_makes_optional(session: Session, db: Database) -> None:
    """connection, rownumber, nextset, iteration, the exceptions as attributes."""
    conn = session.connection()
    with conn.cursor() as cursor:
        assert (cursor.connection is conn, cursor.rownumber, cursor.description, cursor.rowcount) == (
            True,
            None,
            None,
            -1,
        )
        cursor.execute("select name from item order by id")
        assert (cursor.rownumber, next(cursor)[0], cursor.rownumber) == (0, "tea", 1)
        assert [row[0] for row in cursor] == ["oil"]
        assert cursor.rownumber == 2
        assert cursor.nextset() is None
        with pytest.raises(conn.ProgrammingError):
            cursor.execute("selec")
    session.rollback()
    assert session.cursor().connection.in_transaction
    assert issubclass(conn.IntegrityError, conn.DatabaseError)
    assert issubclass(conn.InterfaceError, conn.Error)
    if db.kind == "sqlite":
        with pytest.raises(NotSupportedError, match="procedures"):
            session.cursor().callproc("p")


def test_procedures(server_db: Database) -> None:
    """callproc calls, its rows can be fetched, and nextset goes on."""
    execute = server_db.main.execute
    if server_db.kind == "postgres":
        execute(
            "create or replace function p(a int, b text) returns table (x int, y text) language sql as 'select a + 1, b'"
        )
    else:
        execute("drop procedure if exists p")
        execute("create procedure p(a int, b text) begin select a + 1, b; select 7; end")
    with server_db.main.session() as session, session.connection().cursor() as cursor:
        assert cursor.callproc("p", (1, "it's")) == (1, "it's")
        assert cursor.fetchall() in ([(2, "it's")], ((2, "it's"),))
        if server_db.kind == "mariadb":
            assert cursor.nextset()
            assert cursor.fetchone() == (7,)
        session.rollback()
    execute("drop function p(int, text)" if server_db.kind == "postgres" else "drop procedure p")


def test_savepoints_of_a_client_are_nested_transactions(session: Session) -> None:
    """With its own names; ROLLBACK TO leaves the savepoint standing, as SQL has it."""
    conn = session.connection()
    cursor = conn.cursor()
    told: list[str] = []

    def put(name: str) -> None:
        cursor.execute(f"insert into item (name, price) values ('{name}', 1)")

    put("a")
    cursor.execute("SAVEPOINT mine")
    session.after_rollback(lambda: told.append("undone"))
    put("b")
    cursor.execute('savepoint "inner";')
    put("c")
    cursor.execute("rollback to savepoint mine")
    put("d")
    cursor.execute("release mine")
    assert not session.in_nested_transaction()
    for refused in ("release mine", "rollback to mine", "savepoint sk_1", "commit", "rollback", "begin"):
        with pytest.raises(InvalidRequestError):
            cursor.execute(refused)
    conn.commit()
    assert session.scalars("select name from item order by id") == ["tea", "oil", "a", "d"]
    assert told == ["undone"]


def extras(kind: str) -> list[Callable[[Any], object]]:
    """What clients call beyond PEP 249, for one driver; each must come out true."""
    if kind == "sqlite":
        return [
            lambda c: c.execute("select 1").fetchone() == (1,),
            lambda c: c.executemany("insert into item (name, price) values (?, 1)", [("m",), ("n",)]).rowcount == 2,
            lambda c: (
                c.executescript("create table s (a); insert into s values (';'); insert into s values (2);") is not None
            ),
            lambda c: c.cursor().executescript("drop table s; create table s (a)") is not None,
            lambda c: c.total_changes >= 2,
            lambda c: c.cursor(sqlite3.Cursor).execute("select 1").fetchone() == (1,),
        ]
    if kind == "postgres":
        from psycopg.rows import dict_row

        return [
            lambda c: c.execute("select %s::int as a", (1,)).fetchone() == (1,),
            lambda c: c.execute("select 1", prepare=False).fetchone() == (1,),
            lambda c: c.info.dbname,
            lambda c: c.closed is False,
            lambda c: c.cursor(row_factory=dict_row).execute("select 1 as a").fetchone() == {"a": 1},
            lambda c: c.cursor().execute("select 1").statusmessage == "SELECT 1",
        ]
    from pymysql.cursors import DictCursor, SSCursor

    return [
        lambda c: c.cursor(DictCursor).execute("select 1 as a").fetchone() == {"a": 1},
        lambda c: c.cursor(SSCursor).execute("select 1 as a").fetchall() == [(1,)],
        lambda c: c.escape("it's") == r"'it\'s'",
        lambda c: c.thread_id() > 0,
        lambda c: c.get_server_info(),
    ]


def test_the_drivers_own_extras(session: Session, db: Database) -> None:
    """By name; what would act behind the session's back is not there, and cannot be set."""
    conn: Any = session.connection()
    for extra in extras(db.kind):
        assert extra(conn)
    session.rollback()
    conn = session.connection()
    for name in {
        "sqlite": ("isolation_level", "create_module"),
        "postgres": ("transaction", "autocommit", "pgconn"),
        "mariadb": ("begin", "autocommit", "query"),
    }[db.kind]:
        assert not hasattr(conn, name)
        with pytest.raises(InvalidRequestError, match="driver_connection"):
            setattr(conn, name, 1)


def test_row_factory(session: Session, db: Database) -> None:
    """Of this stand-in alone; the pool's connection is left as it is."""
    conn = session.connection()
    if db.kind == "mariadb":
        return
    if db.kind == "sqlite":
        conn.row_factory = sqlite3.Row
    else:
        from psycopg.rows import namedtuple_row

        conn.row_factory = namedtuple_row
    row = conn.cursor().execute("select name from item order by id").fetchone()
    assert (row["name"] if db.kind == "sqlite" else row.name) == "tea"
    assert session.connection().cursor().execute("select name from item order by id").fetchone() == ("tea",)
    session.rollback()
    assert session.execute("select name from item order by id").first() == ("tea",)


def test_what_leaves_something_is_not_lent_on(sqlite: Database) -> None:
    """A function that was registered dies with its connection."""
    engine = sqlite.engine(pool_size=1)
    with engine.session() as session:
        conn = session.connection()
        conn.create_function("twice", 1, lambda value: 2 * value)
        assert conn.execute("select twice(2)").fetchone() == (4,)
    with pytest.raises(errors.ProgrammingError, match="twice"):
        engine.execute("select twice(2)")


def test_the_paramstyle_is_where_clients_look(session: Session, db: Database) -> None:
    """In the module of the connection's class."""
    module = __import__(type(session.connection()).__module__)
    assert module.paramstyle == ("qmark" if db.kind == "sqlite" else "pyformat")


def test_a_stand_in_for_one_of_several_databases(db: Database) -> None:
    """Scripts too go to the one that was named."""
    registry = Registry({"main": db.main})
    registry.add("other", "sqlite://")
    with registry.session() as session:
        conn: Any = session.connection(bind="other")
        conn.executescript("create table t (a); insert into t values (1)")
        conn.commit()
        assert session.cursor(bind="other").execute("select a from t").fetchall() == [(1,)]
    registry["other"].dispose()
