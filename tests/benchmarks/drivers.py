"""The drivers beside each other: rows fetched, rows inserted, a unit of work; each beside its raw module, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

COUNT = 10_000
ROWS = [(n, f"name {n}", n * 1.5) for n in range(COUNT)]


def prepare(engine: Engine) -> Any:
    """Make the tables, and return a connection of the driver's own."""
    for name in ("out_of", "goes_to"):
        engine.execute(f"drop table if exists {name}")
        engine.execute(f"create table {name} (id int, name varchar(40), price double precision)")
    with engine.begin() as session:
        session.copy_in("out_of", ROWS, ("id", "name", "price"))
    return engine.driver.connect(engine.url, {})


def words(engine: Engine, sql: str) -> str:
    """Return a statement with the driver's own placeholders."""
    return sql if engine.driver.lexicon.paramstyle == "qmark" else sql.replace("?", "%s")


def fetching(engine: Engine, conn: Any) -> dict[str, Callable[[], object]]:
    """Ten thousand rows, all of them, as tuples."""

    def raw() -> None:
        cursor = conn.cursor()
        cursor.execute("select id, name, price from out_of")
        assert len(cursor.fetchall()) == COUNT
        cursor.close()
        if engine.driver.name not in ("sqlite3", "duckdb"):
            conn.rollback()

    def ours() -> None:
        with engine.session() as session:
            assert len(session.execute("select id, name, price from out_of").raw()) == COUNT

    return {"raw module": raw, "sessionkit": ours}


def inserting(engine: Engine, conn: Any, count: int) -> dict[str, Callable[[], object]]:
    """Rows by `executemany`, and undone."""
    insert, rows = "insert into goes_to values (?, ?, ?)", ROWS[:count]

    def raw() -> None:
        cursor = conn.cursor()
        if engine.driver.autocommit:  # psycopg's too, as sessionkit opens it
            cursor.execute("begin")
        cursor.executemany(words(engine, insert), rows)
        (cursor if engine.driver.name == "duckdb" else conn).rollback()  # a cursor of DuckDB is a connection
        cursor.close()

    def ours() -> None:
        with engine.session() as session:
            session.executemany(insert, rows)
            session.rollback()

    return {"raw module": raw, "sessionkit": ours}


def unit_of_work(engine: Engine, conn: Any) -> dict[str, Callable[[], object]]:
    """One statement with parameters, and COMMIT."""
    update = "update out_of set price = ? where id = ?"

    def raw() -> None:
        cursor = conn.cursor()
        if engine.driver.autocommit:  # psycopg's too, as sessionkit opens it
            cursor.execute("begin")
        cursor.execute(words(engine, update), (1.5, 7))
        if engine.driver.name in ("duckdb", "sqlite3"):
            cursor.execute("commit")
        else:
            conn.commit()
        cursor.close()

    def ours() -> None:
        with engine.begin() as session:
            session.execute(update, (1.5, 7))

    return {"raw module": raw, "sessionkit": ours}
