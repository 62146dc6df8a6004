"""What a transaction is, shown by two sessions side by side on the same table.

python examples/teaching.py                                   # a temporary SQLite file
python examples/teaching.py postgresql://app@localhost/school # any database: what differs, it says
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading

from sessionkit import Engine, NotSupportedError, Retry, Rollback, Session, create_engine


def reset(engine: Engine) -> None:
    """Two accounts with 100 each."""
    engine.execute("drop table if exists account")
    engine.execute("create table account (owner varchar(10) primary key, balance integer not null)")
    engine.execute("insert into account values ('ann', 100), ('bob', 100)")


def balance(session: Session | Engine, owner: str) -> int:
    """Ask a session, or the engine, for a balance."""
    found = session.execute("select balance from account where owner = :o", {"o": owner})
    return int(found.scalar())


def nothing_is_there_until_commit(engine: Engine) -> None:
    """One session writes; the other sees it only after COMMIT."""
    with engine.begin() as one:
        one.execute("update account set balance = 0 where owner = 'ann'")
        with engine.session() as other:
            print(f"   the other session sees {balance(other, 'ann')} before COMMIT")
    print(f"   and {balance(engine, 'ann')} after it")


def the_lost_update(engine: Engine) -> None:
    """Both read 100, both write what they computed: one of the two payments is lost. The cure: let the database compute."""
    with engine.session() as one, engine.session() as other:
        seen_by_one, seen_by_other = balance(one, "ann"), balance(other, "ann")
        one.rollback()
        other.rollback()
        engine.execute("update account set balance = ? where owner = 'ann'", (seen_by_one + 10,))
        engine.execute("update account set balance = ? where owner = 'ann'", (seen_by_other + 10,))
    print(f"   100 + 10 + 10 = {balance(engine, 'ann')}: lost")
    engine.execute("update account set balance = 100 where owner = 'ann'")
    for _ in range(2):
        engine.execute("update account set balance = balance + 10 where owner = 'ann'")
    print(f"   100 + 10 + 10 = {balance(engine, 'ann')}: cured, the database adds")


def what_a_level_promises(engine: Engine) -> None:
    """A transaction reads twice, and another one commits in between."""
    for level in ("READ COMMITTED", "REPEATABLE READ"):
        with engine.session(isolation_level=level, read_only=True) as session:
            before = balance(session, "bob")
            engine.execute("update account set balance = balance + 1 where owner = 'bob'")
            after = balance(session, "bob")
            session.rollback()
        print(
            f"   {level}: reads {before}, then {after}"
            + (" (SQLite is always SERIALIZABLE)" if engine.driver.name == "sqlite3" else "")
        )


def a_deadlock(engine: Engine) -> None:
    """Each holds what the other wants. The database ends one of them; `run` does it again."""
    both_have_one = threading.Barrier(2, timeout=5)

    def transfer(session: Session, first: str, second: str) -> None:
        session.execute("update account set balance = balance - 1 where owner = :o", {"o": first})
        try:
            both_have_one.wait(0.5)
        except threading.BrokenBarrierError:  # on SQLite one writer waits for the other: no deadlock can be
            pass
        session.execute("update account set balance = balance + 1 where owner = :o", {"o": second})

    def work(first: str, second: str) -> None:
        engine.run(
            transfer,
            first,
            second,
            retry=Retry(on_retry=lambda _, error, __: print(f"   {type(error).__name__}: run again")),
        )

    threads = [threading.Thread(target=work, args=pair) for pair in (("ann", "bob"), ("bob", "ann"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"   in the end nothing is lost: {balance(engine, 'ann') + balance(engine, 'bob')} together")


def a_savepoint(engine: Engine) -> None:
    """A part of a transaction is undone, the rest is kept."""
    with engine.begin() as session:
        session.execute("update account set balance = 1 where owner = 'ann'")
        with session.begin_nested():
            session.execute("update account set balance = 2 where owner = 'bob'")
            raise Rollback
    print(f"   ann has {balance(engine, 'ann')}, which was kept; bob has {balance(engine, 'bob')}, as before")


LESSONS = [nothing_is_there_until_commit, the_lost_update, what_a_level_promises, a_deadlock, a_savepoint]

if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    with create_engine(*sys.argv[1:2] or [f"sqlite:///{folder}/x.db"]) as school:
        for number, lesson in enumerate(LESSONS, 1):
            reset(school)
            print(f"{number}. {lesson.__name__.replace('_', ' ')}: {lesson.__doc__}")
            try:
                lesson(school)
            except NotSupportedError as exc:
                print(f"   refused: {exc}")
    shutil.rmtree(folder)
