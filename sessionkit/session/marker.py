"""A row that says that a transaction was committed, and the fence that settles it where nobody knows.

A row with a fresh token is inserted by the transaction itself. Inserting the same token later settles it: a duplicate means
that the transaction committed; success means that it did not, and never can, because its own row would be the duplicate.
"""

from __future__ import annotations

from ..errors import DisconnectionError, UniqueViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..errors import Error

TABLE = (
    "CREATE TABLE IF NOT EXISTS sessionkit_marker "
    "(token VARCHAR(36) NOT NULL PRIMARY KEY, fence SMALLINT NOT NULL, made TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
)
INSERT = "INSERT INTO sessionkit_marker (token, fence) VALUES (:token, :fence)"
_SELECT = "SELECT fence FROM sessionkit_marker WHERE token = :token"


def make_table(engine: Any) -> None:
    """Make the table, if this engine has not done so before, in a transaction of its own."""
    if not engine.has_marker:
        try:
            engine.execute(TABLE)
        except UniqueViolation:  # PostgreSQL: somebody else is making it at this moment
            engine.execute(TABLE)
        engine.has_marker = True


def was_committed(begin: Callable[[], Any], token: str) -> bool:
    """
    Insert the token as a fence; a duplicate is either the transaction's own row, or a fence of ours that came through.

    It waits for a transaction that is still under way, as long as the server waits for a row's lock.
    """
    try:
        with begin() as session:
            session.execute(INSERT, {"token": token, "fence": 1})
        return False
    except UniqueViolation:
        with begin() as session:
            return bool(session.scalar(_SELECT, {"token": token}) == 0)


def undone(unknown: Error, where: str = "") -> Error:
    """Return what to say of a commit that was unknown, once it is known that it did not happen; `where` is such as ` on shop`."""
    error = DisconnectionError(
        f"the connection was lost during COMMIT{where}, and it was found out that nothing was committed",
        orig=unknown.orig, sqlstate=unknown.sqlstate, code=unknown.code, statement="COMMIT",
    )  # fmt: skip
    error.__cause__ = unknown
    return error
