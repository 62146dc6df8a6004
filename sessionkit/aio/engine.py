"""Engine and registry for event loops."""

from __future__ import annotations

from functools import partial, wraps
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from anyio import sleep
from anyio.lowlevel import checkpoint_if_cancelled

from ..engine import Engine
from ..errors import ArgumentError, Error
from ..options import function
from ..retry.policy import Retry
from ..retry.run import Attempts
from .calls import Calls
from .session import AsyncSession
from .threads import on_the_side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from .._typing import SQL, Parameters
    from ..mapping.results import Result
    from ..mapping.rows import Row
    from ..registry import Registry
    from ..retry.run import Resolve
    from ..session.twophase import Recovered
    from .transaction import AsyncTransaction

P = ParamSpec("P")
T = TypeVar("T")


class AsyncRunner:
    """Makes sessions, and runs functions in them: the base of AsyncEngine and AsyncRegistry."""

    sync: Any
    """The Engine or Registry that this one is for."""

    def session(self, **options: Any) -> AsyncSession:
        """Return a new session; the options are `Session`'s."""
        return AsyncSession(self.sync, **options)

    def begin(self, **options: Any) -> AsyncBlock:
        """Return a block that is a session and its transaction in one: `async with engine.begin() as session`."""
        return AsyncBlock(self.sync, options)

    async def run(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        attempts: int = 5,
        timeout: float = 30.0,
        idempotent: bool = False,
        resolve: Resolve = None,
        retry: Retry | None = None,
        **options: Any,
    ) -> T:
        """
        Run `await fn(session, *args)` in a fresh session and transaction, and all of it again after errors that undid it.

        All is as with `Engine.run`; between two attempts the task sleeps (`retry.sleep` is not used).

        Raises:
            ArgumentError: `fn` is no `async def`.
            InvalidRequestError: inside an open transaction of the same task.
            CommitUnknownError: nobody knows whether the last attempt committed.
            Error: the last error, with a note of how often it was tried and for how long.
        """
        function("what run() runs", fn)
        course = Attempts(self.sync, retry or Retry(attempts, timeout), idempotent, resolve, options)
        while True:
            value: Any = None
            try:
                if course.has_witness:
                    await on_the_side(course.start)
                else:
                    course.start()
                async with self.begin(**options) as session:
                    found = fn(session, *args)
                    if not isawaitable(found):
                        raise ArgumentError(
                            f"run() takes an async def, and {fn!r} is none; or use the Engine's own run()"
                        )
                    value = await found
                    if course.has_witness:
                        await session.run_sync(course.note)
                return value  # type: ignore[no-any-return]
            except Error as exc:
                failed = exc
            try:
                if course.has_witness and await on_the_side(partial(course.has_happened, failed)):
                    return value  # type: ignore[no-any-return]
                pause = course.pause(failed)
            finally:
                del failed  # no frame keeps what is raised through it
            await sleep(pause)

    def transactional(
        self, fn: Callable[Concatenate[AsyncSession, P], Awaitable[T]] | None = None, /, **options: Any
    ) -> Any:
        """Make an `async def` of a session one that runs in a transaction of its own; `options` are those of `run`."""

        def decorate(fn: Callable[Concatenate[AsyncSession, P], Awaitable[T]]) -> Callable[P, Awaitable[T]]:
            @wraps(fn)
            async def call(*args: P.args, **keywords: P.kwargs) -> T:
                async def work(session: AsyncSession) -> T:
                    return await fn(session, *args, **keywords)

                return await self.run(work, **options)

            return call

        return decorate if fn is None else decorate(fn)

    async def dispose(self) -> None:
        """Close the idle connections, and those lent out when they come home."""
        await on_the_side(self.sync.dispose)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.dispose()

    def __repr__(self) -> str:
        return f"<Async{repr(self.sync)[1:]}"


class AsyncEngine(AsyncRunner):
    """An Engine for event loops: `AsyncEngine(create_engine(url))`. Both can be used, and share one pool and its line."""

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine, Engine):
            raise ArgumentError(
                f"AsyncEngine takes an Engine, as create_engine() makes it; got {type(engine).__name__}"
            )
        self.sync = engine

    async def execute(self, statement: SQL, parameters: Parameters = None) -> Result[Row]:
        """Run one statement in a transaction of its own, as `Engine.execute` does."""
        return await _execute_alone(self.sync, statement, parameters, None)

    async def ping(self) -> float:
        """Make a round trip on a pooled connection and return how long it took, in seconds."""
        return await on_the_side(self.sync.ping)

    async def __aenter__(self) -> AsyncEngine:
        return self


class AsyncRegistry(AsyncRunner):
    """A Registry for event loops: `AsyncRegistry(registry)`."""

    def __init__(self, registry: Registry) -> None:
        if not hasattr(registry, "names"):
            raise ArgumentError(f"AsyncRegistry takes a Registry, got {type(registry).__name__}")
        self.sync = registry

    async def execute(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Result[Row]:
        """Run one statement in a transaction of its own, on the database named `bind`."""
        return await _execute_alone(self.sync, statement, parameters, bind)

    async def recover(self, timeout: float = 10.0) -> list[Recovered]:
        """End what sessions with `two_phase=True` left prepared when their program died; see `Registry.recover`."""
        found: list[Recovered] = await on_the_side(lambda: self.sync.recover(timeout))
        return found

    def __getitem__(self, name: str) -> AsyncEngine:
        return AsyncEngine(self.sync[name])

    async def __aenter__(self) -> AsyncRegistry:
        return self


async def _execute_alone(sync: Any, statement: SQL, parameters: Parameters, bind: str | None) -> Result[Row]:
    calls = Calls(sync, {})
    source = calls.source(bind)
    engine = cast(Engine, source)  # which has all that the method needs
    return await calls.call(
        lambda: Engine.execute(engine, statement, parameters), source, calls.writes(source, statement, parameters)
    )


class AsyncBlock:
    """A session and its transaction in one block: what `begin()` of engine and registry return."""

    def __init__(self, bind: Any, options: dict[str, Any]) -> None:
        self._bind = bind
        self._options = options

    async def __aenter__(self) -> AsyncSession:
        await checkpoint_if_cancelled()
        self._session = session = AsyncSession(self._bind, **self._options)
        self._transaction: AsyncTransaction = session.begin()
        await self._transaction.__aenter__()
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        session = self._session
        try:
            swallowed = await self._transaction.__aexit__(kind, exc, tb)
        except BaseException as failed:
            await session.__aexit__(type(failed), failed, failed.__traceback__)
            raise
        if swallowed:
            kind = exc = tb = None
        await session.__aexit__(kind, exc, tb)
        return swallowed
