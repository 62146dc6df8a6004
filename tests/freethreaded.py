"""Run the tests on free-threaded CPython, the GIL off: on one that is there, else on one built from the sources that Debian has.

`python -m tests.freethreaded [pytest's arguments]`. An interpreter is `SESSIONKIT_FREE_THREADED`, or `python3.14t` or `python3.13t` on
the PATH. Building takes some minutes, a compiler and Debian's libssl-dev, libffi-dev, libsqlite3-dev and zlib1g-dev; it is done once,
in a cache folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sessionkit" / "free-threaded"
SOURCE = "python3.13"
SUITES = ("trixie", "sid")
NEEDS = [
    "psycopg>=3.2",
    "PyMySQL>=1.2.4",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis<6.100",
    "pg8000>=1.31",
    "gunicorn>=22",
    "numpy>=2.1",
    "anyio>=4.6",
    "trio>=0.26",
]
"""psycopg as pure Python, and a hypothesis that needs no compiler for Rust."""
NOT_THERE = (
    "tests/test_clients.py",
    "tests/test_libraries.py",
    "tests/test_gevent.py",
    "tests/test_readme.py",
    "tests/test_web.py",
    "tests/test_shops.py",
    "tests/test_otel.py",
    "tests/test_scale.py",
    "tests/typing",
)
"""What needs libraries that have no wheels for it, or is about the project and not about threads."""
CHECK = "import sys, sysconfig; sys.exit(not sysconfig.get_config_var('Py_GIL_DISABLED'))"


def main() -> int:
    """Find or build an interpreter, make an environment for it, run the tests."""
    python = environment(interpreter())
    has_gil = "import sys; assert not sys._is_gil_enabled(); print(sys.version)"
    subprocess.run([python, "-X", "gil=0", "-c", has_gil], check=True)
    wanted = sys.argv[1:] or ["tests", *(f"--ignore={path}" for path in NOT_THERE)]
    command = [python, "-X", "gil=0", "-m", "pytest", "-p", "no:cacheprovider", *wanted]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHON_GIL": "0"}, check=False).returncode


def interpreter() -> str:
    """Return the path of a free-threaded interpreter."""
    named = os.environ.get("SESSIONKIT_FREE_THREADED")
    built = CACHE / "bin" / "python3.13t"
    for name in (named, "python3.14t", "python3.13t", str(built)):
        found = shutil.which(name) if name else None
        if found and subprocess.run([found, "-c", CHECK], check=False).returncode == 0:
            return found
    if named:
        sys.exit(f"{named} is no free-threaded Python")
    return build(built)


def build(target: Path) -> str:
    """Build CPython with --disable-gil from Debian's sources, into the cache."""
    for tool in ("apt-get", "gcc", "make"):
        if shutil.which(tool) is None:
            sys.exit(
                f"no free-threaded Python is there, and {tool} is needed to build one; name one by SESSIONKIT_FREE_THREADED"
            )
    sources = CACHE / "source"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    with tarfile.open(download(sources)) as archive:
        archive.extractall(sources, filter="tar")
    folder = next(path for path in sources.iterdir() if (path / "configure").exists())
    jobs = f"-j{os.cpu_count() or 1}"
    for command in (
        ["./configure", "--disable-gil", f"--prefix={CACHE}", "--with-ensurepip=install", "-q"],
        ["make", "-s", jobs],
        ["make", "-s", "install"],
    ):
        print("free-threaded:", *command, flush=True)
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(sources)
    return str(target)


def download(folder: Path) -> Path:
    """Return the archive of the newest sources that can be had, by an apt of our own that leaves the system's alone."""
    apt = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = [f"deb-src [signed-by={keyring}] http://deb.debian.org/debian {suite} main\n" for suite in SUITES]
    (apt / "sources.list").write_text("".join(lines))
    options = [
        "-o", f"Dir::Etc::SourceList={apt}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::State::Lists={apt}/lists",
        "-o", f"Dir::Cache={apt}", "-o", f"Dir::Cache::archives={apt}/archives", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    subprocess.run(["apt-get", *options, "-qq", "update"], check=True)
    listed = subprocess.run(
        ["apt-cache", *options, "showsrc", SOURCE], check=True, capture_output=True, text=True
    ).stdout
    versions = [line.split()[1] for line in listed.splitlines() if line.startswith("Version:")]
    for version in sorted(set(versions), reverse=True):
        fetched = subprocess.run(
            ["apt-get", *options, "-qq", "source", "--download-only", f"{SOURCE}={version}"], cwd=folder, check=False
        )
        found = sorted(folder.glob("*.orig.tar.*z*"))
        if fetched.returncode == 0 and found:
            return next(path for path in found if path.suffix != ".asc")
    sys.exit(f"no sources of {SOURCE} can be had from {', '.join(SUITES)}")


def environment(python: str) -> str:
    """Return the interpreter of a virtual environment with what the tests need."""
    folder = CACHE / "environment"
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([inside, "-m", "pip", "install", "-q", *NEEDS], check=True)
    return str(inside)


if __name__ == "__main__":
    sys.exit(main())
