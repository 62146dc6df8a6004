"""`python -m tests.losses [--markdown]`: every trap for every peer, each in a process of its own, as a table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sessionkit.testing import servers

from .peers import PEERS, Peer
from .traps import TRAPS, Trap, World


def judge(trap: Trap, said: str, ids: list[int], expected: list[int] | None) -> str:
    """
    Return one word: `right`, `lost` (it was told that all is well, and it is not), `wrong` (told that it failed, and it is there).

    A commit whose answer was cut is right when it was told as unknown, and only told as failed it is wrong.
    """
    if said == "hung":
        return "hung"
    if said == "well":
        return "right" if ids == expected or ids in trap.well else "LOST"
    if "Unknown" in said:
        return "right"
    return "right" if ids in trap.failed else "WRONG"


def one(trap: Trap, cls: type[Peer], url: str) -> dict[str, Any]:
    """Run one trap for one peer, in this process; the server is another's, which restarts it when it is asked to on stdin."""
    world = World(trap.kind, url, None if trap.kind == "sqlite" else Restarter(url))
    peer = cls(trap.kind, url)
    told: str | None = None
    try:
        told = trap.run(peer, world)
        said = "well"
    except ZeroDivisionError:
        said = "its own error"
    except BaseException as exc:
        said = type(exc).__name__
    return {"said": said, "told": told, "ids": world.ids(), "expected": world.expected}


class Restarter:
    """The server as seen from another process."""

    def __init__(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2].partition("/")[0])

    def restart(self) -> None:
        """Ask the parent to restart it, and wait until it has."""
        print("restart", flush=True)
        sys.stdin.readline()


def ask(trap: Trap, cls: type[Peer], url: str, server: Any) -> tuple[str, str]:
    """Run one trap for one peer in a process of its own; return what to write into the table, and the verdict."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.losses", "--one", str(TRAPS.index(trap)), cls.__name__, url]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        if trap.run.__name__.startswith("restart") and child.stdout.readline().strip() == "restart":
            server.restart()
            child.stdin.write("done\n")
            child.stdin.flush()
        out, err = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return "hung", "HUNG"
    if child.returncode != 0 or not out.strip():
        return f"could not be asked: {err.strip().splitlines()[-1] if err.strip() else child.returncode}", "?"
    found = json.loads(out.strip().splitlines()[-1])
    if found["told"] is not None:
        return found["told"], ""
    held = ", ".join(map(str, found["ids"][:4])) + (" …" if len(found["ids"]) > 4 else "")
    verdict = judge(trap, found["said"], found["ids"], found["expected"])
    said = "all is well" if found["said"] == "well" else found["said"]
    return f"{said}; {held or 'nothing'}", verdict


def table(markdown: bool) -> None:
    """Ask everybody, and print."""
    started: dict[str, Any] = {}
    names = [cls.name for cls in PEERS]
    if markdown:
        print("| trap |", " | ".join(names), "|\n|---|" + "---|" * len(names))
    for trap in TRAPS:
        cells = []
        for cls in PEERS:
            if trap.kind not in cls.kinds:
                cells.append("–")
                continue
            if trap.kind == "sqlite":
                with tempfile.TemporaryDirectory() as folder:
                    told, verdict = ask(trap, cls, f"sqlite:///{folder}/t.db", None)
            else:
                if trap.kind not in started:
                    start = servers.start_postgres if trap.kind == "postgres" else servers.start_mariadb
                    started[trap.kind] = start(servers.make_folder())
                told, verdict = ask(trap, cls, started[trap.kind].url, started[trap.kind])
            cells.append(f"**{verdict.lower()}**: {told}" if verdict.isupper() else told)
            if not markdown:
                print(f"{trap.name:32} {cls.name:14} {verdict:6} {told}", flush=True)
        if markdown:
            print(f"| {trap.name} |", " | ".join(cells), "|", flush=True)
    for server in started.values():
        server.stop()


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m tests.losses")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        number, name, url = options.one
        cls = next(cls for cls in PEERS if cls.__name__ == name)
        print(json.dumps(one(TRAPS[int(number)], cls, url)), flush=True)
        import os

        os._exit(0)  # a peer's threads are not waited for
    table(options.markdown)


if __name__ == "__main__":
    main()
