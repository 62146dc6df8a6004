"""The traps of the table of silent losses, for this library: nothing is lost, nothing is called failed that happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .losses.__main__ import ask, judge
from .losses.peers import Sessionkit
from .losses.traps import TRAPS, Trap

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Database

COUNTED = {"restart with idle": "0 of 8 failed", "interrupted borrower": "4 of 4 places left"}


@pytest.mark.parametrize("trap", TRAPS, ids=[trap.name for trap in TRAPS])
def test_a_trap(make_database: Callable[[str], Database], trap: Trap) -> None:
    """Each in a process of its own."""
    db = make_database(trap.kind)
    if trap.run.__name__.startswith("restart") and not hasattr(db.server, "restart"):
        pytest.skip("a server that somebody else runs cannot be restarted")
    told, verdict = ask(trap, Sessionkit, db.url, db.server)
    expected = [text for name, text in COUNTED.items() if trap.name.startswith(name)]
    if expected:
        assert told.startswith(expected[0])
    else:
        assert verdict == "right", told
    for table in ("t", "t2"):
        db.main.execute(f"drop table if exists {table}")


def test_the_judge_can_tell() -> None:
    """What is right, lost and wrong."""
    trap = next(trap for trap in TRAPS if trap.name == "deadlock then work, mariadb")
    assert [
        judge(trap, said, ids, None)
        for said, ids in (
            ("well", [1, 2]), ("well", [2]), ("TransactionLostError", []), ("OperationalError", [2]), ("CommitUnknownError", [1]),
        )
    ] == ["right", "LOST", "right", "WRONG", "right"]  # fmt: skip
