"""`python -m tests.clusters [patroni|galera|pgbouncer|all] [--short] [--plots FOLDER]`: a bank on real clusters, whose nodes are killed."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionkit.testing import servers
from sessionkit.testing.proxy import Proxy

from . import features
from .bank import PATIENCE, Bank
from .galera import Galera
from .patroni import Patroni
from .pgbouncer import start_pgbouncer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CUT = 3.0
"""Seconds for which the network between clients and a node is cut."""
SLACK, SHORT_SLACK = 2.0, 6.0
"""Seconds beyond the cluster's own outage that a transfer may take; in the short form, beside which other things run."""


class Case:
    """A cluster, the bank on it, and what is done to it: each thing so often, one after the other, with work in between."""

    def __init__(self, name: str, bank: Bank, what: list[tuple[str, Callable[[], None]]], short: bool) -> None:
        self.name, self.bank, self.what = name, bank, what
        self.transfers, self.slack = (400, SHORT_SLACK) if short else (50_000, SLACK)

    def run(self) -> dict[str, Any]:
        """
        Do it all; return what is to be told.

        Raises:
            AssertionError: something is wrong, a transfer failed, or one took longer than the cluster and two seconds.
        """
        bank = self.bank
        bank.start()
        each = self.transfers // (len(self.what) + 1)
        try:
            bank.wait_for(each)
            for name, act in self.what:
                bank.note(name)
                act()
                bank.wait_for(each)
        finally:
            bank.stop()
        wrong = bank.anomalies()
        assert wrong == [], wrong[:10]
        assert bank.failed == [], bank.failed[:10]
        outage, longest = bank.outage(), bank.longest()
        assert longest <= outage + self.slack, (longest, outage)
        return {
            "case": self.name, "transfers": len(bank.done), "seconds": round(bank.now()), "longest transfer": round(longest, 1),
            "longest outage of the driver alone": round(outage, 1), "done to it": sorted({event.what for event in bank.events}),
            "events": [(round(event.at, 1), event.what) for event in bank.events], "rates": bank.rates(),
        }  # fmt: skip


@contextlib.contextmanager
def proxies(ports: list[int]) -> Iterator[list[Proxy]]:
    """Put a wire before each node."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Proxy(port)) for port in ports]


def cut(wire: Proxy) -> None:
    """Cut a node off for a while."""
    wire.refusing = True
    wire.cut()
    time.sleep(CUT)
    wire.refusing = False


def spread(counts: dict[str, int], acts: dict[str, Callable[[], None]]) -> list[tuple[str, Callable[[], None]]]:
    """Return what is to be done, each so often, in turns."""
    left, found = dict(counts), []
    while any(left.values()):
        for name in acts:
            if left[name]:
                left[name] -= 1
                found.append((name, acts[name]))
    return found


def patroni(short: bool) -> dict[str, Any]:
    """PostgreSQL: leaders killed, clean switchovers, the network to the leader cut."""
    cluster = Patroni(servers.make_folder())
    try:
        with proxies(cluster.ports) as wires:

            def kill() -> None:
                leader = cluster.leader()
                assert leader is not None
                cluster.kill(leader)
                deadline = time.monotonic() + PATIENCE
                while cluster.leader() in (None, leader) and time.monotonic() < deadline:
                    time.sleep(0.2)
                cluster.start(leader)
                cluster.wait()

            def switch() -> None:
                cluster.switch_over()
                cluster.wait()

            def cut_leader() -> None:
                leader = cluster.leader()
                assert leader is not None
                cut(wires[leader])

            url = cluster.url([wire.port for wire in wires])
            bank = Bank(url, connect_timeout=2, statement_timeout=20, on_connect="set deadlock_timeout = '20ms'")
            counts = {"kill": 1, "switchover": 1, "cut": 1} if short else {"kill": 10, "switchover": 5, "cut": 3}
            acts = {"kill": kill, "switchover": switch, "cut": cut_leader}
            features.standby(cluster)
            return Case("Patroni", bank, spread(counts, acts), short).run()
    finally:
        cluster.stop()


def galera(short: bool) -> dict[str, Any]:
    """MariaDB: nodes killed, stopped in good order, cut off; each connection to a node at random, so that COMMITs conflict."""
    cluster = Galera(servers.make_folder())
    try:
        with proxies([node.port for node in cluster.nodes]) as wires:
            turn = [0]

            def gone(how: Callable[[int], None]) -> None:
                turn[0] = (turn[0] + 1) % len(cluster.nodes)
                how(turn[0])
                time.sleep(CUT)
                cluster.start(turn[0])
                cluster.wait()

            places = ",".join(f"127.0.0.1:{wire.port}" for wire in wires)
            bank = Bank(f"mysql://root@{places}/test?load_balance=random&causal_reads=true", connect_timeout=6)
            counts = {"kill": 1, "stop": 1, "cut": 1} if short else {"kill": 10, "stop": 5, "cut": 3}
            acts: dict[str, Callable[[], None]] = {
                "kill": lambda: gone(cluster.kill),
                "stop": lambda: gone(lambda number: cluster.nodes[number].stop()),
                "cut": lambda: cut(wires[0]),
            }
            print(
                "stale reads, causal_reads:",
                features.causal_reads(cluster),
                "COMMITs refused:",
                features.refused_commits(cluster),
            )
            found = Case("Galera", bank, spread(counts, acts), short).run()
            print("without quorum:", features.without_quorum(cluster))
            return found
    finally:
        cluster.stop()


def pgbouncer(short: bool) -> dict[str, Any]:
    """PgBouncer in transaction mode: it is restarted, so is the server behind it, and backends are killed."""
    server: Any = servers.start_postgres(servers.make_folder())
    pooler = start_pgbouncer(servers.make_folder(), f"host=127.0.0.1 port={server.port}", pool_size=3)
    try:

        def kill_backends() -> None:
            conn = server.connect()
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            conn.close()

        bank = Bank(f"{pooler.url}?pooler=pgbouncer", connect_timeout=2, statement_timeout=20)
        counts = {"restart": 2, "kill": 2, "crash": 1} if short else {"restart": 5, "kill": 10, "crash": 3}
        acts = {"restart": pooler.restart, "kill": kill_backends, "crash": lambda: server.restart(3)}
        return Case("PgBouncer", bank, spread(counts, acts), short).run()
    finally:
        pooler.stop()
        server.stop()


CASES = {"patroni": patroni, "galera": galera, "pgbouncer": pgbouncer}


def main() -> None:
    """Run what was asked for, and print what came of it; any exception means that a promise was broken."""
    logging.basicConfig(level=logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="tests.clusters", description=__doc__)
    parser.add_argument("which", nargs="?", default="all", choices=["all", *CASES])
    parser.add_argument("--short", action="store_true", help="one of each, as CI does")
    parser.add_argument("--plots", type=Path, help="draw the transfers in each second into this folder")
    given = parser.parse_args()
    for name, case in CASES.items():
        if given.which not in ("all", name):
            continue
        started = time.monotonic()
        try:
            found = case(given.short)
        except servers.Unavailable as exc:
            if os.environ.get("CI") == "true":
                raise
            print(f"NOT TESTED: {name}: {exc}")
            continue
        shown = {key: value for key, value in found.items() if key not in ("events", "rates")}
        print(shown, f"{time.monotonic() - started:.0f} s", flush=True)
        if given.plots is not None:
            from .plot import draw

            draw(found, given.plots)


if __name__ == "__main__":
    main()
