"""`python -m tests.soak [pool|bank|cuts|forks|restarts|all] [--short]`: by hand, for as long as it takes."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionkit.testing import servers

from . import bank, faults, lending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STARTERS = {"postgres": servers.start_postgres, "mariadb": servers.start_mariadb}


def databases(with_sqlite: bool) -> Iterator[tuple[str, str, Any]]:
    """Start each database in turn."""
    if with_sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield "sqlite", f"sqlite:///{folder}/bank.db", None
    for kind, start in STARTERS.items():
        server = start(servers.make_folder())
        yield kind, server.url, server
        server.stop()


def pool(short: bool) -> None:
    """Random operations from eight threads."""
    print(dict(lending.run(100_000 if short else 10_000_000, seed=int(time.time()))))


def banks(short: bool) -> None:
    """The bank, on each database."""
    for kind, url, server in databases(with_sqlite=True):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            world = bank.run(kind, url, server, Path(folder), transfers=500 if short else 50_000, seed=int(started))
            history = world.history()
            told = {
                word: sum(1 for said in history.told.values() if said == word) for word in set(history.told.values())
            }
            told["client killed"] = len(history.begun - set(history.told))
            took = time.monotonic() - started
            print(
                f"bank, {kind}: {told}, {len(history.totals)} totals read, {world.disturbed}, {took:.0f} s, no anomaly",
                flush=True,
            )


def on_servers(what: Callable[..., Any], short: bool, counts: tuple[int, int]) -> None:
    """Do something on PostgreSQL and MariaDB."""
    for kind, _, server in databases(with_sqlite=False):
        print(what.__name__, kind, what(kind, server, counts[0] if short else counts[1]), flush=True)


def forks(short: bool) -> None:
    """Forks of each kind, with each driver."""
    for kind, url, _ in databases(with_sqlite=True):
        print("forks", kind, faults.forks(url, 20 if short else 1000), flush=True)


def main() -> None:
    """Run what was asked for."""
    cases: dict[str, Callable[[bool], None]] = {
        "pool": pool,
        "bank": banks,
        "cuts": lambda short: on_servers(faults.cuts, short, (100, 10_000)),
        "restarts": lambda short: on_servers(faults.restarts, short, (2, 100)),
        "forks": forks,
    }
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("case", nargs="?", default="all", choices=["all", *cases])
    parser.add_argument("--short", action="store_true", help="only to see that it works")
    options = parser.parse_args()
    logging.disable()  # each repetition would be told
    for name, case in cases.items():
        if options.case in ("all", name):
            case(options.short)


if __name__ == "__main__":
    main()
