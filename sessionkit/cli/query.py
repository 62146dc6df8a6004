"""`query`: one statement in a transaction of its own, its rows as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

from ..engine import create_engine
from ..mapping.results import aligned, shown
from . import UsageError

if TYPE_CHECKING:
    import argparse

    from ..mapping.results import Result


def query(options: argparse.Namespace) -> int:
    """Run the statement and print what it brought."""
    parameters = dict(_parameter(text) for text in options.parameters)
    with create_engine(options.url, pool_size=1) as engine:
        result = engine.execute(options.sql, parameters or None)
    if not result.columns:
        print(f"{result.rowcount} rows affected" if result.rowcount >= 0 else "done", file=sys.stderr)
        return 0
    _print(result, options.format)
    return 0


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


def _print(result: Result[Any], form: str) -> None:
    rows = result.tuples()
    if form == "table":
        print(aligned(result.columns, rows))
        print(f"({len(rows)} row{'' if len(rows) == 1 else 's'})", file=sys.stderr)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(result.columns)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
    elif form == "json":
        import json

        ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(result.mappings(), default=_plain, ensure_ascii=ascii_only, indent=2))
    else:
        print(f"| {' | '.join(map(_cell, result.columns))} |")
        print(f"|{'---|' * len(result.columns)}")
        for row in rows:
            print(f"| {' | '.join(map(_cell, row))} |")


def _plain(value: Any) -> str:
    """Return what JSON has no form for as text: dates and decimals as SQL writes them, bytes in hexadecimal."""
    return value.hex() if isinstance(value, (bytes, memoryview)) else str(value)


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|")
