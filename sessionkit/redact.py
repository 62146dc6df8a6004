"""A server's own words without the values in them: what of an error's text may be shown."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HIDDEN = "…"
"""What stands for a value."""
MARK = "\x00"
"""A driver file puts it around what in a text is a value, or a piece of the statement with its values written in."""

_OPENING = "'\"`([«„“"
_PIECE = re.compile(
    "|".join(
        [r"'([^']*)'", r'"([^"]*)"', r"`([^`]*)`", r"\(([^()]*)\)", r"\[([^\[\]]*)\]", "«([^»]*)»", "[„“]([^”“]*)[”“]"]
    )
)
_CUT = 8
"""From so many characters on, a server may show a value cut off, or with something around it."""


def first_line(text: str) -> str:
    """Return the first line of a server's text that says something, its spaces made single."""
    return next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")


def redacted(text: str, parameters: Any = None, statement: str = "", names: tuple[str | None, ...] = ()) -> str:
    """
    Return the first line of a server's text with `…` for values.

    Taken out is each quoted or bracketed piece that holds the text of a parameter, unless the statement's own text or
    `names` (of tables, columns, constraints) has that piece; what is not quoted is the server's or the program's own.
    `parameters`: values in sequences and mappings, one in another. What stands between two `MARK`s is taken out unless the
    statement's text has it.
    """
    shown = " ".join(statement.split())
    pieces = text.split(MARK)
    for at in range(1, len(pieces), 2):
        piece = " ".join(pieces[at].split())
        pieces[at] = _known_part(piece, shown)
    line = first_line("".join(pieces))
    for value in sorted(set(_texts(parameters, line)), key=len, reverse=True):
        if value not in names and not _within(value, shown):
            line = _without(line, value)
            line = _PIECE.sub(lambda found, value=value: _hidden(found, value, shown, names), line)  # type: ignore[misc]
    return line


def _known_part(piece: str, shown: str) -> str:
    """Return as many of the first words as the statement has one after the other, and `…` for the rest."""
    words = piece.split(" ")
    known = max((count for count in range(len(words) + 1) if _within(" ".join(words[:count]), shown)), default=0)
    return " ".join(words[:known] + [HIDDEN] * (known < len(words)))


def _texts(parameters: Any, line: str) -> Iterator[str]:
    """Yield the texts of those values that the line holds, whole or, of long ones, from their beginning."""
    if parameters is None:
        return
    if isinstance(parameters, (list, tuple, set, frozenset)):
        for value in parameters:
            yield from _texts(value, line)
        return
    if isinstance(parameters, dict):
        yield from _texts(list(parameters.values()), line)
        return
    if isinstance(parameters, (bytes, bytearray, memoryview)):
        text = bytes(parameters).decode("utf-8", "replace")
    else:
        try:
            text = str(int(parameters)) if isinstance(parameters, bool) else str(parameters)
        except Exception:  # of the program's own class; the server has not seen such a text either
            return
    text = " ".join(text.split())
    if text and (text in line or (len(text) >= _CUT and text[:_CUT] in line)):
        yield text


def _without(line: str, value: str) -> str:
    """Hide a value that stands right after a quote, also when it holds quotes itself, or is cut off."""
    start = 0
    while True:
        at = line.find(value[:_CUT], start)
        if at < 0:
            return line
        end = at + _common(line[at:], value)
        whole = end - at == len(value)
        if (
            at
            and line[at - 1] in _OPENING
            and (whole or end - at >= _CUT)
            and not (len(value) < 3 and _goes_on(line, end))
        ):
            line = line[:at] + HIDDEN + line[end:]
            end = at + 1
        start = end


def _common(line: str, value: str) -> int:
    """Return how many characters two texts have in common from their beginning."""
    return next(
        (at for at, (one, other) in enumerate(zip(line, value, strict=False)) if one != other),
        min(len(line), len(value)),
    )


def _within(piece: str, text: str) -> bool:
    """Tell whether a text has this piece, and not only as a part of a longer word."""
    return re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", text) is not None if piece[:1].isalnum() else piece in text


def _goes_on(line: str, end: int) -> bool:
    return line[end : end + 1].isalnum() or line[end : end + 1] == "_"


def _hidden(found: re.Match[str], value: str, shown: str, names: tuple[str | None, ...]) -> str:
    piece = found[found.lastindex or 0]
    if piece in names or _within(piece, shown):
        return found[0]
    holds = value in piece if len(value) >= 3 else _within(value, piece)
    return found[0][0] + HIDDEN + found[0][-1] if holds else found[0]
