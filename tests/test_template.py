"""Template strings (PEP 750): values stay values, whatever they hold. Real ones where Python has them, else what has their shape."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sessionkit import ArgumentError

if TYPE_CHECKING:
    from .conftest import Database


class Interpolation(NamedTuple):
    """As `string.templatelib.Interpolation`."""

    value: Any
    expression: str
    conversion: str | None
    format_spec: str


class Template(NamedTuple):
    """As `string.templatelib.Template`."""

    strings: tuple[str, ...]
    interpolations: tuple[Interpolation, ...]


def t(text: str, **values: Any) -> Any:
    """Return what the template string `text` would be, where these names have these values."""
    if sys.version_info >= (3, 14):
        return eval(f"t{text!r}", dict(values))
    from string import Formatter

    strings, parts, rest = [], [], ""
    for literal, name, spec, conversion in Formatter().parse(text):
        rest += literal
        if name is not None:
            strings.append(rest)
            parts.append(Interpolation(eval(name, dict(values)), name, conversion, spec or ""))
            rest = ""
    return Template((*strings, rest), tuple(parts))


@pytest.fixture
def items(db: Database) -> Database:
    """Three items."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [("a", 1), ("b", 2), ("c", 3)])
    return db


def test_values_and_lists(items: Database) -> None:
    """In execute, query, scalar, scalars, and in the engine's own execute; the same text with other values too."""
    evil = "a'; drop table item; --"
    with items.main.begin() as session:
        for least, names in ((1, ["a", "b"]), (2, ["a", "b", "c"])):
            sql = t(
                "select name from item where price >= {least} and name in ({names:*}) order by name",
                least=least,
                names=names,
            )
            assert session.scalars(sql) == sorted(names)[least - 1 :]
        assert session.scalar(t("select count(*) from item where name = {evil}", evil=evil)) == 0
        assert session.query(str, t("select name from item where price = {n + 1}", n=1)).all() == ["b"]
        assert session.execute(t("select {x!r} as a", x="y")).scalar() == "'y'"
    assert items.main.execute(t("select name from item where price = {p}", p=3)).scalar() == "c"
    assert items.main.execute(t("select 5")).scalar() == 5


def test_identifiers_and_parts(items: Database) -> None:
    """A name is quoted, whatever it holds; a part is a template, and brings its values."""
    evil = 'it"em`; drop table item; --'
    with items.main.begin() as session:
        assert session.scalar(t("select count(*) from {table:i}", table="item")) == 3
        condition = t("price > {low} and name <> {low2}", low=1, low2="c")
        assert session.scalars(
            t("select name from item where {condition:q} and price < {low}", condition=condition, low=9)
        ) == ["b"]
    engine = items.main
    engine.execute(t("create table {evil:i} (a int)", evil=evil))
    engine.execute(t("insert into {evil:i} values ({value})", evil=evil, value=7))
    assert engine.execute(t("select a from {evil:i}", evil=evil)).scalar() == 7
    assert engine.execute("select count(*) from item").scalar() == 3
    engine.execute(t("drop table {evil:i}", evil=evil))
    with engine.begin() as session:
        session.script(t("update {table:i} set price = 5; delete from {table:i} where name = 'a'", table="item"))
        assert session.scalars("select price from item") == [5, 5]


def test_a_name_of_two_parts(sqlite: Database) -> None:
    """A dot separates schema and table."""
    assert sqlite.main.execute(t("select count(*) from {table:i}", table="main.item")).scalar() == 0


def test_one_name_with_two_values(sqlite: Database) -> None:
    """Each place has its own value, also where a nested template uses the same name."""
    inner = t("{x}", x=2)
    assert sqlite.main.execute(t("select {x}, {inner:q}, {x}", x=1, inner=inner)).tuples() == [(1, 2, 1)]


def test_the_text_is_compiled_once(sqlite: Database) -> None:
    """Whatever the values are."""
    compiler = sqlite.main.compiler
    sqlite.main.execute(t("select {x} + 1 as once", x=0))
    known = len(compiler._known["named"])
    for x in range(20):
        assert sqlite.main.execute(t("select {x} + 1 as once", x=x)).scalar() == x + 1
    assert len(compiler._known["named"]) == known


@pytest.mark.parametrize(
    ("text", "values", "parameters", "said"),
    [
        ("select {x:.2f}", {"x": 1.5}, None, r"\{x:\.2f\}: after the colon stands \*"),
        ("select {x:i}", {"x": 5}, None, r"\{x:i\} is the name of a table or column, got int"),
        ("select {x:i}", {"x": ""}, None, "got an empty part"),
        ("select {x:q}", {"x": "1"}, None, r"\{x:q\} is a template string, got str"),
        ("select {x}", {"x": 1}, {"y": 2}, "so no parameters go with it"),
        ("select '{x}'", {"x": 1}, None, "unexpected parameter x"),
        ("select 1 where 1 in ({x})", {"x": [1]}, None, r"a list for IN \(…\) goes in as"),
    ],
)
def test_what_is_wrong_is_said(sqlite: Database, text: str, values: Any, parameters: Any, said: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentError, match=said):
        sqlite.main.execute(t(text, **values), parameters)


def test_through_a_cursor(items: Database) -> None:
    """Of the session, of its stand-in, of the DB-API module."""
    from sessionkit import dbapi

    evil = "a' or '1' = '1"
    with items.main.begin() as session:
        for cursor in (session.cursor(), session.connection().cursor()):
            cursor.execute(
                t("select name from item where price > {low} and name <> {evil} order by name", low=1, evil=evil)
            )
            assert [tuple(row) for row in cursor.fetchall()] == [("b",), ("c",)]
            with pytest.raises(ArgumentError, match="so no parameters go with it"):
                cursor.execute(t("select {x}", x=1), (2,))
    conn = dbapi.connect(items.url)
    with conn:
        cursor = conn.cursor()
        cursor.execute(t("select count(*) from item where name in ({names:*})", names=["a", "b", evil]))
        assert cursor.fetchone()[0] == 2
    conn.close()


def test_where_a_template_does_not_go(sqlite: Database) -> None:
    """executemany brings rows of values; a script has none."""
    with sqlite.main.begin() as session:
        with pytest.raises(ArgumentError, match="a template has its values in it"):
            session.executemany(t("insert into item (name) values ({x})", x=1), [(1,)])
        with pytest.raises(ArgumentError, match="a script takes no values"):
            session.script(t("select {x}", x=1))


def test_an_object_that_has_no_text(sqlite: Database) -> None:
    """What is neither a string nor a template is refused as before."""

    @dataclass
    class Strings:
        strings: tuple[str, ...] = ("select 1",)

    with pytest.raises(ArgumentError, match="a statement is a string of SQL, got Strings"):
        sqlite.main.execute(Strings())  # type: ignore[arg-type]
