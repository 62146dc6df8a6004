"""The words that all rooms share: PEP 249's protocols, the transaction status, and names needed from above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import CodeType

# Transaction status, as a driver tells it without a round trip. Ordered: the higher, the more there is to undo.
IDLE = 0
"""No transaction is open."""
ACTIVE = 1
"""A transaction is open and well."""
INERROR = 2
"""A transaction is open and refuses everything but ROLLBACK (PostgreSQL)."""
BROKEN = 3
"""The connection is closed, in the middle of a command, or its state cannot be read."""
UNKNOWN = 4
"""The driver has no way to tell."""

# What a statement may leave on a connection, beyond its transaction.
NOTHING = 0
RESET = 1
"""Something that `Driver.reset` takes off."""
CLOSE = 2
"""Something that only a new connection is without."""


class DBAPIConnection(Protocol):
    """PEP 249's connection."""

    def cursor(self) -> Any: ...
    def commit(self) -> Any: ...
    def rollback(self) -> Any: ...
    def close(self) -> Any: ...


class Diagnoser(Protocol):
    """An object that can say what a driver's exception means: a driver."""

    def diagnose(self, exc: BaseException) -> Any: ...


class Shaped(Protocol):
    """A statement as its result knows it: the program's text, and a place to keep the class of its rows."""

    sql: str
    shape: tuple[Any, Any] | None


class Rules(Protocol):
    """What a driver knows of its server's statements, by their keywords or tokens in upper case and their text."""

    def commits_implicitly(self, words: tuple[str, ...]) -> bool: ...
    def leaves_state(self, tokens: Sequence[str], sql: str) -> int: ...


class Lease(Protocol):
    """
    A connection lent for the length of a transaction; `conn` is None when it is gone (closed, or a fork's).

    `is_marked` says that something may have been left on it, which is to be taken off before it is lent again; `is_raw`,
    that nobody knows what, as after the driver's own connection was handed out: it is closed instead.
    """

    conn: Any
    poll: Callable[[int], Any] | None
    statement: str | None
    in_transaction: bool
    is_marked: bool
    is_raw: bool


class Lender(Protocol):
    """Where a link gets its connection and gives it back: a pool, or a connection that was given."""

    def checkout(self, timeout: float | None = None, holder: Holder = ..., depth: int = 1) -> Lease: ...
    def checkin(self, lease: Any, /) -> None: ...
    def discard(self, lease: Any, /) -> None: ...
    def abandon(self, lease: Any, /) -> None: ...
    def suspect(self) -> None: ...


class Source(Protocol):
    """What a session needs of a database: its driver, who lends connections, its defaults, who listens."""

    name: str
    driver: Any
    isolation_level: str | None
    distant: bool
    statement_timeout: float | None
    is_given: bool
    where: Any  # what tells the server that a connection leads to, where there are several
    listeners: Any
    line: Any
    patience: float
    clock: Callable[[], float]
    values: Any

    @property
    def has_other_lender(self) -> bool: ...
    @property
    def compiler(self) -> Any: ...
    @property
    def compile(self) -> Callable[[Any, Any], Any]: ...
    @property
    def lender(self) -> Lender: ...


class Held(Protocol):
    """What a session holds of its databases and forgets when its transaction ends: an identity map."""

    lone: Mapping[type, dict[Any, Any]]

    def clear(self) -> None: ...


class Binder(Protocol):
    """What a session is bound to: it finds the source for a name, None being the default."""

    def resolve(self, name: str | None) -> Source: ...


class Template(Protocol):
    """A template string (PEP 750), by what it has."""

    @property
    def strings(self) -> tuple[str, ...]: ...
    @property
    def interpolations(self) -> Sequence[Any]: ...


if TYPE_CHECKING:
    SQL = str | Template
    """What a statement is given as."""
    Holder = tuple[int, CodeType | None, int]
    """Who holds a lease: the `id()` of the session, and where the session was made (code, instruction)."""
    Modes = tuple[str | None, bool | None, float | None, bool | None]
    """How a transaction is to be: isolation level, read_only, statement_timeout in seconds; None where nothing was said."""
    Parameters = Mapping[str, Any] | Sequence[Any] | object | None
    ManyParameters = Iterable[Mapping[str, Any] | Sequence[Any] | object]
    Hook = Callable[[], object]
    Fetched = tuple[Sequence[Any] | None, Sequence[Sequence[Any]] | None, int, int | None]
    """What a statement brought: rows or None, description, rowcount, lastrowid."""
