"""`python -m tests.simulation [--plots FOLDER]`: the figures and pictures of docs/scale.md."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from .cases import back_to_normal, crowd, failover, herd, peak, typical

RATE, HOLD, GONE = 200.0, 0.01, 20.0
SIZES = (3, 4, 8, 20)
POLICIES = {
    "run, 30 s, pool_timeout=30": (1000, 30.0, 30.0),
    "run, 30 s, pool_timeout=5": (1000, 30.0, 5.0),
    "no retry, pool_timeout=5": (1, 0.0, 5.0),
}


def failovers() -> dict[tuple[str, int], Any]:
    """A server that is gone for twenty seconds, for several sizes of the pool."""
    print(f"{RATE:.0f} requests a second of {HOLD * 1000:.0f} ms, the server gone for {GONE:.0f} s:")
    found = {}
    for name, (attempts, timeout, pool_timeout) in POLICIES.items():
        for size in SIZES:
            served, connects = failover(RATE, size, HOLD, GONE, attempts, timeout, pool_timeout)
            found[name, size] = served
            failed = sum(1 for one in served if not one.attempt)
            usual, end = typical(served, 10.0), 10.0 + GONE
            slowest = max(one.took for one in served)
            tried = sum(1 for moment in connects if 10.0 < moment < end)
            print(
                f"  {name:26} {size:3} connections: usual {usual * 1000:5.1f} ms, failed {failed:5} of {len(served)}, "
                f"slowest {slowest:5.1f} s, as before {back_to_normal(served, end, usual):5.1f} s after the end, "
                f"{tried} attempts to connect meanwhile"
            )
    return found


def main() -> None:
    """Print the figures, and draw the pictures."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--plots", type=Path, help="draw pictures into this folder")
    given = parser.parse_args()
    found = failovers()
    started = time.perf_counter()
    served = crowd(10_000, 100, HOLD)
    took = time.perf_counter() - started
    waits = sorted(one.took for one in served)
    print(
        f"10,000 sessions on 100 connections, {HOLD * 1000:.0f} ms each: all served after {max(waits):.2f} s, the median waited "
        f"{waits[5000]:.2f} s, in the order of coming: {[one.came for one in served] == sorted(one.came for one in served)}; "
        f"it took {took / 10_000 * 1e6:.0f} µs of work for each"
    )
    herds = {name: herd(1000, jitter) for name, jitter in (("full jitter", True), ("none", False))}
    for name, moments in herds.items():
        print(
            f"1,000 clients that lose their connections at once, jitter: {name}: at most {peak(moments)} come back in 10 ms"
        )
    if given.plots is not None:
        from .plot import draw

        draw(given.plots, found, herds, 10.0, 10.0 + GONE)


if __name__ == "__main__":
    main()
