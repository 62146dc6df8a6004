"""Who waits for whom: asked while a statement takes long, in a thread and on a connection of its own."""

from __future__ import annotations

import threading
from threading import current_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import Error, map_errors
from ..events import TURN
from .moments import WaitEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine import Engine
    from ..events import Event, Origin, StartEvent

LONG = 0.05
"""Seconds that something must have taken before anybody is asked."""
ASKING = 0.12
"""
Seconds between two questions to a server. InnoDB answers from a copy, which it renews when nobody has read it for 0.1 s: who asks
more often gets the same answer for ever.
"""


class Watcher:
    """
    Knows what is under way, and tells `hear` of each wait for another session, once.

    Its thread starts with the first thing that takes long enough to be looked at, and ends with `stop()`.
    """

    def __init__(self, hear: Callable[[Any], object]) -> None:
        self._hear = hear
        # by transaction: since when, whose, in which thread, where, what
        self._running: dict[int, tuple[float, Origin, str, Engine, str]] = {}
        self._told: set[tuple[float, Origin, int]] = set()
        self._connections: dict[Engine, Any] = {}
        self._asked: dict[Engine, float] = {}
        self._wanted = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    # -- what is under way

    def started(self, engine: Engine) -> Callable[[StartEvent], None]:
        """Return what is called before something runs on an engine."""
        running, wanted = self._running, self._wanted

        def start(event: StartEvent) -> None:
            """Note it."""
            origin = event.origin
            if origin is not None:
                running[origin.transaction] = (perf_counter(), origin, current_thread().name, engine, event.statement)
                if not wanted.is_set():
                    if self._thread is None:
                        self._begin()
                    wanted.set()

        return start

    def ended(self, event: Event) -> None:
        """Forget what is over."""
        origin: Origin | None = getattr(event, "origin", None)
        if origin is not None:
            self._running.pop(origin.transaction, None)

    # -- the thread

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="sessionkit trace", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and close its connections."""
        self._over.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._over.is_set():
                if not self._running:
                    self._wanted.clear()
                    if not self._running and not self._over.is_set():
                        self._wanted.wait()
                self._look()
                self._over.wait(LONG / 2)
        finally:
            for engine, conn in self._connections.items():
                engine.driver.close(conn)

    def _look(self) -> None:
        now = perf_counter()
        slow: dict[Engine, dict[int, tuple[float, Origin, str]]] = {}
        for since, origin, thread, engine, what in list(self._running.values()):
            if now - since >= LONG and (engine.line is None or what == TURN):
                slow.setdefault(engine, {})[origin.session] = (since, origin, thread)
        for engine, sessions in slow.items():
            waits = self._by_line(engine, sessions) if engine.line is not None else self._by_server(engine)
            for waiting, blocking in waits:
                if waiting not in sessions:
                    continue
                since, origin, thread = sessions[waiting]
                if (since, origin, blocking) not in self._told:
                    self._told.add((since, origin, blocking))
                    self._hear(WaitEvent(engine.name, origin, thread, blocking, since))

    def _by_line(self, engine: Engine, sessions: dict[int, Any]) -> list[tuple[int, int]]:
        """Return who stands in line for the turn to write, and who has it."""
        holders = [session for session, _ in engine.line.holders()] if engine.line is not None else []
        return [(one, holder) for one in sessions for holder in holders if not {one} & set(holders)]

    def _by_server(self, engine: Engine) -> list[tuple[int, int]]:
        """Ask the server, and return whose session waits for whose."""
        driver, now = engine.driver, perf_counter()
        if now - self._asked.get(engine, 0.0) < ASKING:
            return []
        self._asked[engine] = now
        try:
            with map_errors(driver):
                conn = self._connections.get(engine)
                if conn is None:
                    conn = self._connections[engine] = driver.connect(engine.url, engine.connect_options)
                sessions = {
                    driver.connection_id(held): session for session, held in engine.pool.holders() if held is not None
                }
                found = driver.blockers(conn)
                driver.clean(conn)
        except Error:  # the server is busy, or gone: nobody is told of waits then
            self._connections.pop(engine, None)
            return []
        return [(sessions[one], sessions[other]) for one, other in found if one in sessions and other in sessions]
