"""The engine: a URL, its driver and a pool as one thing, which makes sessions."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import drivers, errors
from .drivers.base import CONNECTING, Driver
from .errors import ArgumentError, map_error, map_errors
from .events import ConnectionEvent, Listeners, log_statement
from .mapping.results import Result
from .mapping.values import Values
from .options import limit, spelled, switch
from .pool.lease import NOBODY
from .pool.line import line_for
from .pool.pool import Pool
from .retry.run import Runner
from .session.link import Link
from .session.session import Block, Session
from .sql.parameters import Compiler
from .url import URL, is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._typing import Parameters
    from .events import Event
    from .mapping.rows import Row
    from .mapping.values import Own

PINGING = 5.0
"""Seconds that a ping may take before a connection counts as dead."""


class Engine(Runner):
    """
    A database as a program knows it: URL, driver and pool. Thread-safe; lives as long as the program.

    Made by `create_engine()`. It opens its first connection when the first statement runs.
    """

    def __init__(
        self,
        url: URL,
        driver: Driver,
        *,
        name: str = "",
        pool_size: int = 5,
        pool_timeout: float = 5.0,
        pool_recycle: float | None = 1800.0,
        pool_idle: float | None = 600.0,
        hold_warning: float | None = None,
        isolation_level: str | None = None,
        distant: bool = False,
        statement_timeout: float | None = None,
        on_connect: Iterable[str | Callable[[Any], object]] = (),
        on_return: Iterable[str | Callable[[Any], object]] = (),
        keep_state: bool = False,
        values: Own | None = None,
        utc: bool | str = False,
        echo: bool = False,
        connect_args: dict[str, Any] | None = None,
    ) -> None:
        self.url = url
        self.driver = driver
        self.name = name
        self.isolation_level = spelled(isolation_level)
        self.distant = distant
        self.statement_timeout = limit("statement_timeout", statement_timeout)
        self.utc = switch("utc", utc)
        self.values = Values({**driver.adapters, **(driver.utc_adapters if self.utc else {})}, values)
        self.compiler = Compiler(driver.lexicon, driver)
        self.compile = self.compiler.__call__  # bound: quicker to call
        self.listeners = Listeners()
        self.clock = perf_counter
        self._connect_args = dict(connect_args or {})
        self._on_connect = _actions(on_connect, "on_connect")
        self._on_return = _actions(on_return, "on_return")
        self.is_given = False
        self.has_marker = False  # the table of resolve="marker" is there
        self._only: Any = None  # the one connection of a database in memory, kept until dispose()
        self.is_in_memory = driver.is_shared_memory(url)
        driver.check(url, self._connect_args)
        line = None if self.is_in_memory else driver.writers(url, self._connect_args)
        self.line = line_for(line[0]) if line is not None else None  # of writers, where the database has one at a time
        self.patience = line[1] if line is not None else 0.0  # seconds in that line
        if echo:
            self.listeners.add(log_statement)
        self.lender = self.pool = Pool(
            self._connect, close=self._close, clean=self._clean if self._on_return else driver.clean,
            reset=self._keep if keep_state else self._reset,
            fileno=driver.fileno, ping=self._ping, hold_warning=hold_warning, is_outage=_is_outage, is_known=self._is_known,
            size=1 if self.is_in_memory else pool_size, timeout=pool_timeout,
            recycle=None if self.is_in_memory else pool_recycle, idle=None if self.is_in_memory else pool_idle,
        )  # fmt: skip

    # -- making sessions

    def session(self, **options: Any) -> Session:
        """Return a new session on this database; the options are `Session`'s."""
        return Session(self, **options) if options else Session(self)

    def begin(self, **options: Any) -> Block:
        """Return a block that is a session and its transaction in one: `with engine.begin() as session`."""
        return Block(self, options)

    def execute(self, statement: str, parameters: Parameters = None) -> Result[Row]:
        """
        Run one statement in a transaction of its own, in one round trip where the driver allows.

        Statements that no transaction can hold (VACUUM, CREATE DATABASE) run here too.

        Raises:
            CommitUnknownError: the connection was lost while a writing statement ran.
        """
        link = Link(self, NOBODY)
        try:
            compiled = self.compile(statement, parameters)
            if compiled.is_unscanned:
                compiled = link.scan(statement, parameters, 2)
            text, bound = compiled.bind(parameters)
            if bound is not None:
                bound = self.values.adapt(bound, statement)
            result: Result[Row] = Result(link.execute_alone(compiled, text, bound), compiled)
        except BaseException as exc:
            try:
                link.undo()
            except errors.Error as failed:
                exc.add_note(f"while cleaning up: {failed}")
            raise
        return result

    def resolve(self, name: str | None) -> Engine:
        """Return itself: an engine is the only database of its sessions, by its own name or by none."""
        if name is not None and name != self.name:
            raise ArgumentError(
                f"unknown database {name!r}: this session is bound to one engine; bind it to a Registry for names"
            )
        return self

    # -- what there is

    def ping(self) -> float:
        """Make a round trip on a pooled connection and return how long it took, in seconds."""
        lease = self.pool.checkout()
        try:
            started = self.clock()
            with map_errors(self.driver):
                self.driver.ping(lease.conn)
            took = self.clock() - started
        except BaseException:
            self.pool.discard(lease)
            raise
        self.pool.checkin(lease)
        return took

    def inspect(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Return what a person wants to know (versions, isolation), and known hazards, each with what to do."""
        lease = self.pool.checkout()
        try:
            with map_errors(self.driver):
                return self.driver.describe(lease.conn), self.driver.hazards(lease.conn)
        finally:
            self.pool.checkin(lease)

    def has_socket(self) -> bool:
        """Tell whether an idle connection has a socket that the pool can poll for a hang-up."""
        lease = self.pool.checkout()
        try:
            return self.driver.fileno(lease.conn) is not None
        finally:
            self.pool.checkin(lease)

    def listen(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Tell `listener` of every statement, transaction word and connection; the function returned ends it."""
        return self.listeners.add(listener)

    def dispose(self) -> None:
        """Close the idle connections, and those lent out when they come home. The engine can be used again."""
        self._only = None  # so that closing it is meant, now or when it comes home
        self.pool.dispose()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.dispose()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an Engine is not copied or sent to another process: make one there from its URL")

    def __repr__(self) -> str:
        return f"<Engine: {self.name + ' ' if self.name else ''}{self.url}>"

    # -- for the pool

    def _is_known(self, exc: Exception) -> bool:
        """Tell whether an exception is a failure of the database or driver, and no signal handler's."""
        return isinstance(exc, errors.Error) or self.driver.diagnose(exc) is not None

    def _connect(self) -> Any:
        if self._only is not None:
            return self._only
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
        self._told("connect")
        return conn

    def _set_up(self, conn: Any) -> None:
        """Do what is done to every new connection."""
        if self.utc:
            with map_errors(self.driver):
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
            create_engine.__kwdefaults__ or (),
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

    def _close(self, conn: Any) -> None:
        with map_errors(self.driver):
            if conn is self._only:
                self.driver.rollback(conn)  # closing it would lose the database
                return
            self.driver.close(conn)
        self._told("close")

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

    def _told(self, what: str) -> None:
        if self.listeners.told:
            self.listeners.tell(ConnectionEvent(self.name, what))


def create_engine(
    url: str | URL,
    *,
    driver: str | Driver | None = None,
    name: str = "",
    pool_size: int = 5,
    pool_timeout: float = 5.0,
    pool_recycle: float | None = 1800.0,
    pool_idle: float | None = 600.0,
    hold_warning: float | None = None,
    isolation_level: str | None = None,
    distant: bool = False,
    statement_timeout: float | None = None,
    on_connect: Iterable[str | Callable[[Any], object]] = (),
    on_return: Iterable[str | Callable[[Any], object]] = (),
    keep_state: bool = False,
    values: Own | None = None,
    utc: bool | str = False,
    echo: bool = False,
    **connect_args: Any,
) -> Engine:
    """
    Return an Engine for a database URL. No connection is opened yet.

    `driver` is a driver's name or a `Driver` object, for DB-API modules that sessionkit does not know. The pool opens
    at most `pool_size` connections, lets a caller wait `pool_timeout` seconds, and replaces a connection after
    `pool_recycle` seconds of life or `pool_idle` seconds of idling (None: never); a connection that is held for longer
    than `hold_warning` seconds is logged. `distant` says that a round trip to the server takes long, so that BEGIN
    travels with every first statement (PostgreSQL). `statement_timeout` (seconds) ends every statement and every COMMIT
    that takes longer: on the server, and a little later here, where nobody answers. `on_connect` is SQL, or functions of
    the connection, for each new connection; `on_return` the same for each that comes home. A connection on which a statement
    may have left something (SET, a temporary table, an advisory lock) is reset before it is lent again, unless `keep_state`.
    `values` says how the program's own types travel: `{Money: (to_database, from_database)}`. With `utc` (in the URL: `?utc=true`)
    every datetime is a moment and comes back in UTC. `echo` logs statements to `sessionkit.sql`. Everything else goes to the
    driver's `connect`.

    Raises:
        ArgumentError: the URL, the driver or an option is wrong; the text says which and how.
    """
    parsed = URL.parse(url)
    if "utc" in parsed.query:
        utc, parsed = parsed.query["utc"], parsed.without("utc")
    if driver is None:
        found: Driver = drivers.for_scheme(parsed.scheme, parsed.driver)
    elif isinstance(driver, str):
        found = drivers.by_name(driver)
    elif isinstance(driver, Driver):
        found = driver
    else:
        raise ArgumentError(f"driver is a name or a Driver object, got {type(driver).__name__}")
    return Engine(
        parsed, found, name=name, pool_size=pool_size, pool_timeout=pool_timeout, pool_recycle=pool_recycle,
        pool_idle=pool_idle, hold_warning=hold_warning, isolation_level=isolation_level, distant=distant,
        statement_timeout=statement_timeout, on_connect=on_connect, on_return=on_return, keep_state=keep_state,
        values=values, utc=utc, echo=echo, connect_args=connect_args,
    )  # fmt: skip


def _is_outage(exc: Exception) -> bool:
    """Tell whether a failed connect may succeed a little later; a wrong password or database will not."""
    return isinstance(exc, (errors.DisconnectionError, errors.TooManyConnectionsError))


def _actions(given: Any, what: str) -> tuple[str | Callable[[Any], object], ...]:
    actions = tuple(given) if hasattr(given, "__iter__") and not isinstance(given, str) else (given,)
    for action in actions:
        if not (isinstance(action, str) or callable(action)):
            raise ArgumentError(
                f"{what} is SQL or a function of the connection, or several; got {type(action).__name__}"
            )
    return actions
