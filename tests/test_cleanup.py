"""Cleaning up never hides what happened, and never leaks, whatever fails in it."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import Rollback, Session, UncommittedWorkWarning, create_engine
from sessionkit.testing import FakeDriver, FakeError, fake_engine

from .conftest import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for its own."""


class Body(Exception):
    """What the program itself raises."""


STEPS = [
    "commit",
    "rollback",
    "savepoint",
    "release",
    "rollback_to",
    "close",
    "status",
    "after_commit",
    "after_rollback",
    "on_return",
]
BODIES: dict[str, BaseException | None] = {
    "ok": None,
    "error": Body(),
    "interrupt": Interrupt(),
    "Rollback": Rollback(),
}
FAILURES: dict[str, Callable[[], BaseException]] = {
    "the driver's error": lambda: FakeError("error"),
    "the connection is gone": lambda: FakeError("gone"),
    "an error of no driver": lambda: RuntimeError("step"),
    "an interrupt": Interrupt,
}


def raising(error: BaseException) -> Callable[..., None]:
    """Return a function that raises."""

    def fail(*arguments: Any) -> None:
        raise error

    return fail


class Case:
    """One combination: what the body of a block does, which step fails, with what; and what was seen."""

    def __init__(self, body: str, step: str, failure: str, nested: bool) -> None:
        self.body = BODIES[body]
        self.step, self.nested = step, nested
        self.error = FAILURES[failure]()
        self.driver = FakeDriver()
        self.returning: list[BaseException] = []
        self.engine = fake_engine(self.driver, pool_size=1, pool_timeout=0.2, on_return=self._on_return)
        self.session: Session = self.engine.session()
        self.escaped: BaseException | None = None

    def _on_return(self, conn: Any) -> None:
        if self.returning:
            raise self.returning.pop()

    def run(self) -> None:
        """Run the block; keep what comes out of it."""
        try:
            with self.session.begin():
                self.session.execute("insert")
                self.session.insert(Item("x", 1.0, 1))
                if self.nested:
                    with self.session.begin_nested():
                        self._work()
                else:
                    self._work()
        except BaseException as exc:
            self.escaped = exc

    def _work(self) -> None:
        if self.step == "on_return":
            self.returning.append(self.error)
        elif self.step.startswith("after_"):
            getattr(self.session, self.step)(raising(self.error))
        elif self.step != "savepoint":
            self.session.execute("insert")
            self.driver.fail(self.step, self.error)
        else:
            self.driver.fail(self.step, self.error)
            self.session.execute("insert")
        if self.body is not None:
            raise self.body

    def reached(self) -> bool:
        """Tell whether the step was come to at all."""
        return not self.returning and not any(operation == self.step for operation, _ in self.driver._failures)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    ("body", "step", "nested"),
    [
        pytest.param(body, step, nested, id=f"{body}-{step}-{'savepoint' if nested else 'block'}")
        for body, step, nested in itertools.product(BODIES, STEPS, [False, True])
        if step != "savepoint" or (nested and body == "ok")  # it comes before what the body does
    ],
)
def test_every_combination(body: str, step: str, failure: str, nested: bool) -> None:
    """
    An interrupt comes out before any error, the body's own before that of a step; all places are back, the session is idle.

    The identity map is empty, nothing was misused, and the next block works.
    """
    case = Case(body, step, failure, nested)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        case.run()
    told = (case.escaped, case.driver.calls)
    interrupts = [exc for exc in (case.body, case.error) if isinstance(exc, Interrupt)]
    struck = isinstance(case.error, RuntimeError) and step in ("rollback", "rollback_to") and case.reached()
    if struck and case.escaped is case.error:  # no driver's error: a signal handler's, which comes out
        assert case.escaped.__context__ is case.body or case.body is None or isinstance(case.body, Rollback), told
    elif isinstance(case.escaped, Interrupt):
        assert case.escaped in interrupts, told
    elif isinstance(case.body, Interrupt):
        pytest.fail(f"the interrupt was replaced: {told}")
    elif isinstance(case.body, Body):
        assert case.escaped is case.body, told
    elif isinstance(case.error, Interrupt) and case.reached() and not step.startswith("after_"):
        pytest.fail(f"the interrupt was swallowed: {told}")
    assert case.engine.pool.stats()["used"] == 0, told
    assert not case.session.in_transaction(), told
    assert len(case.session.identity_map) == 0, told
    assert case.driver.misuse == [], told
    case.driver._failures.clear()
    case.returning.clear()
    with case.session.begin():
        case.session.execute("insert")
    case.session.close()
    case.driver.verify()
    assert case.driver.open_connections() <= 1


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("step", ["commit", "rollback", "close", "status", "on_return"])
@pytest.mark.parametrize("ending", ["commit", "rollback", "close", "reset", "invalidate", "with"])
def test_every_ending_of_a_session(ending: str, step: str, failure: str) -> None:
    """
    None needs a second call: the session is idle, the place is back, and only an interruption or the ending's own error comes out.

    What no driver raised is an interruption: a signal handler's exception may hit anywhere.
    """
    case = Case("ok", step, failure, nested=False)
    session = case.session
    session.execute("insert")
    if step == "on_return":
        case.returning.append(case.error)
    else:
        case.driver.fail(step, case.error)
    escaped: BaseException | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncommittedWorkWarning)
        try:
            session.__exit__(None, None, None) if ending == "with" else getattr(session, ending)()
        except BaseException as exc:
            escaped = exc
    foreign = isinstance(case.error, RuntimeError) and step in ("commit", "rollback", "close")
    if case.reached() and (foreign or isinstance(case.error, Interrupt)):
        assert escaped is case.error
    elif ending in ("close", "reset", "invalidate", "with"):
        assert escaped is None
    assert not session.in_transaction()
    assert case.engine.pool.stats()["used"] == 0
    assert case.driver.misuse == []
    case.driver._failures.clear()
    case.returning.clear()
    assert session.execute("select 1").first() == (1,)
    session.close()
    case.driver.verify()


# -- no memory


def run_out_of_memory(engine: Engine, work: Callable[[Engine], None], count: int) -> bool:
    """Let the `count`-th allocation of `work` fail; return whether there was one."""
    import _testcapi

    try:
        _testcapi.set_nomemory(count, count + 1)
        work(engine)
    except MemoryError:
        return True
    except BaseException as exc:  # an allocation that failed inside another error's making
        return not isinstance(exc, AssertionError)
    finally:
        _testcapi.remove_mem_hooks()
    return False


def without_memory(path: str) -> None:
    """Fail each allocation in turn, in a block and in a session's cycle; nothing may be lost or kept that should not be."""
    engine = create_engine(f"sqlite:///{path}", pool_size=1, pool_timeout=1)
    engine.execute("create table t (n integer, half integer)")

    def block(engine: Engine) -> None:
        with engine.begin() as session:
            session.execute("insert into t values (1, 1)")
            with session.begin_nested():
                session.execute("update t set half = 2")

    def cycle(engine: Engine) -> None:
        session = engine.session()
        try:
            session.execute("select n from t where n = ?", (1,)).first()
            session.commit()
        finally:
            session.close()

    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda told: None
    for work in (block, cycle):
        work(engine)
        failed = 0
        for count in itertools.count():
            if not run_out_of_memory(engine, work, count) and count > 100:
                break
            failed += 1
            gc.collect(0)
            work(engine)
            assert engine.pool.stats()["used"] == 0, (work.__name__, count)
            assert engine.execute("select count(*) from t where half = 1").scalar() == 0, (work.__name__, count)
        print(work.__name__, failed)
    engine.dispose()


def test_no_memory_at_every_allocation(tmp_path: Path) -> None:
    """In a process of its own, because Python itself may not survive it everywhere."""
    pytest.importorskip("_testcapi", reason="this Python has no way to make an allocation fail")
    code = f"from tests.test_cleanup import without_memory; without_memory({str(tmp_path / 'memory.db')!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(int(line.split()[1]) > 100 for line in done.stdout.splitlines())
