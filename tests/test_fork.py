"""Processes that are forked while connections are open: parents and children never share one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Database

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
WORKERS = 4


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def site(postgres: Database, tmp_path: Path) -> Iterator[str]:
    """A web backend on PostgreSQL under `gunicorn --preload` with four workers; its address."""
    port = free_port()
    log = (tmp_path / "gunicorn.log").open("w+")
    master = subprocess.Popen(
        [
            sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}",
            "--worker-tmp-dir", str(tmp_path), "tests.gunicorn_app:app",
        ],
        env={**os.environ, "APP_DATABASE_URL": postgres.url, "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path)},
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                log.seek(0)
                assert master.poll() is None, log.read()
                assert time.monotonic() < deadline, log.read()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        assert master.poll() is None
        master.send_signal(signal.SIGTERM)
        assert master.wait(20) == 0
    finally:
        master.kill()
        log.close()


def test_gunicorn_preload(postgres: Database, site: str) -> None:
    """Four workers, forked with one connection lent and one idle: each serves on its own, and the parent's stay open."""
    parents = set(_backends(postgres))

    def ask(number: int) -> tuple[int, int]:
        with urllib.request.urlopen(f"{site}/{number}", timeout=20) as answer:
            process, backend = answer.read().split()
        return int(process), int(backend)

    told: list[tuple[int, int]] = []
    deadline = time.monotonic() + 20
    with ThreadPoolExecutor(12) as many:
        while len({process for process, _ in told}) < WORKERS:  # who is asked, the system decides
            assert time.monotonic() < deadline
            told += many.map(ask, range(len(told), len(told) + 100))
    assert postgres.main.execute("select count(*) from item").scalar() == len(told)
    owners: dict[int, set[int]] = {}
    for process, backend in told:
        owners.setdefault(backend, set()).add(process)
    assert all(len(processes) == 1 for processes in owners.values()), "two processes shared a connection"
    assert parents.isdisjoint(owners)
    assert parents <= set(_backends(postgres))


def _backends(postgres: Database) -> list[int]:
    """Return the server's processes for clients, this test's own connection not counted."""
    return postgres.main.execute(
        "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    ).scalars()
