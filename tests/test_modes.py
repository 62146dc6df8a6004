"""The scanner follows the server's modes for backslashes and quotes, which the driver knows without a round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, Error, InvalidRequestError
from sessionkit.drivers import known
from sessionkit.testing.proxy import Proxy

from .test_params import TRAPS

if TYPE_CHECKING:
    from sessionkit import Engine

    from .conftest import Database

OTHER = {
    "postgres": ["set standard_conforming_strings = off", "set escape_string_warning = off"],
    "mariadb": ["set sql_mode = 'NO_BACKSLASH_ESCAPES'"],
}
ESCAPES = {"postgres": False, "mariadb": True}
"""Whether a backslash escapes in '…' by default."""


def engine_in(database: Database, other: bool) -> Engine:
    """Return an engine in the default mode, or in the other one."""
    return database.engine(pool_size=1, on_connect=OTHER[database.kind] if other else [])


@pytest.fixture(params=[False, True], ids=["default", "other"])
def other(request: pytest.FixtureRequest) -> bool:
    """Each mode in turn."""
    return bool(request.param)


# a text of the server, its value where a backslash escapes and where it does not; None: another parse, so an error of ours
PARSED: list[tuple[str, Any, Any]] = [
    ("select 'a\\\\b', {x}", "a\\b", "a\\\\b"),
    ("select 'it\\'s', {x}", "it's", None),
    ("select '\\', ':y', {x}", None, "\\"),
    ("select '\\', ';', {x}", None, "\\"),
    ("select 'a\\'; select ', {x}", "a'; select ", None),
    ("select '%\\\\', {x}", "%\\", "%\\\\"),
]


@pytest.mark.parametrize(("sql", "escaped", "plain"), PARSED, ids=[case[0] for case in PARSED])
@pytest.mark.parametrize("style", ["names", "positions"])
def test_strings_end_where_the_server_says(
    server_db: Database, other: bool, sql: str, escaped: Any, plain: Any, style: str
) -> None:
    """`:x` behind a string gets its value; a text that the mode makes something else of is refused before it is sent."""
    wanted = escaped if ESCAPES[server_db.kind] != other else plain
    text, parameters = (sql.format(x=":x"), {"x": "v"}) if style == "names" else (sql.format(x="?"), ("v",))
    engine = engine_in(server_db, other)
    with engine.session() as session:
        for run in (engine.execute, session.execute) if style == "names" else (session.execute, engine.execute):
            if wanted is None:
                with pytest.raises((ArgumentError, InvalidRequestError)):
                    run(text, parameters)
            else:
                row = run(text, parameters).one()
                assert (row[0], row[-1]) == (wanted, "v")
            session.reset()


@pytest.mark.parametrize("trap", TRAPS)
def test_the_table_of_traps_in_both_modes(server_db: Database, other: bool, trap: str) -> None:
    """The whole table of the scanner, by the rules that the connection tells."""
    engine = engine_in(server_db, other)
    session = engine.session()
    link = session._link(engine)  # type: ignore[arg-type]
    statement = link.scan(trap.format(":x"), {"x": 7}, 3)
    sql, bound = statement.bind({"x": 7})
    assert (sql, bound) == (trap.format("%s").replace("%", "%%").replace("%%s", "%s"), [7])
    session.close()


def test_a_second_statement_cannot_hide(server_db: Database, other: bool) -> None:
    """In a string of one mode that is none in the other."""
    engine = engine_in(server_db, other)
    escapes = ESCAPES[server_db.kind] != other
    hidden = "select 'x\\' || '; commit; --'" if escapes else "select 'x\\'; commit; --'"
    with engine.session() as session:
        session.execute("insert into item (name, price) values ('a', 1)")
        for run in (session.execute, session.cursor().execute, session.connection().cursor().execute, session.script):
            with pytest.raises(Error):
                run(hidden)
        session.rollback()
    assert server_db.names() == []


def test_the_mode_changes_under_way(server_db: Database) -> None:
    """Each statement is read by the mode of its moment, in a script too."""
    engine = engine_in(server_db, False)
    default, changed = "a\\b", "a\\\\b"
    if not ESCAPES[server_db.kind]:
        default, changed = changed, default
    sql = "select 'a\\\\b', :x"
    with engine.session() as session:
        assert session.execute(sql, {"x": 1}).one()[0] == default
        for word in OTHER[server_db.kind]:
            session.execute(word)
        assert session.execute(sql, {"x": 1}).one()[0] == changed
        session.rollback()
    with engine.session() as session:
        assert session.execute(sql, {"x": 1}).one()[0] == default
        quoted = "'it\\'s; x'" if not ESCAPES[server_db.kind] else "'it\\'; select 'x'"
        session.script(";".join([*OTHER[server_db.kind], f"select {quoted}", "select 1"]))
        session.rollback()


def test_ansi_quotes_of_mariadb(mariadb: Database) -> None:
    """There `"…"` is a name, in which a backslash is a letter."""
    engine = mariadb.engine(pool_size=1, on_connect=["set sql_mode = 'ANSI_QUOTES'"])
    with engine.session() as session:
        assert session.execute('select 1 as "a\\", :x as b', {"x": 5}).one() == (1, 5)
        assert session.execute("select 'a\\'b' as \"c\\\", :x", {"x": 5}).one() == ("a'b", 5)
    with mariadb.main.session() as session:
        assert session.execute('select "a\\"b", :x', {"x": 5}).one() == ('a"b', 5)


def test_it_costs_no_round_trip(server_db: Database) -> None:
    """The driver has been told."""
    with Proxy(server_db.server.port) as proxy:
        engine = server_db.through(proxy, pool_size=1)
        engine.ping()
        trips = []
        for sql in ("select 'ab'", "select 'a\\\\b'"):
            before = proxy.trips
            with engine.session() as session:
                session.execute(sql)
                session.commit()
            trips.append(proxy.trips - before)
        assert trips[0] == trips[1]
        engine.dispose()


def test_where_there_is_no_mode_nothing_waits_for_a_connection() -> None:
    """SQLite's strings have no backslashes, ever."""
    assert not known()["sqlite3"].lexicon.has_modes
