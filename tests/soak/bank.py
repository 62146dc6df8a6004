"""Money is moved while everything fails: servers restarted, backends killed, wires cut, clients killed, threads interrupted.

`run()` is the whole of it. The clients are processes of their own (`python -m tests.soak.bank …`), each with eight threads; what
they are told they append to a log, line by line, so that a client that is killed loses nothing of what it was told.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sessionkit import CommitUnknownError, create_engine, errors
from sessionkit.retry.policy import Retry
from sessionkit.testing.proxy import Proxy, is_commit

from .checker import DONE, FAILED, UNKNOWN, History, Transfer, anomalies

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionkit import Engine, Session

ACCOUNTS = 20
START = 1000
THREADS = 8


class Interrupt(BaseException):
    """What the signal handler raises."""


# -- a client


def move(session: Session, id: str, source: int, target: int, amount: int) -> None:
    """Move money, and write it into the ledger."""
    session.execute("update account set balance = balance - :a where id = :i", {"a": amount, "i": source})
    session.execute("update account set balance = balance + :a where id = :i", {"a": amount, "i": target})
    session.execute(
        "insert into ledger (id, source, target, amount) values (:id, :s, :t, :a)",
        {"id": id, "s": source, "t": target, "a": amount},
    )


class Client:
    """Eight threads that move money and tell what they were told; the main one among them is interrupted by signals."""

    def __init__(self, url: str, log: str, resolve: bool, seed: int, pipeline: bool) -> None:
        options: dict[str, Any] = {} if url.startswith("sqlite") else {"connect_timeout": 2}
        if url.startswith("postgresql"):
            options["on_connect"] = "set deadlock_timeout = '20ms'"  # a second is long where deadlocks are the rule
        self.engine = create_engine(url, pool_size=4, pool_timeout=5, statement_timeout=3, **options)
        self.resolve = resolve
        self.pipeline = pipeline
        self.seed = seed
        self.stopping = threading.Event()
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(self, word: str, what: object) -> None:
        """Append a line, at once and whole."""
        os.write(self._log, f"{word} {what}\n".encode())

    def work(self, dice: random.Random) -> None:
        """Move money once, or read the total."""
        try:
            if dice.random() < 0.1:
                self.tell("total", self.engine.execute("select sum(balance) from account").scalar())
                return
        except errors.Error:
            return
        id = str(uuid4())
        source, target = dice.sample(range(ACCOUNTS), 2)
        self.tell("begin", id)
        try:
            self.engine.run(
                move, id, source, target, dice.randint(1, 9), retry=Retry(50, 60.0, cap=0.2), resolve=self.resolve, pipeline=self.pipeline,
            )  # fmt: skip
        except CommitUnknownError:
            self.tell(UNKNOWN, id)
        except errors.Error:
            self.tell(FAILED, id)
        except Interrupt:
            self.tell("interrupted", id)
            raise
        else:
            self.tell(DONE, id)

    def thread(self, number: int) -> None:
        """Work until told to stop."""
        dice = random.Random(self.seed * 100 + number)
        while not self.stopping.is_set():
            self.work(dice)

    def run(self) -> None:
        """Run all threads, until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())
        signal.signal(signal.SIGALRM, self._interrupt)
        threads = [threading.Thread(target=self.thread, args=(number,)) for number in range(1, THREADS)]
        for thread in threads:
            thread.start()
        dice = random.Random(self.seed)
        while not self.stopping.is_set():
            signal.setitimer(signal.ITIMER_REAL, dice.random() * 0.05)
            try:
                self.work(dice)
            except Interrupt:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
        for thread in threads:
            thread.join()

    def _interrupt(self, number: int, frame: Any) -> None:
        while frame is not None and frame.f_code is not self.engine.run.__func__.__code__:  # type: ignore[attr-defined]
            frame = frame.f_back
        if frame is not None:  # elsewhere it would hit this harness
            raise Interrupt


# -- the world


class World:
    """A database, the wire to it, the clients, and what is done to them."""

    def __init__(
        self, kind: str, url: str, server: Any, folder: Path, resolve: bool, seed: int, pipeline: bool
    ) -> None:
        self.kind, self.url, self.server = kind, url, server
        self.folder, self.resolve, self.pipeline = folder, resolve, pipeline
        self.dice = random.Random(seed)
        self.proxy = Proxy(server.port) if server is not None else None
        self.clients: list[subprocess.Popen[bytes]] = []
        self.started = 0
        self.disturbed: dict[str, int] = {}
        self._fate: dict[int, str] = {}

    def prepare(self) -> None:
        """Make the tables, and one account each."""
        with create_engine(self.url) as engine:
            engine.execute("drop table if exists ledger")
            engine.execute("drop table if exists account")
            engine.execute("create table account (id integer primary key, balance integer not null)")
            engine.execute(
                "create table ledger (id varchar(36) not null, source integer not null, target integer not null, amount integer not null)"
            )
            engine.execute("create index ledger_id on ledger (id)")
            with engine.begin() as session:
                session.executemany("insert into account values (?, ?)", [(n, START) for n in range(ACCOUNTS)])

    def start_client(self) -> None:
        """Start a client, which goes through the proxy."""
        url = self.url
        if self.proxy is not None:
            url = url.replace(f":{self.server.port}/", f":{self.proxy.port}/")
        self.started += 1
        log = str(self.folder / f"client{self.started}.log")
        self.clients.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "tests.soak.bank",
                    url,
                    log,
                    str(int(self.resolve)),
                    str(self.started),
                    str(int(self.pipeline)),
                ],
                cwd=Path(__file__).parents[2],
            )
        )

    # -- disturbances

    def kill_client(self) -> None:
        """SIGKILL a client, and start another."""
        client = self.clients.pop(0)
        client.kill()
        client.wait()
        self.start_client()

    def kill_backends(self) -> None:
        """End some of the server's sessions, whatever they are doing."""
        try:
            conn = self.server.connect()
        except Exception:  # it is being restarted
            return
        try:
            cursor = conn.cursor()
            if self.kind == "postgres":
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5"
                )
            else:
                cursor.execute(
                    "select id from information_schema.processlist where id <> connection_id() and user = 'root'"
                )
                for (number,) in cursor.fetchall():
                    if self.dice.random() < 0.5:
                        try:
                            cursor.execute(f"kill {number}")
                        except Exception:  # it has ended by itself
                            pass
        finally:
            conn.close()

    def restart_fast(self) -> None:
        """Restart the server in good order."""
        self.server.restart()

    def restart_immediately(self) -> None:
        """Restart the server after a crash: SIGQUIT for PostgreSQL, SIGKILL for MariaDB."""
        self.server.restart(signal.SIGQUIT if self.kind == "postgres" else signal.SIGKILL)

    def cut_wires(self) -> None:
        """Cut every connection."""
        assert self.proxy is not None
        self.proxy.cut()

    def cut_commits(self, share: float) -> None:
        """From now on cut this share of the COMMITs, half of them before the server gets it and half before its answer comes."""
        assert self.proxy is not None
        waiting: list[str] = []
        dice = random.Random(7)

        def on_sent(data: bytes) -> bool:
            if is_commit(data) and dice.random() < share:
                if dice.random() < 0.5:
                    return False
                waiting.append("after")
            return True

        def on_answer(data: bytes) -> bool:
            return not (waiting and waiting.pop())

        self.proxy.on_sent, self.proxy.on_answer = on_sent, on_answer

    def disturb(self) -> None:
        """Do one of these."""
        ways: list[tuple[float, Callable[[], None]]] = [(1.0, self.kill_client)]
        if self.server is not None:
            ways += [
                (4.0, self.kill_backends),
                (4.0, self.cut_wires),
                (0.3, self.restart_fast),
                (0.3, self.restart_immediately),
            ]
        chosen = self.dice.choices([way for _, way in ways], [weight for weight, _ in ways])[0]
        self.disturbed[chosen.__name__] = self.disturbed.get(chosen.__name__, 0) + 1
        chosen()

    # -- the end

    def history(self) -> History:
        """Return what all clients were told."""
        found = History()
        for log in self.folder.glob("client*.log"):
            for line in log.read_text().splitlines():
                found.add(line)
        return found

    def transfers(self) -> int:
        """Return how many transfers were reported done so far."""
        return sum(log.read_text().count("done ") for log in self.folder.glob("client*.log"))

    def stop(self) -> None:
        """Let the clients end in peace."""
        if self.proxy is not None:
            self.proxy.on_sent = self.proxy.on_answer = lambda data: True
        for client in self.clients:
            client.terminate()
        for client in self.clients:
            client.wait(90)

    def check(self) -> list[str]:
        """Return what is wrong."""
        with create_engine(self.url) as engine:
            self._wait_for_the_dead(engine)
            ledger = [
                Transfer(*row) for row in engine.execute("select id, source, target, amount from ledger").tuples()
            ]
            balances = dict(engine.execute("select id, balance from account").tuples())
        return anomalies(self.history(), ledger, balances, START, self.resolve)

    def _wait_for_the_dead(self, engine: Engine) -> None:
        """Wait until the server has noticed that the killed clients are gone, and undone their work."""
        if self.kind == "postgres":
            sql = "select count(*) from pg_stat_activity where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend'"
        elif self.kind == "mariadb":
            sql = "select count(*) from information_schema.innodb_trx where trx_mysql_thread_id <> connection_id()"
        else:
            return
        deadline = time.monotonic() + 20
        while engine.execute(sql).scalar() and time.monotonic() < deadline:
            time.sleep(0.2)  # looks again until a deadline


def run(
    kind: str,
    url: str,
    server: Any,
    folder: Path,
    *,
    seconds: float = 0,
    transfers: int = 0,
    resolve: bool = True,
    seed: int = 1,
    pipeline: bool = False,
) -> World:
    """
    Let the bank work for so long, or until so many transfers are done, while everything fails; return what was seen.

    Raises:
        AssertionError: an anomaly was found.
    """
    world = World(kind, url, server, folder, resolve, seed, pipeline)
    world.prepare()
    try:
        world.start_client()
        if server is not None:
            world.cut_commits(0.02)
        until = time.monotonic() + (seconds or 3600)
        while time.monotonic() < until and not (transfers and world.transfers() >= transfers):
            time.sleep(world.dice.random() * 2.0)  # work between two disturbances
            world.disturb()
        world.stop()
        found = world.check()
        assert found == [], f"{len(found)} anomalies: {found[:5]}"
    finally:
        for client in world.clients:
            client.kill()
        if world.proxy is not None:
            world.proxy.close()
    return world


if __name__ == "__main__":
    logging.disable()
    sys.unraisablehook = lambda told: None  # an interrupt in a finaliser, which Python swallows
    Client(sys.argv[1], sys.argv[2], sys.argv[3] == "1", int(sys.argv[4]), sys.argv[5] == "1").run()
