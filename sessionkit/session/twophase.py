"""A transaction on several databases that commits on all of them or on none, whatever happens, and whenever.

The first database that the transaction uses decides. At the end a row with a fresh token is inserted there (`marker`), the others
are prepared, and then the first one commits: this decides. Then the others are told to commit. If the program dies at any point,
the row is there or it is not, and `recover` ends what was left prepared accordingly. (This is known as Logging Last Resource.)
"""

from __future__ import annotations

from contextlib import contextmanager
from os import urandom
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from .. import errors
from ..errors import ArgumentError, InvalidRequestError, NotSupportedError, is_interruption, map_error, map_errors
from .block import COMMITTED
from .link import Link
from .marker import INSERT, make_table, undone, was_committed
from .transaction import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._typing import Holder, Modes

_PREFIX = "sessionkit"
_LONGEST = 128
"""Bytes that a name of a prepared transaction may have (X/Open XA; PostgreSQL takes 200)."""
_AGAIN = 0.03
"""Seconds between two looks at what is prepared."""
_SETTLING = 0.15
"""Seconds in which a server notices that a client is gone; till then a transaction that it prepared may not be listed (MariaDB)."""


class Recovered(NamedTuple):
    """
    What `recover` did with a transaction that was left prepared on `database`: `action` is committed, rolled back or left.

    `reason` says why it was left. Where a database cannot be asked at all, `xid` is empty.
    """

    database: str
    xid: str
    action: str
    reason: str = ""


class Participant:
    """A database as a source of connections for one transaction that is to be prepared: its driver is that transaction's."""

    def __init__(self, source: Any, driver: Any) -> None:
        self.source = source
        self.engine = getattr(source, "engine", source)  # of an asynchronous session's
        self.driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


class TwoPhaseLink(Link):
    """
    A session's hold on one of several databases.

    The one that decides has the `others`; each of those has its `xid`. `is_asked` says that PREPARE was sent and that it was not
    refused; `is_decided`, that the one that decides may have committed, so that only its row can tell how this one ends.
    """

    __slots__ = ("is_asked", "is_decided", "others", "token", "xid")

    def __init__(self, source: Any, holder: Holder, modes: Modes, token: str, xid: str) -> None:
        super().__init__(source, holder, modes)
        self.token = token
        self.xid = xid
        self.others: list[TwoPhaseLink] = []
        self.is_asked = self.is_decided = False

    def note(self) -> None:
        """Insert the row whose commit decides."""
        parameters = {"token": self.token, "fence": 0}
        statement = self.source.compile(INSERT, parameters)
        self.execute(statement, *statement.bind(parameters))

    def prepare(self) -> None:
        """Let the server keep the transaction until it is told how it ends."""
        if self.open_cursors:
            self.close_open_cursors()
        driver, conn, listened = self.source.driver, self.conn(), self.source.listeners.functions
        started = self._started("PREPARE") if listened else 0.0
        self.doubt = self.is_asked = True
        try:
            if self.limit is not None:
                self.arm(conn)
            self._begin_now(conn)
            driver.prepare(conn)
        except Exception as exc:
            if is_interruption(exc, driver, values=False):
                raise
            error = map_error(exc, driver, "PREPARE TRANSACTION")
            self.is_asked = isinstance(error, errors.DisconnectionError)
            raise error
        self.doubt = False
        if listened:
            self._report_word("prepare", started)

    def commit(self) -> None:
        """As every link does; of several, the one that decides comes first, and the others follow, whatever happens to them."""
        if self.is_asked:
            self._end_prepared(True)
            return
        for other in self.others:
            other.is_decided = True
        try:
            super().commit()
        except errors.CommitUnknownError as unknown:
            self.give_up()
            if self.others and not self._has_committed(unknown):
                self._undecide()
                raise undone(unknown, self._on()) from unknown
            if not self.others:
                raise
        except errors.Error:
            self._undecide()
            raise

    def _undecide(self) -> None:
        for other in self.others:
            other.is_decided = False

    def _has_committed(self, unknown: errors.Error) -> bool:
        try:
            return was_committed(self.source.begin, self.token)  # type: ignore[attr-defined]  # an engine has it
        except errors.Error as exc:
            names = ", ".join(other.source.name for other in self.others)
            unknown.add_note(
                f"what became of it could not be found out ({exc}); what is prepared on {names} waits for recover()"
            )
            raise unknown from exc

    def undo(self, discard: bool = False) -> None:
        """Roll back, what is prepared too; but not what may have been decided."""
        if not self.is_asked:
            super().undo(discard)
        elif self.is_decided:
            self.begun = False
            self.give_up()
        else:
            self._end_prepared(False)

    def give_back(self) -> None:
        """A connection on which an XA transaction failed is not idle, although its status may say so."""
        if self.failure is not None and self.xid and self.source.driver.begins:
            self.give_up()
        else:
            super().give_back()

    def _end_prepared(self, commit: bool) -> None:
        """End what was prepared, on another connection where this one is gone; where that fails, `recover` does it later."""
        driver, listened = self.source.driver, self.source.listeners.functions
        started = self._started("COMMIT PREPARED" if commit else "ROLLBACK PREPARED") if listened else 0.0
        if not self.doubt:
            self.doubt = True
            try:
                driver.end_prepared(self.conn(), self.xid, commit)
                self.doubt = self.begun = self.is_asked = False
            except Exception as exc:
                if is_interruption(exc, driver, values=False):
                    raise
        if self.doubt:
            self.begun = self.is_asked = False
            self.give_up()
            self._end_elsewhere(commit)
        if listened:
            self._report_word("commit" if commit else "rollback", started)
        self.give_back()

    def _end_elsewhere(self, commit: bool) -> None:
        try:
            _end(self.source.engine, self.xid, commit)  # type: ignore[attr-defined]  # a Participant
        except errors.Error as exc:
            from logging import getLogger

            getLogger("sessionkit.session").error(
                "a transaction that was %s as a whole is still prepared on %s, and holds its locks there until recover(): %s",
                "committed" if commit else "rolled back", self.source.name, exc,
            )  # fmt: skip


class TwoPhaseStack(Stack):
    """What a session with `two_phase=True` has open."""

    __slots__ = ("decider", "token")

    def __init__(self, expire: bool) -> None:
        super().__init__(expire)
        self.decider: TwoPhaseLink | None = None
        self.token = ""

    def make_link(self, source: Any, holder: Holder, modes: Modes) -> Link:
        """
        Return a link to one more database.

        Raises:
            NotSupportedError: it is not the first, and its transactions cannot be prepared.
            ArgumentError: its name, or that of the first, is missing, the same or too long.
        """
        if source.has_other_lender:  # a sandbox undoes everything, and a given connection is ended by its giver
            return Link(source, holder, modes)
        first = next(iter(self.links.values()), None)
        if first is None:
            self.token = urandom(16).hex()
            _make_table(source)
            self.decider = TwoPhaseLink(source, holder, modes, self.token, "")
            return self.decider
        xid = _xid(self.token, first.source.name, source.name)
        driver = source.driver.two_phase(xid)
        if driver is None:
            raise NotSupportedError(
                f"a transaction on {source.name} ({source.driver.name}) cannot be prepared, so only the first database that a "
                f"two_phase transaction uses can be such a one, and that was {first.source.name}; use {source.name} first"
            )
        return TwoPhaseLink(Participant(source, driver), holder, modes, self.token, xid)

    def _by_risk(self) -> list[Any]:
        """Prepare all but the one that decides; it commits first, then the others."""
        links = super()._by_risk()
        begun = [link for link in links if link.begun]
        is_read_only = self.levels[0].modes[1]
        if is_read_only or len(begun) < 2 or not all(isinstance(link, TwoPhaseLink) for link in begun):
            return links
        decider = self.decider
        if decider is None or decider not in begun:
            raise InvalidRequestError(
                "the first database that this two_phase transaction used has no transaction; roll back, and begin again"
            )
        decider.others = [link for link in begun if link is not decider]
        decider.note()
        for link in decider.others:
            link.prepare()
        return [decider, *decider.others, *(link for link in links if not link.begun)]

    def _commit_stopped(self, exc: BaseException, link: Any) -> None:
        """An error or interrupt before all was decided undoes all; after that nothing is undone, and `recover` does the rest."""
        if link is None or not isinstance(link, TwoPhaseLink) or not link.is_asked:
            super()._commit_stopped(exc, link)
            return
        self._drop_because(exc, COMMITTED)
        exc.add_note("it is committed; what is still prepared elsewhere waits for recover()")


def _make_table(source: Any) -> None:
    """Make the table of rows that decide; who holds a place in the pool already gives it back for that."""
    engine = getattr(source, "engine", source)
    if not engine.has_marker and engine is not source:
        source.release()
    make_table(engine)


# -- after a crash


def recover(engines: Mapping[str, Any], timeout: float) -> list[Recovered]:
    """End what was left prepared on these databases (by their engines' names), as the row on the first one says."""
    until = monotonic() + timeout
    found: dict[tuple[str, str], Recovered] = {}
    decided: dict[str, bool] = {}
    able = [(name, engine) for name, engine in engines.items() if engine.driver.two_phase("") is not None]
    quiet = monotonic()
    while able and monotonic() < quiet + _SETTLING:
        for name, engine in able:
            try:
                listed = _prepared(engine)
            except errors.Error as exc:  # the others can be ended all the same
                found[name, ""] = Recovered(name, "", "left", str(exc))
                continue
            for xid in listed:
                token, first, participant = _parts(xid)
                if participant == name and (name, xid) not in found:
                    found[name, xid] = _recovered(engines, xid, token, first, engine, decided, until)
                    quiet = monotonic()
        sleep(_AGAIN)
    return list(found.values())


def _recovered(
    engines: Mapping[str, Any], xid: str, token: str, first: str, engine: Any, decided: dict[str, bool], until: float
) -> Recovered:
    if first not in engines:
        return Recovered(engine.name, xid, "left", f"its fate is written on {first}, which this registry does not have")
    try:
        if token not in decided:
            decider = engines[first]
            make_table(decider)
            left = max(until - monotonic(), 0.1)
            decided[token] = was_committed(lambda: decider.begin(statement_timeout=left), token)
        seen = monotonic()
        while not _end(engine, xid, decided[token]) and monotonic() < seen + _SETTLING:
            sleep(_AGAIN)
            if xid in _prepared(engine):
                seen = monotonic()
            if seen > until:
                return Recovered(engine.name, xid, "left", "its client is still there")
    except errors.Error as exc:
        return Recovered(engine.name, xid, "left", str(exc))
    return Recovered(engine.name, xid, "committed" if decided[token] else "rolled back")


@contextmanager
def _lent(engine: Any) -> Iterator[Any]:
    """Lend an idle connection; one on which something fails is closed."""
    lease = engine.lender.checkout()
    try:
        with map_errors(engine.driver):
            yield lease.conn
    except BaseException:
        engine.lender.discard(lease)
        raise
    engine.lender.checkin(lease)


def _prepared(engine: Any) -> list[str]:
    with _lent(engine) as conn:
        found: list[str] = engine.driver.prepared(conn)
    return found


def _end(engine: Any, xid: str, commit: bool) -> bool:
    """End a prepared transaction; False when there is none of that name, or when its client has not gone yet (MariaDB)."""
    with _lent(engine) as conn:
        return bool(engine.driver.end_prepared(conn, xid, commit))


def _xid(token: str, first: str, name: str) -> str:
    """Return what the transaction of a database is to be called: with the database that decides, and its own name."""
    if not first or not name or first == name:
        raise ArgumentError(
            f"the databases of a two_phase transaction have names, each its own; these are {first!r} and {name!r}"
        )
    xid = f"{_PREFIX}:{token}:{quote(first, safe='')}:{quote(name, safe='')}"
    if len(xid) > _LONGEST:
        raise ArgumentError(f"the names {first!r} and {name!r} are too long together for a two_phase transaction")
    return xid


def _parts(xid: str) -> tuple[str, str, str]:
    """Return token, first database and database of one of our names, and empty texts for any other."""
    prefix, _, rest = xid.partition(":")
    parts = rest.split(":")
    if prefix != _PREFIX or len(parts) != 3:
        return "", "", ""
    return parts[0], unquote(parts[1]), unquote(parts[2])
