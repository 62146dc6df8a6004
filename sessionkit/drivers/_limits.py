"""What drivers send and wait through: not beyond a limit of time or size, and several commands in one round trip."""

from __future__ import annotations

import weakref
from struct import pack
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


LARGE = 256 * 1024
"""Bytes of a statement above which the server is asked, once for each connection, how large one may be."""


CANCELLING = 0.15
"""Seconds for asking a server that did not answer in time to stop what it does."""
CANCEL_CONNECTING = 2
"""Seconds that a connection may take to be made which is only to say that a statement is to be cancelled."""


class TooLarge(ValueError):
    """A statement that is larger than the server takes."""


class Reader:
    """In place of the file that PyMySQL reads from: the same, but not beyond a deadline, however the bytes trickle."""

    def __init__(self, file: Any, sock: Any, timeouts: tuple[Any, Any]) -> None:
        self._file = file
        self._sock = sock
        self.timeouts = timeouts
        self.until: float | None = None

    @classmethod
    def of(cls, conn: Any, timeouts: tuple[Any, Any]) -> Reader:
        """Return what a connection reads through, put there if need be; `timeouts` are the connection's own."""
        reader = conn._rfile
        if not isinstance(reader, cls):
            reader = conn._rfile = cls(reader, conn._sock, timeouts)
        return reader

    def read(self, size: int) -> bytes:
        """Return `size` bytes, less at the end of the stream; TimeoutError at the deadline."""
        if self.until is None:
            return self._file.read(size)  # type: ignore[no-any-return]
        found = b""
        while len(found) < size:
            left = self.until - monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._sock.settimeout(left)
            more = self._file.read1(size - len(found))
            if not more:
                break
            found += more
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Waiting:
    """In place of a psycopg connection's `wait`: the same, but not beyond a deadline, at which the connection is given up."""

    def __init__(self, conn: Any, give_up: Callable[[Any], Exception]) -> None:
        self._conn = weakref.ref(conn)  # no cycle: a connection that is let go dies at once
        self._give_up = give_up
        self.until: float | None = None

    def __call__(self, gen: Any, interval: float = 0.1, **options: Any) -> Any:
        """Wait for what psycopg waits for."""
        conn: Any = self._conn()
        wait = type(conn).wait
        if self.until is None:
            return wait(conn, gen, interval, **options)
        try:
            return wait(conn, _until(gen, self.until), min(interval, 0.05), **options)
        except TimeoutError:
            self.until = None
            raise self._give_up(conn) from None


def _until(gen: Any, until: float) -> Any:
    """Do what psycopg's generator does; between two looks at the socket, look at the clock."""
    came = None
    while True:
        try:
            wanted = gen.send(came)
        except StopIteration as end:
            return end.value
        came = yield wanted
        if not came and monotonic() > until:
            gen.close()
            raise TimeoutError


def cancel(conn: Any) -> None:
    """Cancel what a connection of psycopg runs on the server, whose answer nobody waits for any more."""
    import psycopg

    try:
        if hasattr(conn, "cancel_safe") and psycopg.capabilities.has_cancel_safe():
            conn.cancel_safe(timeout=CANCELLING)
    except psycopg.Error:  # a frozen server does not take this either
        pass


def sized(cursor_class: Any) -> Any:
    """Return a class of PyMySQL's or mysqlclient's cursors that refuses a statement which the server would answer by hanging up."""

    class SizedCursor(cursor_class):  # type: ignore[misc]
        """A cursor that looks at the size of what it sends."""

        def _query(self, q: Any) -> Any:
            if len(q) > LARGE:
                _check_size(self.connection, q, cursor_class)
            return super()._query(q)

    return SizedCursor


def _check_size(conn: Any, sql: Any, cursor_class: Any) -> None:
    limit = conn.__dict__.get("sessionkit_max_packet")
    if limit is None:
        with cursor_class(conn) as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            limit = conn.sessionkit_max_packet = int(cursor.fetchall()[0][0])
    size = len(sql.encode(conn.encoding, "surrogateescape") if isinstance(sql, str) else sql) + 1
    if size > limit:
        raise TooLarge(
            f"the statement has {size} bytes, and the server takes {limit} at most (max_allowed_packet); send it in parts"
        )


def send_together(conn: Any, commands: Sequence[tuple[int, bytes]]) -> None:
    """Send several commands on a connection of PyMySQL in one go; the server answers each in turn."""
    if conn._sock is None:
        conn._execute_command(0, b"")  # which says that it is closed
    conn._result = None
    conn._write_bytes(b"".join([pack("<iB", len(text) + 1, command) + text for command, text in commands]))
    conn._next_seq_id = 1
