"""Transactions that cannot go wrong, for plain SQL over any DB-API driver: registry, session, pool, identity."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .drivers.base import Driver as Driver
    from .engine import Engine as Engine
    from .engine import create_engine as create_engine
    from .errors import ArgumentError as ArgumentError
    from .errors import CheckViolation as CheckViolation
    from .errors import CommitUnknownError as CommitUnknownError
    from .errors import ConcurrentUseError as ConcurrentUseError
    from .errors import DatabaseError as DatabaseError
    from .errors import DataError as DataError
    from .errors import DeadlockError as DeadlockError
    from .errors import DisconnectionError as DisconnectionError
    from .errors import Error as Error
    from .errors import ForeignKeyViolation as ForeignKeyViolation
    from .errors import ImplicitCommitError as ImplicitCommitError
    from .errors import IntegrityError as IntegrityError
    from .errors import InterfaceError as InterfaceError
    from .errors import InternalError as InternalError
    from .errors import InvalidRequestError as InvalidRequestError
    from .errors import LockTimeoutError as LockTimeoutError
    from .errors import MultipleResultsFound as MultipleResultsFound
    from .errors import NoResultFound as NoResultFound
    from .errors import NotNullViolation as NotNullViolation
    from .errors import NotSupportedError as NotSupportedError
    from .errors import OperationalError as OperationalError
    from .errors import PartialCommitError as PartialCommitError
    from .errors import PoolClosedError as PoolClosedError
    from .errors import PoolDeadlockError as PoolDeadlockError
    from .errors import PoolTimeoutError as PoolTimeoutError
    from .errors import ProgrammingError as ProgrammingError
    from .errors import QueryCancelledError as QueryCancelledError
    from .errors import ReadOnlyError as ReadOnlyError
    from .errors import Rollback as Rollback
    from .errors import RollbackIncompleteError as RollbackIncompleteError
    from .errors import SerializationError as SerializationError
    from .errors import SessionClosedError as SessionClosedError
    from .errors import StaleObjectError as StaleObjectError
    from .errors import TooManyConnectionsError as TooManyConnectionsError
    from .errors import TransactionAbortedError as TransactionAbortedError
    from .errors import TransactionLostError as TransactionLostError
    from .errors import UncommittedWorkWarning as UncommittedWorkWarning
    from .errors import UniqueViolation as UniqueViolation
    from .mapping.entity import entity as entity
    from .mapping.json import Json as Json
    from .mapping.results import Result as Result
    from .mapping.rows import Row as Row
    from .pool.pool import Pool as Pool
    from .registry import Registry as Registry
    from .retry.policy import Retry as Retry
    from .session.block import Transaction as Transaction
    from .session.session import Session as Session
    from .url import URL as URL

__version__ = "0.2.0"

_ROOMS = {
    "drivers.base": ("Driver",),
    "engine": ("Engine", "create_engine"),
    "mapping.entity": ("entity",),
    "mapping.json": ("Json",),
    "mapping.results": ("Result",),
    "mapping.rows": ("Row",),
    "pool.pool": ("Pool",),
    "registry": ("Registry",),
    "retry.policy": ("Retry",),
    "session.block": ("Transaction",),
    "session.session": ("Session",),
    "url": ("URL",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "URL",
    "ArgumentError",
    "CheckViolation",
    "CommitUnknownError",
    "ConcurrentUseError",
    "DataError",
    "DatabaseError",
    "DeadlockError",
    "DisconnectionError",
    "Driver",
    "Engine",
    "Error",
    "ForeignKeyViolation",
    "ImplicitCommitError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidRequestError",
    "Json",
    "LockTimeoutError",
    "MultipleResultsFound",
    "NoResultFound",
    "NotNullViolation",
    "NotSupportedError",
    "OperationalError",
    "PartialCommitError",
    "Pool",
    "PoolClosedError",
    "PoolDeadlockError",
    "PoolTimeoutError",
    "ProgrammingError",
    "QueryCancelledError",
    "ReadOnlyError",
    "Registry",
    "Result",
    "Retry",
    "Rollback",
    "RollbackIncompleteError",
    "Row",
    "SerializationError",
    "Session",
    "SessionClosedError",
    "StaleObjectError",
    "TooManyConnectionsError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionLostError",
    "UncommittedWorkWarning",
    "UniqueViolation",
    "create_engine",
    "entity",
]


def __getattr__(name: str) -> object:
    """Import a public name from its room when it is first used (PEP 562), so that importing stays cheap."""
    if name not in __all__:
        raise AttributeError(f"module 'sessionkit' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
