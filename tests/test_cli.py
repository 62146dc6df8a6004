"""The command line, as a person uses it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessionkit.cli.columns import Column
from sessionkit.cli.query import value_of

if TYPE_CHECKING:
    from .conftest import Database

ROOT = Path(__file__).parent.parent


def run(*arguments: str, stdin: bytes | None = None, cwd: Path | None = None, env: dict[str, str] | None = None) -> Any:
    """Run `python -m sessionkit`, and return what it printed and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "sessionkit", *map(str, arguments)], input=stdin, capture_output=True, timeout=100, check=False,
        cwd=cwd or ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **(env or {})},
    )  # fmt: skip


def told(done: Any) -> str:
    """Return what was printed as text: output and errors."""
    return str(done.stdout.decode() + done.stderr.decode())


def one_line(done: Any, code: int) -> str:
    """Return the one readable line of an error."""
    assert (done.returncode, len(done.stderr.decode().splitlines()), done.stdout) == (code, 1, b""), told(done)
    return str(done.stderr.decode())


# -- demo


def test_demo() -> None:
    """Ends well, tells each step, and says that everything was as expected."""
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Everything was as expected." in told(done)
    assert told(done).count("ok  bank:") == 7


def test_demo_needs_nothing_but_python() -> None:
    """No driver, no third-party package."""
    code = "import sys; sys.path.insert(0, '.'); from sessionkit.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


# -- load

GOOD = 'id,name,price,day\n1,tea,3.5,2026-01-02\n2,"mate, yerba",4,2026-01-03\n3,,0.25,\n'
BAD = "id,name,price\n1,tea,3.5\n2,mate,cheap\n3,tea,1\n4,too,many,fields\n5,fine,2\n"


def test_load_creates_a_table(db: Database, tmp_path: Path) -> None:
    """With types derived from the data; loading again into the same table without --create adds."""
    db.main.execute("drop table if exists goods")
    (tmp_path / "goods.csv").write_text(GOOD)
    done = run("load", db.url, "goods", str(tmp_path / "goods.csv"), "--create")
    assert done.returncode == 0, told(done)
    assert "loaded 3 rows into goods" in told(done)
    assert run("load", db.url, "goods", str(tmp_path / "goods.csv"), "--batch", "2").returncode == 0
    rows = db.main.execute("select id, name, price from goods order by id").tuples()
    db.main.execute("drop table goods")
    assert rows == [(1, "tea", 3.5)] * 2 + [(2, "mate, yerba", 4)] * 2 + [(3, None, 0.25)] * 2


@pytest.mark.parametrize("form", ["gz", "zip", "stdin"])
def test_load_reads_other_forms(sqlite: Database, tmp_path: Path, form: str) -> None:
    """Gzip, zip, standard input."""
    path, stdin = tmp_path / f"goods.csv.{form}", None
    if form == "gz":
        path.write_bytes(gzip.compress(GOOD.encode()))
    elif form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("goods.csv", GOOD)
    else:
        path, stdin = Path("-"), GOOD.encode()
    done = run("load", sqlite.url, "goods", str(path), "--create", stdin=stdin)
    assert done.returncode == 0, told(done)
    assert sqlite.main.execute("select sum(price) from goods").scalar() == 7.75


def test_load_stops_at_the_first_bad_row(db: Database, tmp_path: Path) -> None:
    """Names line, column and reason; nothing was loaded."""
    (tmp_path / "bad.csv").write_text("id,name,price\n1,tea,3.5\n2,mate,-1\n")
    line = one_line(run("load", db.url, "item", str(tmp_path / "bad.csv")), 1)
    assert "line 3" in line
    assert "nothing was loaded" in line
    (tmp_path / "null.csv").write_text("id,name,price\n1,tea,3.5\n2,mate,\n")
    assert "line 3, column price: " in one_line(run("load", db.url, "item", str(tmp_path / "null.csv")), 1)
    assert db.names() == []


def test_load_names_the_column_of_a_bad_value(server_db: Database, tmp_path: Path) -> None:
    """Though the server does not."""
    (tmp_path / "bad.csv").write_text(BAD)
    line = one_line(run("load", server_db.url, "item", str(tmp_path / "bad.csv")), 1)
    assert "line 3, column price: " in line
    assert "cheap" not in line


def test_load_skips_bad_rows(db: Database, tmp_path: Path) -> None:
    """Counted by reason, written to a reject file with their line numbers; the rest is loaded."""
    path = tmp_path / "bad.csv"
    path.write_text(BAD.replace("cheap", "-1"))
    done = run("load", db.url, "item", str(path), "--on-error=skip")
    assert done.returncode == 0, told(done)
    assert "loaded 2 rows" in told(done)
    assert "skipped 3 bad rows" in told(done)
    assert "4 fields, the header has 3" in told(done)
    with (tmp_path / "bad.csv.rejects.csv").open(newline="") as file:
        rejects = list(csv.reader(file))
    assert rejects[0] == ["line", "reason", "id", "name", "price"]
    assert sorted(row[0] for row in rejects[1:]) == ["3", "4", "5"]
    assert db.names() == ["tea", "fine"]


def test_load_leaves_nothing_when_interrupted(db: Database, tmp_path: Path) -> None:
    """Ctrl-C: nothing half-loaded, a table that was made is gone, and it says so."""
    db.main.execute("drop table if exists endless")
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1]); from sessionkit.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a run in the background may have it ignored
        "sys.exit(main(['load', sys.argv[2], 'item', '-', '--batch', '10']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT), db.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    rows = b"".join(b"%d,n%d,1\n" % (n, n) for n in range(1, 20_000))
    process.stdin.write(b"id,name,price\n" + rows)  # more than a pipe holds: when this returns, rows are being loaded
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b""), err
    assert b"interrupted; nothing was loaded" in err
    assert b"Traceback" not in err
    assert db.names() == []


@pytest.mark.parametrize(
    ("content", "arguments", "line"),
    [
        (b"", [], "the file is empty"),
        (b"a,,c\n", [], "column without a name (number 2)"),
        (b"a,A\n", [], "names 'A' twice"),
        (b"id,name,price\n1,a,1\n", ["--batch", "0"], "--batch"),
        (b"id,name,price\n1,a,1\n", ["--delimiter", "::"], "--delimiter"),
        (b"id,name,price\n1,\xff,1\n", [], "not utf-8"),
        (b'id,name,price\n1,"a"b,1\n', [], "line 2 is no CSV"),
        (b"PK\x03\x04broken", [], "zip"),
        (b"\x1f\x8bbroken", [], "damaged"),
    ],
)
def test_load_of_what_is_no_csv(
    sqlite: Database, tmp_path: Path, content: bytes, arguments: list[str], line: str
) -> None:
    """One readable line, and nothing loaded."""
    (tmp_path / "x.csv").write_bytes(content)
    done = run("load", sqlite.url, "item", str(tmp_path / "x.csv"), *arguments)
    assert done.returncode in (1, 2)
    assert line in one_line(done, done.returncode)
    assert sqlite.names() == []


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_load_of_what_is_not_packed(sqlite: Database, tmp_path: Path, kind: str) -> None:
    """A name that says so and is wrong."""
    path = tmp_path / f"x.csv.{kind}"
    path.write_text("id,name\n")
    assert f"ends in .{kind} and is no {kind}" in one_line(run("load", sqlite.url, "item", str(path)), 2).replace(
        "gzip", "gz"
    )


def test_load_of_no_file(sqlite: Database) -> None:
    """Names it."""
    assert "nowhere.csv" in one_line(run("load", sqlite.url, "item", "nowhere.csv"), 1)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-2"], "integer"), (["1", "3000000000"], "bigint"), (["3000000000", "1"], "bigint"), (["1", "2.5"], "real"),
        (["007"], "text"), (["+1"], "text"), (["-0"], "text"), ([".5"], "text"), (["1."], "text"), (["1_000"], "text"), ([], "text"),
        (["1E5"], "text"), (["1e5", "2"], "text"), (["1.0E5"], "real"), (["1e-5", "2"], "real"), (["1e+400"], "text"), (["1e-400"], "text"),
        (["9223372036854775807"], "bigint"), (["9223372036854775808"], "numeric"), (["123456789012345678901234567890"], "numeric"),
        (["9007199254740993", "1.5"], "numeric"), (["0.1234567890123456"], "numeric"), (["0.123456789012345"], "real"), (["1.50", "2"], "real"),
        (["٣", "٤"], "text"), (["2026-01-01"], "date"), (["2024-02-30"], "text"), (["2026-01-01", "x"], "text"), (["1", "2026-01-01"], "text"),
        (["0001-01-01"], "text"), (["2026-01-01 10:11:12"], "timestamp"), (["2026-01-01T10:11:12.5"], "timestamp"), (["2026-01-01 25:00:00"], "text"),
        (["2026-01-01 10:11:12+02:00", "2026-01-01T10:11:12Z"], "timestamptz"), (["2026-01-01 10:11:12", "2026-01-01"], "text"),
        (["2026-01-01 10:11:12.1234567"], "text"), (["true", "false"], "boolean"), (["True"], "boolean"), (["true", "FALSE"], "text"), (["true", "1"], "text"),
    ],
)  # fmt: skip
def test_kinds_of_columns(texts: list[str], kind: str) -> None:
    """A type only if every text comes back from its value; the same in one batch or in many."""
    at_once, one_by_one = Column(), Column()
    at_once.add(set(texts))
    for text in texts:
        one_by_one.add({text})
    assert (at_once.kind, one_by_one.kind) == (kind, kind)


TYPED = {
    "small": ["1", "-7", ""], "large": ["9223372036854775807", "1", "2"], "larger": ["9223372036854775808", "-1", "123456789012345678901234567890"],
    "code": ["1E5", "007", "2"], "real": ["1.5", "2", "0.25"], "exact": ["0.12345678901234567", "10.5", "3"], "digits": ["٣", "٤", "1"],
    "day": ["2026-01-02", "", "1999-12-31"], "noday": ["2024-02-30", "2024-02-28", ""], "moment": ["2026-01-02 03:04:05", "2026-01-02 03:04:05.25", ""],
    "zoned": ["2026-01-02 03:04:05+02:00", "2026-01-02 03:04:05Z", ""], "yes": ["true", "false", ""],
}  # fmt: skip


def test_no_value_is_changed_on_its_way(db: Database, tmp_path: Path) -> None:
    """Types where the database gives the text back, text elsewhere; and a value that would be refused makes no type."""
    with (tmp_path / "typed.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(TYPED), *zip(*TYPED.values(), strict=True)])
    db.main.execute("drop table if exists typed")
    done = run("load", db.url, "typed", str(tmp_path / "typed.csv"), "--create")
    assert done.returncode == 0, told(done)
    found = db.main.execute("select * from typed").mappings()
    db.main.execute("drop table typed")
    for name, texts in TYPED.items():
        values = [row[name] for row in found]
        assert [value is None for value in values] == [text == "" for text in texts]
        for value, text in zip(values, texts, strict=True):
            assert value is None or _same(value, text), (name, text, value)
    kinds = {name: type(next(row[name] for row in found if row[name] is not None)).__name__ for name in TYPED}
    typed = {"small": "int", "large": "int", "real": "float", "code": "str", "digits": "str", "noday": "str"}
    typed |= {
        "sqlite": dict.fromkeys(("larger", "exact", "day", "moment", "zoned", "yes"), "str"),
        "postgres": {
            "larger": "Decimal",
            "exact": "Decimal",
            "day": "date",
            "moment": "datetime",
            "zoned": "datetime",
            "yes": "bool",
        },
        "mariadb": {
            "larger": "Decimal",
            "exact": "Decimal",
            "day": "date",
            "moment": "datetime",
            "zoned": "str",
            "yes": "int",
        },
    }[db.kind]
    assert kinds == typed


def _same(value: Any, text: str) -> bool:
    if isinstance(value, datetime):
        return value == datetime.fromisoformat(text)
    if isinstance(value, (int, float, Decimal)) and text not in ("true", "false"):
        return Decimal(repr(value) if isinstance(value, float) else value) == Decimal(text)
    return str(value).lower() == text.lower() or (text in ("true", "false") and value == (text == "true"))


def test_load_of_tabs(sqlite: Database, tmp_path: Path) -> None:
    """A .tsv is split at tabs, also when it is packed; a header that shows another delimiter names the option."""
    (tmp_path / "t.tsv").write_text("id\tv\n1\ta,b\n")
    (tmp_path / "t.TSV.gz").write_bytes(gzip.compress(b"id\tv\n2\tc\n"))
    assert run("load", sqlite.url, "t", str(tmp_path / "t.tsv"), "--create").returncode == 0
    assert run("load", sqlite.url, "t", str(tmp_path / "t.TSV.gz")).returncode == 0
    assert sqlite.main.execute("select id, v from t").all() == [(1, "a,b"), (2, "c")]
    for content, shown in (("id;v\n1;a\n", "--delimiter ';'"), ("id\tv\n", "--delimiter $'\\t'")):
        (tmp_path / "x.csv").write_text(content)
        assert shown in one_line(run("load", sqlite.url, "u", str(tmp_path / "x.csv"), "--create"), 2)


def test_load_looks_at_the_header_of_an_empty_file(db: Database, tmp_path: Path) -> None:
    """Columns that the table lacks are refused, also when no row follows."""
    (tmp_path / "x.csv").write_text("id,frob\n")
    assert "frob" in one_line(run("load", db.url, "item", str(tmp_path / "x.csv")), 1)
    (tmp_path / "y.csv").write_text("id,name\n")
    assert run("load", db.url, "item", str(tmp_path / "y.csv")).returncode == 0


# -- query


def test_query_formats(db: Database) -> None:
    """Table, CSV, JSON, Markdown."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [("a|b", 1.5), (None, 2)])
    sql = "select name, price from item where price > :p order by price"

    def out(form: str) -> str:
        done = run("query", db.url, sql, "p=1", "--format", form)
        assert done.returncode == 0, told(done)
        return str(done.stdout.decode().replace("\r", ""))

    assert out("table") == "name  price\n----  -----\na|b     1.5\nNULL    2.0\n"
    assert list(csv.reader(io.StringIO(out("csv")))) == [["name", "price"], ["a|b", "1.5"], ["", "2.0"]]
    assert json.loads(out("json")) == [{"name": "a|b", "price": 1.5}, {"name": None, "price": 2.0}]
    assert out("markdown") == "| name | price |\n|---|---|\n| a\\|b | 1.5 |\n| NULL | 2.0 |\n"


def test_query_on_an_output_that_is_not_unicode(sqlite: Database) -> None:
    """What cannot be shown is escaped; JSON stays JSON."""
    for form, wanted in (
        ("table", "\\xe9\\u20ac"),
        ("csv", "\\xe9\\u20ac"),
        ("json", "\\u00e9\\u20ac"),
        ("markdown", "\\xe9\\u20ac"),
    ):
        done = run("query", sqlite.url, "select 'é€' as x", "--format", form, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, told(done)
        assert wanted in done.stdout.decode("ascii")
    assert "\\u20ac" in one_line(run("query", sqlite.url, "selec '€'", env={"PYTHONIOENCODING": "ascii"}), 1)


def test_query_that_writes(db: Database) -> None:
    """Is committed, and says how many rows."""
    done = run("query", db.url, "insert into item (name, price) values (:n, :p)", "n=tea", "p=3")
    assert (done.returncode, done.stderr) == (0, b"1 rows affected\n")
    assert db.names() == ["tea"]


def test_values_of_parameters() -> None:
    """Numbers are numbers, null is None, quotes make text."""
    assert [value_of(text) for text in ("5", "-1.5", "null", '"5"', "x", "")] == [5, -1.5, None, "5", "x", ""]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("selec 1",), 1, "syntax"),
        (("select :a",), 2, "missing: a"),
        (("select :a", "oops"), 2, "name=value, got oops"),
        (("commit",), 1, "behind the session's back"),
    ],
)
def test_query_errors_are_one_line(sqlite: Database, arguments: tuple[str, ...], code: int, line: str) -> None:
    """1 for a database's refusal, 2 for wrong usage; a traceback only when asked for."""
    assert line in one_line(run("query", sqlite.url, *arguments), code)
    assert "Traceback" in told(run("query", sqlite.url, *arguments, "--traceback"))


@pytest.mark.parametrize("url", ["postgresql://app:hunter2@127.0.0.1:1/x", "mysql://app:hunter2@127.0.0.1:1/x"])
def test_no_secret_is_printed(url: str) -> None:
    """Not in errors, not from the environment; the URL may be a variable's name."""
    for arguments, env in (((url,), {}), (("SHOP_URL",), {"SHOP_URL": url})):
        line = one_line(run("check", *arguments, env=env), 1)
        assert "hunter2" not in line
        assert "app:***@127.0.0.1" in line


def test_wrong_urls() -> None:
    """Exit code 2."""
    assert "sqlite:///" in one_line(run("check", "shop.db"), 2)
    assert "%40" in one_line(run("check", "postgresql://a:p@ss@h/x"), 2)


# -- check


def test_check(db: Database) -> None:
    """Versions, isolation, round-trip time, the pool, hazards."""
    done = run("check", db.url)
    lines = dict(line.split(None, 1) for line in told(done).splitlines() if not line.startswith(" "))
    assert done.returncode == 0
    assert {"database", "driver", "server", "isolation", "round", "pool"} <= set(lines)
    known = {"sqlite": ("SQLite",), "postgres": ("PostgreSQL",), "mariadb": ("MariaDB", "MySQL")}
    assert lines["server"].startswith(known[db.kind])


def test_check_knows_the_wal_bug() -> None:
    """By version, with what to do."""
    from sessionkit.drivers.sqlite3 import has_wal_bug

    versions = {
        (3, 40, 1): True,
        (3, 44, 6): False,
        (3, 45, 0): True,
        (3, 50, 6): True,
        (3, 50, 7): False,
        (3, 51, 2): True,
        (3, 51, 3): False,
    }
    assert {version: has_wal_bug(version) for version in versions} == versions


def test_query_streams_to_a_file(db: Database, tmp_path: Path) -> None:
    """Compressed if its name says so; each form is as on the screen; it appears when it is whole."""
    with db.main.begin() as session:
        session.executemany("insert into item (name, price) values (?, ?)", [(f"n{n}", n) for n in range(2500)])
    sql = "select name, price from item order by id"
    for form in ("csv", "json", "table", "markdown"):
        shown = run("query", db.url, sql, "--format", form)
        file = tmp_path / f"out.{form}.gz"
        assert run("query", db.url, sql, "--format", form, "--output", file).returncode == 0
        assert gzip.decompress(file.read_bytes()) == shown.stdout.replace(b"\r\n", b"\n")
    assert len(json.loads(gzip.decompress((tmp_path / "out.json.gz").read_bytes()))) == 2500
    assert json.loads(run("query", db.url, "select 1 as a where 1 = 0", "--format", "json").stdout) == []
    assert run("query", db.url, "selec", "--output", tmp_path / "no.csv").returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".part" or path.name == "no.csv") == []


def test_query_into_a_pipe_that_closes(db: Database) -> None:
    """Ends quietly, with the first rows out at once."""
    numbers = {
        "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n",
        "postgres": "select generate_series(1, 100000000) as i",  # in FROM it would be made whole first
        "mariadb": "select seq from seq_1_to_100000000",
    }[db.kind]
    with subprocess.Popen(
        [sys.executable, "-m", "sessionkit", "query", db.url, numbers, "--format", "csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        assert [int(process.stdout.readline()) for _ in range(3)] == [1, 2, 3]
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


def test_load_over_what_is_there(db: Database, tmp_path: Path) -> None:
    """--on-conflict leaves rows alone, or overwrites them."""
    db.main.execute("insert into item (name, price) values ('a', 1)")
    (tmp_path / "items.csv").write_text("name,price\na,10\nb,20\n")
    for how, price in (("skip", 1), ("update", 10)):
        done = run("load", db.url, "item", tmp_path / "items.csv", "--on-conflict", how, "--key", "name")
        assert done.returncode == 0, told(done)
        assert db.main.execute("select price from item order by name").scalars() == [price, 20]
    assert "needs --key" in one_line(run("load", db.url, "item", tmp_path / "items.csv", "--on-conflict", "update"), 2)


# -- copy

MANY = """
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
select i, 'name ' || i as name, i / 4.0 as share, case when i % 3 = 0 then null else 'x;"y' end as "odd name", x'00ff' as raw from n
"""


def test_copy_through_three_databases(postgres: Database, mariadb: Database, tmp_path: Path) -> None:
    """From SQLite to PostgreSQL to MariaDB and back: the same rows, one by one."""
    first, last = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    assert run("query", first, f"create table source as {MANY}").returncode == 0
    trip = [
        (first, "source", postgres.url, "copied"),
        (postgres.url, "copied", mariadb.url, "copied"),
        (mariadb.url, "copied", last, "target"),
    ]
    for source, table, target, into in trip:
        done = run("copy", source, f"select * from {table} order by i", target, into, "--create")
        assert done.stdout.startswith(f"copied 3000 rows into {into} in".encode()), told(done)
    one, other = (
        run("query", url, f"select * from {table} order by i", "--format", "json").stdout
        for url, table in ((first, "source"), (last, "target"))
    )
    assert json.loads(one) == json.loads(other)
    assert len(json.loads(one)) == 3000
    for db in (postgres, mariadb):
        db.main.execute("drop table copied")


def test_copy_keeps_types(postgres: Database, mariadb: Database, tmp_path: Path) -> None:
    """Dates, decimals, JSON, UUIDs and booleans of PostgreSQL become what MariaDB and SQLite have for them."""
    sql = (
        "select 1 as n, true as ok, 12.10::numeric as price, date '2026-01-02' as day, timestamp '2026-01-02 03:04:05.000006' as at, "
        """'{"a": [1, null]}'::jsonb as data, '[1, 2]'::jsonb as list, '00000000-0000-0000-0000-000000000007'::uuid as id, time '01:02:03' as t"""
    )
    for target in (mariadb.url, f"sqlite:///{tmp_path}/c.db"):
        done = run("copy", postgres.url, sql, target, "kept", "--create")
        assert done.returncode == 0, told(done)
        row = json.loads(run("query", target, "select * from kept", "--format", "json").stdout)[0]
        assert (row["n"], row["ok"], Decimal(row["price"]), row["day"]) == (1, 1, Decimal("12.10"), "2026-01-02")
        assert (row["at"], json.loads(row["data"]), json.loads(row["list"])) == (
            "2026-01-02 03:04:05.000006",
            {"a": [1, None]},
            [1, 2],
        )
        assert (row["id"], row["t"].zfill(8)) == ("00000000-0000-0000-0000-000000000007", "01:02:03")
    mariadb.main.execute("drop table kept")


def test_copy_is_all_or_nothing(db: Database, tmp_path: Path) -> None:
    """A row that is refused, a table that is not there, a query that fails: one line, and nothing is left."""
    source = f"sqlite:///{tmp_path}/a.db"
    rows = "select 'x' as name, 1 as price union all select 'y', -1"
    assert "row 1 (counted from 0)" in one_line(run("copy", source, rows, db.url, "item"), 1)
    assert db.names() == []
    assert run("copy", source, "select 1 as a", db.url, "nowhere").returncode == 1
    assert run("copy", source, "selec", db.url, "item").returncode == 1


# -- the example


def test_the_flights(db: Database) -> None:
    """The slice in the repository, on each database; the numbers are those of the files."""
    data = ROOT / "examples" / "data"
    with (data / "flights.csv").open(newline="") as file:
        tails = [row["tailnum"] for row in csv.DictReader(file)]
    with (data / "planes.csv").open(newline="") as file:
        planes = {row["tailnum"] for row in csv.DictReader(file)}
    unknown = sum(tail != "NA" and tail not in planes for tail in tails)
    done = subprocess.run(
        [sys.executable, "examples/flights.py", db.url], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(tails)} flights loaded" in done.stdout
    assert (
        f"{unknown} flights have a tail number without a plane, {tails.count('NA')} have no tail number" in done.stdout
    )
    assert "ExpressJet Airlines Inc." in done.stdout
    stored = db.main.execute("select count(*) from flight where plane is null").scalar()
    for name in ("flight", "plane", "airport", "airline"):
        db.main.execute(f"drop table {name}")
    assert stored == unknown + tails.count("NA")
