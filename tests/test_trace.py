"""Seeing a transaction: what a recording keeps of real databases, and how it is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit import ArgumentError, DeadlockError, Registry, UniqueViolation, create_engine
from sessionkit.trace import Moment, Recording, record
from sessionkit.trace.explain import MARKS, Words

from .conftest import Item

if TYPE_CHECKING:
    from .conftest import Database

ROOT = Path(__file__).parent.parent


def kinds(recording: Recording) -> list[str]:
    """Return what happened, by kind; waiting for a new connection takes as long as it takes."""
    return [moment.kind for moment in recording.events if moment.kind != "pool"]


def explained(recording: Recording) -> list[str]:
    """Return each moment in words."""
    words = Words(recording.lanes, recording.events)
    return [words.explained(moment) for moment in recording.events]


def test_what_is_recorded(db: Database) -> None:
    """Statements, words, savepoints, failures, notes: each on the lane of its session, with its transaction's number."""
    engine = db.engine()
    with record(engine) as recording:
        with engine.begin() as session:
            recording.name(session, "A")
            session.execute("insert into item (name, price) values (:n, 1)", {"n": "secret"})
            with pytest.raises(UniqueViolation), session.begin_nested():
                session.insert(Item("secret", 1))
            recording.note(session, "only one is there")
        engine.execute("select count(*) from item")
    engine.execute("select 1")
    alone = ["begin", "statement", "commit"] if db.kind == "mariadb" else ["statement"]
    assert kinds(recording) == [
        "begin", "statement", "savepoint", "statement", "rollback to", "note", "commit", *alone,
    ]  # fmt: skip
    found = [moment for moment in recording.events if moment.kind == "statement"]
    assert [(one.transaction, one.rowcount, one.error) for one in found] == [
        (1, 1, None), (1, -1, "UniqueViolation"), (2 if db.kind == "mariadb" else None, 1, None),
    ]  # fmt: skip
    assert [lane.name for lane in recording.lanes] == ["A", "execute()"]
    assert re.fullmatch(r"test_trace\.py:\d+", recording.lanes[0].place)
    assert [moment.lane for moment in recording.events if moment.kind != "pool"] == [0] * 7 + [1] * len(alone)
    assert "secret" not in recording.to_json()
    assert all(moment.at >= 0 and moment.seconds >= 0 for moment in recording.events)


def test_json_out_and_in(db: Database) -> None:
    """The same values; what is no recording is said."""
    with record(Registry({"main": db.main})) as recording:
        db.main.execute("select 1")
    again = Recording.from_json(recording.to_json())
    assert (again.events, again.lanes, again.dropped) == (recording.events, recording.lanes, 0)
    assert isinstance(again.events[0], Moment)
    assert again.text() == recording.text()
    for wrong in ("", "[]", '{"format": 7}', json.dumps({"format": 1, "lanes": [[1]], "events": [], "dropped": 0})):
        with pytest.raises(ArgumentError, match="no recording"):
            Recording.from_json(wrong)


def test_a_deadlock(server_db: Database) -> None:
    """Both sessions and both statements are named, who was chosen, and what `run` did then."""
    engine = server_db.engine()
    with engine.begin() as session:
        session.insert_all([Item("a", 0), Item("b", 0)])
    met, tried = threading.Barrier(2), set()

    def work(session: Any, me: int) -> None:
        recording.name(session, "AB"[me])
        for step in (me, 1 - me):
            session.execute(f"update item set price = price + 1 where name = '{'ab'[step]}'")
            if me not in tried:
                tried.add(me)
                met.wait()

    with record(engine) as recording:
        threads = [threading.Thread(target=engine.run, args=(work, me)) for me in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    names = [lane.name for lane in recording.lanes]
    victim = next(
        moment for moment in recording.events if moment.error == "DeadlockError" and moment.kind == "statement"
    )
    said = Words(recording.lanes, recording.events).explained(victim)
    assert victim.lane is not None
    other = "AB"["BA".index(names[victim.lane])]
    assert f"The other one: {other} with “update item set price = price + 1 where name = " in said
    assert "the database chose this one to undo" in said
    retry = next(moment for moment in recording.events if moment.kind == "retry")
    assert (retry.lane, retry.error) == (victim.lane, "DeadlockError")
    assert retry.text.startswith("attempt 1 failed; again in ")
    assert kinds(recording).count("commit") == 2
    if server_db.kind == "postgres":  # which looks for deadlocks after a second
        waits = {(names[one.lane or 0], names[one.about or 0]) for one in recording.events if one.kind == "waits"}
        assert waits == {("A", "B"), ("B", "A")}


def test_who_waits_for_whom(db: Database) -> None:
    """A lock that is held for a while: the waiting session, the one it waits for, and since when."""
    engine = db.engine()
    engine.execute("insert into item (name, price) values ('a', 0)")
    update = "update item set price = price + 1 where name = 'a'"
    waiting = threading.Event()

    def second() -> None:
        with engine.begin() as session:
            recording.name(session, "B")
            waiting.set()
            session.execute(update)

    with record(engine) as recording:
        thread = threading.Thread(target=second)
        with engine.begin() as session:
            recording.name(session, "A")
            session.execute(update)
            thread.start()
            waiting.wait()
            until = time.monotonic() + 5
            while "waits" not in kinds(recording) and time.monotonic() < until:
                time.sleep(0.01)
        thread.join()
    [wait] = [moment for moment in recording.events if moment.kind == "waits"]
    names = [lane.name for lane in recording.lanes]
    assert (names[wait.lane or 0], names[wait.about or 0]) == ("B", "A")
    assert wait.seconds >= 0.05
    assert "B waits for A, which holds a lock that B needs. It goes on when A's transaction ends." in explained(
        recording
    )
    assert "‖ waits for A" in recording.text()


def test_a_slow_read_is_no_wait(sqlite: Database) -> None:
    """A session that reads for long beside one that writes waits for nobody."""
    engine = sqlite.engine()
    slow = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 600000) select max(i) from n"
    with record(engine) as recording, engine.begin() as writer:
        writer.execute("insert into item (name, price) values ('a', 0)")
        reader = threading.Thread(target=engine.execute, args=(slow,))
        reader.start()
        reader.join()
    assert max(moment.seconds for moment in recording.events if moment.kind == "statement") > 0.1
    assert "waits" not in kinds(recording)


def test_the_ends_of_transactions(postgres: Database) -> None:
    """Rolled back, lost with its connection, refused at COMMIT."""
    engine = postgres.engine()
    engine.execute(
        "create table late (id integer primary key, next integer references late (id) deferrable initially deferred)"
    )
    with record(engine) as recording, engine.session() as session:
        session.execute("select 1")
        session.rollback()
        postgres.main.execute("select pg_terminate_backend(?)", [session.scalar("select pg_backend_pid()")])
        with pytest.raises(Exception, match=r"terminating|connection"):
            session.execute("select 2")
        session.rollback()
        session.execute("insert into late values (1, 2)")
        with pytest.raises(Exception, match="late"):
            session.commit()
    engine.execute("drop table late")
    ends = [
        moment for moment in recording.events if moment.kind in ("commit", "rollback", "lost", "commit failed", "ended")
    ]
    assert [(one.kind, one.transaction, one.error) for one in ends] == [
        ("rollback", 1, None), ("lost", 2, None), ("commit failed", 3, "ForeignKeyViolation"),
    ]  # fmt: skip
    assert "Transaction 2 is lost with its connection: nothing of what" in " ".join(explained(recording))


def test_the_ring(db: Database) -> None:
    """The last events are kept, and how many were dropped is said."""
    engine = db.engine()
    with record(engine, keep=10, watch=False) as recording:
        for _ in range(20):
            engine.execute("select 1")
    assert len(recording.events) <= 10
    assert recording.dropped >= 50
    assert f"({recording.dropped} earlier events were dropped)" in recording.text()
    assert f'"dropped":{recording.dropped}' in recording.html()
    with pytest.raises(ArgumentError, match="keep is a whole number"), record(engine, keep=0):
        pass


def test_text_fits(db: Database) -> None:
    """Lanes side by side in eighty columns, more where there is room, colours where they are wanted."""
    engine = db.engine()
    with record(engine) as recording:
        for name in ("A", "B", "C", "D"):
            with engine.begin() as session:
                recording.name(session, name)
                session.execute(f"select name, price from item where name in ('{name * 30}', 'x', 'y') order by name")
    for width in (40, 80, 200):
        lines = recording.text(width).splitlines()
        assert max(map(len, lines)) <= width
    assert lines[0].split() == ["A", "B", "C", "D"]
    assert recording.text(80).splitlines()[0].split() == ["A", "B", "(2", "more)"]
    assert "\x1b[" not in recording.text()
    assert "\x1b[" in recording.text(colour=True)
    assert recording.text(only="errors").count("\n") == 3
    with pytest.raises(ArgumentError, match="slow, waits or errors"):
        recording.text(only="x")


def test_the_page(db: Database, tmp_path: Path) -> None:
    """One file without outside parts, and no text of the program breaks out of it."""
    engine = db.engine()
    with record(engine) as recording:
        engine.execute("select '</script><b>' as x")
    page = recording.html("My <title>")
    assert "My &lt;title&gt;" in page
    assert page.count("</script>") == 2
    assert not re.search(r"""(src|href)=|url\(|@import|https?://""", page)
    recording.save(tmp_path / "out.html")
    recording.save(tmp_path / "out.json")
    recording.save(tmp_path / "out.txt")
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert Recording.from_json((tmp_path / "out.json").read_text(encoding="utf-8")).events == recording.events
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == recording.text()


def test_every_kind_has_words() -> None:
    """A sign, a title, an explanation."""
    for kind in MARKS:
        moment = Moment(1, 0.0, 0.1, kind, 0, "", "", 1, "text", 1, "DeadlockError", None, 0)
        words = Words((), (moment,))
        assert words.title(moment)
        assert words.explained(moment)


PROGRAM = """
import sys
from sessionkit import create_engine
engine = create_engine("sqlite://")
with engine.begin() as session:
    session.execute("select 1")
print("done", sys.argv[1:])
sys.exit(3)
"""


def run(tmp_path: Path, *arguments: str) -> Any:
    """Run the command on a program."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "sessionkit", "trace", *arguments, str(program), "--x", "1"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


def test_a_whole_program(tmp_path: Path) -> None:
    """Its output, its arguments and its exit code are its own; the timeline is on standard error, or in a file."""
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (3, "done ['--x', '1']\n")
    assert re.search(r"┌ BEGIN\n.*│ select 1 → 1 row\n.*✔ COMMIT", done.stderr)
    done = run(tmp_path, "--html", str(tmp_path / "out.html"))
    assert "moments: " in done.stderr
    assert "select 1" in (tmp_path / "out.html").read_text(encoding="utf-8")
    assert re.search(r"│ select 1 → 1 row", run(tmp_path, "--follow").stderr)
    assert "select 1" not in run(tmp_path, "--only", "errors").stderr
    missing = subprocess.run(
        [sys.executable, "-m", "sessionkit", "trace", "nowhere.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (missing.returncode, missing.stderr) == (2, "error: there is no program 'nowhere.py'\n")


def test_a_program_that_fails(tmp_path: Path) -> None:
    """Its traceback is shown, and what it did until then."""
    (tmp_path / "program.py").write_text(PROGRAM.replace("sys.exit(3)", "raise KeyError('x')"))
    done = subprocess.run(
        [sys.executable, "-m", "sessionkit", "trace", str(tmp_path / "program.py")],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "KeyError: 'x'" in done.stderr
    assert "✔ COMMIT" in done.stderr


def test_what_is_no_engine() -> None:
    """Said at once."""
    with pytest.raises(ArgumentError, match="takes an Engine or a Registry"), record("sqlite://"):  # type: ignore[arg-type]
        pass
    with record([create_engine("sqlite://")]) as recording:
        assert repr(recording) == "<Recording: 0 moments, 0 lanes, 0 dropped>"
    assert issubclass(DeadlockError, Exception)
