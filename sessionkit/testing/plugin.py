"""
The pytest plugin: `--database`, and the fixtures `database_url`, `sandbox`, `statements`, `postgres_url`, `mariadb_url`.

A project says in its `conftest.py` what its database is::

    @pytest.fixture(scope="session")
    def database(database_url):
        with create_engine(database_url) as engine:
            create_tables(engine)
            yield engine                      # an Engine, or a Registry

and each test that asks for `sandbox` gets that engine, with all that the test does undone at its end. No fixture is used unless
it is asked for, and nothing else of sessionkit is imported before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engine import Engine
    from ..registry import Registry

KINDS = ("sqlite", "postgres", "mariadb")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--database`."""
    parser.getgroup("sessionkit").addoption(
        "--database",
        default="sqlite",
        metavar="sqlite|postgres|mariadb|URL",
        help="the database of the fixture database_url: a file (default), a private server that is started for the run, or a URL",
    )


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of `--database`; under pytest-xdist a database for each worker."""
    asked = str(request.config.getoption("--database"))
    if asked == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
    if asked in KINDS:
        return str(request.getfixturevalue(f"{asked}_url"))
    if "://" not in asked:
        raise pytest.UsageError(f"--database is sqlite, postgres, mariadb or a URL, got {asked!r}")
    worker = getattr(request.config, "workerinput", {}).get("workerid")
    if worker is None:
        return asked
    return str(request.getfixturevalue("_worker_database"))


@pytest.fixture(scope="session")
def _worker_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of this worker's own beside the one of `--database`: `shop_gw0` beside `shop`, or another file."""
    from ..engine import create_engine

    config: Any = request.config
    shared, worker = str(config.getoption("--database")), config.workerinput["workerid"]
    place, mark, query = shared.partition("?")
    name = f"{place.rpartition('/')[2]}_{worker}"
    own = f"{place.rpartition('/')[0]}/{name}{mark}{query}"
    if ":///" in shared:  # a file
        yield own
        return
    with create_engine(shared, pool_size=1) as engine:
        quote = engine.driver.identifier_quote
        engine.execute(f"DROP DATABASE IF EXISTS {quote}{name}{quote}")
        engine.execute(f"CREATE DATABASE {quote}{name}{quote}")
    yield own
    with create_engine(shared, pool_size=1) as engine:
        engine.execute(f"DROP DATABASE {quote}{name}{quote}")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a private PostgreSQL, started for this run; SESSIONKIT_POSTGRES_URL names another one."""
    yield from _server("start_postgres")


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a private MariaDB, started for this run; SESSIONKIT_MARIADB_URL names another one."""
    yield from _server("start_mariadb")


def _server(start: str) -> Iterator[str]:
    from . import servers

    try:
        server = getattr(servers, start)(servers.make_folder())
    except servers.Unavailable as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server.url
    server.stop()


@pytest.fixture
def sandbox(database: Engine | Registry) -> Iterator[Engine | Registry]:
    """What the fixture `database` gives, with all that the test does undone at its end; see `sessionkit.testing.sandbox`."""
    from .sandboxing import sandbox

    with sandbox(database) as found:
        yield found


@pytest.fixture
def statements(database: Engine | Registry) -> Iterator[list[str]]:
    """The statements that have run in this test, as the program wrote them: `assert len(statements) == 3`."""
    from ..events import StatementEvent
    from ..registry import engines_of

    ran: list[str] = []

    def listen(event: Any) -> None:
        """Keep a statement."""
        if isinstance(event, StatementEvent):
            ran.append(event.statement)

    engines = engines_of(database, "statements")
    ends = [engine.listen(listen) for engine in engines]
    yield ran
    for end in ends:
        end()
