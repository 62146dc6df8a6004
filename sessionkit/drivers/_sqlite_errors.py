"""What SQLite's result codes mean, as our errors, and where its texts have names."""

from __future__ import annotations

from functools import cache

from .. import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

# https://www.sqlite.org/rescode.html: extended codes first, then primary ones (the low eight bits)
CODES: dict[object, type[errors.Error]] = {
    2067: errors.UniqueViolation,
    1555: errors.UniqueViolation,
    2579: errors.UniqueViolation,
    787: errors.ForeignKeyViolation,
    1299: errors.NotNullViolation,
    275: errors.CheckViolation,
    517: errors.SerializationError,
    19: errors.IntegrityError,
    1: errors.ProgrammingError,
    3: errors.OperationalError,
    5: errors.LockTimeoutError,
    6: errors.LockTimeoutError,
    7: errors.OperationalError,
    8: errors.ReadOnlyError,
    9: errors.QueryCancelledError,
    10: errors.OperationalError,
    11: errors.OperationalError,
    13: errors.OperationalError,
    14: errors.DisconnectionError,
    17: errors.OperationalError,
    18: errors.DataError,
    20: errors.DataError,
    21: errors.InterfaceError,
    23: errors.OperationalError,
    25: errors.ProgrammingError,
    26: errors.OperationalError,
}


@cache
def name_patterns() -> list[re.Pattern[str]]:
    """Where a text says which constraint, table and column it is about."""
    import re

    return [
        re.compile(r"^(?:UNIQUE|NOT NULL) constraint failed: (?P<columns>(?P<table>[^.]+)\..+)$"),
        re.compile(r"^UNIQUE constraint failed: index '(?P<constraint>.+)'$"),
        re.compile(r"^CHECK constraint failed: (?P<constraint>.+)$"),
        re.compile(r"^no such table: (?:\w+\.)?(?P<table>.+)$"),
        re.compile(r"^no such column: (?:\w+\.)?(?P<column>.+)$"),
        re.compile(r"^table (?P<table>.+) has no column named (?P<column>.+)$"),
    ]
