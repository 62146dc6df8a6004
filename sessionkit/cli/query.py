"""`query`: one statement in a transaction of its own, its rows as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import os
import sys
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

from ..engine import create_engine
from ..mapping.results import Layout, shown
from . import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


_FIRST = 1000
"""Rows that are looked at for the widths of a table's columns."""
_READING = ("SELECT", "VALUES", "WITH", "TABLE", "SHOW", "DESCRIBE", "EXPLAIN", "PRAGMA")


def query(options: argparse.Namespace) -> int:
    """Run the statement and print what it brings, as it comes."""
    parameters = dict(_parameter(text) for text in options.parameters) or None
    with create_engine(options.url, pool_size=1) as engine, _Output(options.output) as out:
        statement = engine.compile(options.sql, parameters)
        if statement.is_unscanned or statement.writes or statement.words[:1] not in [(word,) for word in _READING]:
            result = engine.execute(options.sql, parameters)
            if not result.columns:
                print(f"{result.rowcount} rows affected" if result.rowcount >= 0 else "done", file=sys.stderr)
                return 0
            _print(result.columns, iter(result.tuples()), options.format, out)
            return 0
        with engine.session() as session, session.stream(options.sql, parameters, into=tuple) as rows:
            _print(rows.columns, iter(rows), options.format, out)
    return 0


class _Output:
    """Where rows go: standard output, or a file, compressed if its name says so; a file appears when it is whole."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> IO[str]:
        if self._path is None:
            return sys.stdout
        part = f"{self._path}.part"
        if self._path.endswith(".gz"):
            import gzip

            self._file = gzip.open(part, "wt", encoding="utf-8", newline="")
        else:
            self._file = open(part, "w", encoding="utf-8", newline="")
        return self._file

    def __exit__(self, kind: object, *exc: object) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            part = f"{self._path}.part"
            os.replace(part, self._path) if kind is None else os.unlink(part)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"a parameter is written name=value, got {text}")
    return name, value_of(value)


def value_of(text: str) -> Any:
    """Return a number for a number, None for null, else the text; double quotes around it make it text in any case."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text.lower() == "null":
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _print(columns: Sequence[str], rows: Iterator[Any], form: str, out: IO[str]) -> None:
    """Write rows as they come, in memory that does not grow with them."""
    if form == "table":
        first = list(islice(rows, _FIRST))
        layout, count = Layout(columns, first), 0
        print(*layout.head, sep="\n", file=out)
        for row in chain(first, rows):
            print(layout.line(row), file=out)
            count += 1
        print(f"({count} row{'' if count == 1 else 's'})", file=sys.stderr)
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
    elif form == "json":
        _print_json(columns, rows, out)
    else:
        print(f"| {' | '.join(map(_cell, columns))} |", file=out)
        print(f"|{'---|' * len(columns)}", file=out)
        for row in rows:
            print(f"| {' | '.join(map(_cell, row))} |", file=out)


def _print_json(columns: Sequence[str], rows: Iterator[Any], out: IO[str]) -> None:
    """One array of objects, the first of duplicate names winning."""
    import json

    ascii_only = not (getattr(out, "encoding", "") or "").lower().startswith("utf")
    names = {name: columns.index(name) for name in columns}
    between = "[\n"
    for row in rows:
        text = json.dumps(
            [{name: row[at] for name, at in names.items()}], default=_plain, ensure_ascii=ascii_only, indent=2
        )
        out.write(between + text[2:-2])
        between = ",\n"
    print("[]" if between == "[\n" else "\n]", file=out)


def _plain(value: Any) -> str:
    """Return what JSON has no form for as text: dates and decimals as SQL writes them, bytes in hexadecimal."""
    return value.hex() if isinstance(value, (bytes, memoryview)) else str(value)


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|")
