"""Much data: streams out, and the fast ways in."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import (
    ArgumentError,
    DataError,
    IntegrityError,
    InvalidRequestError,
    QueryCancelledError,
    Rollback,
    UniqueViolation,
    entity,
)

from .conftest import Item
from .test_interrupts import Injector, Interrupt

if TYPE_CHECKING:
    from sessionkit import Engine, Session

    from .conftest import Database

ROWS = [(f"n{number}", float(number)) for number in range(50)]


@pytest.fixture
def full(db: Database) -> Engine:
    """Fifty items."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", ROWS)
    return db.main


@pytest.fixture
def idle(full: Engine) -> Any:
    """The engine, and afterwards a look that every connection came home well."""
    yield full
    with full.begin() as session:
        assert session.scalar("select count(*) from item") >= 50


# -- streams

ALL = "select name, price from item order by id"


@pytest.mark.parametrize("batch", [1, 7, 50, 1000])
def test_a_stream_brings_every_row(idle: Engine, batch: int) -> None:
    """As named rows, in order, whatever the batches; afterwards other statements run."""
    with idle.begin() as session:
        with session.stream(ALL, batch=batch) as rows:
            assert rows.columns == ("name", "price")
            found = list(rows)
            assert [tuple(row) for row in found] == ROWS
            assert found[3].name == "n3"
            assert list(rows) == []
        with session.stream("select name from item where price > :p order by id", {"p": 47}) as rows:
            assert [row.name for row in rows] == ["n48", "n49"]
        with session.stream("select name from item where 1 = 0") as rows:
            assert list(rows) == []
        assert session.scalar("select count(*) from item") == 50


def test_what_the_rows_become(idle: Engine) -> None:
    """Objects; entities are not held."""
    with idle.begin() as session:
        with session.stream("select * from item order by id", into=Item) as items:
            assert next(iter(items)).name == "n0"
        assert not session.identity_map
        with session.stream("select price from item order by id", into=int) as prices:
            assert list(prices)[-1] == 49
        with session.stream("select 7 as price", into=bool) as wrong, pytest.raises(DataError):
            list(wrong)


@pytest.mark.parametrize("how", ["commit", "rollback", "close", "reset", "invalidate", "block", "outside"])
def test_reading_on_after_the_end(idle: Engine, how: str) -> None:
    """Raises, and does not end quietly; also for the rows of a batch that came already."""
    session = idle.session()
    stream = session.stream(ALL, batch=10)
    if how == "outside":
        with pytest.raises(InvalidRequestError, match="inside its block"):
            next(iter(stream))
        return
    with stream as rows:
        it = iter(rows)
        assert next(it).name == "n0"
        if how != "block":
            getattr(session, how)()
            with pytest.raises(InvalidRequestError, match="has ended"):
                next(it)
    with pytest.raises(InvalidRequestError, match="has ended"):
        next(iter(rows))
    with pytest.raises(InvalidRequestError, match="read already"), stream:
        pass
    session.close()


def test_other_statements_meanwhile(db: Database, full: Engine) -> None:
    """They run where the server can; MySQL's are refused by name, and nothing is lost."""
    with full.begin() as session:
        session.execute("update item set price = 100 where name = 'n0'")
        with session.stream(ALL, batch=5) as rows:
            it = iter(rows)
            next(it)
            if db.kind == "mariadb":
                with pytest.raises(InvalidRequestError, match="a stream is open on this connection"):
                    session.execute("select 1")
                with pytest.raises(InvalidRequestError, match="a stream is open"), session.begin_nested():
                    session.execute("select 1")
            else:
                assert session.scalar("select 1") == 1
                with session.begin_nested():
                    session.execute("update item set price = 101 where name = 'n1'")
                    raise Rollback
            assert next(it).name == "n1"
        assert session.scalar("select price from item where name = 'n0'") == 100
    assert full.execute("select count(*) from item where price = 100").scalar() == 1


@pytest.mark.parametrize("left_by", ["break", "error", "caught error"])
def test_leaving_early(idle: Engine, left_by: str) -> None:
    """The transaction goes on, or is rolled back; nothing is in doubt."""
    try:
        with idle.begin() as session:
            session.execute("insert into item (name, price) values ('x', 1)")
            try:
                with session.stream(ALL, batch=5) as rows:
                    for row in rows:
                        if row.name == "n3":
                            if left_by == "break":
                                break
                            raise KeyError(row.name)
            except KeyError:
                if left_by == "error":
                    raise
            assert session.scalar("select count(*) from item") == 51
    except KeyError:
        pass
    assert idle.execute("select count(*) from item").scalar() == 50 + (left_by != "error")


def test_a_stream_inside_a_savepoint_ends_with_it(idle: Engine) -> None:
    """Read on afterwards, it raises; the outer transaction stands."""
    with idle.begin() as session:
        session.execute("insert into item (name, price) values ('x', 1)")
        nested = session.begin_nested()
        session.execute("select 1")
        stream = session.stream(ALL, batch=5)
        rows = stream.__enter__()
        it = iter(rows)
        next(it)
        nested.rollback()
        with pytest.raises(InvalidRequestError, match="has ended"):
            list(it)
        assert session.scalar("select count(*) from item") == 51


def test_an_error_in_the_middle_of_a_stream(db: Database, full: Engine) -> None:
    """Arrives as ours, and a savepoint undoes it."""
    by_zero = {
        "sqlite": "select abs(-9223372036854775808 + case when price < 40 then 1 else 0 end) from item order by id",
        "postgres": "select 1 / (price::int - 40) from item order by id",
        "mariadb": "select exp(case when price < 40 then 1 else 10000 end) from item order by id",
    }
    with full.begin() as session:
        session.execute("insert into item (name, price) values ('x', 1)")
        with pytest.raises(sessionkit.Error) as caught, session.begin_nested():
            with session.stream(by_zero[db.kind], batch=5) as rows:
                list(rows)
        assert not isinstance(caught.value, InvalidRequestError)
        assert session.scalar("select count(*) from item") == 51


def test_statements_without_rows(idle: Engine) -> None:
    """Are refused by name; what returns rows and is no SELECT streams too."""
    with idle.begin() as session:
        with pytest.raises(InvalidRequestError, match="returns no rows"), session.stream("update item set price = 1"):
            pass
        raise Rollback


def test_a_limit_holds_for_streams(db: Database) -> None:
    """The statement, and each batch of its rows."""
    from .conftest import SLEEP

    with pytest.raises(QueryCancelledError), db.main.begin(statement_timeout=0.3) as session:
        with session.stream(SLEEP[db.kind]) as rows:
            list(rows)
    assert db.main.execute("select 1").scalar() == 1


def test_a_stream_in_constant_memory(db: Database) -> None:
    """A hundred thousand rows need no more than ten."""
    numbers = {
        "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select i from n",
        "postgres": "select i from generate_series(1, 100000) i",
        "mariadb": "select seq from seq_1_to_100000",
    }[db.kind]
    with db.main.begin() as session:
        with session.stream(numbers) as rows:
            next(iter(rows))
        gc.collect()
        tracemalloc.start()
        with session.stream(numbers) as rows:
            assert sum(row[0] for row in rows) == 5000050000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000


# -- copy_in


@dataclass
class Priced:
    name: str
    price: Decimal


def named_rows(rows: list[Any]) -> list[Any]:
    """Return rows as a result has them."""
    with sessionkit.create_engine("sqlite://") as engine:
        return [engine.execute("select ? as name, ? as price", row).one() for row in rows]


KINDS_OF_ROWS = {
    "tuples": lambda: ROWS,
    "lists": lambda: [list(row) for row in ROWS],
    "mappings": lambda: [{"price": price, "name": name} for name, price in ROWS],
    "named rows": lambda: [*named_rows(ROWS[:3]), *ROWS[3:]],
    "dataclasses": lambda: [Priced(name, Decimal(price)) for name, price in ROWS],
    "entities": lambda: [Item(name, price) for name, price in ROWS],
    "a generator": lambda: (row for row in ROWS),
}


@pytest.mark.parametrize("kind", KINDS_OF_ROWS)
def test_copy_in_takes_rows_of_every_kind(db: Database, kind: str) -> None:
    """And says how many there were."""
    with db.main.begin() as session:
        columns = ("name", "price") if kind in ("tuples", "lists", "named rows", "a generator") else None
        assert session.copy_in("item", KINDS_OF_ROWS[kind](), columns) == 50
        assert session.execute("select name, price from item order by price").tuples() == ROWS
        assert session.copy_in("item", []) == 0
    assert len(db.names()) == 50


def test_copy_in_without_columns_fills_them_in_order(db: Database) -> None:
    """As INSERT does without a list."""
    db.main.execute("insert into item (id, name, price) values (1, 'a', 1)")
    with db.main.begin() as session:
        assert session.copy_in("tag", [(1, "x"), (1, "y")]) == 2
        assert session.scalars("select word from tag order by word") == ["x", "y"]


@pytest.mark.parametrize("many", [False, True])
def test_a_bad_row_is_named_and_nothing_is_kept(db: Database, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A duplicate, a value that the column refuses, one that no database takes; in the first batch or a later one."""
    if many:
        monkeypatch.setattr("sessionkit.session.bulk._BATCH", 10)
    bad: list[tuple[tuple[Any, ...], type[Exception]]] = [
        (("n3", 1.0), UniqueViolation), (("x", -1.0), IntegrityError), (("x", {1}), DataError), ((None, None), IntegrityError),
    ]  # fmt: skip
    with db.main.begin() as session:
        session.execute("insert into item (name, price) values ('before', 1)")
        for row, error in bad:
            with pytest.raises(error, match=r"^row 40 \(counted from 0\)"):
                session.copy_in("item", [*ROWS[:40], row, *ROWS[40:]], ("name", "price"))
            assert session.scalars("select name from item") == ["before"]
        with pytest.raises(ArgumentError, match=r"row 40 \(counted from 0\) has 1 values, and the first has 2"):
            session.copy_in("item", [*ROWS[:40], ("x",)], ("name", "price"))
        with pytest.raises(ArgumentError, match=r"row 2 \(counted from 0\) has no name, price"):
            session.copy_in("item", [{"name": "a", "price": 1}, {"name": "b", "price": 1}, {"name": "c"}])
        with pytest.raises(ArgumentError, match=r"row 1 \(counted from 0\) has 3 values, and the first has 2"):
            session.copy_in("item", [{"name": "a", "price": 1}, {"name": "b", "price": 1, "id": 7}])
        assert session.copy_in("item", ROWS, ("name", "price")) == 50
    assert len(db.names()) == 51


def test_a_generator_that_fails(db: Database) -> None:
    """Its exception comes out as it is, nothing is kept, and the transaction stands; it may use the session, too."""

    def rows(session: Session, fails: bool) -> Any:
        for number in range(12_000):
            if number == 11_000 and fails:
                raise KeyError("mine")
            if number == 6_000:
                session.execute("select 1")
            yield (f"n{number}", 1)

    with db.main.begin() as session:
        with pytest.raises(KeyError, match="mine"):
            session.copy_in("item", rows(session, True), ("name", "price"))
        assert session.scalar("select count(*) from item") == 0
        assert session.copy_in("item", rows(session, False), ("name", "price")) == 12_000
        assert session.scalar("select count(*) from item") == 12_000


def test_from_a_stream_of_another_session(full: Engine) -> None:
    """Rows go on from one table to another."""
    with full.session() as source, full.begin() as target:
        with source.stream("select id, name from item") as rows:
            assert target.copy_in("tag", rows, ("item_id", "word")) == 50
        assert target.scalar("select count(*) from tag") == 50


@pytest.mark.parametrize("key", ["name", ("name",)])
def test_copy_in_over_what_is_there(db: Database, key: Any) -> None:
    """`skip` leaves rows alone, `update` overwrites them; of two rows with one key the first, or the last, wins."""
    with db.main.begin() as session:
        columns = ("name", "price")

        def found() -> dict[str, float]:
            return dict(session.execute("select name, price from item").tuples())

        session.copy_in("item", [("a", 1), ("b", 2)], columns)
        rows = [("b", 20), ("c", 30), ("c", 31)]
        assert session.copy_in("item", rows, columns, on_conflict="skip", key=key) == 3
        assert found() == {"a": 1, "b": 2, "c": 30}
        assert session.copy_in("item", [*rows, ("d", 4)], columns, on_conflict="update", key=key) == 4
        assert found() == {"a": 1, "b": 20, "c": 31, "d": 4}
        assert session.copy_in("item", [{"name": "a", "price": 9}], on_conflict="update", key=key) == 1
        assert found()["a"] == 9
        with pytest.raises(IntegrityError):
            session.copy_in("item", [("e", 1), ("f", -1)], columns, on_conflict="update", key=key)
        assert "e" not in found()


def test_a_column_that_is_the_whole_key(db: Database) -> None:
    """There is nothing to update: the row stays."""
    with db.main.begin() as session:
        session.execute("insert into item (id, name, price) values (1, 'a', 1)")
        for _ in range(2):
            assert (
                session.copy_in("tag", [(1, "x")], ("item_id", "word"), on_conflict="update", key=("item_id", "word"))
                == 1
            )
        assert session.scalar("select count(*) from tag") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rows": 5}, "rows are an iterable of sequences"),
        ({"rows": [(1,)], "table": "item; drop table item"}, "a table is a name"),
        ({"rows": "text"}, "rows are an iterable of sequences"),
        ({"rows": [5]}, "a row is a sequence, a mapping or a dataclass; the first is int"),
        ({"rows": [("a",)], "columns": ("name", "price")}, "row 0 .* has 1 values for 2 columns: name, price"),
        ({"rows": [("a", 1)], "on_conflict": "replace"}, 'on_conflict is "skip", "update" or None'),
        ({"rows": [("a", 1)], "on_conflict": "update"}, "needs key="),
        ({"rows": [("a", 1)], "key": "name"}, "key= goes with on_conflict"),
        ({"rows": [("a", 1)], "on_conflict": "update", "key": "name"}, "needs to know the columns"),
        (
            {"rows": [{"name": 1}], "on_conflict": "update", "key": "sku"},
            "key= names sku, which is not among the columns: name",
        ),
    ],
)
def test_what_copy_in_refuses(sqlite: Database, arguments: dict[str, Any], said: str) -> None:
    """Before anything is sent."""
    with sqlite.main.begin() as session, pytest.raises(ArgumentError, match=said):
        session.copy_in(**{"table": "item", **arguments})


def copies(session: Session) -> None:
    """Rows in."""
    session.copy_in("item", ROWS[:5], ("name", "price"))


def copies_over(session: Session) -> None:
    """Rows in, over what is there."""
    session.copy_in("item", ROWS[:5], ("name", "price"), on_conflict="update", key="name")


def streams(session: Session) -> None:
    """Rows out, left in the middle."""
    with session.stream(ALL, batch=2) as rows:
        for row in rows:
            if row.name == "before":
                break


def inserts_all(session: Session) -> None:
    """Entities with generated keys."""
    session.insert_all([Item("x", 1), Item("y", 2)])


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", [copies, copies_over, streams, inserts_all])
def test_an_interrupt_at_every_few_bytecodes(db: Database, work: Any) -> None:
    """The block keeps nothing, the next one works on a clean connection, and all that it wrote is there."""
    stride = {"sqlite": 3, "postgres": 17, "mariadb": 17}[db.kind]
    engine = db.engine(pool_size=1, pool_timeout=5)
    engine.execute("insert into item (name, price) values ('before', 1), ('after', 2)")
    at = 1
    while True:
        injector = Injector(at)
        try:
            with injector, engine.begin() as session:
                work(session)
                raise Rollback
        except Interrupt:
            pass
        gc.collect(0)
        with engine.begin() as session:
            assert session.scalars("select name from item order by id") == ["before", "after"], injector.where
            work(session)
            assert session.scalar("select count(*) from item") >= 2
            raise Rollback
        if injector.count < at:
            break
        at += stride
    assert at > 100


def test_an_interrupt_in_a_generator(db: Database) -> None:
    """Of any kind: the call keeps nothing."""

    def rows() -> Any:
        yield ("a", 1)
        raise Interrupt

    with db.main.begin() as session:
        session.execute("insert into item (name, price) values ('x', 1)")
        with pytest.raises(Interrupt):
            session.copy_in("item", rows(), ("name", "price"))
        assert session.scalars("select name from item") == ["x"]


@pytest.mark.parametrize("how", ["rollback", "commit", "close"])
@pytest.mark.parametrize("work", [copies, copies_over, inserts_all])
def test_what_begins_a_transaction_does_not_end_it(db: Database, work: Any, how: str) -> None:
    """As the first call of a session: the program commits, or not."""
    session = db.main.session()
    work(session)
    assert session.in_transaction()
    assert db.names() == []
    if how == "close":
        with pytest.warns(sessionkit.UncommittedWorkWarning):
            session.close()
    else:
        getattr(session, how)()
    assert bool(db.names()) == (how == "commit")
    session.close()


def test_nothing_begins_by_itself_where_that_is_switched_off(db: Database) -> None:
    """As with execute."""
    with db.main.session(autobegin=False) as session:
        with pytest.raises(InvalidRequestError, match="autobegin=False"):
            session.copy_in("item", ROWS, ("name", "price"))
        with pytest.raises(InvalidRequestError, match="autobegin=False"):
            session.insert_all([Item("x", 1)])
    assert db.names() == []


# -- entities


@entity("tag", key=("item_id", "word"))
@dataclass
class Tag:
    item_id: int
    word: str


def test_insert_all(db: Database) -> None:
    """Generated keys are filled in, in order; objects with keys, of other classes, too; all are held."""
    with db.main.begin() as session:
        items = session.insert_all(Item(name, price) for name, price in ROWS)
        assert [item.id for item in items] == sorted({item.id for item in items})  # type: ignore[type-var]
        assert {item.name: item.id for item in items} == dict(session.execute("select name, id from item").tuples())
        assert all(session.get(Item, item.id) is item for item in items)
        first = items[0].id
        assert first is not None
        mixed: list[Any] = [Item("a", 1, id=9001), Item("b", 2), Tag(first, "x"), Tag(first, "y"), Item("c", 3)]
        session.insert_all(mixed)
        assert session.scalar("select name from item where id = 9001") == "a"
        assert session.scalars("select word from tag order by word") == ["x", "y"]
        assert all(item.id for item in (mixed[1], mixed[4]))
        assert session.insert_all([]) == []
    assert len(db.names()) == 53


def test_insert_all_keeps_all_or_nothing(db: Database) -> None:
    """Keys that were filled in are taken back."""
    with db.main.begin() as session:
        items = [Item("a", 1), Item("b", 2), Item("a", 3)]
        with pytest.raises(UniqueViolation):
            session.insert_all(items)
        assert session.scalar("select count(*) from item") == 0
        assert [item.id for item in items] == [None, None, None]
        assert not session.identity_map


def test_upsert(db: Database) -> None:
    """One statement: a new row, or every other column of the one that is there."""
    with db.main.begin() as session:
        made = session.upsert(Item("a", 1), on="name")
        assert made.id is not None
        again = session.upsert(Item("a", 2), on=("name",))
        assert again.id == made.id
        assert session.execute("select id, name, price from item").tuples() == [(made.id, "a", 2)]
        session.upsert(Item("b", 3, id=made.id))
        assert session.execute("select id, name, price from item").tuples() == [(made.id, "b", 3)]
        session.insert(Item("c", 1))
        session.upsert(Tag(made.id, "x"))
        session.upsert(Tag(made.id, "x"))
        assert session.scalar("select count(*) from tag") == 1


def test_upsert_of_a_row_that_has_another_key(db: Database) -> None:
    """The object gets the key of the row that it overwrote."""
    with db.main.begin() as session:
        there = session.insert(Item("a", 1))
        other = session.upsert(Item("a", 5, id=9000), on="name")
        assert other.id == there.id
        assert session.get(Item, there.id) is other
        assert session.get(Item, 9000) is None
        assert session.execute("select id, name, price from item").tuples() == [(there.id, "a", 5)]


def test_listeners_hear_of_streams_and_copies(db: Database) -> None:
    """As of every statement."""
    heard: list[str] = []
    db.main.listen(lambda event: heard.append(str(getattr(event, "statement", "")).split(" ")[0].lower()))
    with db.main.begin() as session:
        session.copy_in("item", ROWS, ("name", "price"))
        with session.stream(ALL) as rows:
            list(rows)
        session.insert_all([Item("x", 1)])
        with pytest.raises(UniqueViolation):
            session.copy_in("item", [("x", 1)], ("name", "price"))
    assert heard.count("insert") == 3
    assert heard.count("select") == 1


def test_what_upsert_refuses(sqlite: Database) -> None:
    """A field that is not there, and an entity with a version."""

    @entity("item", key="id", version="price")
    @dataclass
    class Versioned:
        name: str
        price: int
        id: int | None = None

    with sqlite.main.begin() as session:
        with pytest.raises(ArgumentError, match="upsert on sku: Item has name, price, id"):
            session.upsert(Item("a", 1), on="sku")
        with pytest.raises(ArgumentError, match=r"has a version \(price\)"):
            session.upsert(Versioned("a", 1))
