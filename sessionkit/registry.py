"""The registry: names for engines, one default, and one call that closes them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine import Engine, create_engine
from .errors import ArgumentError
from .retry.run import Runner
from .session.cleanup import raise_first
from .session.session import Block, Session
from .standby import ReadOnlyBinder, Standby
from .url import URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._typing import SQL, Parameters
    from .mapping.results import Result
    from .mapping.rows import Row
    from .mapping.values import Own
    from .session.twophase import Recovered


def engines_of(bind: Engine | Registry, what: str) -> list[Engine]:
    """
    Return the engine, or the engines of a registry.

    Raises:
        ArgumentError: it is neither; `what` is who takes it.
    """
    if isinstance(bind, Engine):
        return [bind]
    if isinstance(bind, Registry):
        return [bind[name] for name in bind.names]
    raise ArgumentError(f"{what} takes an Engine or a Registry, got {type(bind).__name__}")


class Registry(Runner):
    """
    The databases of a program by name. Lives as long as the program; adding one does no I/O.

    The default is the database called `default`, else the first one added. `values` says how the program's own types travel to and
    from each database that is added by its URL, as with `create_engine`.
    """

    def __init__(self, mapping: Mapping[str, str | URL | Engine] | None = None, *, values: Own | None = None) -> None:
        self._values = values
        self._engines: dict[str, Engine] = {}
        self._added: dict[str, tuple[Engine, URL | Engine, dict[str, Any]]] = {}
        self.standbys: dict[Engine, Standby] = {}
        """The databases that have a standby, and that."""
        for name, url in (mapping or {}).items():
            self.add(name, url)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, values: Own | None = None) -> Registry:
        """
        Return a registry of `DATABASE_URL` (as `default`) and each `<NAME>_DATABASE_URL` (as `name`, in lower case).

        Raises:
            ArgumentError: there is none, or one is no database URL; the text names the variable.
        """
        if environ is None:
            import os

            environ = os.environ
        found = cls(values=values)
        for variable in sorted(environ, key=lambda key: (key != "DATABASE_URL", key)):
            if variable == "DATABASE_URL" or variable.endswith("_DATABASE_URL"):
                name = variable.removesuffix("DATABASE_URL").rstrip("_").lower() or "default"
                try:
                    found.add(name, environ[variable])
                except ArgumentError as exc:
                    raise ArgumentError(f"{variable}: {exc}") from None
        if not found._engines:
            raise ArgumentError("neither DATABASE_URL nor a <NAME>_DATABASE_URL is set")
        return found

    def add(
        self, name: str, url: str | URL | Engine, *, standby: str | URL | Engine | None = None, **options: Any
    ) -> Engine:
        """
        Add a database under a name, by URL and `create_engine` options or as an Engine; return the engine.

        `standby` is a server that follows it: sessions with `read_only=True` (`registry.session`, `begin`, `run`) read there, and
        from the database itself while the standby is gone. The same name with the same options again is quiet.

        Raises:
            ArgumentError: the name is taken by another database or other options, or the URL is wrong.
        """
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"a database's name is a string that is not empty, got {name!r}")
        if isinstance(url, Engine) and options:
            raise ArgumentError(
                f"options for {name!r} belong to create_engine(), where its engine was made: {', '.join(options)}"
            )
        follower = standby if standby is None or isinstance(standby, Engine) else URL.parse(standby)
        added = (url if isinstance(url, Engine) else URL.parse(url), {**options, "standby": follower})
        if name not in self._engines:
            given = {"name": name, **({} if self._values is None else {"values": self._values}), **options}
            engine = url if isinstance(url, Engine) else create_engine(url, **given)
            if follower is not None:
                self.standbys[engine] = Standby(engine, self._follower(engine, follower, given))
            engine.name = engine.name or name
            self._added.setdefault(name, (engine, *added))  # of threads that add it at once, one does
            self._engines.setdefault(name, self._added[name][0])
        kept, *known = self._added[name]
        if known != [*added]:
            raise ArgumentError(
                f"{name!r} is registered already, with another URL or other options; choose another name"
            )
        return kept

    def _follower(self, engine: Engine, standby: URL | Engine, options: dict[str, Any]) -> Engine:
        """
        Return the engine of a standby.

        Raises:
            ArgumentError: it speaks with another driver than its primary.
        """
        found = (
            standby
            if isinstance(standby, Engine)
            else create_engine(standby, **{**options, "name": f"{engine.name} standby"})
        )
        if type(found.driver) is not type(engine.driver):
            raise ArgumentError(
                f"a standby has its primary's driver, {engine.driver.name}; this one has {found.driver.name}"
            )
        return found

    def resolve(self, name: str | None) -> Engine:
        """Return the engine of this name, or the default for None; an unknown name is an error that lists the known ones."""
        if name is None:
            return self.default
        try:
            return self._engines[name]
        except KeyError:
            raise ArgumentError(
                f"unknown database {name!r} (known: {', '.join(sorted(self._engines)) or 'none'})"
            ) from None

    def __getitem__(self, name: str) -> Engine:
        return self.resolve(name)

    def __contains__(self, name: object) -> bool:
        return name in self._engines

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._engines))

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they were added."""
        return list(self._engines)

    @property
    def default(self) -> Engine:
        """The engine called `default`, else the first one added; ArgumentError when there is none."""
        if not self._engines:
            raise ArgumentError("the registry is empty; add(name, url) a database first")
        return self._engines.get("default") or next(iter(list(self._engines.values())))  # others may be added meanwhile

    def session(self, **options: Any) -> Session:
        """Return a new session over these databases; the options are `Session`'s."""
        return Session(self._binder(options), **options)

    def begin(self, **options: Any) -> Block:
        """Return a block that is a session and its transaction in one: `with registry.begin() as session`."""
        return Block(self._binder(options), options)

    def _binder(self, options: Mapping[str, Any]) -> Any:
        return ReadOnlyBinder(self.resolve, self.standbys) if self.standbys and options.get("read_only") else self

    def execute(self, statement: SQL, parameters: Parameters = None, *, bind: str | None = None) -> Result[Row]:
        """Run one statement in a transaction of its own; see `Engine.execute`."""
        return self.resolve(bind).execute(statement, parameters)

    def recover(self, timeout: float = 10.0) -> list[Recovered]:
        """
        End what sessions with `two_phase=True` left prepared when their program died; return what was done with each.

        To be called when the program starts. What is under way in another process is waited for, `timeout` seconds at most, and is
        never disturbed. What cannot be settled is returned as `left`, with the reason.
        """
        from .session.twophase import recover

        return recover({engine.name: engine for engine in self._engines.values()}, timeout)

    def dispose(self) -> None:
        """Dispose of every engine, whatever fails; the first failure is raised at the end."""
        failures: list[BaseException] = []
        followers = [found.standby for found in self.standbys.values()]
        for engine in [*self._engines.values(), *followers]:
            try:
                engine.dispose()
            except Exception as exc:
                failures.append(exc)
        raise_first(failures)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exc: object) -> None:
        self.dispose()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Registry is not copied or sent to another process: make one there from its URLs")

    def __repr__(self) -> str:
        return f"<Registry: {', '.join(self._engines) or 'empty'}>"
