"""`python -m tests.pyodide [pytest's arguments]`: needs Node with npm, and fetches Pyodide (14 MB) into a cache folder once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sessionkit" / "pyodide"
PYODIDE = "314.0.7"
NEEDS = ["pytest>=8", "pytest-timeout>=2.3", "hypothesis<6.100"]
"""Wheels without compiled parts."""
FILES = ["template", "params", "url", "objects", "transaction", "bulk", "values", "playground"]
# there are no other threads or processes in WebAssembly, no clock that interrupts, and no numpy here
LEFT_OUT = "not postgres and not mariadb and not random and not table_of_values and not limit_holds and not bytecodes and not with_a_zone"


def package() -> Path:
    """Return the folder of the npm package, fetched if need be."""
    npm, found = shutil.which("npm"), CACHE / "node_modules" / "pyodide"
    if npm is None:
        sys.exit("Node with npm is needed: apt-get install nodejs npm, or a package of your system")
    if not found.exists() or PYODIDE not in (found / "package.json").read_text():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--prefix", CACHE, f"pyodide@{PYODIDE}"], check=True, cwd=CACHE
        )
    return found


def main() -> int:
    """Fetch what is needed, and run the tests."""
    node = shutil.which("node")
    if node is None:
        sys.exit("Node with npm is needed: apt-get install nodejs npm, or a package of your system")
    site = CACHE / "site"
    if not site.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", site, *NEEDS], check=True)
    wanted = sys.argv[1:] or [*(f"tests/test_{name}.py" for name in FILES), "-k", LEFT_OUT]
    command = [
        node,
        Path(__file__).parent / "run.mjs",
        package(),
        site,
        ROOT,
        "-p",
        "no:cacheprovider",
        "-q",
        "-o",
        "timeout=0",
    ]
    return subprocess.run([*command, *wanted], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
