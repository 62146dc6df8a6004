"""PgBouncer in transaction mode before a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from sessionkit.testing import servers

if TYPE_CHECKING:
    from pathlib import Path


def start_pgbouncer(folder: Path, places: str, pool_size: int = 2, database: str = "postgres") -> servers.Server:
    """
    Start PgBouncer before the server at `places` (`host=… port=…`), with `pool_size` connections to it; return it running.

    SESSIONKIT_PGBOUNCER names another binary than the one on the PATH.
    """
    binary = os.environ.get("SESSIONKIT_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        raise servers.Unavailable("pgbouncer is not installed: apt-get install pgbouncer")
    user, port = servers._unprivileged("postgres"), servers.free_port()
    servers._own(folder, user)
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = {places} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 500\n"
        "server_login_retry = 1\nlog_connections = 0\nlog_disconnections = 0\n"
    )
    server = servers.Server(
        [binary, str(folder / "pgbouncer.ini")], f"postgresql://postgres@127.0.0.1:{port}/{database}", port,
        user, servers._environment(), folder / "pgbouncer.log",
    )  # fmt: skip
    server.start()
    return server
