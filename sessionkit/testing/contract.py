"""The contract that every driver must keep, as tests to subclass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import errors
from .traps import Traps

if TYPE_CHECKING:
    from ..engine import Engine


class DriverContract(Traps):
    """
    What every driver must keep, as tests: subclass it in a test file of yours and return an engine from `make_engine`.

    The engine needs a database in which it may create and drop tables whose names begin with `contract`. What else a database
    needs to be asked with, such as its column types, are attributes; see `Traps`. Needs pytest, or any runner that takes classes of
    test methods. `kept` has what each promise came to, when the tests have run.
    """

    def make_engine(self) -> Engine:
        """Return a new engine on the driver under test."""
        raise NotImplementedError("a driver's contract test returns an engine here")

    def setup_method(self) -> None:
        """Make the engine and an empty table."""
        type(self).kept = {**type(self).kept}  # its own, not that of the class above
        self.engine = self.make_engine()
        self.engine.execute("DROP TABLE IF EXISTS contract")
        self.engine.execute(
            f"CREATE TABLE contract (id {self.integer_type} PRIMARY KEY, note {self.text_type} NOT NULL)"
        )

    def teardown_method(self) -> None:
        """Nothing is lent, nothing is left."""
        lent = self.engine.pool.stats()["used"]
        self.engine.execute("DROP TABLE contract")
        self.engine.dispose()
        assert lent == 0

    def notes(self) -> list[Any]:
        """Return what another connection sees in the table."""
        with self.engine.session() as session:
            return session.scalars("SELECT note FROM contract ORDER BY id")

    def put(self, session: Any, number: int, note: str = "x") -> None:
        """Insert a row."""
        session.execute("INSERT INTO contract (id, note) VALUES (:id, :note)", {"id": number, "note": note})

    def test_commit_keeps(self) -> None:
        """What a block wrote is there after it."""
        with self.engine.begin() as session:
            self.put(session, 1, "kept")
        assert self.notes() == ["kept"]

    def test_rollback_undoes(self) -> None:
        """What a session wrote without committing is gone after it."""
        session = self.engine.session()
        self.put(session, 1)
        session.rollback()
        assert self.notes() == []

    def test_an_exception_undoes_the_block(self) -> None:
        """A block that ends by an exception leaves nothing, and lets it through."""
        caught = None
        try:
            with self.engine.begin() as session:
                self.put(session, 1)
                raise KeyError("mine")
        except KeyError as exc:
            caught = exc
        assert caught is not None
        assert self.notes() == []

    def test_values_arrive_as_they_were(self) -> None:
        """Quotes, percent signs, backslashes, placeholders and other scripts go there and back unchanged."""
        hostile = ["it's", '"', "100%", "%s %(x)s ?", ":name", "back\\slash", "Ünïcödé 你好", "; -- drop", ""]
        with self.engine.begin() as session:
            for number, note in enumerate(hostile):
                self.put(session, number, note)
        assert self.notes() == hostile

    def test_literals_arrive_as_they_were(self) -> None:
        """What looks like a placeholder inside a literal is none."""
        with self.engine.session() as session:
            assert session.scalar("SELECT '100% :x ?'") == "100% :x ?"
            assert session.scalar("SELECT '100% :x ?' WHERE 1 = :one", {"one": 1}) == "100% :x ?"

    def test_constraints_are_integrity_errors(self) -> None:
        """A key that is there already, and a NULL where none may be, are IntegrityError."""
        for number, note in ((1, "again"), (2, None)):
            caught: BaseException | None = None
            try:
                with self.engine.begin() as session:
                    self.put(session, 1) if number == 1 else None
                    session.execute("INSERT INTO contract (id, note) VALUES (?, ?)", (number, note))
            except errors.IntegrityError as exc:
                caught = exc
            assert caught is not None, (number, note)
            assert caught.orig is not None  # type: ignore[attr-defined]
        assert self.notes() == []

    def test_a_wrong_statement_is_a_programming_error(self) -> None:
        """Syntax errors and unknown tables are the program's."""
        for sql in ("SELEC 1", "SELECT * FROM contract_that_is_not_there"):
            caught = None
            with self.engine.session() as session:
                try:
                    session.execute(sql)
                except errors.ProgrammingError as exc:
                    caught = exc
            assert caught is not None, sql

    def test_lists_and_many_rows(self) -> None:
        """`IN (:*ids)` and executemany work, with no rows too."""
        with self.engine.begin() as session:
            rows = [{"id": number, "note": f"n{number}"} for number in range(5)]
            session.executemany("INSERT INTO contract (id, note) VALUES (:id, :note)", rows)
            found = session.scalars("SELECT note FROM contract WHERE id IN (:*ids) ORDER BY id", {"ids": [1, 3]})
            none = session.scalars("SELECT note FROM contract WHERE id IN (:*ids)", {"ids": []})
            rest = session.scalars("SELECT note FROM contract WHERE NOT (id IN (:*ids))", {"ids": []})
        assert (found, none, len(rest)) == (["n1", "n3"], [], 5)

    def test_a_returned_connection_is_idle(self) -> None:
        """A connection that comes home in a transaction is idle for the next borrower."""
        lease = self.engine.pool.checkout()
        self.engine.driver.begin(lease.conn, None, False, True)
        self.engine.driver.run(lease.conn, "INSERT INTO contract (id, note) VALUES (9, 'stray')")
        self.engine.pool.checkin(lease)
        assert self.notes() == []

    def test_close_may_be_called_twice(self) -> None:
        """Closing a closed connection does nothing."""
        lease = self.engine.pool.checkout()
        self.engine.driver.close(lease.conn)
        self.engine.driver.close(lease.conn)
        self.engine.pool.discard(lease)
        assert self.notes() == []

    def test_ping_leaves_nothing_open(self) -> None:
        """A ping is a round trip and no transaction."""
        assert self.engine.ping() > 0
        assert self.engine.pool.stats()["used"] == 0
