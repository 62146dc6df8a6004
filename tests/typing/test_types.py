"""What type checkers must infer, with no plugin: read by mypy --strict and pyright, and run as a test."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, TypedDict, assert_type

from sessionkit import Engine, Registry, Result, Row, Session, Transaction, create_engine, entity
from sessionkit.session.stream import Stream


@entity("item", key="id")
@dataclass
class Item:
    """An entity."""

    name: str
    price: float
    id: int | None = None


class Pair(NamedTuple):
    """A row."""

    name: str
    n: int


class Plain(TypedDict):
    """A row as a dict."""

    n: int


class Kind(Enum):
    """A column's value."""

    A = "a"


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
        assert_type(session.query(Pair, "select 'a' as name, 1 as n").one(), Pair)
        assert_type(session.query(Decimal, "select '1.5'").one(), Decimal)
        assert_type(session.query(int, "select 1").all(), list[int])
        assert_type(session.query(Plain, "select 1 as n").one(), Plain)
        assert_type(session.query(Kind, "select 'a'").first(), Kind | None)
        with session.stream("select 1 as a") as rows:
            assert_type(rows, Stream[Row])
            assert_type(list(rows), list[Row])
        with session.stream("select * from item", into=Item) as items:
            assert_type(list(items), list[Item])
        assert_type(session.copy_in("item", [{"name": "x", "price": 1.0}]), int)
        assert_type(session.insert_all([Item("a", 1.0)]), list[Item])
        assert_type(session.upsert(Item("b", 1.0, 7)), Item)
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
