"""The six drivers that come along keep the contract, and so does the one that docs/drivers.md ends with."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sessionkit import Driver, create_engine, errors
from sessionkit.testing import DriverContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Engine


HAS_MYSQLCLIENT = find_spec("MySQLdb") is not None


PAGE = Path(__file__).parent.parent / "docs" / "drivers.md"


def program_of_the_page() -> dict[str, Any]:
    """Return what the tutorial's program defines: a driver of one's own."""
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, found)
    return found


Own: Any = program_of_the_page()["OwnDriver"]


class Untold(Own):  # type: ignore[misc]
    """The same, for want of a way to tell its status: PEP 249 and nothing else."""

    tells_status = False

    def status(self, conn: Any) -> int:
        """Say nothing."""
        return Driver.status(self, conn)


class OnServer(DriverContract):
    """A contract whose engine needs a server of this run."""

    kind = ""
    driver: Driver | None = None
    dialect = ""
    """What stands before `://` in the URL, where it is another than the server's own."""

    @pytest.fixture(autouse=True)
    def _server(self, running: Any) -> None:
        self.url = running.get(self.kind).url
        if self.dialect:
            self.url = f"{self.dialect}://{self.url.partition('://')[2]}"

    def setup_method(self) -> None:
        """Wait for the fixture."""

    @pytest.fixture(autouse=True)
    def _table(self, _server: None) -> Iterator[None]:
        DriverContract.setup_method(self)
        yield
        DriverContract.teardown_method(self)

    def teardown_method(self) -> None:
        """Done by the fixture."""

    def make_engine(self) -> Engine:
        """Return an engine on the server."""
        return create_engine(self.url, driver=self.driver, pool_size=2, pool_timeout=5)


class OnPostgreSQL(OnServer):
    """What PostgreSQL is asked with."""

    kind = "postgres"
    column_types: ClassVar = {**DriverContract.column_types, "bytes": "bytea"}
    sleep_sql = "SELECT pg_sleep(4)"


class OnMariaDB(OnServer):
    """What MariaDB is asked with."""

    kind = "mariadb"
    column_types: ClassVar = {
        **DriverContract.column_types, "float": "double", "datetime": "datetime(6)", "time": "time(6)", "timedelta": "time(6)",
        "UUID": "char(36)", "bool": "boolean",
    }  # fmt: skip
    sleep_sql = "SELECT 1 FROM dual WHERE sleep(4) = 0"
    forgetful = "ENGINE = MyISAM"


class InFile(DriverContract):
    """A contract whose engine needs a file."""

    scheme = ""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> Iterator[None]:
        self.path = tmp_path
        DriverContract.setup_method(self)
        yield
        DriverContract.teardown_method(self)

    def setup_method(self) -> None:
        """Wait for the fixture."""

    def teardown_method(self) -> None:
        """Done by the fixture."""

    def make_engine(self) -> Engine:
        """Return an engine on a file."""
        return create_engine(f"{self.scheme}:///{self.path}/contract.db", pool_size=2, pool_timeout=5)


class TestSQLite(InFile):
    """sqlite3."""

    scheme = "sqlite"
    sleep_sql = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000) SELECT count(*) FROM n"
    )
    sleep_seconds = 1.5
    column_types: ClassVar = {**DriverContract.column_types, "timedelta": "integer"}


class TestDuckDB(InFile):
    """DuckDB."""

    scheme = "duckdb"
    sleep_sql = "SELECT count(*) FROM range(100000000) a, range(300) b"
    sleep_seconds = 20.0


class TestPsycopg(OnPostgreSQL):
    """psycopg 3."""


class TestPg8000(OnPostgreSQL):
    """pg8000."""

    dialect = "postgresql+pg8000"


class TestPyMySQL(OnMariaDB):
    """PyMySQL."""


@pytest.mark.skipif(not HAS_MYSQLCLIENT, reason="mysqlclient needs a C compiler: tox -e mysqlclient runs these")
class TestMySQLdb(OnMariaDB):
    """mysqlclient."""

    dialect = "mysql+mysqldb"


UNCLOSED = pytest.mark.filterwarnings(
    "ignore:unclosed", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pg8000's files


@UNCLOSED
class TestOwn(OnPostgreSQL):
    """The driver that docs/drivers.md ends with."""

    driver = Own()


@UNCLOSED
class TestUntold(OnPostgreSQL):
    """A driver that cannot tell its transaction's status."""

    driver = Untold()


def test_a_foreign_driver_maps_errors(running: Any) -> None:
    """The leaves are the same as with psycopg."""
    engine = create_engine(running.get("postgres").url, driver=Own())
    with pytest.raises(errors.ProgrammingError) as caught:
        engine.execute("select * from nowhere")
    assert caught.value.sqlstate == "42P01"
    engine.dispose()


SHIPPED: dict[str, type[DriverContract]] = {
    "sqlite3": TestSQLite, "DuckDB": TestDuckDB, "psycopg": TestPsycopg, "pg8000": TestPg8000, "PyMySQL": TestPyMySQL,
    "mysqlclient": TestMySQLdb,
}  # fmt: skip
BEGIN, END = "<!-- the contract's results, made by tests/test_contract.py -->\n", "<!-- end -->"


def test_the_page_has_what_the_contract_found() -> None:
    """What each promise came to on each driver that is here, a row for each; SESSIONKIT_WRITE_TABLES=1 writes it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    names = list(SHIPPED)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    shown = {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}
    ran = {name: cls.kept for name, cls in SHIPPED.items() if cls.kept}
    if os.environ.get("SESSIONKIT_WRITE_TABLES"):
        promises = dict.fromkeys(promise for kept in ran.values() for promise in kept)
        lines = [f"| promise | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for promise in promises:
            cells = [ran[name].get(promise, "–") if name in ran else shown[promise][name] for name in names]
            lines.append(f"| {promise} | {' | '.join(cells)} |")
        PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)
        return
    if not ran:
        pytest.skip("no contract ran before this")
    for name, kept in ran.items():
        assert kept == {promise: cells[name] for promise, cells in shown.items() if cells[name] != "–"}, name
