"""The bank for a moment, and its checker: that it finds each kind of anomaly, so that finding none means something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .soak import bank, faults
from .soak.checker import History, Transfer, anomalies

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database


def told(*lines: str) -> History:
    """Return the history of these lines."""
    history = History()
    for line in lines:
        history.add(line)
    return history


GOOD = told("begin a", "done a", "begin b", "failed b", "begin c", "unknown c", "begin d", "total 20")
LEDGER = [Transfer("a", 0, 1, 3), Transfer("d", 1, 0, 1)]
BALANCES = {0: 8, 1: 12}


def test_the_checker_finds_nothing_where_nothing_is_wrong() -> None:
    """An unknown one may be there or not, so may one whose client died."""
    assert anomalies(GOOD, LEDGER, BALANCES, 10) == []


@pytest.mark.parametrize(
    ("history", "ledger", "balances", "resolved", "anomaly"),
    [
        pytest.param(GOOD, [*LEDGER, LEDGER[0]], {0: 5, 1: 15}, False, "a is there 2 times", id="twice"),
        pytest.param(GOOD, LEDGER[1:], {0: 11, 1: 9}, False, "a was reported done and is not there", id="lost"),
        pytest.param(
            GOOD, [*LEDGER, Transfer("b", 0, 1, 1)], {0: 7, 1: 13}, False, "b was reported failed and is there", id="ghost"
        ),
        pytest.param(
            GOOD, [*LEDGER, Transfer("z", 0, 1, 1)], {0: 7, 1: 13}, False, "z is there and nobody began it", id="from nowhere"
        ),
        pytest.param(GOOD, LEDGER, {0: 8, 1: 15}, False, "account 1 holds 15, the ledger says 12", id="torn"),
        pytest.param(told("begin a", "done a", "begin d", "total 17"), LEDGER, BALANCES, False, "a read saw the total 17, not 20", id="read"),
        pytest.param(GOOD, LEDGER, BALANCES, True, "c was reported unknown", id="unresolved"),
    ],
)  # fmt: skip
def test_the_checker_finds_each_anomaly(
    history: History, ledger: list[Transfer], balances: dict[int, int], resolved: bool, anomaly: str
) -> None:
    """Each alone."""
    assert anomalies(history, ledger, balances, 10, resolved) == [anomaly]


@pytest.mark.parametrize("pipeline", [False, True], ids=["plain", "pipeline"])
def test_a_bank_where_everything_fails(db: Database, tmp_path: Path, pipeline: bool) -> None:
    """No transfer is lost, none is made twice, every total is right, and every client is told the truth."""
    if pipeline and db.kind != "postgres":
        return  # it changes nothing there
    if db.kind != "sqlite" and not hasattr(db.server, "restart"):
        pytest.skip("a server that somebody else runs cannot be restarted")
    world = bank.run(db.kind, db.url, db.server, tmp_path, seconds=2.5, pipeline=pipeline)
    assert world.transfers() > 50
    for table in ("ledger", "account"):
        db.main.execute(f"drop table {table}")
    db.main.execute("drop table if exists sessionkit_marker")


@pytest.mark.parametrize("pipeline", [False, True], ids=["plain", "pipeline"])
def test_cuts_around_commit(server_db: Database, pipeline: bool) -> None:
    """Never a wrong answer."""
    counts = faults.cuts(server_db.kind, server_db.server, 60, pipeline=pipeline)
    assert sum(counts.values()) >= 60
    server_db.main.execute("drop table cut")
    server_db.main.execute("drop table sessionkit_marker")


def test_restarts(server_db: Database) -> None:
    """With four idle connections: no request fails."""
    if not hasattr(server_db.server, "restart"):
        pytest.skip("a server that somebody else runs cannot be restarted")
    assert faults.restarts(server_db.kind, server_db.server, 2) == {"restarts": 2, "requests served": 16}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forks(db: Database) -> None:
    """Children that exit, close, query and crash: the parent never notices."""
    assert faults.forks(db.url, 5) == {"exits": 5, "closes": 5, "queries": 5, "crashes": 5}
