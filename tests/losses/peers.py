"""The peers, each with a block that is its own way to write a transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sessionkit import URL, create_engine
from sessionkit.testing import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Execute = "Callable[[str], Any]"


class Peer:
    """A library, as its documentation says that a transaction is written."""

    name = ""
    kinds: tuple[str, ...] = ("sqlite", "postgres", "mariadb")

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        self.kind, self.url, self.size = kind, url, size

    def block(self) -> Any:
        """Return a context manager that commits at its end; it gives a handle with `execute`, `nested` and `close`."""
        raise NotImplementedError

    def borrow(self) -> None:
        """Take a connection from the pool, and give it back."""
        raise NotImplementedError


class Handle:
    """What a block gives."""

    def __init__(self, execute: Callable[[str], Any], nested: Callable[[], Any], close: Callable[[], object]) -> None:
        self.execute, self.nested, self.close = execute, nested, close


class Sessionkit(Peer):
    """This library."""

    name = "sessionkit"

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        self.engine = create_engine(url, pool_size=size, pool_timeout=1)

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """`with engine.begin() as session`."""
        with self.engine.begin() as session:
            yield Handle(session.execute, session.begin_nested, session.close)

    def borrow(self) -> None:
        """From the pool."""
        self.engine.pool.checkin(self.engine.pool.checkout())


class ByDBAPI(Peer):
    """Whatever gives DB-API connections: commit at the end, roll back on an exception."""

    def connection(self) -> Any:
        """Return a connection; `give_back` is called with it at the end."""
        raise NotImplementedError

    def give_back(self, conn: Any) -> None:
        """End its use."""
        conn.close()

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """commit(), or rollback()."""
        conn = self.connection()
        cursor = conn.cursor()

        @contextmanager
        def nested() -> Iterator[None]:
            cursor.execute("savepoint inner_one")
            try:
                yield
            except BaseException:
                cursor.execute("rollback to savepoint inner_one")
                raise
            cursor.execute("release savepoint inner_one")

        try:
            try:
                yield Handle(cursor.execute, nested, lambda: self.give_back(conn))
                conn.commit()
            except BaseException:
                conn.rollback()
                raise
        finally:
            self.give_back(conn)

    def borrow(self) -> None:
        """connection() and close()."""
        self.give_back(self.connection())


class Raw(ByDBAPI):
    """The driver alone."""

    name = "raw driver"

    def connection(self) -> Any:
        """A new one each time."""
        if self.kind == "sqlite":
            import sqlite3

            return sqlite3.connect(self.url.removeprefix("sqlite:///"), check_same_thread=False)
        conn = servers.connect(self.url)
        if self.kind == "postgres":
            conn.autocommit = False
        else:
            conn.autocommit(False)
        return conn


def _parts(url: str) -> dict[str, Any]:
    found = URL.parse(url)
    return {"host": found.host, "port": found.port, "user": found.username, "database": found.database}


class DBUtils(ByDBAPI):
    """PooledDB, which reconnects by itself."""

    name = "DBUtils"

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        from dbutils.pooled_db import PooledDB

        if kind == "sqlite":
            import sqlite3

            self.pool = PooledDB(
                sqlite3,
                maxconnections=size,
                blocking=True,
                database=url.removeprefix("sqlite:///"),
                check_same_thread=False,
            )
        elif kind == "postgres":
            import psycopg

            self.pool = PooledDB(psycopg, maxconnections=size, blocking=True, conninfo=url)
        else:
            import pymysql

            self.pool = PooledDB(pymysql, maxconnections=size, blocking=True, **_parts(url))

    def connection(self) -> Any:
        """From the pool."""
        return self.pool.connection()


class PsycopgPool(Peer):
    """psycopg_pool."""

    name = "psycopg_pool"
    kinds = ("postgres",)

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        from psycopg_pool import ConnectionPool

        self.pool = ConnectionPool(url, min_size=size, max_size=size, open=True, timeout=1)
        self.pool.wait()

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """`with pool.connection() as conn`."""
        with self.pool.connection() as conn:
            yield Handle(conn.execute, conn.transaction, conn.close)

    def borrow(self) -> None:
        """getconn() and putconn()."""
        self.pool.putconn(self.pool.getconn())


class SQLAlchemy(Peer):
    """SQLAlchemy Core."""

    name = "SQLAlchemy"

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        from sqlalchemy import create_engine as make

        spelled = url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")
        self.engine = make(spelled, pool_size=size, max_overflow=0, pool_timeout=1)

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """`with engine.begin() as conn`."""
        with self.engine.begin() as conn:
            yield Handle(conn.exec_driver_sql, conn.begin_nested, conn.close)

    def borrow(self) -> None:
        """From the pool."""
        self.engine.pool.connect().close()


class Peewee(Peer):
    """peewee, with its pool."""

    name = "peewee"

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        from playhouse import pool

        if kind == "sqlite":
            self.db = pool.PooledSqliteDatabase(url.removeprefix("sqlite:///"), max_connections=size, timeout=1)
        elif kind == "postgres":
            parts = _parts(url)
            self.db = pool.PooledPostgresqlDatabase(parts.pop("database"), max_connections=size, timeout=1, **parts)
        else:
            parts = _parts(url)
            self.db = pool.PooledMySQLDatabase(parts.pop("database"), max_connections=size, timeout=1, **parts)

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """`with db.connection_context(), db.atomic()`."""
        with self.db.connection_context(), self.db.atomic():
            yield Handle(self.db.execute_sql, self.db.atomic, self.db.close)

    def borrow(self) -> None:
        """connect() and close()."""
        self.db.connect()
        self.db.close()


class Django(Peer):
    """Django's transaction.atomic(); its MySQL backend wants another driver, so it is not asked there."""

    name = "Django"
    kinds = ("sqlite", "postgres")

    def __init__(self, kind: str, url: str, size: int = 4) -> None:
        super().__init__(kind, url, size)
        from django.conf import settings
        from django.db import connections

        if kind == "sqlite":
            options = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
        else:
            parts = _parts(url)
            options = {
                "ENGINE": "django.db.backends.postgresql", "NAME": parts["database"], "HOST": parts["host"],
                "PORT": parts["port"], "USER": parts["user"], "CONN_MAX_AGE": None,
            }  # fmt: skip
        if not settings.configured:
            settings.configure(DATABASES={"default": options})
        connections.settings = connections.configure_settings({"default": options})
        if hasattr(connections._connections, "default"):
            del connections["default"]

    @contextmanager
    def block(self) -> Iterator[Handle]:
        """`with transaction.atomic()`."""
        from django.db import connection, transaction

        with transaction.atomic(), connection.cursor() as cursor:
            yield Handle(cursor.execute, transaction.atomic, connection.close)

    def borrow(self) -> None:
        """One connection for each thread; there is no pool to ask."""
        from django.db import connection

        connection.ensure_connection()
        connection.close()


PEERS: list[type[Peer]] = [Sessionkit, Raw, SQLAlchemy, PsycopgPool, DBUtils, Peewee, Django]
