"""Results are values; rows are named tuples."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, InvalidRequestError, MultipleResultsFound, NoResultFound, Result
from sessionkit.mapping.rows import row_class
from sessionkit.sql.lexer import Lexicon
from sessionkit.sql.parameters import Compiler, NoRules, Statement

if TYPE_CHECKING:
    from .conftest import Database


def result(rows: list[tuple[Any, ...]], *columns: str) -> Result[Any]:
    """Return a result of these rows."""
    statement = Compiler(Lexicon())("select things", None)
    return Result((rows, [(name,) for name in columns], len(rows), None), statement)


def test_a_result_is_readable_for_ever(db: Database) -> None:
    """After commit, after close, in another thread."""
    with db.main.session() as session:
        found = session.execute("select 1 as a, 'x' as b")
        session.commit()
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append([found.all(), found.first(), found.scalar(), len(found)]))
    thread.start()
    thread.join()
    assert seen == [[[(1, "x")], (1, "x"), 1, 1]]


def test_what_a_result_gives() -> None:
    """all, first, one, scalars, mappings, tuples, columns, iteration, len."""
    found = result([(1, "a"), (2, "b")], "id", "name")
    assert found.all() == [(1, "a"), (2, "b")]
    assert found.first().name == "a"
    assert found.scalars() == [1, 2]
    assert found.mappings() == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert [type(row) for row in found.tuples()] == [tuple, tuple]
    assert (found.columns, [row.id for row in found], len(found), bool(result([], "a"))) == (
        ("id", "name"),
        [1, 2],
        2,
        False,
    )
    assert found
    assert Result(
        (None, None, 0, None), Statement("update t", "none", Lexicon(), NoRules())
    )  # no rows, and no container


def test_mappings_keep_the_order_of_the_columns() -> None:
    """Of duplicate names the first has its place and its value."""
    assert [list(row.items()) for row in result([(1, "x", 2)], "b", "a", "c").mappings()] == [
        [("b", 1), ("a", "x"), ("c", 2)]
    ]
    assert [list(row.items()) for row in result([(1, "x", 2)], "b", "a", "b").mappings()] == [[("b", 1), ("a", "x")]]


def test_one_row() -> None:
    """None and several are errors that show the statement."""
    none, one, two = result([], "a"), result([(None,)], "a"), result([(1,), (2,)], "a")
    assert (none.first(), none.one_or_none(), none.scalar(), one.one(), one.scalar_one()) == (
        None,
        None,
        None,
        (None,),
        None,
    )
    with pytest.raises(NoResultFound, match="select things"):
        none.one()
    with pytest.raises(NoResultFound):
        none.scalar_one()
    for call in (two.one, two.one_or_none, two.scalar_one):
        with pytest.raises(MultipleResultsFound, match="2 found"):
            call()


def test_a_statement_without_rows(db: Database) -> None:
    """Asking it for rows says what it was; its rowcount tells the rows matched."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [("a", 1), ("b", 1)])
        found = session.execute("update item set price = 1")
        assert (found.rowcount, len(found)) == (2, 0)
        for call in (found.all, found.first, found.scalar, lambda: list(found)):
            with pytest.raises(InvalidRequestError, match="no rows"):
                call()


def test_rows_are_named_tuples() -> None:
    """Names, positions, unpacking; duplicates; a column's name wins over a tuple's method; they pickle."""
    row = row_class(("count", "a", "a", "my col", "__class__"))((1, 2, 3, 4, 5))
    number, *_rest = row
    assert (row.count, row.a, row[2], getattr(row, "my col"), number) == (1, 2, 3, 4, 1)
    assert type(row).__name__ == "Row"
    assert row == (1, 2, 3, 4, 5)
    again = pickle.loads(pickle.dumps(row))
    assert (again, again.a, type(again)) == (row, 2, type(row))
    with pytest.raises(AttributeError, match=r"no column 'nme' \(columns: count, a"):
        _ = row.nme
    with pytest.raises(AttributeError):
        row.a = 5


def test_a_table_for_people() -> None:
    """Aligned text, numbers to the right; HTML for notebooks, escaped; long results are cut and say so."""
    found = result([(1, "<b>"), (20, None)], "id", "name")
    assert str(found) == "id  name\n--  ----\n 1  <b>\n20  NULL"
    assert "<td>&lt;b&gt;</td>" in found._repr_html_()
    long = result([(i,) for i in range(60)], "n")
    assert str(long).endswith("… 10 more rows")
    assert "10 more rows" in long._repr_html_()
    assert repr(found) == "<Result: 2 rows of id, name>"


@dataclass
class Place:
    """A target of a query."""

    name: str
    price: float
    tags: list[str] = field(default_factory=list)


def test_queries_make_dataclasses_and_whatever_is_callable(db: Database) -> None:
    """By column name, in any order of columns."""
    with db.main.begin() as session:
        session.execute("insert into item (name, price) values ('tea', 3.5)")
        assert session.query(Place, "select price, name from item").all() == [Place("tea", 3.5)]
        assert session.query(Place, "select name, price from item").first() == Place("tea", 3.5)
        assert session.query(dict, "select name, price from item").one() == {"name": "tea", "price": 3.5}
        assert session.query(lambda name: name.upper(), "select name from item").all() == ["TEA"]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select name from item", "no column for: price"),
        ("select name, price, id from item", "no field for: id"),
        ("select name, price, name as name from item", "twice"),
    ],
)
def test_rows_that_do_not_fit(db: Database, sql: str, told: str) -> None:
    """The error names the columns."""
    with db.main.session() as session, pytest.raises(ArgumentError, match=told):
        session.query(Place, sql)
