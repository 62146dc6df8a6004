"""Where a lesson is played: a database, named sessions that take turns, each in a thread of its own, and the recording."""

from __future__ import annotations

import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine import Engine, create_engine
from ..errors import ArgumentError, LockTimeoutError, PoolDeadlockError
from ..trace.recording import attach, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..session.session import Session
    from ..trace.recording import Recording
    from ..trace.watcher import Watcher
    from ..url import URL

T = TypeVar("T")
HAS_THREADS = sys.platform != "emscripten"
"""Whether sessions can be in threads of their own: in a browser they cannot."""
PATIENCE = 10.0
"""Seconds after which a lesson that does not go on is wrong."""


class Pending:
    """A step that somebody has begun and that may be waiting for somebody else."""

    def __init__(self, step: Callable[[Session], Any]) -> None:
        self.step = step
        self.error: BaseException | None = None
        self._value: Any = None
        self._over = threading.Event()

    def run(self, session: Session) -> None:
        """Do it, in the thread of its session."""
        try:
            self._value = self.step(session)
        except BaseException as exc:
            self.error = exc
        finally:
            self._over.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long for its end; return whether it has ended."""
        return self._over.wait(seconds)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def result(self) -> Any:
        """Wait for its end; return what it returned, or raise what it raised."""
        if not self._over.wait(PATIENCE):
            raise TimeoutError("this step has not ended")
        if self.error is not None:
            raise self.error
        return self._value


class Player:
    """One session of a lesson, with a name; each step runs in its own thread, and the lesson waits for its end."""

    def __init__(self, stage: Stage, name: str, engine: Engine) -> None:
        self.name = name
        self._stage = stage
        self._steps: SimpleQueue[Pending | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._play, args=(engine,), name=name, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        self._ready.wait(PATIENCE)

    def _play(self, engine: Engine) -> None:
        with engine.session() as session:
            self._stage.recording.name(session, self.name, "")
            self._session = session
            self._ready.set()
            while (step := self._steps.get()) is not None:
                step.run(session)
            session.reset()

    def starts(self, step: Callable[[Session], Any] | str, parameters: Any = None) -> Pending:
        """Begin a step (a function of the session, or a statement), and return when it has ended, or waits for another session."""
        pending = self._pending(step, parameters)
        waited = self._stage.count_waits(self.name)
        self._steps.put(pending)
        for _ in range(int(PATIENCE * 100)):
            if pending.wait(0.01) or self._stage.count_waits(self.name) > waited:
                return pending
        raise TimeoutError(f"{self.name} neither ends nor is seen to wait")

    def does(self, step: Callable[[Session], T] | str, parameters: Any = None) -> Any:
        """Do a step (a function of the session, or a statement), and return what it returns."""
        pending = self._pending(step, parameters)
        self._steps.put(pending)
        return pending.result()

    def _pending(self, step: Callable[[Session], Any] | str, parameters: Any) -> Pending:
        if not isinstance(step, str):
            return Pending(step)
        if parameters is not None:
            self.notes(f"with {', '.join(map(repr, parameters))}:")
        return Pending(lambda session: session.execute(step, parameters))

    def reads(self, statement: str, parameters: Any = None) -> Any:
        """Run a query in the session's transaction, note on its lane what came, and return the first value."""
        found = self.does(lambda session: session.scalar(statement, parameters))
        self.notes(f"reads {found}")
        return found

    def begins(self, **modes: Any) -> None:
        """Begin a transaction that is ended by `commits()` or `rolls_back()`."""
        self._handle = self.does(lambda session: session.begin(**modes))

    def commits(self) -> None:
        """Commit, whether it began by itself or by `begins()`."""
        self.does(lambda session: session.commit())

    def rolls_back(self) -> None:
        """Roll back."""
        self.does(lambda session: session.rollback())

    def notes(self, text: str) -> None:
        """Put a text on the session's lane."""
        self._stage.recording.note(self._session, text)

    def leaves(self) -> None:
        """End the session and its thread."""
        self._steps.put(None)
        self._thread.join(PATIENCE)


class InlinePlayer(Player):
    """The same where there are no threads (WebAssembly): a step that would wait is put off until its result is asked for."""

    def __init__(self, stage: Stage, name: str, engine: Engine) -> None:
        self.name = name
        self._stage = stage
        self._session = engine.session()
        stage.recording.name(self._session, name, "")

    def starts(self, step: Callable[[Session], Any] | str, parameters: Any = None) -> Pending:
        """Do a step, or find that it has to wait."""
        pending = self._pending(step, parameters)
        pending.run(self._session)
        if isinstance(pending.error, (LockTimeoutError, PoolDeadlockError)):
            self.notes("has to wait for another session")
            return PutOff(pending.step, self._session)
        return pending

    def does(self, step: Callable[[Session], T] | str, parameters: Any = None) -> Any:
        """Do a step."""
        pending = self._pending(step, parameters)
        pending.run(self._session)
        return pending.result()

    def leaves(self) -> None:
        """End the session."""
        self._session.close()


class PutOff(Pending):
    """A step that waits for its session's turn: it is done when its result is asked for."""

    def __init__(self, step: Callable[[Session], Any], session: Session) -> None:
        super().__init__(step)
        self._session = session

    def result(self) -> Any:
        """Do it now."""
        if not self.is_over:
            self.run(self._session)
        return super().result()


class Stage:
    """
    What a lesson is given. `engine` is the database, `recording` what is recorded of it.

    `has_one_writer` tells whether writers exclude each other as a whole (SQLite), `levels` the isolation levels that there are.
    """

    def __init__(self, engine: Engine, folder: Path, recording: Recording, watcher: Watcher | None = None) -> None:
        self.engine = engine
        self.folder = folder
        self.recording = recording
        self._watcher = watcher
        self._aside = create_engine(engine.url)
        self._players: list[Player] = []
        self._engines: list[Engine] = []
        self._tables: list[str] = []

    @property
    def has_one_writer(self) -> bool:
        """Whether only one session at a time can write: SQLite."""
        return self.engine.line is not None

    @property
    def levels(self) -> tuple[str, ...]:
        """The isolation levels of this database, weakest first."""
        return tuple(self.engine.driver.isolation_levels)

    def table(self, name: str, columns: str, *rows: tuple[Any, ...]) -> None:
        """Make a table anew, with rows in it; its name begins with `lesson_`, so that no table of anybody's is in the way."""
        if not name.startswith("lesson_"):
            raise ArgumentError(f"a lesson's tables begin with lesson_, got {name!r}")
        self._aside.execute(f"drop table if exists {name}")
        self._aside.execute(f"create table {name} ({columns})")
        self._tables.append(name)
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            with self._aside.begin() as session:
                session.executemany(f"insert into {name} values ({marks})", rows)

    def looks(self, statement: str) -> list[Any]:
        """Run a statement on a connection of nobody's lane, and return the first column of what comes."""
        found = self._aside.execute(statement)
        return found.scalars() if found.columns else []

    def players(self, *names: str, engine: Engine | None = None) -> list[Player]:
        """Return named sessions, which take turns."""
        kind = Player if HAS_THREADS else InlinePlayer
        made = [kind(self, name, engine or self.engine) for name in names]
        self._players += made
        return made

    def another_engine(self, url: str | URL | None = None, **options: Any) -> Engine:
        """Return another engine, on this database or another one, which is recorded too."""
        engine = create_engine(url or self.engine.url, **options)
        self._engines.append(engine)
        attach(engine, self.recording, self._watcher)
        return engine

    @contextmanager
    def losing_an_answer(self) -> Iterator[Engine]:
        """Return an engine through a wire that is cut once: in the place of the answer to the next COMMIT."""
        from ..testing.proxy import Commits, Proxy

        is_commit, state = Commits(), {"cutting": False, "done": False}

        def sent(data: bytes) -> bool:
            """Look for COMMIT, and let it pass."""
            state["cutting"] = is_commit(data) and not state["done"]
            return True

        def answered(data: bytes) -> bool:
            """Cut its answer off."""
            cut, state["cutting"] = state["cutting"], False
            state["done"] = state["done"] or cut
            return not cut

        url = self.engine.url
        with Proxy(url.port or 0) as wire:
            wire.on_sent, wire.on_answer = sent, answered
            yield self.another_engine(url.at("127.0.0.1", wire.port), pool_size=2)
            if not state["done"]:
                raise AssertionError("no COMMIT came by")

    def first_over(self, *steps: Pending) -> Pending:
        """Return the step that ends first."""
        for _ in range(int(PATIENCE * 100)):
            for step in steps:
                if step.is_over:
                    return step
            steps[0].wait(0.01)
        raise TimeoutError("none of these steps ends")

    def count_waits(self, name: str) -> int:
        """Return how often a session has been seen to wait for another one."""
        names = [lane.name for lane in self.recording.lanes]
        return sum(
            moment.kind == "waits" and moment.lane is not None and names[moment.lane] == name
            for moment in self.recording.events
        )

    def clear(self) -> None:
        """End what is left: sessions, tables, engines."""
        for player in self._players:
            player.leaves()
        for name in reversed(self._tables):
            self._aside.execute(f"drop table if exists {name}")
        for engine in (self._aside, *self._engines):
            engine.dispose()


@contextmanager
def stage(url: str | None = None) -> Iterator[Stage]:
    """
    Return a stage on a database, by default SQLite in a temporary folder.

    Raises:
        ArgumentError: sessions cannot be side by side there: a database in memory, or one without savepoints.
    """
    with tempfile.TemporaryDirectory(prefix="sessionkit-") as folder:
        options: dict[str, Any] = {} if url else {"busy_timeout": PATIENCE if HAS_THREADS else 0.05}
        with create_engine(url or f"sqlite:///{folder}/lesson.db", **options) as engine:
            if engine.is_in_memory or not engine.driver.has_savepoints:
                raise ArgumentError(
                    "a lesson needs SQLite in a file, PostgreSQL or MySQL: several sessions side by side"
                )
            with record(engine, watch=HAS_THREADS) as recording:
                found = Stage(engine, Path(folder), recording)
                try:
                    yield found
                finally:
                    found.clear()
