"""A database with a standby: sessions that only read use the standby, and the primary while that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import DisconnectionError, TooManyConnectionsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._typing import Holder
    from .engine import Engine


class ReadOnlyBinder:
    """Finds the databases of a registry for a session that writes nothing: each one's standby, where it has one."""

    def __init__(self, find: Callable[[str | None], Engine], standbys: Mapping[Engine, Standby]) -> None:
        self._find = find
        self._standbys = standbys

    def resolve(self, name: str | None) -> Any:
        """Return the standby of this name's database, or the database itself; in a sandbox, that has what the test wrote."""
        engine = self._find(name)
        return engine if engine.has_other_lender else self._standbys.get(engine, engine)


class Standby:
    """
    A standby as a database for sessions: its connections, and the primary's while it gives none.

    It is asked again as the pool spaces out attempts to connect, so that sessions come back to it by themselves.
    """

    def __init__(self, primary: Engine, standby: Engine) -> None:
        self.primary = primary
        self.standby = standby

    def __getattr__(self, name: str) -> Any:
        return getattr(self.standby, name)

    # -- a lender

    @property
    def lender(self) -> Standby:
        """Itself."""
        return self

    @property
    def where(self) -> Callable[[Any], str | None]:
        """The standby and the primary are two hosts."""
        return self.standby.driver.place

    @property
    def line(self) -> None:
        """Nobody writes here."""
        return None

    def checkout(self, timeout: float | None = None, holder: Holder = (0, None, 0), depth: int = 1) -> Any:
        """Lend a connection of the standby; of the primary where the standby does not answer, or takes no more."""
        lender: Any = self.standby.lender
        slot = lender.queue.wait_for_slot(timeout)
        try:
            return lender.checkout(0, holder, depth + 1, slot)  # 0: no waiting for a standby that does not answer
        except (DisconnectionError, TooManyConnectionsError):
            return self.primary.lender.checkout(timeout, holder, depth + 1)

    def _lender_of(self, lease: Any) -> Any:
        return self.primary.lender if lease.pool is self.primary.pool else self.standby.lender

    def checkin(self, lease: Any, /) -> None:
        """Give it back where it came from."""
        self._lender_of(lease).checkin(lease)

    def discard(self, lease: Any, /) -> None:
        """Close it."""
        self._lender_of(lease).discard(lease)

    def abandon(self, lease: Any, /) -> None:
        """Its session was collected unclosed."""
        self._lender_of(lease).abandon(lease)

    def suspect(self) -> None:
        """The standby's other connections may be dead too; the primary's find that out by themselves."""
        self.standby.lender.suspect()
