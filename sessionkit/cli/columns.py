"""The type that fits a column of texts: only one whose values give the very same texts back."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)").fullmatch
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+").fullmatch
_EXPONENT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+[eE][-+]?[0-9]+|[eE][-+][0-9]+)").fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(Z|[-+][0-9]{2}:?[0-9]{2})?"
).fullmatch
_BOOLEANS = [{"true", "false"}, {"True", "False"}, {"TRUE", "FALSE"}]
_DIGITS = 15
"""So many decimal digits survive a double (IEEE 754)."""
_FIRST_YEAR = 1000
"""MySQL's manual promises dates from here on."""

KINDS = ("integer", "bigint", "real", "numeric", "boolean", "date", "timestamp", "timestamptz")
"""Narrowest first; a column that fits none of them is text."""


class Column:
    """What is known of one column from the texts seen so far: `kind` fits all of them."""

    def __init__(self) -> None:
        self._fitting = frozenset(KINDS)
        self._booleans = _BOOLEANS
        self._seen = False
        self.length = 1
        self.before = self.after = 0
        """How many digits stand before and after the point, at most."""

    def add(self, texts: Iterable[str]) -> None:
        """Take in further texts."""
        for text in texts:
            self._seen = True
            self.length = max(self.length, len(text))
            if self._fitting:
                self._fitting &= _kinds(text)
                self._count(text)
        if "boolean" in self._fitting:
            self._booleans = [pair for pair in self._booleans if pair.issuperset(texts)]
            if not self._booleans:
                self._fitting -= {"boolean"}

    def _count(self, text: str) -> None:
        if "numeric" in self._fitting:
            whole, _, fraction = text.lstrip("-").partition(".")
            self.before, self.after = max(self.before, len(whole)), max(self.after, len(fraction))

    @property
    def kind(self) -> str:
        """The narrowest kind that fits every text; "text" where none does, or where there was none."""
        return next((kind for kind in KINDS if kind in self._fitting), "text") if self._seen else "text"


def _kinds(text: str) -> frozenset[str]:
    """Return the kinds of column in which this text is a value that gives it back."""
    if _INTEGER(text) and text != "-0":
        number = int(text) if len(text) < 25 else 2**65
        fitting = ["numeric"]
        if len(text.lstrip("-")) <= _DIGITS:
            fitting.append("real")
        if -(2**63) <= number < 2**63:
            fitting.append("bigint")
        if -(2**31) <= number < 2**31:
            fitting.append("integer")
        return frozenset(fitting)
    if _FRACTION(text):
        return frozenset(["numeric", "real"] if _is_exact(text) else ["numeric"])
    if _EXPONENT(text):
        return frozenset(["real"] if _is_exact(text) else [])
    if _DATE(text):
        return frozenset(["date"] if _is_day(text) else [])
    found = _TIMESTAMP(text)
    if found is not None and _is_moment(text):
        return frozenset(["timestamptz" if found[1] else "timestamp"])
    return frozenset(["boolean"] if any(text in pair for pair in _BOOLEANS) else [])


def _is_exact(text: str) -> bool:
    """Tell whether a double holds this number, to the last digit that is written."""
    digits = re.split("[eE]", text)[0].replace(".", "").lstrip("-0")
    value = float(text)
    return (
        len(digits) <= _DIGITS and value not in (float("inf"), float("-inf")) and Decimal(repr(value)) == Decimal(text)
    )


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).year >= _FIRST_YEAR
    except ValueError:
        return False


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).year >= _FIRST_YEAR
    except ValueError:
        return False
