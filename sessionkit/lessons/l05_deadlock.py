"""
Deadlock, and trying again.

A changes Ann's row and then Bob's; B changes Bob's and then Ann's. Each waits for the row that the other has. The
database ends one of them; `run` does all of that one again. (SQLite has one writer at a time: there B waits for its
turn from the start, and no deadlock can be.)
"""

from .stage import Stage

NOTICE = "Who waits for whom, which of the two is undone, and that its second attempt begins from the start."
QUESTION = "Both add 1 to both rows. Is anything lost, or done twice, because one of them was undone?"
ADD = "update lesson_account set balance = balance + 1 where owner = ?"


def lesson(stage: Stage) -> str:
    stage.table("lesson_account", "owner varchar(10) primary key, balance integer", ("ann", 0), ("bob", 0))
    a, b = stage.players("A", "B")

    a.does(ADD, ["ann"])
    if stage.has_one_writer:
        waiting = b.starts(ADD, ["bob"])
        a.does(ADD, ["bob"])
        a.commits()
        waiting.result()
        b.does(ADD, ["ann"])
        b.commits()
        attempts = 1
    else:
        b.does(ADD, ["bob"])
        steps = {a: a.starts(ADD, ["bob"]), b: b.starts(ADD, ["ann"])}  # now each waits for the other
        over = stage.first_over(*steps.values())
        victim, other = (a, b) if steps[a] is over and over.error else (b, a)
        victim.rolls_back()
        steps[other].result()
        other.commits()
        for owner in ("ann", "bob"):
            victim.does(ADD, [owner])
        victim.commits()
        victim.notes("the second attempt is committed")
        attempts = 2

    balances = stage.looks("select balance from lesson_account")
    assert balances == [2, 2]
    again = (
        "nothing had to be done again"
        if attempts == 1
        else "what was undone left nothing, so doing it again does it once"
    )
    return f"No: both rows are at {balances[0]}; {again}."
