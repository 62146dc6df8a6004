"""
Write skew and SERIALIZABLE.

Two doctors are on call, and one must stay. Each looks that the other is there, and goes home. They change different
rows, so no lock helps, and at weaker levels both commit: nobody is on call. At SERIALIZABLE one of them is told to
try again, and then stays.
"""

from ..errors import Error
from .stage import Stage

NOTICE = "Both read 2 before either writes. At SERIALIZABLE the second one cannot commit on what it has read."
QUESTION = "How many doctors are on call at the end, at each level?"
COUNT = "select count(*) from lesson_doctor where on_call = 1"


def lesson(stage: Stage) -> str:
    found = {}
    for level in [level for level in stage.levels if level in ("REPEATABLE READ", "SERIALIZABLE")]:
        stage.table("lesson_doctor", "name varchar(10) primary key, on_call integer", ("ann", 1), ("bob", 1))
        ann, bob = stage.players(f"Ann {level.lower()}", f"Bob {level.lower()}")
        free = not stage.has_one_writer
        for player in (ann, bob):
            if free:
                player.begins(isolation_level=level)  # on SQLite a block would wait for its turn before it reads
            assert player.reads(COUNT) == 2
        steps = {}
        for player, name in ((ann, "ann"), (bob, "bob")):
            steps[player] = player.starts("update lesson_doctor set on_call = 0 where name = ?", [name])
        told = 0
        for player, step in steps.items():
            try:
                step.result()
                player.commits()
            except Error:
                told += 1
                player.rolls_back()
                assert player.reads(COUNT) == 1  # it looks again, and stays
                player.commits()
        for player in (ann, bob):
            player.leaves()
        found[level] = stage.looks(COUNT)[0]
        assert found[level] == told
    assert found["SERIALIZABLE"] == 1
    assert found.get("REPEATABLE READ", 0) == 0
    left = "; ".join(f"{level}: {count}" for level, count in found.items())
    return f"{left}. Where it is 0, both were sure that the other one stays."
