"""The table of docs/statements.md: what becomes of statements that could end a transaction behind the session's back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessionkit import Error, InvalidRequestError, RollbackIncompleteError, TransactionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Session

    from .conftest import Database

PAGE = Path(__file__).parents[1] / "docs" / "statements.md"
WRITE = os.environ.get("SESSIONKIT_WRITE_TABLES") == "1"

STATEMENTS = [
    "commit", "COMMIT WORK", "/* x */ commit", "-- x\ncommit", "commit;", ";commit", "end", "end transaction", "rollback", "abort",
    "begin", "begin transaction", "start transaction", "savepoint a", "release savepoint sk_1", "rollback to sk_1",
    "insert into item (name, price) values ('y', 1); commit", "select 1; commit", "select ';', 1; commit", "select 1;",
    "create table procedure (begin int); commit", "prepare transaction 'x'", "commit prepared 'x'", "xa start 'x'", "xa recover",
    "set autocommit = 1", "set @@autocommit = 1", "set session autocommit = 1", "set @x = 1, autocommit = 1", "set @autocommit = 1",
    "set statement max_statement_time = 5 for commit", "set statement max_statement_time = 5 for create table zz (a int)",
    "execute immediate 'commit'", "prepare s from 'commit'", "call c()", "begin not atomic commit; end", "if 1 then commit; end if",
    "/*!commit*/", "/*M! commit */", "/*!50000 commit */", "do $$ begin commit; end $$", "do $$ begin execute 'commit'; end $$",
    "create table zz (a int)", "create temporary table zt (a int)", "alter table item add zz int", "drop table tag",
    "rename table tag to zz", "create index zz on item (price)", "create view zz as select 1", "create user zz", "truncate table tag",
    "analyze table item", "analyze", "optimize table item", "check table item", "flush tables", "lock tables item write",
    "lock table item in share mode", "unlock tables", "grant select on item to current_user", "set password = password('')",
    "set default role none", "backup stage start", "vacuum", "pragma foreign_keys = off", "attach ':memory:' as zz",
    "create trigger zz after insert on tag begin select 1; select 2; end",
    "create procedure zz() begin if 1 then select 1; end if; select 2; end",
    "create function zz() returns int language sql begin atomic select 1; select 2; end",
    "create function zz() returns int language sql as $$ select 1; select 2 $$",
    "insert or rollback into item (name, price) values ('x', 1)", "insert into item (name, price) values ('y', 1)",
    "update item set price = 2", "delete from item", "with a as (select 1) select * from a", "explain select 1", "listen zz",
    "declare zz cursor for select 1", "set transaction isolation level serializable", "kill query 0",
]  # fmt: skip


def by_connection(session: Session, sql: str) -> None:
    """Through a cursor of the session's connection."""
    session.connection().cursor().execute(sql)


def by_cursor(session: Session, sql: str) -> None:
    """Through a cursor of the session that stays open, one row fetched."""
    cursor = session.cursor()
    cursor.execute(sql)
    if cursor.description:
        cursor.fetchone()


WAYS: dict[str, Callable[[Session, str], object]] = {
    "execute": lambda session, sql: session.execute(sql),
    "connection().cursor()": by_connection,
    "cursor()": by_cursor,
    "script": lambda session, sql: session.script(sql),
    "executemany": lambda session, sql: session.executemany(sql, [()]),
}


def outcome(database: Database, way: Callable[[Session, str], object], sql: str) -> str:
    """Write a row, say the statement, roll back; return refused, told or harmless, or what went wrong."""
    engine = database.main
    with engine.session() as session:
        session.execute("insert into item (name, price) values ('x', 1)")
        said = "harmless"
        try:
            way(session, sql)
        except InvalidRequestError:
            said = "refused"
        except Error:
            pass  # the server's own no
        try:
            session.rollback()
        except (TransactionLostError, RollbackIncompleteError):
            said = "told"
    if database.names() and said != "told":
        return f"LOST SILENTLY ({said})"
    return said


def put_back(database: Database) -> None:
    """Undo what a statement did for good."""
    for sql in ("delete from item", "delete from tag"):
        with contextlib.suppress(Error):
            database.main.execute(sql)


def row(cells: list[str]) -> str:
    """Return a row of the table of the page."""
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("way", WAYS)
def test_no_statement_ends_a_transaction_in_silence(db: Database, way: str) -> None:
    """Refused before it is sent, harmless, or told by the rollback: the page has it, the same for each way in."""
    if db.kind == "mariadb":
        db.main.execute("drop procedure if exists c")
        db.main.execute("create procedure c() commit")
    found: dict[str, str] = {}
    for sql in STATEMENTS:
        if way == "script" and ";" in sql:
            continue  # it takes several: see below
        if way == "connection().cursor()" and sql == "savepoint a":
            continue  # there it is a nested transaction of the session (tests/test_clients.py)
        found[sql] = outcome(db, WAYS[way], sql)
        put_back(db)
    if WRITE and way == "execute":
        _write(db.kind, found)
    expected = _read(db.kind)
    assert found == {sql: said for sql, said in expected.items() if sql in found}
    assert len(expected) == len(STATEMENTS)


def test_each_piece_of_a_script_is_looked_at(db: Database) -> None:
    """The pieces before it have run, and can be rolled back."""
    with db.main.session() as session:
        with pytest.raises(InvalidRequestError, match="COMMIT as a statement"):
            session.script("insert into item (name, price) values ('a', 1); -- x\n commit; select 1")
        assert session.scalar("select count(*) from item") == 1
        session.rollback()
    assert db.names() == []


def test_a_statement_without_placeholders_many_times(db: Database) -> None:
    """executemany runs it once for each of the parameters, also when they are empty."""
    with db.main.begin() as session:
        assert session.executemany("insert into item (name, price) values (null, 5)", [(), ()]).rowcount == 2
        assert session.executemany("update item set price = 100 % 7", [{}, {}]).rowcount == 4
    assert db.main.execute("select price from item").scalars() == [2.0, 2.0]


def _shown(sql: str) -> str:
    return "`" + sql.replace("\n", " ⏎ ").replace("|", "\\|") + "`"


def _table() -> dict[str, dict[str, str]]:
    lines = [line.strip().strip("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return {cells[0]: dict(zip(("sqlite", "postgres", "mariadb"), cells[1:], strict=True)) for cells in rows}


def _read(kind: str) -> dict[str, str]:
    table = _table()
    return {sql: table[_shown(sql)][kind] for sql in STATEMENTS}


def _write(kind: str, found: dict[str, str]) -> None:
    table = _table()
    for sql, said in found.items():
        table.setdefault(_shown(sql), {})[kind] = said
    head = PAGE.read_text().split("| statement |")[0]
    lines = ["| statement | SQLite | PostgreSQL | MariaDB |", "|---|---|---|---|"]
    lines += [
        row([sql, *(cells.get(kind, "?") for kind in ("sqlite", "postgres", "mariadb"))])
        for sql, cells in table.items()
    ]
    PAGE.write_text(head + "\n".join(lines) + "\n")
