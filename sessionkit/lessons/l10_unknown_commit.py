"""
COMMIT's answer is lost: exactly once.

The network breaks after COMMIT was sent and before its answer came. Was it done? Doing it again may do it twice; not
doing it again may lose it. `run(..., resolve=True)` writes a mark in the same transaction, looks for it afterwards,
and knows. (SQLite has no network to lose an answer on: there the lesson shows the mark.)
"""

from ..session.session import Session
from .stage import Stage

NOTICE = "COMMIT fails with CommitUnknownError although the row is there; then somebody looks what became of it."
QUESTION = "The wire is cut at the first payment. How often is it in the table: never, once, twice?"
KEYS = {"postgresql": "serial", "sqlite": "integer"}


def pay(session: Session) -> None:
    session.execute("insert into lesson_payment (cents) values (500)")


def lesson(stage: Stage) -> str:
    key = KEYS.get(stage.engine.driver.system(stage.engine.url.scheme), "integer auto_increment")
    stage.table("lesson_payment", f"id {key} primary key, cents integer")
    if stage.has_one_writer:
        stage.engine.run(pay, resolve=True)
        told = "On SQLite no answer can be lost; on a server (--url) this lesson cuts the wire, and it is once too."
    else:
        with stage.losing_an_answer() as engine:
            engine.run(pay, resolve=True)
        told = "The answer was lost, the question was asked, and the payment was not made again."
    times = stage.looks("select count(*) from lesson_payment")[0]
    assert times == 1
    return f"Once ({times} row). {told}"
