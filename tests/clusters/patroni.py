"""Three PostgreSQL servers under Patroni with one etcd, all on this machine."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sessionkit.testing import servers

TTL = 20
"""Seconds after which a leader that says nothing is taken for dead: the least that Patroni takes."""
READY = 90.0
"""Seconds that the cluster may take to be whole."""

CONFIGURATION = """
scope: sk
name: n{number}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
etcd3: {{host: "127.0.0.1:{etcd}"}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 60, hot_standby: "on", max_wal_senders: 10, fsync: "off", wal_log_hints: "on"}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust", "local all all trust"]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/n{number}
  bin_dir: {binaries}
  pgpass: {folder}/pgpass{number}
  authentication:
    superuser: {{username: postgres, password: x}}
    replication: {{username: rep, password: x}}
    rewind: {{username: rew, password: x}}
  parameters: {{unix_socket_directories: "{folder}"}}
"""


class Patroni:
    """
    A cluster of `nodes` servers, of which one takes writes and one follows it synchronously. `ports` are those of the servers.

    Debian's packages patroni, etcd-server and postgresql. It is whole after some six seconds.
    """

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        if not found or not (shutil.which("patroni") and shutil.which("etcd")):
            raise servers.Unavailable("there is no Patroni: apt-get install patroni etcd-server postgresql")
        self.folder, self._binaries = folder, found[-1]
        self._user = servers._unprivileged("postgres")
        servers._own(folder, self._user)
        self._env = {**servers._environment(), "HOME": str(folder), "PATH": os.environ["PATH"]}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._etcd, peer = servers.free_port(), servers.free_port()
        clients, peers = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{peer}"
        self._spawn(
            "etcd", "etcd", "--data-dir", f"{folder}/etcd", "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
        )  # fmt: skip
        time.sleep(1)
        self.ports = [servers.free_port() for _ in range(nodes)]
        self._rests = [servers.free_port() for _ in range(nodes)]
        self._agents = [self._start(number) for number in range(nodes)]
        self.wait()

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        start: Any = subprocess.Popen
        with Path(self.folder, f"{name}.log").open("ab") as log:
            process: subprocess.Popen[bytes] = start(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env, cwd=self.folder,
                start_new_session=True, **servers._as(self._user),
            )  # fmt: skip
        self._processes.append(process)
        return process

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        path = Path(self.folder, f"n{number}.yml")
        path.write_text(
            CONFIGURATION.format(
                number=number,
                rest=self._rests[number],
                etcd=self._etcd,
                ttl=TTL,
                port=self.ports[number],
                folder=self.folder,
                binaries=self._binaries,
            )
        )
        path.chmod(0o644)
        return self._spawn(f"n{number}", "patroni", str(path))

    def url(self, ports: list[int] | None = None) -> str:
        """Return a URL of all servers, or of what stands at these ports before them."""
        places = ",".join(f"127.0.0.1:{port}" for port in ports or self.ports)
        return f"postgresql://postgres@{places}/postgres"

    def _ask(self, number: int, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the agent of a node; nothing where it does not answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._rests[number]}/{path}",
            data=None if data is None else json.dumps(data).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            body = urllib.request.urlopen(request, timeout=30 if data else 1).read()
        except urllib.error.HTTPError as exc:
            body = exc.read()
        except OSError:
            return {}
        try:
            found: dict[str, Any] = json.loads(body)
        except ValueError:
            return {"text": body.decode()}
        return found

    def states(self) -> list[tuple[Any, Any]]:
        """Return role and state of each node; None and None where nobody answers."""
        found = [self._ask(number, "patroni") for number in range(len(self.ports))]
        return [(one.get("role"), one.get("state")) for one in found]

    def leader(self) -> int | None:
        """Return the node that takes writes, if there is one."""
        roles = [role for role, _ in self.states()]
        return next((number for number, role in enumerate(roles) if role in ("master", "primary")), None)

    def _has_synchronous(self) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        followers = self._ask(leader, "patroni").get("replication", [])
        return any(one.get("sync_state") == "sync" for one in followers)

    def wait(self) -> None:
        """Wait until every node runs, one leads, and one follows synchronously."""
        deadline = time.monotonic() + READY
        while not (all(state in ("running", "streaming") for _, state in self.states()) and self._has_synchronous()):
            if time.monotonic() > deadline:
                log = Path(self.folder, "n0.log").read_text(errors="replace")[-1500:]
                raise servers.Unavailable(f"the cluster is not whole after {READY:.0f} s: {self.states()} {log}")
            time.sleep(0.3)

    def _postmaster(self, number: int) -> int:
        return int(Path(self.folder, f"n{number}", "postmaster.pid").read_text().splitlines()[0])

    def kill(self, number: int) -> None:
        """Let a node be gone as a machine is: its agent and its server at once."""
        agent = self._agents[number]
        os.killpg(agent.pid, signal.SIGKILL)
        os.kill(self._postmaster(number), signal.SIGKILL)
        agent.wait()

    def start(self, number: int) -> None:
        """Start a node that is gone."""
        self._agents[number] = self._start(number)

    def switch_over(self) -> None:
        """Let another node lead, in good order."""
        leader = self.leader()
        assert leader is not None
        synchronous = next(
            one["application_name"]
            for one in self._ask(leader, "patroni")["replication"]
            if one["sync_state"] == "sync"
        )
        self._ask(leader, "switchover", {"leader": f"n{leader}", "candidate": synchronous})

    def stop(self) -> None:
        """Stop all of it."""
        for number, agent in enumerate(self._agents):
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)
            try:
                os.kill(self._postmaster(number), signal.SIGQUIT)
            except (OSError, ValueError, IndexError):  # it is gone
                pass
        time.sleep(1)
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
