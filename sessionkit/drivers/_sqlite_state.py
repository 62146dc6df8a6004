"""What is set and left on a connection of SQLite, and what only COMMIT would look at."""

from __future__ import annotations

from ..errors import ForeignKeyViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# what a connection may be set to, and tell; what belongs to the database itself (user_version) is not among them
_PRAGMAS = (
    "foreign_keys", "busy_timeout", "query_only", "recursive_triggers", "ignore_check_constraints", "read_uncommitted",
    "reverse_unordered_selects", "synchronous", "temp_store", "cache_size", "cache_spill", "automatic_index",
    "cell_size_check", "defer_foreign_keys", "legacy_alter_table", "trusted_schema", "writable_schema", "secure_delete",
    "full_column_names", "short_column_names", "empty_result_callbacks", "count_changes", "analysis_limit", "threads",
    "journal_size_limit", "max_page_count", "mmap_size", "locking_mode", "fullfsync",
    "checkpoint_fullfsync", "wal_autocheckpoint",
)  # fmt: skip


def make_like(conn: Any, like: Any) -> None:
    """Make a connection as `like` is, which is new: detach, drop what is temporary, set back the pragmas."""
    kept = {row[1] for row in like.execute("PRAGMA database_list").fetchall()} | {"temp"}
    for _, name, _ in conn.execute("PRAGMA database_list").fetchall():
        if name not in kept:
            conn.execute(f"DETACH {_quoted(name)}")
    for kind in ("trigger", "view", "table"):
        found = conn.execute("SELECT name FROM sqlite_temp_master WHERE type = ?", (kind,)).fetchall()
        for (name,) in found:
            conn.execute(f"DROP {kind} IF EXISTS temp.{_quoted(name)}")
    for pragma in _PRAGMAS:
        wanted, found = (one.execute(f"PRAGMA {pragma}").fetchone() for one in (like, conn))
        if wanted != found and wanted is not None:
            conn.execute(f"PRAGMA {pragma} = {wanted[0]}").fetchall()


def check_deferred(conn: Any) -> None:
    """
    Look for rows that lack what they point to, if foreign keys are on and a table has one that COMMIT looks at.

    Raises:
        ForeignKeyViolation: there is one; COMMIT would say so too.
    """
    deferring = "SELECT 1 FROM sqlite_master WHERE sql LIKE '%DEFERRED%' LIMIT 1"
    if not conn.execute("PRAGMA foreign_keys").fetchone()[0] or conn.execute(deferring).fetchone() is None:
        return
    row = conn.execute("PRAGMA foreign_key_check").fetchone()
    if row is not None:
        raise ForeignKeyViolation(
            f"FOREIGN KEY constraint failed: a row of {row[0]} lacks what it points to in {row[2]}"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
