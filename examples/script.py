"""A nightly import: a file of deliveries into the stock, all of it or nothing, but for single rows that are bad.

    python examples/script.py                                   # a small file that the program makes, into a temporary SQLite file
    python examples/script.py postgresql://app@localhost/shop   # … into any database
    python examples/script.py URL deliveries.csv                # your own file: article,quantity

- The whole import is one transaction, run again by `engine.run` after a deadlock, a lost connection or a failover.
- Each row is a savepoint: a bad one is undone alone, counted, and told at the end.
- Running it twice on one file changes nothing: a file is noted in the same transaction that imports it.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sessionkit import CheckViolation, DataError, Engine, ForeignKeyViolation, Retry, UniqueViolation, create_engine

if TYPE_CHECKING:
    from sessionkit import Session

SCHEMA = [
    "create table if not exists article (code varchar(20) primary key, stock integer not null)",
    "create table if not exists delivery (file varchar(60) not null, line integer not null, article varchar(20) not null, "
    "quantity integer not null check (quantity > 0), primary key (file, line), foreign key (article) references article (code))",
    "create table if not exists imported (file varchar(60) primary key)",
]
ARTICLES = ["tea", "mate", "coffee"]
SAMPLE = "article,quantity\n" + "tea,5\nmate,3\ncocoa,7\ntea,-1\ncoffee,2\n" * 40
STEP = 50
"""Rows between two lines of progress."""


def prepare(engine: Engine) -> None:
    """Make the tables, and some articles, where they are not there yet."""
    for statement in SCHEMA:
        engine.execute(statement)
    with engine.begin() as session:
        known = set(session.scalars("select code from article"))
        session.executemany("insert into article values (?, 0)", [(code,) for code in ARTICLES if code not in known])


def import_file(session: Session, path: Path) -> Counter[str]:
    """Import one file in the session's transaction; return how many rows were good, and what was wrong with the others."""
    session.execute("insert into imported values (?)", (path.name,))  # the second time this is refused
    told: Counter[str] = Counter()
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                with session.begin_nested():
                    deliver(session, path.name, line, row)
                told["good"] += 1
            except ForeignKeyViolation:
                told["unknown article"] += 1
            except (CheckViolation, DataError):
                told["bad quantity"] += 1
            if line % STEP == 0:
                print(f"  {line} lines", file=sys.stderr)
    return told


def deliver(session: Session, file: str, line: int, row: dict[str, str]) -> None:
    """Note a delivery, and add it to the stock."""
    values = {"file": file, "line": line, "article": row["article"], "quantity": int(row["quantity"])}
    session.execute("insert into delivery values (:file, :line, :article, :quantity)", values)
    session.execute(
        "update article set stock = stock + :quantity where code = :article",
        {"quantity": values["quantity"], "article": values["article"]},
    )


def say(attempt: int, error: Exception, seconds: float) -> None:
    """Tell that the import begins again."""
    print(f"  attempt {attempt} failed ({type(error).__name__}); again in {seconds:.1f} s", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Import the file, and print a summary."""
    with tempfile.TemporaryDirectory() as folder:
        url = arguments[0] if arguments else f"sqlite:///{folder}/shop.db"
        path = Path(arguments[1]) if len(arguments) > 1 else Path(folder, "deliveries.csv")
        if len(arguments) < 2:
            path.write_text(SAMPLE, encoding="utf-8")
        with create_engine(url) as engine:
            prepare(engine)
            try:
                told = engine.run(import_file, path, retry=Retry(attempts=5, timeout=60, on_retry=say))
            except UniqueViolation:
                print(f"{path.name} was imported before; nothing was done")
                return 1
            print(f"{path.name}: {told.pop('good', 0)} rows imported")
            for reason, count in told.most_common():
                print(f"  {count:4} rows left out: {reason}")
            print(engine.execute("select code, stock from article order by code"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
