"""The drivers that come with sessionkit: one file each, found by looking into this folder."""

from __future__ import annotations

from ..errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Driver

OPEN = ("base", "sqlstates", "refusals")
"""The files that other rooms may use; a driver's own is found by looking here."""

_SHARED = ("base", "refusals", "sqlstates")  # and those that begin with an underscore
_FOUND: dict[str, Driver] = {}


def known() -> dict[str, Driver]:
    """Return the drivers by their name, which is their file's; none of them has imported its DB-API module yet."""
    if not _FOUND:
        from importlib import import_module
        from pkgutil import iter_modules

        names = sorted(module.name for module in iter_modules(__path__))
        own = [name for name in names if name not in _SHARED and not name.startswith("_")]
        # all at once: another thread must not see some of them
        _FOUND.update({name: import_module(f"{__name__}.{name}").driver for name in own})
    return _FOUND


def for_scheme(scheme: str, driver: str | None = None) -> Driver:
    """
    Return the driver for a URL's scheme and, after a `+`, its driver's name.

    Raises:
        ArgumentError: no driver serves the scheme, or not by that name; the text lists what there is.
    """
    serving = [found for found in known().values() if scheme in found.schemes]
    for found in serving:
        if found.is_default if driver is None else driver in found.spellings:
            return found
    if serving:
        raise ArgumentError(
            f"no driver {driver!r} for {scheme}: sessionkit uses {' or '.join(found.name for found in serving)} there; "
            f"write {scheme}:// or pass driver= for another DB-API module (docs/drivers.md)"
        )
    schemes = ", ".join(sorted(name for found in known().values() for name in found.schemes))
    raise ArgumentError(
        f"no driver for {scheme}:// URLs (known: {schemes}); for another DB-API module write a Driver, of thirty lines "
        f"(docs/drivers.md), and pass it: create_engine(url, driver=…)"
    )


def by_name(name: str) -> Driver:
    """Return the driver of this name; another name raises ArgumentError and lists the known ones."""
    for found in known().values():
        if name == found.name or name in found.spellings:
            return found
    raise ArgumentError(f"unknown driver {name!r} (known: {', '.join(known())}); or pass a Driver object")


def behind(pooler: str, driver: Driver, statement_timeout: float | None) -> Driver:
    """
    Return the driver for a server behind a pooler; `statement_timeout` (seconds) is the engine's.

    Raises:
        ArgumentError: sessionkit knows no such pooler, or not for this driver.
    """
    if pooler != "pgbouncer":
        raise ArgumentError(f"pooler is pgbouncer, or left out; got {pooler!r}")
    from ._pgbouncer import BehindPgBouncer, InTime

    if type(driver) is not BehindPgBouncer.__base__:
        raise ArgumentError(f"pooler={pooler!r} is for PostgreSQL through psycopg; this is {driver.name}")
    return BehindPgBouncer() if statement_timeout is None else InTime(statement_timeout)


def for_connection(conn: object) -> Driver | None:
    """Return the driver whose DB-API module made a connection, judged by its type, or None."""
    fitting = (found for found in known().values() if found.made(type(conn)))
    return next(fitting, None) if hasattr(conn, "cursor") else None
