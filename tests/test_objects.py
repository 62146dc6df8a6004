"""Entities and the identity map: one object per row, while it lasts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from sessionkit import (
    ArgumentError,
    InvalidRequestError,
    NoResultFound,
    Registry,
    Rollback,
    StaleObjectError,
    UniqueViolation,
    entity,
)

from .conftest import Item

if TYPE_CHECKING:
    from .conftest import Database


@entity("tag", key=("item_id", "word"))
@dataclass(frozen=True, slots=True)
class Tag:
    """An entity with a composite key, frozen and slotted."""

    item_id: int
    word: str


@entity("versioned", key="id", version="version")
@dataclass
class Versioned:
    """An entity with optimistic locking."""

    id: int
    name: str
    version: int | None = None


@entity("order", key="group")
@dataclass
class Reserved:
    """A table and columns with reserved words for names."""

    group: int | None
    select: str
    unit: str = field(default="kg", metadata={"column": "unitName"})


def statements(db: Database) -> list[str]:
    """Note the first words of the statements that run from now on."""
    seen: list[str] = []
    db.main.listen(lambda event: seen.append(event.statement.split()[0]) if hasattr(event, "statement") else None)
    return seen


def test_get_twice_is_one_object_and_one_select(db: Database) -> None:
    """Two sessions one after the other on one connection: different objects."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 3.5))
    seen = statements(db)
    with db.main.session() as session:
        first = session.get(Item, tea.id)
        assert session.get(Item, tea.id) is first
        assert first in session
        assert session.identity_map[Item, tea.id] is first
    with db.main.session() as session:
        assert session.get(Item, tea.id) is not first
    assert seen == ["SELECT", "SELECT"]


def test_the_identity_map_is_a_mapping(db: Database) -> None:
    """From (class, key) to the object, read only; `obj in session` asks for the object itself."""
    with db.main.begin() as session:
        tea, oil = session.insert(Item("tea", 3.5)), session.insert(Item("oil", 9))
        tag = session.insert(Tag(tea.id, "green"))
        held = session.identity_map
        assert isinstance(held, Mapping)
        assert held[Item, tea.id] is tea
        assert held[Tag, (tea.id, "green")] is tag
        assert list(held) == [(Item, tea.id), (Item, oil.id), (Tag, (tea.id, "green"))]
        assert [*held.values()] == [tea, oil, tag]
        assert (len(held), (Item, oil.id) in held, (Item, 99) in held, Item in held) == (3, True, False, False)
        assert held.get((Item, 99)) is None
        with pytest.raises(KeyError):
            held[Item, 99]
        with pytest.raises(KeyError):
            held["tea"]  # type: ignore[index]
        with pytest.raises(TypeError):
            held[Item, 99] = tea  # type: ignore[index]
        assert tea in session
        assert Item("tea", 3.5, tea.id) not in session
        session.expunge(oil)
        assert (Item, oil.id) not in held
        assert oil not in session
    assert not held
    assert repr(held) == "<IdentityMap: empty>"


def test_each_database_has_its_own_objects(db: Database) -> None:
    """The same key in another database is another object, in whichever order they are got."""
    registry = Registry({"main": db.main})
    registry.add("other", "sqlite://")
    registry.execute("create table item (id integer primary key, name text, price real)", bind="other")
    with registry.begin() as session:
        session.insert(Item("here", 1, 1))
        session.insert(Item("there", 1, 1), bind="other")
    with registry.session() as session:
        for order in (("other", None), (None, "other")):
            found = {bind: session.get(Item, 1, bind=bind) for bind in order}
            again = {bind: session.get(Item, 1, bind=bind) for bind in order}
            assert [found[bind].name for bind in (None, "other")] == ["here", "there"]
            assert all(again[bind] is found[bind] for bind in order)
            assert dict(session.identity_map) == {(Item, 1): found[order[0]]}  # the one that was used first
            assert all(obj in session for obj in found.values())
            session.expunge_all()
    registry["other"].dispose()


def test_get_of_what_is_not_there(db: Database) -> None:
    """None; for a key of None too; a key that cannot be hashed is an error."""
    with db.main.session() as session:
        assert session.get(Item, 99) is None
        assert session.get(Item, None) is None
        with pytest.raises(ArgumentError, match="hashable"):
            session.get(Item, [1])


def test_composite_keys_are_tuples(db: Database) -> None:
    """Frozen and slotted dataclasses work."""
    with db.main.begin() as session:
        item = session.insert(Item("tea", 1))
        tag = session.insert(Tag(item.id, "green"))
        assert session.get(Tag, (item.id, "green")) is tag
        with pytest.raises(ArgumentError, match=r"tuple \(item_id, word\)"):
            session.get(Tag, item.id)
        session.delete(tag)
        assert session.get(Tag, (item.id, "green")) is None


def test_update_writes_only_what_changed(db: Database) -> None:
    """Nothing changed: no SQL."""
    texts: list[str] = []
    db.main.listen(lambda event: texts.append(event.statement) if hasattr(event, "statement") else None)
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 3.5))
        texts.clear()
        session.update(tea)
        tea.price = 4.0
        session.update(tea)
        session.update(tea)
    quote = "`" if db.kind == "mariadb" else '"'
    q = quote
    assert texts == [f"UPDATE {q}item{q} SET {q}price{q} = :v1 WHERE {q}id{q} = :k0"]
    assert db.main.execute("select price from item").scalar() == 4.0


def test_a_query_refreshes_what_is_held_but_for_own_changes(db: Database) -> None:
    """A raw UPDATE is seen; an attribute that the program has changed keeps its value, and update still writes it."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        session.execute("update item set name = 'mate', price = 2")
        tea.price = 9.0
        assert session.query(Item, "select id, name, price from item").one() is tea
        assert (tea.name, tea.price) == ("mate", 9.0)
        session.update(tea)
    assert db.main.execute("select name, price from item").one() == ("mate", 9.0)


def test_refresh_overwrites_everything(db: Database) -> None:
    """A row that has vanished is NoResultFound, and leaves the map."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        tea.price = 9.0
        session.refresh(tea)
        assert tea.price == 1
        session.execute("delete from item")
        with pytest.raises(NoResultFound):
            session.refresh(tea)
        assert tea not in session


def test_get_for_update_goes_to_the_database(db: Database) -> None:
    """And refreshes what is held."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        session.execute("update item set price = 2")
        assert session.get(Item, tea.id) is tea
        assert tea.price == 1
        assert session.get(Item, tea.id, for_update=True) is tea
        assert tea.price == 2


def test_get_for_update_locks_the_row(server_db: Database) -> None:
    """Another transaction waits for it."""
    with server_db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
    entered = threading.Event()
    done: list[float] = []

    def other() -> None:
        with server_db.main.begin() as session:
            entered.set()
            found = session.get(Item, tea.id, for_update=True)
            assert found is not None
            done.append(found.price)

    with server_db.main.begin() as session:
        held = session.get(Item, tea.id, for_update=True)
        assert held is not None
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
        held.price = 7.0
        session.update(held)
        assert done == []
    thread.join(10)
    assert done == [7.0]


def test_savepoint_rollback_serves_no_inner_values(db: Database) -> None:
    """Objects loaded or changed inside are loaded anew."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        with session.begin_nested():
            tea.price = 9.0
            session.update(tea)
            raise Rollback
        found = session.get(Item, tea.id)
        assert found is not tea
        assert found is not None
        assert found.price == 1


def test_a_rolled_back_insert_takes_its_key_back(db: Database) -> None:
    """The object can be inserted again; a deleted row is there again."""
    tea = Item("tea", 1)
    with db.main.session() as session:
        session.insert(tea)
        session.rollback()
        assert tea.id is None
        session.insert(tea)
        session.commit()
        session.delete(tea)
        assert session.get(Item, tea.id) is None
        session.rollback()
        assert session.get(Item, tea.id) == tea
        with session.begin(), session.begin_nested():
            mate = session.insert(Item("mate", 1))
            raise Rollback
        assert mate.id is None


def test_an_insert_that_fails_leaves_the_object_as_it_was(db: Database) -> None:
    """No key, and not held."""
    with db.main.session() as session:
        session.insert(Item("tea", 1))
        twin = Item("tea", 1)
        with pytest.raises(UniqueViolation):
            with session.begin_nested():
                session.insert(twin)
        assert (twin.id, twin in session) == (None, False)
        session.rollback()


def test_an_object_that_is_not_held_is_written_whole(db: Database) -> None:
    """By its key; a row that is not there is StaleObjectError; without a key it is an error."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
    with db.main.begin() as session:
        session.update(Item("mate", 2, tea.id))
        assert session.scalar("select name from item") == "mate"
        with pytest.raises(StaleObjectError):
            session.update(Item("x", 1, 99))
        with pytest.raises(ArgumentError, match="without a key"):
            session.update(Item("x", 1))
        with pytest.raises(StaleObjectError):
            session.delete(Item("x", 1, 99))


def test_another_object_for_a_held_row_is_refused(db: Database) -> None:
    """Expunge lets go of the one that is held."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        twin = Item("twin", 1, tea.id)
        with pytest.raises(InvalidRequestError, match="another object"):
            session.update(twin)
        session.expunge(tea)
        session.update(twin)
        assert (tea in session, twin in session) == (False, True)
        with pytest.raises(InvalidRequestError, match="not held"):
            session.expunge(tea)
        session.expunge_all()
        assert len(session.identity_map) == 0


def test_a_changed_key_updates_the_row_under_its_old_one(db: Database) -> None:
    """And the object is held under the new one."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        old, tea.id = tea.id, 77
        session.update(tea)
        assert session.get(Item, 77) is tea
        assert session.get(Item, old) is None
    assert db.main.execute("select id from item").scalars() == [77]


def test_a_version_makes_a_lost_race_stale(db: Database) -> None:
    """Each update counts one up; a rollback takes it back."""
    db.main.execute("drop table if exists versioned")
    db.main.execute("create table versioned (id integer primary key, name varchar(9), version integer)")
    with db.main.begin() as session:
        mine = session.insert(Versioned(1, "a"))
        assert mine.version == 1
        twin = Versioned(1, "twin")
        with pytest.raises(UniqueViolation), session.begin_nested():
            session.insert(twin)
        assert twin.version is None
    with db.main.session() as session:
        mine = session.get(Versioned, 1)
        assert mine is not None
        mine.name = "b"
        session.update(mine)
        assert mine.version == 2
        session.rollback()
        assert mine.version == 1
        session.update(mine)
        session.commit()
        late = Versioned(1, "late", 1)
        for call in (session.update, session.delete):
            with pytest.raises(StaleObjectError, match="somebody has changed"):
                call(late)
        session.rollback()
    assert db.main.execute("select name, version from versioned").one() == ("b", 2)
    db.main.execute("drop table versioned")


def test_expire_on_commit(db: Database) -> None:
    """By default commit empties the map; without it objects stay held, and a rollback empties it all the same."""
    for expire, held in ((True, 0), (False, 1)):
        with db.main.session(expire_on_commit=expire) as session:
            session.insert(Item(f"tea{expire}", 1))
            session.commit()
            assert len(session.identity_map) == held
            session.execute("select 1")
            session.rollback()
            assert len(session.identity_map) == 0


def test_a_query_for_an_entity_needs_every_column(db: Database) -> None:
    """In any order."""
    with db.main.begin() as session:
        tea = session.insert(Item("tea", 1))
        assert session.query(Item, "select price, id, name from item").all() == [tea]
        with pytest.raises(ArgumentError, match="missing: price"):
            session.query(Item, "select id, name from item")


def test_reserved_words_and_other_column_names(db: Database) -> None:
    """Lower-case names are quoted, others are as they are written."""
    q = "`" if db.kind == "mariadb" else '"'
    auto = {
        "sqlite": "integer primary key",
        "postgres": "serial primary key",
        "mariadb": "int auto_increment primary key",
    }[db.kind]
    db.main.execute(f"drop table if exists {q}order{q}")
    db.main.execute(f"create table {q}order{q} ({q}group{q} {auto}, {q}select{q} varchar(9), unitName varchar(9))")
    try:
        with db.main.begin() as session:
            order = session.insert(Reserved(None, "a"))
            order.select, order.unit = "b", "g"
            session.update(order)
            session.expunge_all()
            assert session.get(Reserved, order.group) == Reserved(order.group, "b", "g")
    finally:
        db.main.execute(f"drop table {q}order{q}")


def test_what_is_no_entity() -> None:
    """Each mistake is told where it is made."""
    for declare, told in (
        (lambda: entity("item", key="id")(type("Plain", (), {})), "above @dataclass"),
        (
            lambda: entity("item", key="nr")(dataclass(type("A", (), {"__annotations__": {"id": int}}))),
            "'nr' is not one of its fields",
        ),
        (lambda: entity("item; drop", key="id")(Item), "is a name"),
        (lambda: entity("item", key=())(dataclass(type("A", (), {"__annotations__": {"id": int}}))), "names no field"),
    ):
        with pytest.raises(ArgumentError, match=told):
            declare()


def test_a_class_without_entity(db: Database) -> None:
    """get, insert and update say what is missing."""

    @dataclass
    class Plain:
        id: int

    @dataclass
    class Child(Item):
        pass

    with db.main.session() as session:
        for call in (
            lambda: session.get(Plain, 1),
            lambda: session.insert(Plain(1)),
            lambda: session.update(Child("a", 1)),
        ):
            with pytest.raises(ArgumentError, match="@entity"):
                call()
        session.rollback()
