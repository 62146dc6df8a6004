"""What a session does, said a second time: a model without a database, and random walks that compare the two at each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sessionkit import (
    DataError,
    InvalidRequestError,
    Rollback,
    TransactionAbortedError,
    TransactionLostError,
    UniqueViolation,
)

from .conftest import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Database

INSERT = "insert into item (name, price) values (:name, 1)"
SELECT = "select id, name, price from item"


@dataclass(eq=False)
class Level:
    """A level of the transaction as the model has it; `handle` is the real one, None where it began by itself."""

    nested: bool = False
    handle: Any = None
    entered: bool = False
    status: str = "active"
    rows: set[str] = field(default_factory=set)
    on_commit: list[str] = field(default_factory=list)
    on_rollback: list[str] = field(default_factory=list)


class Walk(RuleBasedStateMachine):
    """
    One session, whatever a program may do with it, and what docs/design.md says of it.

    `doomed` is the depth of the level in which a statement failed, where errors abort transactions (PostgreSQL).
    """

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.engine = self.database.main
        self.session = self.engine.session()
        self.engine.execute("delete from item")
        self.engine.execute(INSERT, {"name": "first"})
        self.committed = {"first"}
        self.levels: list[Level] = []
        self.ended: list[Level] = []
        self.blocks: list[Level] = []  # entered, innermost last
        self.orphans: list[Level] = []  # those whose transaction ended inside them
        self.doomed: int | None = None
        self.leased = False
        self.held: dict[str, Item] = {}
        self.owed: list[str] = []
        self.due: list[str] = []  # the hooks that must have run
        self.ran: list[str] = []
        self.count = 0

    # -- the model

    @property
    def visible(self) -> set[str]:
        """The rows that the session sees."""
        return self.committed.union(*(level.rows for level in self.levels))

    @property
    def in_block(self) -> bool:
        """Whether commit() and rollback() are refused."""
        return bool(self.orphans) or any(level.entered for level in self.levels)

    def speaks(self) -> type[Exception] | None:
        """A statement is about to run: it begins, and leases; return what it raises instead of running."""
        if self.orphans:
            return TransactionLostError
        self.levels = self.levels or [Level()]
        self.leased = True
        return None if self.doomed is None else TransactionAbortedError

    def opens(self, nested: bool) -> Level:
        """Return the level that begin() or begin_nested() opens: a new one, or the one that began by itself."""
        if not self.levels:
            self.levels = [Level()]
        elif nested or len(self.levels) > 1 or self.levels[0].handle is not None:
            self.levels.append(Level(nested=True))
        return self.levels[-1]

    def drops(self) -> None:
        """Everything is rolled back."""
        for level in self.levels:
            level.status = "rolled back"
            self.due += level.on_rollback
        self.orphans += [level for level in self.levels if level.entered]
        self.ends()

    def ends(self) -> None:
        """The transaction is over."""
        self.due += self.owed
        self.ended += self.levels
        self.levels, self.owed, self.held, self.doomed, self.leased = [], [], {}, None, False

    def undoes(self, level: Level) -> None:
        """A level is rolled back, and all within it."""
        if not level.nested:
            self.drops()
            return
        depth = self.levels.index(level)
        if self.doomed is not None and self.doomed >= depth:
            self.doomed = None
        for inner in reversed(self.levels[depth:]):
            inner.status = "rolled back"
            self.owed += inner.on_rollback
        self.ended += self.levels[depth:]
        del self.levels[depth:]
        self.held = {}

    def keeps(self, level: Level) -> type[Exception] | None:
        """A level is committed; return what that raises."""
        if self.levels[-1] is not level:
            return InvalidRequestError
        if self.doomed is not None and self.doomed >= len(self.levels) - 1:
            self.undoes(level)
            return TransactionAbortedError
        level.status = "committed"
        if not level.nested:
            self.committed |= level.rows
            self.due += level.on_commit
            self.ends()
            return None
        parent = self.levels[-2]
        parent.rows |= level.rows
        parent.on_commit += level.on_commit
        parent.on_rollback += level.on_rollback
        self.ended.append(self.levels.pop())
        return None

    def compare(self, call: Callable[[], object], wanted: type[Exception] | None) -> None:
        """Call, and hold what it raises against what the model says."""
        raised: Exception | None = None
        try:
            call()
        except Exception as exc:
            raised = exc
        assert (type(raised) if raised else None) is wanted, raised

    # -- statements

    @rule()
    def inserts(self) -> None:
        """A new row."""
        self.count += 1
        name = f"n{self.count}"
        wanted = self.speaks()
        if wanted is None:
            self.levels[-1].rows.add(name)
        self.compare(lambda: self.session.execute(INSERT, {"name": name}), wanted)

    @rule(data=st.data())
    def inserts_twice(self, data: st.DataObject) -> None:
        """A row that is there already: where errors abort transactions, this one is doomed."""
        name = data.draw(st.sampled_from(sorted(self.visible)))
        wanted = self.speaks()
        if wanted is None:
            wanted = UniqueViolation
            if self.database.kind == "postgres":
                self.doomed = len(self.levels) - 1
        self.compare(lambda: self.session.execute(INSERT, {"name": name}), wanted)

    @rule()
    def selects(self) -> None:
        """What the session sees, through the identity map: an object that is held is the same again."""
        wanted = self.speaks()

        def look() -> None:
            found = self.session.query(Item, SELECT).all()
            assert {item.name for item in found} == self.visible
            for item in found:
                assert self.held.setdefault(item.name, item) is item

        self.compare(look, wanted)

    # -- levels

    @rule(nested=st.booleans(), block=st.booleans())
    def begins(self, nested: bool, block: bool) -> None:
        """A handle, or a block."""
        begin = self.session.begin_nested if nested else self.session.begin
        if self.orphans:
            self.compare(begin, TransactionLostError)
            return
        level = self.opens(nested)
        level.handle = begin()
        if block:
            level.handle.__enter__()
            level.entered = True
            self.blocks.append(level)

    @precondition(lambda self: any(level.handle for level in self.levels + self.ended))
    @rule(data=st.data(), commit=st.booleans())
    def ends_a_handle(self, data: st.DataObject, commit: bool) -> None:
        """One of those that are open, or the last that has ended."""
        handles = [level for level in self.ended[-1:] + self.levels if level.handle is not None]
        if not handles:
            return
        level = data.draw(st.sampled_from(handles))
        wanted: type[Exception] | None = None
        if level not in self.levels or any(inner.entered for inner in self.levels[self.levels.index(level) :]):
            wanted = InvalidRequestError
        elif commit:
            wanted = self.keeps(level)
        else:
            self.undoes(level)
        self.compare(level.handle.commit if commit else level.handle.rollback, wanted)
        assert level.handle.status == level.status

    @precondition(lambda self: self.blocks)
    @rule(way=st.sampled_from([None, ValueError, Rollback]))
    def leaves(self, way: type[BaseException] | None) -> None:
        """The innermost block ends, well or by an exception."""
        level = self.blocks.pop()
        level.entered = False
        self.orphans = [orphan for orphan in self.orphans if orphan is not level]
        wanted: type[Exception] | None = None
        if way is None and level not in self.levels:
            wanted = TransactionLostError
        elif way is None and self.levels[-1] is level:
            wanted = self.keeps(level)
        elif level in self.levels:
            self.undoes(level)
            wanted = InvalidRequestError if way is None else None  # a handle within it is open

        def leave() -> None:
            swallowed = level.handle.__exit__(way, way and way(), None)
            assert bool(swallowed) == (way is Rollback)

        self.compare(leave, wanted)
        assert level.handle.status == level.status

    # -- ends

    @rule()
    def commits(self) -> None:
        """Refused in a block, and while a nested handle is open."""
        wanted: type[Exception] | None = None
        if self.in_block or len(self.levels) > 1:
            wanted = InvalidRequestError
        elif self.levels:
            wanted = self.keeps(self.levels[0])
        self.compare(self.session.commit, wanted)

    @rule()
    def rolls_back(self) -> None:
        """Refused in a block."""
        wanted = InvalidRequestError if self.in_block else None
        if not self.in_block:
            self.drops()
        self.compare(self.session.rollback, wanted)

    @rule(way=st.sampled_from(["close", "reset", "invalidate"]))
    def gets_out(self, way: str) -> None:
        """Refused nowhere."""
        self.drops()
        self.compare(getattr(self.session, way), None)

    @rule()
    def hooks(self) -> None:
        """One of each kind; with nothing begun they begin, and lease nothing."""
        if self.orphans:
            self.compare(lambda: self.session.after_commit(print), TransactionLostError)
            return
        self.levels = self.levels or [Level()]
        self.count += 1
        kept, undone = f"kept {self.count}", f"undone {self.count}"
        self.levels[-1].on_commit.append(kept)
        self.levels[-1].on_rollback.append(undone)
        self.session.after_commit(lambda: self.ran.append(kept))
        self.session.after_rollback(lambda: self.ran.append(undone))

    # -- at each step

    @invariant()
    def agree(self) -> None:
        """What the session says of itself, what it holds, whom it has told, and what others see."""
        session = self.session
        assert session.in_transaction() == bool(self.levels)
        assert session.in_nested_transaction() == (len(self.levels) > 1)
        assert session.is_active == (not self.orphans and self.doomed is None)
        assert sorted(self.ran) == sorted(self.due)
        assert self.engine.pool.stats()["used"] == int(self.leased)
        assert all(item in session for item in self.held.values())
        assert (not self.held) == (not session.identity_map)
        assert set(self.database.names()) == self.committed

    def teardown(self) -> None:
        """Leave every block, and close."""
        while self.blocks:
            self.leaves(None)
        self.drops()
        self.session.close()
        self.agree()


# -- with faults


FAULTS = [
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "release",
    "rollback_to",
    "insert",
    "savepoint+",
    "release+",
    "rollback_to+",
]
"""The words that a driver's error hits before they are sent; with `+`, when they have been executed."""


class Faults:
    """What is to go wrong at the next of these words, and what has."""

    def __init__(self) -> None:
        self.armed: set[str] = set()
        self.fired: set[str] = set()

    def hit(self, word: str, error: type[Exception]) -> None:
        """Raise the driver's error where one is armed, once."""
        if word in self.armed:
            self.armed.discard(word)
            self.fired.add(word)
            raise error("broken off")


def faulty(driver: Any, faults: Faults) -> Any:
    """Return a driver that is like another one, but for its faults."""
    error = driver.dbapi().DataError

    def failing(verb: str, word: str) -> Any:
        original = getattr(type(driver), verb)

        def call(self: Any, *arguments: Any) -> Any:
            faults.hit(word, error)
            if verb == "fetch_first":
                faults.hit("begin", error)
            found = original(self, *arguments)
            faults.hit(f"{word}+", error)
            return found

        return call

    verbs = {verb: verb for verb in ("begin", "commit", "rollback", "savepoint", "release", "rollback_to")}
    members = {
        verb: failing(verb, word) for verb, word in {**verbs, "fetch": "insert", "fetch_first": "insert"}.items()
    }
    return type("Faulty", (type(driver),), {**members, "module": driver.module})()


class FaultyWalk(RuleBasedStateMachine):
    """
    One session whose driver fails now and then; the model is told which words failed, and says what is kept.

    `doomed`: what an inner level undid could not be undone, so that nothing of the transaction may be kept.
    `is_set_twice`: a savepoint was set though its word failed, and may have been set again; where the server keeps both,
    the work can still be undone after RELEASE, so the session is asked whether it could.
    """

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self.engine = self.database.engine(pool_size=1)
        self.engine.driver = faulty(self.engine.driver, self.faults)
        self.session = self.engine.session()
        self.database.main.execute("delete from item")
        self.committed: set[str] = set()
        self.levels: list[tuple[Any, bool, set[str]]] = []  # handle, whether it is a block, rows
        self.doomed = self.is_set_twice = False
        self.count = 0

    def call(self, fn: Callable[[], object], faults: tuple[str, ...]) -> tuple[type[Exception] | None, set[str]]:
        """Call with faults; return what came out and what was hit."""
        self.faults.armed, self.faults.fired = set(faults), set()
        raised: type[Exception] | None = None
        try:
            fn()
        except Exception as exc:
            raised = type(exc)
        self.faults.armed = set()
        return raised, self.faults.fired

    @rule(fault=st.sampled_from(["", "", "begin", "savepoint", "savepoint+", "insert"]))
    def inserts(self, fault: str) -> None:
        """A row, unless BEGIN, SAVEPOINT or the statement fails, which leaves the rest as it was."""
        self.count += 1
        name = f"n{self.count}"
        self.levels = self.levels or [(None, False, set())]
        raised, fired = self.call(lambda: self.session.execute(INSERT, {"name": name}), (fault,))
        if self.doomed:
            assert (raised, fired) == (TransactionLostError, set())
        elif fired:
            assert raised is DataError
            self.is_set_twice |= "savepoint+" in fired
        else:
            assert raised is None
            self.levels[-1][2].add(name)

    @precondition(lambda self: len(self.levels) < 5)
    @rule(block=st.booleans())
    def begins(self, block: bool) -> None:
        """A level within, or the outermost."""
        taken_over = len(self.levels) == 1 and self.levels[0][0] is None
        handle = self.session.begin()
        if block:
            handle.__enter__()
        if taken_over:
            self.levels[0] = (handle, block, self.levels[0][2])
        else:
            self.levels.append((handle, block, set()))

    @precondition(lambda self: len(self.levels) > 1)
    @rule(
        keep=st.booleans(),
        faults=st.sampled_from([(), (), ("release",), ("release+",), ("rollback_to",), ("rollback_to+",), ("release", "rollback_to")]),
        way=st.sampled_from([ValueError, Rollback]),
    )  # fmt: skip
    def ends_the_innermost(self, keep: bool, faults: tuple[str, ...], way: type[Exception]) -> None:
        """Its rows go to the level around it, or nowhere; where neither can be sure, nothing at all is kept."""
        handle, block, rows = self.levels.pop()

        def end() -> None:
            if block:
                handle.__exit__(None if keep else way, None if keep else way(), None)
            else:
                handle.commit() if keep else handle.rollback()

        raised, fired = self.call(end, faults)
        if self.doomed:
            assert raised in (None, TransactionLostError)
            assert not fired & {"release", "release+"}
        elif fired & {"release+", "rollback_to", "rollback_to+"}:
            self.doomed = not (self.is_set_twice and fired == {"release+"} and self.session.is_active)
            assert raised is (DataError if keep or not block else None)
        elif fired:
            assert (raised, fired) == (DataError, {"release"})
        else:
            assert raised is None
            if keep:
                self.levels[-1][2].update(rows)

    @precondition(lambda self: len(self.levels) == 1)
    @rule(keep=st.booleans(), faults=st.sampled_from([(), (), ("commit",), ("rollback",), ("commit", "rollback")]))
    def ends_it(self, keep: bool, faults: tuple[str, ...]) -> None:
        """All of it is kept, or nothing."""
        handle, block, rows = self.levels.pop()

        def end() -> None:
            if block:
                handle.__exit__(None if keep else ValueError, None if keep else ValueError(), None)
            else:
                self.session.commit() if keep else self.session.rollback()

        raised, fired = self.call(end, faults)
        if keep and self.doomed:
            assert raised is TransactionLostError
        elif keep and "commit" in fired:
            assert raised is DataError
        elif keep:
            assert raised is None
            self.committed |= rows
        else:
            assert raised is (DataError if fired and not block else None)
        self.doomed = self.is_set_twice = False

    @rule(way=st.sampled_from(["close", "reset", "invalidate"]), faults=st.sampled_from([(), ("rollback",)]))
    def gets_out(self, way: str, faults: tuple[str, ...]) -> None:
        """Nothing is kept, nothing is raised; open blocks are left by their exception."""
        raised, _ = self.call(getattr(self.session, way), faults)
        assert raised is None
        while self.levels:
            handle, block, _ = self.levels.pop()
            if block:
                handle.__exit__(ValueError, ValueError(), None)
        self.doomed = self.is_set_twice = False

    @invariant()
    def agrees(self) -> None:
        """Another connection sees what was committed, and the session is usable where the model says so."""
        assert set(self.database.names()) == self.committed
        assert self.session.in_transaction() == bool(self.levels)
        if self.doomed:
            assert not self.session.is_active

    def teardown(self) -> None:
        """Get out, and let go."""
        self.gets_out("close", ())
        assert self.engine.pool.stats()["used"] == 0
        self.engine.dispose()
        self.database.engines.remove(self.engine)
