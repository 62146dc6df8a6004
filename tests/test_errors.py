"""The same mistake gives the same error on every database that can tell; nothing secret is shown."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import errors

from .conftest import SLEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Session

    from .conftest import Database

SECRET = "hunter2"


def put(session: Session, name: str | None, price: float = 1) -> None:
    """Insert a row."""
    session.execute("insert into item (name, price) values (:name, :price)", {"name": name, "price": price})


MISTAKES: dict[str, tuple[type[errors.Error], Callable[[Session], Any]]] = {
    "unique": (errors.UniqueViolation, lambda s: [put(s, SECRET), put(s, SECRET)]),
    "primary key": (errors.UniqueViolation, lambda s: [s.execute("insert into item (id, name, price) values (1, ?, 1)", (SECRET + str(i),)) for i in range(2)]),
    "foreign key": (errors.ForeignKeyViolation, lambda s: s.execute("insert into tag values (99, ?)", (SECRET,))),
    "not null": (errors.NotNullViolation, lambda s: s.execute("insert into item (name, price) values (?, ?)", (SECRET, None))),
    "check": (errors.CheckViolation, lambda s: put(s, SECRET, -1)),
    "syntax": (errors.ProgrammingError, lambda s: s.execute("selec :x", {"x": SECRET})),
    "no table": (errors.ProgrammingError, lambda s: s.execute("select * from nowhere where a = :x", {"x": SECRET})),
    "no column": (errors.ProgrammingError, lambda s: s.execute("select nowhere from item where name = :x", {"x": SECRET})),
    "bad value": (errors.DataError, lambda s: s.execute("select :x", {"x": object()})),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_same_mistake_is_the_same_error(db: Database, mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    """By its leaf class; with the driver's exception in .orig, and no value in our text, repr, notes or log."""
    expected, make = MISTAKES[mistake]
    caplog.set_level(logging.DEBUG, "sessionkit")
    engine = db.engine(echo=True)
    with pytest.raises(errors.Error) as caught, engine.begin() as session:
        make(session)
    error = caught.value
    assert type(error) is expected
    assert error.orig is not None
    assert error.__cause__ is error.orig
    assert error.statement
    if mistake != "bad value":
        assert error.sqlstate or error.code
    shown = [str(error), repr(error), *getattr(error, "__notes__", []), caplog.text]
    assert not any(SECRET in text for text in shown)
    assert engine.pool.stats()["used"] == 0


def test_postgres_serialization(postgres: Database) -> None:
    """Two transactions that cannot both have happened."""
    with postgres.main.begin() as session:
        put(session, "a")
        put(session, "b")
    with pytest.raises(errors.SerializationError):
        with postgres.main.begin(isolation_level="serializable") as one:
            one.scalar("select sum(price) from item")
            with postgres.engine().begin(isolation_level="serializable") as two:
                two.scalar("select sum(price) from item")
                put(two, "c")
            put(one, "d")


def test_postgres_codes_on_request(postgres: Database) -> None:
    """Every SQLSTATE of the table arrives as its class, raised by the server itself."""
    from sessionkit.drivers.base import SQLSTATES

    for state, expected in SQLSTATES.items():
        code = str(state) if len(str(state)) == 5 else f"{state}ABC"
        with pytest.raises(errors.Error) as caught, postgres.main.session() as session:
            session.execute(f"do $$ begin raise exception 'boo' using errcode = '{code}'; end $$")
        assert type(caught.value) is expected, code
        assert caught.value.sqlstate == code


def test_mariadb_codes_on_request(mariadb: Database) -> None:
    """Every error number of the table arrives as its class, signalled by the server itself."""
    from sessionkit.drivers._mysql_errors import CODES

    with mariadb.main.session() as session:
        for code, expected in CODES.items():
            with pytest.raises(errors.Error) as caught:
                session.execute(f"signal sqlstate 'HY000' set mysql_errno = {code}, message_text = 'boo'")
            assert type(caught.value) is expected, code
            assert caught.value.code == code
            session.rollback()


def test_lock_timeout(server_db: Database) -> None:
    """A row that somebody else holds."""
    with server_db.main.begin() as session:
        put(session, "a")
    setting = "set lock_timeout = 50" if server_db.kind == "postgres" else "set innodb_lock_wait_timeout = 1"
    impatient = server_db.engine(on_connect=setting)
    with server_db.main.begin() as holder:
        holder.execute("update item set price = 2")
        with pytest.raises(errors.LockTimeoutError), impatient.begin() as session:
            session.execute("update item set price = 3")


def test_sqlite_busy(sqlite: Database) -> None:
    """The write lock is somebody else's."""
    with sqlite.main.begin() as holder:
        put(holder, "a")
        with pytest.raises(errors.LockTimeoutError), sqlite.engine(busy_timeout=0).begin() as session:
            put(session, "b")


def test_deadlock(server_db: Database) -> None:
    """Exactly one of the two sees DeadlockError, and the other commits."""
    with server_db.main.begin() as session:
        put(session, "a")
        put(session, "b")
    barrier = threading.Barrier(2, timeout=20)
    engine = server_db.engine()
    outcomes: list[str] = []

    def work(first: str, second: str) -> None:
        try:
            with engine.begin() as session:
                session.execute("update item set price = price + 1 where name = ?", (first,))
                barrier.wait()
                session.execute("update item set price = price + 1 where name = ?", (second,))
        except errors.DeadlockError:
            outcomes.append("deadlock")
        else:
            outcomes.append("committed")

    threads = [threading.Thread(target=work, args=args) for args in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["committed", "deadlock"]
    assert server_db.main.execute("select price from item").scalars() == [2, 2]


def test_cancelled(server_db: Database) -> None:
    """By the server's own limit."""
    setting = {
        "postgres": "set statement_timeout = 50",
        "mariadb": "set @x = 0 /*M!, max_statement_time = 0.05 */ /*!80000 , max_execution_time = 50 */",
    }
    engine = server_db.engine(on_connect=setting[server_db.kind])
    with pytest.raises(errors.QueryCancelledError), engine.begin() as session:
        session.execute(SLEEP[server_db.kind])


def test_read_only_file(sqlite: Database) -> None:
    """A write to a file opened read-only, which WAL could not be set on."""
    with sqlite.main.begin() as session:
        put(session, "a")
    engine = sqlite.engine()
    engine.url.query["mode"] = "ro"
    with engine.session() as session:
        assert session.scalars("select name from item") == ["a"]
        with pytest.raises(errors.ReadOnlyError):
            put(session, "b")


@pytest.mark.parametrize("url", ["postgresql://app:hunter2@127.0.0.1:1/x", "mysql://app:hunter2@127.0.0.1:1/x"])
def test_nobody_listens(url: str) -> None:
    """DisconnectionError that says where, and no password."""
    engine = sessionkit.create_engine(url)
    with pytest.raises(errors.DisconnectionError) as caught:
        engine.execute("select 1")
    assert str(caught.value).startswith(f"connecting to {url.replace(SECRET, '***')}: ")
    assert "refused" in str(caught.value)
    assert SECRET not in repr(caught.value)
    stats = engine.pool.stats()
    assert (stats["open"], stats["used"]) == (0, 0)


def test_postgres_a_read_only_answer_replaces_the_connections(postgres: Database) -> None:
    """After a failover the old writer answers read-only on a live connection: it is not lent again."""
    engine = postgres.engine(pool_size=1, keep_state=True)
    engine.execute("set default_transaction_read_only = on")
    with pytest.raises(errors.ReadOnlyError), engine.begin() as session:
        put(session, "a")
    with engine.begin() as session:
        put(session, "b")
    with pytest.raises(errors.ReadOnlyError), engine.begin(read_only=True) as session:
        before = session.scalar("select pg_backend_pid()")
        put(session, "c")
    assert engine.execute("select pg_backend_pid()").scalar() == before  # it was asked for, so nothing is wrong
    assert postgres.names() == ["b"]


def test_unknown_database_and_user(server_db: Database) -> None:
    """OperationalError, not a disconnection: trying again will not help."""
    url = server_db.main.url
    place = f"{url.scheme}://{url.username}@{url.host}:{url.port}/nowhere"
    with pytest.raises(errors.OperationalError) as caught:
        sessionkit.create_engine(place).execute("select 1")
    assert type(caught.value) is errors.OperationalError


def test_postgres_too_many_connections(postgres: Database) -> None:
    """A refusal to connect comes without SQLSTATE, and is told by its text."""
    postgres.main.execute("drop role if exists limited")
    postgres.main.execute("create role limited login connection limit 0")
    url = postgres.main.url
    try:
        with pytest.raises(errors.TooManyConnectionsError):
            sessionkit.create_engine(f"postgresql://limited@{url.host}:{url.port}/postgres").execute("select 1")
    finally:
        postgres.main.execute("drop role limited")


def test_mariadb_too_many_connections(mariadb: Database) -> None:
    """By its error number."""
    mariadb.main.execute("drop user if exists limited")
    mariadb.main.execute("create user limited with max_user_connections 1")
    url = mariadb.main.url
    engine = sessionkit.create_engine(f"mysql://limited@{url.host}:{url.port}/")
    leases = [engine.pool.checkout()]
    try:
        with pytest.raises(errors.TooManyConnectionsError):
            engine.pool.checkout(0.2)  # it is tried again for so long
    finally:
        engine.pool.checkin(leases[0])
        engine.dispose()
        mariadb.main.execute("drop user limited")


class TimeIsUpError(Exception):
    """What a program's own signal handler raises; task queues have one like it."""


def test_a_signal_handlers_exception_comes_out_as_itself(db: Database) -> None:
    """It is no error of the database or of a value; the connection, in doubt, is not lent again, and the next block works."""

    def ring(*_: object) -> None:
        raise TimeIsUpError

    engine = db.engine(pool_size=1)
    slow = SLEEP[db.kind].replace(" sleep(10)", " sleep(1)")  # on PostgreSQL it is cancelled
    if db.kind == "sqlite":  # Python runs a handler only when the call has returned
        slow = "with recursive n(i) as (select 1 union all select i + 1 from n limit 3000000) select count(*) from n"
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(TimeIsUpError), engine.begin() as session:
            put(session, "a")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            session.execute(slow)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert engine.pool.stats()["open"] == 0
    with engine.begin() as session:
        put(session, "b")
    assert db.names() == ["b"]


@pytest.mark.parametrize("raised", [TimeIsUpError(), ValueError("of a handler")])
def test_a_signal_handlers_exception_during_commit(fake: sessionkit.Engine, raised: Exception) -> None:
    """Nobody knows what became of the transaction: its status says so, and no hook is run."""
    told: list[str] = []
    with fake.session() as session:
        transaction = session.begin()
        session.execute("insert")
        session.after_commit(lambda: told.append("committed"))
        session.after_rollback(lambda: told.append("rolled back"))
        fake.driver.fail("commit", raised)
        with pytest.raises(type(raised)) as caught:
            transaction.commit()
        assert caught.value is raised
        assert transaction.status == "unknown"
        assert raised.__notes__ == ["COMMIT was under way: whether it happened is not known"]
    assert told == []
    assert fake.pool.stats()["open"] == 0


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_signal_handlers_exception_in_a_statement_that_commits_by_itself(
    fake: sessionkit.Engine, autocommit: bool
) -> None:
    """The same note, where it may have committed: it was the statement, or the COMMIT behind it."""
    fake.driver.autocommit = autocommit
    for verb, may_have in (("execute", autocommit), ("commit", not autocommit)):
        if verb == "commit" and autocommit:
            continue
        raised = TimeIsUpError()
        fake.driver.fail(verb, raised)
        with pytest.raises(TimeIsUpError) as caught:
            fake.execute("insert")
        assert caught.value is raised
        wanted = "a statement that commits by itself was under way: whether it happened is not known"
        assert getattr(raised, "__notes__", []) == [wanted] * may_have
    raised = TimeIsUpError()
    fake.driver.fail("execute", raised)
    with pytest.raises(TimeIsUpError):
        fake.execute("select")
    assert not hasattr(raised, "__notes__")


def test_more_parameters_than_postgres_takes(postgres: Database) -> None:
    """Told before anything is sent: the transaction goes on, and nothing is tried again."""
    with postgres.main.begin() as session:
        put(session, "a")
        conn = session.scalar("select pg_backend_pid()")
        for names in (list(range(70_000)), list(range(65_536))):
            with pytest.raises(errors.ArgumentError, match="65535"):
                session.execute("select 1 where 1 in (:*ids)", {"ids": names})
        assert session.scalar("select 1 where 1 in (:*ids)", {"ids": list(range(65_535))}) == 1
        with pytest.raises(errors.ArgumentError, match="65535"):
            session.execute(f"select 1 where 1 in ({', '.join('?' * 65_536)})", list(range(65_536)))
        assert session.scalar("select pg_backend_pid()") == conn
    assert postgres.names() == ["a"]


@pytest.mark.parametrize("through", ["execute", "executemany", "cursor", "text"])
def test_a_statement_beyond_max_allowed_packet(mariadb: Database, through: str) -> None:
    """A server that is sent one hangs up; so it is not sent: DataError, the transaction stands, `run` tries once."""
    usual = mariadb.main.execute("select @@global.max_allowed_packet").scalar()
    limit = 1024 * 1024  # of new connections
    mariadb.main.execute(f"set global max_allowed_packet = {limit}")
    engine = mariadb.engine(pool_size=1)
    assert engine.execute("select @@max_allowed_packet").scalar() == limit
    mariadb.main.execute(f"set global max_allowed_packet = {usual}")
    large = "x" * limit
    calls: list[int] = []

    def work(session: Session) -> None:
        calls.append(1)
        put(session, "a")
        with pytest.raises(errors.DataError, match="max_allowed_packet") as caught:
            if through == "execute":
                session.execute("select length(:x)", {"x": large})
            elif through == "text":
                session.execute(f"select length('{large}')")
            elif through == "executemany":
                session.executemany("insert into item (name, price) values (:x, 1)", [{"x": "b"}, {"x": large}])
            else:
                session.cursor().execute("select length(%s)", (large,))
        assert SECRET not in str(caught.value)
        assert len(str(caught.value)) < 2000
        put(session, "c")
        if len(calls) == 1:
            raise caught.value

    with pytest.raises(errors.DataError):
        engine.run(work)
    assert calls == [1]
    assert engine.pool.stats()["open"] == 1
    assert mariadb.names() == []
    assert engine.execute("select length(:x)", {"x": large[:-100]}).scalar() == limit - 100


def test_a_value_that_fits_nowhere_dooms_nothing(db: Database) -> None:
    """Nothing was sent: the transaction goes on, on the same connection."""
    with db.main.begin() as session:
        put(session, "a")
        with pytest.raises(errors.DataError):
            put(session, object())  # type: ignore[arg-type]
        put(session, "b")
    assert db.names() == ["a", "b"]


def test_values_that_do_not_fit(db: Database) -> None:
    """A number too large, a text with a lone surrogate: DataError; the connection stays in use or is replaced."""
    with db.main.session() as session:
        for value in (2**70, "\ud800"):
            with pytest.raises((errors.DataError, errors.ProgrammingError)):
                session.execute("insert into item (id, name, price) values (:v, :v, 1)", {"v": value})
            session.rollback()
        assert session.scalar("select 1") == 1


def test_errors_pickle() -> None:
    """Without the driver's exception, which may hold a socket."""
    error = errors.UniqueViolation("twice", orig=ValueError(), sqlstate="23505", code=7, statement="insert")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.sqlstate, again.code, again.statement, again.orig) == (
        errors.UniqueViolation, "twice", "23505", 7, "insert", None,
    )  # fmt: skip


def test_the_tree() -> None:
    """PEP 249's classes at the top, each leaf below its parent."""
    for parent, leaves in {
        errors.IntegrityError: "UniqueViolation ForeignKeyViolation NotNullViolation CheckViolation",
        errors.OperationalError: "DeadlockError SerializationError LockTimeoutError DisconnectionError QueryCancelledError ReadOnlyError "
        "TooManyConnectionsError TransactionAbortedError TransactionLostError CommitUnknownError PartialCommitError PoolTimeoutError "
        "StaleObjectError",
        errors.PoolTimeoutError: "PoolDeadlockError",
        errors.InterfaceError: "PoolClosedError SessionClosedError ConcurrentUseError",
        errors.InvalidRequestError: "ArgumentError NoResultFound MultipleResultsFound ImplicitCommitError",
        errors.ProgrammingError: "InvalidRequestError",
        errors.DatabaseError: "DataError OperationalError IntegrityError InternalError ProgrammingError NotSupportedError",
    }.items():
        for leaf in leaves.split():
            assert getattr(errors, leaf).__bases__ == (parent,)
