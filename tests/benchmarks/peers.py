"""The same piece of work, written for sessionkit, the raw driver and the peers. Each function returns candidates by name."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sessionkit import create_engine, entity
from sessionkit.testing.proxy import Proxy
from sessionkit.testing.servers import connect

from ..losses import peers as others

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessionkit import Engine

Candidates = dict[str, "Callable[[], object]"]


@entity("item", key="id")
@dataclass
class Item:
    """A row."""

    id: int | None
    name: str
    price: float


def prepare(path: str) -> None:
    """Make the table with ten thousand rows."""
    with create_engine(f"sqlite:///{path}") as engine:
        engine.execute("create table item (id integer primary key, name text, price real)")
        with engine.begin() as session:
            session.executemany("insert into item values (?, ?, ?)", [(n, f"n{n}", n / 2) for n in range(1, 10_001)])


def checkouts_sqlite(path: str, engine: Engine) -> Candidates:
    """Checkout and checkin of a SQLite connection, nothing else."""
    from dbutils.pooled_db import PooledDB
    from playhouse.pool import PooledSqliteDatabase
    from sqlalchemy.pool import QueuePool

    dbutils = PooledDB(sqlite3, maxconnections=5, database=path, check_same_thread=False)
    peewee = PooledSqliteDatabase(path, max_connections=5)
    alchemy = QueuePool(lambda: sqlite3.connect(path, check_same_thread=False), pool_size=5)
    plain: queue.LifoQueue[Any] = queue.LifoQueue()
    plain.put(sqlite3.connect(path, check_same_thread=False))
    pool = engine.pool

    def ours() -> None:
        pool.checkin(pool.checkout())

    def theirs() -> None:
        peewee.connect()
        peewee.close()

    return {
        "sessionkit": ours,
        "DBUtils PooledDB": lambda: dbutils.connection().close(),
        "peewee": theirs,
        "SQLAlchemy QueuePool": lambda: alchemy.connect().close(),
        "LifoQueue (no checks at all)": lambda: plain.put(plain.get()),
    }


def checkouts_postgres(url: str, engine: Engine) -> Candidates:
    """Checkout and checkin of a PostgreSQL connection, with a socket to poll."""
    import psycopg
    from psycopg_pool import ConnectionPool
    from sqlalchemy.pool import QueuePool

    theirs = ConnectionPool(url, min_size=1, max_size=5, open=True)
    theirs.wait()
    alchemy = QueuePool(lambda: psycopg.connect(url), pool_size=5)
    pool = engine.pool

    def ours() -> None:
        pool.checkin(pool.checkout())

    return {
        "sessionkit": ours,
        "psycopg_pool": lambda: theirs.putconn(theirs.getconn()),
        "SQLAlchemy QueuePool": lambda: alchemy.connect().close(),
    }


def cycle_sqlite(path: str, engine: Engine) -> Candidates:
    """Open a session, `select 1`, its first row, commit, close."""
    from dbutils.pooled_db import PooledDB
    from playhouse.pool import PooledSqliteDatabase
    from sqlalchemy import create_engine as alchemy_engine
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    peewee = PooledSqliteDatabase(path, max_connections=5)

    raw = sqlite3.connect(path, isolation_level=None)
    alchemy = alchemy_engine(f"sqlite:///{path}")
    dbutils = PooledDB(sqlite3, maxconnections=5, database=path)
    one = text("select 1")

    def by_hand() -> None:
        cursor = raw.execute("select 1")
        cursor.fetchone()
        cursor.close()
        raw.commit()

    def by_hand_in_a_transaction() -> None:
        raw.execute("begin")
        cursor = raw.execute("select 1")
        cursor.fetchone()
        cursor.close()
        raw.execute("commit")

    def ours() -> None:
        session = engine.session()
        session.execute("select 1").first()
        session.commit()
        session.close()

    def orm() -> None:
        session = Session(alchemy)
        session.execute(one).first()
        session.commit()
        session.close()

    def core() -> None:
        with alchemy.connect() as conn:
            conn.execute(one).first()
            conn.commit()

    def pooled() -> None:
        conn = dbutils.connection()
        cursor = conn.cursor()
        cursor.execute("select 1")
        cursor.fetchone()
        cursor.close()
        conn.commit()
        conn.close()

    def active_record() -> None:
        with peewee.connection_context(), peewee.atomic():
            peewee.execute_sql("select 1").fetchone()

    return {
        "raw driver, no transaction": by_hand, "raw driver, BEGIN and COMMIT": by_hand_in_a_transaction, "sessionkit": ours,
        "DBUtils": pooled, "peewee": active_record, "SQLAlchemy Core": core, "SQLAlchemy ORM": orm,
    }  # fmt: skip


def cycle_server(url: str, engine: Engine) -> Candidates:
    """The same unit of work on a server: one statement and commit on a connection that is open."""
    from sqlalchemy import create_engine as alchemy_engine
    from sqlalchemy import text

    alchemy = alchemy_engine(for_alchemy(url))
    one = text("select 1")
    raw = connect(url)
    if url.startswith("postgresql"):
        raw.autocommit = False
    else:
        raw.autocommit(False)

    def by_hand() -> None:
        with raw.cursor() as cursor:
            cursor.execute("select 1")
            cursor.fetchone()
        raw.commit()

    def ours() -> None:
        session = engine.session()
        session.execute("select 1").first()
        session.commit()
        session.close()

    def core() -> None:
        with alchemy.connect() as conn:
            conn.execute(one).first()
            conn.commit()

    found: Candidates = {"raw driver": by_hand, "sessionkit": ours, "SQLAlchemy Core": core}
    kind = "postgres" if url.startswith("postgresql") else "mariadb"
    for cls in (others.PsycopgPool, others.DBUtils, others.Peewee):
        if kind in cls.kinds:
            found[cls.name] = _cycle_of(cls(kind, url))
    return found


def _cycle_of(peer: others.Peer) -> Callable[[], None]:
    def cycle() -> None:
        with peer.block() as handle:
            handle.execute("select 1").fetchone() if not isinstance(peer, others.DBUtils) else handle.execute(
                "select 1"
            )

    return cycle


def trips(server: Any) -> dict[str, float]:
    """How often a session cycle waits for the server, with each: counted by a proxy on the wire."""
    with Proxy(server.port) as proxy:
        url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        found = {}
        with create_engine(url) as engine:
            for name, cycle in cycle_server(url, engine).items():
                cycle()
                before = proxy.trips
                cycle()
                found[name] = float(proxy.trips - before)
            engine.execute("select 1")
            before = proxy.trips
            engine.execute("select 1")
            found["sessionkit, engine.execute"] = float(proxy.trips - before)
    return found


def for_alchemy(url: str) -> str:
    """Return a URL as SQLAlchemy spells it."""
    return url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")


def bulk(raw: Any, mark: str, engine: Engine, url: str) -> Candidates:
    """Ten thousand rows into a table, in one transaction that is rolled back."""
    from sqlalchemy import create_engine as alchemy_engine
    from sqlalchemy import text

    values = [(f"n{number}", number / 2) for number in range(10_000)]
    named = [{"n": name, "p": price} for name, price in values]
    alchemy = alchemy_engine(for_alchemy(url))
    into = text("insert into item (name, price) values (:n, :p)")

    def by_hand() -> None:
        cursor = raw.cursor()
        cursor.execute("begin")
        cursor.executemany(f"insert into item (name, price) values ({mark}, {mark})", values)
        cursor.close()
        raw.rollback()

    def ours() -> None:
        session = engine.session()
        session.executemany("insert into item (name, price) values (?, ?)", values)
        session.rollback()

    def core() -> None:
        with alchemy.connect() as conn:
            conn.execute(into, named)
            conn.rollback()

    return {"raw driver, executemany": by_hand, "sessionkit": ours, "SQLAlchemy Core": core}


def one_row(path: str, engine: Engine) -> Candidates:
    """A transaction that inserts one row."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("pragma journal_mode = wal")
    insert = "insert into item (name, price) values (?, ?)"

    def by_hand() -> None:
        raw.execute("begin immediate")
        raw.execute(insert, ("a", 1.0))
        raw.execute("commit")

    def ours() -> None:
        with engine.begin() as session:
            session.execute(insert, ("a", 1.0))

    from dbutils.pooled_db import PooledDB
    from playhouse.pool import PooledSqliteDatabase
    from sqlalchemy import create_engine as alchemy_engine
    from sqlalchemy import text

    dbutils = PooledDB(sqlite3, maxconnections=5, database=path)
    peewee = PooledSqliteDatabase(path, max_connections=5)
    alchemy = alchemy_engine(f"sqlite:///{path}")
    into = text("insert into item (name, price) values (:n, :p)")

    def pooled() -> None:
        conn = dbutils.connection()
        cursor = conn.cursor()
        cursor.execute(insert, ("a", 1.0))
        cursor.close()
        conn.commit()
        conn.close()

    def active_record() -> None:
        with peewee.connection_context(), peewee.atomic():
            peewee.execute_sql(insert, ("a", 1.0))

    def core() -> None:
        with alchemy.begin() as conn:
            conn.execute(into, {"n": "a", "p": 1.0})

    return {
        "raw driver": by_hand, "sessionkit": ours, "DBUtils": pooled, "peewee": active_record, "SQLAlchemy Core": core,
    }  # fmt: skip


@contextlib.contextmanager
def gets(path: str, engine: Engine) -> Iterator[tuple[Candidates, Candidates]]:
    """Get by key: held already, and not."""
    raw = sqlite3.connect(path, isolation_level=None)
    with engine.session() as session:
        session.get(Item, 7)

        def miss() -> None:
            session.get(Item, 9)
            session.expunge_all()

        def by_hand() -> Item:
            cursor = raw.execute("select id, name, price from item where id = ?", (9,))
            found = Item(*cursor.fetchone())
            cursor.close()
            return found

        from sqlalchemy import Column, Float, Integer, Text
        from sqlalchemy import create_engine as alchemy_engine
        from sqlalchemy.orm import Session, declarative_base

        class Theirs(declarative_base()):
            __tablename__ = "item"
            id = Column(Integer, primary_key=True)
            name = Column(Text)
            price = Column(Float)

        with Session(alchemy_engine(f"sqlite:///{path}")) as orm:
            kept = orm.get(Theirs, 7)

            def theirs() -> None:
                orm.get(Theirs, 9)
                orm.expunge_all()

            yield (
                {"sessionkit": lambda: session.get(Item, 7), "SQLAlchemy ORM": lambda: orm.get(Theirs, kept.id)},
                {"raw driver": by_hand, "sessionkit": miss, "SQLAlchemy ORM": theirs},
            )


@contextlib.contextmanager
def rows(path: str, engine: Engine) -> Iterator[tuple[Candidates, Candidates]]:
    """Ten thousand rows: to tuples, to dataclasses and entities."""
    raw = sqlite3.connect(path, isolation_level=None)
    sql = "select id, name, price from item where id <= 10000"

    @dataclass
    class Plain:
        id: int
        name: str
        price: float

    with engine.session() as session:

        def entities() -> None:
            session.query(Item, sql).all()
            session.expunge_all()

        yield (
            {
                "by hand": lambda: raw.execute(sql).fetchall(),
                "sessionkit, tuples()": lambda: session.execute(sql).tuples(),
            },
            {
                "by hand: [Plain(*row) for row in cursor]": lambda: [Plain(*row) for row in raw.execute(sql)],
                "sessionkit, named rows": lambda: session.execute(sql).all(),
                "sessionkit, dataclasses": lambda: session.query(Plain, sql).all(),
                "sessionkit, entities, empty identity map": entities,
            },
        )


def fairness(path: str, seconds: float = 2.0) -> dict[str, tuple[float, float]]:
    """Sixteen threads on five connections: cycles a second of all together, and the unluckiest over the luckiest thread."""
    from dbutils.pooled_db import PooledDB
    from sqlalchemy.pool import QueuePool

    engine = create_engine(f"sqlite:///{path}", pool_size=5, pool_timeout=60)
    dbutils = PooledDB(sqlite3, maxconnections=5, blocking=True, database=path, check_same_thread=False)
    alchemy = QueuePool(lambda: sqlite3.connect(path, check_same_thread=False), pool_size=5, max_overflow=0, timeout=60)

    def ours() -> None:
        lease = engine.pool.checkout()
        lease.conn.execute("select count(*) from item where id < 500").fetchone()
        engine.pool.checkin(lease)

    def with_connection(take: Callable[[], Any]) -> Callable[[], None]:
        def work() -> None:
            conn = take()
            cursor = conn.cursor()
            cursor.execute("select count(*) from item where id < 500")
            cursor.fetchone()
            cursor.close()
            conn.close()

        return work

    found = {}
    for name, work in (
        ("sessionkit", ours), ("DBUtils PooledDB", with_connection(dbutils.connection)),
        ("SQLAlchemy QueuePool", with_connection(alchemy.connect)),
    ):  # fmt: skip
        found[name] = _spread(work, seconds)
    engine.dispose()
    return found


def _spread(work: Callable[[], None], seconds: float) -> tuple[float, float]:
    counts = [0] * 16
    until = perf_counter() + seconds

    def run(number: int) -> None:
        while perf_counter() < until:
            work()
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds, min(counts) / max(counts)
