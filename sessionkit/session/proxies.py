"""The DB-API connection of a session, as a stand-in that ends with the transaction it belongs to; `cursors` has its cursors.

It serves clients that want PEP 249 objects (pandas, polars, petl, aiosql, sqlite-utils, notebooks). A late use raises,
instead of reaching the next borrower's transaction. What it does beyond PEP 249 is what the driver's own does, by name, but for
what would begin or end a transaction behind the session's back.
"""

from __future__ import annotations

from functools import cache

from .. import errors
from ..errors import InvalidRequestError
from .cursors import CursorProxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable
    from typing import Any

    from .cursors import Opened
    from .guard import Guard
    from .link import Link

    Script = Callable[[str], object]

_CLASSES: dict[str, type[ConnectionProxy]] = {}


def connection_proxy(session: Any, driver: Any, *ways: Any) -> ConnectionProxy:
    """
    Return a stand-in for a session's connection, which is leased now; `ways` are the other arguments of its class.

    Its class is in the driver's module, because clients look there for the `paramstyle`.
    """
    made = _CLASSES.get(driver.module)
    if made is None:
        made = type("ConnectionProxy", (ConnectionProxy,), {"__module__": driver.module, "__slots__": ()})
        _CLASSES[driver.module] = made
    return made(session, driver, *ways)


class ConnectionProxy:
    """
    A session's connection while the transaction lasts: PEP 249, its optional parts, and the driver's own extras by name.

    `commit` and `rollback` are the session's own, after which the next use begins anew. Whatever else ends the transaction
    detaches this stand-in. `close` only lets go of it. `with connection:` does what the driver's own does.
    """

    __slots__ = (
        "_driver", "_ended_here", "_guard", "_is_closed", "_lease", "_levels", "_link", "_opened", "_ready", "_row_factory",
        "_script", "_session",
    )  # fmt: skip
    if TYPE_CHECKING:
        _link: Link
        _lease: Any
        _levels: list[tuple[str, Any]]
        _driver: Any
        _ended_here: bool
        _guard: Guard
        _is_closed: bool
        _opened: Opened
        _ready: Callable[[], Link]
        _row_factory: Any
        _script: Script
        _session: Any

    Warning, Error, InterfaceError = UserWarning, errors.Error, errors.InterfaceError
    DatabaseError, DataError, OperationalError = errors.DatabaseError, errors.DataError, errors.OperationalError
    IntegrityError, InternalError = errors.IntegrityError, errors.InternalError
    ProgrammingError, NotSupportedError = errors.ProgrammingError, errors.NotSupportedError

    def __init__(
        self, session: Any, driver: Any, ready: Callable[[], Link], opened: Opened, script: Script, guard: Guard
    ) -> None:
        put = object.__setattr__
        put(self, "_session", session)
        put(self, "_driver", driver)
        put(self, "_ready", ready)
        put(self, "_opened", opened)
        put(self, "_script", script)
        put(self, "_guard", guard)
        put(self, "_row_factory", None)
        put(self, "_is_closed", False)
        put(self, "_levels", [])
        self._attach()

    def _attach(self) -> None:
        link = self._ready()
        put = object.__setattr__
        put(self, "_link", link)
        put(self, "_lease", link.lease)
        put(self, "_ended_here", False)

    @property
    def driver_connection(self) -> Any:
        """
        The driver's own connection. What is done to it directly is not watched over, so it is closed when it comes home.
        """
        with self._guard():
            return self._live().hand_out()

    def cursor(self, *arguments: Any, **options: Any) -> CursorProxy:
        """Return a cursor that takes SQL and parameters in the driver's own paramstyle; the arguments are the driver's."""
        self._check()
        factory = self._row_factory

        def make(driver: Any, conn: Any) -> Any:
            """Make the driver's cursor."""
            return driver.client_cursor(conn, arguments, options, factory)

        return CursorProxy(self._run, self._guard, lambda: self, make, self._speak)

    def _run(self, *what: Any) -> tuple[Link, Any]:
        self._live()
        try:
            found: tuple[Link, Any] = self._opened(*what)
            return found
        finally:
            self._look()

    def _speak(self, operation: str) -> bool:
        """
        Do what a client's SAVEPOINT, RELEASE or ROLLBACK TO says by a nested transaction of the session; tell whether it was one.

        COMMIT, ROLLBACK and BEGIN as statements are refused, as everywhere.
        """
        found = _savepoint_words().match(operation)
        if found is None:
            return False
        verb, name = found[1].upper(), found[2].strip('"`').lower()
        with self._guard():
            self._live()
        at = next((at for at, (known, _) in reversed(list(enumerate(self._levels))) if known == name), None)
        if verb.startswith("S"):
            self._levels.append((name, self._session.begin_nested()))
        elif at is None:
            return False
        elif verb.startswith("ROLLBACK"):  # after which the savepoint still is there
            self._levels[at][1].rollback()
            self._levels[at:] = [(name, self._session.begin_nested())]
        else:
            while len(self._levels) > at:
                self._levels.pop()[1].commit()
        return True

    def run_script(self, text: str) -> None:
        """Run the statements of a script one by one, inside the transaction."""
        self._check()
        try:
            self._script(text)
        finally:
            self._look()

    def commit(self) -> None:
        """Commit the session; the next use of this stand-in begins anew."""
        self._check()
        try:
            self._session.commit()
        finally:
            self._look()

    def rollback(self) -> None:
        """Roll the session back; the next use of this stand-in begins anew."""
        self._check()
        try:
            self._session.rollback()
        finally:
            self._look()

    def close(self) -> None:
        """Let go; the session keeps its connection until its transaction ends."""
        object.__setattr__(self, "_is_closed", True)

    @property
    def in_transaction(self) -> bool:
        """Whether what runs next is inside a transaction, which one begins by itself: always, until it is detached."""
        return not self._is_closed and (self._ended_here or self._is_attached)

    @property
    def row_factory(self) -> Any:
        """What a cursor of this stand-in makes of rows, in the driver's own terms; None for its default."""
        return self._row_factory

    def __enter__(self) -> ConnectionProxy:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        commits, closes = self._driver.leaving
        try:
            if commits and (self._is_attached or self._ended_here):
                self.commit() if kind is None else self.rollback()
        finally:
            if closes:
                self.close()

    # -- the driver's extras

    def __getattr__(self, name: str) -> Any:
        marks = name in self._driver.marking_extras
        if not marks and name not in self._driver.extras:
            raise AttributeError(
                f"{name!r} of {self._driver.module}'s connection is not here: it would act behind the session's back, or there "
                "is none; driver_connection is the driver's own"
            )
        if name in ("execute", "executemany", "executescript"):
            return getattr(self.cursor(), name)
        with self._guard():
            link = self._live()
            if marks and link.lease is not None:
                link.lease.is_marked = link.lease.is_raw = True
            return getattr(link.conn(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "row_factory":
            raise InvalidRequestError(
                f"{name} cannot be set on a session's connection; driver_connection is the driver's own"
            )
        object.__setattr__(self, "_row_factory", value)

    # -- whether it still is the session's

    @property
    def _is_attached(self) -> bool:
        link = self._link
        return link.lease is not None and link.lease is self._lease

    def _check(self) -> None:
        if self._is_closed:
            raise InvalidRequestError("this connection was closed; ask for connection() again")
        if not (self._ended_here or self._is_attached):
            raise InvalidRequestError(
                "this connection was given back when its transaction ended; ask for connection() again"
            )

    def _look(self) -> None:
        """Look whether what was done through this stand-in has ended the transaction: then the next use begins anew."""
        if not self._is_attached:
            self._levels.clear()
            object.__setattr__(self, "_ended_here", True)

    def _live(self) -> Link:
        self._check()
        if self._ended_here:
            self._attach()
        return self._link

    def __repr__(self) -> str:
        live = not self._is_closed and (self._ended_here or self._is_attached)
        return f"<ConnectionProxy: {'live' if live else 'detached'}>"


@cache
def _savepoint_words() -> re.Pattern[str]:
    import re

    return re.compile(
        r"\s*(SAVEPOINT|RELEASE(?:\s+SAVEPOINT)?|ROLLBACK(?:\s+WORK|\s+TRANSACTION)?\s+TO(?:\s+SAVEPOINT)?)"
        r"\s+(?!sk_)(\w+|\"[^\"]+\"|`[^`]+`)\s*;?\s*\Z",
        re.IGNORECASE,
    )
