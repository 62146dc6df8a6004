"""Much data against the raw driver: ten thousand rows in, a hundred thousand out, and rows to dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

COUNT = 10_000
ROWS = [(n, f"name {n}", n * 1.5, "2026-01-02", n % 2) for n in range(COUNT)]
COLUMNS = ("id", "name", "price", "day", "n")
TABLE = "create table bulk (id int, name varchar(40), price double precision, day varchar(20), n int)"


def prepare(engine: Engine) -> Any:
    """Make the table, and return a connection of the driver's own."""
    engine.execute(TABLE)
    return engine.driver.connect(engine.url, {})


def rows_in(engine: Engine, conn: Any) -> dict[str, Callable[[], object]]:
    """Ten thousand rows into a table, which is emptied again."""

    def ours() -> None:
        with engine.begin() as session:
            session.copy_in("bulk", ROWS, COLUMNS)
            session.execute("delete from bulk")

    def raw() -> None:
        cursor = conn.cursor()
        if engine.driver.name == "sqlite3":
            cursor.execute("begin")
            cursor.executemany("insert into bulk values (?, ?, ?, ?, ?)", ROWS)
        elif engine.driver.name == "psycopg":
            cursor.execute("begin")
            with cursor.copy("copy bulk from stdin") as copy:
                for row in ROWS:
                    copy.write_row(row)
        else:
            for at in range(0, COUNT, 1000):
                part = ROWS[at : at + 1000]
                marks = ",".join(["(%s,%s,%s,%s,%s)"] * len(part))
                cursor.execute(f"insert into bulk values {marks}", [value for row in part for value in row])
        cursor.execute("delete from bulk")
        cursor.execute("commit")
        cursor.close()

    return {"raw driver": raw, "sessionkit: copy_in": ours}


def rows_out(engine: Engine, conn: Any) -> dict[str, Callable[[], object]]:
    """A hundred thousand rows through the driver's own cursor that does not hold them, and through a stream."""
    with engine.begin() as session:
        for _ in range(10):
            session.copy_in("bulk", ROWS, COLUMNS)

    def stream(into: Any) -> Callable[[], object]:
        def run() -> None:
            with engine.begin() as session, session.stream("select * from bulk", into=into) as rows:
                for _ in rows:
                    pass

        return run

    def raw() -> None:
        if engine.driver.name == "sqlite3":
            for _ in conn.execute("select * from bulk"):
                pass
            return
        if engine.driver.name == "psycopg":
            conn.execute("begin")
            cursor = conn.cursor("raw")
            cursor.itersize = 1000
        else:
            from pymysql.cursors import SSCursor

            cursor = conn.cursor(SSCursor)
        with cursor:
            cursor.execute("select * from bulk")
            for _ in cursor:
                pass
        conn.rollback()

    return {"raw driver": raw, "sessionkit: tuples": stream(tuple), "sessionkit: named rows": stream(None)}


@dataclass
class Plain:
    id: int
    name: str
    price: float
    day: str
    n: int


@dataclass
class Wanted:
    id: int
    price: Decimal
    day: date
    ok: bool
    name: str


def dataclasses(engine: Engine) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """Ten thousand rows to dataclasses, without a conversion and with three of them, by hand and by `query`."""
    plain = f"select * from bulk limit {COUNT}"
    wanted = f"select id, '12.10' as price, day, n as ok, name from bulk limit {COUNT}"
    session = engine.session()

    def by_hand() -> object:
        return [
            Wanted(r[0], Decimal(r[1]), date.fromisoformat(r[2]), bool(r[3]), r[4])
            for r in session.execute(wanted).raw()
        ]

    return (
        {
            "by hand": lambda: [Plain(*row) for row in session.execute(plain).raw()],
            "query": lambda: session.query(Plain, plain).all(),
        },
        {"by hand": by_hand, "query": lambda: session.query(Wanted, wanted).all()},
    )
