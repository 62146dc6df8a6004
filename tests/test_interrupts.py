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

    from sessionkit import Engine, Session

PACKAGE = os.path.dirname(sessionkit.__file__)
STRIDE = int(os.environ.get("SESSIONKIT_STRIDE", "9"))  # 1: every instruction


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for its own."""


class Injector:
    """Raises Interrupt at the n-th bytecode instruction that this package executes."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.where = ""

    def __enter__(self) -> Injector:
        sys.settrace(self._warm_up)
        (lambda: None)()
        sys.settrace(self._call)
        return self

    def _warm_up(self, frame: Any, event: str, argument: object) -> None:
        """Python 3.12 and 3.13 heed f_trace_opcodes only if some frame had it before settrace."""
        frame.f_trace_opcodes = True

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _call(self, frame: Any, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or "/testing/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._opcode

    def _opcode(self, frame: Any, event: str, argument: object) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                self.where = f"{frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                raise Interrupt
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("work", [block, cycle, lending])
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
                if injector.count == 0 and at == 1 and sys.version_info >= (3, 13):
                    at = 2  # Python 3.13.0 does not heed the first f_trace_opcodes of a run
                    continue
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
    return engine.pool.stats()["lent"] == 0


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
