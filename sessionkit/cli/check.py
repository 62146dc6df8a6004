"""`check`: connect, and tell versions, isolation, round-trip time, what the pool would do, and known hazards."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ..engine import create_engine

if TYPE_CHECKING:
    import argparse

    from ..engine import Engine

PINGS = 20


def check(options: argparse.Namespace) -> int:
    """Print what is known of the database."""
    with create_engine(options.url) as engine:
        facts, hazards = engine.inspect()
        lines = [
            ("database", str(engine.url)),
            *_host(engine),
            *facts.items(),
            ("round trip", f"{median(engine.ping() for _ in range(PINGS)) * 1e6:.0f} µs (median of {PINGS})"),
            ("pool", _pool(engine)),
        ]
        hazards = hazards + _second_owner()
    for name, text in lines:
        print(f"{name:<11} {text}")
    if not hazards:
        print(f"{'hazards':<11} none known")
    for what, remedy in hazards:
        print(f"{'hazard':<11} {what}\n{'':<11} to do: {remedy}")
    return 0


def _host(engine: Engine) -> list[tuple[str, str]]:
    """Return which of several hosts a connection led to."""
    if engine.where is None:
        return []
    lease = engine.pool.checkout()
    try:
        return [("host", engine.where(lease.conn) or "unknown")]
    finally:
        engine.pool.checkin(lease)


def _pool(engine: Engine) -> str:
    if engine.pool.size == 1:
        return "one connection, kept until dispose(): the database lives in it"
    polled = "polled for a hang-up before it is lent" if engine.has_socket() else "no socket to poll"
    return f"at most {engine.pool.size} connections, wait up to {engine.pool.timeout:g} s; an idle one: {polled}"


def _second_owner() -> list[tuple[str, str]]:
    """Another distribution that installs a package `sessionkit` would overwrite files of this one."""
    from importlib.metadata import packages_distributions

    owners = sorted(set(packages_distributions().get("sessionkit", ())) - {"dbapi-sessionkit"})
    return [
        (f"the distribution {owner!r} installs a package called sessionkit too, over this one",
         f"pip uninstall {owner} dbapi-sessionkit, then install dbapi-sessionkit again")
        for owner in owners
    ]  # fmt: skip
