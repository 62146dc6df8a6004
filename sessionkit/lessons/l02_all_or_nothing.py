"""
All or nothing.

Money goes from Ann to Bob: two UPDATEs that belong together. The second one fails. A block undoes the first one too,
so that no money is lost on the way.
"""

from ..errors import CheckViolation
from ..session.session import Session
from .stage import Stage

NOTICE = (
    "The first UPDATE worked. Because the second one failed, the block ends with ROLLBACK, and Ann has her money back."
)
QUESTION = (
    "Ann had 100 and Bob 90, and nobody may have more than 100. What do they have after the transfer of 30 failed?"
)


def lesson(stage: Stage) -> str:
    stage.table(
        "lesson_account",
        "owner varchar(10) primary key, balance integer check (balance between 0 and 100)",
        ("ann", 100),
        ("bob", 90),
    )
    (a,) = stage.players("A")

    def transfer(session: Session) -> None:
        with session.begin():
            session.execute("update lesson_account set balance = balance - 30 where owner = 'ann'")
            session.execute("update lesson_account set balance = balance + 30 where owner = 'bob'")

    refused = False
    try:
        a.does(transfer)
    except CheckViolation:
        refused = True

    ann = a.reads("select balance from lesson_account where owner = 'ann'")
    bob = a.reads("select balance from lesson_account where owner = 'bob'")
    assert refused
    assert (ann, bob) == (100, 90)
    return f"Ann {ann} and Bob {bob}: as if nothing had been tried. Without a transaction Ann would have 70, and 30 would be gone."
