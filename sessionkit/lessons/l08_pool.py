"""
Who holds the connection: the pool.

A program has a few connections and lends them out. A session has one from its first statement to COMMIT or ROLLBACK.
Here the pool has one connection. A does something else for a while (a mail, a web request) with its transaction open.
"""

from ..errors import PoolTimeoutError
from .stage import Stage

NOTICE = "B asks for a connection and gets an error that names who has it. After A's COMMIT it gets one at once."
QUESTION = "Why does B wait, although it wants to read something that A has never touched?"


def lesson(stage: Stage) -> str:
    stage.table("lesson_item", "name varchar(20) primary key", ("tea",))
    small = stage.another_engine(pool_size=1, pool_timeout=0.3)
    a, b = stage.players("A", "B", engine=small)

    a.reads("select name from lesson_item")
    a.notes("sends a mail, with its transaction open")
    said = ""
    try:
        b.reads("select 1")
    except PoolTimeoutError as exc:
        said = str(exc)
        b.notes("no connection in time")
    a.commits()
    got = b.reads("select 1")
    b.commits()

    assert "1 of 1 lent" in said
    assert got == 1
    return (
        "Because a transaction has its connection to itself, whatever it touches. Commit before what takes long. "
        f"The error said: {said.partition(';')[0]}; …)"
    )
