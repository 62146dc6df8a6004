"""What the SQLSTATEs of the standard and of PostgreSQL mean, as our errors."""

from __future__ import annotations

from . import errors

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
