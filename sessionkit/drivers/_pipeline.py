"""psycopg's pipeline mode: whether there is one, a transaction in it, and the way out of one that failed."""

from __future__ import annotations

from functools import cache

from ..errors import is_interruption
from ._bulk import tuple_row
from ._postgresql import PostgreSQL, begin_words, timeout_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_OK = 0  # libpq's CONNECTION_OK


@cache
def pipelines() -> bool:
    """Tell whether this libpq has a pipeline mode."""
    import psycopg

    return psycopg.Pipeline.is_supported()


class Pipeline:
    """
    Statements on a connection of psycopg that are sent without waiting for their answers, from BEGIN on.

    The server answers when it is asked to (`collect`), or at the end (`leave`). After a statement that failed it skips all others.
    Any call may raise its error; it is the first of those that were sent and have no answer.
    """

    def __init__(self, conn: Any) -> None:
        import psycopg

        self._conn = conn
        self._pipe: Any = psycopg.Pipeline(conn)
        conn._pipeline = self._pipe  # as `conn.pipeline()` does, which is a block
        self._pipe.__enter__()

    def send(self, sql: str, parameters: Any, prepare: bool | None = None) -> Any:
        """Send a statement; return the cursor that its answer will come to."""
        cursor = self._conn.cursor(row_factory=tuple_row())
        cursor.execute(sql, parameters, prepare=prepare)
        return cursor

    def collect(self) -> None:
        """Wait for the answers to all that was sent: one round trip."""
        conn = self._conn
        with conn.lock:
            conn.wait(self._pipe._fetch_gen(flush=True))

    def leave(self) -> None:
        """Wait for what is outstanding: one round trip; and go back to sending one statement after the other, if not done yet."""
        import psycopg

        conn, pipe = self._conn, self._pipe
        if conn._pipeline is not pipe:
            return
        try:
            with conn.lock:
                conn.wait(self._last())
        except psycopg.Error as exc:
            pipe._exit(exc)
            raise
        else:
            pipe._exit(None)
        finally:  # what interrupts it comes out as itself: psycopg's own block would say that it cannot leave
            self.drop()

    def _last(self) -> Any:
        """As psycopg's own `_exit_gen`, without the request to flush that it sends after the sync: the first error is raised."""
        import psycopg

        pipe = self._pipe
        pipe._enqueue_sync()
        try:
            yield from pipe._communicate_gen()
        except psycopg.Error:
            try:
                yield from pipe._fetch_gen(flush=False)
            except psycopg.Error:  # of what was skipped because of the first
                pass
            raise
        yield from pipe._fetch_gen(flush=False)

    def sync(self) -> None:
        """Wait for what is outstanding, and let the server go on after an error."""
        self._pipe.sync()

    def after(self, exc: BaseException, driver: Any) -> None:
        """Leave after an error: each sync brings the next one, until none is left. After an interruption let go at once."""
        import psycopg

        if not isinstance(exc, Exception) or is_interruption(exc, driver):
            self.drop()
            return
        while self._pipe.pgconn.status == _OK:
            try:
                self.sync()
                break
            except psycopg.Error:  # of the next statement, or that it was skipped
                continue
        if self._pipe.pgconn.status == _OK:
            self.leave()
        self.drop()

    def drop(self) -> None:
        """Let go of the connection, which is to be closed, or has left."""
        self._conn._pipeline = None

    def has_answer(self, cursor: Any) -> bool:
        """Tell whether the answer to a statement has come, and was no error."""
        return cursor.pgresult is not None

    def is_cut(self) -> bool:
        """Tell, when the socket is readable though nothing was asked, whether the server hung up; errors come unasked."""
        try:
            for _ in range(2):  # a server that ends a session says why, and then hangs up
                self._conn.pgconn.consume_input()
        except Exception as exc:
            if type(exc).__module__.partition(".")[0] != "psycopg":
                raise
        return int(self._conn.pgconn.status) != _OK


class Pipelining(PostgreSQL):
    """What psycopg does in libpq's pipeline mode."""

    def executemany(self, cursor: Any, sql: str, rows: list[Any]) -> None:
        """
        Send all rows in one pipeline, and read every answer inside it.

        Left to itself, psycopg meets an error when it leaves its own pipeline, and logs the rest as ignored errors.
        """
        conn = cursor.connection
        if not pipelines() or conn.pgconn.pipeline_status:
            cursor.executemany(sql, rows)
            return
        pipe = Pipeline(conn)
        try:
            cursor.executemany(sql, rows)
            pipe.sync()
        except BaseException as exc:
            pipe.after(exc, self)
            raise
        pipe.leave()

    def pipeline(
        self, conn: Any, isolation_level: str | None, read_only: bool, seconds: float | None
    ) -> Pipeline | None:
        """libpq's pipeline mode."""
        if not pipelines():
            return None
        found = Pipeline(conn)
        try:
            found.send(begin_words(isolation_level, read_only), None, False)
            if seconds is not None:
                found.send(f"SET LOCAL {timeout_words(seconds)}", None, False)
        except BaseException:
            found.drop()
            raise
        return found

    def answer(self, conn: Any, cursor: Any) -> tuple[Any, Any, int, int | None]:
        """As `fetch`."""
        with cursor:
            return self._fetched(conn, cursor)

    def _fetched(self, conn: Any, cursor: Any) -> tuple[Any, Any, int, int | None]:
        raise NotImplementedError
