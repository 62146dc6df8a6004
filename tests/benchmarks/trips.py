"""What a transfer of two updates costs when the server is 5 ms away: the round trips are the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from sessionkit import create_engine
from sessionkit.testing.proxy import Proxy

from .harness import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

THERE_AND_BACK = 0.005
TAKE = "update account set amount = amount - %s where id = %s"
BRING = "update account set amount = amount + %s where id = %s"


def measure(server: Any) -> dict[str, float]:
    """Return the milliseconds of each way, and those of a bare round trip."""
    with create_engine(server.url) as engine:
        engine.execute("create table account (id integer primary key, amount integer)")
        engine.execute("insert into account values (1, 1000000), (2, 0)")
    with Proxy(server.port) as proxy:
        url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        with (
            create_engine(url, pool_size=1) as near, create_engine(url, pool_size=1, distant=True) as distant,
            psycopg.connect(url) as conn,
        ):  # fmt: skip
            proxy.delay = THERE_AND_BACK / 2
            ways: dict[str, Callable[[], object]] = {
                "a bare round trip": near.ping,
                "psycopg, in its own pipeline": lambda: piped(conn),
                "psycopg": lambda: plain(conn),
                "pipeline=True": lambda: ours(near, pipeline=True),
                "distant=True": lambda: ours(distant),
                "as ever": lambda: ours(near),
            }
            return {name: took / 1000 for name, took in compare(ways, calls=20).items()}


def ours(engine: Engine, **options: Any) -> None:
    """By sessionkit."""
    with engine.begin(**options) as session:
        session.execute("update account set amount = amount - ? where id = ?", (1, 1))
        session.execute("update account set amount = amount + ? where id = ?", (1, 2))


def plain(conn: Any) -> None:
    """By the driver, as its documentation writes a transaction."""
    with conn.transaction():
        conn.execute(TAKE, (1, 1))
        conn.execute(BRING, (1, 2))


def piped(conn: Any) -> None:
    """By the driver in its pipeline mode."""
    with conn.pipeline(), conn.transaction():
        conn.execute(TAKE, (1, 1))
        conn.execute(BRING, (1, 2))
