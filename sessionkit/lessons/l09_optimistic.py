"""
Optimistic locking.

Two people edit the same article. Nobody locks it while they think. A version in the row tells, when the second one
saves, that somebody was faster: nothing is overwritten, and the second one is told to look again.
"""

from dataclasses import dataclass

from ..errors import StaleObjectError
from ..mapping.entity import entity
from .stage import Stage

NOTICE = "B's UPDATE asks for version 1 and finds no such row: 0 rows. B reads again and saves on top of A's text."
QUESTION = "Is A's change there at the end?"


@entity("lesson_article", key="id", version="version")
@dataclass
class Article:
    id: int
    text: str
    version: int = 1


def lesson(stage: Stage) -> str:
    stage.table("lesson_article", "id integer primary key, text varchar(40), version integer", (1, "draft", 1))
    a, b = stage.players("A", "B")
    copies = {}
    for player in (a, b):  # each loads its form, and commits: nothing stays locked while people think
        copies[player] = player.does(lambda session: session.get(Article, 1))
        player.commits()

    copies[a].text += ", with a title"
    a.does(lambda session: session.update(copies[a]))
    a.commits()

    copies[b].text += ", with an end"
    stale = False
    try:
        b.does(lambda session: session.update(copies[b]))
    except StaleObjectError:
        stale = True
        b.rolls_back()
    fresh = b.does(lambda session: session.get(Article, 1))
    fresh.text += ", with an end"
    b.does(lambda session: session.update(fresh))
    b.commits()

    text = stage.looks("select text from lesson_article")[0]
    assert stale
    assert text == "draft, with a title, with an end"
    return (
        f"Yes: “{text}”. Without the version B would have written “draft, with an end”, and nobody would have noticed."
    )
