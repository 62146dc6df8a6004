"""What a block or a rollback says is undone is never kept in silence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    Error,
    Registry,
    Rollback,
    RollbackIncompleteError,
    TransactionLostError,
    UncommittedWorkWarning,
    create_engine,
)
from sessionkit.testing import FakeError
from sessionkit.testing.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine, Session

    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, 1)"


def put(session: Any, name: str) -> None:
    """Insert a row."""
    session.execute(INSERT, {"name": name})


def break_off(engine: Engine, *verbs: str) -> Callable[[], None]:
    """Let the driver refuse these words on this engine's connections until the function returned is called."""
    driver = engine.driver
    kind = type("Broken", (type(driver),), {"module": driver.module})
    error = driver.dbapi().OperationalError

    def refuse(*arguments: Any) -> None:
        raise error("broken off")

    for verb in verbs:
        setattr(kind, verb, refuse)
    engine.driver = kind()

    def mend() -> None:
        engine.driver = driver

    return mend


# -- what an inner block undid


def test_a_savepoint_that_is_gone_dooms_the_transaction(mariadb: Database) -> None:
    """A procedure released it: what the inner block undid can no longer be undone alone, so nothing at all is kept."""
    mariadb.main.execute("drop procedure if exists p")
    mariadb.main.execute("create procedure p() release savepoint sk_1")
    with pytest.raises(TransactionLostError, match="its work is not kept") as caught, mariadb.main.begin() as session:
        put(session, "1")
        with pytest.raises(KeyError) as inner, session.begin_nested():
            put(session, "2")
            session.execute("call p()")
            raise KeyError
        assert "sk_1" in inner.value.__notes__[0]
        with pytest.raises(TransactionLostError):
            put(session, "3")
        assert not session.is_active
    assert getattr(caught.value.__cause__, "code", None) == 1305
    assert mariadb.names() == []


@pytest.mark.parametrize("verbs", [("rollback_to",), ("release", "rollback_to")], ids=["rollback to", "release"])
@pytest.mark.parametrize("way", ["error", "Rollback", "handle", "end"])
def test_rollback_to_fails(db: Database, verbs: tuple[str, ...], way: str) -> None:
    """Then no statement and no end goes well until all of it is rolled back, and the failed word is the cause."""
    engine = db.engine()
    session = engine.session()
    outer = session.begin()
    put(session, "outer")
    middle = session.begin_nested()
    put(session, "middle")
    inner = session.begin_nested()
    put(session, "inner")
    mend = break_off(engine, *verbs)
    try:
        if way == "handle":
            with pytest.raises(Error, match="ROLLBACK TO"):
                inner.rollback()
        elif way == "end" and "release" in verbs:
            with pytest.raises(Error, match="RELEASE"):
                inner.commit()
        else:
            inner.__enter__()
            thrown = Rollback() if way == "Rollback" else KeyError()
            inner.__exit__(type(thrown), thrown, None)
            assert "ROLLBACK TO" in thrown.__notes__[0]
    finally:
        mend()
    with pytest.raises(TransactionLostError) as caught:
        put(session, "after")
    assert "ROLLBACK TO" in str(caught.value.__cause__)
    middle.rollback()  # helps no more
    with pytest.raises(TransactionLostError):
        put(session, "after")
    with pytest.raises(TransactionLostError) as caught:
        outer.commit()
    assert "ROLLBACK TO" in str(caught.value.__cause__)
    assert outer.status == "lost"
    assert db.names() == []
    put(session, "again")
    session.commit()
    assert db.names() == ["again"]


def test_release_fails_on_the_second_of_two_databases(db: Database) -> None:
    """What the first has released it cannot undo alone: neither keeps anything."""
    first, second = db.engine(name="first"), create_engine("sqlite://", name="second")
    second.execute("create table item (id integer primary key, name text, price real)")
    with pytest.raises(TransactionLostError), Registry({"first": first, "second": second}).begin() as session:
        session.execute(INSERT, {"name": "outer"}, bind="first")
        mend = break_off(second, "release")
        with pytest.raises(Error, match="RELEASE"), session.begin_nested():
            session.execute(INSERT, {"name": "inner"}, bind="first")
            session.execute(INSERT, {"name": "inner"}, bind="second")
        mend()
    assert db.names() == second.execute("select name from item").scalars() == []
    second.dispose()


def test_a_fault_in_every_word_of_the_fake(fake: Engine) -> None:
    """ROLLBACK TO fails once; the outer block says so and rolls back."""
    fake.driver.fail("rollback_to", FakeError("error"))  # type: ignore[attr-defined]
    with pytest.raises(TransactionLostError), fake.begin() as session:
        session.execute("insert a")
        with pytest.raises(ValueError), session.begin_nested():
            session.execute("insert b")
            raise ValueError
    assert fake.driver.words()[-1] == "rollback"  # type: ignore[attr-defined]


# -- a rollback that did not roll back


def raw_commit(session: Session) -> None:
    """What nobody can see: the driver's own connection commits."""
    session.connection().driver_connection.commit()


def procedure_commits(session: Session) -> None:
    """What nobody can see: a procedure commits."""
    session.execute("call c()")


def ended_unseen(database: Database) -> Callable[[Session], None]:
    """Return what ends the transaction without being seen."""
    if database.kind != "mariadb":
        return raw_commit
    database.main.execute("drop procedure if exists c")
    database.main.execute("create procedure c() commit")
    return procedure_commits


def test_rollback_says_that_it_came_too_late(db: Database) -> None:
    """What was written before may be kept, and here it is; afterwards the session works, and neither kind of hook has run."""
    end = ended_unseen(db)
    session = db.main.session()
    ran: list[str] = []
    session.after_rollback(lambda: ran.append("rollback"))
    session.after_commit(lambda: ran.append("commit"))
    put(session, "kept")
    end(session)
    with pytest.raises(TransactionLostError, match=r"nobody saw.*may be kept"):
        session.rollback()
    assert (db.names(), ran) == (["kept"], [])
    put(session, "b")
    session.rollback()
    assert db.names() == ["kept"]


def test_the_first_statement_commits_by_itself(mariadb: Database) -> None:
    """A CALL after which nothing is open may have committed."""
    mariadb.main.execute("drop procedure if exists c2")
    mariadb.main.execute("create procedure c2() begin insert into item (name, price) values ('x', 1); commit; end")
    session = mariadb.main.session()
    session.execute("call c2()")
    with pytest.raises(TransactionLostError, match="may be kept"):
        session.rollback()
    assert mariadb.names() == ["x"]


def test_a_procedure_that_touches_nothing_is_no_alarm(mariadb: Database) -> None:
    """Nothing was open and nothing was written, and the rollback is quiet; it takes no round trip more."""
    mariadb.main.execute("drop procedure if exists c3")
    mariadb.main.execute("create procedure c3() begin set @a = 1; select @a; end")
    with Proxy(mariadb.server.port) as proxy:
        engine = mariadb.through(proxy, keep_state=True)
        engine.ping()
        before = proxy.trips
        with engine.session() as session:
            assert session.execute("call c3()").scalar() == 1
            session.rollback()
        assert proxy.trips - before == 2
        engine.dispose()


def test_a_failed_statement_that_undid_all_is_no_surprise(sqlite: Database) -> None:
    """OR ROLLBACK says itself that it rolls back."""
    put(sqlite.main, "a")
    session = sqlite.main.session()
    put(session, "b")
    with pytest.raises(Error):
        session.execute("insert or rollback into item (name, price) values ('a', 1)")
    session.rollback()
    assert sqlite.names() == ["a"]


def test_a_procedure_that_commits_and_then_fails(mariadb: Database) -> None:
    """The failed CALL undid nothing of what it had committed."""
    mariadb.main.execute("drop procedure if exists f")
    mariadb.main.execute("create procedure f() begin commit; signal sqlstate '45000' set message_text = 'no'; end")
    session = mariadb.main.session()
    put(session, "a")
    with pytest.raises(Error):
        session.execute("call f()")
    with pytest.raises(TransactionLostError, match=r"may have committed.*may be kept"):
        session.rollback()
    assert mariadb.names() == ["a"]


@pytest.mark.parametrize("nested", [False, True], ids=["outer", "nested"])
def test_a_block_left_by_an_exception_notes_it(db: Database, nested: bool) -> None:
    """The exception goes on, with what is known of the work."""
    end = ended_unseen(db)
    with pytest.raises(KeyError) as caught, db.main.begin() as session:
        put(session, "kept")
        if nested:
            with session.begin_nested():
                put(session, "inner")
                end(session)
                raise KeyError
        end(session)
        raise KeyError
    assert len(caught.value.__notes__) == 1
    assert "may be kept" in caught.value.__notes__[0]
    assert db.names() == (["kept", "inner"] if nested else ["kept"])


def test_raising_rollback_says_it(db: Database) -> None:
    """The block cannot end quietly: it did not undo."""
    end = ended_unseen(db)
    with pytest.raises(TransactionLostError, match="may be kept"), db.main.begin() as session:
        put(session, "kept")
        end(session)
        raise Rollback


@pytest.mark.parametrize("way", ["close", "reset", "invalidate", "with"])
def test_close_and_its_kin_log_and_warn(db: Database, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """They do not raise."""
    end = ended_unseen(db)
    session = db.main.session()
    put(session, "kept")
    end(session)
    with caplog.at_level(logging.WARNING), pytest.warns(UncommittedWorkWarning, match="may be kept") as warned:
        session.__exit__(None, None, None) if way == "with" else getattr(session, way)()
    assert len(warned) == 1
    assert "did not undo everything" in caplog.text
    assert warned[0].filename == __file__
    assert db.names() == ["kept"]


def test_a_failing_last_rollback_is_noted_on_what_left_the_session(db: Database) -> None:
    """As in a block of a transaction: the body's exception goes on, and says that cleaning up failed."""
    engine = db.engine()
    with pytest.raises(KeyError) as caught, engine.session() as session:
        put(session, "lost")
        mend = break_off(engine, "rollback")
        raise KeyError
    mend()
    (told,) = caught.value.__notes__
    assert told.startswith("while cleaning up: ")
    assert told.endswith('broken off in "ROLLBACK"')
    assert db.names() == []


def test_a_select_hides_nothing(mariadb: Database) -> None:
    """Rows bring no flag; but the flag had said that the transaction ended."""
    session = mariadb.main.session()
    put(session, "kept")
    conn = session.connection().driver_connection
    conn.commit()
    with conn.cursor() as cursor:
        cursor.execute("select 1")
    with pytest.raises(TransactionLostError, match="may be kept"):
        session.rollback()


def test_the_raw_connection_is_in_the_transaction(db: Database) -> None:
    """Also when nothing has run yet: what a client does on it is rolled back with the session."""
    session = db.main.session()
    conn = session.connection().driver_connection
    cursor = conn.cursor()
    cursor.execute("insert into item (name, price) values ('a', 1)")
    cursor.close()
    session.rollback()
    assert db.names() == []
    conn = session.connection().driver_connection
    cursor = conn.cursor()
    cursor.execute("insert into item (name, price) values ('a', 1)")
    cursor.close()
    conn.commit()
    with pytest.raises(TransactionLostError, match="may be kept"):
        session.rollback()
    assert db.names() == ["a"]


# -- tables without transactions


@pytest.fixture(params=["MyISAM", "MEMORY", "Aria"])
def lasting(request: pytest.FixtureRequest, mariadb: Database) -> str:
    """A table without transactions."""
    mariadb.main.execute("drop table if exists lasting")
    mariadb.main.execute(f"create table lasting (a int) engine={request.param}")
    return "insert into lasting values (1)"


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with others"])
def test_rollback_names_the_tables_that_keep_something(mariadb: Database, lasting: str, alone: bool) -> None:
    """The server says it in a warning count; only then it is asked."""
    session = mariadb.main.session()
    if not alone:
        put(session, "undone")
    session.execute(lasting)
    with pytest.raises(RollbackIncompleteError, match=r"without transactions .*: lasting;") as caught:
        session.rollback()
    assert caught.value.tables == ["lasting"]
    assert mariadb.names() == []
    assert mariadb.main.execute("select count(*) from lasting").scalar() == 1
    put(session, "b")
    session.commit()


def test_blocks_and_close_tell_of_such_tables(
    mariadb: Database, lasting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each in its way, also for a savepoint."""
    with pytest.raises(RollbackIncompleteError), mariadb.main.begin() as session:
        session.execute(lasting)
        raise Rollback
    with pytest.raises(KeyError) as caught, mariadb.main.begin() as session:
        session.execute(lasting)
        raise KeyError
    assert "RollbackIncompleteError" in caught.value.__notes__[0]
    with mariadb.main.begin() as session:
        put(session, "outer")
        nested = session.begin_nested()
        session.execute(lasting)
        with pytest.raises(RollbackIncompleteError, match="lasting"):
            nested.rollback()
    assert mariadb.names() == ["outer"]
    session = mariadb.main.session()
    session.execute(lasting)
    with pytest.warns(UncommittedWorkWarning, match="without transactions"):
        session.close()
    assert "did not undo everything" in caplog.text


def test_committing_to_such_tables_is_quiet(mariadb: Database, lasting: str) -> None:
    """It is what was asked for."""
    with mariadb.main.begin() as session:
        session.execute(lasting)
    assert mariadb.main.execute("select count(*) from lasting").scalar() == 1
