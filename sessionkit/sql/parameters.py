"""From `:name` and `?` to the driver's paramstyle, over the tokens of the statement: never over its raw text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .._typing import NOTHING
from ..errors import ArgumentError, InvalidRequestError, shorten
from .lexer import Extent
from .words import OPAQUE, is_writing, keywords, refuse_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._typing import Rules
    from .lexer import Lexicon

NONE, NAMED, POSITIONAL, OWN = "none", "named", "positional", "own"
_BY_POSITION = (POSITIONAL, OWN)

_BOUNDARY = frozenset(
    ["(", ",", ";", "AND", "OR", "XOR", "WHERE", "ON", "WHEN", "THEN", "ELSE", "SELECT", "HAVING", "CASE", "SET",
     "RETURNING", "BY", "=", "<", ">", "+", "-", "*", "/", "|", "&"]
)  # fmt: skip


class Slot:
    """One placeholder of a statement: its name or position, whether it stands alone in `IN (…)`, and whether under NOT."""

    __slots__ = ("alone", "expands", "key", "negated")

    def __init__(self, key: str | int, expands: bool = False, negated: bool = False) -> None:
        self.key = key
        self.expands = expands
        self.negated = negated
        self.alone = False


class NoRules:
    """A server of which nothing is known: no statement commits by itself or leaves anything."""

    def commits_implicitly(self, words: tuple[str, ...]) -> bool:
        """Return False."""
        return False

    def leaves_state(self, tokens: Sequence[str], sql: str) -> int:
        """Return NOTHING."""
        return NOTHING


class Statement:
    """
    A scanned statement, ready to be bound to parameters again and again.

    `sql` is the program's text, `words` its first keywords in upper case, `writes` whether it changes data, `commits`
    whether the server commits the open transaction at it, by itself, `leaves` what it may leave on the
    connection after its transaction; `is_special` says that it commits or leaves. `is_opaque` says that what it runs
    cannot be seen in its text. `static`
    is what `bind` returns when there is nothing to bind, else None; `shape` is a place for results to keep a Row class.
    `is_unscanned` is True only for an Unscanned one.
    """

    __slots__ = (
        "_count", "_doubled", "_fixed", "_lexicon", "_lone", "_names", "_plain", "_slots", "commits", "is_opaque", "is_special",
        "is_unscanned", "kind", "leaves", "shape", "sql", "static", "words", "writes",
    )  # fmt: skip

    def __init__(self, sql: str, kind: str, lexicon: Lexicon, rules: Rules) -> None:
        self.sql = sql
        self.kind = kind
        self.is_unscanned = False
        self._lexicon = lexicon
        parts, self._slots, tokens = _scan(sql, kind, lexicon)
        words = keywords(tokens)
        refuse_control(words, tokens)
        self._plain, self._doubled = ([part[form] for part in parts] for form in (0, 1))
        self.words = tuple(words[:4])
        self.is_opaque = words[:1] in OPAQUE
        self.writes = is_writing(words)
        self.commits = rules.commits_implicitly(self.words)
        self.leaves = rules.leaves_state(tokens, sql)
        self.is_special = self.commits or self.leaves != NOTHING
        self.shape: tuple[Any, Any] | None = None
        self._names = frozenset(slot.key for slot in self._slots) if kind not in _BY_POSITION else frozenset()
        self._lone = [at for at, slot in enumerate(self._slots) if slot.alone and not slot.expands]
        self._fixed = None if any(slot.expands for slot in self._slots) else self._render([1] * len(self._slots))
        nothing_to_bind = kind == NONE and not self._slots and self._fixed is not None
        self.static: tuple[str, None] | None = (str(self._fixed), None) if nothing_to_bind else None
        by_position = kind == POSITIONAL and not self._lone and lexicon.paramstyle in ("qmark", "format", "numeric")
        self._count = len(self._slots) if by_position else 0  # above 0: a tuple of so many goes to the driver as it is

    def bind(self, parameters: Any) -> tuple[str, Any]:
        """
        Return the text and the parameters for the driver, None when the statement has no placeholder.

        Raises:
            ArgumentError: names are missing or superfluous, or a list is empty where it cannot be.
        """
        if self._count and type(parameters) is tuple and len(parameters) == self._count and self._fixed is not None:
            return self._fixed, parameters
        values = self._values(parameters)
        if self._lone:
            self._check_lone(values)
        if self._fixed is not None:
            return self._fixed, self._packed(values)
        lists = [
            _as_list(slot, value) if slot.expands else [value] for slot, value in zip(self._slots, values, strict=True)
        ]
        for slot, items in zip(self._slots, lists, strict=True):
            if not items:
                self._check_empty(slot)
            elif slot.negated and None in items:
                raise ArgumentError(
                    f"NOT IN (:*{slot.key}) got a list with None, and no row is NOT IN a list with NULL (SQL); leave None "
                    "out, and say IS NOT NULL if that is meant"
                )
        return self._render([len(items) for items in lists]), self._packed([item for items in lists for item in items])

    def bind_many(self, rows: list[Any]) -> tuple[str, list[Any]]:
        """
        Return the text and each row's parameters for the driver; errors as with `bind`.

        Raises:
            ArgumentError: the statement has a `:*name`, whose text would differ from row to row.
        """
        if self._fixed is None:
            raise ArgumentError(":*names cannot be used with executemany; execute once for each list")
        if self._count and set(map(type, rows)) == {tuple} and set(map(len, rows)) == {self._count}:
            return self._fixed, rows
        return self._fixed, [self.bind(row)[1] for row in rows]

    def _values(self, parameters: Any) -> Sequence[Any]:
        if self.kind == POSITIONAL:
            if len(parameters) != len(self._slots):
                raise self._miscounted(parameters)
            return parameters  # type: ignore[no-any-return]
        if self.kind == NONE:
            if self._slots:
                raise self._missing(self._names, "none")
            return ()
        if not isinstance(parameters, Mapping):
            return self._attributes(parameters)
        try:
            values = [parameters[slot.key] for slot in self._slots]
        except KeyError:
            raise self._missing(self._names - set(parameters), _listed(parameters)) from None
        if len(parameters) != len(self._names):
            surplus = set(parameters) - self._names
            if surplus:
                raise self._unexpected(surplus)
        return values

    def _attributes(self, source: object) -> Sequence[Any]:
        missing = {str(name) for name in self._names if not hasattr(source, str(name))}
        if missing:
            raise self._missing(missing, f"a {type(source).__name__}")
        return [getattr(source, str(slot.key)) for slot in self._slots]

    def _check_lone(self, values: Sequence[Any]) -> None:
        for at in self._lone:
            if isinstance(values[at], (list, tuple, set, frozenset)):
                name = self._slots[at].key
                as_list = f":*{name}" if isinstance(name, str) else ":*name, with a mapping"
                raise ArgumentError(f'a list for IN (…) goes in as {as_list}: "{shorten(self.sql)}"')

    def _missing(self, names: Iterable[object], given: str) -> ArgumentError:
        known = _listed(self._names)
        return ArgumentError(
            f'parameter missing: {_listed(names)} (the statement names: {known}; given: {given}) in "{shorten(self.sql)}"'
        )

    def _unexpected(self, names: Iterable[object]) -> ArgumentError:
        marks = len(_scan(self.sql, POSITIONAL, self._lexicon)[1])
        has = f"names: {_listed(self._names)}"
        if not self._names:
            has = f"has {marks} ?, for which a sequence is given" if marks else "has no placeholder"
        return ArgumentError(f'unexpected parameter {_listed(names)}; the statement {has}: "{shorten(self.sql)}"')

    def _miscounted(self, parameters: Sequence[Any]) -> ArgumentError:
        first = parameters[0] if parameters else None
        several = isinstance(first, (Mapping, tuple, list)) or hasattr(type(first), "__dataclass_fields__")
        return ArgumentError(
            f"the statement has {len(self._slots)} placeholders and got {len(parameters)} "
            f'parameters: "{shorten(self.sql)}"' + ("; for several rows: executemany" if several else "")
        )

    def _check_empty(self, slot: Slot) -> None:
        if slot.negated:
            raise ArgumentError(
                f"NOT IN (:*{slot.key}) got an empty list: everything is not in it; leave the condition out, "
                f"or write NOT (… IN (:*{slot.key}))"
            )
        if not slot.alone:
            raise ArgumentError(f":*{slot.key} got an empty list and does not stand alone in IN (…); give it a value")

    def _packed(self, values: Sequence[Any]) -> Any:
        if not values:
            return None
        if self._lexicon.paramstyle in ("named", "pyformat"):
            return {f"p{number}": value for number, value in enumerate(values, 1)}
        return values if type(values) in (list, tuple) else tuple(values)

    def _render(self, counts: Sequence[int]) -> str:
        most = self._lexicon.max_parameters
        if most and sum(counts) > most:
            raise ArgumentError(
                f"the statement has {sum(counts)} parameters, and this database takes {most} at most; send them in parts, or "
                f'use executemany: "{shorten(self.sql)}"'
            )
        parts = self._doubled if sum(counts) else self._plain  # without values the driver formats nothing
        text, number = [parts[0]], 0
        for part, count in zip(parts[1:], counts, strict=True):
            marks = ", ".join(self._mark(number + i) for i in range(1, count + 1))
            text += [marks or self._lexicon.empty_set, part]
            number += count
        return "".join(text)

    def _mark(self, number: int) -> str:
        style = self._lexicon.paramstyle
        if style == "qmark":
            return "?"
        if style == "format":
            return "%s"
        return {"pyformat": "%(p{})s", "named": ":p{}", "numeric": ":{}"}[style].format(number)


def _scan(sql: str, kind: str, lexicon: Lexicon) -> tuple[list[tuple[str, str]], list[Slot], list[str]]:
    """
    Cut `sql` at its placeholders; return the texts between (plain, with `%` doubled), the placeholders, the tokens.

    The tokens are the significant ones, in upper case, a literal by its first character.

    Raises:
        InvalidRequestError: a second statement follows.
    """
    parts = [("", "")]
    slots: list[Slot] = []
    seen: list[str] = []
    extent, ended, follows = Extent(lexicon), False, False
    for token, text in lexicon.tokens(sql):
        if token in ("space", "comment"):
            parts[-1] = _extended(parts[-1], token, text, lexicon)
            continue
        if extent.ends_at(token, text):
            ended = True
        elif ended:
            raise InvalidRequestError(
                f'one call runs one statement, and another one follows after the ";" in "{shorten(sql)}"; it was not sent: '
                "use script(), or one call for each"
            )
        if follows:
            slots[-1].alone = slots[-1].alone and text == ")"
        follows = False
        if token == "name" and kind not in _BY_POSITION:
            slots.append(_slot(text[1:], seen))
        elif token == "mark" and kind == POSITIONAL:
            slots.append(_slot(len(slots), seen))
        else:
            seen.append(text.upper() if token == "word" else text[0] if token == "literal" else text)
            parts[-1] = _extended(parts[-1], token, text, lexicon)
            continue
        seen.append(":")
        parts.append(("", ""))
        follows = True
    return parts, slots, seen


def _extended(part: tuple[str, str], token: str, text: str, lexicon: Lexicon) -> tuple[str, str]:
    text = ":" if token == "colon" else "?" if token == "marks" else text
    formats = lexicon.paramstyle in ("format", "pyformat")
    if formats and (lexicon.percent == "everywhere" or token not in ("literal", "comment")):
        return part[0] + text, part[1] + text.replace("%", "%%")
    return part[0] + text, part[1] + text


def _slot(key: str | int, seen: list[str]) -> Slot:
    if isinstance(key, str) and key.startswith("*"):
        slot = Slot(key[1:], expands=True, negated=_is_negated(seen))
    else:
        slot = Slot(key)
    slot.alone = seen[-2:] == ["IN", "("]
    return slot


def _is_negated(seen: list[str]) -> bool:
    """Tell whether the `IN (` that ends `seen` is negated directly: `x NOT IN (` or `NOT x IN (`."""
    if seen[-2:] != ["IN", "("]:
        return False
    depth = 0
    for word in reversed(seen[:-2]):
        if word == ")":
            depth += 1
        elif depth:
            depth -= word == "("
        elif word == "NOT":
            return True
        elif word in _BOUNDARY:
            return False
    return False


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _as_list(slot: Slot, value: object) -> list[Any]:
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise ArgumentError(f":*{slot.key} takes a list, tuple or set of values, got {type(value).__name__}")
    return list(value)


def kind_of(parameters: object) -> str:
    """
    Say how a statement is parameterised: by nothing, by name, or by position.

    Raises:
        ArgumentError: the parameters are neither a mapping, a sequence, nor a dataclass instance.
    """
    if parameters is None:
        return NONE
    if isinstance(parameters, (tuple, list)):
        return POSITIONAL
    if isinstance(parameters, Mapping):
        return NAMED
    if hasattr(type(parameters), "__dataclass_fields__"):
        return NAMED
    if isinstance(parameters, Sequence) and not isinstance(parameters, (str, bytes, bytearray)):
        return POSITIONAL
    raise ArgumentError(
        f"parameters are a mapping for :name, a sequence for ?, or a dataclass; got {type(parameters).__name__}"
        + (" (write (value,) for one value)" if isinstance(parameters, (str, bytes, int, float)) else "")
    )


class Unscanned(Statement):
    """A text with a backslash, whose meaning depends on a mode of the server: scanned when the connection is known."""

    __slots__ = ()

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.is_unscanned = True


class Compiler:
    """
    Statements for one lexicon, scanned once and kept: at most `size` of them, then it starts over.

    `rules` says what else is known of the server's statements.
    """

    __slots__ = ("_known", "_others", "_rules", "lexicon", "size")

    def __init__(self, lexicon: Lexicon, rules: Rules | None = None, size: int = 512) -> None:
        self.lexicon = lexicon
        self._rules = rules or NoRules()
        self.size = size
        self._known: dict[str, dict[str, Statement]] = {NONE: {}, NAMED: {}, POSITIONAL: {}, OWN: {}}
        self._others: dict[Lexicon, Compiler] = {}

    def __call__(self, sql: str, parameters: object) -> Statement:
        """
        Return the scanned form of `sql` for parameters of this kind; an Unscanned one where a mode of the server matters.

        Raises:
            ArgumentError: `sql` is no string, or the parameters are of no kind known.
            InvalidRequestError: it is COMMIT or another word that only the session may speak, or a second statement follows.
        """
        kind = NONE if parameters is None else POSITIONAL if type(parameters) is tuple else kind_of(parameters)
        try:
            return self._known[kind][sql]
        except (KeyError, TypeError):  # new, or unhashable and so no string
            pass
        return self._compiled(sql, kind)

    def own(self, sql: str) -> Statement:
        """Return the scanned form of a statement whose placeholders are the driver's own; errors as above."""
        return self._known[OWN].get(sql) or self._compiled(sql, OWN)

    def by(self, lexicon: Lexicon) -> Compiler:
        """Return the compiler for the same server in another mode, in which every text can be scanned."""
        found = self._others.get(lexicon)
        if found is None:
            found = self._others[lexicon] = Compiler(lexicon.but(has_modes=False), self._rules, self.size)
        return found

    def _compiled(self, sql: str, kind: str) -> Statement:
        if not isinstance(sql, str):
            raise ArgumentError(f"a statement is a string of SQL, got {type(sql).__name__}")
        known = self._known[kind]
        if len(known) >= self.size:
            known.clear()
        if self.lexicon.has_modes and "\\" in sql:
            statement: Statement = Unscanned(sql)
        else:
            statement = Statement(sql, kind, self.lexicon, self._rules)
        known[sql] = statement
        return statement
