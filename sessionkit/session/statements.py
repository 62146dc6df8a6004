"""What a session runs: statements and entities, each through one way into the open transaction."""

from __future__ import annotations

from _thread import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from .. import drivers
from ..errors import ArgumentError, InvalidRequestError, SessionClosedError
from ..mapping.entity import declared
from ..mapping.identity import IdentityMap
from ..mapping.objects import Objects
from ..mapping.results import Result
from ..sql.lexer import cut
from ..sql.template import is_template, rendered
from .cursors import CursorProxy
from .external import Given
from .link import Link
from .proxies import connection_proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._typing import SQL, Holder, ManyParameters, Modes, Parameters, Source
    from ..mapping.rows import Row
    from ..sql.parameters import Statement
    from .cursors import Make, Opened
    from .guard import Guard
    from .proxies import ConnectionProxy
    from .transaction import Stack

T = TypeVar("T")
_READING = "SELECT"  # what connection() prepares for: any statement that reads


class Statements:
    """The statement methods of a session; `Session` adds its transactions and its end."""

    _stack: Stack
    _guard: Guard
    _binder: Any
    _fixed: Source | None
    """The database itself when the session is bound to one; None when names are looked up in a registry."""
    _autobegin: bool
    _defaults: Modes
    _closed: bool
    _holder: Holder

    # -- statements

    def execute(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Result[Row]:
        """
        Run one statement and return its Result, all rows fetched.

        `:name` takes a mapping, a dataclass or an entity; `?` a sequence; `:*names` a list for `IN (…)`.
        `bind` names another database of the registry.

        Raises:
            Error: what the database refused, as sessionkit's class; `.orig` is the driver's exception.
            TransactionAbortedError, TransactionLostError: the transaction that this would be part of stands no more.
        """
        guard, mark = self._guard, [get_ident()]
        try:
            if guard.setdefault(0, mark) is not mark:
                guard.contest(mark)
            source = self._fixed if bind is None else None
            return self._run(source or self._source(bind), statement, parameters)
        finally:
            if guard.get(0) is mark:
                del guard[0]

    def executemany(self, statement: str, parameters: ManyParameters, *, bind: str | None = None) -> Result[Row]:
        """
        Run one statement for each of `parameters`, in the fastest portable form; `rowcount` is of all together.

        With no parameters at all, nothing runs.
        """
        if is_template(statement):
            raise ArgumentError("a template has its values in it; executemany takes SQL with :name or ?, and rows")
        with self._guard():
            rows = list(parameters)
            source = self._source(bind)
            if not rows:
                self._ensure_begun()
                return Result((None, None, 0, None), source.compile(statement, None))
            compiled = source.compile(statement, rows[0])
            if compiled.is_unscanned:
                compiled = self._link(source).scan(statement, rows[0], 3)
            text, bound = compiled.bind_many(rows)
            bound = source.values.adapt_many(bound, statement)
            link = self._ready(source, compiled)
            result: Result[Row] = Result(link.execute(compiled, text, bound, many=True), compiled)
            if compiled.commits:
                self._end_committed(link, compiled)
            return result

    def query(
        self, target: Callable[..., T], statement: SQL, parameters: Parameters = None, *, bind: str | None = None
    ) -> Result[T]:
        """
        Run a statement and make a `target` of each row: an entity through the identity map, else by column name.

        Raises:
            ArgumentError: the columns do not fit; for an entity each of its columns must be there once.
        """
        with self._guard():
            source = self._source(bind, target)
            return self._objects.query(source, target, self._run(source, statement, parameters))

    def scalar(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Any:
        """Run a statement and return the first column of its first row, or None when there is no row."""
        return self.execute(statement, parameters, bind=bind).scalar()

    def scalars(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> list[Any]:
        """Run a statement and return the first column of every row."""
        return self.execute(statement, parameters, bind=bind).scalars()

    def script(self, text: SQL, *, bind: str | None = None) -> None:
        """Run the statements of a script one by one, inside the current transaction."""
        with self._guard():
            source = self._source(bind)
            script, values = rendered(text, None, source.driver.identifier_quote)
            if values:
                raise ArgumentError(
                    "a script takes no values; in a template of one only {name:i} and {part:q} can stand"
                )
            has_modes, at = source.compiler.lexicon.has_modes and "\\" in script, 0
            while at < len(script):  # a statement may change the mode by which the next one is scanned
                lexicon = self._link(source).lexicon(3) if has_modes else source.compiler.lexicon
                statement, at = cut(script, lexicon, at)
                if statement:
                    self._run(source, statement, None)

    # -- entities

    def get(self, cls: type[T], key: Any, *, for_update: bool = False, bind: str | None = None) -> T | None:
        """
        Return the object with this primary key (a tuple if composite), or None when there is no such row.

        The identity map is asked first. `for_update` goes to the database and locks the row.
        """
        identity: Any = self._stack.held
        if identity is not None and not (for_update or bind or self._guard) and (self._autobegin or self._stack.levels):
            try:
                held: T | None = identity.lone[cls][key]
            except (KeyError, TypeError):  # not held, or no key at all: an error is raised below
                pass
            else:
                return held
        guard, mark = self._guard, [get_ident()]
        try:
            if guard.setdefault(0, mark) is not mark:
                guard.contest(mark)
            self._ensure_begun()
            source = self._source(bind, cls)
            objects = self._objects
            found: T | None = objects.get(source, cls, key, for_update)
            if bind is None and found is not None and cls not in objects.identity.lone:
                objects.identity.remember(cls, objects.identity.store(source, cls))
            return found
        finally:
            if guard.get(0) is mark:
                del guard[0]

    def insert(self, obj: T, *, bind: str | None = None) -> T:
        """Insert an entity as a new row and return it; a key that is None is filled in by the database."""
        with self._guard():
            inserted: T = self._objects.insert(self._source(bind, type(obj)), obj)
            return inserted

    def update(self, obj: object, *, bind: str | None = None) -> None:
        """
        Write what has changed on an entity since it was read; nothing changed, nothing sent.

        An object that the session does not hold is written whole, by its key.

        Raises:
            StaleObjectError: its row is gone, or (with `version=`) somebody else has changed it.
        """
        with self._guard():
            self._objects.update(self._source(bind, type(obj)), obj)

    def delete(self, obj: object, *, bind: str | None = None) -> None:
        """Delete an entity's row; errors as with `update`."""
        with self._guard():
            self._objects.delete(self._source(bind, type(obj)), obj)

    def refresh(self, obj: object, *, bind: str | None = None) -> None:
        """Overwrite an entity's attributes with its row as it is now; NoResultFound when the row is gone."""
        with self._guard():
            self._objects.refresh(self._source(bind, type(obj)), obj)

    def expunge(self, obj: object) -> None:
        """Let go of one entity; one that is not held raises InvalidRequestError."""
        with self._guard():
            self._check_usable()
            self._objects.expunge(obj)

    def expunge_all(self) -> None:
        """Let go of every entity."""
        with self._guard():
            self._check_usable()
            self._identity.clear()

    @property
    def identity_map(self) -> IdentityMap:
        """The objects held, as a read-only mapping: `(class, key)` → object."""
        self._check_usable()
        return self._identity

    def __contains__(self, obj: object) -> bool:
        """Tell whether this very object is held."""
        self._check_usable()
        return self._identity.holds(obj)

    # -- for clients of the DB-API

    def connection(self, *, bind: str | None = None) -> ConnectionProxy:
        """
        Return a stand-in for the DB-API connection, with the transaction begun; it ends with the transaction.

        Its cursors take SQL and parameters in the driver's own paramstyle, inside this transaction.
        """
        with self._guard():
            source = self._source(bind)
            return connection_proxy(
                self,
                source.driver,
                lambda: self._ready(source, source.compile(_READING, None)),
                self._opened_by(source),
                lambda text: self.script(text, bind=bind),
                self._guard,
            )

    def cursor(self, *, bind: str | None = None) -> CursorProxy:
        """Return a DB-API cursor that works in this session's transaction; no connection is taken before it is used."""
        self._check_usable()

        def opened(
            operation: Any, run: Callable[[Any, Any], object], parameters: Any, make: Make | None
        ) -> tuple[Link, Any]:
            return self._opened_by(self._source(bind))(operation, run, parameters, make)

        return CursorProxy(opened, self._guard, lambda: self.connection(bind=bind))

    # -- inside

    def _opened_by(self, source: Source) -> Opened:
        """Return the function that runs a client's statement, by the rules of `execute`, and returns its open cursor."""

        def opened(
            operation: Any, run: Callable[[Any, Any], object], parameters: Any, make: Make | None
        ) -> tuple[Link, Any]:
            if callable(operation):  # the call of a procedure
                operation = operation(source.driver)
            if is_template(operation):
                operation, parameters, run = self._template(source, operation, parameters)
            if not isinstance(operation, str):
                link = self._link(source)
                link.lend(2)
                operation = source.driver.text(link.conn(), operation)
            compiled = source.compiler.own(operation)
            if compiled.is_unscanned:
                compiled = self._link(source).scan(operation, None, 3, own=True)
            link = self._ready(source, compiled)
            cursor = link.open_cursor(compiled, run, parameters, make)
            if compiled.commits:
                self._end_committed(link, compiled)
            return link, cursor

        return opened

    def _template(self, source: Source, template: Any, given: Any) -> tuple[str, Any, Callable[[Any, Any], object]]:
        """Return a template that was given to a cursor as the driver's SQL and parameters, and what runs them."""
        _, text, bound = self._bound(source, template, given)
        return text, bound, lambda driver, cursor: driver.execute(cursor, text, bound)

    def _bound(self, source: Source, statement: Any, parameters: Any) -> tuple[Statement, str, Any]:
        """Return a statement scanned, and its text and parameters as the driver takes them; `_run` says the same in place."""
        sql, given = rendered(statement, parameters, source.driver.identifier_quote)
        compiled: Statement = source.compile(sql, given)
        if compiled.is_unscanned:
            compiled = self._link(source).scan(sql, given, 5)
        text, bound = compiled.bind(given)
        return compiled, text, None if bound is None else source.values.adapt(bound, sql)

    @property
    def _identity(self) -> IdentityMap:
        """The identity map, which is made when it is first needed."""
        stack = self._stack
        held: Any = stack.held
        if held is None:
            held = stack.held = IdentityMap()
        found: IdentityMap = held
        return found

    def _run(self, source: Source, sql: Any, parameters: Any, lock: bool = False) -> Result[Any]:
        """Run one statement in the transaction: the one way that all of them take."""
        if type(sql) is not str:
            sql, parameters = rendered(sql, parameters, source.driver.identifier_quote)
        compiler = source.compile  # an attribute that is called: quicker by its own name
        compiled: Statement = compiler(sql, parameters)
        if compiled.is_unscanned:
            compiled = self._link(source).scan(sql, parameters, 5)
        text, bound = compiled.static or compiled.bind(parameters)
        if bound is not None:
            bound = source.values.adapt(bound, sql)
        link = self._ready(source, compiled, lock, 5)
        result: Result[Any] = Result(link.execute(compiled, text, bound), compiled)
        if compiled.commits:
            self._end_committed(link, compiled)
        return result

    def _ready(self, source: Source, compiled: Statement, lock: bool = False, depth: int = 4) -> Link:
        stack = self._stack
        if not stack.levels or stack.ending or stack.orphans:
            self._ensure_begun()
        levels = stack.levels
        link: Link | None = stack.links.get(source)
        if link is None:
            link = self._new_link(source)
        link.ready(compiled, levels, lock, depth)
        return link

    def _link(self, source: Source) -> Link:
        """Return what the transaction, which begins if need be, holds of a database."""
        stack = self._stack
        if not stack.levels or stack.ending or stack.orphans:
            self._ensure_begun()
        return stack.links.get(source) or self._new_link(source)

    def _new_link(self, source: Source) -> Link:
        stack = self._stack
        modes = stack.levels[0].modes
        if modes[3] and stack.make_link is None:
            from .pipeline import PipelinedLink

            link: Link = PipelinedLink(source, self._holder, modes, self._guard)
        else:
            link = (stack.make_link or Link)(source, self._holder, modes)
        stack.links[source] = link
        return link

    def _end_committed(self, link: Link, compiled: Statement) -> None:
        """A statement has run that committed by itself: the session stands as before its first statement."""
        if link.after_implicit_commit(compiled) and len(self._stack.links) == 1:
            self._stack.commit_all(self._stack.levels[0])

    def _source(self, name: str | None, target: object = None) -> Source:
        if name is None and target is not None:
            entity = declared(target)
            name = entity.bind if entity is not None else None
        if name is None and self._fixed is not None:
            return self._fixed
        if self._closed:
            self._check_usable()
        found: Source = self._binder.resolve(name)
        return found

    def _ensure_begun(self) -> None:
        if self._closed:
            self._check_usable()
        stack = self._stack
        if stack.orphans or stack.ending:
            stack.check_open()
        if not stack.levels:
            if not self._autobegin:
                raise InvalidRequestError("nothing has begun and this session has autobegin=False; use begin()")
            stack.begin(self._defaults, True)

    def _check_usable(self) -> None:
        if self._closed:
            raise SessionClosedError("this session was closed for good (close_resets_only=False); make a new one")

    @property
    def _objects(self) -> Objects:
        """The statements on entities, for one call: nothing of a session refers back to it, so that it dies at once."""
        return Objects(self._identity, self._run, self._on_rollback)

    def _on_rollback(self, fn: Callable[[], object]) -> None:
        if self._stack.levels:
            self._stack.levels[-1].undo += (fn,)


def given_source(conn: Any) -> Given:
    """
    Return a live DB-API connection as a database for a session.

    Raises:
        ArgumentError: it is no connection of a module that is known.
    """
    driver = drivers.for_connection(conn)
    if driver is None:
        known = ", ".join(found.module for found in drivers.known().values())
        raise ArgumentError(
            f"a session is bound to a Registry, an Engine or a DB-API connection of {known}; got {type(conn).__name__} "
            "(for another module: create_engine(url, driver=…))"
        )
    return Given(conn, driver)
