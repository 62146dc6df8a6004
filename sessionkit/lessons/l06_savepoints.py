"""
Savepoints.

Three rows are to be imported, and one of them is bad. A block inside the block sets a savepoint: what fails in it is
undone alone, and the rest is committed.
"""

from ..errors import UniqueViolation
from ..session.session import Session
from .stage import Stage

NOTICE = "SAVEPOINT before each row; ROLLBACK TO after the bad one; one COMMIT at the end."
QUESTION = "Which rows are there at the end, and which would be there without savepoints?"


def lesson(stage: Stage) -> str:
    stage.table("lesson_item", "name varchar(20) primary key")
    (a,) = stage.players("A")
    skipped = []

    def load(session: Session) -> None:
        with session.begin():
            for name in ("tea", "tea", "coffee"):
                try:
                    with session.begin_nested():
                        session.execute("insert into lesson_item values (?)", [name])
                except UniqueViolation:
                    skipped.append(name)

    a.does(load)
    kept = stage.looks("select name from lesson_item order by name")
    assert (kept, skipped) == (["coffee", "tea"], ["tea"])
    return f"{' and '.join(kept)} are there, the second {skipped[0]} is not. Without savepoints none would be."
