"""
Two databases, one of them fails.

One unit of work writes to a shop and to an archive, which are two databases. Each commits for itself, one after the
other. If the second one refuses, the first one has committed already, and nothing can take that back. The error says
so, and which.
"""

from ..errors import PartialCommitError
from ..registry import Registry
from .stage import Stage

NOTICE = "Two COMMITs: the shop's worked, the archive's did not. PartialCommitError names both."
QUESTION = "The archive refuses. What is in the shop?"


def lesson(stage: Stage) -> str:
    stage.table("lesson_orders", "id integer primary key")
    archive = stage.another_engine(f"sqlite:///{stage.folder}/archive.db", name="archive")
    archive.execute("create table year (id integer primary key)")
    archive.execute("create table entry (id integer, year integer references year (id) deferrable initially deferred)")
    registry = Registry({"shop": stage.engine, "archive": archive})

    committed, failed = [], ""
    try:
        with registry.begin() as session:
            stage.recording.name(session, "A")
            session.execute("insert into lesson_orders values (1)", bind="shop")
            session.execute("insert into entry values (1, 1999)", bind="archive")  # no such year: found at COMMIT
    except PartialCommitError as exc:
        committed, failed = exc.committed, exc.failed

    orders = stage.looks("select count(*) from lesson_orders")[0]
    entries = archive.execute("select count(*) from entry").scalar()
    assert (orders, entries) == (1, 0)
    return (
        f"The order is there ({orders}), its entry is not ({entries}): {committed[0]} committed, {failed} did not. "
        "Keep in one database what belongs together."
    )
