"""The command line, a file for each command. Errors are one readable line; exit codes 0, 1 (the database), 2 (usage)."""

from __future__ import annotations

import argparse
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import ArgumentError, Error, InterfaceError, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python -m sessionkit demo
  python -m sessionkit load sqlite:///shop.db item items.csv --create
  python -m sessionkit copy sqlite:///shop.db "select * from item" postgresql://app@localhost/shop item --create
  python -m sessionkit query sqlite:///shop.db "select name from item where price < :p" p=5
  python -m sessionkit check postgresql://app@localhost/shop
  python -m sessionkit trace --html out.html program.py
  python -m sessionkit learn 3"""


class UsageError(Exception):
    """The command was used wrongly: exit code 2."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="python -m sessionkit",
        description="Transactions that cannot go wrong, for plain SQL.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"sessionkit {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--traceback", action="store_true", help="show Python's traceback of an error (it may quote values)"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo", parents=[common], help="show what a transaction does, on a database in a temporary folder"
    )
    _add_load(commands.add_parser("load", parents=[common], help="load a CSV file into a table in one transaction"))
    query = commands.add_parser("query", parents=[common], help="run one statement in a transaction of its own")
    query.add_argument("url", help="the database's URL, or the name of an environment variable that holds it")
    query.add_argument("sql", help="the statement; :name takes a value")
    query.add_argument(
        "parameters", nargs="*", metavar="name=value", help="numbers are passed as numbers, null as NULL"
    )
    query.add_argument("--format", choices=("table", "csv", "json", "markdown"), default="table")
    query.add_argument("--output", metavar="FILE", help="write there instead; FILE.gz is compressed")
    copy = commands.add_parser("copy", parents=[common], help="copy the rows of a query into a table of any database")
    copy.add_argument("url", help="the URL to read from, or the name of an environment variable that holds it")
    copy.add_argument("sql", help="the query")
    copy.add_argument("target", help="the URL to write to, or the name of an environment variable that holds it")
    copy.add_argument("table", help="the table to write into; its columns have the names of the query's")
    copy.add_argument("--create", action="store_true", help="create the table, typed by the query's columns")
    trace = commands.add_parser("trace", parents=[common], help="run a program, and show what its transactions did")
    trace.add_argument("--html", metavar="FILE", help="write the page there, instead of showing the timeline")
    trace.add_argument("--save", metavar="FILE", help="the same; the name says as what: .html, .json, else text")
    trace.add_argument("--only", choices=("slow", "waits", "errors"), help="show nothing else")
    trace.add_argument("--follow", action="store_true", help="show each moment while it happens")
    trace.add_argument("program", help="a Python file")
    trace.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    learn = commands.add_parser(
        "learn", parents=[common], help="twelve lessons on transactions; without a number, the list"
    )
    learn.add_argument("number", nargs="?", type=int, help="1 to 12")
    learn.add_argument("--url", help="play it on this database, instead of SQLite in a temporary folder")
    learn.add_argument("--html", metavar="FILE", help="write its timeline there, as a page")
    learn.add_argument("--source", action="store_true", help="show the lesson's program")
    check = commands.add_parser("check", parents=[common], help="connect, and tell what is there and what to beware of")
    check.add_argument("url", help="the database's URL, or the name of an environment variable that holds it")
    return top


def _add_load(load: argparse.ArgumentParser) -> None:
    load.add_argument("url", help="the database's URL, or the name of an environment variable that holds it")
    load.add_argument("table", help="the table to load into")
    load.add_argument("file", help="CSV with a header line: plain, .gz, .zip, or - for standard input")
    load.add_argument("--create", action="store_true", help="create the table, with types derived from the data")
    load.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="stop (default): a bad row ends it and nothing is loaded",
    )
    load.add_argument("--batch", type=int, default=5000, metavar="N", help="rows sent at a time (default 5000)")
    load.add_argument(
        "--on-conflict", choices=("skip", "update"), help="a row whose --key is there: leave it, or overwrite it"
    )
    load.add_argument("--key", metavar="A,B", help="the columns that tell whether a row is there")
    load.add_argument(
        "--null", action="append", default=[], metavar="TEXT", help="a text that means NULL, besides the empty one"
    )
    load.add_argument("--delimiter", metavar="C", help="what separates fields (default a comma, in a .tsv file a tab)")
    load.add_argument("--encoding", default="utf-8-sig", help="the file's encoding (default UTF-8)")
    load.add_argument(
        "--rejects", metavar="FILE", help="where --on-error=skip writes bad rows (default FILE.rejects.csv)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what the terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _complain("interrupted; what was not committed is undone", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again at exit
        return 1
    except (UsageError, Error, OSError) as exc:
        error = exc
    if options.traceback:
        import traceback

        traceback.print_exception(error)
    notes = "; ".join(getattr(error, "__notes__", ()))
    wrong_usage = isinstance(error, (UsageError, ArgumentError, InterfaceError))
    return _complain(f"{error}{f' ({notes})' if notes else ''}", 2 if wrong_usage else 1)


def _run(options: argparse.Namespace) -> int:
    if options.command == "demo":
        from .demo import demo

        return demo()
    if options.command == "trace":
        from .trace import trace

        return trace(options.program, options.arguments, options.html or options.save, options.only, options.follow)
    if options.command == "learn":
        from .learn import learn

        return learn(options.number, _url(options.url) if options.url else None, options.html, options.source)
    options.url = _url(options.url)
    if options.command == "load":
        from .load import load

        return load(options)
    if options.command == "copy":
        from .copy import copy

        options.target = _url(options.target)
        return copy(options)
    if options.command == "query":
        from .query import query

        return query(options)
    from .check import check

    return check(options)


def _url(given: str) -> str:
    """Return a URL, from the environment when a variable's name was given: a password stays off the command line."""
    if "://" not in given and given in os.environ:
        return os.environ[given]
    return given


def _complain(text: str, code: int) -> int:
    print(f"sessionkit: {shorten(text, 1000)}", file=sys.stderr)
    return code


__all__ = ["UsageError", "main", "parser"]
