"""What a bank must be able to say at the end: the checker, which knows nothing of databases and finds each kind of anomaly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DONE, FAILED, UNKNOWN = "done", "failed", "unknown"


@dataclass(frozen=True)
class Transfer:
    """A row of the ledger: money that was moved, as the database holds it."""

    id: str
    source: int
    target: int
    amount: int


@dataclass
class History:
    """What the clients were told: of each transfer that was begun, its outcome if there was one; and each total that was read."""

    begun: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Take in a line of a client's log: `begin ID`, `done ID`, `failed ID`, `unknown ID`, `total NUMBER`."""
        word, _, rest = line.strip().partition(" ")
        if word == "total":
            self.totals.append(int(rest))
        elif word == "begin":
            self.begun.add(rest)
        else:
            self.told[rest] = word

    def outcome(self, transfer: str) -> str:
        """Return what was told of a transfer; one whose client died is unknown."""
        return self.told.get(transfer, UNKNOWN)


def anomalies(
    history: History, ledger: Iterable[Transfer], balances: dict[int, int], start: int, resolved: bool = False
) -> list[str]:
    """
    Return what is wrong, as text: nothing, if every account is right and every client was told the truth.

    `start` is what each account began with. `resolved` says that no client may have been told "unknown".
    """
    rows = list(ledger)
    count = Counter(row.id for row in rows)
    found = [f"{id} is there {times} times" for id, times in count.items() if times > 1]
    found += [
        f"{id} was reported done and is not there"
        for id, word in history.told.items()
        if word == DONE and not count[id]
    ]
    found += [
        f"{id} was reported failed and is there" for id, word in history.told.items() if word == FAILED and count[id]
    ]
    found += [f"{id} is there and nobody began it" for id in count if id not in history.begun]
    if resolved:
        found += [f"{id} was reported unknown" for id, word in history.told.items() if word == UNKNOWN]
    moved: Counter[int] = Counter()
    for row in rows:
        moved[row.source] -= row.amount
        moved[row.target] += row.amount
    found += [
        f"account {account} holds {balance}, the ledger says {start + moved[account]}"
        for account, balance in balances.items()
        if balance != start + moved[account]
    ]
    right = start * len(balances)
    found += [f"a read saw the total {total}, not {right}" for total in history.totals if total != right]
    return found
