"""`demo`: a timeline of what transactions do, on embedded databases in a temporary folder. It checks itself."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckViolation, ForeignKeyViolation
from ..mapping.entity import entity
from ..registry import Registry

if TYPE_CHECKING:
    from ..session.session import Session

SCHEMA = """
create table account (id integer primary key, owner text not null unique, balance integer not null check (balance >= 0));
create table card (number text primary key, account_id integer not null references account (id));
"""
AUDIT = "create table entry (id integer primary key, what text not null)"


@entity("account", key="id")
@dataclass
class Account:
    """A row of the table account."""

    owner: str
    balance: int
    id: int | None = None


class Timeline:
    """Prints what was done and what the databases then hold, and checks each against what was expected."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._step = 0
        self.wrong = 0

    def tell(self, what: str, balances: dict[str, int], entries: int, ok: bool = True) -> None:
        """Print one step; `ok` and the databases, read through connections of their own, must be as expected."""
        self._step += 1
        bank, audit = self._registry["bank"], self._registry["audit"]
        found = dict(bank.execute("select owner, balance from account order by owner").tuples())
        logged = audit.execute("select count(*) from entry").scalar()
        right = ok and found == balances and logged == entries
        self.wrong += not right
        held = ", ".join(f"{owner} {balance}" for owner, balance in found.items()) or "no accounts"
        print(f"{self._step:2}. {what}")
        print(f"    {'ok ' if right else 'NOT AS EXPECTED'} bank: {held}; audit: {logged} entries")


def transfer(session: Session, source: Account, target: Account, amount: int) -> None:
    """Move money and log it, in whatever transaction the session has."""
    source.balance -= amount
    target.balance += amount
    session.update(target)
    session.update(source)
    session.execute("insert into entry (what) values (:what)", {"what": f"{amount}"}, bind="audit")


def demo() -> int:
    """Run the demo; 0 when everything was as expected."""
    with tempfile.TemporaryDirectory(prefix="sessionkit-demo-") as folder, Registry() as registry:
        registry.add("bank", f"sqlite:///{Path(folder, 'bank.db').as_posix()}")
        registry.add("audit", f"sqlite:///{Path(folder, 'audit.db').as_posix()}")
        print("A registry of two databases, bank and audit: SQLite files in a temporary folder. After each step the")
        print("second line shows what the databases hold, as another connection sees it.\n")
        timeline = Timeline(registry)
        _tell_story(registry, timeline)
        stats = registry["bank"].pool.stats()
        right = stats["used"] == 0 and stats["open"] <= stats["max"]
        timeline.wrong += not right
        print(f"\n{'ok ' if right else 'NOT AS EXPECTED'} the bank's pool opened {stats['open']} of {stats['max']} connections "
              f"for all of this; {stats['used']} are lent now.")  # fmt: skip
    print("Everything was as expected." if not timeline.wrong else f"{timeline.wrong} steps were NOT as expected.")
    return 1 if timeline.wrong else 0


def _tell_story(registry: Registry, timeline: Timeline) -> None:
    with registry.begin() as session:
        session.script(SCHEMA)
        session.execute(AUDIT, bind="audit")
    timeline.tell("a block made the tables in both databases, and committed at its end", {}, 0)

    with registry.begin() as session:
        ann, bob = session.insert(Account("ann", 100)), session.insert(Account("bob", 50))
    timeline.tell(
        f"two entities were inserted; the database gave them the keys {ann.id} and {bob.id}", {"ann": 100, "bob": 50}, 0,
        ok=(ann.id, bob.id) == (1, 2),
    )  # fmt: skip

    with registry.session() as session:
        again, twice = session.get(Account, 1), session.get(Account, 1)
    timeline.tell(
        "got account 1 twice: the same object both times, with one SELECT",
        {"ann": 100, "bob": 50},
        0,
        ok=again is twice,
    )

    with registry.begin() as session:
        transfer(session, *_accounts(session), amount=30)
    timeline.tell(
        "a transfer of 30 from ann to bob committed, with its audit entry in the other database",
        {"ann": 70, "bob": 80},
        1,
    )

    failed = _fails(registry)
    timeline.tell(
        "a transfer of 500 failed (a CHECK said no) and left nothing, in either database",
        {"ann": 70, "bob": 80},
        1,
        ok=failed,
    )

    undone = _savepoint(registry)
    timeline.tell(
        "inside one block a savepoint failed (a card for nobody) and was undone; the transfer of 5 around it committed",
        {"ann": 65, "bob": 85}, 2, ok=undone,
    )  # fmt: skip

    warned = _close_with_work_pending(registry)
    timeline.tell("a session was closed with work pending: it was rolled back, and a warning named the statement",
                  {"ann": 65, "bob": 85}, 2, ok=warned)  # fmt: skip


def _accounts(session: Session) -> tuple[Account, Account]:
    ann, bob = session.get(Account, 1), session.get(Account, 2)
    assert ann is not None
    assert bob is not None
    return ann, bob


def _fails(registry: Registry) -> bool:
    try:
        with registry.begin() as session:
            transfer(session, *_accounts(session), amount=500)
    except CheckViolation:
        return True
    return False


def _savepoint(registry: Registry) -> bool:
    undone = False
    with registry.begin() as session:
        transfer(session, *_accounts(session), amount=5)
        try:
            with session.begin_nested():
                session.execute("insert into card values ('1234', :account)", {"account": 1})
                session.execute("insert into card values ('5678', :account)", {"account": 99})
        except ForeignKeyViolation:
            undone = session.scalar("select count(*) from card") == 0
    return undone


def _close_with_work_pending(registry: Registry) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session = registry.session()
        session.execute("update account set balance = 0")
        session.close()
    texts: list[Any] = [str(warning.message) for warning in caught]
    return len(texts) == 1 and "update account" in texts[0]
