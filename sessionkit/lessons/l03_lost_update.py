"""
The lost update, and three cures.

Ten pieces are in stock. A sells one and B sells three at the same time. Each program reads the stock, subtracts, and
writes the result. Both transactions commit, no error anywhere, and one sale is forgotten. Then the same with each of
three cures.
"""

from .stage import Stage

NOTICE = "B writes 7, which it has computed from the 10 that it had read before A's sale. A's 9 is overwritten."
QUESTION = "Ten pieces, one and three are sold. What is in stock after each way of doing it?"
READ, WRITE = "select pieces from lesson_stock where id = 1", "update lesson_stock set pieces = ? where id = 1"


def lesson(stage: Stage) -> str:
    stage.table("lesson_stock", "id integer primary key, pieces integer, version integer", (1, 10, 1))
    a, b = stage.players("A", "B")

    def left() -> int:
        found = stage.looks(READ)[0]
        stage.looks("update lesson_stock set pieces = 10, version = 1")
        return int(found)

    # the trap: read, think, write
    seen = {who: who.reads(READ) for who in (a, b)}
    for who in (a, b):
        who.commits()
    for who, sold in ((a, 1), (b, 3)):
        who.does(WRITE, [seen[who] - sold])
        who.commits()
    lost = left()

    # first cure: let the database subtract
    for who, sold in ((a, 1), (b, 3)):
        who.does("update lesson_stock set pieces = pieces - ? where id = 1", [sold])
        who.commits()
    subtracted = left()

    # second cure: lock what you read, so that the other one waits
    lock = READ + stage.engine.driver.for_update
    a.begins()
    first = a.reads(lock)
    b.begins()
    waiting = b.starts(lambda session: session.scalar(lock))
    a.does(WRITE, [first - 1])
    a.commits()
    b.does(WRITE, [waiting.result() - 3])
    b.commits()
    locked = left()

    # third cure: write only if nobody else has (lesson 9 has more of it)
    guarded = "update lesson_stock set pieces = ?, version = version + 1 where id = 1 and version = 1"
    a.does(guarded, [10 - 1])
    a.commits()
    too_late = b.does(guarded, [10 - 3]).rowcount == 0
    b.rolls_back()
    assert (lost, subtracted, locked, too_late) == (7, 6, 6, True)
    return (
        f"Read and write: {lost}, A's sale is lost. `pieces = pieces - ?`: {subtracted}. Locked: {locked}. "
        "With a version, B is told to look again."
    )
