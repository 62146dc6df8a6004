"""A sandbox: whatever sessions do in it, in whatever thread, is undone at its end, although their code commits."""

from __future__ import annotations

import warnings
from _thread import get_ident
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..drivers.base import IDLE
from ..errors import InvalidRequestError, NotSupportedError, PoolDeadlockError, TransactionLostError, map_errors
from ..pool.pool import Pool
from ..registry import engines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Holder, Lease
    from ..drivers.base import Driver
    from ..engine import Engine
    from ..registry import Registry

SAVEPOINT = "sessionkit_sandbox"


@contextmanager
def sandbox(database: Engine | Registry) -> Iterator[Engine | Registry]:
    """
    Undo at the end of the block all that sessions of an engine, or of each engine of a registry, have done in it.

    ::

        with sandbox(engine):
            place_order(engine, "tea")             # commits, in this thread or another
            assert stock(engine, "tea") == 4
        # nothing of it is there

    Each database has one connection meanwhile, opened with the first statement, which is lent to one transaction after the
    other; BEGIN is a savepoint there, COMMIT releases it and checks deferred constraints, hooks run as ever.

    Raises:
        PoolDeadlockError: (in the block) a session wants the connection that another one of the same thread holds.
        ImplicitCommitError: (in the block) DDL on MySQL, which would keep what the test wrote.
        InvalidRequestError: a session holds a connection when the block begins or ends; the text says where it was made.
        NotSupportedError: the database has no savepoints.
    """
    engines = engines_of(database, "sandbox()")
    for engine in engines:
        if not engine.driver.has_savepoints:
            raise NotSupportedError(f"a sandbox works with savepoints, and {engine.driver.name} has none")
    lenders = [OneConnection(engine) for engine in engines]
    left: list[str] = []
    try:
        with ExitStack() as stack:
            for engine, lender in zip(engines, lenders, strict=True):
                stack.callback(lender.end, left)
                stack.enter_context(engine.lending_from(lender, lender.driver))
            yield database
    except BaseException as exc:
        for text in left:
            exc.add_note(f"when the sandbox ended, a session still held its connection: {text}")
        raise
    if left:
        raise InvalidRequestError(f"the sandbox has ended, and a session still held its connection: {'; '.join(left)}")


class OneConnection:
    """Lends the one connection of a sandbox, in order of asking."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lease: Any = None
        self._is_gone = False
        self._thread: int | None = None  # of who holds it
        self.driver = InSandbox(engine.driver)
        self._pool = Pool(
            self._open, close=self._close, reset=lambda conn, raw: True,  # what is left on it, it is closed with
            size=1, timeout=engine.pool.timeout, recycle=None, idle=None,
        )  # fmt: skip

    def _open(self) -> Any:
        if self._lease is not None:
            raise TransactionLostError(
                "the connection of this sandbox was lost (a call on it was interrupted, or the server hung up), and what ran in it "
                "is undone"
            )
        self._lease = lease = self._engine.pool.checkout()
        lease.is_raw = True  # so that it is closed when it comes home: nobody knows what the test left on it
        conn, real, level = lease.conn, self.driver.real, self._engine.isolation_level
        with map_errors(real, "BEGIN"):
            self.driver.isolation = level or real.describe(conn)["isolation"]
            real.begin(conn, level and real.level(level), False, True)
            real.begin_visibly(conn)
            real.savepoint(conn, f"{SAVEPOINT}_all")  # with which a driver that begins with its first statement begins
        return conn

    def _close(self, conn: Any) -> None:
        """In doubt: nothing more is said on it."""
        self._is_gone = True
        self._engine.pool.discard(self._lease)

    def end(self, left: list[str]) -> None:
        """Undo everything and give the connection back; add to `left` who held it still."""
        held = self._pool.revoke()
        left += map(str, held)
        if self._lease is not None and not self._is_gone:
            if held:  # a call may be under way on it
                self._engine.pool.discard(self._lease)
            else:
                self._engine.pool.checkin(self._lease)  # which rolls back

    # -- a lender

    @property
    def queue(self) -> Any:
        """Where those stand who wait for it."""
        return self._pool

    def checkout(
        self, timeout: float | None = None, holder: Holder = (0, None, 0), depth: int = 1, slot: Any = None
    ) -> Lease:
        """Lend the connection, when the transaction that has it ends; `slot` as with a pool's checkout."""
        if slot is None and self._thread == get_ident():
            held = "; ".join(map(str, self._pool.leases()))
            raise PoolDeadlockError(
                "a database has one connection in a sandbox, and another session of this thread holds it: end its transaction "
                f"first, or use that session ({held})"
            )
        lease = self._pool.checkout(timeout, holder, depth + 1, slot)
        self._thread = get_ident() if slot is None else None  # an asynchronous session is of no thread
        return lease

    def checkin(self, lease: Any, /) -> None:
        """Take it back."""
        self._thread = None
        self._pool.checkin(lease)

    def discard(self, lease: Any, /) -> None:
        """In doubt: it is closed, and the sandbox is over."""
        self._thread = None
        self._pool.discard(lease)

    def abandon(self, lease: Any, /) -> None:
        """Its session was collected unclosed."""
        self._thread = None
        self._pool.abandon(lease)

    def suspect(self) -> None:
        """There is no other connection."""


class InSandbox:
    """A driver in a sandbox: each transaction is a savepoint in the one that will be undone."""

    may_commit_implicitly = False
    begins_with_first = limits_locally = autocommit = always_begun = False
    instead_of_implicit_commit = (
        "in a sandbox it would keep what the test wrote; make tables before it, in a fixture of the session"
    )

    def __init__(self, driver: Driver) -> None:
        self.real = driver
        self.isolation = ""  # of the outer transaction
        self._named: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """Set the savepoint; what modes the outer transaction cannot have is said once."""
        if self.real.status(conn) == IDLE:
            raise TransactionLostError(
                "the sandbox's own transaction was ended (a deadlock, or something that commits), so what this test did is "
                "gone, or kept"
            )
        self.real.savepoint(conn, SAVEPOINT)
        if isolation_level and isolation_level != self.isolation:
            self._name(f"isolation_level={isolation_level!r}")
        if read_only and not self.real.set_read_only(conn):
            self._name("read_only=True")
        return True

    def _name(self, mode: str) -> None:
        if mode not in self._named:
            self._named.add(mode)
            warnings.warn(f"{mode} has no effect in a sandbox: the transaction around it began without", stacklevel=8)

    def begin_limited(
        self, conn: Any, isolation_level: str | None, read_only: bool, write: bool, seconds: float
    ) -> bool:
        """The limit, then the savepoint."""
        self.real.limit_server(conn, seconds)
        return self.begin(conn, isolation_level, read_only, write)

    def commit(self, conn: Any) -> None:
        """Keep the work as part of the outer transaction, if COMMIT would."""
        self.real.check_deferred(conn)
        self.real.release(conn, SAVEPOINT)

    def rollback(self, conn: Any) -> bool:
        """Undo the session's work, and nothing else of the test."""
        return bool(self.real.rollback_to(conn, SAVEPOINT))
