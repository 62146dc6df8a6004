"""
Nothing is there until COMMIT.

A puts an order into the table. As long as A has not committed, nobody else sees it: not because it is hidden, but
because it has not happened yet. B looks twice.
"""

from .stage import Stage

NOTICE = "B's first look finds 0 rows, although A's INSERT is over. After A's COMMIT it finds 1."
QUESTION = "A looks at its own order before it commits. What does A see?"


def lesson(stage: Stage) -> str:
    stage.table("lesson_orders", "id integer primary key, article varchar(20)")
    a, b = stage.players("A", "B")

    a.does("insert into lesson_orders values (1, 'tea')")
    own = a.reads("select count(*) from lesson_orders")
    before = b.reads("select count(*) from lesson_orders")
    b.commits()

    a.commits()
    after = b.reads("select count(*) from lesson_orders")
    b.commits()

    assert (own, before, after) == (1, 0, 1)
    return f"A sees {own} row: its own changes are there for itself, and for nobody else ({before} for B)."
