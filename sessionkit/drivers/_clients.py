"""What a driver says of the stand-ins that clients of the DB-API get: its own extras by name, and how its `with` ends."""

from __future__ import annotations

from ..errors import NotSupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class Standins:
    """The part of the driver contract that is about clients; the defaults suit any PEP 249 module."""

    name: ClassVar[str]
    extras: ClassVar[frozenset[str]] = frozenset()
    """Attributes of the driver's connection that its stand-in has."""
    marking_extras: ClassVar[frozenset[str]] = frozenset()
    """More of them, which leave something on the connection, so that it is not lent again."""
    cursor_extras: ClassVar[tuple[str, ...]] = ("statusmessage", "warning_count", "mogrify", "scroll", "row_factory")
    """Attributes of the driver's cursor beyond PEP 249's that its stand-in has."""
    leaving: ClassVar[tuple[bool, bool]] = (True, False)
    """Whether the end of a connection's `with` block commits (or rolls back), and whether it closes."""

    def cursor(self, conn: Any) -> Any:
        """Return a cursor that yields plain tuples."""
        return conn.cursor()

    def client_cursor(self, conn: Any, arguments: Any, options: Any, row_factory: Any) -> Any:
        """Return a cursor as a client asked for it in the driver's own terms."""
        return conn.cursor(*arguments, **options) if arguments or options else self.cursor(conn)

    def call(self, procedure: str, marks: str) -> str:
        """Return the SQL that calls a procedure with placeholders for its parameters; NotSupportedError where there are none."""
        raise NotSupportedError(f"{self.name} has no stored procedures to call ({procedure})")
