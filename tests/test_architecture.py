"""The picture in docs/design.md, drawn from the code: floors, public names, what importing costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sessionkit

PACKAGE = Path(sessionkit.__file__).parent

# Floors, lowest first. A file may import files of lower floors; on its own floor only those that stand left of it in a row. Of another
# room's files only those that its `OPEN` names.
FLOORS: list[list[list[str]]] = [
    [["_typing", "redact", "errors", "options", "events", "url"]],
    [
        ["sql", "sql.lexer", "sql.words", "sql.parameters", "sql.template"],
        ["mapping", "mapping.rows", "mapping.results"], ["mapping.entity"], ["mapping.identity"],
        ["mapping.json", "mapping.conversions", "mapping.values"],
        ["pool", "pool.lease", "pool.slots", "pool.line", "pool.connections", "pool.pool"],
    ],
    [[
        "drivers.sqlstates", "drivers.refusals", "drivers._names", "drivers._hosts", "drivers._values", "drivers._clients", "drivers._limits", "drivers._twophase", "drivers._mysql_errors", "drivers._sqlite_errors",
        "drivers._sqlite_locks", "drivers._sqlite_state", "drivers._bulk", "drivers._transactions", "drivers._duckdb", "drivers.base", "drivers._mysql", "drivers._postgresql", "drivers._pipeline", "drivers.pg8000", "drivers.duckdb",
        "drivers.sqlite3", "drivers.psycopg", "drivers._pgbouncer", "drivers.pymysql", "drivers.mysqldb", "drivers",
    ]],
    [
        ["session.guard", "session.cleanup", "session.context", "session.marker"],
        ["mapping.targets", "mapping.objects"], ["mapping.copying"],
    ],
    [[
        "session", "session.holding", "session.ending", "session.link", "session.cursors", "session.proxies", "session.external",
        "session.block", "session.transaction", "session.twophase", "session.pipeline", "session.statements", "session.stream", "session.bulk", "session.session",
    ]],
    [["retry", "retry.policy", "retry.outcome", "retry.run"]],
    [["connecting", "engine", "standby", "registry"]],
    [["__init__"], ["testing", "trace", "lessons", "cli"], ["dbapi"], ["aio", "web"], ["otel"]],
]  # fmt: skip
DOORS = ("cli", "testing", "dbapi", "aio", "web", "otel", "trace", "lessons")


def room_of(path: Path) -> str:
    """Return a file's name as the picture has it: a door as a whole."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[0] in ("cli", "testing", "aio", "web", "trace", "lessons", "__main__"):
        return "cli" if parts[0] == "__main__" else parts[0]
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def imports_of(path: Path) -> set[str]:
    """Return the files that a file imports, function bodies and type-only imports included."""
    found: set[str] = set()
    package = list(path.relative_to(PACKAGE).parent.parts)
    known = {room_of(found) for found in PACKAGE.rglob("*.py")}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            dotted = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:  # a file of that folder, or a name in it
                longer = ".".join([*dotted, alias.name])
                found.add(longer if longer in known else ".".join(dotted))
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("sessionkit") for alias in node.names), f"{path}: import relatively"
    doors = {name.partition(".")[0] if name.partition(".")[0] in DOORS else name for name in found}
    return doors & known


def floor_of(room: str) -> int:
    """Return a file's floor."""
    return next(number for number, rows in enumerate(FLOORS) for row in rows if room in row)


def may_import(room: str, other: str) -> bool:
    """Tell whether the picture has an arrow from `room` down or left to `other`, and `other` is open to it."""
    inside, its = room.partition(".")[0], other.partition(".")
    if its[2] and its[0] != inside and inside not in ("__init__", *DOORS) and its[2] not in open_files(its[0]):
        return False
    if floor_of(other) < floor_of(room):
        return True
    return any(room in row and other in row and row.index(other) < row.index(room) for row in FLOORS[floor_of(room)])


def open_files(room: str) -> tuple[str, ...]:
    """Return the files of a room that others may use."""
    found: tuple[str, ...] = importlib.import_module(f"sessionkit.{room}").OPEN
    return found


def test_every_room_is_in_the_picture() -> None:
    """And the picture has no room that is not there; what a room opens is there too."""
    drawn = {room for rows in FLOORS for row in rows for room in row}
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} == drawn
    for room in ("sql", "mapping", "pool", "drivers", "session", "retry"):
        assert {f"{room}.{name}" for name in open_files(room)} <= drawn


def test_imports_point_down_the_floors() -> None:
    """No upward arrow, no cycle, not even a type-only one; no file that another room keeps to itself; nobody imports a door."""
    wrong = [
        f"{room_of(path)} imports {other}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for other in sorted(imports_of(path))
        if room_of(path) != "__init__"
        and other != room_of(path)
        and other != "__init__"
        and not may_import(room_of(path), other)
    ]
    assert wrong == []


def test_the_picture_refuses_an_upward_arrow() -> None:
    """The check can fail."""
    assert not may_import("pool.pool", "engine")
    assert not may_import("session.session", "engine")
    assert not may_import("url", "sql.lexer")
    assert not may_import("engine", "pool.slots")
    assert not may_import("session.session", "pool.connections")
    assert may_import("engine", "session.session")
    assert may_import("session.link", "session.holding")


PUBLIC = [
    "ArgumentError",
    "CheckViolation",
    "CommitUnknownError",
    "ConcurrentUseError",
    "DataError",
    "DatabaseError",
    "DeadlockError",
    "DisconnectionError",
    "Driver",
    "Engine",
    "Error",
    "ForeignKeyViolation",
    "ImplicitCommitError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidRequestError",
    "Json",
    "LockTimeoutError",
    "MultipleResultsFound",
    "NoResultFound",
    "NotNullViolation",
    "NotSupportedError",
    "OperationalError",
    "PartialCommitError",
    "Pool",
    "PoolClosedError",
    "PoolDeadlockError",
    "PoolTimeoutError",
    "ProgrammingError",
    "QueryCancelledError",
    "ReadOnlyError",
    "Registry",
    "Result",
    "Retry",
    "Rollback",
    "RollbackIncompleteError",
    "Row",
    "SerializationError",
    "Session",
    "SessionClosedError",
    "StaleObjectError",
    "TooManyConnectionsError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionLostError",
    "URL",
    "UncommittedWorkWarning",
    "UniqueViolation",
    "create_engine",
    "entity",
]


def test_the_public_names() -> None:
    """Read from a literal list: adding one is a decision."""
    assert sorted(sessionkit.__all__) == sorted(PUBLIC)
    assert all(getattr(sessionkit, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(sessionkit))
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = sessionkit.Sesion


def test_only_a_drivers_file_knows_its_name() -> None:
    """No `if driver is …` elsewhere: what differs is an attribute or a method of the driver."""
    from sessionkit.drivers import known

    found = known().values()
    names = {name for driver in found for name in (driver.name, driver.module, *driver.spellings)}
    names -= {scheme for driver in found for scheme in driver.schemes}  # what a URL begins with is public
    places = [
        f"{path.name}:{node.lineno} {node.value}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "drivers"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert places == []


def test_every_public_thing_says_what_it_does() -> None:
    """A docstring each, methods included."""
    bare = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in PACKAGE.rglob("*.py")
        if not (path.parent.name == "lessons" and path.name.startswith("l"))  # each says at its top what it does
        for tree in [ast.parse(path.read_text())]
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not _is_protocol_stub(node)
        and node.name
        not in ("declare", "build", "line", "cells", "remove", "acquire", "decorate", "call", "work", "opened")
    ]
    assert bare == []


def _is_protocol_stub(node: ast.AST) -> bool:
    body = getattr(node, "body", [])
    return (
        len(body) == 1
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and body[0].value.value is ...
    )


def test_no_file_is_too_long() -> None:
    """Four hundred lines are one sitting."""
    assert {
        path.name: len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text().splitlines()) > 400
    } == {}


HEAVY = (
    "logging",
    "dataclasses",
    "argparse",
    "urllib",
    "sqlite3",
    "psycopg",
    "pymysql",
    "typing",
    "sessionkit.session",
)


def test_importing_brings_nothing_heavy() -> None:
    """No driver, no logging, no dataclasses; it imports in about a millisecond."""
    code = f"import sys; before = set(sys.modules); import sessionkit; print([m for m in {HEAVY!r} if m in set(sys.modules) - before])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_session_on_sqlite_imports_no_other_driver() -> None:
    """And works where psycopg and PyMySQL are not installed."""
    code = (
        "import sys; sys.modules['psycopg'] = sys.modules['pymysql'] = None\n"
        "from sessionkit import create_engine\n"
        "print(create_engine('sqlite://').execute('select 1').scalar())\n"
        "for url in 'postgresql://h/x', 'mysql://h/x':\n"
        "    try: create_engine(url).execute('select 1')\n"
        "    except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout.splitlines()[0] == "1"
    assert "pip install 'dbapi-sessionkit[postgres]'" in done.stdout
    assert "pip install 'dbapi-sessionkit[mysql]'" in done.stdout
