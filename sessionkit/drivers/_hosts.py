"""Several hosts in one URL: tried one after the other, until one answers that is what is wanted."""

from __future__ import annotations

from random import sample
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..url import host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..url import URL

TARGETS = ("read-write", "any", "standby")
"""What `?target=` can be: a server that takes writes, whichever answers, or one that takes none."""


def is_plain(url: URL) -> bool:
    """Tell whether a URL names one host, whatever that is."""
    return "," not in (url.host or "") and "target" not in url.query


def check(url: URL) -> None:
    """
    Refuse what `target` and `load_balance` cannot be.

    Raises:
        ArgumentError: with what they can be.
    """
    if url.query.get("target", "any") not in TARGETS:
        raise ArgumentError(f"target is one of {', '.join(TARGETS)}; got {url.query['target']!r}")
    if url.query.get("load_balance", "random") != "random":
        raise ArgumentError(f"load_balance is random, or left out; got {url.query['load_balance']!r}")


def target_of(url: URL) -> str:
    """Return what is wanted: of several hosts, if nothing is said, the one that takes writes."""
    return str(url.query.get("target", "read-write"))


def places(url: URL, port: int) -> list[tuple[str, int]]:
    """Return the hosts and their ports, in the order in which they are to be tried."""
    found = [
        (host, int(number)) for host, number in (host_port(one, port) for one in (url.host or "localhost").split(","))
    ]
    if url.port is not None:
        found = [(found[0][0], url.port)]
    return sample(found, len(found)) if url.query.get("load_balance") == "random" else found


def first_that_is_wanted(
    url: URL,
    options: Mapping[str, Any],
    port: int,
    timeout: float,
    connect: Callable[[URL, Mapping[str, Any]], Any],
    why_not: Callable[[Any, str], str | None],
    close: Callable[[Any], object],
    is_failure: Callable[[Exception], bool],
) -> tuple[Any, tuple[str, int]]:
    """
    Return a connection to the first host that is what is wanted, and where that is.

    Each host has its share of `timeout` seconds. `connect(url, options)` raises what says why a host does not answer;
    `why_not(conn, target)` tells why one that does is not what is wanted; `is_failure(exc)`, whether an exception is the driver's
    and no signal handler's, which comes out as itself.

    Raises:
        Unreachable: none is; its text names each host with the reason. The last error is its cause.
    """
    tried, plain = places(url, port), url.without("target").without("load_balance")
    given = {**options, "connect_timeout": max(1, round(timeout / len(tried)))}
    reasons: list[str] = []
    last: Exception | None = None
    for host, number in tried:
        conn = None
        try:
            conn = connect(plain.without("connect_timeout").at(host, number), given)
            reason = why_not(conn, target_of(url))
        except BaseException as exc:
            if conn is not None:
                close(conn)
            if not isinstance(exc, Exception) or not is_failure(exc):
                raise
            last, reason = exc, _short(exc)
        else:
            if reason is None:
                last = None  # no frame keeps what was raised through it
                return conn, (host, number)
            close(conn)
        reasons.append(f"{host}:{number}: {reason}")
    try:
        raise Unreachable(f"no host is what is wanted ({target_of(url)}): {'; '.join(reasons)}") from last
    finally:
        del last  # no frame keeps what is raised through it


class Unreachable(ConnectionError):
    """None of several hosts is what is wanted."""


def _short(exc: Exception) -> str:
    """Return the driver's reason without a number in front."""
    return str(exc.args[-1] if exc.args else exc).splitlines()[0] if str(exc) else type(exc).__name__


def shares(url: URL) -> Iterator[tuple[str, str]]:
    """Yield libpq's names for what the URL says of several hosts (libpq, 34.1.1.3)."""
    target = url.query.get("target")
    if target is not None or ("," in (url.host or "") and "target_session_attrs" not in url.query):
        yield "target_session_attrs", str(target or "read-write")
    if "load_balance" in url.query:
        yield "load_balance_hosts", "random"
