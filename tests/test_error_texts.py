"""What a person reads when something fails: the server's own words, the thing by its name, and no value."""

from __future__ import annotations

import copy
import pickle
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import Registry, create_engine, errors
from sessionkit.redact import MARK, redacted

from .test_errors import SECRET

if TYPE_CHECKING:
    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, :price)"
DO = "do $$ begin raise exception 'insufficient funds on account 7\nsecond line'; end $$"
SIGNAL = "signal sqlstate '45000' set message_text = 'insufficient funds on account 7'"
TRIGGER = "create trigger nofunds before insert on item when new.price = 77 begin select raise(abort, 'insufficient funds on account 7'); end"


@dataclass
class Case:
    """A statement, what it raises, what its text says on each database (None: it is no error there), and what it is about."""

    sql: str
    parameters: Any
    error: type[errors.Error]
    sqlite: str | None
    postgres: str | None
    mariadb: str | None
    table: dict[str, str | None] | str | None = None
    column: dict[str, str | None] | str | None = None
    constraint: dict[str, str | None] | str | None = None


SAID = {"name": SECRET, "price": 1}
CASES = {
    "unique": Case(
        INSERT, SAID, errors.UniqueViolation, "UNIQUE constraint failed: item.name",
        'duplicate key value violates unique constraint "item_name_key"', "Duplicate entry '…' for key 'name'",
        "item", "name", {"sqlite": None, "postgres": "item_name_key", "mariadb": "name"},
    ),
    "primary key": Case(
        "insert into tag (item_id, word) values (1, :w)", {"w": SECRET}, errors.UniqueViolation,
        "UNIQUE constraint failed: tag.item_id, tag.word", 'violates unique constraint "tag_pkey"', "Duplicate entry '…' for key 'PRIMARY'",
        "tag", {"sqlite": "item_id, word", "postgres": "item_id, word", "mariadb": None},
        {"sqlite": None, "postgres": "tag_pkey", "mariadb": "PRIMARY"},
    ),
    "foreign key": Case(
        "insert into tag (item_id, word) values (99, :w)", {"w": SECRET}, errors.ForeignKeyViolation, "FOREIGN KEY constraint failed",
        'violates foreign key constraint "tag_item_id_fkey"', "CONSTRAINT `tag_ibfk_1` FOREIGN KEY (`item_id`) REFERENCES `item` (`id`)",
        "tag", {"sqlite": None, "postgres": "item_id", "mariadb": "item_id"},
        {"sqlite": None, "postgres": "tag_item_id_fkey", "mariadb": "tag_ibfk_1"},
    ),
    "not null": Case(
        INSERT, {"name": SECRET + "2", "price": None}, errors.NotNullViolation, "NOT NULL constraint failed: item.price",
        'null value in column "price" of relation "item" violates not-null constraint', "Column 'price' cannot be null", "item", "price",
    ),
    "check": Case(
        INSERT, {"name": SECRET + "2", "price": -77}, errors.CheckViolation, "CHECK constraint failed: price >= 0",
        'new row for relation "item" violates check constraint "item_price_check"', "CONSTRAINT `item.price` failed for `test`.`item`",
        "item", None, {"sqlite": "price >= 0", "postgres": "item_price_check", "mariadb": "item.price"},
    ),
    "division": Case("select 1 / 0", None, errors.DataError, None, "division by zero", None),
    "too long": Case(
        INSERT, {"name": SECRET * 10, "price": 1}, errors.DataError, None, "value too long for type character varying(60)",
        "Data too long for column 'name' at row 1", "item", {"postgres": None, "mariadb": "name"},
    ),
    "no number": Case(
        "update item set price = :i", {"i": f"{SECRET} it's 'x'"}, errors.DataError, None,
        'invalid input syntax for type double precision: "…"', "Incorrect double value: '…' for column `test`.`item`.`price` at row 1",
        "item", {"postgres": None, "mariadb": "price"},
    ),
    "no date": Case(
        "update item set name = cast(:d as date)", {"d": f"no date but {SECRET}"}, errors.DataError, None,
        'invalid input syntax for type date: "…"', "Incorrect datetime value: '…'", "item",
    ),
    "NUL": Case(INSERT, {"name": f"a\0{SECRET}", "price": 1}, errors.DataError, None, "cannot contain NUL (0x00) bytes", None, "item"),
    "surrogate": Case(
        INSERT, {"name": f"{SECRET}\ud800", "price": 1}, errors.DataError, *["a text cannot be encoded as utf-8"] * 3, "item",
    ),
    "no form": Case("select :x", {"x": object()}, errors.DataError, "type 'object' is not supported", "cannot adapt type 'object'", "object"),
    "syntax": Case(
        "selec :x", {"x": SECRET}, errors.ProgrammingError, 'near "selec": syntax error', 'syntax error at or near "selec"',
        "near 'selec …' at line 1",
    ),
    "syntax at the end": Case(
        "select name from item where name = :x and", {"x": SECRET}, errors.ProgrammingError, "incomplete input", "syntax error at end of input",
        "near '' at line 1",
    ),
    "no table": Case(
        "select * from nowhere where a = :x", {"x": SECRET}, errors.ProgrammingError, "no such table: nowhere",
        'relation "nowhere" does not exist', "Table 'test.nowhere' doesn't exist", {"sqlite": "nowhere", "postgres": None, "mariadb": "nowhere"},
    ),
    "no column": Case(
        "select nowhere from item where name = :x", {"x": SECRET}, errors.ProgrammingError, "no such column: nowhere",
        'column "nowhere" does not exist', "Unknown column 'nowhere' in 'SELECT'", None, {"sqlite": "nowhere", "postgres": None, "mariadb": "nowhere"},
    ),
    "own text": Case(
        "", None, errors.DatabaseError, *["insufficient funds on account 7"] * 3, {"sqlite": "item", "postgres": None, "mariadb": None},
    ),
}  # fmt: skip
OWN = {"sqlite": "insert into item (name, price) values ('q', 77)", "postgres": DO, "mariadb": SIGNAL}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", ["execute", "executemany", "cursor"])
def test_the_servers_own_words(db: Database, name: str, way: str) -> None:
    """What happened, to which table, column and constraint; every value is an ellipsis, and PEP 249 is not mentioned."""
    case = CASES[name]
    wanted = getattr(case, db.kind)
    sql = case.sql or OWN[db.kind]
    with db.main.begin() as session:
        session.execute(INSERT, SAID)
        session.execute("insert into tag (item_id, word) values (1, :w)", {"w": SECRET})
    if db.kind == "sqlite":
        db.main.execute(TRIGGER)

    def run(session: Any) -> None:
        if way == "execute":
            session.execute(sql, case.parameters)
        elif way == "executemany":
            session.executemany(sql, [case.parameters])
        else:
            text, parameters = db.main.compile(sql, case.parameters).bind(case.parameters)
            session.cursor().execute(text, parameters)

    if wanted is None:
        with db.main.session() as session:
            run(session)
            session.rollback()
        return
    if way == "executemany" and sql.startswith(("sel", "do")):
        return
    with pytest.raises(case.error) as caught, db.main.begin() as session:
        run(session)
    error = caught.value
    assert wanted in str(error)
    assert "second line" not in str(error).partition(' in "')[0]
    for text in (str(error), repr(error), *getattr(error, "__notes__", [])):
        assert SECRET not in text
        assert "PEP 249" not in text
    told = {
        key: value.get(db.kind) if isinstance(value := getattr(case, key), dict) else value
        for key in ("table", "column", "constraint")
    }
    assert {key: getattr(error, key) for key in told} == told
    again = pickle.loads(pickle.dumps(error))
    assert (again.table, again.column, again.constraint) == (error.table, error.column, error.constraint)


def test_a_unique_index(db: Database) -> None:
    """By its name, or by its columns."""
    db.main.execute("create unique index cheap on item (price)")
    db.main.execute(INSERT, {"name": "a", "price": 7})
    with pytest.raises(errors.UniqueViolation) as caught:
        db.main.execute(INSERT, {"name": "b", "price": 7})
    assert caught.value.constraint == {"sqlite": None, "postgres": "cheap", "mariadb": "cheap"}[db.kind]
    assert caught.value.column == {"sqlite": "price", "postgres": "price", "mariadb": None}[db.kind]


# -- the rule


@pytest.mark.parametrize(
    ("text", "parameters", "statement", "shown"),
    [
        ("bad \"abc\" here", ["abc"], "", 'bad "…" here'),
        ("bad (abc) [abc] `abc` 'abc'", ["abc"], "", "bad (…) […] `…` '…'"),
        ("funds on account 7", [7], "", "funds on account 7"),  # not quoted: the program's own
        ("no 'abc' in 'item'", ["item", "abc"], "select * from item", "no '…' in 'item'"),
        ("key 'it's me' twice", ["it's me"], "", "key '…' twice"),
        ("key 'abc-1' twice", ["abc", 1], "", "key '…' twice"),
        ("cut off 'abcdefghij", ["abcdefghijklmnop"], "", "cut off '…"),
        ("cut off 'abcdefghij'", ["abcdefghijklmnop"], "", "cut off '…'"),
        ('constraint "item_a_key"', ["a"], "", 'constraint "item_a_key"'),
        ("first\nsecond 'abc'", ["abc"], "", "first"),
        (f"near '{MARK}selec 'abc''{MARK}' at", ["abc"], "selec :x", "near 'selec …' at"),
        (f"value '{MARK}xabcx{MARK}' of", ["abc"], "", "value '…' of"),
        ("in 'abc'", [["x", {"y": "abc"}]], "", "in '…'"),
        ("in 'abc'", [b"abc"], "", "in '…'"),
        ("in '1'", [True], "", "in '…'"),
        ("in '10'", [1], "", "in '10'"),
        ("", ["abc"], "", ""),
    ],
)  # fmt: skip
def test_what_is_taken_out(text: str, parameters: Any, statement: str, shown: str) -> None:
    """Quoted and bracketed pieces that hold a parameter's text, unless the statement has them; and no more than the first line."""
    assert redacted(text, parameters, statement) == shown


def test_a_value_whose_text_cannot_be_had() -> None:
    """The error is told all the same."""

    class Odd:
        def __str__(self) -> str:
            raise ValueError

    assert redacted("in 'abc'", [Odd(), "abc"]) == "in '…'"


# -- connecting


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://app:hunter2@127.0.0.1:1/shop", ["postgresql://app:***@127.0.0.1:1/shop", "refused"]),
        ("mysql://app:hunter2@127.0.0.1:1/shop", ["mysql://app:***@127.0.0.1:1/shop", "refused"]),
        ("postgresql://app:hunter2@nowhere.invalid/shop", ["app:***@nowhere.invalid/shop", "nowhere.invalid"]),
        ("mysql://app:hunter2@nowhere.invalid/shop", ["app:***@nowhere.invalid/shop", "nowhere.invalid"]),
        ("postgresql://%2Fnowhere%2Fat%20all/shop", ["postgresql://%2Fnowhere%2Fat%20all/shop", "/nowhere/at all"]),
        (
            "postgresql://app:hunter2@127.0.0.1:1,127.0.0.1:2/shop",
            ["@127.0.0.1:1,127.0.0.1:2/shop", "refused"],
        ),
    ],
)
def test_nobody_there(url: str, parts: list[str]) -> None:
    """Host, port, database and user stand in the text itself, in libpq's and PyMySQL's words; no password."""
    with create_engine(url) as engine, pytest.raises(errors.DisconnectionError) as caught:
        engine.execute("select 1")
    for part in parts:
        assert part in str(caught.value)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(engine) + str(
        getattr(caught.value, "__notes__", "")
    )


def test_not_let_in(server_db: Database) -> None:
    """An unknown database, user, password."""
    url = server_db.main.url
    place = f"{url.host}:{url.port}"
    for user, database, wanted in (
        (
            "nobody",
            url.database,
            {"postgres": 'role "nobody" does not exist', "mariadb": "Access denied for user 'nobody'@"},
        ),
        (
            url.username,
            "nowhere",
            {"postgres": 'database "nowhere" does not exist', "mariadb": "Unknown database 'nowhere'"},
        ),
    ):
        secret = f"{user}:{SECRET}" if user == "nobody" else user
        with create_engine(f"{url.scheme}://{secret}@{place}/{database}") as engine:
            with pytest.raises(errors.OperationalError) as caught:
                engine.execute("select 1")
        assert wanted[server_db.kind] in str(caught.value)
        assert f"@{place}/{database}" in str(caught.value)
        assert SECRET not in repr(caught.value)
        assert type(caught.value) is errors.OperationalError


def test_passwords_among_the_options() -> None:
    """They are not shown either, wherever the driver puts them."""
    for url in (
        "postgresql://127.0.0.1:1/x",
        "mysql://127.0.0.1:1/x",
        "mysql://127.0.0.1:1/x?password=hunter2",
        "postgresql://127.0.0.1:1/x?password=hunter2",
    ):
        options: dict[str, Any] = {} if "?" in url else {"password": SECRET}
        with create_engine(url, **options) as engine, pytest.raises(errors.Error) as caught:
            engine.execute("select 1")
        assert SECRET not in str(caught.value) + repr(engine)
    with create_engine("mysql://127.0.0.1/x", port=SECRET) as engine, pytest.raises(errors.Error) as caught:
        engine.execute("select 1")
    assert "port" in str(caught.value)


class RingError(ValueError):
    """What a signal handler may raise."""


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("raised", [ValueError("of a handler"), TypeError("of a handler"), RingError()])
def test_a_signal_while_connecting(scheme: str, raised: Exception) -> None:
    """Its exception comes out as itself, as it does elsewhere."""
    import socket

    def ring(*_: object) -> None:
        raise raised

    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and says nothing
        engine = create_engine(f"{scheme}://app@127.0.0.1:{silent.getsockname()[1]}/x")
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(type(raised)) as caught:
                engine.execute("select 1")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert caught.value is raised
    assert engine.pool.stats()["used"] == 0


# -- the program's own mistakes


@pytest.mark.parametrize(
    ("sql", "parameters", "told"),
    [
        ("select :id", {"idd": 1}, "parameter missing: id (the statement names: id; given: idd)"),
        ("select :id", None, "parameter missing: id (the statement names: id; given: none)"),
        ("select :id", {"id": 1, "b": 2}, "unexpected parameter b; the statement names: id"),
        ("select ?", {"id": 1}, "unexpected parameter id; the statement has 1 ?, for which a sequence is given"),
        ("select 1", {"id": 1}, "unexpected parameter id; the statement has no placeholder"),
        ("select 1 where 1 in (:l)", {"l": [1, 2]}, "a list for IN (…) goes in as :*l"),
        ("select 1 where 1 in (:l)", {"l": {1, 2}}, "a list for IN (…) goes in as :*l"),
        ("select 1 where 1 in (?)", ([1, 2],), "goes in as :*name"),
        ("insert into item (name, price) values (:n, 1)", [{"n": 1}, {"n": 2}], "for several rows: executemany"),
        ("insert into item (name, price) values (?, ?)", [("a", 1)], "for several rows: executemany"),
    ],
)
def test_parameters(db: Database, sql: str, parameters: Any, told: str) -> None:
    """What was asked, what was found, what to do; nothing is sent."""
    with db.main.session() as session:
        with pytest.raises(errors.ArgumentError) as caught:
            session.execute(sql, parameters)
        assert told in str(caught.value)
        assert session.execute("select 1 where 1 in (:a, :b)", {"a": 1, "b": 2}).scalar() == 1
        assert session.execute("select 1 where 1 in (:a)", {"a": 1}).scalar() == 1


def test_an_engine_stays_in_its_process(sqlite: Database) -> None:
    """Pickled or copied it says what to do instead."""
    for thing, name in ((sqlite.main, "an Engine"), (Registry({"main": sqlite.main}), "a Registry")):
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(
                TypeError, match=f"{name} is not copied or sent to another process: make one there from its URL"
            ):
                way(thing)


def test_no_class_speaks_of_pep_249() -> None:
    """What a class stands for is the text where nothing else is known."""
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.Error)]
    assert len(found) > 30
    for error in found:
        assert "PEP" not in errors.first_sentence(error)


# -- rows and results, which have their errors too


def test_rows_are_named_tuples(db: Database) -> None:
    """With the members that named tuples have."""
    row = db.main.execute("select 1 as a, 'x' as b, 2 as a").one()
    assert (row._fields, row._asdict()) == (("a", "b", "a"), {"a": 1, "b": "x"})
    assert row._replace(a=5) == (5, "x", 2)
    assert row._replace(b="y").b == "y"
    with pytest.raises(ValueError, match=r"no column c \(columns: a, b, a\)"):
        row._replace(c=1)
    assert pickle.loads(pickle.dumps(row))._fields == ("a", "b", "a")
    taken = db.main.execute("select 1 as _asdict").one()
    assert taken._asdict() == {"_asdict": 1}


def test_an_empty_result_is_false(db: Database) -> None:
    """As every container; a statement without rows is true."""
    assert not db.main.execute("select name from item")
    assert db.main.execute("select 1")
    assert db.main.execute("delete from item")
