"""What the SQLSTATEs of the standard and of PostgreSQL mean, as our errors, and where PostgreSQL's texts have names and values."""

from __future__ import annotations

from functools import cache

from .. import errors
from ..errors import Diagnosis, lookup
from ..redact import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import Any

SQLSTATES: dict[object, type[errors.Error]] = {
    "23505": errors.UniqueViolation,
    "23503": errors.ForeignKeyViolation,
    "23001": errors.ForeignKeyViolation,
    "23502": errors.NotNullViolation,
    "23514": errors.CheckViolation,
    "40P01": errors.DeadlockError,
    "40001": errors.SerializationError,
    "40003": errors.CommitUnknownError,
    "08007": errors.CommitUnknownError,
    "55P03": errors.LockTimeoutError,
    "57014": errors.QueryCancelledError,
    "25006": errors.ReadOnlyError,
    "25P02": errors.TransactionAbortedError,
    "25P03": errors.DisconnectionError,
    "57P01": errors.DisconnectionError,
    "57P02": errors.DisconnectionError,
    "57P03": errors.DisconnectionError,
    "57P05": errors.DisconnectionError,
    "53300": errors.TooManyConnectionsError,
    "53400": errors.TooManyConnectionsError,
    "08": errors.DisconnectionError,
    "0A": errors.NotSupportedError,
    "21": errors.ProgrammingError,
    "22": errors.DataError,
    "23": errors.IntegrityError,
    "25": errors.InternalError,
    "26": errors.ProgrammingError,
    "28": errors.OperationalError,
    "2D": errors.InternalError,
    "34": errors.OperationalError,
    "3D": errors.OperationalError,
    "3F": errors.ProgrammingError,
    "40": errors.OperationalError,
    "42": errors.ProgrammingError,
    "53": errors.OperationalError,
    "54": errors.OperationalError,
    "55": errors.OperationalError,
    "57": errors.OperationalError,
    "58": errors.OperationalError,
    "XX": errors.InternalError,
}
"""SQLSTATEs and their classes (first two characters), the standard's and PostgreSQL's, to our errors."""

# all failures to connect come without SQLSTATE (FATAL in the server's text): judged by text, in libpq's English
CONNECTING_TEXTS: tuple[tuple[str, type[errors.Error]], ...] = (
    ("too many clients", errors.TooManyConnectionsError),
    ("remaining connection slots", errors.TooManyConnectionsError),
    ("too many connections", errors.TooManyConnectionsError),
    ("authentication failed", errors.OperationalError),
    ("no password supplied", errors.OperationalError),
    ("no pg_hba.conf entry", errors.OperationalError),
    ("role ", errors.OperationalError),
    ("starting up", errors.DisconnectionError),
    ("shutting down", errors.DisconnectionError),
)

_PEP249: dict[str, type[errors.Error]] = {
    cls.__name__: cls
    for cls in (
        errors.InterfaceError, errors.DatabaseError, errors.DataError, errors.OperationalError,
        errors.IntegrityError, errors.InternalError, errors.ProgrammingError, errors.NotSupportedError, errors.Error,
    )
}  # fmt: skip


def by_sqlstate(exc: BaseException) -> Diagnosis:
    """Return what a driver's exception means by its SQLSTATE, else by the name of its class (PEP 249)."""
    sqlstate = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    fallback = next(
        (_PEP249[cls.__name__] for cls in type(exc).__mro__ if cls.__name__ in _PEP249), errors.DatabaseError
    )
    error = lookup(SQLSTATES, sqlstate, (sqlstate or "")[:2], default=fallback)
    return Diagnosis(error, sqlstate, text=_own_words(exc))


def by_fields(sqlstate: str, text: str, names: dict[str, Any], detail: str, default: type[errors.Error]) -> Diagnosis:
    """Return what the fields of PostgreSQL's answer mean: its words without values, and what they are about."""
    if sqlstate[:2] == "22":  # a value that did not fit is quoted
        text = value_pattern().sub(rf"{MARK}\g<0>{MARK}", text)
    if names["column"] is None and sqlstate[:2] == "23":
        names |= named(detail, [key_pattern()])
    return Diagnosis(lookup(SQLSTATES, sqlstate, sqlstate[:2], default=default), sqlstate, text=text, **names)


def _own_words(exc: BaseException) -> str:
    """Return the server's words: the last text among the exception's arguments, or the message of a dict of fields (pg8000)."""
    words: str = next((part for part in reversed(exc.args) if isinstance(part, str)), "")
    if not words and exc.args and isinstance(exc.args[0], dict):
        words = str(exc.args[0].get("M", ""))
    return words


def named(text: str, patterns: Sequence[re.Pattern[str]]) -> dict[str, str]:
    """Return what a server's text is about, by the first pattern that fits: its groups `constraint`, `table`, `column`."""
    found = next((match for match in (pattern.search(text) for pattern in patterns) if match), None)
    return {key: value for key, value in found.groupdict().items() if value} if found else {}


def attempts(text: str) -> str:
    """Return libpq's words, those of several attempts to connect on one line."""
    lines = [line[2:] for line in text.splitlines() if line.startswith("- ")]
    if text.startswith("Multiple connection attempts failed") and lines:
        text = "; ".join(lines)
    return text.replace("connection failed: ", "")


@cache
def value_pattern() -> re.Pattern[str]:
    """Where PostgreSQL quotes a value of class 22: at the end, or at the beginning."""
    import re

    return re.compile(r'(?<=: ").*(?="$)|(?<=^value ").*(?=" is out of range)', re.DOTALL)


@cache
def key_pattern() -> re.Pattern[str]:
    """The columns in the detail of a violated key, in whatever language."""
    import re

    return re.compile(r"\((?P<column>.+?)\)=\(")
