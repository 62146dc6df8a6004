"""What is promised of clusters besides the bank: reads that are not stale, refused COMMITs, nodes without quorum, standbys."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sessionkit import DisconnectionError, Registry, create_engine

if TYPE_CHECKING:
    from sessionkit import Session

    from .galera import Galera
    from .patroni import Patroni

WRITES = 100
SECONDS = 30.0
"""How long a cluster may take to notice something."""


def causal_reads(cluster: Galera) -> dict[str, int]:
    """
    Write on one node and read on another, again and again: with `?causal_reads=true` no read is stale.

    Raises:
        AssertionError: one was.
    """
    stale = {"without": 0, "with": 0}
    with (
        create_engine(cluster.urls[0]) as here, create_engine(cluster.urls[1]) as there,
        create_engine(f"{cluster.urls[1]}?causal_reads=true") as causal,
    ):  # fmt: skip
        here.execute("create table seen (id integer primary key, n integer)")
        here.execute("insert into seen values (1, 0)")
        for number in range(1, WRITES + 1):
            here.execute("update seen set n = ? where id = 1", (number,))
            stale["without"] += number % 2 == 0 and there.execute("select n from seen").scalar() != number
            stale["with"] += number % 2 == 1 and causal.execute("select n from seen").scalar() != number
    assert stale["with"] == 0
    return stale


def refused_commits(cluster: Galera) -> int:
    """
    Let two nodes change the same row at once: COMMIT is refused on one, and `run` does it again. Return how often.

    Raises:
        AssertionError: one was lost, or done twice.
    """
    refused: list[object] = []

    def add(session: Session) -> None:
        session.execute("update seen set n = n + 1 where id = 1")

    def work(url: str) -> None:
        with create_engine(url) as engine:
            engine.listen(
                lambda event: refused.append(event) if getattr(event, "action", "") == "commit failed" else None
            )
            for _ in range(WRITES):
                engine.run(add, attempts=1000)

    with create_engine(f"{cluster.urls[2]}?causal_reads=true") as engine:
        engine.execute("update seen set n = 0 where id = 1")
        threads = [threading.Thread(target=work, args=(url,)) for url in cluster.urls[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert engine.execute("select n from seen").scalar() == 2 * WRITES
    return len(refused)


def without_quorum(cluster: Galera) -> str:
    """
    Kill two nodes of three: the third is left, and connecting says why. The cluster is of no use afterwards.

    Raises:
        AssertionError: it is not.
    """
    with create_engine(cluster.url, pool_size=1, pool_timeout=1, connect_timeout=6) as engine:
        port = engine.execute("select @@port").scalar()
        survivor = next(number for number, node in enumerate(cluster.nodes) if node.port == port)
        for number in range(len(cluster.nodes)):
            if number != survivor:
                cluster.kill(number)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                engine.execute("update seen set n = n + 1 where id = 1")
            except DisconnectionError as exc:
                words = ("it is not synced with its cluster", "WSREP has not yet prepared node")
                if any(f"127.0.0.1:{port}: {said}" in str(exc) for said in words):
                    return str(exc)
            except Exception as exc:
                if engine.driver.diagnose(exc.__cause__ or exc) is None:
                    raise
            time.sleep(0.2)
    raise AssertionError("a node without quorum was not left")


def standby(cluster: Patroni) -> None:
    """
    Read from a node that follows, write on the one that leads, by one name.

    Raises:
        AssertionError: a session is not where it should be.
    """
    with Registry() as registry:
        registry.add("shop", f"{cluster.url()}?target=read-write", standby=f"{cluster.url()}?target=standby")
        registry.execute("create table if not exists seen (n integer)")
        with registry.begin(read_only=True) as session:
            assert session.scalar("select pg_is_in_recovery()")
        with registry.begin() as session:
            session.execute("insert into seen values (1)")
            assert not session.scalar("select pg_is_in_recovery()")
        until = time.monotonic() + SECONDS
        while not registry.run(lambda session: session.scalar("select count(*) from seen"), read_only=True):
            assert time.monotonic() < until
