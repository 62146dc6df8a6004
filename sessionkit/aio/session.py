"""The session for event loops: the names of `Session`, awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from anyio.lowlevel import checkpoint_if_cancelled

from .calls import Calls
from .transaction import AsyncStream, AsyncTransaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Concatenate, ParamSpec

    from .._typing import SQL, ManyParameters, Parameters
    from ..engine import Engine
    from ..mapping.identity import IdentityMap
    from ..mapping.results import Result
    from ..mapping.rows import Row
    from ..registry import Registry
    from ..session.session import Session
    from .engine import AsyncEngine, AsyncRegistry

    P = ParamSpec("P")

T = TypeVar("T")


class AsyncSession:
    """
    A unit of work in an event loop. Methods, options and errors are those of `Session`; what makes round trips is awaited.

    `bind` is an AsyncEngine or AsyncRegistry, or what they were made of. It belongs to one task at a time. A task that is cancelled
    while a statement runs cancels it on the server, and the transaction is rolled back; a COMMIT that is under way is let finish.
    """

    def __init__(self, bind: AsyncEngine | AsyncRegistry | Engine | Registry, **options: Any) -> None:
        sync: Any = getattr(bind, "sync", bind)
        options.pop("pipeline", None)  # a result that is looked at later would be waited for in the event loop
        self._calls = Calls(sync, options, self)
        self._session = self._calls.session

    # -- transactions

    def begin(self, **modes: Any) -> AsyncTransaction:
        """
        Begin a transaction, or a savepoint in one: `async with session.begin(): …`. No connection is taken for it.

        `pipeline` changes nothing here.
        """
        modes.pop("pipeline", None)
        return AsyncTransaction(self._calls, self._calls.inline(lambda: self._session.begin(**modes)))

    def begin_nested(self) -> AsyncTransaction:
        """Begin a savepoint inside the transaction; with nothing begun it is the outer block itself."""
        return AsyncTransaction(self._calls, self._calls.inline(self._session.begin_nested))

    async def commit(self) -> None:
        """Commit. Whatever fails, the session is idle afterwards. A task that is cancelled meanwhile waits for its end."""
        await checkpoint_if_cancelled()
        await self._calls.end(self._session.commit)

    async def rollback(self) -> None:
        """Roll back everything, savepoints included."""
        await self._calls.end(self._session.rollback)

    def after_commit(self, hook: Callable[[], object | Awaitable[object]]) -> None:
        """Call `hook()` once in the event loop, after the outermost commit, with the connection returned; it may be `async def`."""
        self._calls.inline(lambda: self._session.after_commit(self._calls.later(hook)))

    def after_rollback(self, hook: Callable[[], object | Awaitable[object]]) -> None:
        """Call `hook()` once in the event loop, after the outermost end, if the level that is open now was rolled back."""
        self._calls.inline(lambda: self._session.after_rollback(self._calls.later(hook)))

    # -- the way out

    async def close(self) -> None:
        """Roll back, give the connections back, empty the identity map; with `close_resets_only=False` for good."""
        await self._calls.end(self._session.close)

    async def reset(self) -> None:
        """As `close()`, but the session stays usable."""
        await self._calls.end(self._session.reset)

    async def invalidate(self) -> None:
        """As `close()`, but the connections are closed and not pooled."""
        await self._calls.end(self._session.invalidate)

    async def __aenter__(self) -> AsyncSession:
        self._calls.inline(self._session.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._calls.end(lambda: self._session.__exit__(kind, exc, tb), exc)

    # -- statements

    async def execute(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Result[Row]:
        """Run one statement and return its Result, all rows fetched: `(await session.execute("select …")).all()`."""
        source = self._calls.source(bind)
        return await self._calls.call(
            lambda: self._session.execute(statement, parameters, bind=bind),
            source,
            self._calls.writes(source, statement, parameters),
        )

    async def executemany(self, statement: str, parameters: ManyParameters, *, bind: str | None = None) -> Result[Row]:
        """Run one statement for each of `parameters`."""
        return await self._calls.call(
            lambda: self._session.executemany(statement, parameters, bind=bind), self._calls.source(bind), True
        )

    async def query(
        self, target: Callable[..., T], statement: SQL, parameters: Parameters = None, *, bind: str | None = None
    ) -> Result[T]:
        """Run a statement and make a `target` of each row: an entity through the identity map, else by column name."""
        source = self._calls.source(bind, target)
        return await self._calls.call(
            lambda: self._session.query(target, statement, parameters, bind=bind),
            source,
            self._calls.writes(source, statement, parameters),
        )

    async def scalar(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Any:
        """Run a statement and return the first column of its first row, or None when there is no row."""
        return (await self.execute(statement, parameters, bind=bind)).scalar()

    async def scalars(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> list[Any]:
        """Run a statement and return the first column of every row."""
        return (await self.execute(statement, parameters, bind=bind)).scalars()

    async def script(self, text: SQL, *, bind: str | None = None) -> None:
        """Run the statements of a script one by one, inside the current transaction."""
        await self._calls.call(lambda: self._session.script(text, bind=bind), self._calls.source(bind), True)

    @overload
    def stream(
        self, statement: SQL, parameters: Parameters = None, *, batch: int = 1000, bind: str | None = None
    ) -> AsyncStream[Row]: ...
    @overload
    def stream(
        self,
        statement: SQL,
        parameters: Parameters = None,
        *,
        into: Callable[..., T],
        batch: int = 1000,
        bind: str | None = None,
    ) -> AsyncStream[T]: ...
    def stream(
        self,
        statement: SQL,
        parameters: Parameters = None,
        into: Any = None,
        *,
        batch: int = 1000,
        bind: str | None = None,
    ) -> AsyncStream[Any]:
        """Return the rows of a statement one by one, `batch` rows fetched at a time: `async with session.stream(…) as rows`."""
        stream = self._session.stream(statement, parameters, into=into, batch=batch, bind=bind)
        source = self._calls.source(bind, into)
        return AsyncStream(self._calls, stream, source, self._calls.writes(source, statement, parameters), batch)

    async def run_sync(self, fn: Callable[Concatenate[Session, P], T], *args: P.args, **keywords: P.kwargs) -> T:
        """
        Run `fn(session, …)` in a worker thread, with the Session behind this one: for code that is not asynchronous.

        It is part of this session's transaction; what takes a DB-API connection (`session.connection()`) can be given one there.
        """
        return await self._calls.call(lambda: fn(self._session, *args, **keywords), self._calls.source(None), True)

    # -- entities

    async def get(self, cls: type[T], key: Any, *, for_update: bool = False, bind: str | None = None) -> T | None:
        """Return the object with this primary key, or None; one that is held costs no round trip, and no thread."""
        if not for_update and bind is None and self.in_transaction() and self._holds(cls, key):
            return self._calls.inline(lambda: self._session.get(cls, key))
        return await self._calls.call(
            lambda: self._session.get(cls, key, for_update=for_update, bind=bind),
            self._calls.source(bind, cls),
            for_update,
        )

    def _holds(self, cls: type, key: Any) -> bool:
        """Tell whether `Session.get` finds an object without asking the database."""
        try:
            return key in self.identity_map.lone[cls]
        except (KeyError, TypeError):  # of an entity that nothing is held of; of a key that is none
            return False

    async def insert(self, obj: T, *, bind: str | None = None) -> T:
        """Insert an entity as a new row and return it; a key that is None is filled in by the database."""
        inserted: T = await self._write(self._session.insert, obj, bind)
        return inserted

    async def update(self, obj: object, *, bind: str | None = None) -> None:
        """Write what has changed on an entity since it was read; errors as with `Session.update`."""
        await self._write(self._session.update, obj, bind)

    async def delete(self, obj: object, *, bind: str | None = None) -> None:
        """Delete an entity's row; errors as with `update`."""
        await self._write(self._session.delete, obj, bind)

    async def refresh(self, obj: object, *, bind: str | None = None) -> None:
        """Overwrite an entity's attributes with its row as it is now; NoResultFound when the row is gone."""
        await self._calls.call(lambda: self._session.refresh(obj, bind=bind), self._calls.source(bind, type(obj)))

    async def upsert(self, obj: T, on: Sequence[str] | str | None = None, *, bind: str | None = None) -> T:
        """Insert an entity, or update the row that has the same values in `on` (by default its key)."""
        return await self._calls.call(
            lambda: self._session.upsert(obj, on, bind=bind), self._calls.source(bind, type(obj)), True
        )

    async def insert_all(self, objects: Iterable[T], *, bind: str | None = None) -> list[T]:
        """Insert entities as new rows in few statements, and return them. Nothing is kept when one is refused."""
        inserted = list(objects)
        source = self._calls.source(bind, type(inserted[0]) if inserted else None)
        return await self._calls.call(lambda: self._session.insert_all(inserted, bind=bind), source, True)

    async def copy_in(
        self,
        table: str,
        rows: Any,
        columns: Sequence[str] | None = None,
        *,
        on_conflict: str | None = None,
        key: Sequence[str] | str | None = None,
        bind: str | None = None,
    ) -> int:
        """Put many rows into a table in the fastest way there is; `rows` (no asynchronous ones) are read in the worker thread."""
        return await self._calls.call(
            lambda: self._session.copy_in(table, rows, columns, on_conflict=on_conflict, key=key, bind=bind),
            self._calls.source(bind),
            True,
        )

    async def _write(self, method: Callable[..., Any], obj: object, bind: str | None) -> Any:
        return await self._calls.call(lambda: method(obj, bind=bind), self._calls.source(bind, type(obj)), True)

    def expunge(self, obj: object) -> None:
        """Let go of one entity; one that is not held raises InvalidRequestError."""
        self._calls.inline(lambda: self._session.expunge(obj))

    def expunge_all(self) -> None:
        """Let go of every entity."""
        self._calls.inline(self._session.expunge_all)

    @property
    def identity_map(self) -> IdentityMap:
        """The objects held, as a read-only mapping: `(class, key)` → object."""
        return self._session.identity_map

    def __contains__(self, obj: object) -> bool:
        return obj in self._session

    # -- state

    @property
    def info(self) -> dict[Any, Any]:
        """A dict of the program's own, which survives close and reset."""
        return self._session.info

    def in_transaction(self) -> bool:
        """Whether a transaction has begun, by itself or by `begin()`."""
        return self._session.in_transaction()

    def in_nested_transaction(self) -> bool:
        """Whether a savepoint level is open."""
        return self._session.in_nested_transaction()

    def get_transaction(self) -> AsyncTransaction | None:
        """Return the outermost transaction, or None."""
        found = self._session.get_transaction()
        return None if found is None else AsyncTransaction(self._calls, found)

    @property
    def is_active(self) -> bool:
        """Whether statements can run: False once closed for good, and while a rollback is owed."""
        return self._session.is_active

    @property
    def closed(self) -> bool:
        """Whether it was closed for good (`close_resets_only=False`)."""
        return self._session.closed

    def __repr__(self) -> str:
        return f"<Async{repr(self._session)[1:]}"
