"""How an asynchronous session calls its session: one call at a time, with a connection waited for, in a thread, hooks after it."""

from __future__ import annotations

import weakref
from inspect import isawaitable
from sys import _getframe
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import CancelScope

from ..errors import ConcurrentUseError
from ..mapping.entity import declared
from ..pool.lease import caller
from ..session.cleanup import note, raise_first
from ..session.context import note_begin
from ..session.session import Session
from ..sql.template import rendered
from .borrowing import Borrowed, Borrowing
from .threads import in_thread, to_its_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._typing import SQL, Parameters
    from ..engine import Engine
    from ..registry import Registry

T = TypeVar("T")


class Calls:
    """The inside of an asynchronous session."""

    def __init__(self, bind: Engine | Registry, options: dict[str, Any], owner: object = None) -> None:
        frame = caller(_getframe())
        self._borrowing = Borrowing(bind, (id(owner), frame.f_code, frame.f_lasti))
        self.session = Session(cast(Any, self._borrowing), **options)
        self._is_read_only = bool(options.get("read_only"))
        self._is_busy = False
        self._due: list[Callable[[], Any]] = []  # hooks, whose transaction has ended

    # -- calls

    def inline(self, work: Callable[[], T]) -> T:
        """
        Call what does no I/O, in the event loop.

        Raises:
            ConcurrentUseError: another task's call is under way.
        """
        if self._is_busy:
            raise ConcurrentUseError(
                "two tasks use one session at the same moment; give each task a session of its own, or await one call before "
                "the next (this call changed nothing)"
            )
        return work()

    async def call(self, work: Callable[[], T], source: Borrowed | None = None, writes: bool = False) -> T:
        """
        Run `work()` in a thread, with a connection to `source`; `writes` says that it is going to. A cancelled task cancels it.

        Raises:
            ConcurrentUseError: another task's call is under way.
        """
        session, borrowing = self.session, self._borrowing
        began = not session.in_transaction()
        self.inline(self._begin_call)
        try:
            if source is not None and source.lease is None:
                await source.wait(self._wants_turn(writes))
            return await in_thread(work, borrowing.cancel)
        finally:
            self._is_busy = False
            borrowing.release()
            if began and session.in_transaction():  # for `run` in this task: the thread's context is not the task's
                note_begin(weakref.ref(session._stack))

    async def end(self, work: Callable[[], T], because: BaseException | None = None) -> T:
        """
        Run what ends a transaction or a savepoint, then the hooks that are due; nothing cancels it.

        `because` is the exception in flight, which is the one that comes out.
        """
        self.inline(self._begin_call)
        try:
            value = await to_its_end(work) if self._borrowing.is_using() else work()
        except BaseException as exc:
            self._is_busy = False
            await self._run_hooks(exc)
            raise
        self._is_busy = False
        await self._run_hooks(because)
        return value

    def _begin_call(self) -> None:
        self._is_busy = True

    async def _run_hooks(self, because: BaseException | None) -> None:
        """Run each hook that is due, in the event loop; what fails in them is raised, or noted on what is in flight already."""
        if not self._due:
            return
        failures: list[BaseException] = []
        with CancelScope(shield=True):
            while self._due:
                hook = self._due.pop(0)
                try:
                    found = hook()
                    if isawaitable(found):
                        await found
                except BaseException as exc:
                    failures.append(exc)
        if because is None:
            raise_first(failures)
        for failed in failures:
            note(because, failed) if because is not None else None

    def later(self, hook: Callable[[], object | Awaitable[object]]) -> Callable[[], object]:
        """Return a hook for the session, in whose place `hook` runs in the event loop."""
        return lambda: self._due.append(hook)

    # -- what a call needs

    def source(self, bind: str | None, target: object = None) -> Borrowed:
        """Return the database that a call is for."""
        if bind is None and target is not None:
            entity = declared(target)
            bind = entity.bind if entity is not None else None
        return self._borrowing.resolve(bind)

    def writes(self, source: Borrowed, statement: SQL, parameters: Parameters) -> bool:
        """Tell whether a statement writes, where writers stand in line."""
        if source.engine.line is None:
            return False
        sql, given = rendered(statement, parameters, source.driver.identifier_quote)
        return bool(source.compile(sql, given).writes)

    def _wants_turn(self, writes: bool) -> bool:
        """Tell whether a transaction's first statement waits for the turn to write: in a block that may write it always does."""
        transaction = self.session.get_transaction()
        if transaction is None:
            return writes and not self._is_read_only
        return not transaction.modes[1] and (writes or not transaction.auto)
