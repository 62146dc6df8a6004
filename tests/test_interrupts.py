"""Interrupts: out of the driver, and at every bytecode of our own code."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import sessionkit
from sessionkit import UncommittedWorkWarning
from sessionkit.testing import FakeDriver, fake_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine

PACKAGE = os.path.dirname(sessionkit.__file__)
STRIDE = int(os.environ.get("SESSIONKIT_STRIDE", "3"))  # 1: every instruction


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for its own."""


def is_ours(code: Any) -> bool:
    """Tell whether code is this package's, the fake driver not counted."""
    return code.co_filename.startswith(PACKAGE) and "/testing/" not in code.co_filename


class Injector:
    """Raises Interrupt at the n-th bytecode instruction that this package executes."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.where = ""

    def hit(self, code: Any, line: int | None) -> None:
        """Count an instruction, and raise at the chosen one."""
        self.count += 1
        if self.count == self.at:
            self.where = f"{code.co_qualname}, {code.co_filename}:{line}"
            raise Interrupt

    if sys.version_info >= (3, 12):

        def __enter__(self) -> Injector:
            monitoring = sys.monitoring
            monitoring.use_tool_id(4, "injector")
            monitoring.register_callback(4, monitoring.events.INSTRUCTION, self._instruction)
            monitoring.set_events(4, monitoring.events.INSTRUCTION)
            monitoring.restart_events()
            return self

        def __exit__(self, *exc: object) -> None:
            sys.monitoring.set_events(4, 0)
            sys.monitoring.free_tool_id(4)

        def _instruction(self, code: Any, offset: int) -> Any:
            if not is_ours(code):
                return sys.monitoring.DISABLE
            self.hit(code, None)
            return None

    else:

        def __enter__(self) -> Injector:
            sys.settrace(self._call)
            return self

        def __exit__(self, *exc: object) -> None:
            sys.settrace(None)

        def _call(self, frame: Any, event: str, argument: object) -> Any:
            if not is_ours(frame.f_code):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return self._opcode

        def _opcode(self, frame: Any, event: str, argument: object) -> Any:
            if event == "opcode":
                if self.count + 1 == self.at:
                    sys.settrace(None)
                self.hit(frame.f_code, frame.f_lineno)
            return self._opcode


def block(engine: Engine) -> None:
    """A block with a savepoint."""
    with engine.begin() as session:
        session.execute("insert")
        with session.begin_nested():
            session.execute("insert")


def cycle(engine: Engine) -> None:
    """The life of a session without blocks."""
    session = engine.session()
    try:
        session.execute("select 1").first()
        session.execute("insert")
        session.commit()
        session.execute("insert")
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncommittedWorkWarning)
            session.close()


def lending(engine: Engine) -> None:
    """Checkout and checkin."""
    lease = engine.pool.checkout()
    engine.pool.checkin(lease)


def doubtful(engine: Engine) -> None:
    """Discarding a connection that is in the middle of something: the second interrupt of a burst."""
    lease = engine.pool.checkout()
    lease.conn.in_transaction = True
    engine.pool.discard(lease)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("work", [block, cycle, lending, doubtful])
def test_an_interrupt_at_every_bytecode(work: Callable[[Engine], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Wherever it hits: it comes out, the place is there again, nothing dirty is lent, nothing is misused.

    Python itself swallows what is raised in a finaliser, and tells the unraisable hook.
    """
    swallowed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: swallowed.append(told.exc_type))
    at = 1
    while True:
        driver = FakeDriver()
        engine = fake_engine(driver, pool_size=1, pool_timeout=1)
        work(engine)  # imports and caches
        before = len(driver.calls)
        injector = Injector(at)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                with injector:
                    work(engine)
            except Interrupt:
                pass
            else:
                if injector.count < at:  # the work is done before this instruction: all of them were hit
                    assert at > 100
                    return
                assert swallowed, f"swallowed at {injector.where}"
            gc.collect(0)
            told = f"interrupted at {injector.where} after {driver.calls[before:]}"
            assert _is_whole(engine), told
        assert not driver.misuse, (told, driver.misuse)
        assert engine.pool.stats()["open"] <= 1, told
        at += STRIDE


def _is_whole(engine: Engine) -> bool:
    """Tell whether a new session works: the one place is free, and what is lent is idle."""
    with engine.begin() as session:
        session.execute("insert")
    return engine.pool.stats()["used"] == 0


@pytest.mark.parametrize("operation", ["begin", "execute", "commit", "rollback", "savepoint", "release", "rollback_to"])
def test_an_interrupt_out_of_the_driver(fake: Engine, operation: str) -> None:
    """It comes out as itself, that connection is closed, the next block works."""
    with pytest.raises(Interrupt):
        with fake.begin() as session:
            if operation not in ("begin", "execute"):
                session.execute("insert")
            fake.driver.fail(operation, Interrupt())
            if operation == "rollback_to":
                with session.begin_nested():
                    session.execute("insert")
                    raise sessionkit.Rollback
            with session.begin_nested():
                session.execute("insert")
            if operation == "rollback":
                raise sessionkit.Rollback
    assert fake.driver.open_connections() == 0
    block(fake)


def test_an_interrupt_in_a_statement_that_is_swallowed(fake: Engine) -> None:
    """The block cannot go on as if nothing had happened, and commit raises."""
    with pytest.raises(sessionkit.TransactionLostError):
        with fake.begin() as session:
            fake.driver.fail("execute", Interrupt())
            with pytest.raises(Interrupt):
                session.execute("insert")
            with pytest.raises(sessionkit.TransactionLostError):
                session.execute("insert")
    assert fake.driver.open_connections() == 0


def test_an_interrupt_while_an_error_is_handled(fake: Engine) -> None:
    """It comes out as itself, with the body's error as its context."""
    with pytest.raises(Interrupt) as caught:
        with fake.begin() as session:
            session.execute("insert")
            fake.driver.fail("rollback", Interrupt())
            raise ValueError("mine")
    assert isinstance(caught.value.__context__, ValueError)
    assert fake.driver.open_connections() == 0


def test_an_interrupt_in_commit_leaves_the_outcome_unknown(fake: Engine) -> None:
    """Neither kind of hook runs."""
    ran: list[str] = []
    with pytest.raises(Interrupt):
        with fake.begin() as session:
            tx = session.get_transaction()
            session.execute("insert")
            session.after_commit(lambda: ran.append("commit"))
            session.after_rollback(lambda: ran.append("rollback"))
            fake.driver.fail("commit", Interrupt())
    assert tx is not None
    assert (tx.status, ran) == ("unknown", [])
