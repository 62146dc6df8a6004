"""A CSV as `load` reads it: plain, gzip, zip or standard input; its header, its rows, the types that fit its data."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import sys
import tempfile
import zipfile
import zlib
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from ..errors import DataError
from . import UsageError
from .columns import Column

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..drivers.base import Driver


class Source:
    """The file: `header` is its first line; `rows()` reads the others again from the start."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._nulls = {"", *options.null}
        self._raw: IO[bytes] | None = None
        self._opened: list[IO[Any]] = []
        self._size = 0
        self._spool: IO[bytes] | None = None
        self._delimiter = options.delimiter or ("\t" if _is_tsv(options.file) else ",")
        csv.field_size_limit(16 * 1024 * 1024)
        if options.file == "-":
            self._spool = _spooled() if options.create else None
        with_header = self._reader()
        self._first = with_header
        self.header = self._read_header(with_header)

    def _read_header(self, reader: Any) -> list[str]:
        try:
            header = [name.strip() for name in next(reader)]
        except StopIteration:
            raise UsageError("the file is empty; its first line names the columns") from None
        except UnicodeDecodeError:
            raise self._not_text(1) from None
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as exc:
            raise DataError(f"the compressed file is damaged: {exc}") from exc
        if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), "")):
            shown = {";": "';'", "\t": "$'\\t'"}[other]
            raise UsageError(
                f"the header is one column, {header[0]!r}: name what separates its fields, --delimiter {shown}"
            )
        if not all(header):
            raise UsageError(f"the header has a column without a name (number {header.index('') + 1})")
        if len(set(map(str.lower, header))) != len(header):
            lowered = [name.lower() for name in header]
            twice = next(name for i, name in enumerate(header) if name.lower() in lowered[:i])
            raise UsageError(f"the header names {twice!r} twice")
        return header

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield (line number, fields), with None for NULL; a record of several lines has its first one's number."""
        reader = self._first or self._skip_header()
        self._first = None
        nulls = self._nulls
        line = reader.line_num + 1
        try:
            for fields in reader:
                if fields:
                    yield line, [None if field in nulls else field for field in fields]
                line = reader.line_num + 1
        except csv.Error as exc:
            raise DataError(f"line {line} is no CSV: {exc}") from exc
        except (EOFError, zlib.error, zipfile.BadZipFile) as exc:
            raise DataError(f"the compressed file is damaged after line {line}: {exc}") from exc
        except UnicodeDecodeError as exc:
            raise self._not_text(line) from exc

    def _not_text(self, line: int) -> DataError:
        return DataError(
            f"line {line} or one soon after it is not {self._options.encoding}; name the file's --encoding"
        )

    def _skip_header(self) -> Any:
        reader = self._reader()
        next(reader)
        return reader

    def _reader(self) -> Any:
        try:
            stream = io.TextIOWrapper(self._open(), encoding=self._options.encoding, newline="")
        except LookupError:
            raise UsageError(f"unknown --encoding {self._options.encoding}") from None
        if self._raw is not None:  # else it is of standard input, which is not ours to close
            self._opened += [stream, self._raw]
        return csv.reader(stream, delimiter=self._delimiter, strict=True)

    def _open(self) -> Any:
        path = self._options.file
        if path == "-":
            if self._spool is None:
                return sys.stdin.buffer
            self._spool.seek(0)
            return io.BufferedReader(io.FileIO(self._spool.fileno(), closefd=False))
        self._raw = raw = open(path, "rb")  # noqa: SIM115
        self._size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        magic = raw.peek(4)[:4]
        if magic[:2] == b"\x1f\x8b":
            return gzip.GzipFile(fileobj=raw)
        if magic == b"PK\x03\x04":
            return _only_member(raw)
        kind = path.rpartition(".")[2].lower()
        if kind in ("gz", "zip"):
            raise UsageError(f"{path} ends in .{kind} and is no {'gzip' if kind == 'gz' else 'zip'} file")
        return raw

    def share(self) -> float | None:
        """Return how much of the file is read, from 0 to 1; None where that cannot be known."""
        return self._raw.tell() / self._size if self._raw is not None and self._size else None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        for stream in (*self._opened, self._raw, self._spool):
            if stream is not None:
                stream.close()


def _is_tsv(path: str) -> bool:
    return path.lower().removesuffix(".gz").removesuffix(".zip").endswith(".tsv")


def _spooled() -> IO[bytes]:
    """Copy standard input to a temporary file, to read it twice without holding it in memory."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    return spool


def _only_member(raw: IO[bytes]) -> Any:
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile as exc:
        raise UsageError(f"the file begins like a zip and is none: {exc}") from exc
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if len(names) != 1:
        raise UsageError(f"the zip holds {len(names)} files; load one that holds a single CSV")
    return archive.open(names[0])


def derive(source: Source, driver: Driver) -> list[tuple[str, str]]:
    """Return a kind and its type's name for each column, which fit all of its values, found by reading the file once."""
    columns = [Column() for _ in source.header]
    rows = source.rows()
    while batch := [fields for _, fields in islice(rows, 5000)]:
        for column, values in zip(
            columns, zip(*(row for row in batch if len(row) == len(columns)), strict=True), strict=False
        ):
            column.add({value for value in values if value is not None})
    return [_named(column, driver) for column in columns]


def _named(column: Column, driver: Driver) -> tuple[str, str]:
    names, (most, most_after) = driver.type_names, driver.decimal_digits
    kind, digits = column.kind, column.before + column.after
    if kind == "numeric" and (digits > most or column.after > most_after):
        kind = "text"
    name = names.get(kind)
    if name is None or kind == "text":
        kind, name = "text", names["text" if column.length < 4000 else "long text"]
    return kind, name.format(digits=digits, after=column.after, length=column.length + column.length // 4)


def quoted_name(name: str, quote: str, dotted: bool = False) -> str:
    """Return a name in quotes; a table's may be `schema.table`, and one that is quoted already stays as it is."""
    if name.startswith(quote) and name.endswith(quote) and len(name) > 1:
        return name
    parts = name.split(".") if dotted else [name]
    return ".".join(f"{quote}{part.replace(quote, quote * 2)}{quote}" for part in parts)
