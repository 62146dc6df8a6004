"""Nothing that a program leaves on a connection reaches the next borrower."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import Error, Session, create_engine
from sessionkit.testing.proxy import Proxy

if TYPE_CHECKING:
    from sessionkit import Engine

    from .conftest import Database

# what leaves something, and what another session would see of it: (statements, question)
LEFT: dict[str, list[tuple[list[str], str]]] = {
    "postgres": [
        (["set search_path = nowhere"], "show search_path"),
        (["set session timezone = 'Asia/Tokyo'"], "show timezone"),
        (["/* a */ set statement_timeout = 4321"], "show statement_timeout"),
        (["set role nobody_else"], "select current_user"),
        (["set session authorization nobody_else"], "select session_user"),
        (["set session characteristics as transaction isolation level serializable"], "show default_transaction_isolation"),
        (["select set_config('app.tenant', '7', false)"], "select coalesce(current_setting('app.tenant', true), '')"),
        (["select set_config('app.a', '7', true), set_config('app.b', '8', false)"], "select coalesce(current_setting('app.b', true), '')"),
        (["create temporary table mine (a int)"], "select to_regclass('pg_temp.mine')"),
        (["create or replace temp view mine as select 1"], "select to_regclass('pg_temp.mine')"),
        (["create table pg_temp.mine (a int)"], "select to_regclass('pg_temp.mine')"),
        (["select 1 as a into temp mine"], "select to_regclass('pg_temp.mine')"),
        (["select pg_advisory_lock(7)"], "select count(*) from pg_locks where locktype = 'advisory'"),
        (["select pg_try_advisory_lock_shared(7)"], "select count(*) from pg_locks where locktype = 'advisory'"),
        (["listen mine"], "select count(*) from pg_listening_channels()"),
        (["prepare mine as select 1"], "select count(*) from pg_prepared_statements where name = 'mine'"),
        (["prepare mine as select set_config('app.c', '9', false)", "execute mine"], "select coalesce(current_setting('app.c', true), '')"),
        (["declare mine cursor with hold for select 1"], "select count(*) from pg_cursors where name = 'mine'"),
        (["do $$ begin perform set_config('app.d', '7', false); end $$"], "select coalesce(current_setting('app.d', true), '')"),
        (["call leave_it()"], "select coalesce(current_setting('app.e', true), '')"),
        (["select e'\\''; ", "set datestyle = 'German'"], "show datestyle"),
    ],
    "mariadb": [
        (["set @tenant = 7"], "select @tenant"),
        (["select @tenant := 7"], "select @tenant"),
        (["select 7 into @tenant"], "select @tenant"),
        (["select `a` from (select 7 as `a`) t into @`tenant`"], "select @tenant"),
        (["set statement max_statement_time = 9 for set @tenant = 7"], "select @tenant"),
        (["set sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'"], "select @@sql_mode"),
        (["set session max_statement_time = 9"], "select @@max_statement_time"),
        (["set time_zone = '+09:00'"], "select @@time_zone"),
        (["set names latin1"], "select @@character_set_client, @@collation_connection"),
        (["set role leaver"], "select current_role()"),
        (["set transaction isolation level serializable"], "select @@tx_isolation"),
        (["set session transaction read only"], "select @@tx_read_only"),
        (["use information_schema"], "select database()"),
        (["create temporary table mine (a int)"], "select count(*) from mine"),
        (["create or replace temporary table mine (a int)"], "select count(*) from mine"),
        (["do get_lock('mine', 1)"], "select is_free_lock('mine')"),
        (["select get_lock('mine', 1)"], "select is_free_lock('mine')"),
        (["prepare mine from 'select 1'"], "execute mine"),
        (["handler item open"], "handler item read first"),
        (["call leave_it()"], "select @left"),
        (["select 'a\\'', @tenant := 7"], "select @tenant"),
    ],
    "sqlite": [
        (["pragma foreign_keys = off"], "pragma foreign_keys"),
        (["pragma main.recursive_triggers(1)"], "pragma recursive_triggers"),
        (["pragma query_only = on"], "pragma query_only"),
        (["pragma case_sensitive_like = on"], "select 'a' like 'A'"),
        (["attach ':memory:' as other"], "select count(*) from pragma_database_list where name = 'other'"),
        (["create temporary table mine (a int)"], "select count(*) from mine"),
        (["create table temp.mine (a int)"], "select count(*) from mine"),
        (["create temp view mine as select 1"], "select count(*) from mine"),
        (["create temp trigger mine after insert on item begin select 1; select 2; end"], "select count(*) from sqlite_temp_master"),
    ],
}  # fmt: skip
MEMORY_CANNOT = "case_sensitive_like"  # which cannot be read


def answer(session: Any, sql: str) -> Any:
    """Return what a session sees: rows, or the class of the error."""
    try:
        return session.execute(sql).all()
    except Error as exc:
        return type(exc).__name__
    finally:
        session.rollback()


def prepare(database: Database) -> None:
    """What the statements need: roles and procedures."""
    if database.kind == "postgres":
        database.main.execute(
            "do $$ begin if not exists (select 1 from pg_roles where rolname = 'nobody_else') "
            "then create role nobody_else; end if; end $$"
        )
        database.main.execute(
            "create or replace procedure leave_it() language sql as $$ select set_config('app.e', '7', false) $$"
        )
    elif database.kind == "mariadb":
        database.main.execute("create role if not exists leaver")
        database.main.execute("drop procedure if exists leave_it")
        database.main.execute("create procedure leave_it() set @left = 7")


def leave(engine: Engine, statements: list[str], how: str) -> None:
    """Run statements that leave something, and end."""
    with engine.session() as session:
        if how in ("cursor", "connection"):
            cursor = session.cursor() if how == "cursor" else session.connection().cursor()
            for sql in statements:
                cursor.execute(sql)
        elif how == "script":
            session.script(";".join(statements))
        elif how == "nested":
            nested = session.begin_nested()
            for sql in statements:
                session.execute(sql)
            nested.rollback()
            return
        elif how == "alone":
            for sql in statements:
                try:
                    engine.execute(sql)
                except Error:
                    assert sql != statements[0]  # the second needs what the first has left, which is gone already
            return
        else:
            for sql in statements:
                session.execute(sql)
        if how == "failed":
            with pytest.raises(Error):
                session.execute("select nothing from nowhere")
        session.commit() if how in ("execute", "script", "cursor") else session.rollback()


@pytest.mark.parametrize("how", ["alone", "execute", "connection", "cursor", "script", "nested", "failed"])
def test_the_next_session_sees_what_a_new_connection_sees(db: Database, how: str) -> None:
    """With a pool of one, whatever was left, by whatever way, committed or not."""
    prepare(db)
    fresh = db.engine(pool_size=1)
    engine = db.engine(pool_size=1)
    engine.ping()
    for statements, question in LEFT[db.kind]:
        fresh.dispose()
        with fresh.session() as session:
            wanted = answer(session, question)
        leave(engine, statements, how)
        with engine.session() as session:
            assert answer(session, question) == wanted, statements


def test_what_the_programs_leave_is_there_with_keep_state(db: Database) -> None:
    """The questions can tell: for programs that want it so, each has another answer in the next session."""
    prepare(db)
    for statements, question in LEFT[db.kind]:
        if "set transaction" in statements[0]:
            continue  # for the next transaction only
        fresh, engine = (db.engine(pool_size=1, keep_state=keep) for keep in (False, True))
        with fresh.session() as session:
            before = answer(session, question)
        leave(engine, statements, "alone")
        with engine.session() as session:
            assert answer(session, question) != before, statements
        engine.dispose()


def test_random_programs(db: Database) -> None:
    """Two hundred programs of one to four pieces each, after which the next session sees what a new connection sees."""
    prepare(db)
    dice = random.Random(7)
    engine = db.engine(pool_size=1)
    fresh = db.engine(pool_size=1)
    fresh.dispose()
    questions = [question for _, question in LEFT[db.kind]]
    with fresh.session() as session:
        wanted = [answer(session, question) for question in questions]
    for number in range(200):
        chosen = dice.sample(LEFT[db.kind], dice.randint(1, 4))
        how = dice.choice(["alone", "execute", "connection", "cursor", "nested", "rollback"])
        try:
            leave(engine, [sql for statements, _ in chosen for sql in statements], how)
        except Error:
            pass  # two of them do not go together; what the first has left is there all the same
        asked = dice.sample(range(len(questions)), min(6, len(questions)))
        with engine.session() as session:
            found = [answer(session, questions[at]) for at in asked]
        assert found == [wanted[at] for at in asked], (number, chosen, how)


def test_a_database_in_memory_stays_and_is_tidied() -> None:
    """Its one connection cannot be replaced: what can be read of a connection is set back, and the tables stay."""
    engine = create_engine("sqlite://", on_connect=["pragma cache_size = 321"])
    engine.execute("create table item (id integer primary key, name text)")
    engine.execute("insert into item (name) values ('a')")
    other = create_engine("sqlite://", on_connect=["pragma cache_size = 321"])
    with other.session() as session:
        wanted = {question: answer(session, question) for _, question in LEFT["sqlite"]}
        size = answer(session, "pragma cache_size")
    other.dispose()
    for statements, question in LEFT["sqlite"]:
        if MEMORY_CANNOT in statements[0]:
            continue
        leave(engine, [*statements, "pragma cache_size = 5"], "execute")
        with engine.session() as session:
            assert (answer(session, question), answer(session, "pragma cache_size")) == (wanted[question], size)
    assert engine.execute("select name from item").scalars() == ["a"]
    engine.dispose()


def test_on_connect_is_done_again(server_db: Database) -> None:
    """And the engine's statement_timeout is set again: a connection that was reset is as a new one."""
    setting = {"postgres": "set timezone = 'Asia/Tokyo'", "mariadb": "set time_zone = '+09:00'"}[server_db.kind]
    question = {"postgres": "show timezone", "mariadb": "select @@time_zone"}[server_db.kind]
    limit = {"postgres": "show statement_timeout", "mariadb": "select @@max_statement_time"}[server_db.kind]
    engine = server_db.engine(pool_size=1, on_connect=[setting], statement_timeout=7)
    with engine.session() as session:
        wanted = session.scalar(question), session.scalar(limit)
        number = _number(session, server_db.kind)
        session.execute(setting.replace("Asia/Tokyo", "UTC").replace("+09", "+01"))
    with engine.session() as session:
        assert (session.scalar(question), session.scalar(limit)) == wanted
        assert _number(session, server_db.kind) == number  # the same connection
    assert "7" in str(wanted[1])


def _number(session: Any, kind: str) -> Any:
    return session.scalar("select pg_backend_pid()" if kind == "postgres" else "select connection_id()")


def test_a_raw_connection_is_not_lent_again(db: Database) -> None:
    """What a program did to the driver's own connection nobody knows."""
    engine = db.engine(pool_size=1)
    with engine.session() as session:
        raw = session.connection().driver_connection
    with engine.session() as session:
        assert session.connection().driver_connection is not raw


def test_a_given_connection_is_the_givers(db: Database) -> None:
    """It is left as the program made it."""
    conn = db.main.driver.connect(db.main.url, {})
    setting, question, wanted = {
        "sqlite": ("pragma cache_size = 7", "pragma cache_size", [(7,)]),
        "postgres": ("set search_path = nowhere", "show search_path", [("nowhere",)]),
        "mariadb": ("set @tenant = 7", "select @tenant", [(7,)]),
    }[db.kind]
    with Session(conn) as session:
        session.execute(setting)
        session.commit()
        assert answer(session, question) == wanted
    db.main.driver.close(conn)


@pytest.mark.parametrize("sql", ["set local timezone = 'UTC'", "select set_config('app.tenant', :t, true)"])
def test_what_ends_with_the_transaction_marks_nothing(postgres: Database, sql: str) -> None:
    """The form that row-level security wants costs no round trip more."""
    parameters = {"t": "7"} if ":t" in sql else None
    assert _trips(postgres, sql, parameters) == _trips(postgres, "select :t" if parameters else "select 1", parameters)


def test_a_marked_connection_costs_one_trip(server_db: Database) -> None:
    """And one that is not marked costs none."""
    plain, marked = {
        "postgres": ("select 1", "set timezone = 'UTC'"),
        "mariadb": ("select 1", "set @tenant = 7"),
    }[server_db.kind]
    assert _trips(server_db, plain) == 2
    assert (
        _trips(server_db, marked) == {"postgres": 3, "mariadb": 2}[server_db.kind]
    )  # after SET alone, MySQL needs no COMMIT


def _trips(database: Database, sql: str, parameters: Any = None) -> int:
    """Return the round trips of a session of one statement."""
    with Proxy(database.server.port) as proxy:
        engine = database.through(proxy, pool_size=1)
        engine.ping()
        before = proxy.trips
        with engine.session() as session:
            session.execute(sql, parameters)
            session.commit()
        found = proxy.trips - before
        engine.dispose()
    return int(found)
