"""close, reset, invalidate, given connections, and what becomes of a session that nobody closes."""

from __future__ import annotations

import copy
import gc
import pickle
import sqlite3
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import (
    ConcurrentUseError,
    InvalidRequestError,
    PoolTimeoutError,
    Registry,
    Session,
    SessionClosedError,
    TransactionLostError,
    UncommittedWorkWarning,
)
from sessionkit.testing import FakeDriver

from .conftest import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, 1)"


def put(session: Session, name: str) -> None:
    """Insert a row."""
    session.execute(INSERT, {"name": name})


def raw(db: Database, **options: Any) -> Any:
    """Return a connection of the driver's own, not of a pool."""
    if db.kind == "sqlite":
        return sqlite3.connect(db.url.removeprefix("sqlite:///"), **options)
    if db.kind == "postgres":
        import psycopg

        return psycopg.connect(db.url, **options)
    import pymysql

    return pymysql.connect(host="127.0.0.1", port=db.main.url.port or 3306, user="root", database="test", **options)


# -- close, reset, invalidate


def test_close_rolls_back_once_and_warns(fake: Engine) -> None:
    """The driver's rollback is called once; a second close is quiet and sends nothing."""
    session = fake.session()
    session.execute("insert")
    with pytest.warns(UncommittedWorkWarning, match='"insert"'):
        session.close()
    session.close()
    assert fake.driver.words() == ["connect", "begin", "insert", "rollback"]


def test_reset_rollback_and_invalidate_drop_on_purpose(db: Database) -> None:
    """They do not warn (a warning is an error here)."""
    session = db.main.session()
    for end in (session.reset, session.rollback, session.invalidate):
        put(session, "x")
        end()
        assert not session.in_transaction()
    session.close()
    assert db.names() == []


def test_reads_that_nobody_committed_do_not_warn(db: Database) -> None:
    """Only writes are worth a warning."""
    with warnings.catch_warnings(record=True) as caught:
        with db.main.session() as session:
            session.execute("select * from item").all()
    assert caught == []


def test_a_warning_that_is_an_error_still_closes(db: Database) -> None:
    """The warning comes after the way out."""
    session = db.main.session()
    put(session, "x")
    with pytest.raises(UncommittedWorkWarning), warnings.catch_warnings():
        warnings.simplefilter("error")
        session.close()
    assert (session.in_transaction(), db.main.pool.stats()["used"]) == (False, 0)


def test_closed_for_good(db: Database) -> None:
    """With close_resets_only=False everything but close, invalidate, closed, in_transaction, is_active raises after close."""
    session = db.main.session(close_resets_only=False)
    for _ in range(2):
        session.execute("select 1")
        session.reset()
        assert not session.closed
    session.close()
    calls: list[Callable[[], object]] = [
        lambda: session.execute("select 1"), lambda: session.get(Item, 1), session.begin, session.begin_nested,
        session.commit, session.rollback, session.reset, session.connection, session.cursor, session.expunge_all,
        lambda: session.identity_map, lambda: Item("a", 1) in session, lambda: session.after_commit(print),
        lambda: session.insert(Item("a", 1)), lambda: session.script("select 1"), lambda: session.executemany("x", []),
        session.__enter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(SessionClosedError):
            call()
    session.close()
    session.invalidate()
    assert (session.closed, session.in_transaction(), session.is_active) == (True, False, False)


def test_a_session_closed_by_default_begins_anew(db: Database) -> None:
    """With an empty identity map."""
    session = db.main.session()
    tea = session.insert(Item("tea", 1))
    session.commit()
    first = session.get(Item, tea.id)
    session.close()
    assert (len(session.identity_map), session.closed) == (0, False)
    assert session.get(Item, tea.id) is not first
    session.close()


def test_close_inside_a_block(db: Database) -> None:
    """The block's work is lost and its normal end says so; statements and begin too until then."""
    session = db.main.session()
    with pytest.raises(TransactionLostError, match="ended inside"):
        with session.begin() as tx:
            put(session, "a")
            with pytest.warns(UncommittedWorkWarning):
                session.close()
            for call in (lambda: session.execute("select 1"), session.begin, session.begin_nested):
                with pytest.raises(TransactionLostError):
                    call()
            assert not session.is_active
    assert tx.status == "rolled back"
    with session.begin():
        put(session, "b")
    session.close()
    assert db.names() == ["b"]


@pytest.mark.parametrize("end", ["close", "reset", "invalidate"])
def test_an_exception_goes_on_through_a_block_that_was_ended(db: Database, end: str) -> None:
    """If the body raises ValueError, ValueError comes out."""
    session = db.main.session()
    with pytest.raises(ValueError, match="mine"):
        with session.begin(), session.begin_nested():
            session.execute("select 1")
            getattr(session, end)()
            raise ValueError("mine")
    assert session.scalar("select 1") == 1
    session.close()


def test_invalidate_closes_the_connections_of_every_database() -> None:
    """At driver level; none is pooled, and no round trip is made."""
    drivers = {"one": FakeDriver(), "two": FakeDriver()}
    registry = Registry()
    for name, driver in drivers.items():
        registry.add(name, "fake://", driver=driver)
    session = registry.session()
    for name in drivers:
        session.execute("insert", bind=name)
    session.invalidate()
    assert [driver.words()[-1] for driver in drivers.values()] == ["close", "close"]
    assert [registry[name].pool.stats()["open"] for name in drivers] == [0, 0]


def test_close_goes_on_after_a_failing_rollback(caplog: pytest.LogCaptureFixture) -> None:
    """Of two databases both are dealt with; close is quiet, the failure is logged, its connection closed."""
    drivers = {"one": FakeDriver(), "two": FakeDriver()}
    registry = Registry()
    for name, driver in drivers.items():
        registry.add(name, "fake://", driver=driver)
    session = registry.session()
    for name in drivers:
        session.execute("select 1", bind=name)
    for driver in drivers.values():
        driver.fail("rollback")
    drivers["one"].fail("rollback")
    session.close()
    assert [driver.words()[-1] for driver in drivers.values()] == ["close", "close"]
    assert caplog.text.count("rolling back failed") == 2
    session.close()
    for driver in drivers.values():
        driver._failures.clear()
        driver.verify()


def test_a_killed_backend_and_close(server_db: Database) -> None:
    """Quiet: the connection is discarded, the identity map empty, the next statement works."""
    engine = server_db.engine()
    session = engine.session()
    session.insert(Item("tea", 1))
    _kill(server_db, session)
    with pytest.warns(UncommittedWorkWarning):
        session.close()
    assert len(session.identity_map) == 0
    assert session.scalar("select count(*) from item") == 0
    session.close()


def test_a_killed_backend_is_a_disconnection(server_db: Database) -> None:
    """The statement says so; after a rollback the session works on a new connection."""
    engine = server_db.engine()
    with engine.session() as session:
        session.execute("select 1")
        _kill(server_db, session)
        with pytest.raises(sessionkit.DisconnectionError):
            session.execute("select 2")
        with pytest.raises(TransactionLostError):
            session.execute("select 3")
        session.rollback()
        assert session.scalar("select 4") == 4


def _kill(db: Database, session: Session) -> None:
    ident = session.scalar("select pg_backend_pid()" if db.kind == "postgres" else "select connection_id()")
    db.main.execute(f"select pg_terminate_backend({ident})" if db.kind == "postgres" else f"kill {ident}")


def test_options_and_info_survive(db: Database) -> None:
    """close and reset leave them; the dict that was passed is not shared, as with SQLAlchemy."""
    given = {"user": 7}
    session = db.main.session(info=given, autobegin=False)
    session.reset()
    session.close()
    assert session.info == {"user": 7}
    session.info["user"] = 8
    assert given == {"user": 7}
    with pytest.raises(InvalidRequestError):
        session.execute("select 1")


def test_a_session_cannot_be_pickled_or_copied(db: Database) -> None:
    """TypeError that says why."""
    session = db.main.session()
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="owns a connection"):
            copying(session)


def test_pool_held_elsewhere(db: Database) -> None:
    """PoolTimeoutError; once the connection is free, the same session just works."""
    engine = db.engine(pool_size=1, pool_timeout=0.05)
    lease = engine.pool.checkout()
    session = engine.session()
    with pytest.raises(PoolTimeoutError, match="1 of 1 lent"):
        session.execute("select 1")
    engine.pool.checkin(lease)
    assert session.scalar("select 1") == 1
    session.close()


# -- several databases


def test_names_choose_the_database(db: Database) -> None:
    """An unnamed statement uses the default, `bind=` another; an unknown name lists the known ones."""
    registry = Registry({"shop": db.main})
    registry.add("audit", "sqlite://")
    with registry.begin() as session:
        put(session, "tea")
        session.execute("create table log (word text)", bind="audit")
        session.execute("insert into log values ('sold tea')", bind="audit")
        with pytest.raises(sessionkit.ArgumentError, match="audit, shop"):
            session.execute("select 1", bind="shp")
    assert registry.execute("select word from log", bind="audit").scalars() == ["sold tea"]
    assert db.names() == ["tea"]
    registry["audit"].dispose()


# -- one thread at a time


def test_concurrent_use_is_detected(fake: Engine) -> None:
    """A second thread is refused with both names, by close too, and changes nothing; moving a session is fine."""
    session = fake.session()
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        go_on.wait(10)

    fake.driver.fail("execute", wait)
    worker = threading.Thread(target=lambda: session.execute("insert"), name="worker-1")
    worker.start()
    inside.wait(10)
    for call in (lambda: session.execute("select 1"), session.close, session.reset, session.invalidate, session.commit):
        with pytest.raises(ConcurrentUseError, match=r"MainThread.*worker-1"):
            call()
    go_on.set()
    worker.join(10)
    assert session.in_transaction()
    session.commit()
    assert fake.driver.words() == ["connect", "begin", "insert", "commit"]


# -- given connections


def test_a_given_idle_connection(db: Database) -> None:
    """The session begins and ends its own transactions on it, and never closes it."""
    conn = raw(db)
    session = Session(conn)
    put(session, "dropped")
    with pytest.warns(UncommittedWorkWarning):
        session.close()
    put(session, "kept")
    session.commit()
    session.close()
    session.execute("select 1")
    session.invalidate()
    cursor = conn.cursor()
    cursor.execute("select name from item")
    assert list(cursor.fetchall()) == [("kept",)]
    cursor.close()
    conn.close()


def test_a_given_connection_that_is_in_a_transaction(db: Database) -> None:
    """The session works inside a savepoint: the outer transaction stays open, and rolling it back removes both rows."""
    conn = raw(db)
    cursor = conn.cursor()
    cursor.execute("insert into item (name, price) values ('outer', 1)")
    session = Session(conn)
    put(session, "mine")
    assert "does not end" in repr(session)
    session.commit()
    put(session, "dropped")
    session.rollback()
    with session.begin():
        put(session, "block")
    session.close()
    cursor.execute("select name from item order by id")
    inside = [row[0] for row in cursor.fetchall()]
    conn.rollback()
    cursor.execute("select count(*) from item")
    after = cursor.fetchone()[0]
    cursor.close()
    conn.close()
    assert (inside, after) == (["outer", "mine", "block"], 0)


def test_a_given_connection_in_autocommit_mode(db: Database) -> None:
    """The session sends BEGIN itself."""
    options: dict[str, Any] = {"isolation_level": None} if db.kind == "sqlite" else {"autocommit": True}
    conn = raw(db, **options)
    session = Session(conn)
    put(session, "dropped")
    session.rollback()
    put(session, "kept")
    session.commit()
    conn.close()
    assert db.names() == ["kept"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3's autocommit attribute came with Python 3.12")
def test_a_given_connection_that_always_has_a_transaction(sqlite: Database) -> None:
    """sqlite3 with autocommit=False: ended in its own way; refused once its rows may be uncommitted."""
    conn = raw(sqlite, autocommit=False)
    session = Session(conn)
    put(session, "dropped")
    session.rollback()
    put(session, "kept")
    session.commit()
    session.close()
    with pytest.raises(sessionkit.ArgumentError, match="cannot tell"):
        Session(conn)
    conn.close()
    assert sqlite.names() == ["kept"]


def test_a_given_connection_with_row_factories(sqlite: Database) -> None:
    """The session's rows are its own."""
    conn = raw(sqlite)
    conn.row_factory = sqlite3.Row
    session = Session(conn)
    assert session.execute("select 1 as a, 2 as b").tuples() == [(1, 2)]
    session.close()
    conn.close()


def test_what_is_no_connection_is_refused() -> None:
    """With what would do."""
    with pytest.raises(sessionkit.ArgumentError, match="psycopg, pymysql, sqlite3"):
        Session(object())  # type: ignore[arg-type]


# -- stand-ins for the DB-API


def test_cursor_takes_no_connection_before_it_is_used(fake: Engine) -> None:
    """Notebooks call .cursor() on every global to probe it."""
    session = fake.session()
    session.cursor()
    assert fake.driver.words() == []


def test_a_cursor_works_inside_the_transaction(db: Database) -> None:
    """In the driver's own paramstyle; the transaction's end closes it, and a late fetch raises."""
    mark = "?" if db.kind == "sqlite" else "%s"
    with db.main.session() as session:
        with session.cursor() as cursor:
            cursor.executemany(f"insert into item (name, price) values ({mark}, {mark})", [("a", 1), ("b", 2)])
            cursor.execute(f"select name from item where price > {mark} order by id", (0,))
            assert [column[0] for column in cursor.description] == ["name"]
            assert (cursor.fetchone(), cursor.fetchmany(5), cursor.fetchall()) == (
                ("a",),
                [("b",)],
                [],
            ) or db.kind == "mariadb"
            with pytest.raises(sessionkit.ProgrammingError):
                cursor.execute("selec")
        session.rollback()
        late = session.cursor()
        late.execute("select 1")
        session.rollback()
        with pytest.raises(InvalidRequestError, match="ended"):
            late.fetchone()
    assert db.names() == []


def test_a_connection_is_detached_when_the_session_ends_the_transaction(db: Database) -> None:
    """A late use raises instead of reaching the next borrower's transaction."""
    with db.main.session() as session:
        conn = session.connection()
        cursor = conn.cursor()
        cursor.execute("insert into item (name, price) values ('a', 1)")
        session.commit()
        for call in (
            conn.cursor,
            conn.commit,
            conn.rollback,
            lambda: cursor.execute("select 1"),
            lambda: conn.driver_connection,
        ):
            with pytest.raises(InvalidRequestError, match="given back"):
                call()
    assert db.names() == ["a"]


# -- nobody closes it


def test_an_abandoned_session_gives_its_place_back(db: Database) -> None:
    """ResourceWarning with the file and line where it was made; the work is undone, the place is free."""
    engine = db.engine(pool_size=1, pool_timeout=2)

    def leak() -> None:
        put(engine.session(), "leaked")

    with pytest.warns(ResourceWarning, match=r"test_session\.py:\d+"):
        leak()
        gc.collect()
    with engine.begin() as session:
        put(session, "next")
    assert db.names() == ["next"]


@pytest.mark.filterwarnings("ignore:unclosed database", "ignore:<psycopg")
def test_an_abandoned_session_in_a_cycle(db: Database) -> None:
    """Found within half a second when a waiter needs its place."""
    engine = db.engine(pool_size=1, pool_timeout=2)

    def leak() -> None:
        session = engine.session()
        session.info["me"] = session
        session.execute("select 1")

    gc.disable()
    try:
        leak()
        started = time.monotonic()
        with pytest.warns(ResourceWarning, match=r"test_session\.py:\d+"):
            assert engine.session().scalar("select 1") == 1
            took = time.monotonic() - started
            gc.collect()
    finally:
        gc.enable()
    assert took < 0.5


def test_a_generator_closed_early(db: Database) -> None:
    """A block around `yield`: rolled back, connection back."""

    def rows() -> Any:
        with db.main.begin() as session:
            put(session, "x")
            yield 1

    generator = rows()
    next(generator)
    generator.close()
    assert db.names() == []
