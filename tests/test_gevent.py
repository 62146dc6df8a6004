"""gevent's greenlets are the threads: fifty of them on each database, killed and timed out in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Database

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parent)}


def test_fifty_greenlets(db: Database) -> None:
    """All transfers are done or were timed out, nothing is lost, no connection stays lent, and the others go on while one waits."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.gevent_app", db.url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.stdout == "True True 1000 0 0 [] True\n", done.stdout + done.stderr
    db.main.execute("drop table acct")


DEADLOCK = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, time
from sessionkit import PoolDeadlockError, PoolTimeoutError
from sessionkit.testing import fake_engine
engine = fake_engine(pool_size=1, pool_timeout=3)

def hold(seconds):
    with engine.begin() as session:
        session.execute("insert")
        gevent.sleep(seconds)

def nest():
    started = time.monotonic()
    try:
        with engine.begin() as outer:
            outer.execute("insert")
            with engine.begin() as inner:
                inner.execute("insert")
    except PoolDeadlockError:
        return round(time.monotonic() - started, 0)

gevent.joinall([gevent.spawn(hold, 0.5) for _ in range(3)], raise_error=True)   # no false alarm
print(gevent.spawn(nest).get())
"""


def test_the_deadlock_rule_knows_greenlets() -> None:
    """A process of many is no process of one thread: one that waits for another is no deadlock, and a real one is told after half the time."""
    done = subprocess.run(
        [sys.executable, "-c", DEADLOCK], capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT
    )
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr
