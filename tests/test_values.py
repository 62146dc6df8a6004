"""What goes in comes out, on every database: the table in docs/values.md, and random values."""

from __future__ import annotations

import math
import os
import uuid
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionkit import ArgumentError, DataError, Json, Registry, create_engine, entity

if TYPE_CHECKING:
    from sessionkit import Engine

    from .conftest import Database

PAGE = Path(__file__).parent.parent / "docs" / "values.md"
WAYS = ("parameter → row", "dataclass", "entity", "copy_in", "stream")
NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB"}


class Color(Enum):
    RED = "r"
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 9


class Cents(Enum):
    ONE = Decimal("0.01")


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Address:
    street: str
    since: date


@dataclass(frozen=True)
class Money:
    """A program's own type."""

    cents: int


class Deep(dict[str, Any]):
    """A dict of the program's own."""


INT = ("integer", "bigint", "bigint")
TEXT = ("text", "text", "text")
FLOAT = ("real", "double precision", "double")
DECIMAL = ("text", "numeric", "decimal(38, 10)")
DATETIME = ("text", "timestamp", "datetime(6)")
MOMENT = ("text", "timestamptz", "datetime(6)")
JSON = ("text", "jsonb", "json")
NOON = datetime(2026, 2, 3, 12, 0, 0, 123456)


class Value(NamedTuple):
    """A value, the annotation of its field, and its column on each database."""

    value: Any
    annotation: Any
    columns: tuple[str, str, str]


VALUES = {
    "None": Value(None, int | None, INT),
    "True": Value(True, bool, ("integer", "boolean", "boolean")),
    "False": Value(False, bool, ("integer", "boolean", "boolean")),
    "an int": Value(42, int, INT),
    "the largest int of 64 bits": Value(2**63 - 1, int, INT),
    "an int of 70 bits": Value(2**69, int, ("integer", "numeric", "decimal(38)")),
    "a float": Value(0.1 + 0.2, float, FLOAT),
    "a whole float": Value(5.0, float, FLOAT),
    "a tiny float": Value(5e-324, float, FLOAT),
    "NaN": Value(math.nan, float, FLOAT),
    "infinity": Value(-math.inf, float, FLOAT),
    "Decimal 12.10": Value(Decimal("12.10"), Decimal, ("text", "numeric", "decimal(10, 2)")),
    "Decimal of 27 digits": Value(Decimal("12345678901234567.0123456789"), Decimal, DECIMAL),
    "a text": Value("Käse 🧀 'quoted' \\ %s", str, TEXT),
    "an empty text": Value("", str, TEXT),
    "a text with NUL": Value("a\0b", str, TEXT),
    "bytes": Value(b"\0\xff'", bytes, ("blob", "bytea", "blob")),
    "a bytearray": Value(bytearray(b"\0\xff"), bytes, ("blob", "bytea", "blob")),
    "a memoryview": Value(memoryview(b"\0\xff"), bytes, ("blob", "bytea", "blob")),
    "a date": Value(date(2026, 2, 3), date, ("text", "date", "date")),
    "a time": Value(time(23, 59, 59, 999999), time, ("text", "time", "time(6)")),
    "a time with a zone": Value(time(1, 2, tzinfo=UTC), time, ("text", "timetz", "time(6)")),
    "a datetime": Value(NOON, datetime, DATETIME),
    "a datetime in UTC": Value(NOON.replace(tzinfo=UTC), datetime, MOMENT),
    "a datetime of another zone": Value(
        NOON.replace(tzinfo=timezone(timedelta(hours=5, minutes=30))), datetime, MOMENT
    ),
    "a timedelta": Value(timedelta(hours=30, microseconds=5), timedelta, ("integer", "interval", "time(6)")),
    "a negative timedelta": Value(timedelta(seconds=-1), timedelta, ("integer", "interval", "time(6)")),
    "a UUID": Value(uuid.UUID(int=7), uuid.UUID, ("text", "uuid", "char(36)")),
    "an Enum": Value(Color.BLUE, Color, TEXT),
    "an IntEnum": Value(Level.HIGH, Level, INT),
    "an Enum of Decimals": Value(Cents.ONE, Cents, ("text", "numeric", "decimal(10, 2)")),
    "a dict": Value({"a": [1, None, {"b": "ü"}], "c": 1.5}, dict, JSON),
    "a dict of dates": Value({"due": date(2026, 1, 1)}, dict[str, date], JSON),
    "a list": Value(["x", "y"], list[str], ("text", "text[]", "json")),
    "a tuple": Value((1, 2), tuple[int, int], JSON),
    "Json of a list": Value(Json([1, "x", None]), Json[list[Any]], JSON),
    "Json of a dataclass": Value(Json(Address("High St", date(2020, 5, 5))), Json[Address], JSON),
    "a type of the program": Value(Money(995), Money, INT),
    "a path": Value(PurePosixPath("/etc"), PurePosixPath, TEXT),
    "a set": Value({1, 2}, set, TEXT),
    "a numpy int64": Value("numpy", int, INT),
    "a numpy float64": Value("numpy", float, FLOAT),
    "a numpy bool": Value("numpy", bool, ("integer", "boolean", "boolean")),
}
OWN = {Money: (lambda money: money.cents, Money)}
SAME = {"a bytearray": b"\0\xff", "a memoryview": b"\0\xff"}


def given_value(name: str) -> Any:
    """Return the value itself: numpy is imported for those that need it."""
    if name.startswith("a numpy"):
        import numpy

        return {"int64": numpy.int64(-7), "float64": numpy.float64(0.1), "bool": numpy.bool_(True)}[name.split()[-1]]
    return VALUES[name].value


def expected(name: str) -> Any:
    """Return what is to come back where it is not the very value: bytes for what holds bytes, Python's own for numpy's."""
    value = given_value(name)
    return value.item() if name.startswith("a numpy") else SAME.get(name, value)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of one type."""
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


def column_of(kind: str, name: str) -> str:
    """Return the column's type on a database."""
    if kind == "duckdb":
        column = VALUES[name].columns[1]
        return {"bytea": "blob", "numeric": "decimal(38, 10)", "jsonb": "json", "text[]": "varchar[]"}.get(
            column, column
        )
    return VALUES[name].columns[("sqlite", "postgres", "mariadb").index(kind)]


def tried(engine: Engine, kind: str, name: str, way: str) -> str:
    """Send a value in and get it back one way; say what came: `same`, the name of the error, or what it became."""
    value = given_value(name)
    cls: Any = make_dataclass("Thing", [("id", int), ("v", VALUES[name].annotation)])
    thing = f"thing_{list(VALUES).index(name)}_{WAYS.index(way)}"
    engine.execute(f"create table {thing} (id int primary key, v {column_of(kind, name)})")
    try:
        with engine.begin() as session:
            if way in ("copy_in", "stream"):
                session.copy_in(thing, [cls(1, value)])
            elif way == "entity":
                session.insert(entity(thing, key="id")(cls)(1, value))
            elif way == "dataclass":
                session.execute(f"insert into {thing} (id, v) values (:id, :v)", cls(1, value))
            else:
                session.execute(f"insert into {thing} (id, v) values (?, ?)", (1, value))
    except DataError as exc:
        assert engine.execute(f"select count(*) from {thing}").scalar() == 0
        assert exc.args[0]
        return "DataError"
    with engine.begin() as session:
        if way == "entity":
            found = session.get(cls, 1)
            session.update(found)  # nothing has changed
            back = found.v
        elif way == "stream":
            with session.stream(f"select id, v from {thing}", into=cls) as rows_of:
                back = next(iter(rows_of)).v
        elif way in ("dataclass", "copy_in"):
            back = session.query(cls, f"select id, v from {thing}").one().v
        else:
            back = session.execute(f"select v from {thing}").scalar()
    if is_same(expected(name), back):
        return "same"
    if way != "parameter → row":
        raise AssertionError(f"{name} came back as {back!r}")
    return type(back).__name__


@pytest.mark.parametrize("kind", NAMES)
def test_the_table_of_values(kind: str, request: pytest.FixtureRequest) -> None:
    """Same value and type through a dataclass and an entity, or a DataError with nothing stored; what a bare row holds; it is the page."""
    db: Database = request.getfixturevalue({"sqlite": "sqlite", "postgres": "postgres", "mariadb": "mariadb"}[kind])
    engine = db.engine(values=OWN)
    rows = {name: [tried(engine, kind, name, way) for way in WAYS] for name in VALUES}
    lines = [f"| {name} | `{column_of(kind, name)}` | {' | '.join(rows[name])} |" for name in VALUES]
    text = f"## {NAMES[kind]}\n\n| value | column | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}\n" + "\n".join(
        lines
    )
    page = PAGE.read_text()
    if os.environ.get("SESSIONKIT_WRITE_TABLES"):
        head, _, rest = page.partition(f"## {NAMES[kind]}\n")
        _, mark, tail = rest.partition("\n## ")
        PAGE.write_text(head + text + "\n" + (mark + tail if mark else ""))
        return
    assert text in page


# -- rows become


class Named(NamedTuple):
    name: str
    price: Decimal


class Typed(TypedDict):
    name: str
    price: Decimal


@dataclass(kw_only=True)
class Keyworded:
    name: str
    price: Decimal | None
    note: str = "-"


def rows(db: Database) -> Engine:
    """Return an engine with one row that has a price to convert, or one that is right already."""
    engine = db.engine(values=OWN)
    engine.execute("drop table if exists shop")
    engine.execute(f"create table shop (name varchar(20), price {column_of(db.kind, 'Decimal 12.10')}, cents int)")
    engine.execute("insert into shop values (?, ?, ?)", ("x", Decimal("12.10"), 5))
    return engine


def test_what_a_row_becomes(db: Database) -> None:
    """A dataclass, NamedTuple, TypedDict, dict, tuple, list, one column, any callable."""
    price = Decimal("12.10")
    with rows(db).begin() as session:

        def made(target: Any, columns: str = "name, price") -> Any:
            return session.query(target, f"select {columns} from shop").one()

        assert made(Named) == Named("x", price)
        assert type(made(Named)) is Named
        assert made(Named, "price, name") == Named("x", price)
        assert made(Typed) == {"name": "x", "price": price}
        assert made(Keyworded) == Keyworded(name="x", price=price)
        assert made(dict, "name, cents") == {"name": "x", "cents": 5}
        assert made(tuple, "name, cents") == ("x", 5)
        assert type(made(tuple, "name, cents")) is tuple
        assert made(list, "name, cents") == ["x", 5]
        assert made(Decimal, "price") == price
        assert made(Money, "cents") == Money(5)
        assert made(str, "name") == "x"
        assert made(bool, "1 as one") is True
        assert made(lambda name, price: name * 2) == "xx"
        assert session.query(int, "select cents from shop where 1 = 0").first() is None


def test_what_does_not_fit_is_named(db: Database) -> None:
    """Class, field, both types; never the value."""
    secret = "4711-hunter2"

    @dataclass
    class Wrong:
        name: date

    with rows(db).begin() as session:
        session.execute("update shop set name = ?", (secret,))
        with pytest.raises(
            DataError, match=r"^Wrong\.name is date, and the value that came, a str, cannot become one$"
        ) as caught:
            session.query(Wrong, "select name from shop").one()
        assert secret not in str(caught.value)
        with pytest.raises(ArgumentError, match="int stands for one column, and the row has 2: name, cents"):
            session.query(int, "select name, cents from shop")
        with pytest.raises(
            DataError, match=r"^the column cents is bool, and the value that came, an int, cannot become one"
        ):
            session.query(bool, "select cents from shop").one()
        assert session.execute("select cents from shop").scalar() == 5  # the transaction stands


def test_an_error_of_the_class_itself_is_its_own() -> None:
    """What a constructor raises is not taken for a value that does not fit."""

    @dataclass
    class Strict:
        n: bool

        def __post_init__(self) -> None:
            raise ValueError("mine")

    with create_engine("sqlite://") as engine, engine.begin() as session:
        with pytest.raises(ValueError, match="mine"):
            session.query(Strict, "select 1 as n").one()


def test_an_annotation_that_cannot_be_found() -> None:
    """Told with the field, when rows are to be made."""
    cls = make_dataclass("Lost", [("a", "int"), ("b", "Nowhere")])
    with create_engine("sqlite://") as engine, engine.begin() as session:
        with pytest.raises(ArgumentError, match=r"Lost\.b cannot be read .*Nowhere.*import what it names at run time"):
            session.query(cls, "select 1 as a, 2 as b")


# -- keys, versions, changes


@entity("account", key="id")
@dataclass
class Account:
    id: uuid.UUID
    balance: Decimal
    ok: bool = True


def accounts(db: Database) -> Engine:
    """Return an engine with an empty table of accounts."""
    engine = db.engine()
    kinds = [column_of(db.kind, name) for name in ("a UUID", "Decimal 12.10", "True")]
    engine.execute("drop table if exists account")
    engine.execute(f"create table account (id {kinds[0]} primary key, balance {kinds[1]}, ok {kinds[2]})")
    return engine


def test_one_row_is_one_object_however_its_key_is_written(db: Database) -> None:
    """A key as text, as UUID, or on an object that was inserted with text."""
    engine, key = accounts(db), uuid.UUID(int=5)
    with engine.begin() as session:
        session.insert(Account(str(key), Decimal("12.10")))  # type: ignore[arg-type]
        assert session.get(Account, key) is session.get(Account, str(key))
    with engine.begin() as session:
        found = session.get(Account, str(key))
        assert found == Account(key, Decimal("12.10"))
        assert found is session.get(Account, key)
        assert found is session.query(Account, "select * from account").one()
        with pytest.raises(DataError, match=r"Account\.id is UUID"):
            session.get(Account, "no uuid")


def test_an_unchanged_object_is_not_written(db: Database) -> None:
    """Also when its column holds another form of the value; a changed one is."""
    engine, sent = accounts(db), []
    with engine.begin() as session:
        session.insert(Account(uuid.UUID(int=5), Decimal("12.10")))
    engine.listen(lambda event: sent.append(str(getattr(event, "statement", "")).split()[:1]))
    with engine.begin() as session:
        found = session.get(Account, uuid.UUID(int=5))
        assert found is not None
        session.update(found)
        found.balance = Decimal("12.10")
        session.update(found)
        assert ["UPDATE"] not in sent
        found.balance += 1
        session.update(found)
        session.refresh(found)
        assert found.balance == Decimal("13.10")
    assert ["UPDATE"] in sent


# -- moments


@pytest.mark.parametrize("how", ["option", "url"])
def test_moments_in_utc(db: Database, how: str) -> None:
    """They come back in UTC from every database, also after the connection was reset; a datetime without a zone is refused."""
    engine = (
        db.engine(utc=True, pool_size=1)
        if how == "option"
        else create_engine(f"{db.url}{'&' if '?' in db.url else '?'}utc=true", pool_size=1)
    )
    moment = datetime(2026, 1, 2, 23, 30, 0, 5, tzinfo=timezone(timedelta(hours=-7)))
    engine.execute("drop table if exists event")
    engine.execute(f"create table event (at {column_of(db.kind, 'a datetime in UTC')})")
    for _ in range(2):
        with engine.begin() as session:
            session.execute("insert into event values (?)", (moment,))
            found = session.query(datetime, "select at from event").first()
            assert found == moment
            assert found is not None
            assert found.utcoffset() == timedelta()
            with pytest.raises(DataError, match="without a time zone is no moment"):
                session.execute("insert into event values (?)", (datetime(2026, 1, 1),))
            if db.kind != "sqlite":
                session.execute(
                    "set @x = 1" if db.kind == "mariadb" else "set search_path = public"
                )  # so that it is reset
    engine.dispose()


def test_a_datetime_with_a_zone_says_what_to_do(mariadb: Database) -> None:
    """MySQL's columns would drop the zone."""
    with pytest.raises(DataError, match=r"utc=True\) keeps moments"):
        mariadb.main.execute("select ?", (datetime(2026, 1, 1, tzinfo=UTC),))


# -- the program's own types, and a driver of one's own


def test_values_are_two_functions() -> None:
    """Anything else is refused when the engine is made."""
    for wrong in ({Money: int}, {"Money": (int, Money)}, [Money], {Money: (1, 2)}):
        with pytest.raises(ArgumentError, match="values= is a mapping from a type to two functions"):
            create_engine("sqlite://", values=wrong)  # type: ignore[arg-type]


def test_a_registry_knows_the_types_of_the_program() -> None:
    """For each database that it is given by URL."""
    with Registry({"a": "sqlite://"}, values=OWN) as registry:
        registry.add("b", "sqlite://")
        for name in ("a", "b"):
            with registry.begin() as session:
                assert session.execute("select ?", (Money(5),), bind=name).scalar() == 5
                assert session.query(Money, "select 5", bind=name).one() == Money(5)
    with Registry.from_env({"DATABASE_URL": "sqlite://"}, values=OWN) as found:
        assert found.execute("select ?", (Money(5),)).scalar() == 5


def test_a_type_of_the_program_in_json_and_below() -> None:
    """Its subclasses too; what its function makes may be another type that is converted."""

    class Euro(Money):
        pass

    ways = {Money: (lambda money: Decimal(money.cents) / 100, lambda found: Money(int(Decimal(found) * 100)))}
    with create_engine("sqlite://", values=ways) as engine, engine.begin() as session:
        assert session.execute("select ?", (Euro(995),)).scalar() == "9.95"
        assert session.query(Money, "select '9.95'").one() == Money(995)


def test_a_driver_of_ones_own_has_adapters() -> None:
    """By type, or by its name."""
    from sessionkit.drivers.sqlite3 import SQLite

    class Mine(SQLite):
        adapters = {**SQLite.adapters, "decimal.Decimal": float, Money: lambda money: money.cents}

    with create_engine("sqlite://", driver=Mine()) as engine, engine.begin() as session:
        assert session.execute("select ? + ?", (Decimal("0.5"), Money(2))).scalar() == 2.5


def test_which_parameter_and_which_row() -> None:
    """The error says it, and nothing of the batch was sent."""
    with create_engine("sqlite://") as engine, engine.begin() as session:
        session.execute("create table t (a, b)")
        with pytest.raises(DataError, match=r"parameter 2 of .insert into t"):
            session.execute("insert into t values (:a, :b)", {"a": 1, "b": math.nan})
        with pytest.raises(DataError, match=r"row 2 \(counted from 0\)"):
            session.executemany("insert into t values (?, ?)", [(1, 1), (2, 2), (3, {4})])
        assert session.execute("select count(*) from t").scalar() == 0


def test_what_json_cannot_hold(db: Database) -> None:
    """NaN, keys that are no strings, objects."""
    for wrong in ({"a": math.nan}, {1: "a"}, {"a": object()}, {"a": {2: 1}}):
        with pytest.raises(DataError, match="not JSON"):
            db.main.execute("select ?", (wrong,))


# -- random ones

TYPES: dict[str, tuple[Any, Any, tuple[str, str, str]]] = {
    "bool": (bool, st.booleans(), ("integer", "boolean", "boolean")),
    "int": (int, st.integers(-(2**63), 2**63 - 1), INT),
    "float": (float, st.floats(allow_nan=False, allow_infinity=False).map(lambda f: f + 0.0), FLOAT),
    "Decimal": (
        Decimal,
        st.decimals(-(10**20), 10**20, allow_nan=False, places=8),
        ("text", "numeric", "decimal(38, 8)"),
    ),
    "str": (
        str,
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        ("text", "text", "text"),
    ),
    "bytes": (bytes, st.binary(max_size=30), ("blob", "bytea", "blob")),
    "date": (date, st.dates(date(1000, 1, 1)), ("text", "date", "date")),
    "time": (time, st.times(), ("text", "time", "time(6)")),
    "datetime": (datetime, st.datetimes(datetime(1000, 1, 1)), DATETIME),
    "timedelta": (
        timedelta,
        st.timedeltas(timedelta(hours=-800), timedelta(hours=800)),
        ("integer", "interval", "time(6)"),
    ),
    "UUID": (uuid.UUID, st.uuids(), ("text", "uuid", "char(36)")),
    "Color": (Color, st.sampled_from(Color), TEXT),
    "Level": (Level, st.sampled_from(Level), INT),
    "dict": (
        dict[str, Any],
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            st.none() | st.integers(-9, 9) | st.booleans(),
            max_size=3,
        ),
        JSON,
    ),
    "Json": (Json[list[date]], st.lists(st.dates(), max_size=3).map(Json), JSON),
}


EXAMPLES = int(os.environ.get("SESSIONKIT_VALUES", "60"))


@pytest.mark.timeout(60 + EXAMPLES)
def test_random_dataclasses(db: Database) -> None:
    """Objects with random fields of these types come back as they went in."""
    engine = db.engine()
    at = ("sqlite", "postgres", "mariadb").index(db.kind)
    engine.execute(
        f"create table anything (id int primary key, {', '.join(f'v{n} {found[2][at]}' for n, found in enumerate(TYPES.values()))})"
    )
    names = list(TYPES)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        fields = [("id", int), *((f"v{names.index(name)}", TYPES[name][0] | None) for name in chosen)]
        cls: Any = make_dataclass("Anything", fields)
        one = cls(1, *(data.draw(st.none() | TYPES[name][1]) for name in chosen))
        columns = ", ".join(name for name, _ in fields)
        with engine.session() as session:
            session.insert(entity("anything", key="id")(cls)(*(getattr(one, name) for name, _ in fields)))
            back = session.query(make_dataclass("Plain", fields), f"select {columns} from anything").one()
            session.expunge_all()
            again = session.get(cls, 1)
            session.rollback()
        for found in (back, again):
            for name, _ in fields:
                assert is_same(getattr(one, name), getattr(found, name)), (name, one, found)

    run()
