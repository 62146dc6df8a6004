"""`load` against a script written by hand, on the flights of 2013: seconds and memory."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[2]
SLICE = ROOT / "examples" / "data" / "flights.csv"
REPEATED = 225  # times the slice, which is as long as the full file

BY_HAND = """
import csv, sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("pragma journal_mode = wal")
with open(sys.argv[2], newline="", encoding="utf-8") as file:
    reader = csv.reader(file)
    header = next(reader)
    conn.execute(f"create table flights ({', '.join(f'{name} {kind}' for name, kind in zip(header, sys.argv[3].split(',')))})")
    conn.execute("begin")
    insert = f"insert into flights values ({', '.join('?' * len(header))})"
    conn.executemany(insert, ([None if value == "NA" else value for value in row] for row in reader))
    conn.execute("commit")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
OURS = """
import sys
from sessionkit.cli import main
code = main(["load", "sqlite:///" + sys.argv[1], "flights", sys.argv[2], "--null", "NA", *sys.argv[3:]])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def measure(data: Path | None, rounds: int = 5) -> dict[str, object]:
    """Return seconds (the best of `rounds`, candidates in turn) and MiB of: by hand, load, load --create, load of a tenth."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        full, tenth = Path(folder, "flights.csv"), Path(folder, "tenth.csv")
        rows = _write(full, data)
        lines = full.read_text(encoding="utf-8").splitlines(keepends=True)
        tenth.write_text("".join(lines[: len(lines) // 10]), encoding="utf-8")
        del lines
        schema = _schema(Path(folder), full)
        kinds = ",".join(kind for _, kind in schema)
        found: dict[str, list[tuple[float, int]]] = {}
        for _ in range(rounds):
            for name, program, arguments, file in (
                ("by hand: csv + executemany", BY_HAND, [kinds], full),
                ("load, into a table that is there", OURS, [], full),
                ("load --create", OURS, ["--create"], full),
                ("load, a tenth of the file", OURS, [], tenth),
            ):
                path = Path(folder, "x.db")
                if program is OURS and not arguments:
                    conn = sqlite3.connect(path)
                    conn.execute(f"create table flights ({', '.join(f'{column} {kind}' for column, kind in schema)})")
                    conn.close()
                found.setdefault(name, []).append(_run(program, path, file, arguments))
        best = {name: min(times) for name, times in found.items()}
    base = best["by hand: csv + executemany"][0]
    print(f"{rows} rows into SQLite")
    for name, (seconds, kib) in best.items():
        print(f"  {name:36} {seconds:8.2f} s  {seconds / base:6.2f} ×  {kib // 1024:5} MiB")
    return {name: {"seconds": seconds, "mib": kib / 1024} for name, (seconds, kib) in best.items()}


def _write(target: Path, data: Path | None) -> int:
    """Write the full file: from the package's archive, or the slice again and again."""
    if data is None:
        header, *lines = SLICE.read_text(encoding="utf-8").splitlines(keepends=True)
        target.write_text(header + "".join(lines) * REPEATED, encoding="utf-8")
        return len(lines) * REPEATED
    import zipfile

    with tarfile.open(data) as archive:
        member = next(m for m in archive if m.name.endswith("/flights.csv.zip"))
        raw = archive.extractfile(member)
        assert raw is not None
        inner = zipfile.ZipFile(io.BytesIO(raw.read()))
        target.write_bytes(inner.read(inner.namelist()[0]))
    with target.open(newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _schema(folder: Path, file: Path) -> list[tuple[str, str]]:
    """Return the columns that --create makes, so that all candidates fill the same table."""
    path = folder / "schema.db"
    _run(OURS, path, file, ["--create"], keep=True)
    conn = sqlite3.connect(path)
    found = [(row[1], row[2]) for row in conn.execute("pragma table_info(flights)")]
    conn.close()
    return found


def _run(program: str, path: Path, file: Path, arguments: list[str], keep: bool = False) -> tuple[float, int]:
    """Run a candidate in a process of its own; return its seconds and its memory in KiB."""
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(file), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    took = perf_counter() - started
    if not keep:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    return took, int(done.stdout.splitlines()[-1])
