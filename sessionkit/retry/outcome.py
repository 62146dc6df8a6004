"""What became of a commit that nobody answered: asked of the server by the transaction's id, or settled by a fencing row."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import ArgumentError
from ..session.marker import INSERT, make_table, was_committed


class Beginner(Protocol):
    """An object that begins a transaction in a fresh session, and knows the default database: an engine or a registry."""

    def begin(self) -> Any: ...
    def resolve(self, name: str | None) -> Any: ...


class Witness(Protocol):
    """What is noted in a transaction, so that it can be found out later whether that was committed."""

    def prepare(self) -> None: ...
    def note(self, session: Any) -> None: ...
    def committed(self) -> bool | None: ...


def witness_for(beginner: Any, resolve: object) -> Witness | None:
    """
    Return what to note in a transaction for `resolve`, None for nothing.

    Raises:
        ArgumentError: it is no way that there is, or none of this database.
    """
    if resolve in (None, False):
        return None
    driver = beginner.resolve(None).driver
    if resolve is True:
        resolve = "xid" if driver.transaction_id else "marker"
    if resolve == "xid" and driver.transaction_id:
        return TransactionId(beginner, driver.transaction_id, driver.transaction_fate)
    if resolve == "marker":
        return Marker(beginner)
    raise ArgumentError(f'resolve is "marker", True, None, or "xid" on PostgreSQL; got {resolve!r} for {driver.name}')


class TransactionId:
    """The server's own number for the transaction, and its answer what became of it."""

    def __init__(self, beginner: Beginner, own: str, fate: str) -> None:
        self._beginner = beginner
        self._own = own
        self._fate = fate
        self._id: str | None = None

    def prepare(self) -> None:
        """Forget the number of an earlier attempt."""
        self._id = None

    def note(self, session: Any) -> None:
        """Ask for the number: one round trip."""
        self._id = session.scalar(self._own)

    def committed(self) -> bool | None:
        """Return whether it was committed; None while it is under way, or when the server no longer knows."""
        with self._beginner.begin() as session:
            return {"committed": True, "aborted": False}.get(session.scalar(self._fate, {"id": self._id}))


class Marker:
    """A row of the table `sessionkit_marker`, which is made when it is not there."""

    def __init__(self, beginner: Beginner) -> None:
        self._beginner = beginner
        self._token = ""

    def prepare(self) -> None:
        """Take a fresh token, and make the table if this engine has not done so before."""
        from uuid import uuid4

        self._token = str(uuid4())
        make_table(self._beginner.resolve(None))

    def note(self, session: Any) -> None:
        """Insert the row: one round trip."""
        session.execute(INSERT, {"token": self._token, "fence": 0})

    def committed(self) -> bool:
        """Tell by inserting the same token as a fence."""
        return was_committed(self._beginner.begin, self._token)
