"""Begin, commit, roll back, nest: the same on every database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import sessionkit
from sessionkit import (
    DeadlockError,
    ForeignKeyViolation,
    ImplicitCommitError,
    InvalidRequestError,
    PartialCommitError,
    Registry,
    Rollback,
    TransactionAbortedError,
    TransactionLostError,
    UncommittedWorkWarning,
    UniqueViolation,
)

from .conftest import Item

if TYPE_CHECKING:
    from sessionkit import Engine, Session

    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, 1)"


def put(session: Session, name: str) -> None:
    """Insert a row."""
    session.execute(INSERT, {"name": name})


# -- the lease lasts as long as the transaction


def test_begin_without_sql_takes_no_connection(db: Database) -> None:
    """The first statement takes the connection, and commit gives it back."""
    engine = db.engine()
    with engine.session() as session:
        with session.begin():
            before = engine.pool.stats()["used"]
            session.execute("select 1")
            during = engine.pool.stats()["used"]
        after = engine.pool.stats()["used"]
    assert (before, during, after) == (0, 1, 0)


def test_a_session_that_does_nothing_connects_to_nothing(fake: Engine) -> None:
    """Built, entered, committed, rolled back, closed: the driver's connect was never called."""
    with fake.session() as session, session.begin():
        pass
    session.commit()
    session.rollback()
    session.close()
    assert fake.driver.words() == []


def test_commit_and_rollback_with_nothing_begun_do_nothing(fake: Engine) -> None:
    """No SQL, no error."""
    session = fake.session()
    session.commit()
    session.rollback()
    assert (fake.driver.words(), session.in_transaction()) == ([], False)


def test_a_failing_begin_costs_the_connection_and_nothing_else(fake: Engine) -> None:
    """The error comes out, the connection is not pooled, the next statement works on a new one."""
    fake.driver.fail("begin")
    with fake.session() as session:
        with pytest.raises(sessionkit.DatabaseError):
            session.execute("select 1")
        assert session.execute("select 1").scalar() == 1
        session.commit()
    assert [conn.closed for conn in fake.driver.connections] == [True, False]


def test_autobegin_off_refuses_statements_outside_a_block(db: Database) -> None:
    """Until begin(), and again after commit, rollback and reset."""
    session = db.main.session(autobegin=False)
    for end in (session.commit, session.rollback, session.reset):
        for call in (
            lambda: session.execute("select 1"),
            lambda: session.get(Item, 1),
            lambda: session.insert(Item("a", 1)),
        ):
            with pytest.raises(InvalidRequestError, match="autobegin=False"):
                call()
        session.begin()
        assert session.scalar("select 1") == 1
        end()
    session.close()


# -- commit and rollback


def test_commit_keeps_and_close_drops(db: Database) -> None:
    """A committed row is there; one that was not is gone, and the warning names its statement."""
    with db.main.session() as session:
        put(session, "kept")
        session.commit()
        put(session, "dropped")
        with pytest.warns(UncommittedWorkWarning, match="insert into item"):
            session.close()
    assert db.names() == ["kept"]


def test_a_block_commits_an_earlier_read(db: Database) -> None:
    """A read begins by itself; a block after it takes that over and commits it."""
    with db.main.session() as session:
        session.execute("select 1 from item").all()
        with session.begin() as tx:
            put(session, "tea")
        assert tx.status == "committed"
    assert db.names() == ["tea"]


def test_rollback_inside_a_block_undoes_and_stops_there(db: Database) -> None:
    """`raise Rollback` is no error: nothing is written, nothing comes out."""
    with db.main.session() as session:
        with session.begin() as tx:
            put(session, "tea")
            raise Rollback
        assert tx.status == "rolled back"
        put(session, "mate")
        session.commit()
    assert db.names() == ["mate"]


def test_an_exception_rolls_a_block_back_and_comes_out(db: Database) -> None:
    """KeyboardInterrupt too."""
    for error in (ValueError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()):
        with pytest.raises(type(error)) as caught:
            with db.main.begin() as session:
                put(session, "tea")
                raise error
        assert caught.value is error
    assert db.names() == []


def test_commit_and_rollback_inside_a_block_are_refused(db: Database) -> None:
    """The message says how to leave, and the block still works."""
    with db.main.session() as session, session.begin():
        put(session, "tea")
        with pytest.raises(InvalidRequestError, match="leave the block"):
            session.commit()
        with pytest.raises(InvalidRequestError, match="Rollback"):
            session.rollback()
        put(session, "mate")
    assert db.names() == ["tea", "mate"]


def test_a_failing_commit_leaves_the_session_idle(fake: Engine) -> None:
    """COMMIT raises: that error comes out, the transaction is gone, the next statement works."""
    session = fake.session()
    session.execute("insert")
    fake.driver.fail("commit")
    with pytest.raises(sessionkit.DatabaseError, match="fake error"):
        session.commit()
    assert not session.in_transaction()
    assert fake.pool.stats()["used"] == 0
    session.execute("select 1")
    session.commit()


def test_a_connection_lost_in_commit_is_an_unknown_commit(fake: Engine) -> None:
    """Nobody knows: CommitUnknownError, status unknown, neither kind of hook, the connection closed."""
    ran: list[str] = []
    session = fake.session()
    with pytest.raises(sessionkit.CommitUnknownError):
        with session.begin() as tx:
            session.execute("insert")
            session.after_commit(lambda: ran.append("commit"))
            session.after_rollback(lambda: ran.append("rollback"))
            fake.driver.fail("commit", sessionkit.testing.FakeError("gone"))
    assert (tx.status, ran, fake.driver.open_connections()) == ("unknown", [], 0)


def test_a_failing_rollback_costs_the_connection(fake: Engine) -> None:
    """ROLLBACK raises in rollback(): the error comes out, the connection is closed, the next statement uses a new one."""
    session = fake.session()
    session.execute("insert")
    fake.driver.fail("rollback")
    with pytest.raises(sessionkit.DatabaseError):
        session.rollback()
    assert fake.driver.open_connections() == 0
    session.execute("select 1")
    session.commit()
    assert len(fake.driver.connections) == 2


def test_a_failing_rollback_never_replaces_the_exception_in_flight(
    fake: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The body's error comes out with a note, the connection is discarded, the failure is logged."""
    with pytest.raises(ValueError, match="mine") as caught:
        with fake.begin() as session:
            session.execute("insert")
            fake.driver.fail("rollback")
            raise ValueError("mine")
    assert "cleaning up" in caught.value.__notes__[0]
    assert fake.driver.open_connections() == 0
    assert "cleaning up failed after ValueError" in caplog.text


def test_sqlite_a_deferred_constraint_at_the_end_of_a_block(sqlite: Database) -> None:
    """COMMIT refused leaves SQLite's transaction open: it is rolled back, and another connection gets the lock at once."""
    sqlite.main.execute("create table late (item_id integer references item (id) deferrable initially deferred)")
    with pytest.raises(ForeignKeyViolation):
        with sqlite.main.begin() as session:
            session.execute("insert into late values (99)")
    assert not session.in_transaction()
    with sqlite.engine(busy_timeout=0).begin() as other:
        put(other, "tea")
    assert sqlite.names() == ["tea"]


def test_postgres_a_deferred_constraint_at_commit(postgres: Database) -> None:
    """The error is the constraint's, and the session is idle."""
    postgres.main.execute("drop table if exists late")
    postgres.main.execute("create table late (item_id integer references item (id) deferrable initially deferred)")
    try:
        with pytest.raises(ForeignKeyViolation):
            with postgres.main.begin() as session:
                session.execute("insert into late values (99)")
        assert not session.in_transaction()
    finally:
        postgres.main.execute("drop table late")


@pytest.mark.parametrize("in_block", [False, True], ids=["commit", "block"])
def test_postgres_a_swallowed_error_is_no_commit(postgres: Database, in_block: bool) -> None:
    """The server would answer ROLLBACK and no error: TransactionAbortedError, its cause is the first failure."""
    put_first = {"id": 1}
    with postgres.main.session() as session:
        with pytest.raises(TransactionAbortedError) as caught:
            if in_block:
                with session.begin():
                    _insert_twice(session, put_first)
            else:
                _insert_twice(session, put_first)
                session.commit()
        assert isinstance(caught.value.__cause__, UniqueViolation)
        assert not session.in_transaction()
    assert postgres.names() == []


def _insert_twice(session: Session, row: dict[str, int]) -> None:
    for _ in range(2):
        try:
            session.execute("insert into item (id, name, price) values (:id, 'x', 1)", row)
        except UniqueViolation:
            pass


def test_postgres_a_statement_after_an_error_names_the_first_one(postgres: Database) -> None:
    """It is refused before it is sent, with the first error as its cause; rollback() recovers."""
    with postgres.main.session() as session:
        with pytest.raises(sessionkit.ProgrammingError) as first:
            session.execute("select nonsense")
        with pytest.raises(TransactionAbortedError) as second:
            session.execute("select 1")
        assert second.value.__cause__ is first.value
        assert not session.is_active
        session.rollback()
        assert session.is_active
        assert session.scalar("select 1") == 1


def test_an_error_caught_outside_the_nested_block_keeps_the_outer_rows(db: Database) -> None:
    """The savepoint is undone; the outer block commits."""
    with db.main.begin() as session:
        put(session, "outer")
        with pytest.raises(UniqueViolation):
            with session.begin_nested():
                put(session, "inner")
                put(session, "outer")
        put(session, "after")
    assert db.names() == ["outer", "after"]


def test_postgres_an_error_swallowed_inside_the_nested_block_undoes_it(postgres: Database) -> None:
    """The inner block cannot end well; the outer one can."""
    with postgres.main.begin() as session:
        put(session, "outer")
        with pytest.raises(TransactionAbortedError) as caught:
            with session.begin_nested():
                try:
                    put(session, "outer")
                except UniqueViolation:
                    pass
        assert isinstance(caught.value.__cause__, UniqueViolation)
    assert postgres.names() == ["outer"]


def test_two_databases_the_second_commit_fails() -> None:
    """PartialCommitError says which committed and which did not."""
    one, two = sessionkit.testing.FakeDriver(), sessionkit.testing.FakeDriver()
    registry = Registry()
    for name, driver in (("one", one), ("two", two)):
        registry.add(name, "fake://", driver=driver)
    with pytest.raises(PartialCommitError) as caught:
        with registry.begin() as session:
            session.execute("insert", bind="one")
            session.execute("insert", bind="two")
            two.fail("commit")
    assert (caught.value.committed, caught.value.failed) == (["one"], "two")
    assert isinstance(caught.value.__cause__, sessionkit.DatabaseError)
    assert (one.words()[-1], two.words()[-2:]) == ("commit", ["commit", "rollback"])
    one.verify()
    two.verify()


def test_a_database_that_could_not_be_reached_has_committed_nothing() -> None:
    """The other one's COMMIT fails: that is its own error, and no partial commit."""
    one, two = sessionkit.testing.FakeDriver(), sessionkit.testing.FakeDriver()
    registry = Registry()
    for name, driver in (("one", one), ("two", two)):
        registry.add(name, "fake://", driver=driver)
    two.fail("connect")
    with pytest.raises(sessionkit.DatabaseError) as caught:
        with registry.begin() as session:
            with pytest.raises(sessionkit.DatabaseError):
                session.execute("select 1", bind="two")
            session.execute("insert", bind="one")
            one.fail("commit")
    assert type(caught.value) is sessionkit.DatabaseError
    one.verify()


# -- nesting


def test_inner_fails_middle_catches(db: Database) -> None:
    """Outer's and middle's rows are kept, not inner's."""
    with db.main.begin() as session:
        put(session, "outer")
        with session.begin():
            put(session, "middle")
            with pytest.raises(KeyError):
                with session.begin():
                    put(session, "inner")
                    raise KeyError
            put(session, "more")
    assert db.names() == ["outer", "middle", "more"]


def test_an_exception_passes_two_blocks(db: Database) -> None:
    """Caught in the outer block: only its rows are kept."""
    with db.main.begin() as session:
        put(session, "outer")
        with pytest.raises(KeyError):
            with session.begin_nested():
                put(session, "middle")
                with session.begin_nested():
                    put(session, "inner")
                    raise KeyError
    assert db.names() == ["outer"]


def test_two_hundred_nested_blocks(db: Database) -> None:
    """Half of them fail: exactly the good rows are kept, and no savepoint is left."""
    with db.main.begin() as session:
        for number in range(200):
            with session.begin_nested():
                put(session, f"n{number}")
                if number % 2:
                    raise Rollback
        link = next(iter(session._stack.links.values()))
        assert link.depth == 0
    assert db.names() == [f"n{number}" for number in range(0, 200, 2)]


def test_nested_blocks_without_statements_send_nothing(fake: Engine) -> None:
    """A savepoint is set by the first statement inside its block."""
    with fake.begin() as session:
        session.execute("select 1")
        with session.begin_nested(), session.begin_nested():
            pass
    assert fake.driver.words() == ["connect", "begin", "select", "commit"]


def test_savepoints_are_released_after_a_rollback_to_them(fake: Engine) -> None:
    """Names are unique in the session."""
    with fake.begin() as session:
        for _ in range(2):
            with session.begin_nested():
                session.execute("insert")
                raise Rollback
    assert fake.driver.words() == [
        "connect", "begin", "savepoint sk_1", "insert", "rollback_to sk_1",
        "savepoint sk_2", "insert", "rollback_to sk_2", "commit",
    ]  # fmt: skip


def test_an_outer_handle_ended_before_an_inner_one(db: Database) -> None:
    """One clear error; rollback() makes the session usable."""
    with db.main.session() as session:
        outer = session.begin()
        put(session, "a")
        inner = session.begin_nested()
        put(session, "b")
        with pytest.raises(InvalidRequestError, match="still open"):
            outer.commit()
        session.rollback()
        assert (outer.status, inner.status) == ("rolled back", "rolled back")
        put(session, "c")
        session.commit()
    assert db.names() == ["c"]


def test_handles_commit_and_roll_back(db: Database) -> None:
    """Without `with`, a handle is ended once, and tells its fate."""
    with db.main.session() as session:
        outer = session.begin()
        put(session, "a")
        inner = session.begin_nested()
        put(session, "b")
        inner.rollback()
        second = session.begin_nested()
        put(session, "c")
        second.commit()
        outer.commit()
        assert [tx.status for tx in (outer, inner, second)] == ["committed", "rolled back", "committed"]
        for end in (outer.commit, outer.rollback, inner.commit):
            with pytest.raises(InvalidRequestError, match="already"):
                end()
    assert db.names() == ["a", "c"]


def test_a_handle_entered_twice(fake: Engine) -> None:
    """A clear error, and no SQL."""
    with fake.session() as session:
        with session.begin() as tx:
            with pytest.raises(InvalidRequestError, match="already"):
                tx.__enter__()
        with pytest.raises(InvalidRequestError, match="committed already"):
            tx.__enter__()
    assert fake.driver.words() == []


def test_a_block_that_ends_with_an_inner_handle_open(db: Database) -> None:
    """It is rolled back, and raises."""
    with db.main.session() as session:
        with pytest.raises(InvalidRequestError, match="rolled back"):
            with session.begin():
                put(session, "a")
                session.begin_nested()
                put(session, "b")
        assert not session.in_transaction()
    assert db.names() == []


def test_a_lone_begin_nested_is_the_outer_block(db: Database) -> None:
    """Its work is kept."""
    with db.main.session() as session:
        with session.begin_nested():
            put(session, "a")
    assert db.names() == ["a"]


def test_in_transaction_tells_the_levels(db: Database) -> None:
    """in_transaction, in_nested_transaction, get_transaction."""
    with db.main.session() as session:
        seen = [(session.in_transaction(), session.in_nested_transaction(), session.get_transaction())]
        with session.begin() as tx:
            seen.append((session.in_transaction(), session.in_nested_transaction(), session.get_transaction()))
            with session.begin_nested():
                seen.append((session.in_transaction(), session.in_nested_transaction(), session.get_transaction()))
    assert seen == [(False, False, None), (True, False, tx), (True, True, tx)]


# -- what servers do behind one's back


def test_mariadb_a_deadlock_inside_a_nested_block(mariadb: Database) -> None:
    """The victim sees DeadlockError; the outer block refuses statements and cannot commit; nothing of it is visible."""
    engine = mariadb.engine()
    for name in ("a", "b"):
        with engine.begin() as session:
            put(session, name)
    barrier = threading.Barrier(2, timeout=20)
    seen: dict[str, list[BaseException]] = {"x": [], "y": []}

    def work(me: str, first: str, second: str) -> None:
        session = engine.session()
        try:
            with session.begin():
                put(session, f"new-{me}")
                try:
                    with session.begin_nested():
                        session.execute("update item set price = price + 1 where name = ?", (first,))
                        barrier.wait()
                        session.execute("update item set price = price + 1 where name = ?", (second,))
                except DeadlockError as exc:
                    seen[me].append(exc)
                    try:
                        put(session, f"alone-{me}")
                    except TransactionLostError as lost:
                        seen[me].append(lost)
        except TransactionLostError as exc:
            seen[me].append(exc)
        session.execute("select 1")
        session.close()

    threads = [threading.Thread(target=work, args=args) for args in (("x", "a", "b"), ("y", "b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    victim, winner = ("x", "y") if seen["x"] else ("y", "x")
    assert [type(exc) for exc in seen[victim]] == [DeadlockError, TransactionLostError, TransactionLostError]
    assert seen[victim][2].__cause__ is seen[victim][0]
    assert seen[winner] == []
    assert mariadb.names() == ["a", "b", f"new-{winner}"]


def test_mariadb_ddl_after_a_write_is_refused_before_it_is_sent(mariadb: Database) -> None:
    """The insert can still be rolled back."""
    with mariadb.main.session() as session:
        put(session, "a")
        with pytest.raises(ImplicitCommitError, match="create table other"):
            session.execute("create table other (id int)")
        session.rollback()
    assert mariadb.names() == []


def test_mariadb_ddl_in_a_block_is_refused(mariadb: Database) -> None:
    """With nothing written yet too: the block could not be undone."""
    with mariadb.main.begin() as session:
        with pytest.raises(ImplicitCommitError):
            session.execute("truncate table tag")
        put(session, "a")
    assert mariadb.names() == ["a"]


def test_mariadb_ddl_first_is_harmless(mariadb: Database) -> None:
    """As the first statement of a session, after a read too: it runs, and the session stands as before."""
    try:
        with mariadb.main.session() as session:
            session.execute("select count(*) from item")
            session.execute("create table other (id int)")
            assert not session.in_transaction()
            session.execute("create temporary table mine (id int)")
            put(session, "a")
            session.commit()
    finally:
        mariadb.main.execute("drop table if exists other")
    assert mariadb.names() == ["a"]


def test_mariadb_ddl_hidden_in_a_procedure_is_found_out(mariadb: Database) -> None:
    """The flag of the server tells: the next statement raises TransactionLostError."""
    mariadb.main.execute("drop procedure if exists hidden")
    mariadb.main.execute("drop table if exists other")
    mariadb.main.execute("create procedure hidden() begin create table other (id int); end")
    try:
        with mariadb.main.session() as session:
            put(session, "a")
            session.execute("call hidden()")
            with pytest.raises(TransactionLostError):
                put(session, "b")
            session.rollback()
        assert mariadb.names() == ["a"]
    finally:
        mariadb.main.execute("drop procedure hidden")
        mariadb.main.execute("drop table if exists other")


@pytest.mark.parametrize("in_block", [False, True], ids=["commit", "block"])
def test_sqlite_or_rollback_swallowed(sqlite: Database, in_block: bool) -> None:
    """`insert or rollback` ends the transaction: a later insert is not written outside of it, and commit raises."""
    with sqlite.main.session() as session:
        with pytest.raises(TransactionLostError) as caught:
            if in_block:
                with session.begin():
                    _or_rollback(session)
            else:
                _or_rollback(session)
                session.commit()
        assert isinstance(caught.value.__cause__, UniqueViolation)
    assert sqlite.names() == []


def test_sqlite_a_lost_transaction_says_so(sqlite: Database) -> None:
    """Its status is lost, not rolled back by us; its rollback hooks run."""
    ran: list[str] = []
    with sqlite.main.session() as session:
        with pytest.raises(TransactionLostError):
            with session.begin() as tx:
                session.after_rollback(lambda: ran.append("rollback"))
                session.after_commit(lambda: ran.append("commit"))
                _or_rollback(session)
    assert (tx.status, ran) == ("lost", ["rollback"])


def _or_rollback(session: Session) -> None:
    put(session, "a")
    with pytest.raises(UniqueViolation):
        session.execute("insert or rollback into item (name, price) values ('a', 1)")
    with pytest.raises(TransactionLostError):
        put(session, "b")


def test_transaction_words_as_statements_are_refused(db: Database) -> None:
    """COMMIT and its like would change the transaction behind the session's back."""
    with db.main.begin() as session:
        put(session, "a")
        for word in (
            "commit",
            "ROLLBACK",
            "begin",
            "start transaction",
            "savepoint x",
            "/* c */ end",
            "release savepoint x",
        ):
            with pytest.raises(InvalidRequestError, match="behind the session's back"):
                session.execute(word)
        raise Rollback
    assert db.names() == []


def test_isolation_and_read_only_hold_for_one_transaction(server_db: Database) -> None:
    """Asked for with begin(), in any spelling; gone for the next borrower of the connection."""
    engine = server_db.engine(pool_size=1)
    show = {
        "postgres": "show transaction_isolation",
        "mariadb": "show variables where variable_name in ('tx_isolation', 'transaction_isolation')",
    }[server_db.kind]
    with engine.session() as session:
        before = session.execute(show).tuples()
        session.commit()
        with session.begin(isolation_level="serializable", read_only=True):
            during = session.scalar(show) if server_db.kind == "postgres" else None
            with pytest.raises(sessionkit.ReadOnlyError):
                put(session, "a")
            raise Rollback
        after = session.execute(show).tuples()
        put(session, "b")
        session.commit()
    assert (during, after) == ("serializable" if server_db.kind == "postgres" else None, before)
    assert server_db.names() == ["b"]


def test_sqlite_read_only_is_undone(sqlite: Database) -> None:
    """`query_only` does not outlive the transaction."""
    engine = sqlite.engine(pool_size=1)
    with pytest.raises(sessionkit.ReadOnlyError):
        with engine.begin(read_only=True) as session:
            put(session, "a")
    with engine.begin() as session:
        put(session, "b")
    assert sqlite.names() == ["b"]


def test_isolation_is_refused_where_it_makes_no_sense(db: Database) -> None:
    """After a statement, on a savepoint, and an unknown word."""
    with db.main.session() as session:
        with pytest.raises(sessionkit.ArgumentError, match="SERIALIZABLE"):
            session.begin(isolation_level="chaos")
        session.execute("select 1")
        with pytest.raises(InvalidRequestError, match="has run"):
            session.begin(isolation_level="SERIALIZABLE")
        with session.begin():
            with pytest.raises(InvalidRequestError, match="savepoint"):
                session.begin(read_only=True)


def test_weaker_levels_are_raised_to_what_the_database_has(db: Database) -> None:
    """One spelling for all databases."""
    for level in ("read uncommitted", "READ_COMMITTED", "repeatable-read", "Serializable"):
        with db.main.begin(isolation_level=level) as session:
            assert session.scalar("select 1") == 1


def test_sqlite_a_read_cannot_be_upgraded_when_its_snapshot_is_old(sqlite: Database) -> None:
    """SerializationError: what was read is stale; the session goes on after a rollback."""
    with sqlite.main.session() as session:
        session.execute("select * from item").all()
        with sqlite.engine().begin() as other:
            put(other, "newer")
        with pytest.raises(sessionkit.SerializationError):
            put(session, "mine")
        session.rollback()
        put(session, "mine")
        session.commit()
    assert sqlite.names() == ["newer", "mine"]


def test_sqlite_readers_never_queue_behind_a_writer(sqlite: Database) -> None:
    """A session that begins by itself with a read starts deferred; one that writes takes the lock at once."""
    other = sqlite.engine(busy_timeout=0)
    with sqlite.main.begin() as session:
        put(session, "a")
        with other.session() as reader:
            assert reader.scalars("select name from item") == []
        with other.begin(read_only=True) as reader:
            assert reader.scalars("select name from item") == []
        with pytest.raises(sessionkit.LockTimeoutError):
            with other.begin() as writer:
                writer.execute("select 1")
    assert sqlite.names() == ["a"]


# -- hooks


def test_hooks_of_savepoints_share_the_fate_of_their_level(db: Database) -> None:
    """A rolled-back savepoint's commit hook never runs; a released one's runs once, after the commit."""
    ran: list[str] = []
    engine = db.engine(pool_size=1)

    def opens_its_own() -> None:
        with engine.session() as other:
            ran.append(f"free: {other.scalar('select count(*) from item')}")

    with engine.begin() as session:
        put(session, "a")
        with session.begin_nested():
            session.after_commit(lambda: ran.append("dropped"))
            session.after_rollback(lambda: ran.append("inner rolled back"))
            raise Rollback
        with session.begin_nested():
            put(session, "b")
            session.after_commit(opens_its_own)
            session.after_rollback(lambda: ran.append("never"))
        assert ran == []
    assert ran == ["free: 2", "inner rolled back"]


def test_a_released_savepoint_in_a_rolled_back_block_runs_no_commit_hook(fake: Engine) -> None:
    """Its rollback hook runs."""
    ran: list[str] = []
    with fake.begin() as session:
        with session.begin_nested():
            session.execute("insert")
            session.after_commit(lambda: ran.append("commit"))
            session.after_rollback(lambda: ran.append("rollback"))
        raise Rollback
    assert ran == ["rollback"]


def test_the_first_hook_raises_and_the_second_runs(db: Database) -> None:
    """The error reaches the caller, the data is committed, the session is idle."""
    ran: list[str] = []

    def fails() -> None:
        raise ValueError("hook")

    with db.main.session() as session:
        put(session, "a")
        session.after_commit(fails)
        session.after_commit(lambda: ran.append("second"))
        with pytest.raises(ValueError, match="hook"):
            session.commit()
        assert (ran, session.in_transaction()) == (["second"], False)
    assert db.names() == ["a"]


def test_several_failing_hooks_come_out_together(fake: Engine) -> None:
    """As an exception group."""

    def fails() -> None:
        raise ValueError("hook")

    session = fake.session()
    session.execute("select 1")
    session.after_commit(fails)
    session.after_commit(fails)
    with pytest.raises(ExceptionGroup) as caught:
        session.commit()
    assert [type(exc) for exc in caught.value.exceptions] == [ValueError, ValueError]


def test_hooks_may_close_the_session(db: Database) -> None:
    """From an after_commit or an after_rollback hook: fine, and nothing is wedged."""
    session = db.main.session()
    for end, register in ((session.commit, session.after_commit), (session.rollback, session.after_rollback)):
        session.execute("select 1")
        register(session.close)
        end()
        assert session.scalar("select 1") == 1
        session.commit()


def test_registering_a_hook_begins(fake: Engine) -> None:
    """With nothing begun a transaction begins, and no connection is taken."""
    ran: list[str] = []
    session = fake.session()
    session.after_commit(lambda: ran.append("commit"))
    assert session.in_transaction()
    session.commit()
    assert (ran, fake.driver.words()) == (["commit"], [])
