"""DuckDB: what the contract does not ask."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import (
    ArgumentError,
    CheckViolation,
    DataError,
    ForeignKeyViolation,
    InvalidRequestError,
    NotNullViolation,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    ReadOnlyError,
    SerializationError,
    Session,
    TransactionAbortedError,
    TransactionLostError,
    UniqueViolation,
    create_engine,
)
from sessionkit.cli import main

from .test_values import OWN, VALUES, WAYS, tried

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sessionkit import Engine


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return str(tmp_path / "x.duckdb")


@pytest.fixture
def engine(path: str) -> Iterator[Engine]:
    """An engine on a file with an empty table."""
    with create_engine(f"duckdb:///{path}", values=OWN) as engine:
        engine.execute(
            "create table item (id integer primary key, name varchar not null, price double check (price >= 0))"
        )
        engine.execute("create table tag (item integer references item (id))")
        yield engine


def count(engine: Engine) -> int:
    """Return how many items another connection sees."""
    return int(engine.execute("select count(*) from item").scalar())


@pytest.mark.parametrize("name", VALUES)
def test_a_value(engine: Engine, name: str) -> None:
    """Comes back as it went in, or is refused and nothing is stored."""
    found = {way: tried(engine, "duckdb", name, way) for way in WAYS[1:]}
    refused = ("a path", "a set", "a tuple", "a type of the program", "a numpy int64", "a numpy bool")
    assert set(found.values()) == {"same"} or name in refused, found


def test_values_that_duckdb_would_change(engine: Engine) -> None:
    """A Decimal of many digits becomes a float, and a list of several types one of texts: refused."""
    from decimal import Decimal

    for value in (Decimal("1." + "1" * 60), Decimal("NaN"), [1, "a"], 2**130, "\ud800"):
        with pytest.raises(DataError):
            engine.execute("select ?", (value,))


def test_errors(engine: Engine) -> None:
    """With their class, names and words; no value in them."""
    engine.execute("insert into item values (1, 'a', 1)")
    for sql, values, error, about in (
        ("insert into item values (?, 'b', 1)", (1,), UniqueViolation, ("item", "id")),
        ("insert into item values (2, ?, 1)", (None,), NotNullViolation, ("item", "name")),
        ("insert into item values (2, 'b', ?)", (-77712.5,), CheckViolation, ("item", None)),
        ("insert into tag values (?)", (777123,), ForeignKeyViolation, ("tag", None)),
        ("insert into item values (?, 'b', 1)", ("hunter777",), DataError, ("item", None)),
        ("insert into item values (?, 'b', 1)", (777 * 10**12,), DataError, ("item", None)),
        ("selec ?", ("hunter777",), ProgrammingError, (None, None)),
        ("select * from nowhere where 1 = ?", (777,), ProgrammingError, ("nowhere", None)),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            engine.execute(sql, values)
        assert (caught.value.table, caught.value.column) == about, sql
        assert "777" not in str(caught.value)
        assert "LINE" not in str(caught.value)
    assert count(engine) == 1


def test_a_program_that_goes_on_after_an_error(engine: Engine) -> None:
    """The error itself is the cause, and nobody recommends a savepoint."""
    with pytest.raises(TransactionAbortedError) as caught, engine.begin() as session:
        session.execute("insert into item values (1, 'a', 1)")
        with pytest.raises(UniqueViolation):
            session.execute("insert into item values (1, 'a', 1)")
        session.execute("insert into item values (2, 'a', 1)")
    assert isinstance(caught.value.__cause__, UniqueViolation)
    assert "begin_nested" not in str(caught.value)
    assert count(engine) == 0


def test_conflicts_at_the_write_and_at_commit(engine: Engine) -> None:
    """Both are SerializationError."""
    engine.execute("insert into item values (1, 'a', 1)")
    with engine.begin() as one, engine.session() as other:
        one.execute("update item set price = 2")
        with pytest.raises(SerializationError):
            other.execute("update item set price = 3")
    with engine.session() as one, engine.session() as other:
        one.execute("insert into item values (5, 'one', 1)")
        other.execute("insert into item values (5, 'other', 1)")
        one.commit()
        with pytest.raises(SerializationError):
            other.commit()
    assert engine.execute("select name from item order by id").scalars() == ["a", "one"]


def test_run_repeats_conflicts(engine: Engine) -> None:
    """Four threads add to one row, and nothing is lost."""
    engine.execute("insert into item values (1, 'a', 0)")

    def add(session: Session) -> None:
        session.execute("update item set price = price + 1 where id = 1")

    def work() -> None:
        for _ in range(25):
            engine.run(add, attempts=500)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.execute("select price from item").scalar() == 100
    assert engine.pool.stats()["used"] == 0


def test_a_second_process(engine: Engine, path: str) -> None:
    """It is told which process has the file."""
    program = f"from sessionkit import create_engine; create_engine('duckdb:///{path}').execute('select 1')"
    count(engine)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert f"OperationalError: connecting to duckdb:///{path}: Could not set lock on file" in done.stderr
    assert "(PID " in done.stderr


def test_blocks_inside_blocks(engine: Engine) -> None:
    """Both ways are refused by name, before anything is sent; the outer block goes on."""
    with engine.begin() as session:
        session.execute("insert into item values (1, 'a', 1)")
        for inner in (session.begin_nested, session.begin):
            with pytest.raises(NotSupportedError, match="DuckDB has no savepoints"), inner():
                session.execute("insert into item values (2, 'b', 1)")
        session.execute("insert into item values (3, 'c', 1)")
    assert engine.execute("select id from item order by id").scalars() == [1, 3]


def test_a_copy_that_fails_ends_the_transaction(engine: Engine) -> None:
    """Without savepoints nothing of the call can be undone alone; what a generator raises counts as well."""

    def rows(wrong: Any) -> Iterator[Any]:
        for number in range(6000):
            yield (number, "a", 1.0)
        if isinstance(wrong, Exception):
            raise wrong
        yield wrong

    for wrong, error in (((1,), ArgumentError), ((1, "a", "x"), DataError), (KeyError("mine"), KeyError)):
        with pytest.raises(TransactionLostError), engine.begin() as session:
            with pytest.raises(error):
                session.copy_in("item", rows(wrong), ["id", "name", "price"])
        assert count(engine) == 0
    with pytest.raises(DataError, match=r"row 6000 \(counted from 0\)"), engine.begin() as session:
        session.copy_in("item", rows((1, "a", "x")), ["id", "name", "price"])


def test_copies_into_names_that_need_quotes(engine: Engine) -> None:
    """A table and columns with spaces and capitals; a conflict is skipped or overwritten."""
    engine.execute('create table "my table" ("a b" integer primary key, "C" varchar, d integer default 7)')
    with engine.begin() as session:
        session.copy_in('"my table"', [(1, "x"), (2, "y")], ['"a b"', '"C"'])
        session.copy_in('"my table"', [(1, "z"), (3, "w")], ['"a b"', '"C"'], on_conflict="update", key='"a b"')
        session.copy_in('"my table"', [(1, "-"), (4, "v")], ['"a b"', '"C"'], on_conflict="skip", key='"a b"')
    assert engine.execute('select * from "my table" order by 1').all() == [
        (1, "z", 7),
        (2, "y", 7),
        (3, "w", 7),
        (4, "v", 7),
    ]


def test_a_stream_is_alone(engine: Engine) -> None:
    """The next statement would end it, so it is refused; leaving early costs nothing."""
    with engine.begin() as session:
        with session.stream("select * from range(100000)") as rows:
            assert next(iter(rows))[0] == 0
            with pytest.raises(InvalidRequestError, match="a stream is open"):
                session.execute("select 1")
        assert session.scalar("select 1") == 1
        with session.stream("from range(5)", into=int) as numbers:
            assert list(numbers) == [0, 1, 2, 3, 4]


def test_results_and_counts(engine: Engine) -> None:
    """DuckDB answers every statement with a "Count"; only what asked for one has rows."""
    assert engine.execute("insert into item values (1, 'a', 1), (2, 'b', 1)").rowcount == 2
    assert engine.execute("update item set price = 2 where id = 9").rowcount == 0
    assert engine.execute("insert into item values (3, 'c', 1) returning id").all() == [(3,)]
    assert engine.execute('select 1 as "Count" where false').all() == []
    assert engine.execute("create table other (i integer)").columns == ()
    assert engine.execute("explain select 1").columns == ("explain_key", "explain_value")
    with engine.begin() as session:
        assert session.executemany("insert into item values (?, 'x', 1)", [(7,), (8,)]).rowcount == 2


def test_modes(engine: Engine) -> None:
    """SERIALIZABLE is refused, weaker levels are raised to the snapshot, read-only is kept."""
    with (
        pytest.raises(NotSupportedError, match="has no SERIALIZABLE"),
        engine.begin(isolation_level="SERIALIZABLE") as session,
    ):
        session.execute("select 1")
    with engine.begin(isolation_level="READ COMMITTED") as session:
        session.execute("select 1")
    with pytest.raises(ReadOnlyError), engine.begin(read_only=True) as session:
        session.execute("insert into item values (1, 'a', 1)")
    assert engine.pool.stats()["used"] == 0


def test_a_database_in_memory() -> None:
    """It lives in its one connection; what a borrower leaves there is taken off."""
    with create_engine("duckdb://") as engine:
        zone = engine.execute("select current_setting('TimeZone')").scalar()
        with engine.begin() as session:
            session.execute("create table kept (i integer)")
            session.execute("create temp table gone (i integer)")
            session.execute("create temp view seen as select 1")
        for words in ("set TimeZone = 'Asia/Tokyo'", "set variable mine = 3", "set SESSION max_execution_time = 77"):
            engine.execute(words)
        assert engine.execute("select current_setting('TimeZone'), getvariable('mine'), count(*) from kept").all() == [
            (zone, None, 0)
        ]
        assert engine.execute("select current_setting('max_execution_time')").scalar() == 0
        for name in ("gone", "seen"):
            with pytest.raises(ProgrammingError):
                engine.execute(f"select * from {name}")


def test_a_given_connection(path: str) -> None:
    """Idle it is begun and ended; in a transaction it is refused, because nothing could be undone alone."""
    import duckdb

    with duckdb.connect(path) as conn:
        conn.execute("create table t (i integer)")
        with Session(conn) as session:
            session.execute("insert into t values (1)")
            session.commit()
            session.execute("insert into t values (2)")
            session.rollback()
        assert conn.execute("select i from t").fetchall() == [(1,)]
        conn.begin()
        with pytest.raises(ArgumentError, match="in a transaction"):
            Session(conn)


def test_settings_in_the_url(path: str) -> None:
    """A setting of DuckDB's, read-only, and one that it does not know."""
    with create_engine(f"duckdb:///{path}?threads=1") as engine:
        assert engine.execute("select current_setting('threads')").scalar() == 1
    with create_engine(f"duckdb:///{path}?read_only=true") as engine:
        with pytest.raises(ReadOnlyError):
            engine.execute("create table t (i integer)")
    with pytest.raises((ArgumentError, ProgrammingError), match="thraeds"):
        create_engine(f"duckdb:///{path}?thraeds=1").execute("select 1")
    with pytest.raises(OperationalError, match="connecting to duckdb:////nowhere/x"):
        create_engine("duckdb:////nowhere/x").execute("select 1")


def test_command_line(tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """check, load, query, copy; a bad row is told with its line, and none can be skipped."""
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("sku,price\na,1.5\nb,2\n")
    bad.write_text("sku,price\nc,3\nd,x\n")
    url = f"duckdb:///{path}"
    assert main(["check", url]) == 0
    assert "REPEATABLE READ (a snapshot)" in capsys.readouterr().out
    assert main(["load", url, "goods", str(good), "--create"]) == 0
    assert main(["load", url, "goods", str(bad)]) != 0
    assert "line 3, Could not convert string '…' to DOUBLE; nothing was loaded" in capsys.readouterr().err
    assert main(["load", url, "goods", str(bad), "--on-error", "skip"]) != 0
    assert "has no savepoints" in capsys.readouterr().err
    assert main(["copy", url, "select * from goods", f"sqlite:///{tmp_path}/x.db", "goods", "--create"]) == 0
    assert main(["copy", f"sqlite:///{tmp_path}/x.db", "select * from goods", url, "again", "--create"]) == 0
    assert main(["query", url, "select count(*) as n from again"]) == 0
    assert "2" in capsys.readouterr().out


def test_pandas(engine: Engine) -> None:
    """read_sql takes a session's connection; the driver's own ways work too."""
    import pandas

    engine.execute("insert into item values (1, 'a', 1.5)")
    with engine.session() as session, pytest.warns(UserWarning, match="pandas only supports"):
        frame = pandas.read_sql("select * from item", session.connection())
    assert frame.to_dict("records") == [{"id": 1, "name": "a", "price": 1.5}]
    with engine.session() as session:
        conn: Any = session.connection().driver_connection
        assert list(conn.sql("select * from item").df()["name"]) == ["a"]
