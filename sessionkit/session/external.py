"""A connection that the session was given: begun and ended by it, or worked in below a savepoint, but never closed."""

from __future__ import annotations

from time import perf_counter

from .. import errors
from .._typing import ACTIVE, INERROR
from ..events import Listeners
from ..mapping.values import Values
from ..sql.parameters import Compiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SAVEPOINT = "sessionkit_given"


class Given:
    """
    A database behind one live DB-API connection, as a source of connections for a session.

    Idle when a transaction of the session begins: the session begins and ends it, in the driver's own way
    where the connection begins by itself. In a transaction: the session works inside a savepoint, and the outer
    transaction is never ended here. Either way the connection is never closed.
    """

    def __init__(self, conn: Any, driver: Any) -> None:
        self.name = ""
        self.conn = conn
        self.poll = None
        self.statement: str | None = None
        self.in_transaction = False
        self.isolation_level: str | None = None
        self.distant = False
        self.statement_timeout: float | None = None
        self.is_given = True  # so its settings on the server are somebody else's
        self.has_other_lender = True
        self.where: Any = None  # the giver knows
        self.listeners = Listeners()
        self.line = None  # who else writes is the giver's concern
        self.patience = 0.0
        self.clock = perf_counter
        self.values = Values(driver.adapters)
        self.compiler = Compiler(driver.lexicon, driver)
        self.compile = self.compiler.__call__  # bound: quicker to call
        self.is_marked = self.is_raw = False  # what is left on it is the giver's concern
        self._plain = self.driver = driver.for_given(conn)

    def resolve(self, name: str | None) -> Given:
        """Return itself for no name: a given connection is the only database of its session."""
        if name is not None:
            raise errors.ArgumentError(
                f"unknown database {name!r}: this session was given one connection and has no names"
            )
        return self

    @property
    def is_inside(self) -> bool:
        """Whether the connection is in a transaction that is not the session's."""
        return isinstance(self.driver, Inside)

    # -- a lender that lends one thing

    @property
    def lender(self) -> Given:
        """Itself."""
        return self

    def checkout(self, timeout: float | None = None, holder: object = None, depth: int = 1) -> Given:
        """Lend the connection, and look whether it is in somebody's transaction."""
        if self.conn is None:
            raise errors.DisconnectionError("the given connection is a parent process's or was dropped")
        status = self._plain.status(self.conn)
        if status == INERROR:
            raise errors.TransactionAbortedError("the given connection is in a failed transaction; roll it back first")
        inside = status == ACTIVE and not self._plain.always_begun
        self.driver = Inside(self._plain) if inside else self._plain
        return self

    def checkin(self, lease: object, /) -> None:
        """Nothing to do: the connection stays the giver's."""

    def discard(self, lease: object, /) -> None:
        """In doubt: it still is the giver's to close."""

    def abandon(self, lease: object, /) -> None:
        """A session was collected unclosed: the connection stays as it is."""

    def suspect(self) -> None:
        """There is no other connection to suspect."""


class Inside:
    """A driver whose transaction is a savepoint in one that somebody else began."""

    may_commit_implicitly = False  # it would commit the outer transaction
    begins_with_first = False

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """Set the savepoint that stands for the transaction; modes are the outer transaction's."""
        if isolation_level or read_only:
            raise errors.InvalidRequestError(
                "isolation_level and read_only belong to the transaction that the given connection is already in"
            )
        self._driver.savepoint(conn, SAVEPOINT)
        return True

    def commit(self, conn: Any) -> None:
        """Keep the work as part of the outer transaction."""
        self._driver.release(conn, SAVEPOINT)

    def rollback(self, conn: Any) -> bool:
        """Undo the session's work, and nothing of the outer transaction."""
        return bool(self._driver.rollback_to(conn, SAVEPOINT))
