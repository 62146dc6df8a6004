"""The part of the driver contract that is about what loses data elsewhere; each test notes what its promise came to."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import make_dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from .. import errors
from .._typing import ACTIVE, IDLE, UNKNOWN
from ..drivers.base import Driver
from .cuts import Cuts

if TYPE_CHECKING:
    from ..engine import Engine

VALUES: dict[str, Any] = {
    "int": 2**53 + 1, "float": 0.1, "bool": True, "str": "Ünïcödé 你好 \U0001f600", "bytes": bytes(range(256)),
    "Decimal": Decimal("12345678.1000"), "date": date(1, 2, 3), "datetime": datetime(2024, 2, 29, 23, 59, 59, 999999),
    "time": day_time(23, 59, 59, 1), "timedelta": timedelta(days=3, microseconds=-1),
    "UUID": UUID("12345678-1234-5678-1234-567812345678"), "dict": {"a": [1, 2.5, None, "x"]},
}  # fmt: skip
_TYPES: dict[str, Any] = {
    "int": int, "float": float, "bool": bool, "str": str, "bytes": bytes, "Decimal": Decimal, "date": date, "datetime": datetime,
    "time": day_time, "timedelta": timedelta, "UUID": UUID, "dict": dict,
}  # fmt: skip


class Interrupted(BaseException):
    """What the signal's handler raises."""


class Traps(Cuts):
    """
    The traps, as tests. A driver's class says what its database needs to be asked with.

    `column_types` are column types by the name of the Python type; `sleep_sql` runs for `sleep_seconds` or longer; `state_sql`
    leaves something on the connection that `state_seen` would find, as an error or a value other than None; `forgetful` ends a
    CREATE TABLE whose table has no transactions.
    """

    text_type = "varchar(80)"
    integer_type = "integer"
    column_types: ClassVar[dict[str, str]] = {
        "int": "bigint", "float": "double precision", "bool": "boolean", "str": "varchar(80)", "bytes": "blob",
        "Decimal": "decimal(14, 4)", "date": "date", "datetime": "timestamp", "time": "time", "timedelta": "interval",
        "UUID": "uuid", "dict": "json",
    }  # fmt: skip
    sleep_sql: str | None = None
    sleep_seconds = 4.0
    state_sql = "CREATE TEMPORARY TABLE contract_left (i integer)"
    state_seen = "SELECT count(*) FROM contract_left"
    forgetful: str | None = None
    kept: ClassVar[dict[str, str]] = {}

    if TYPE_CHECKING:
        engine: Engine

        def make_engine(self) -> Engine: ...
        def notes(self) -> list[Any]: ...
        def put(self, session: Any, number: int, note: str = "x") -> None: ...

    def came_to(self, promise: str, how: str) -> None:
        """Note what a promise came to."""
        type(self).kept[promise] = how

    def _is_there(self, table: str) -> bool:
        try:
            self.engine.execute(f"SELECT count(*) FROM {table}")
        except errors.ProgrammingError:
            return False
        return True

    # -- commits and rollbacks that are none

    def test_a_commit_after_an_error(self) -> None:
        """What a block wrote before and after an error that the program caught is there as a whole, or the block's end says no."""
        try:
            with self.engine.begin() as session:
                self.put(session, 1, "before")
                try:
                    session.execute("INSERT INTO contract (id, note) VALUES (1, 'twice')")
                except errors.IntegrityError:
                    pass
                self.put(session, 2, "after")
            how = "goes on"
        except errors.TransactionAbortedError:
            how = "TransactionAbortedError"
        assert self.notes() == (["before", "after"] if how == "goes on" else [])
        self.came_to("after an error that was caught", how)

    def test_a_commit_without_looking(self) -> None:
        """As above, but the block ends right after the error."""
        how = "there is none"
        try:
            with self.engine.begin() as session:
                self.put(session, 1, "before")
                try:
                    session.execute("SELECT nothing FROM nowhere")
                except errors.ProgrammingError:
                    pass
        except errors.Error as exc:
            how = type(exc).__name__
        assert self.notes() == (["before"] if how == "there is none" else [])
        self.came_to("COMMIT of an aborted transaction", how)

    def test_a_commit_behind_the_back(self) -> None:
        """Something on the driver's connection committed: an error says so, or the driver has declared that it cannot see it."""
        where = "at the next statement"
        try:
            with self.engine.begin() as session:
                self.put(session, 1, "before")
                conn: Any = session.connection().driver_connection
                conn.commit()
                self.put(session, 2, "after")
                where = "at the end"
        except errors.TransactionLostError:
            how = f"TransactionLostError {where}"
        else:
            how = "not noticed: the driver cannot see it"
            assert not self.engine.driver.tells_status
        assert self.notes()[:1] == ["before"]
        self.came_to("a commit behind the back", how)

    def test_the_status_is_no_guess(self) -> None:
        """In a transaction and after it the status is right, or UNKNOWN where the driver has declared that it cannot tell."""
        driver, lease = self.engine.driver, self.engine.pool.checkout()
        driver.begin(lease.conn, None, False, True)
        driver.run(lease.conn, "INSERT INTO contract (id, note) VALUES (9, 'stray')")
        inside = driver.status(lease.conn)
        driver.rollback(lease.conn)
        after = driver.status(lease.conn)
        self.engine.pool.checkin(lease)
        unknown = set() if driver.tells_status else {UNKNOWN}
        assert inside in {ACTIVE} | unknown
        assert after in {IDLE} | unknown
        self.came_to("the transaction's status", "shown at no cost" if driver.tells_status else "not shown: UNKNOWN")

    def test_ddl_inside_a_block(self) -> None:
        """DDL is undone with its block, or refused before it could commit what the block wrote."""
        how = "undone with its block"
        try:
            with self.engine.begin() as session:
                self.put(session, 1)
                session.execute(f"CREATE TABLE contract_ddl (i {self.integer_type})")
                raise KeyError("mine")
        except KeyError:
            pass
        except errors.ImplicitCommitError:
            how = "refused: ImplicitCommitError"
        assert (self.notes(), self._is_there("contract_ddl")) == ([], False)
        self.came_to("DDL in a block", how)

    def test_a_rollback_that_cannot_be(self) -> None:
        """What tables without transactions keep is an error that names them."""
        if self.forgetful is None:
            self.came_to("tables without transactions", "there are none")
            return
        self.engine.execute("DROP TABLE IF EXISTS contract_kept")
        self.engine.execute(f"CREATE TABLE contract_kept (i {self.integer_type}) {self.forgetful}")
        session = self.engine.session()
        caught = None
        session.execute("INSERT INTO contract_kept VALUES (1)")
        try:
            session.rollback()
        except errors.RollbackIncompleteError as exc:
            caught = exc
        session.close()
        self.engine.execute("DROP TABLE contract_kept")
        assert caught is not None
        assert caught.tables == ["contract_kept"]
        self.came_to("tables without transactions", "RollbackIncompleteError names them")

    def test_a_savepoint_is_undone_alone(self) -> None:
        """An error inside a nested block undoes that block, and the outer one goes on; or such a block is refused."""
        refused = False
        with self.engine.begin() as session:
            self.put(session, 1, "outer")
            try:
                with session.begin_nested():
                    self.put(session, 2, "inner")
                    self.put(session, 1, "twice")
            except errors.IntegrityError:
                pass
            except errors.NotSupportedError:
                refused = True
            self.put(session, 3, "after")
        assert self.notes() == ["outer", "after"]
        assert refused != self.engine.driver.has_savepoints
        self.came_to("a block inside a block", "refused: NotSupportedError" if refused else "undone alone")

    # -- in time

    def test_an_interrupt_in_a_call(self) -> None:
        """What a signal's handler raises comes out, nothing is kept, no connection stays lent."""
        if self.sleep_sql is None or not hasattr(signal, "setitimer"):
            return

        def strike(*_: object) -> None:
            """Interrupt."""
            raise Interrupted

        before = signal.signal(signal.SIGALRM, strike)
        caught: BaseException | None = None
        started = time.monotonic()
        try:
            with self.engine.begin() as session:
                self.put(session, 1)
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                session.execute(self.sleep_sql)
        except (Interrupted, KeyboardInterrupt) as exc:
            caught = exc
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        took = time.monotonic() - started
        assert caught is not None
        assert self.engine.pool.stats()["used"] == 0
        assert self.notes() == []
        how = "at once" if took < 0.8 * self.sleep_seconds else "when the statement ends"
        self.came_to(
            "an interrupt in a call", how + ("" if isinstance(caught, Interrupted) else ", as KeyboardInterrupt")
        )

    def test_a_limit_of_time(self) -> None:
        """A statement ends in time, and says why; or the limit is refused."""
        if self.sleep_sql is None:
            return
        caught: BaseException | None = None
        started = time.monotonic()
        try:
            with self.engine.begin(statement_timeout=0.3) as session:
                session.execute(self.sleep_sql)
        except (errors.QueryCancelledError, errors.NotSupportedError) as exc:
            caught = exc
        assert caught is not None
        assert time.monotonic() - started < 2
        assert self.notes() == []
        self.came_to("a limit of time", type(caught).__name__)

    def test_a_cancel_from_another_thread(self) -> None:
        """A statement that another thread cancels says so; or it runs to its end. An asynchronous session's task does that."""
        if self.sleep_sql is None:
            return
        driver, pool = self.engine.driver, self.engine.pool
        if type(driver).cancel is Driver.cancel:  # which does nothing
            self.came_to("a cancel from another thread", "when the statement ends")
            return
        lease = pool.checkout()
        other = threading.Timer(0.3, self.engine.cancel, (lease.conn,))
        caught: errors.Error | None = None
        started = time.monotonic()
        other.start()
        try:
            with errors.map_errors(driver):
                driver.fetch(lease.conn, self.sleep_sql, None)
        except errors.QueryCancelledError as exc:
            caught = exc
        finally:
            took = time.monotonic() - started
            other.join()
            pool.discard(lease)
        assert (caught is not None) == (took < 0.8 * self.sleep_seconds)
        assert self.notes() == []
        self.came_to(
            "a cancel from another thread", "when the statement ends" if caught is None else type(caught).__name__
        )

    def test_two_phases(self) -> None:
        """What is prepared outlives its connection, is listed, and ends as it is told; or such a database can only be the first."""
        driver, engine = self.engine.driver, self.engine
        if driver.two_phase("") is None:
            self.came_to("`two_phase=True`", "can only be the first database")
            return
        for number, commit in ((1, True), (2, False)):
            xid = f"contract:{id(self)}:{number}"
            prepared = driver.two_phase(xid)
            conn = driver.connect(engine.url, engine.connect_options)
            prepared.begin(conn, None, False, True)
            driver.run(conn, f"INSERT INTO contract (id, note) VALUES ({number}, 'x')")
            prepared.prepare(conn)
            driver.close(conn)
            assert len(self.notes()) == number - 1
            lease = engine.pool.checkout()
            until = time.monotonic() + 10
            while not driver.end_prepared(lease.conn, xid, commit):  # its client is going just now
                assert time.monotonic() < until
                time.sleep(0.01)
            assert xid not in driver.prepared(lease.conn)
            assert not driver.end_prepared(lease.conn, xid, commit)
            engine.pool.checkin(lease)
            assert self.notes() == ["x"]
        self.came_to("`two_phase=True`", "prepared; ends from any connection")

    # -- what goes in, and what stays

    def test_a_second_statement_in_a_text(self) -> None:
        """It is refused before anything is sent."""
        caught = None
        try:
            with self.engine.begin() as session:
                session.execute("INSERT INTO contract (id, note) VALUES (1, 'x'); COMMIT")
        except errors.InvalidRequestError as exc:
            caught = exc
        assert caught is not None
        assert self.notes() == []
        self.came_to("a second statement in a text", "refused: InvalidRequestError")

    def test_state_left_behind(self) -> None:
        """What one borrower leaves on a connection the next does not find."""
        session = self.engine.session()
        session.execute(self.state_sql)
        session.commit()
        session.close()
        found = None
        with self.engine.session() as session:
            try:
                found = session.scalar(self.state_seen)
            except errors.ProgrammingError:
                pass
        assert found is None
        self.came_to("what a borrower leaves on the connection", "is taken off")

    def test_a_value_of_every_kind(self) -> None:
        """The same value and type comes back, or DataError says before it is sent that it cannot."""
        cells = ", ".join(f"c{at} {self.column_types[kind]}" for at, kind in enumerate(VALUES))
        self.engine.execute("DROP TABLE IF EXISTS contract_values")
        self.engine.execute(f"CREATE TABLE contract_values ({cells})")
        refused = []
        for at, (kind, value) in enumerate(VALUES.items()):
            row_type = make_dataclass("Row", [("value", _TYPES[kind])])
            self.engine.execute("DELETE FROM contract_values")
            try:
                self.engine.execute(f"INSERT INTO contract_values (c{at}) VALUES (?)", (value,))
            except errors.DataError:
                refused.append(kind)
                continue
            with self.engine.session() as session:
                (row,) = session.query(row_type, f"SELECT c{at} AS value FROM contract_values")
            found = row.value
            assert (type(found), found) == (type(value), value), kind
        self.engine.execute("DROP TABLE contract_values")
        self.came_to(
            "a value of every kind", "comes back" if not refused else f"comes back; refused: {', '.join(refused)}"
        )

    def test_much_data(self) -> None:
        """A copy that fails leaves nothing, one that does not leaves all, and a stream brings it."""
        with self.engine.begin() as session:
            assert (
                session.copy_in("contract", ((number, f"n{number}") for number in range(3000)), ["id", "note"]) == 3000
            )
            with session.stream("SELECT id, note FROM contract ORDER BY id") as rows:
                assert [row.id for row in rows] == list(range(3000))
        caught = None
        try:
            with self.engine.begin() as session:
                session.execute("DELETE FROM contract")
                session.copy_in("contract", [(1, "a"), (2, None)], ["id", "note"])
        except errors.IntegrityError as exc:
            caught = exc
        assert caught is not None
        assert len(self.notes()) == 3000
        self.came_to("many rows in and out", "whole or not at all")
