"""A scanner for SQL, told the lexical rules of a server as a value: strings, quoted names, comments, placeholders.

It looks at one token at a time, so that what stands in a literal reaches the server byte for byte.
"""

from __future__ import annotations

import re

from .errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = r":(\*?)([^\W\d]\w*)"


class Lexicon:
    """
    The lexical rules of one server and one driver.

    `paramstyle` is PEP 249's; `backslash` says that a backslash escapes in every string (MySQL) and that `"`
    quotes strings; `dollar`, `nested` (comments), `hash` (comments), `backtick` and `bracket` switch those
    forms on. `percent` says where the driver wants `%` doubled when it formats: "everywhere" or "unquoted".
    `empty_set` is what stands between the parentheses of `IN (…)` when there are no values.
    """

    __slots__ = ("_scanner", "backslash", "dollar", "empty_set", "nested", "paramstyle", "percent")

    def __init__(
        self,
        paramstyle: str = "qmark",
        *,
        backslash: bool = False,
        dollar: bool = False,
        nested: bool = False,
        hash: bool = False,
        backtick: bool = False,
        bracket: bool = False,
        percent: str = "everywhere",
        empty_set: str = "NULL) AND (1=0",
    ) -> None:
        if paramstyle not in ("qmark", "format", "pyformat", "named", "numeric"):
            raise ArgumentError(
                f"unknown paramstyle {paramstyle!r} (PEP 249 knows qmark, format, pyformat, named, numeric)"
            )
        self.paramstyle = paramstyle
        self.backslash = backslash
        self.dollar = dollar
        self.nested = nested
        self.percent = percent
        self.empty_set = empty_set
        self._scanner = re.compile("|".join(_token_patterns(backslash, dollar, hash, backtick, bracket)), re.DOTALL)

    def tokens(self, sql: str) -> Iterator[tuple[str, str]]:
        """Yield (kind, text) for every piece of `sql`; the texts joined are `sql` again."""
        position, end = 0, len(sql)
        while position < end:
            match = self._scanner.match(sql, position)
            assert match is not None
            assert match.lastgroup is not None
            kind, stop = match.lastgroup, match.end()
            if kind == "comment" and self.nested and sql.startswith("/*", position):
                stop = _nested_end(sql, position)
            elif kind == "dollar":
                close = sql.find(match.group(), stop)
                stop = end if close < 0 else close + len(match.group())
                kind = "literal"
            yield kind, sql[position:stop]
            position = stop


def _token_patterns(backslash: bool, dollar: bool, hash: bool, backtick: bool, bracket: bool) -> Iterator[str]:
    escaped = r"(?:[^{0}\\]|{0}{0}|\\.)*(?:{0}|\Z)"
    plain = r"(?:[^{0}]|{0}{0})*(?:{0}|\Z)"
    body = escaped if backslash else plain
    literals = ["'" + body.format("'"), '"' + body.format('"'), r"(?<!\w)[eE]'" + escaped.format("'")]
    if backtick:
        literals.append("`" + plain.format("`"))
    if bracket:
        literals.append(r"\[[^\]]*(?:\]|\Z)")
    yield r"(?P<space>\s+)"
    dashes = r"--(?=\s|\Z)[^\n]*" if backslash else r"--[^\n]*"
    hashes = r"|#[^\n]*" if hash else ""
    yield rf"(?P<comment>{dashes}|/\*.*?(?:\*/|\Z){hashes})"
    yield f"(?P<literal>{'|'.join(literals)})"
    if dollar:
        yield r"(?P<dollar>(?<![\w$])\$(?:[^\W\d]\w*)?\$)"
    yield r"(?P<word>[^\W\d][\w$]*)"
    yield r"(?P<number>\d\w*)"
    yield r"(?P<cast>::|:=)"
    yield r"(?P<colon>\\:)"
    yield rf"(?P<name>(?<![\w:]){_NAME})"
    yield r"(?P<marks>\?\?)"
    yield r"(?P<mark>\?)"
    yield r"(?P<other>.)"


def _nested_end(sql: str, position: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(sql, position):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(sql)


def split(script: str, lexicon: Lexicon) -> list[str]:
    """
    Cut a script into its statements at `;`, leaving strings, comments and BEGIN … END bodies whole.

    The bodies are those of CREATE TRIGGER, PROCEDURE, FUNCTION and EVENT, whose inner `;` end nothing.
    """
    statements: list[str] = []
    text, depth = "", 0
    words: list[str] = []
    for token, piece in lexicon.tokens(script):
        if token == "word":
            words.append(piece.upper())
            depth += _body_step(words)
        if piece == ";" and token == "other" and depth <= 0:
            if words or text.strip():
                statements.append(text.strip())
            text, words, depth = "", [], 0
            continue
        text += piece
    if words:
        statements.append(text.strip())
    return [statement for statement in statements if statement]


def _body_step(words: list[str]) -> int:
    """Return +1 where the newest word opens a block of a stored program, -1 where it closes one."""
    if words[0] != "CREATE" or not {"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"} & set(words[:7]):
        return 0
    previous = words[-2] if len(words) > 1 else ""
    if words[-1] == "END":
        return -1
    if words[-1] in ("BEGIN", "CASE") and previous != "END":
        return 1
    if words[-1] in ("IF", "LOOP", "REPEAT", "WHILE") and previous == "END":
        return 0
    return 0
