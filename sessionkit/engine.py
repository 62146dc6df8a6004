"""The engine: a URL, its driver and a pool as one thing, which makes sessions."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import drivers, errors
from .connecting import Connecting, is_outage
from .drivers.base import Driver
from .errors import ArgumentError, map_errors
from .events import Listeners, log_statement
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
from .sql.template import rendered
from .url import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._typing import SQL, Lender, Parameters
    from .events import Event, StartEvent
    from .mapping.rows import Row
    from .mapping.values import Own


on_create: list[Callable[[Engine], object]] = []
"""Functions that are called with each engine that is made: for what looks at a whole program (`python -m sessionkit trace`)."""


class Engine(Connecting, Runner):
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
        self.where = driver.place if "," in (url.host or "") else None  # of several hosts
        self.pool = Pool(
            self._connect, close=self._close, clean=self._clean if self._on_return else driver.clean,
            reset=self._keep if keep_state else self._reset,
            fileno=driver.fileno, ping=self._ping, hold_warning=hold_warning, is_outage=is_outage, is_known=self._is_known,
            where=self.where,
            size=1 if self.is_in_memory else pool_size, timeout=pool_timeout,
            recycle=None if self.is_in_memory else pool_recycle, idle=None if self.is_in_memory else pool_idle,
        )  # fmt: skip
        self.lender: Lender = self.pool
        for hook in on_create:
            hook(self)

    # -- making sessions

    def session(self, **options: Any) -> Session:
        """Return a new session on this database; the options are `Session`'s."""
        return Session(self, **options) if options else Session(self)

    def begin(self, **options: Any) -> Block:
        """Return a block that is a session and its transaction in one: `with engine.begin() as session`."""
        return Block(self, options)

    def execute(self, statement: SQL, parameters: Parameters = None) -> Result[Row]:
        """
        Run one statement in a transaction of its own, in one round trip where the driver allows.

        Statements that no transaction can hold (VACUUM, CREATE DATABASE) run here too.

        Raises:
            CommitUnknownError: the connection was lost while a writing statement ran.
        """
        sql: Any = statement
        if type(sql) is not str:
            sql, parameters = rendered(sql, parameters, self.driver.identifier_quote)
        link = Link(self, NOBODY)
        try:
            compiled = self.compile(sql, parameters)
            if compiled.is_unscanned:
                compiled = link.scan(sql, parameters, 2)
            text, bound = compiled.bind(parameters)
            if bound is not None:
                bound = self.values.adapt(bound, sql)
            result: Result[Row] = Result(link.execute_alone(compiled, text, bound), compiled)
        except BaseException as exc:
            try:
                link.undo()
            except errors.Error as failed:
                exc.add_note(f"while cleaning up: {failed}")
            raise
        return result

    @contextmanager
    def lending_from(self, lender: Lender, driver: Any) -> Iterator[None]:
        """
        Let sessions of every thread take connections from `lender`, and speak with them through `driver`, until the block ends.

        This is how `sessionkit.testing.sandbox` works. `driver` is a `Driver` or has all that one has; `lender` lends as a Pool
        does, with `checkout`, `checkin`, `discard`, `abandon`, `suspect` and a `queue`. Writers do not stand in line meanwhile.

        Raises:
            InvalidRequestError: a session holds a connection of the pool, which could not come home.
        """
        held = self.pool.leases()
        if held:
            raise errors.InvalidRequestError(f"a session holds a connection of {self!r}: {'; '.join(map(str, held))}")
        before = self.lender, self.driver, self.line
        self.lender, self.driver, self.line = lender, driver, None
        try:
            yield
        finally:
            self.lender, self.driver, self.line = before

    @property
    def has_other_lender(self) -> bool:
        """Whether sessions take their connections from elsewhere now, as in a sandbox."""
        return self.lender is not self.pool

    def resolve(self, name: str | None) -> Engine:
        """Return itself: an engine is the only database of its sessions, by its own name or by none."""
        if name is not None and name != self.name:
            raise ArgumentError(
                f"unknown database {name!r}: this session is bound to one engine; bind it to a Registry for names"
            )
        return self

    # -- what there is

    @property
    def connect_options(self) -> dict[str, Any]:
        """The options that went to the driver's `connect`, as a copy: with the URL they make another connection."""
        return dict(self._connect_args)

    def ping(self) -> float:
        """Make a round trip on a pooled connection and return how long it took, in seconds."""
        lease = self.lender.checkout()
        try:
            started = self.clock()
            with map_errors(self.driver):
                self.driver.ping(lease.conn)
            took = self.clock() - started
        except BaseException:
            self.lender.discard(lease)
            raise
        self.lender.checkin(lease)
        return took

    def inspect(self) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Return what a person wants to know (versions, isolation), and known hazards, each with what to do."""
        lease = self.lender.checkout()
        try:
            with map_errors(self.driver):
                return self.driver.describe(lease.conn), self.driver.hazards(lease.conn)
        finally:
            self.lender.checkin(lease)

    def has_socket(self) -> bool:
        """Tell whether an idle connection has a socket that the pool can poll for a hang-up."""
        lease = self.lender.checkout()
        try:
            return self.driver.fileno(lease.conn) is not None
        finally:
            self.lender.checkin(lease)

    def listen(
        self, listener: Callable[[Event], object], starting: Callable[[StartEvent], object] | None = None
    ) -> Callable[[], None]:
        """
        Call `listener` after every statement, transaction word, move of a connection and retry; the function returned ends it.

        `starting` is called before each. The events are those of `sessionkit.events`.
        """
        return self.listeners.add(listener, starting)

    def check_actions(self) -> None:
        """Refuse SQL in `on_connect` and `on_return` that the driver refuses as a statement, such as SET behind a pooler."""
        for action in (*self._on_connect, *self._on_return):
            if isinstance(action, str):
                self.compiler.own(action)

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

    def _own_options(self) -> Iterable[str]:
        return create_engine.__kwdefaults__ or ()


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
    pooler: str | None = None,
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
    `pooler="pgbouncer"` (in the URL: `?pooler=pgbouncer`) says that PgBouncer in transaction mode stands between: nothing is
    prepared or set there that outlives a transaction. `values` says how the program's own types travel:
    `{Money: (to_database, from_database)}`. With `utc` (in the URL: `?utc=true`) every datetime is a moment and comes back in
    UTC. `echo` logs statements to `sessionkit.sql`. Everything else goes to the
    driver's `connect`.

    Raises:
        ArgumentError: the URL, the driver or an option is wrong; the text says which and how.
    """
    parsed = URL.parse(url)
    if "utc" in parsed.query:
        utc, parsed = parsed.query["utc"], parsed.without("utc")
    if "pooler" in parsed.query:
        pooler, parsed = parsed.query["pooler"], parsed.without("pooler")
    if driver is None:
        found: Driver = drivers.for_scheme(parsed.scheme, parsed.driver)
    elif isinstance(driver, str):
        found = drivers.by_name(driver)
    elif isinstance(driver, Driver):
        found = driver
    else:
        raise ArgumentError(f"driver is a name or a Driver object, got {type(driver).__name__}")
    if pooler is not None:
        found = drivers.behind(pooler, found, statement_timeout)
    engine = Engine(
        parsed, found, name=name, pool_size=pool_size, pool_timeout=pool_timeout, pool_recycle=pool_recycle,
        pool_idle=pool_idle, hold_warning=hold_warning, isolation_level=isolation_level, distant=distant,
        statement_timeout=statement_timeout, on_connect=on_connect, on_return=on_return, keep_state=keep_state,
        values=values, utc=utc, echo=echo, connect_args=connect_args,
    )  # fmt: skip
    if pooler is not None:
        engine.check_actions()
    return engine


def _actions(given: Any, what: str) -> tuple[str | Callable[[Any], object], ...]:
    actions = tuple(given) if hasattr(given, "__iter__") and not isinstance(given, str) else (given,)
    for action in actions:
        if not (isinstance(action, str) or callable(action)):
            raise ArgumentError(
                f"{what} is SQL or a function of the connection, or several; got {type(action).__name__}"
            )
    return actions
