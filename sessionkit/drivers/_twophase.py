"""Two-phase commit: a driver as it speaks in one transaction that is to be prepared under a name."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ..errors import NotSupportedError

_GONE_POSTGRESQL = "42704"  # undefined_object: no prepared transaction of that name
_GONE_MYSQL = 1397  # XAER_NOTA
_OUTSIDE = 1400  # XAER_OUTSIDE
_HALF = 64
"""Bytes of each of the two parts that a name has on MySQL (X/Open XA)."""


class TwoPhase:
    """A driver for one transaction, which can be prepared as `xid`; what it does not say itself, the driver does."""

    begins: ClassVar[bool] = False
    """Whether such a transaction begins in another way than others do; then it must be known from the beginning."""

    def __init__(self, driver: Any, xid: str) -> None:
        self._driver: Any = driver
        self._xid = xid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def prepare(self, conn: Any) -> None:
        """Let the server keep the transaction, whatever happens, until it is told how it ends; `conn` is free for other work."""
        raise NotImplementedError


class PostgreSQLPrepares(TwoPhase):
    """PREPARE TRANSACTION, at the end of any transaction."""

    def prepare(self, conn: Any) -> None:
        """Then the connection is idle."""
        self._driver.run(conn, f"PREPARE TRANSACTION {_quoted(self._xid)}")
        self._driver.clean(conn)


def end_on_postgresql(driver: Any, conn: Any, xid: str, commit: bool) -> bool:
    """End a prepared transaction, on an idle connection to its database; False when there is none of that name."""
    try:
        driver.run(conn, f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED {_quoted(xid)}")
    except Exception as exc:
        if getattr(exc, "sqlstate", None) != _GONE_POSTGRESQL:
            raise
        return False
    return True


class XA(TwoPhase):
    """MariaDB's and MySQL's XA: begun as such, and prepared as such."""

    begins = True
    begins_with_first = False

    def begin(self, conn: Any, isolation_level: str | None, read_only: bool, write: bool) -> bool:
        """
        XA START, its modes before it.

        Raises:
            NotSupportedError: the server forgets a prepared transaction when its client goes.
        """
        _check_version(conn.get_server_info())
        if isolation_level or read_only:
            self._driver.run(conn, self._driver.set_transaction(isolation_level, read_only))
        self._driver.run(conn, f"XA START {_halves(self._xid)}")
        return True

    def begin_limited(self, conn: Any, level: str | None, read_only: bool, write: bool, seconds: float) -> bool:
        """The limit, and then as `begin`."""
        self._driver.limit_server(conn, seconds)
        return self.begin(conn, level, read_only, write)

    def prepare(self, conn: Any) -> None:
        """Its connection is not free before it has ended."""
        self._driver.run(conn, f"XA END {_halves(self._xid)}")
        self._driver.run(conn, f"XA PREPARE {_halves(self._xid)}")

    def commit(self, conn: Any) -> None:
        """In one phase."""
        self._driver.run(conn, f"XA END {_halves(self._xid)}")
        self._driver.run(conn, f"XA COMMIT {_halves(self._xid)} ONE PHASE")

    def rollback(self, conn: Any) -> bool:
        """As the driver's, with a warning where something could not be undone."""
        self._driver.run(conn, f"XA END {_halves(self._xid)}")
        return bool(self._driver.warned(conn, f"XA ROLLBACK {_halves(self._xid)}") and self._driver.has_kept(conn))


def end_on_mysql(driver: Any, conn: Any, xid: str, commit: bool) -> bool:
    """
    End a prepared transaction, on its own connection or an idle one; False when there is none of that name.

    A connection whose autocommit is off counts as inside another transaction, even when it is idle: then it is on meanwhile.
    """
    words, found = f"XA {'COMMIT' if commit else 'ROLLBACK'} {_halves(xid)}", True
    try:
        try:
            driver.run(conn, words)
        except Exception as exc:
            if not exc.args or exc.args[0] != _OUTSIDE:
                raise
            conn.autocommit(True)
            driver.run(conn, words)
    except Exception as exc:
        if not exc.args or exc.args[0] != _GONE_MYSQL:
            raise
        found = False
    if conn.get_autocommit():
        conn.autocommit(False)
    return found


def _quoted(xid: str) -> str:
    return "'" + xid.replace("'", "''") + "'"


def _halves(xid: str) -> str:
    data = xid.encode()
    return f"X'{data[:_HALF].hex()}', X'{data[_HALF:].hex()}'"


def _check_version(text: str) -> None:
    """
    Refuse a server that rolls a prepared transaction back when its client is gone (MariaDB before 10.5, MySQL before 5.7.7).

    Raises:
        NotSupportedError: it is one.
    """
    numbers = [tuple(map(int, found)) for found in re.findall(r"(\d+)\.(\d+)\.(\d+)", text)]
    is_mariadb = "mariadb" in text.lower()
    version, least = (
        (max(numbers), (10, 5, 0)) if is_mariadb and numbers else (numbers[0] if numbers else (0,), (5, 7, 7))
    )
    if version < least:
        raise NotSupportedError(
            f"two-phase commit needs MariaDB 10.5 or MySQL 5.7.7: this server ({text}) forgets what was prepared when its "
            "client goes"
        )
