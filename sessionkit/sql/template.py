"""SQL as a template string (PEP 750): its text is SQL, and what stands in braces is a value, never SQL."""

from __future__ import annotations

from ..errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VALUE, _LIST, _IDENTIFIER, _NESTED = "", "*", "i", "q"
_known: dict[Any, str] = {}
_KEPT = 512


def rendered(statement: Any, parameters: Any, quote: str) -> tuple[Any, Any]:
    """
    Return a template as SQL with `:name` placeholders, and their values; anything else as it is.

    In braces: `{x}` a value, `{x:*}` a list for `IN (…)`, `{name:i}` an identifier (quoted with `quote`; a dot separates schema and
    table), `{part:q}` another template. Any object with `strings` and `interpolations` is a template.

    Raises:
        ArgumentError: parameters were given beside it, an unknown format, or something that is no identifier or template.
    """
    if not is_template(statement):
        return statement, parameters
    if parameters is not None:
        raise ArgumentError("a template brings its values in braces, so no parameters go with it")
    values: dict[str, Any] = {}
    text = _text(statement, values, quote)
    return text, values or None


def is_template(statement: Any) -> bool:
    """Tell whether this is a template string (by what it has: before Python 3.14 there is no such type)."""
    return not isinstance(statement, str) and hasattr(statement, "strings") and hasattr(statement, "interpolations")


def _text(template: Any, values: dict[str, Any], quote: str) -> str:
    strings, parts = template.strings, template.interpolations
    if not all(part.format_spec in (_VALUE, _LIST) for part in parts):
        return _joined(strings, parts, values, quote)
    key = (strings, tuple([(part.format_spec, part.expression, part.conversion) for part in parts]))
    found = _known.get(key)
    if found is None:
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[key] = _joined(strings, parts, {}, quote)
    for part in parts:
        values[_name(part, values)] = _converted(part)
    return found


def _joined(strings: Any, parts: Any, values: dict[str, Any], quote: str) -> str:
    text = [strings[0]]
    for part, after in zip(parts, strings[1:], strict=True):
        if part.format_spec in (_VALUE, _LIST):
            name = _name(part, values)
            values[name] = _converted(part)
            text.append(f":{part.format_spec}{name}")
        elif part.format_spec == _IDENTIFIER:
            text.append(_identifier(part, quote))
        elif part.format_spec == _NESTED:
            nested = part.value
            if not is_template(nested):
                raise ArgumentError(f"{{{part.expression}:q}} is a template string, got {type(nested).__name__}")
            text.append(_joined(nested.strings, nested.interpolations, values, quote))
        else:
            raise ArgumentError(
                f"{{{part.expression}:{part.format_spec}}}: after the colon stands * (a list for IN), i (an identifier) or q (a "
                "template); format a value in Python, before it goes in"
            )
        text.append(after)
    return "".join(text)


def _name(part: Any, taken: dict[str, Any]) -> str:
    """Return a placeholder's name: the value's own, where it is a name and not taken, so that errors speak of it."""
    own = part.expression if part.expression.isidentifier() and part.conversion is None else f"value{len(taken)}"
    name = own
    while name in taken:
        name = f"{name}_{len(taken)}"
    return str(name)


def _converted(part: Any) -> Any:
    convert = {None: None, "r": repr, "s": str, "a": ascii}[part.conversion]
    return part.value if convert is None else convert(part.value)


def _identifier(part: Any, quote: str) -> str:
    name = part.value
    if not isinstance(name, str) or not all(name.split(".")) or "\0" in name:
        found = "an empty part or a NUL" if isinstance(name, str) else type(name).__name__
        raise ArgumentError(f"{{{part.expression}:i}} is the name of a table or column, got {found}")
    return ".".join(f"{quote}{piece.replace(quote, quote * 2)}{quote}" for piece in name.split("."))
