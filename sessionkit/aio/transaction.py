"""A level of an asynchronous session's transaction, and rows that come one by one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio.lowlevel import checkpoint_if_cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ..session.block import Transaction
    from ..session.stream import Stream
    from .borrowing import Borrowed
    from .calls import Calls

T = TypeVar("T")


class AsyncTransaction:
    """As `Transaction`: an `async with` block that commits on a normal end, or a handle that is ended once."""

    def __init__(self, calls: Calls, transaction: Transaction) -> None:
        self._calls = calls
        self._transaction = transaction

    @property
    def status(self) -> str:
        """Its fate: active, committed, rolled back, lost, unknown."""
        return self._transaction.status

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self._transaction.is_active

    @property
    def nested(self) -> bool:
        """Whether it is a savepoint in another."""
        return self._transaction.nested

    async def commit(self) -> None:
        """Commit this level; errors as with `Transaction.commit`."""
        await checkpoint_if_cancelled()
        await self._calls.end(self._transaction.commit)

    async def rollback(self) -> None:
        """Undo this level and all within it."""
        await self._calls.end(self._transaction.rollback)

    async def __aenter__(self) -> AsyncTransaction:
        self._calls.inline(self._transaction.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        if exc is None:
            try:
                await checkpoint_if_cancelled()  # who was cancelled before COMMIT does not commit
            except BaseException as cancelled:
                await self._leave(type(cancelled), cancelled, cancelled.__traceback__)
                raise
        return await self._leave(kind, exc, tb)

    async def _leave(self, *exc: Any) -> bool | None:
        return await self._calls.end(lambda: self._transaction.__exit__(*exc), exc[1])

    def __repr__(self) -> str:
        return f"<Async{repr(self._transaction)[1:]}"


class AsyncStream(Generic[T]):
    """Rows one by one: `async with session.stream("select …") as rows: async for row in rows: …`."""

    def __init__(self, calls: Calls, stream: Stream[T], source: Borrowed, writes: bool, batch: int) -> None:
        self._calls = calls
        self._stream = stream
        self._needs = source, writes
        self._batch = batch
        self._iterator: Iterator[T] = iter(())
        self._rows: list[T] = []
        self._at = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order, once it is entered."""
        return self._stream.columns

    @property
    def types(self) -> tuple[str | None, ...]:
        """The names of the Python types that surely come in each column, None where the driver does not tell."""
        return self._stream.types

    async def __aenter__(self) -> AsyncStream[T]:
        await self._calls.call(self._stream.__enter__, *self._needs)
        self._iterator = iter(self._stream)
        return self

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        if self._at == len(self._rows):
            self._rows, self._at = await self._calls.call(lambda: list(islice(self._iterator, self._batch))), 0
            if not self._rows:
                raise StopAsyncIteration
        row = self._rows[self._at]
        self._at += 1
        return row

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._calls.end(lambda: self._stream.__exit__(kind, exc, tb), exc)
