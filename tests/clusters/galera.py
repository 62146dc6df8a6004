"""Three MariaDB servers in a Galera cluster, all on this machine."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

from sessionkit import create_engine
from sessionkit.testing import servers

PROVIDER = "/usr/lib/galera/libgalera_smm.so"
READY = 90.0
"""Seconds that the cluster may take to be whole."""


class Galera:
    """
    A cluster of `nodes` servers. `url` names all of them, `urls` each.

    Debian's packages mariadb-server, galera-4 and rsync. It is whole after some ten seconds.
    """

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        if not (Path(PROVIDER).exists() and Path("/usr/sbin/mariadbd").exists()) or shutil.which("rsync") is None:
            raise servers.Unavailable("there is no Galera: apt-get install mariadb-server galera-4 rsync")
        self.folder = folder
        self._user = servers._unprivileged("mysql")
        servers._own(folder, self._user)
        self._ports = [[servers.free_port() for _ in range(4)] for _ in range(nodes)]  # clients, group, IST, SST
        self._make_template()
        self.nodes = [self._node(number) for number in range(nodes)]
        for number, node in enumerate(self.nodes):
            self._begin(node, first=number == 0)
            self.wait(number + 1)
        with create_engine(self.urls[0].replace("/test", "/")) as engine:
            engine.execute("create database if not exists test")

    @property
    def urls(self) -> list[str]:
        """A URL for each node."""
        return [f"mysql://root@127.0.0.1:{ports[0]}/test" for ports in self._ports]

    @property
    def url(self) -> str:
        """One for all of them."""
        return f"mysql://root@{','.join(f'127.0.0.1:{ports[0]}' for ports in self._ports)}/test"

    def _make_template(self) -> None:
        install = [
            "/usr/bin/mariadb-install-db", "--no-defaults",
            f"--datadir={self.folder}/template", "--auth-root-authentication-method=normal", "--skip-test-db",
            "--skip-name-resolve", "--innodb-log-file-size=8M",
        ]  # fmt: skip
        servers._run(install, self._user, servers._environment())

    def _node(self, number: int) -> servers.Server:
        folder = self.folder / f"n{number}"
        servers._run(["cp", "-a", f"{self.folder}/template", str(folder)], self._user, servers._environment())
        client, group, ist, sst = self._ports[number]
        provider = (
            f"base_host=127.0.0.1;base_port={group};gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{ist};"
            "gcache.size=16M;pc.recovery=no"
        )
        others = ",".join(f"127.0.0.1:{ports[1]}" for ports in self._ports)
        command = [
            "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={folder}", f"--port={client}", "--bind-address=127.0.0.1",
            f"--socket={folder}/s", f"--pid-file={folder}/pid", "--skip-name-resolve", "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF", "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", f"--wsrep-provider={PROVIDER}", "--wsrep-cluster-name=sk",
            f"--wsrep-cluster-address=gcomm://{others}", "--wsrep-node-address=127.0.0.1", f"--wsrep-node-name=n{number}",
            f"--wsrep-provider-options={provider}", "--wsrep-sst-method=rsync", f"--wsrep-sst-receive-address=127.0.0.1:{sst}",
        ]  # fmt: skip
        url = f"mysql://root@127.0.0.1:{client}/"
        return servers.Server(command, url, client, self._user, servers._environment(), self.folder / f"n{number}.log")

    def _begin(self, node: servers.Server, first: bool) -> None:
        command = node.command
        if first:
            node.command = [
                "--wsrep-cluster-address=gcomm://" if part.startswith("--wsrep-cluster-address") else part
                for part in command
            ] + ["--wsrep-new-cluster"]
        try:
            node.start()
        finally:
            node.command = command

    def size(self, number: int) -> int:
        """Return how many nodes the cluster has, as a synced node sees it; 0 from one that is not."""
        node = self.nodes[number]
        try:
            conn: Any = servers.connect(node.url)
        except Exception:
            return 0
        with conn, conn.cursor() as cursor:
            cursor.execute(
                "show status where variable_name in ('wsrep_local_state_comment', 'wsrep_cluster_size', 'wsrep_ready')"
            )
            state = dict(cursor.fetchall())
        is_synced = state.get("wsrep_local_state_comment") == "Synced" and state.get("wsrep_ready") == "ON"
        return int(state["wsrep_cluster_size"]) if is_synced else 0

    def wait(self, size: int | None = None) -> None:
        """Wait until so many nodes (None: all) are in the cluster and synced."""
        wanted = size or len(self.nodes)
        deadline = time.monotonic() + READY
        while sum(self.size(number) == wanted for number in range(len(self.nodes))) < wanted:
            if time.monotonic() > deadline:
                logs = [path.read_text(errors="replace")[-800:] for path in sorted(self.folder.glob("*.log"))]
                raise servers.Unavailable(f"the cluster is not whole after {READY:.0f} s: {logs}")
            time.sleep(0.1)

    def kill(self, number: int) -> None:
        """Let a node crash."""
        self.nodes[number].stop(signal.SIGKILL)

    def start(self, number: int) -> None:
        """Start a node that is gone; it comes back when the others have brought it up to date."""
        self.nodes[number].start()

    def stop(self) -> None:
        """Stop all of it."""
        for node in self.nodes:
            node.stop(signal.SIGKILL)
