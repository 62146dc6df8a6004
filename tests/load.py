"""A shop under load: two workers, a pool of two in each, eight clients, a backend killed every 0.1 s; and what must hold after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sessionkit.testing.servers import free_port

if TYPE_CHECKING:
    from sessionkit import Engine

ROOT = Path(__file__).parent.parent
CLIENTS = 8
KILL = (
    "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend' "
    "and query like '%article%' limit 1"
)


class Figures(NamedTuple):
    """What came of it: answers by status, requests a second, the slowest in seconds, how many backends were killed."""

    answers: dict[int, int]
    throughput: float
    slowest: float
    killed: int

    def __str__(self) -> str:
        return f"{self.answers}, {self.throughput:.0f} a second, slowest {self.slowest:.2f} s, {self.killed} backends killed"


def run(framework: str, program: str, engine: Engine, folder: Path, requests: int, kill: bool = True) -> Figures:
    """
    Serve `create_app()` of a program in which `URL` is the database, order `requests` times one, and check what is there then.

    The tables `article` and `orders` on `engine` are those of the examples.
    """
    port = free_port()
    engine.execute("delete from orders")
    engine.execute("update article set stock = ?", (requests // 2 - 10,))
    (folder / "loaded_shop.py").write_text(f'import os\n\nURL = os.environ["DATABASE_URL"]\n{program}')
    python = [sys.executable, "-W", "ignore", "-m"]
    command = {
        "flask": [*python, "gunicorn", "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{port}", "loaded_shop:create_app()"],
        "fastapi": [*python, "uvicorn", "--factory", "--workers", "2", "--port", str(port), "--log-level", "warning", "loaded_shop:create_app"],
    }[framework]  # fmt: skip
    env = {**os.environ, "DATABASE_URL": str(engine.url), "PYTHONPATH": f"{ROOT}:{folder}"}
    log = (folder / "log").open("w")
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    answers: list[tuple[int, str, float]] = []
    try:
        _until_up(port)
        clients = [threading.Thread(target=_order, args=(port, requests // CLIENTS, answers)) for _ in range(CLIENTS)]
        begun, killed = time.monotonic(), 0
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            time.sleep(0.1)
            killed += engine.execute(KILL).rowcount if kill else 0
        for client in clients:
            client.join()
        spent = time.monotonic() - begun
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()
    _check(engine, answers, requests, (folder / "log").read_text()[-3000:])
    counts = Counter(status for status, _, _ in answers)
    return Figures(dict(sorted(counts.items())), len(answers) / spent, max(took for *_, took in answers), killed)


def _check(engine: Engine, answers: list[tuple[int, str, float]], requests: int, log: str) -> None:
    answered = [ident for status, ident, _ in answers if status == 201]
    kept = set(engine.execute("select id from orders").scalars())
    stock = engine.execute("select min(stock), sum(stock) from article").one()
    idle = engine.execute("select count(*) from pg_stat_activity where state like 'idle in transaction%'").scalar()
    ordered = engine.execute("select coalesce(sum(quantity), 0) from orders").scalar()
    assert len(answers) == requests // CLIENTS * CLIENTS
    assert {status for status, _, _ in answers} <= {201, 409, 500, 503}, log
    assert len(answered) > requests // 2, log
    assert set(answered) <= kept
    assert stock[0] >= 0
    assert stock[1] + ordered == 2 * (requests // 2 - 10)
    assert idle == 0


def _until_up(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _order(port: int, count: int, answers: list[tuple[int, str, float]]) -> None:
    for number in range(count):
        data = json.dumps({"article": ("tea", "coffee")[number % 2], "quantity": 1}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/orders", data, {"Content-Type": "application/json"}, method="POST"
        )
        started = time.monotonic()
        try:
            with urllib.request.urlopen(asked, timeout=60) as found:
                answers.append((found.status, json.loads(found.read())["id"], time.monotonic() - started))
        except urllib.error.HTTPError as exc:
            exc.close()
            answers.append((exc.code, "", time.monotonic() - started))
