"""A registry with a standby: who only reads reads there, and from the primary while it is gone; who may write never does."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, Error, ReadOnlyError, Registry
from sessionkit.testing import sandbox, servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database

START = {"postgres": servers.start_postgres, "mariadb": servers.start_mariadb}


@pytest.fixture
def pair(server_db: Database) -> Iterator[tuple[Registry, Any]]:
    """A registry of a primary and a standby, each of which says who it is; and the standby's server."""
    server = START[server_db.kind](servers.make_folder())
    with Registry() as registry:
        registry.add("shop", server_db.url, standby=server.url, pool_size=4)
        for engine, name in ((registry["shop"], "primary"), (registry.standbys[registry["shop"]].standby, "standby")):
            engine.execute("drop table if exists who")
            engine.execute("create table who (name varchar(10))")
            engine.execute("insert into who values (?)", [name])
        yield registry, server
        registry["shop"].execute("drop table who")
    server.stop()


def who(registry: Registry, **options: Any) -> str:
    """Return which server a session reads from."""
    with registry.session(**options) as session:
        return str(session.scalar("select name from who"))


def test_who_reads_where(pair: tuple[Registry, Any]) -> None:
    """Sessions, blocks and `run` that are read-only: the standby; all others: the primary."""
    registry, _ = pair
    assert who(registry, read_only=True) == "standby"
    assert who(registry) == "primary"
    with registry.begin(read_only=True) as session:
        assert session.scalar("select name from who", bind="shop") == "standby"
        with pytest.raises(ReadOnlyError), session.begin_nested():
            session.execute("delete from who")
    assert registry.run(lambda session: session.scalar("select name from who"), read_only=True) == "standby"
    assert registry.run(lambda session: session.scalar("select name from who")) == "primary"
    with registry.session() as session, session.begin(read_only=True):
        assert session.scalar("select name from who") == "primary"  # this session may write the next time


@pytest.mark.filterwarnings("ignore:read_only=True has no effect in a sandbox")
def test_in_a_sandbox(pair: tuple[Registry, Any]) -> None:
    """What a test wrote is read by its read-only sessions too, and undone."""
    registry, _ = pair
    with sandbox(registry):
        registry["shop"].execute("update who set name = 'changed'")
        assert who(registry, read_only=True) == "changed"
    assert (who(registry), who(registry, read_only=True)) == ("primary", "standby")


def test_a_standby_that_is_gone(pair: tuple[Registry, Any]) -> None:
    """The primary is read; when the standby is back, it is again."""
    registry, server = pair
    assert who(registry, read_only=True) == "standby"
    server.stop()
    assert {who(registry, read_only=True) for _ in range(5)} == {"primary"}
    server.start()
    for _ in range(400):
        if who(registry, read_only=True) == "standby":
            break
        threading.Event().wait(0.02)
    else:
        pytest.fail("sessions do not go back to the standby")
    engine = registry["shop"]
    assert engine.pool.stats()["used"] == registry.standbys[engine].standby.pool.stats()["used"] == 0


def test_a_standby_that_is_killed_under_load(pair: tuple[Registry, Any]) -> None:
    """A thousand read-only sessions, the standby killed and brought back meanwhile: none fails that had not begun its work."""
    registry, server = pair
    failed: list[str] = []
    seen: list[str] = []

    def read(session: Any) -> str:
        return str(session.scalar("select name from who"))

    def reader() -> None:
        for _ in range(125):
            try:
                seen.append(registry.run(read, read_only=True))
            except Error as exc:
                failed.append(str(exc))

    threads = [threading.Thread(target=reader) for _ in range(8)]
    for thread in threads:
        thread.start()
    _until(lambda: len(seen) >= 200 or bool(failed))
    server.stop(9)
    _until(lambda: len(seen) >= 500 or bool(failed))
    server.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(seen) == 1000
    assert {"primary", "standby"} == set(seen)


def test_the_page(postgres: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """The program of docs/servers.md, with one server as both."""
    text = (Path(__file__).parent.parent / "docs" / "servers.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for place in ("primary", "standby"):
        program = program.replace(f"postgresql://app@{place}/shop", postgres.url)
    postgres.main.execute("create table orders (article text)")
    found: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(program, found)
    finally:
        postgres.main.execute("drop table orders")
        found["registry"].dispose()
    assert capsys.readouterr().out == "[]\n"


def _until(condition: Any) -> None:
    for _ in range(20_000):
        if condition():
            return
        threading.Event().wait(0.001)
    pytest.fail("it does not go on")


def test_what_is_no_standby() -> None:
    """Another database's driver; other options for a name that is there."""
    registry = Registry()
    with pytest.raises(ArgumentError, match="a standby has its primary's driver, psycopg; this one has pymysql"):
        registry.add("shop", "postgresql://a/d", standby="mysql://b/d")
    registry = Registry()
    first = registry.add("shop", "postgresql://a/d", standby="postgresql://b/d")
    assert registry.add("shop", "postgresql://a/d", standby="postgresql://b/d") is first
    with pytest.raises(ArgumentError, match="registered already"):
        registry.add("shop", "postgresql://a/d")
