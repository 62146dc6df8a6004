"""What a pool asks of an engine: to connect, to set up, to clean, to reset, to look whether a connection lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from .drivers.base import CONNECTING, Driver
from .errors import ArgumentError, map_error, map_errors
from .events import ConnectionEvent, Listeners
from .url import is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .url import URL

PINGING = 5.0
"""Seconds that a ping may take before a connection counts as dead."""


class Connecting:
    """The part of an engine that makes connections and keeps them as new ones are."""

    url: URL
    driver: Driver
    name: str
    listeners: Listeners
    clock: Callable[[], float]
    statement_timeout: float | None
    is_in_memory: bool
    utc: bool
    _only: Any
    _connect_args: dict[str, Any]
    _on_connect: tuple[str | Callable[[Any], object], ...]
    _on_return: tuple[str | Callable[[Any], object], ...]

    def _own_options(self) -> Iterable[str]:
        raise NotImplementedError

    def _is_known(self, exc: Exception) -> bool:
        """Tell whether an exception is a failure of the database or driver, and no signal handler's."""
        return isinstance(exc, errors.Error) or self.driver.diagnose(exc) is not None

    def _connect(self) -> Any:
        if self._only is not None:
            return self._only
        started = self.clock() if self.listeners.functions else 0.0
        try:
            conn = self.driver.connect(self.url, self._connect_args)
        except errors.Error:
            raise
        except Exception as exc:
            from .drivers.refusals import is_refusal

            if is_refusal(exc, self.driver):
                raise self._refused(exc) from exc
            if errors.is_interruption(exc, self.driver, values=False):
                raise
            raise self._unconnected(exc)
        try:
            self._set_up(conn)
        except BaseException:
            self.driver.close(conn)
            raise
        if self.is_in_memory:
            self._only = conn
        self._report("connect", started)
        return conn

    def _set_up(self, conn: Any) -> None:
        """Do what is done to every new connection."""
        with map_errors(self.driver):
            self.driver.set_up(conn, self.url)
            if self.utc:
                self.driver.set_utc(conn)
        if self.statement_timeout is not None:
            self._limit(conn, self.statement_timeout)
        for action in self._on_connect:
            self._act(action, conn)

    def _reset(self, conn: Any, raw: bool) -> bool:
        """Make a connection as a new one is, after something may have been left on it; False: close it instead."""
        with map_errors(self.driver):
            if conn is self._only:
                self._undo_state(conn)
            elif raw or not self.driver.reset(conn):
                return False
        self._set_up(conn)
        return bool(self.driver.clean(conn))

    def _keep(self, conn: Any, raw: bool) -> bool:
        """In place of `_reset` for an engine with `keep_state`."""
        return True

    def _undo_state(self, conn: Any) -> None:
        """Undo what is known on the connection of a database in memory, which cannot be replaced."""
        like = self.driver.connect(self.url, self._connect_args)
        try:
            self._set_up(like)
            self.driver.make_like(conn, like)
        finally:
            self.driver.close(like)

    def _refused(self, exc: Exception) -> ArgumentError:
        from .drivers.refusals import refused

        return refused(
            exc,
            self.driver,
            [*self._connect_args, *self.url.query],
            self._own_options(),
            self._secrets(),
        )

    def _unconnected(self, exc: Exception) -> errors.Error:
        error = map_error(exc, self.driver, None, self._secrets())
        error.args = (f"connecting to {self.url}: {error}",)
        return error

    def _secrets(self) -> list[Any]:
        return [self.url.password, *(value for key, value in self._connect_args.items() if is_secret(key))]

    def _limit(self, conn: Any, seconds: float) -> None:
        with map_errors(self.driver):
            self.driver.limit_next(conn, CONNECTING)
            self.driver.limit_server(conn, seconds)
            self.driver.limit_next(conn, None)

    def _ping(self, conn: Any) -> None:
        """Make a round trip that ends in time, whatever has become of the server."""
        with map_errors(self.driver):
            self.driver.limit_next(conn, PINGING)
            self.driver.ping(conn)
            self.driver.limit_next(conn, None)

    def cancel(self, conn: Any) -> None:
        """
        Ask, from another thread, that the statement which a lent connection runs end; then discard that connection.

        It ends with QueryCancelledError in the thread that runs it, unless it was over before the server heard of it.
        """
        with map_errors(self.driver):
            self.driver.cancel(conn, self.url, self._connect_args)

    def _close(self, conn: Any) -> None:
        with map_errors(self.driver):
            if conn is self._only:
                self.driver.rollback(conn)  # closing it would lose the database
                return
            self.driver.close(conn)
        self._report("close")

    def _clean(self, conn: Any) -> bool:
        if not self.driver.clean(conn):
            return False
        for action in self._on_return:
            self._act(action, conn)
        return self.driver.clean(conn)

    def _act(self, action: str | Callable[[Any], object], conn: Any) -> None:
        """Do what the program wants done on a new or returning connection, and leave no transaction open."""
        with map_errors(self.driver, action if isinstance(action, str) else None):
            if isinstance(action, str):
                self.driver.run(conn, action)
            else:
                self._call(action, conn)
            if not self.driver.clean(conn):
                raise errors.InterfaceError("on_connect or on_return left the connection unusable")

    def _call(self, action: Callable[[Any], object], conn: Any) -> None:
        try:
            action(conn)
        except Exception as exc:
            if self._is_known(exc):
                raise
            raise errors.InterfaceError(f"a function of on_connect or on_return failed ({type(exc).__name__})") from exc

    def _report(self, what: str, started: float | None = None) -> None:
        if self.listeners.functions:
            self.listeners.notify(ConnectionEvent(self.name, what, 0.0 if started is None else self.clock() - started))


def is_outage(exc: Exception) -> bool:
    """Tell whether a failed connect may succeed a little later; a wrong password or database will not."""
    return isinstance(exc, (errors.DisconnectionError, errors.TooManyConnectionsError))
