"""
One object per row.

A session gives one object for one row, as long as its transaction lasts: two parts of a program that ask for the same
row change the same object, and none overwrites the other. With the transaction's end the objects are let go, so that
the next one reads anew.
"""

from dataclasses import dataclass

from ..mapping.entity import entity
from .stage import Stage

NOTICE = "The second `get` sends nothing: there is one SELECT. After B's COMMIT and a new transaction, A reads again."
QUESTION = "A holds an object while B changes its row and commits. What does A's object say, and when does A see the new price?"


@entity("lesson_item", key="id")
@dataclass
class Item:
    id: int
    price: int


def lesson(stage: Stage) -> str:
    stage.table("lesson_item", "id integer primary key, price integer", (1, 10))
    a, b = stage.players("A", "B")

    first = a.does(lambda session: session.get(Item, 1))
    second = a.does(lambda session: session.get(Item, 1))
    a.notes(f"the same object: {first is second}")
    a.commits()

    b.does("update lesson_item set price = 20 where id = 1")
    b.commits()
    old = first.price
    new = a.does(lambda session: session.get(Item, 1)).price
    a.notes(f"a new transaction: price {new}")
    a.commits()
    assert first is second
    assert (old, new) == (10, 20)
    return f"The old object still says {old}: it is a plain Python object. The next transaction's `get` reads {new}."
