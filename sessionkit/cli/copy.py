"""`copy`: the rows of a query into a table of any database, streaming, in one transaction of each."""

from __future__ import annotations

from itertools import chain, islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..engine import create_engine
from ..mapping.json import Json
from .load import Bar
from .source import quoted_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from ..engine import Engine
    from ..session.stream import Stream

_FIRST = 1000
"""Rows whose values tell the type of a column where the source does not."""
_JSON = "JSON"


class _Nothing:
    """A source whose size is not known."""

    def share(self) -> None:
        """Nobody knows."""


def copy(options: argparse.Namespace) -> int:
    """Copy the rows, and print how many there were."""
    started, bar = monotonic(), Bar(_Nothing())
    try:
        with create_engine(options.url, pool_size=1) as source, create_engine(options.target, pool_size=1) as target:
            with source.begin(read_only=True) as reader, reader.stream(options.sql, into=tuple) as rows:
                count = _copied(rows, target, options.table, options.create, bar)
    finally:
        bar.end()
    print(f"copied {count} rows into {options.table} in {monotonic() - started:.1f} s")
    return 0


def _copied(rows: Stream[Any], target: Engine, name: str, create: bool, bar: Bar) -> int:
    """Put the rows into a table, which is made first if asked for; return how many. All or nothing."""
    quote = target.driver.identifier_quote
    table, columns = quoted_name(name, quote, dotted=True), [quoted_name(column, quote) for column in rows.columns]
    it = iter(rows)
    first = list(islice(it, _FIRST))
    kinds = [_kind([row[at] for row in first], known) for at, known in enumerate(rows.types)]
    names = target.driver.names_of_types
    typed = (f"{column} {names.get(kind, names['str'])}" for column, kind in zip(columns, kinds, strict=True))
    words = f"CREATE TABLE {table} ({', '.join(typed)})" if create else None
    alone = words is not None and target.driver.commits_implicitly(("CREATE", "TABLE"))
    if words and alone:  # this database commits at DDL: undone by hand below
        target.execute(words)
    try:
        with target.begin() as writer:
            if words and not alone:
                writer.execute(words)
            return writer.copy_in(table, _shown(_wrapped(chain(first, it), kinds), bar), columns)
    except BaseException:
        if alone:
            target.execute(f"DROP TABLE IF EXISTS {table}")
        raise


def _kind(column: Sequence[Any], known: str | None) -> str:
    """Return the kind of a column: as the source tells it, else as its first values are."""
    values = [value for value in column if value is not None]
    kinds = {type(value).__name__ for value in values}
    if known is not None and known != "datetime":
        return known
    if kinds == {"datetime"} or (known and not kinds):
        return "moment" if values and all(value.tzinfo is not None for value in values) else "datetime"
    if kinds == {"int", "float"}:
        return "float"
    kind = kinds.pop() if len(kinds) == 1 else "str"
    return _JSON if kind in ("dict", "list") else kind


def _wrapped(rows: Iterable[Any], kinds: Sequence[str]) -> Iterable[Any]:
    """A parsed JSON value goes on as JSON: a list alone would be an array."""
    if _JSON not in kinds:
        return rows
    is_json = [kind == _JSON for kind in kinds]
    return (
        [Json(value) if wrap and value is not None else value for value, wrap in zip(row, is_json, strict=True)]
        for row in rows
    )


def _shown(rows: Iterable[Any], bar: Bar) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number % _FIRST == 0:
            bar.show(number)
        yield row
