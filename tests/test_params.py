"""Statements and parameters: what is a placeholder, what is not, and how a driver gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionkit import ArgumentError, InvalidRequestError
from sessionkit.drivers import known
from sessionkit.sql.lexer import Lexicon, split
from sessionkit.sql.parameters import Compiler

if TYPE_CHECKING:
    from .conftest import Database

POSTGRES, MYSQL, SQLITE = (known()[name].lexicon.but(has_modes=False) for name in ("psycopg", "pymysql", "sqlite3"))
STYLES = {
    "qmark": ("?", False), "format": ("%s", False), "numeric": (":1", False), "named": (":p1", True), "pyformat": ("%(p1)s", True),
}  # fmt: skip

TRAPS = [
    # the statement, with {} where the placeholder :x is; everything else must arrive as it is
    "select {}",
    "select ':x', {}",
    "select 'it''s :x', {}",
    'select ":x" from t where a = {}',
    "select {} -- :x ?\n",
    "select {} /* :x ? */",
    "select {}::int, a::text",
    "select a[1:n] where b = {}",
    "select '{{\"a\": 1}}'::jsonb ? 'a' and {}",
    "select j ?| array['a'] and {}",
    "update t set a={}",
    "select @a := 5, {}",
    "select '12:30:45', {}",
    "select x.y from t where z in({})",
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("trap", TRAPS)
def test_traps(style: str, trap: str) -> None:
    """One column per paramstyle: only :x outside literals, comments and casts is a placeholder."""
    mark, by_name = STYLES[style]
    sql, bound = Compiler(Lexicon(style, dollar=True, nested=True))(trap.format(":x"), {"x": 7}).bind({"x": 7})
    assert sql == trap.format(mark)
    assert bound == ({"p1": 7} if by_name else [7])


@pytest.mark.parametrize(
    ("lexicon", "sql", "expected"),
    [
        pytest.param(POSTGRES, "select $$ :a $$, $q$ ? :b $q$, :x", "select $$ :a $$, $q$ ? :b $q$, %s", id="dollar"),
        pytest.param(POSTGRES, "select E'\\':a', :x", "select E'\\':a', %s", id="escape-string"),
        pytest.param(POSTGRES, "select '\\', :x", "select '\\', %s", id="plain-backslash"),
        pytest.param(POSTGRES, "/* a /* :b */ :c */ select :x", "/* a /* :b */ :c */ select %s", id="nested-comment"),
        pytest.param(POSTGRES, "select '100%', 5 % 2, :x", "select '100%%', 5 %% 2, %s", id="percent"),
        pytest.param(POSTGRES, "select a ?? 'k', b\\:c, :x", "select a ? 'k', b:c, %s", id="our-escapes"),
        pytest.param(MYSQL, "select 'it\\'s :a', :x", "select 'it\\'s :a', %s", id="mysql-backslash"),
        pytest.param(MYSQL, 'select "a\\":b", :x', 'select "a\\":b", %s', id="mysql-double-quotes"),
        pytest.param(MYSQL, "select `:a`, :x # :b", "select `:a`, %s # :b", id="mysql-backtick-hash"),
        pytest.param(MYSQL, "select 1--:x", "select 1--%s", id="mysql-two-minuses"),
        pytest.param(SQLITE, "select [:a], `:b`, :x", "select [:a], `:b`, ?", id="sqlite-names"),
    ],
)
def test_rules_of_each_server(lexicon: Lexicon, sql: str, expected: str) -> None:
    """The driver hands the scanner the lexical rules of its server."""
    assert Compiler(lexicon)(sql, {"x": 1}).bind({"x": 1}) == (expected, [1])


def test_without_placeholders_the_text_goes_as_it_is() -> None:
    """The driver formats nothing then, so nothing is doubled."""
    sql = "select '100%', 'a' like '%s'"
    for parameters in (None, {}, ()):
        assert Compiler(POSTGRES)(sql, parameters).bind(parameters) == (sql, None)


def test_positions() -> None:
    """`?` is a placeholder with a sequence only, and `:name` then is none."""
    assert Compiler(POSTGRES)("select ?, a[x:y], ':b'", (5,)).bind((5,)) == ("select %s, a[x:y], ':b'", (5,))
    with pytest.raises(ArgumentError, match="2 placeholders and got 1"):
        Compiler(SQLITE)("select ?, ?", (1,)).bind((1,))


def test_missing_and_superfluous_names_are_named() -> None:
    """With what the statement has."""
    statement = Compiler(SQLITE)("select :a, :b", {})
    with pytest.raises(ArgumentError, match=r"missing: b \(the statement names: a, b; given: a\)"):
        statement.bind({"a": 1})
    with pytest.raises(ArgumentError, match="unexpected parameter c; the statement names: a, b"):
        statement.bind({"a": 1, "b": 2, "c": 3})
    with pytest.raises(ArgumentError, match="missing: a, b"):
        Compiler(SQLITE)("select :a, :b", None).bind(None)


def test_a_dataclass_gives_its_attributes() -> None:
    """Those that the statement names."""

    @dataclass
    class Point:
        x: int
        y: int

    assert Compiler(SQLITE)("select :y", Point(1, 2)).bind(Point(1, 2)) == ("select ?", [2])
    with pytest.raises(ArgumentError, match=r"missing: z \(the statement names: z; given: a Point\)"):
        Compiler(SQLITE)("select :z", Point(1, 2)).bind(Point(1, 2))


@pytest.mark.parametrize("parameters", ["text", 5, {1, 2}, b"x", object()])
def test_what_are_no_parameters(parameters: Any) -> None:
    """A clear error."""
    with pytest.raises(ArgumentError, match="parameters are a mapping"):
        Compiler(SQLITE)("select :a", parameters)


@pytest.mark.parametrize("sql", [b"select 1", 5, None, ["select 1"]])
def test_what_is_no_statement(sql: Any) -> None:
    """A clear error."""
    with pytest.raises(ArgumentError, match="a string of SQL"):
        Compiler(SQLITE)(sql, None)


def test_empty_lists_that_cannot_be() -> None:
    """A direct NOT IN of nothing shows the way out; a list that does not stand alone needs a value."""
    for sql in (
        "select 1 where a not in (:*ids)",
        "select 1 where not a.b in (:*ids)",
        "select 1 where not f(x, y) in (:*ids)",
    ):
        with pytest.raises(ArgumentError, match=r"NOT \(… IN \(:\*ids\)\)"):
            Compiler(SQLITE)(sql, {"ids": []}).bind({"ids": []})
    with pytest.raises(ArgumentError, match="stand alone"):
        Compiler(SQLITE)("select 1 where a in (1, :*ids)", {"ids": []}).bind({"ids": []})
    with pytest.raises(ArgumentError, match="list, tuple or set"):
        Compiler(SQLITE)("select 1 where a in (:*ids)", {"ids": "abc"}).bind({"ids": "abc"})


@pytest.mark.parametrize("sql", ["select 1 where a not in (:*ids)", "select 1 where not a.b in (:*ids)"])
@pytest.mark.parametrize("ids", [[None], [1, None, 2]])
def test_no_row_is_not_in_a_list_with_null(sql: str, ids: list[Any]) -> None:
    """So such a list is refused; under IN it only matches nothing, which is what was asked."""
    with pytest.raises(ArgumentError, match=r"NOT IN \(:\*ids\) got a list with None"):
        Compiler(SQLITE)(sql, {"ids": ids}).bind({"ids": ids})
    assert Compiler(SQLITE)("select 1 where a in (:*ids)", {"ids": ids}).bind({"ids": ids})


def test_lists_on_real_databases(db: Database) -> None:
    """0, 1, 2 and 1000 values, integers and text, hostile strings; under NOT too."""
    hostile = ["it's", "100%", ":x", "?", "a\\", "ü", "');--"]
    with db.main.begin() as session:
        session.executemany(
            "insert into item (name, price) values (:n, :p)", [{"n": n, "p": i} for i, n in enumerate(hostile)]
        )
        for chosen in ([], hostile[:1], hostile[:2], hostile):
            found = session.scalars("select name from item where name in (:*names) order by price", {"names": chosen})
            assert found == chosen
        sql = "select count(*) from item where not (price in (:*prices)) and name <> '%'"
        assert [session.scalar(sql, {"prices": range(n)}) for n in (0, 1, 1000)] == [7, 6, 0]
        assert (
            session.scalar("select count(*) from item where price in (:*a) or name in (:*b)", {"a": [], "b": {"ü"}})
            == 1
        )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40))
def test_random_text_in_literals_arrives_byte_for_byte(db: Database, text: str) -> None:
    """As a literal beside a placeholder, and as a parameter."""
    literal = text.replace("'", "''")
    if db.kind == "mariadb":
        literal = literal.replace("\\", "\\\\")
    with db.main.session() as session:
        assert session.execute(f"select '{literal}', :text, '{literal}'", {"text": text}).one() == (text, text, text)


def test_control_words_are_refused() -> None:
    """Whatever comment stands before them; START SLAVE is another matter."""
    for sql in ("COMMIT", " -- c\n rollback to x", "/* */ Start Transaction", "abort"):
        with pytest.raises(InvalidRequestError):
            Compiler(MYSQL)(sql, None)
    assert Compiler(MYSQL)("start slave", None).words == ("START", "SLAVE")


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("select 1", False), ("(select 1) union select 2", False), ("with a as (select 1) select * from a", False),
        ("with a as (delete from t returning *) select * from a", True), ("insert into t values (1)", True),
        ("explain analyze update t set a = 1", True), ("explain select 1", False), ("pragma user_version", False),
        ("-- insert\nselect 'insert'", False), ("call p()", True), ("values (1)", False),
    ],
)  # fmt: skip
def test_which_statements_write(sql: str, writes: bool) -> None:
    """Judged by the first word, for WITH and EXPLAIN by a writing word in it."""
    assert Compiler(POSTGRES)(sql, None).writes is writes


def test_scripts_are_cut_into_statements() -> None:
    """Not inside strings, comments, dollar quotes and bodies of triggers."""
    script = """
        create table t (a text default ';'); -- not here;
        create trigger tr after insert on t begin
            update t set a = case when a = 'x' then 'y' else 'z' end; delete from t;
        end;
        insert into t values (';')
    """
    assert [statement.split()[0:2] for statement in split(script, SQLITE)] == [
        ["create", "table"], ["--", "not"], ["insert", "into"],
    ]  # fmt: skip
    assert (
        len(
            split(
                "create function f() returns int as $$ begin; return 1; end; $$ language plpgsql; select 1;;", POSTGRES
            )
        )
        == 2
    )


def test_compiled_statements_are_kept_and_bounded() -> None:
    """The same text and kind of parameters is scanned once."""
    compiler = Compiler(SQLITE, size=2)
    assert compiler("select 1", None) is compiler("select 1", None)
    for number in range(10):
        compiler(f"select {number}", None)
    assert all(len(known) <= 2 for known in compiler._known.values())
