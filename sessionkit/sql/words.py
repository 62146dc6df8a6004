"""What a statement does besides reading and writing, by its words: ends a transaction, commits it, leaves something behind."""

from __future__ import annotations

from .._typing import CLOSE, NOTHING, RESET
from ..errors import InvalidRequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

READING = frozenset(
    ["SELECT", "FROM", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "SUMMARIZE", "PRAGMA", "SET", "USE", "HELP", "LISTEN",
     "UNLISTEN", "FETCH", "MOVE", "CLOSE"]
)  # fmt: skip
"""First words of statements that leave the data as it is (SQL cannot tell what a called function does)."""
WRITING = frozenset(["INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE"])
"""Words that make a WITH or EXPLAIN a writing statement."""

_CONTROL = {
    "COMMIT": "call commit()", "END": "call commit()", "ROLLBACK": "call rollback()", "ABORT": "call rollback()",
    "BEGIN": "call begin()", "START": "call begin()", "SAVEPOINT": "call begin_nested()", "RELEASE": "call begin_nested()",
    "PREPARE": "a prepared transaction outlives its session", "XA": "a prepared transaction outlives its session",
    "EXECUTE": "execute the text itself", "SET": "a session begins and ends its transactions by itself",
}  # fmt: skip
OPAQUE = (["CALL"], ["EXECUTE"])
"""First words of statements that run what their text does not show."""

# MySQL manual, Statements That Cause an Implicit Commit; and what MariaDB 10.11 was seen to do
_COMMITTING = frozenset(
    ["ALTER", "CREATE", "DROP", "RENAME", "TRUNCATE", "GRANT", "REVOKE", "LOCK", "UNLOCK", "ANALYZE", "CHECK", "OPTIMIZE",
     "REPAIR", "CACHE", "FLUSH", "RESET", "INSTALL", "UNINSTALL", "START", "STOP", "CHANGE", "BACKUP", "IMPORT"]
)  # fmt: skip
_COMMITTING_PAIRS = frozenset([("SET", "PASSWORD"), ("SET", "DEFAULT"), ("LOAD", "INDEX")])
_LEAVING_MYSQL = frozenset(
    ["SET", "USE", "PREPARE", "EXECUTE", "DEALLOCATE", "HANDLER", "CALL", "LOCK", "UNLOCK", "FLUSH", "BACKUP"]
)
_LEAVING_POSTGRESQL = frozenset(
    ["LISTEN", "UNLISTEN", "PREPARE", "DEALLOCATE", "EXECUTE", "LOAD", "DISCARD", "RESET", "DO", "CALL"]
)
# pragmas whose argument asks about something and sets nothing
_ASKING = frozenset(
    ["TABLE_INFO", "TABLE_XINFO", "TABLE_LIST", "INDEX_LIST", "INDEX_INFO", "INDEX_XINFO", "FOREIGN_KEY_LIST",
     "FOREIGN_KEY_CHECK", "INTEGRITY_CHECK", "QUICK_CHECK"]
)  # fmt: skip
_NAMES_END = frozenset(["SET", "VALUES", "VALUE", "SELECT", "WHERE", "(", "USING", "FIELDS", "PARTITION", "ON"])


def keywords(tokens: Sequence[str]) -> list[str]:
    """Return the keywords of a statement; of MariaDB's SET STATEMENT … FOR those of what it runs."""
    words = [token for token in tokens if token[0].isalpha() and len(token) > 1]
    if words[:2] == ["SET", "STATEMENT"] and "FOR" in words:
        return words[words.index("FOR") + 1 :]
    return words


def is_writing(words: list[str]) -> bool:
    """Tell whether a statement changes data."""
    if not words or words[0] in READING:
        return False
    if words[0] in ("WITH", "EXPLAIN"):
        return not WRITING.isdisjoint(words)
    return True


# -- what would end a transaction


def refuse_control(words: list[str], tokens: list[str]) -> None:
    """
    Refuse COMMIT, ROLLBACK and their like.

    Raises:
        InvalidRequestError: the statement would change the transaction behind the session's back.
    """
    first, second = (*words, "", "")[:2]
    if first not in _CONTROL:
        return
    word = first
    if first in ("START", "PREPARE"):
        if second != "TRANSACTION":
            return
        word = f"{first} TRANSACTION"
    elif first == "EXECUTE":
        if second != "IMMEDIATE":
            return
        word = "EXECUTE IMMEDIATE"
    elif first == "SET":
        if not _sets_autocommit(tokens):
            return
        word = "SET autocommit"
    elif first == "XA" and second == "RECOVER":  # which only lists
        return
    raise InvalidRequestError(
        f"{word} as a statement would change the transaction behind the session's back; it was not sent: {_CONTROL[first]}"
    )


def _sets_autocommit(tokens: list[str]) -> bool:
    """Tell whether a SET names `autocommit` or `@@autocommit`, and not a variable `@autocommit` of the program."""
    return any(
        token == "AUTOCOMMIT" and not (tokens[at - 1] == "@" and tokens[at - 2] != "@")
        for at, token in enumerate(tokens)
    )


def commits_on_mysql(words: tuple[str, ...]) -> bool:
    """Return whether the server commits at it; temporary tables are made and dropped within a transaction."""
    if not words or words[0] not in _COMMITTING:
        return words[:2] in _COMMITTING_PAIRS
    if words[0] == "ANALYZE":  # MariaDB's ANALYZE SELECT … runs and explains
        return words[1:2] in (("TABLE",), ("LOCAL",), ("NO_WRITE_TO_BINLOG",))
    return not (words[0] in ("CREATE", "DROP") and "TEMPORARY" in words)


# -- what outlives a transaction


def leaves_on_postgresql(tokens: Sequence[str], sql: str) -> bool:
    """What the PostgreSQL manual has under DISCARD, and blocks of code that cannot be seen through."""
    words = [token for token in tokens if token[0].isalpha()]
    first, second = (*words, "", "")[:2]
    if first == "SET":
        return second not in ("LOCAL", "TRANSACTION", "CONSTRAINTS")
    if first in _LEAVING_POSTGRESQL or (first == "DECLARE" and "WITH" in words and "HOLD" in words):
        return True
    if first == "CREATE" and not {"TEMP", "TEMPORARY"}.isdisjoint(words[1:6]):
        return True
    text = sql.upper()
    if "PG_TEMP" in text or ("ADVISORY" in text and _takes_session_lock(text)):
        return True
    if "INTO" in words and {"TEMP", "TEMPORARY"} & set(words[words.index("INTO") + 1 :][:2]):
        return True
    return "SET_CONFIG" in text and not _sets_locally(tokens)


def _takes_session_lock(text: str) -> bool:
    """Tell whether a text names an advisory lock that is not the transaction's (`…_xact_lock`)."""
    return text.count("ADVISORY_") > text.count("ADVISORY_XACT_")


def _sets_locally(tokens: Sequence[str]) -> bool:
    """Tell whether each set_config(name, value, is_local) ends with a literal `true`, so that it ends with the transaction."""
    for at, token in enumerate(tokens):
        if token == "SET_CONFIG":
            depth, end = 0, at
            for end in range(at + 1, len(tokens)):
                depth += (tokens[end] == "(") - (tokens[end] == ")")
                if depth == 0:
                    break
            if tokens[end - 2 : end] != [",", "TRUE"]:
                return False
    return "SET_CONFIG" in tokens


def leaves_on_mysql(tokens: Sequence[str], sql: str) -> int:
    """What COM_RESET_CONNECTION undoes (MySQL manual, mysql_reset_connection), and USE; a role it does not undo."""
    words = keywords(tokens)
    if words[:1] and words[0] in _LEAVING_MYSQL:
        return CLOSE if "ROLE" in sql.upper() else RESET
    if words[:2] == ["DROP", "PREPARE"] or (words[:1] == ["CREATE"] and "TEMPORARY" in words[1:4]):
        return RESET
    for at, token in enumerate(
        tokens
    ):  # a variable of the session, which may be set in any statement: @x := 1, INTO @x
        if token == "@" and tokens[at + 1 : at + 2] != ["@"] and (at == 0 or tokens[at - 1] != "@"):
            return RESET
    return RESET if "GET_LOCK" in sql.upper() else NOTHING


def leaves_on_sqlite(tokens: Sequence[str], sql: str) -> bool:
    """PRAGMA with a value, ATTACH and DETACH, temporary things, extensions."""
    first = tokens[0] if tokens else ""
    if first == "PRAGMA":
        at = next((at for at, token in enumerate(tokens) if token in ("=", "(")), None)
        return at is not None and (tokens[at] == "=" or tokens[at - 1] not in _ASKING)
    if first in ("ATTACH", "DETACH"):
        return True
    text = sql.upper()
    return (first == "CREATE" and "TEMP" in text) or "LOAD_EXTENSION" in text


def leaves_on_duckdb(tokens: Sequence[str], sql: str) -> bool:
    """Settings, variables, what is temporary, prepared statements, the schema in use."""
    first = tokens[0] if tokens else ""
    if first == "SET":
        return True
    if first == "PRAGMA":
        return "=" in tokens
    if first in ("RESET", "USE", "PREPARE", "DEALLOCATE", "ATTACH", "DETACH"):
        return True
    return first == "CREATE" and not {"TEMP", "TEMPORARY"}.isdisjoint(tokens[1:5])


# -- what a statement names


def target(tokens: Iterable[tuple[str, str]]) -> str | None:
    """Return the name of the table that an INSERT, REPLACE, UPDATE or DELETE writes to, or None."""
    words = [piece for token, piece in tokens if token not in ("space", "comment")]
    verb = words[0].upper() if words else ""
    before = {"INSERT": "INTO", "REPLACE": "INTO", "DELETE": "FROM", "UPDATE": "UPDATE"}.get(verb, "")
    at = next((at for at, word in enumerate(words[:6]) if word.upper() == before), None) if before else None
    if at is None or at + 1 >= len(words):
        return None
    while words[at + 2 : at + 3] == ["."] and at + 3 < len(words):
        at += 2
    return words[at + 1].strip('`"[]')


def names(tokens: Iterable[tuple[str, str]], name: str) -> bool:
    """Tell whether a statement has this name in it, quoted or not, and outside of strings."""
    return any(piece.strip('`"[]') == name for token, piece in tokens if token == "word" or piece[:1] in '`"[')


def written_names(tokens: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names between a writing statement's verb and its values: its tables, and some words beside them."""
    found: list[str] = []
    for token, piece in tokens:
        if found and piece.upper() in _NAMES_END:
            break
        if token == "word" or piece[:1] in '`"[':
            found.append(piece.strip('`"[]'))
    return found[1:]
