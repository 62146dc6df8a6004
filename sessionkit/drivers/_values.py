"""Which values each database takes as they are, and what is made of the others: a table for each driver.

What goes in comes out, on every database; what cannot be stored faithfully is refused before it is sent.
A type is named by its module, so that none of them is imported here.
"""

from __future__ import annotations

from datetime import UTC
from math import isfinite

from ..mapping.json import microseconds, to_text
from ..mapping.values import BadValue, items
from ._names import STANDARD_NAMES, STANDARD_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar


def finite(value: Any) -> Any:
    """NaN and infinity are no values of this database (SQLite makes NULL of NaN)."""
    if not isfinite(value):
        raise BadValue(f"{value} is no number that this database can hold; give None, or a text")
    return value


finite.is_well = isfinite  # type: ignore[attr-defined]  # how a whole column is looked through: a value that is well goes as it is


def path(value: Any) -> Any:
    """A path may be stored in more than one way."""
    raise BadValue("a path is no value of a database; give str(path)")


def a_set(value: Any) -> Any:
    """A set has no order, and no form in a database."""
    raise BadValue("a set is no value of a database; give sorted(value), or :*name where a list for IN (…) is meant")


def unknown(value: Any) -> Any:
    """pg8000 would write its str()."""
    raise BadValue(
        f"pg8000 has no form for a value of type {type(value).__name__}; values= says how such values travel"
    )


def not_a_tuple(value: Any) -> Any:
    """psycopg would write it as a composite."""
    raise BadValue("a tuple is no value of PostgreSQL; give a list for an array, or Json(value)")


def json(value: Any) -> str:
    """A dict, list or `Json` as JSON text."""
    value = getattr(value, "value", value) if type(value).__name__ == "Json" else value
    try:
        return to_text(value)
    except (TypeError, ValueError) as exc:
        raise BadValue(f"not JSON: {exc}") from None


def naive_text(value: Any) -> str:
    """A datetime without zone as ISO 8601; with one, in UTC with +00:00 (the same moment sorts the same)."""
    plain = plain_datetime(value)
    if plain.tzinfo is not None:
        plain = plain.astimezone(UTC)
    return str(plain.isoformat(" "))


def plain_datetime(value: Any) -> Any:
    """Python's own datetime for one of a subclass, such as pandas' Timestamp, which may know nanoseconds."""
    from datetime import datetime

    if value != value:
        no_moment(value)
    if type(value) is datetime:
        return value
    if getattr(value, "nanosecond", 0):
        raise BadValue("nanoseconds are more than a database keeps; round the value to microseconds")
    return datetime.combine(value.date(), value.timetz())


def no_moment(value: Any) -> Any:
    """pandas' NaT is a datetime to Python."""
    raise BadValue(f"a {type(value).__name__} is no moment; give None")


def aware_text(value: Any) -> str:
    """As `naive_text`, where every datetime is to be a moment (`utc=True`)."""
    return naive_text(aware(value))


def aware(value: Any) -> Any:
    """With `utc=True` a datetime without a zone is refused: which moment it is, nobody knows."""
    if value.tzinfo is None:
        raise BadValue("a datetime without a time zone is no moment, and this engine has utc=True; give it tzinfo")
    return value


def zoneless_time(value: Any) -> Any:
    """A time of day; these databases keep no zone of it."""
    if value.tzinfo is not None:
        raise BadValue("a time with a time zone has no column here that keeps the zone; store the zone apart")
    return value


def time_text(value: Any) -> str:
    """A time of day as ISO 8601."""
    return str(zoneless_time(value).isoformat())


def date_text(value: Any) -> str:
    """A date as ISO 8601."""
    from datetime import date

    return date.isoformat(value)


def mysql_datetime(value: Any) -> Any:
    """MySQL's columns keep no zone: dropping it would lose the moment."""
    value = plain_datetime(value)
    if value.tzinfo is not None:
        raise BadValue(
            "MySQL's columns keep no time zone, and dropping it would lose the moment; create_engine(..., utc=True) keeps moments "
            "in UTC, or give value.astimezone(timezone.utc).replace(tzinfo=None)"
        )
    return value


def mysql_moment(value: Any) -> Any:
    """With `utc=True`: the moment in UTC, without the zone that the column does not keep."""
    return aware(plain_datetime(value)).astimezone(UTC).replace(tzinfo=None)


def mysql_duration(value: Any) -> str:
    """A timedelta for a TIME column; PyMySQL's own form of a negative one means another duration."""
    whole = microseconds(value)
    seconds, rest = divmod(abs(whole), 1_000_000)
    text = f"{'-' * (whole < 0)}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{rest:06d}" if rest else text


def short_decimal(value: Any) -> Any:
    """DuckDB makes a float of a Decimal with more than 38 digits."""
    if not value.is_finite():
        raise BadValue(f"{value} is no number that a DECIMAL can hold; give None, or a float")
    _, digits, exponent = value.as_tuple()
    if max(len(digits) + max(exponent, 0), -exponent) > 38:
        raise BadValue("DuckDB's DECIMAL has 38 digits; give str(value) for a VARCHAR, or round it")
    return value


def of_one_type(value: Any) -> Any:
    """DuckDB writes the items of a list as texts when they are of several types."""
    kinds = {type(item) for item in value} - {type(None)}
    if len(kinds) > 1:
        raise BadValue(
            f"a list for DuckDB has items of one type, got {', '.join(sorted(kind.__name__ for kind in kinds))}"
        )
    return value


def jsonb(value: Any) -> Any:
    """psycopg's wrapper for JSON."""
    from psycopg.types.json import Jsonb

    text = json(value)
    return Jsonb(text, dumps=_as_it_is)


def _as_it_is(text: Any) -> Any:
    return text


_JSON = "sessionkit.mapping.json.Json"
UTC_SQLITE = {"datetime.datetime": aware_text}
UTC_MYSQL = {"datetime.datetime": mysql_moment}
_PATHS = {"pathlib.PurePath": path, "pathlib._local.PurePath": path}  # the latter on Python 3.13
_SETS = {"builtins.set": a_set, "builtins.frozenset": a_set}

SQLITE: dict[Any, Any] = {
    "builtins.float": finite,
    "decimal.Decimal": str,
    "datetime.datetime": naive_text,
    "datetime.date": date_text,
    "datetime.time": time_text,
    "datetime.timedelta": microseconds,
    "uuid.UUID": str,
    "builtins.dict": json,
    "builtins.list": json,
    "builtins.tuple": json,
    _JSON: json,
    **_PATHS,
    **_SETS,
}
POSTGRESQL: dict[Any, Any] = {
    "pandas._libs.tslibs.nattype._NaT": no_moment,
    "builtins.dict": jsonb,
    "builtins.list": items,
    "builtins.tuple": not_a_tuple,
    _JSON: jsonb,
    **_PATHS,
    **_SETS,
}
_TAKEN_BY_PG8000 = (
    "builtins.bool", "builtins.int", "builtins.float", "builtins.str", "builtins.bytes", "builtins.NoneType", "decimal.Decimal",
    "datetime.date", "datetime.time", "datetime.datetime", "datetime.timedelta", "uuid.UUID", "ipaddress._IPAddressBase",
    "pg8000.types.PGInterval", "pg8000.types.Range",
)  # fmt: skip
PG8000: dict[Any, Any] = {
    **dict.fromkeys(_TAKEN_BY_PG8000),
    **POSTGRESQL,
    "builtins.dict": json,
    _JSON: json,
    "builtins.bytearray": bytes,
    "builtins.memoryview": bytes,
    "builtins.object": unknown,
}
MYSQL: dict[Any, Any] = {
    "builtins.float": finite,
    "builtins.bytearray": bytes,
    "builtins.memoryview": bytes,
    "decimal.Decimal": finite,
    "datetime.datetime": mysql_datetime,
    "datetime.time": zoneless_time,
    "datetime.timedelta": mysql_duration,
    "uuid.UUID": str,
    "builtins.dict": json,
    "builtins.list": json,
    "builtins.tuple": json,
    _JSON: json,
    **_PATHS,
    **_SETS,
}
MYSQLDB: dict[Any, Any] = {**MYSQL, "datetime.time": time_text}
DUCKDB: dict[Any, Any] = {
    "pandas._libs.tslibs.nattype._NaT": no_moment,
    "decimal.Decimal": short_decimal,
    "datetime.datetime": plain_datetime,
    "builtins.dict": json,
    "builtins.list": of_one_type,
    "builtins.tuple": of_one_type,
    "builtins.bytearray": bytes,
    "builtins.memoryview": bytes,
    _JSON: json,
    **_PATHS,
    **_SETS,
}


class ValueRules:
    """The part of the driver contract that is about values; by default the driver takes everything as it is, and tells no types."""

    adapters: ClassVar[Mapping[Any, Any]] = {}
    """From a type, or its name with its module (`"decimal.Decimal"`), to what makes of it what the driver takes; None: as it is."""
    utc_adapters: ClassVar[Mapping[Any, Any]] = {"datetime.datetime": aware}
    """What replaces some of them with `utc=True`."""
    utc_words: ClassVar[str] = ""
    """The SQL that each new connection runs with `utc=True`."""
    column_types: ClassVar[Mapping[Any, str]] = {}
    """From what the description says of a column's type to the name of the Python type that surely comes (`JSON`: parsed JSON)."""

    def set_utc(self, conn: Any) -> None:
        """Let moments come and go in UTC on a connection."""
        if self.utc_words:
            self.run(conn, self.utc_words)

    type_names: ClassVar[Mapping[str, str]] = STANDARD_NAMES
    """What `load --create` calls the type of each kind of column; a kind that is not there is text."""
    names_of_types: ClassVar[Mapping[str, str]] = STANDARD_TYPES
    """What `copy --create` calls the type of a column of a Python type; one that is not there is `str`'s."""
    decimal_digits: ClassVar[tuple[int, int]] = (38, 38)
    """How many digits a decimal has at most, and how many of them after the point."""

    def table_options(self) -> str:
        """Return what a CREATE TABLE of `load` ends with."""
        return ""

    if TYPE_CHECKING:

        def run(self, conn: Any, words: str) -> None: ...


PARSED = "JSON"
"""In `column_types`: the driver brings the parsed JSON, not its text."""

POSTGRESQL_TYPES = {  # pg_type.dat
    16: "bool", 17: "bytes", 20: "int", 21: "int", 23: "int", 26: "int", 25: "str", 1042: "str", 1043: "str", 700: "float",
    701: "float", 1700: "Decimal", 1082: "date", 1083: "time", 1266: "time", 1114: "datetime", 1184: "datetime", 1186: "timedelta",
    2950: "UUID", 114: PARSED, 3802: PARSED,
}  # fmt: skip
MYSQL_TYPES = {  # the protocol's column types; DATE and DATETIME are not among them, because '0000-00-00' comes as text
    1: "int", 2: "int", 3: "int", 8: "int", 9: "int", 13: "int", 4: "float", 5: "float", 0: "Decimal", 246: "Decimal",
    11: "timedelta",
}  # fmt: skip
DUCKDB_TYPES = {  # what a type of DuckDB's Python module has as its `id`
    **dict.fromkeys(
        ["tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"], "int"
    ),
    "boolean": "bool", "float": "float", "double": "float", "decimal": "Decimal", "blob": "bytes", "date": "date", "time": "time",
    "time with time zone": "time", "timestamp": "datetime", "timestamp with time zone": "datetime", "interval": "timedelta",
    "uuid": "UUID",
}  # fmt: skip
_DATETIME, _TIMESTAMP = 12, 7


def read_moments(converters: dict[Any, Any]) -> dict[Any, Any]:
    """Let the converters of a MySQL connection bring DATETIME and TIMESTAMP as moments in UTC; '0000-00-00' stays a text."""
    from datetime import datetime

    def aware_of(read: Any) -> Any:
        """Return what reads as `read` does, and adds the zone."""

        def moment(text: Any) -> Any:
            """Read a moment."""
            value = read(text)
            return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value

        moment.is_moment = True  # type: ignore[attr-defined]
        return moment

    for kind in (_DATETIME, _TIMESTAMP):
        if not hasattr(converters[kind], "is_moment"):
            converters[kind] = aware_of(converters[kind])
    return converters


def text_of_date(read: Any) -> Any:
    """Return a reader of dates that leaves a text which is no date as it is; mysqlclient's own makes NULL of it."""

    def date(text: Any) -> Any:
        """Read a date."""
        found = read(text)
        return text if found is None else found

    return date


CONTAINERS = (list, tuple, dict, set, frozenset)


def written(value: object, known: Mapping[type, object]) -> object:
    """Return a value as PyMySQL writes it faithfully, or raise BadValue."""
    if isinstance(value, CONTAINERS):
        raise BadValue(f"a {type(value).__name__} is no value for MySQL; expand a list with :*name")
    if type(value) in known:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    for number in (bool, int, float):
        if isinstance(value, number):
            return number(value)
    raise BadValue(f"MySQL's driver has no form for {type(value).__name__}")
