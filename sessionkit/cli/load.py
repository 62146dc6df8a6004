"""`load`: a CSV into a table, in one transaction: all of it, or (with --on-error=skip) all that is good."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from ..engine import create_engine
from ..errors import DataError, Error, IntegrityError, ProgrammingError
from . import UsageError
from .source import Source, derive, quoted_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..engine import Engine
    from ..session.session import Session

Row = tuple[int, list[Any]]  # line number, fields
BadFields = tuple[int, list[Any], str]  # … and why not
BAD_ROW = (DataError, IntegrityError, ProgrammingError)


class BadRow(Error):
    """A row that the file or the database refuses: its line, the column where it is known, and why."""


def load(options: argparse.Namespace) -> int:
    """Load the file, and print how many rows went where."""
    if (options.on_conflict == "update") > bool(options.key):
        raise UsageError("--on-conflict update needs --key: the columns that tell whether a row is there")
    if options.key and not options.on_conflict:
        raise UsageError("--key goes with --on-conflict skip or update")
    if options.batch < 1:
        raise UsageError("--batch is at least 1")
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise UsageError("--delimiter is one character")
    started = monotonic()
    with create_engine(options.url, pool_size=1) as engine, Source(options) as source:
        loader = Loader(engine, options, source)
        try:
            count = loader.run()
        except KeyboardInterrupt:
            loader.bar.end()
            print("sessionkit: interrupted; nothing was loaded", file=sys.stderr)
            return 130
        except BadRow as exc:
            loader.bar.end()
            raise BadRow(f"{exc}; nothing was loaded") from exc
    print(f"loaded {count} rows into {options.table} in {monotonic() - started:.1f} s")
    if loader.reasons:
        print(f"skipped {loader.reasons.total()} bad rows, written with their line numbers to {loader.rejects_path}:")
        for reason, number in loader.reasons.most_common():
            print(f"{number:8}  {reason}")
    return 0


class Loader:
    """One run of `load`: it owns the transaction and the reject file."""

    def __init__(self, engine: Engine, options: argparse.Namespace, source: Source) -> None:
        self._engine = engine
        self._options = options
        self._source = source
        self._skip = options.on_error == "skip"
        if self._skip and not engine.driver.has_savepoints:
            raise UsageError(
                f"--on-error=skip undoes each bad row alone, and {engine.driver.name} has no savepoints: its first error ends the "
                "transaction; mend the file, or load it into another database and copy from there"
            )
        self._quote = engine.driver.identifier_quote
        self._table = quoted_name(options.table, self._quote, dotted=True)
        self._columns = [quoted_name(name, self._quote) for name in source.header]
        key = [quoted_name(name.strip(), self._quote) for name in (options.key or "").split(",") if name.strip()]
        self._over = {"on_conflict": options.on_conflict, "key": key}
        self._booleans: list[int] = []  # the columns whose texts are sent as what they mean
        self._rejects: IO[str] | None = None
        self.rejects_path = options.rejects or f"{'stdin' if options.file == '-' else options.file}.rejects.csv"
        self.reasons: Counter[str] = Counter()
        self.bar = Bar(source)

    def run(self) -> int:
        """Load everything in one transaction and return how many rows."""
        create = self._create_statement() if self._options.create else None
        alone = create is not None and self._engine.driver.commits_implicitly(("CREATE", "TABLE"))
        if create and alone:  # this database commits at DDL: undone by hand below
            self._engine.execute(create)
        try:
            count = self._load(None if alone else create)
        except BaseException:
            self._drop_rejects()
            if alone:
                self._engine.execute(f"DROP TABLE {self._table}")
            raise
        if self._rejects is not None:
            self._rejects.close()
            os.replace(self._rejects.name, self.rejects_path)
        self.bar.end()
        return count

    def _load(self, create: str | None) -> int:
        count = 0
        with self._engine.begin() as session:
            if create:
                session.execute(create)
            elif not self._options.create:  # the header is looked at, also when no row follows
                columns = ", ".join(
                    f"t.{column}" for column in self._columns
                )  # or SQLite takes an unknown one for a text
                session.execute(f"SELECT {columns} FROM {self._table} t WHERE 1 = 0")
            for batch, bad in self._batches():
                if batch:
                    count += self._put(session, batch)
                if bad is not None:
                    self._reject(*bad)
                self.bar.show(count)
        return count

    def _batches(self) -> Iterator[tuple[list[Row], BadFields | None]]:
        """Yield batches; one ends early where a row has too few or many fields, so that the first bad row is the one named."""
        width, size = len(self._columns), self._options.batch
        batch: list[Row] = []
        try:
            for line, fields in self._source.rows():
                if len(fields) != width:
                    yield batch, (line, fields, f"{len(fields)} fields, the header has {width}")
                    batch = []
                    continue
                for number in self._booleans:
                    if fields[number] is not None:
                        fields[number] = fields[number].lower() == "true"
                batch.append((line, fields))
                if len(batch) == size:
                    yield batch, None
                    batch = []
        except DataError:  # the file cannot be read further: what came before is looked at first
            yield batch, None
            raise
        yield batch, None

    def _put(self, session: Session, batch: list[Row]) -> int:
        """Send a batch; when it is refused, its rows one by one, to find the bad ones."""
        try:
            return session.copy_in(self._table, [fields for _, fields in batch], self._columns, **self._over)
        except BAD_ROW as exc:
            if not self._engine.driver.has_savepoints:  # the transaction is over with its first error
                raise BadRow(f"{_where(batch, exc)}{_reason(exc)}") from exc
            return sum(self._put_one(session, line, fields) for line, fields in batch)

    def _put_one(self, session: Session, line: int, fields: list[Any]) -> int:
        try:
            return session.copy_in(self._table, [fields], self._columns, **self._over)
        except BAD_ROW as exc:
            column = self._guilty_column(session, fields, exc)
            where = f"column {column}: " if column else ""
            self._reject(line, fields, where + _reason(exc))
            return 0

    def _guilty_column(self, session: Session, fields: list[Any], exc: Error) -> str | None:
        """Return the column that is to blame: as the error names it, else the one whose value alone is refused."""
        if exc.column in self._source.header:
            return exc.column
        text = str(exc.orig)
        named = [
            name for name in self._source.header if f"'{name}'" in text or f".{name}" in text or f"`{name}`" in text
        ]
        if len(named) == 1:
            return named[0]
        for name, column, value in zip(self._source.header, self._columns, fields, strict=True):
            try:
                with session.begin_nested():
                    session.execute(f"SELECT 1 FROM {self._table} WHERE {column} = ? AND 1 = 0", (value,))
            except DataError:
                return name
        return None

    def _reject(self, line: int, fields: list[Any], reason: str) -> None:
        if not self._skip:
            raise BadRow(f"line {line}, {reason}")
        if self._rejects is None:
            self._rejects = open(f"{self.rejects_path}.part", "w", newline="", encoding="utf-8")  # noqa: SIM115
            csv.writer(self._rejects).writerow(["line", "reason", *self._source.header])
        csv.writer(self._rejects).writerow([line, reason, *fields])
        self.reasons[reason] += 1

    def _drop_rejects(self) -> None:
        if self._rejects is not None:
            self._rejects.close()
            os.unlink(self._rejects.name)

    def _create_statement(self) -> str:
        """Return CREATE TABLE, with types derived from the whole file."""
        types = derive(self._source, self._engine.driver)
        self._booleans = [number for number, (kind, _) in enumerate(types) if kind == "boolean"]
        columns = ", ".join(f"{column} {name}" for column, (_, name) in zip(self._columns, types, strict=True))
        return f"CREATE TABLE {self._table} ({columns}){self._engine.driver.table_options()}"


def _reason(exc: Error) -> str:
    """Return what an error of one row says, without the row's number, which is of the batch, and the statement."""
    words = str(exc).partition(' in "INSERT')[0].partition(' in "APPEND')[0]
    return words.split(" (counted from 0): ", 1)[-1] if words.startswith("row ") else words


def _where(batch: list[Row], exc: Error) -> str:
    """Return the line of the bad row of a batch, where it is known, or the lines that it is among."""
    number = getattr(exc.orig, "sessionkit_row", None)
    if number is not None:
        return f"line {batch[number][0]}, "
    return f"lines {batch[0][0]} to {batch[-1][0]}, " if len(batch) > 1 else f"line {batch[0][0]}, "


class Bar:
    """A progress bar on standard error, when that is a terminal."""

    WIDTH = 30

    def __init__(self, source: Any) -> None:
        self._source = source
        self._on = sys.stderr.isatty()
        self._next = 0.0
        self._started = monotonic()

    def show(self, count: int) -> None:
        """Show how far the file is read, at most ten times a second."""
        now = monotonic()
        if not self._on or now < self._next:
            return
        self._next = now + 0.1
        share = self._source.share()
        speed = count / max(now - self._started, 1e-9)
        bar = f"[{'#' * int(share * self.WIDTH):<{self.WIDTH}}] {share:4.0%}" if share is not None else ""
        print(f"\r{bar} {count} rows, {speed:,.0f}/s ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the bar."""
        if self._on:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._on = False
