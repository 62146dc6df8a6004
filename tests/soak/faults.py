"""One kind of fault, many times: COMMITs cut, servers restarted, processes forked."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

from sessionkit import CommitUnknownError, create_engine
from sessionkit.retry.policy import Retry
from sessionkit.testing.proxy import Proxy, is_commit

if TYPE_CHECKING:
    from sessionkit import Engine, Session


def cuts(kind: str, server: Any, count: int, seed: int = 1, pipeline: bool = False) -> dict[str, int]:
    """
    Cut the wire around COMMIT so often, at random: before the server has it, after, or within; alternately ask what became of it.

    Raises:
        AssertionError: a wrong answer was given: a row is there though it was reported not to be, or not there, or twice.
    """
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    with Proxy(server.port) as proxy, create_engine(server.url) as direct:
        direct.execute("drop table if exists cut")
        direct.execute("create table cut (n integer not null)")
        url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        with create_engine(url, pool_size=1, connect_timeout=5) as engine:
            engine.run(lambda session: None, resolve="marker")
            done: set[int] = set()
            unknown: set[int] = set()
            for number in range(count):
                where = dice.choice(["before", "after", "early"])
                resolve = dice.choice([True, "marker", None])
                _cut_next(proxy, where, dice.random() < 0.5)
                counts[f"{where}, resolve={resolve}"] += 1
                try:
                    engine.run(_insert, number, retry=Retry(10, 60.0, base=0.0001), resolve=resolve, pipeline=pipeline)
                    done.add(number)
                except CommitUnknownError:
                    assert resolve is None, number
                    unknown.add(number)
        kept = Counter(direct.execute("select n from cut").scalars())
    assert [n for n, times in kept.items() if times > 1] == []
    assert done - set(kept) == set(), "reported done and not there"
    assert set(kept) - done - unknown == set(), "there, and nobody knows of it"
    counts["unknown and there"] = len(unknown & set(kept))
    counts["unknown and not there"] = len(unknown - set(kept))
    return dict(counts)


def _insert(session: Session, number: int) -> None:
    session.execute("insert into cut values (:n)", {"n": number})


def _cut_next(proxy: Proxy, where: str, again: bool) -> None:
    """Cut the next COMMIT there, and perhaps the first one after it; `early`: the statement before it is answered, then cut."""
    left = [where, "before"] if again else [where]
    seen: list[str] = []

    def on_sent(data: bytes) -> bool:
        if left and left[0] == "early" and b"insert into cut" in data:
            seen.append(left.pop(0))
        elif left and is_commit(data):
            seen.append(left.pop(0))
            return seen[-1] != "before"
        return True

    def on_answer(data: bytes) -> bool:
        return not (seen and seen.pop() in ("after", "early"))

    proxy.on_sent, proxy.on_answer = on_sent, on_answer


def restarts(kind: str, server: Any, count: int) -> dict[str, int]:
    """
    Restart the server so often with four idle connections, and ask for eight pieces of work each time.

    Raises:
        Error: a request failed that had not begun its work.
    """
    served = 0
    with create_engine(server.url, pool_size=4, pool_timeout=10) as engine:
        for number in range(count):
            leases = [engine.pool.checkout() for _ in range(4)]
            for lease in leases:
                engine.pool.checkin(lease)
            assert engine.pool.stats()["idle"] == 4
            server.restart() if number % 2 else server.restart(_crash(kind))
            for _ in range(8):
                with engine.begin() as session:
                    assert session.scalar("select 1") == 1
                    served += 1
    return {"restarts": count, "requests served": served}


def _crash(kind: str) -> int:
    return signal.SIGQUIT if kind == "postgres" else signal.SIGKILL


def forks(url: str, count: int) -> dict[str, int]:
    """
    Fork so often with one connection lent and one idle; the child exits, closes, queries or crashes, and the parent never notices.

    Raises:
        AssertionError: a child or the parent failed.
    """
    ways = ("exits", "closes", "queries", "crashes")
    done: Counter[str] = Counter()
    with create_engine(url, pool_size=2) as engine:
        with engine.session() as other:
            other.execute("select 1")
            with engine.session() as session:
                for number in range(count * len(ways)):
                    way = ways[number % len(ways)]
                    assert session.execute("select 1").scalar() == 1
                    child = os.fork()
                    if child == 0:
                        _be_a_child(engine, session, way)
                    _, status = os.waitpid(child, 0)
                    told = os.waitstatus_to_exitcode(status)
                    assert told == (-9 if way == "crashes" else 0), (way, told)
                    assert session.execute("select 2").scalar() == 2
                    if number % 2:
                        session.commit()
                        other.rollback()
                        other.execute("select 1")
                    done[way] += 1
        assert engine.execute("select 3").scalar() == 3
    return dict(done)


def _be_a_child(engine: Engine, session: Session, way: str) -> None:
    """Do what this child does, and end."""
    try:
        if way == "closes":
            session.close()
            engine.dispose()
        elif way == "queries":
            with engine.begin() as own:
                assert own.scalar("select 4") == 4
        elif way == "crashes":
            os.kill(os.getpid(), signal.SIGKILL)
    except BaseException:
        os._exit(9)
    os._exit(0)
