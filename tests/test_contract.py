"""The drivers that come along keep the contract, and so does one of thirty lines for a module that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sessionkit import Driver, create_engine, errors
from sessionkit.drivers.base import ACTIVE, BROKEN, IDLE, INERROR
from sessionkit.errors import Diagnosis
from sessionkit.sql.lexer import Lexicon
from sessionkit.testing import DriverContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sessionkit import Engine


class Pg8000(Driver):
    """pg8000, a pure Python driver for PostgreSQL that sessionkit does not ship a file for."""

    name = "pg8000"
    module = "pg8000.dbapi"
    lexicon = Lexicon("format", dollar=True, nested=True, percent="unquoted")
    returning = True
    STATES: ClassVar = {b"I": IDLE, b"T": ACTIVE, b"E": INERROR}

    def status(self, conn: Any) -> int:
        """The last ReadyForQuery message tells."""
        return BROKEN if conn._usock is None else self.STATES.get(conn._transaction_status, BROKEN)

    def diagnose(self, exc: BaseException) -> Diagnosis | None:
        """pg8000 puts the fields of the server's answer into a dict: C is the SQLSTATE."""
        if not self.owns(exc):
            return None
        fields = exc.args[0] if exc.args and isinstance(exc.args[0], dict) else {}
        exc.sqlstate = fields.get("C")  # type: ignore[attr-defined]
        return super().diagnose(exc)


class Untold(Pg8000):
    """The same, for want of a way to tell its status: PEP 249 and nothing else."""

    def status(self, conn: Any) -> int:
        """Say nothing."""
        return Driver.status(self, conn)


class OnServer(DriverContract):
    """A contract whose engine needs a server of this run."""

    kind = ""
    driver: Driver | None = None

    @pytest.fixture(autouse=True)
    def _server(self, running: Any) -> None:
        self.url = running.get(self.kind).url

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
        return create_engine(self.url.replace("/postgres", "/postgres"), driver=self.driver)


class TestPsycopg(OnServer):
    """psycopg 3."""

    kind = "postgres"


class TestPyMySQL(OnServer):
    """PyMySQL."""

    kind = "mariadb"


class TestPg8000(OnServer):
    """A driver of thirty lines."""

    kind = "postgres"
    driver = Pg8000()


class TestUntold(OnServer):
    """A driver that cannot tell its transaction's status."""

    kind = "postgres"
    driver = Untold()


class TestSQLite(DriverContract):
    """sqlite3."""

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
        return create_engine(f"sqlite:///{self.path}/contract.db")


def test_a_foreign_driver_maps_errors(running: Any) -> None:
    """The leaves are the same as with psycopg."""
    engine = create_engine(running.get("postgres").url, driver=Pg8000())
    with pytest.raises(errors.ProgrammingError) as caught:
        engine.execute("select * from nowhere")
    assert caught.value.sqlstate == "42P01"
    engine.dispose()
