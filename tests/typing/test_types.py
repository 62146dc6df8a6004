"""What type checkers must infer, with no plugin: read by mypy --strict and pyright, and run as a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from sessionkit import Engine, Registry, Result, Row, Session, Transaction, create_engine, entity


@entity("item", key="id")
@dataclass
class Item:
    """An entity."""

    name: str
    price: float
    id: int | None = None


def test_what_is_inferred() -> None:
    """`get` gives `Item | None`, a query `list[Item]`."""
    registry = Registry()
    engine = registry.add("shop", "sqlite://")
    assert_type(engine, Engine)
    assert_type(create_engine("sqlite://"), Engine)
    with registry.begin() as session:
        assert_type(session, Session)
        session.execute("create table item (id integer primary key, name text, price real)")
        assert_type(session.insert(Item("tea", 3.5)), Item)
        assert_type(session.get(Item, 1), Item | None)
        assert_type(session.query(Item, "select * from item").all(), list[Item])
        assert_type(session.query(Item, "select * from item").first(), Item | None)
        assert_type(session.query(Item, "select * from item").one(), Item)
        assert_type(session.execute("select 1 as a"), Result[Row])
        assert_type(session.execute("select 1 as a").all(), list[Row])
        assert_type(session.scalar("select 1"), Any)
        assert_type(session.execute("select 1 as a").one().a, Any)
        with session.begin() as tx:
            assert_type(tx, Transaction)
    assert_type(engine.run(lambda session: 5), int)

    @engine.transactional
    def plain(session: Session, word: str) -> str:
        return word

    @registry.transactional(attempts=2)
    def optioned(session: Session, word: str, *, times: int = 1) -> list[str]:
        return [word] * times

    assert_type(plain("a"), str)
    assert_type(optioned("a", times=2), list[str])
    engine.dispose()
