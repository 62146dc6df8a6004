"""
Dirty, non-repeatable and phantom reads, by isolation level.

A looks at a table twice within one transaction. Between the two looks B changes a row and adds one. Whether A notices
depends on A's isolation level.
"""

from .stage import Stage

NOTICE = (
    "The first look of A comes while B has not committed; the second after B has. Compare what A reads at each level."
)
QUESTION = "At which levels is what A reads the same from the first look to the last?"


def lesson(stage: Stage) -> str:
    found = {}
    for level in stage.levels:
        stage.table("lesson_price", "id integer primary key, cents integer", (1, 100))
        a, b = stage.players(f"A {level.lower()}", "B")

        a.begins(isolation_level=level, read_only=True)
        start = a.reads("select sum(cents) from lesson_price")
        change = b.starts("update lesson_price set cents = 200 where id = 1")
        uncommitted = a.reads("select sum(cents) from lesson_price where id = 1")
        if change.is_over:  # else B waits until A has ended (MariaDB's SERIALIZABLE locks what is read)
            b.does("insert into lesson_price values (2, 50)")
            b.commits()
        changed = a.reads("select cents from lesson_price where id = 1")
        rows = a.reads("select count(*) from lesson_price")
        a.commits()
        change.result()
        for player in (a, b):
            player.leaves()

        found[level] = {
            "dirty": uncommitted != start, "non-repeatable": uncommitted == start and changed != start, "phantom": rows != 1
        }  # fmt: skip
    stable = [level for level, reads in found.items() if not any(reads.values())]
    assert "SERIALIZABLE" in stable or "REPEATABLE READ" in stable
    assert not any(reads["dirty"] for level, reads in found.items() if level != "READ UNCOMMITTED")
    noticed = [
        f"{level}: {', '.join(name for name in reads if reads[name]) or 'nothing'}" for level, reads in found.items()
    ]
    return f"{' and '.join(stable)}. What A noticed: {'; '.join(noticed)}."
