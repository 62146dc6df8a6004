"""What each database calls the type of a column: by the kind of its texts (`load`), and by the type of its values (`copy`)."""

from __future__ import annotations

STANDARD_NAMES = {
    "integer": "integer", "bigint": "bigint", "real": "double precision", "numeric": "decimal({digits}, {after})",
    "boolean": "boolean", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp with time zone",
    "text": "varchar({length})", "long text": "text",
}  # fmt: skip
POSTGRESQL_NAMES = {**STANDARD_NAMES, "numeric": "numeric", "timestamptz": "timestamptz", "text": "text"}
SQLITE_NAMES = {"integer": "integer", "bigint": "integer", "real": "real", "text": "text", "long text": "text"}
MYSQL_NAMES = {
    **STANDARD_NAMES,
    "integer": "int",
    "real": "double",
    "timestamp": "datetime(6)",
    "long text": "longtext",
}
del MYSQL_NAMES["timestamptz"]

STANDARD_TYPES = {
    "bool": "boolean", "int": "bigint", "float": "double precision", "Decimal": "decimal(38, 10)", "bytes": "blob", "date": "date",
    "datetime": "timestamp", "moment": "timestamp with time zone", "time": "time", "timedelta": "interval", "UUID": "uuid",
    "JSON": "json", "str": "text",
}  # fmt: skip
POSTGRESQL_OF_TYPES = {
    **STANDARD_TYPES,
    "Decimal": "numeric",
    "bytes": "bytea",
    "moment": "timestamptz",
    "JSON": "jsonb",
}
MYSQL_OF_TYPES = {
    **STANDARD_TYPES, "float": "double", "Decimal": "decimal(65, 30)", "bytes": "longblob", "datetime": "datetime(6)",
    "moment": "datetime(6)", "time": "time(6)", "timedelta": "time(6)", "UUID": "char(36)", "str": "longtext",
}  # fmt: skip
SQLITE_OF_TYPES = {
    "bool": "integer",
    "int": "integer",
    "float": "real",
    "bytes": "blob",
    "timedelta": "integer",
    "str": "text",
}
