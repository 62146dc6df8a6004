"""Which errors doom a transaction, on which server, and that a doomed one can do nothing more but end."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import TransactionAbortedError, TransactionLostError, errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Session

    from .conftest import Database

INSERT = "insert into item (name, price) values (:n, 1)"


def duplicate(db: Database, session: Session) -> None:
    """A row whose name is taken."""
    session.execute(INSERT, {"n": "taken"})


def syntax(db: Database, session: Session) -> None:
    """No SQL."""
    session.execute("selct 1")


def lock_wait(db: Database, session: Session) -> None:
    """A row that another transaction has locked."""
    short = {"mariadb": "set innodb_lock_wait_timeout = 1", "postgres": "set local lock_timeout = '200ms'"}
    session.execute(short[db.kind])
    with db.engine().begin() as other:
        other.execute("update item set price = 5 where name = 'taken'")
        session.execute("update item set price = 6 where name = 'taken'")


def deadlock(db: Database, session: Session) -> None:
    """Two transactions that wait for each other; this one is the victim, because it has written less (InnoDB) or waits longer."""
    other = db.engine().session()
    other.execute("update item set price = 5 where name = 'second'")
    other.executemany(INSERT, [{"n": f"weight{number}"} for number in range(200)])
    session.execute("select id from item where name = 'taken' for update")
    if db.kind == "postgres":
        session.execute("set local deadlock_timeout = '50ms'")
    blocked = threading.Thread(
        target=lambda: other.execute("update item set price = 7 where name = 'taken'") and other.rollback()
    )
    blocked.start()
    try:
        _wait_until_it_waits(db)
        session.execute("update item set price = 8 where name = 'second'")
    finally:
        session.rollback() if not session.in_transaction() else None
        blocked.join(20)
        other.close()


def _wait_until_it_waits(db: Database) -> None:
    sql = {
        "postgres": "select count(*) from pg_stat_activity where wait_event_type = 'Lock'",
        "mariadb": "select count(*) from information_schema.processlist where info like 'update item set price = 7%' and state = 'Updating'",
    }
    engine = db.engine()
    for _ in range(2000):
        if engine.execute(sql[db.kind]).scalar():
            return
    raise AssertionError("nobody waits")


def or_rollback(db: Database, session: Session) -> None:
    """SQLite's conflict clause that ends the whole transaction."""
    session.execute("insert or rollback into item (name, price) values ('taken', 1)")


def raise_rollback(db: Database, session: Session) -> None:
    """A trigger that ends the whole transaction."""
    session.execute("insert into item (name, price) values ('forbidden', 1)")


MANY = (
    "with recursive n(i) as (select 1 union all select i + 1 from n limit 500) "
    "insert into item (name, price) select 'n' || i || hex(randomblob(1500)), 1 from n"
)


def full(db: Database, session: Session) -> None:
    """The database may not grow: the statement is undone, and nothing else."""
    pages = session.scalar("pragma page_count")
    session.execute(f"pragma max_page_count = {pages}")
    try:
        session.execute(MANY)
    finally:
        session.execute("pragma max_page_count = 1000000")


def disk_error(db: Database, session: Session) -> None:
    """The disk refuses a write in mid-transaction: SQLite ends the whole of it."""
    import resource

    session.execute("pragma cache_size = 5")  # so that it writes before COMMIT
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        session.execute(MANY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def busy(db: Database, session: Session) -> None:
    """A reader that wants to write while another writes."""
    session.scalar("select count(*) from item")
    with db.engine(busy_timeout=0.1).begin() as other:
        other.execute(INSERT, {"n": "other"})
        session.execute(INSERT, {"n": "late"})


POISONED: list[Any] = [
    pytest.param("postgres", duplicate, errors.UniqueViolation, TransactionAbortedError, id="postgres duplicate"),
    pytest.param("postgres", syntax, errors.ProgrammingError, TransactionAbortedError, id="postgres syntax"),
    pytest.param("postgres", lock_wait, errors.LockTimeoutError, TransactionAbortedError, id="postgres lock wait"),
    pytest.param("postgres", deadlock, errors.DeadlockError, TransactionAbortedError, id="postgres deadlock"),
    pytest.param("mariadb", deadlock, errors.DeadlockError, TransactionLostError, id="mariadb deadlock"),
    pytest.param("sqlite", or_rollback, errors.UniqueViolation, TransactionLostError, id="sqlite OR ROLLBACK"),
    pytest.param("sqlite", raise_rollback, errors.IntegrityError, TransactionLostError, id="sqlite RAISE(ROLLBACK)"),
    pytest.param("sqlite", disk_error, errors.OperationalError, TransactionLostError, id="sqlite disk error"),
]
WHOLE: list[Any] = [
    pytest.param("mariadb", duplicate, errors.UniqueViolation, id="mariadb duplicate"),
    pytest.param("mariadb", syntax, errors.ProgrammingError, id="mariadb syntax"),
    pytest.param("mariadb", lock_wait, errors.LockTimeoutError, id="mariadb lock wait"),
    pytest.param("sqlite", duplicate, errors.UniqueViolation, id="sqlite duplicate"),
    pytest.param("sqlite", syntax, errors.ProgrammingError, id="sqlite syntax"),
    pytest.param("sqlite", full, errors.OperationalError, id="sqlite full"),
]


def prepared(make_database: Callable[[str], Database], kind: str) -> Database:
    """Return a database with two rows, and for SQLite a trigger that forbids a third."""
    db = make_database(kind)
    with db.main.begin() as session:
        session.executemany(INSERT, [{"n": "taken"}, {"n": "second"}])
    if kind == "sqlite":
        db.main.execute(
            "create trigger no before insert on item when new.name = 'forbidden' begin select raise(rollback, 'no'); end"
        )
    return db


@pytest.mark.parametrize(("kind", "fail", "error", "after"), POISONED)
def test_a_poisoned_transaction(
    make_database: Callable[[str], Database], kind: str, fail: Callable[..., None], error: type, after: type
) -> None:
    """Every further statement and the commit raise, from the first error; nothing is kept; then the session works."""
    db = prepared(make_database, kind)
    session = db.engine().session()
    session.execute(INSERT, {"n": "before"})
    with pytest.raises(error) as first:
        fail(db, session)
    for attempt in (
        lambda: session.execute(INSERT, {"n": "after"}),
        lambda: session.scalar("select 1"),
        session.commit,
    ):
        with pytest.raises(after) as caught:
            attempt()
        assert caught.value.__cause__ is first.value
    assert not session.in_transaction()
    session.execute(INSERT, {"n": "anew"})
    session.commit()
    session.close()
    assert db.names() == ["taken", "second", "anew"]


@pytest.mark.parametrize(("kind", "fail", "error"), WHOLE)
def test_an_error_that_leaves_the_transaction_whole(
    make_database: Callable[[str], Database], kind: str, fail: Callable[..., None], error: type
) -> None:
    """What was done before and after it is kept."""
    db = prepared(make_database, kind)
    with db.engine().begin() as session:
        session.execute(INSERT, {"n": "before"})
        with pytest.raises(error):
            fail(db, session)
        session.execute(INSERT, {"n": "after"})
    assert db.names() == ["taken", "second", "before", "after"]


def test_a_busy_database_leaves_the_transaction_whole(make_database: Callable[[str], Database]) -> None:
    """SQLite: one that has only read may try to write again."""
    db = prepared(make_database, "sqlite")
    session = db.engine(busy_timeout=0.1).session()
    with pytest.raises(errors.LockTimeoutError):
        busy(db, session)
    session.execute(INSERT, {"n": "later"})
    session.commit()
    assert db.names() == ["taken", "second", "later"]


@pytest.mark.parametrize(("kind", "fail", "error"), [p.values[:3] for p in POISONED if p.values[0] == "postgres"])
def test_a_savepoint_is_the_way_to_go_on(
    make_database: Callable[[str], Database], kind: str, fail: Callable[..., None], error: type
) -> None:
    """The error of an inner block, caught outside it, costs the inner block only."""
    db = prepared(make_database, kind)
    with db.engine().begin() as session:
        session.execute(INSERT, {"n": "before"})
        with pytest.raises(error), session.begin_nested():
            fail(db, session)
        session.execute(INSERT, {"n": "after"})
    assert db.names() == ["taken", "second", "before", "after"]
