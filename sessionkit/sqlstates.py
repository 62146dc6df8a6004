"""What the SQLSTATEs of the standard and of PostgreSQL mean, as our errors."""

from __future__ import annotations

from . import errors
from .errors import Diagnosis, lookup

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
    return Diagnosis(lookup(SQLSTATES, sqlstate, (sqlstate or "")[:2], default=fallback), sqlstate)
