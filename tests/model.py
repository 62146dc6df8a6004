"""What a session does, said a second time: a model without a database, and random walks that compare the two at each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sessionkit import InvalidRequestError, Rollback, TransactionAbortedError, TransactionLostError, UniqueViolation

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
