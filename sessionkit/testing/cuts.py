"""The part of the driver contract that cuts the wire, before COMMIT, in it and after it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import errors
from .proxy import Commits, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engine import Engine


class Cuts:
    """What a driver does when its connection goes; a database without a wire passes."""

    if TYPE_CHECKING:
        engine: Engine

        def notes(self) -> list[Any]: ...
        def put(self, session: Any, number: int, note: str = "x") -> None: ...
        def came_to(self, promise: str, how: str) -> None: ...

    def _cut(self, look: Any) -> Iterator[tuple[Engine, Proxy]]:
        """Yield an engine whose wire a proxy cuts, if the driver has a wire."""
        from ..engine import create_engine

        url = self.engine.url
        if url.host not in ("127.0.0.1", "localhost") or url.port is None:
            return
        with Proxy(url.port) as proxy:
            wire = url.at("127.0.0.1", proxy.port)
            with create_engine(wire, driver=self.engine.driver, pool_size=1) as engine:
                look(proxy)
                yield engine, proxy

    def test_cut_before_commit(self) -> None:
        """Nothing of it is there, and the error says so."""
        caught: BaseException | None = None
        for engine, proxy in self._cut(lambda proxy: None):
            try:
                with engine.begin() as session:
                    self.put(session, 1)
                    proxy.cut()
                    time.sleep(0.2)
            except errors.OperationalError as exc:
                caught = exc
            assert isinstance(
                caught, (errors.TransactionLostError, errors.DisconnectionError, errors.CommitUnknownError)
            )
            self.came_to("cut before COMMIT", type(caught).__name__)
            with engine.begin() as session:
                self.put(session, 2, "next")
        if caught is not None:
            assert self.notes() == ["next"]

    def test_cut_in_commit(self) -> None:
        """COMMIT arrived, its answer did not: nobody knows, and the error says that."""
        caught: BaseException | None = None
        armed, cutting, is_commit = [False], [False], Commits()

        def look(proxy: Proxy) -> None:
            """Let COMMIT pass, and cut instead of the answer."""

            def sent(data: bytes) -> bool:
                """Look for COMMIT."""
                cutting[0] = is_commit(data) and armed[0]
                return True

            proxy.on_sent = sent
            proxy.on_answer = lambda data: not cutting[0]

        for engine, _proxy in self._cut(look):
            with engine.begin() as session:
                self.put(session, 1, "first")
            armed[0] = True
            try:
                with engine.begin() as session:
                    self.put(session, 2, "second")
            except errors.CommitUnknownError as exc:
                caught = exc
            armed[0] = cutting[0] = False
            assert caught is not None
            with engine.begin() as session:
                self.put(session, 3, "next")
            self.came_to("cut in COMMIT", "CommitUnknownError")
        if caught is not None:
            assert self.notes() == ["first", "second", "next"]

    def test_cut_after_commit(self) -> None:
        """The next one gets a new connection."""
        for engine, proxy in self._cut(lambda proxy: None):
            with engine.begin() as session:
                self.put(session, 1, "first")
            proxy.cut()
            time.sleep(0.2)
            with engine.begin() as session:
                self.put(session, 2, "next")
            assert self.notes() == ["first", "next"]
            self.came_to("cut between two transactions", "nobody notices")

    def test_round_trips(self) -> None:
        """How often a unit of work of one statement waits for the server."""
        for engine, proxy in self._cut(lambda proxy: None):
            with engine.begin() as session:
                self.put(session, 1)
            before = proxy.trips
            with engine.begin() as session:
                self.put(session, 2)
            self.came_to("round trips of a unit of work", str(proxy.trips - before))

    def test_a_pipeline(self) -> None:
        """Two writes with `pipeline=True` are there, an error in one keeps nothing; how often that waits for the server."""
        with self.engine.begin(pipeline=True) as session:
            self.put(session, 1, "first")
            self.put(session, 2, "second")
        caught: BaseException | None = None
        try:
            with self.engine.begin(pipeline=True) as session:
                self.put(session, 3, "third")
                self.put(session, 1, "again")
        except errors.IntegrityError as exc:
            caught = exc
        assert caught is not None
        assert self.notes() == ["first", "second"]
        for engine, proxy in self._cut(lambda proxy: None):
            engine.ping()
            before = proxy.trips
            with engine.begin(pipeline=True) as session:
                self.put(session, 4)
                self.put(session, 5)
            self.came_to("round trips of two writes with `pipeline=True`", str(proxy.trips - before))
