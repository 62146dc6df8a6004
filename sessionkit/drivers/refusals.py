"""What a driver's `connect` would not take: the option that it does not know, and the one that was meant."""

from __future__ import annotations

from ..errors import ArgumentError
from ..redact import redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def is_refusal(exc: Exception, driver: Any) -> bool:
    """
    Tell whether a driver's `connect` raised because of its arguments.

    A TypeError or ValueError of a signal handler that struck meanwhile comes from the program's own code, which the innermost
    frame tells.
    """
    if driver.diagnose(exc) is not None:
        return "invalid connection option" in str(exc)  # psycopg
    trace = exc.__traceback__
    if not isinstance(exc, (TypeError, ValueError)) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    import sys

    root = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    known = {__name__, driver.module, type(driver).__module__}
    return root in {name.partition(".")[0] for name in known} or root in sys.stdlib_module_names


def refused(exc: Exception, driver: Any, given: list[str], options: Iterable[str], secrets: list[Any]) -> ArgumentError:
    """Return the error that says which of the `given` options the driver does not take; `options` are the engine's own."""
    from difflib import get_close_matches

    text = str(exc)
    unknown = next((name for name in given if f"'{name}'" in text or f'"{name}"' in text), None)
    if unknown is None or not any(
        word in text for word in ("unexpected keyword", "invalid keyword", "invalid connection")
    ):
        names = ", ".join(given) or "none"
        return ArgumentError(f"{driver.name} did not take the options (given: {names}): {redacted(text, secrets)}")
    meant = get_close_matches(unknown, [*options, *driver.option_names()], 1, 0.7)
    return ArgumentError(
        f"unknown option {unknown}: neither the engine nor {driver.name} has it"
        + (f"; did you mean {meant[0]}?" if meant else "")
    )
