"""A scanner for SQL by the lexical rules of a server: strings, quoted names, comments, placeholders.

It looks at one token at a time, so that what stands in a literal reaches the server byte for byte.
"""

from __future__ import annotations

import re

from ..errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NAME = r":(\*?)([^\W\d]\w*)"


class Lexicon:
    """
    The lexical rules of one server and one driver.

    `paramstyle` is PEP 249's. `backslash` says that a backslash escapes the next character in `'…'`, `double_strings` that
    `"…"` is a string too and not a name, `escape_strings` that `E'…'` has backslashes (PostgreSQL). `dollar` (strings),
    `nested` (comments), `backtick` and `bracket` (names) switch those forms on; `mysql_comments` are `#`, `--` only before a
    space, and `/*! … */`, which the server executes. `percent` says where the driver wants `%` doubled when it formats:
    "everywhere" or "unquoted". `empty_set` is what stands between the parentheses of `IN (…)` when there are no values.
    `has_modes` says that a server can be set to other rules for backslashes (`Driver.lexicon_of` asks a connection).
    `max_parameters` is how many a statement may have, 0 for any number.
    """

    __slots__ = (
        "_scanner", "dollar", "empty_set", "given", "has_modes", "max_parameters", "nested", "paramstyle", "percent",
    )  # fmt: skip

    def __init__(
        self,
        paramstyle: str = "qmark",
        *,
        backslash: bool = False,
        double_strings: bool = False,
        escape_strings: bool = True,
        dollar: bool = False,
        nested: bool = False,
        mysql_comments: bool = False,
        backtick: bool = False,
        bracket: bool = False,
        percent: str = "everywhere",
        empty_set: str = "NULL) AND (1=0",
        has_modes: bool = False,
        max_parameters: int = 0,
    ) -> None:
        self.given = {key: value for key, value in locals().items() if key != "self"}
        if paramstyle not in ("qmark", "format", "pyformat", "named", "numeric"):
            raise ArgumentError(
                f"unknown paramstyle {paramstyle!r} (PEP 249 knows qmark, format, pyformat, named, numeric)"
            )
        self.paramstyle = paramstyle
        self.dollar = dollar
        self.nested = nested
        self.percent = percent
        self.empty_set = empty_set
        self.has_modes = has_modes
        self.max_parameters = max_parameters
        literals = _literal_patterns(backslash, double_strings, escape_strings, backtick, bracket)
        self._scanner = re.compile("|".join(_token_patterns(literals, dollar, mysql_comments)), re.DOTALL)

    def but(self, **changes: Any) -> Lexicon:
        """Return the same rules with these changes: those of the same server in another mode."""
        return Lexicon(**{**self.given, **changes})

    def tokens(self, sql: str, position: int = 0) -> Iterator[tuple[str, str]]:
        """Yield (kind, text) for every piece of `sql` from a position; the texts joined are `sql` again."""
        end = len(sql)
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


def _literal_patterns(
    backslash: bool, double_strings: bool, escape_strings: bool, backtick: bool, bracket: bool
) -> list[str]:
    escaped = r"(?:[^{0}\\]|{0}{0}|\\.)*(?:{0}|\Z)"
    plain = r"(?:[^{0}]|{0}{0})*(?:{0}|\Z)"
    single = escaped if backslash else plain
    double = single if double_strings else plain
    literals = ["'" + single.format("'"), '"' + double.format('"')]
    if escape_strings:
        literals.append(r"(?<!\w)[eE]'" + escaped.format("'"))
    if backtick:
        literals.append("`" + plain.format("`"))
    if bracket:
        literals.append(r"\[[^\]]*(?:\]|\Z)")
    return literals


def _token_patterns(literals: list[str], dollar: bool, mysql_comments: bool) -> Iterator[str]:
    yield r"(?P<space>\s+)"
    if mysql_comments:  # what stands in /*! … */ is code: only its brackets are comments
        yield r"(?P<comment>--(?=\s|\Z)[^\n]*|/\*M?!\d*|\*/|/\*.*?(?:\*/|\Z)|#[^\n]*)"
    else:
        yield r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"
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


class Extent:
    """
    Follows a statement token by token, to know at which `;` it ends.

    The `;` of a stored program's body end nothing: CREATE TRIGGER, PROCEDURE, FUNCTION, EVENT with BEGIN … END (on PostgreSQL
    only BEGIN ATOMIC is such a body), nor do those between the parentheses of a CREATE RULE.
    """

    __slots__ = ("_depth", "_dollar", "_parentheses", "_words")

    def __init__(self, lexicon: Lexicon) -> None:
        self._dollar = lexicon.dollar
        self._words: list[str] = []
        self._depth = self._parentheses = 0

    def ends_at(self, token: str, piece: str) -> bool:
        """Take the next token; return whether the statement ends with it."""
        if token == "word":
            self._words.append(piece.upper())
            self._depth += self._step()
        elif token == "other":
            if piece == ";":
                in_rule = self._parentheses > 0 and self._kind() == "RULE"
                return self._depth <= 0 and not in_rule
            self._parentheses += (piece == "(") - (piece == ")")
        return False

    def _kind(self) -> str:
        """Return what a CREATE creates, by the first word that is none of those before it; '' for other statements."""
        if self._words[:1] != ["CREATE"]:
            return ""
        named = [word for word in self._words[1:9] if word not in _BEFORE_KIND]
        if named[:1] == ["DEFINER"]:  # = user@host
            return next((word for word in named if word in _WITH_BODY), "")
        return named[0] if named else ""

    def _step(self) -> int:
        """Return +1 where the newest word opens a block of a stored program, -1 where it closes one."""
        word, previous = self._words[-1], self._words[-2] if len(self._words) > 1 else ""
        if word not in _BLOCK_WORDS or self._kind() not in _WITH_BODY:
            return 0
        if self._dollar and not self._depth:
            return int(word == "ATOMIC" and previous == "BEGIN")
        if word == "END":
            return -1
        if word in ("BEGIN", "CASE"):
            return int(previous != "END")
        return int(previous == "END" and word != "ATOMIC")  # END IF: the IF was not counted, its END was


_BEFORE_KIND = frozenset(["OR", "REPLACE", "TEMP", "TEMPORARY", "CONSTRAINT", "AGGREGATE"])
_WITH_BODY = frozenset(["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"])
_BLOCK_WORDS = frozenset(["BEGIN", "ATOMIC", "CASE", "END", "IF", "LOOP", "REPEAT", "WHILE", "FOR"])


def cut(script: str, lexicon: Lexicon, start: int = 0) -> tuple[str, int]:
    """Return the next statement of a script from `start`, '' when there is none, and where the one after it starts."""
    extent, at, has_words = Extent(lexicon), start, False
    for token, piece in lexicon.tokens(script, start):
        at += len(piece)
        if extent.ends_at(token, piece):
            if has_words:
                return script[start : at - 1].strip(), at
            start = at  # an empty one: go on
        elif token not in ("space", "comment"):
            has_words = True
    return (script[start:].strip() if has_words else ""), len(script)


def split(script: str, lexicon: Lexicon) -> list[str]:
    """Cut a script into its statements at `;`, leaving strings, comments and the bodies of stored programs whole."""
    statements, at = [], 0
    while at < len(script):
        statement, at = cut(script, lexicon, at)
        statements.append(statement)
    return [statement for statement in statements if statement]
