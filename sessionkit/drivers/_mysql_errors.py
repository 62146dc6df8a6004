"""What the error numbers of MySQL, MariaDB and their kin mean, as our errors, and where their texts have names and values."""

from __future__ import annotations

from functools import cache

from .. import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

# mysqld_error.h and errmsg.h; beyond them TiDB (8xxx, 9xxx)
CODES: dict[object, type[errors.Error]] = {
    **dict.fromkeys((1062, 1586, 1859, 1022), errors.UniqueViolation),
    **dict.fromkeys((1451, 1452, 1216, 1217, 1557, 1761, 1762), errors.ForeignKeyViolation),
    **dict.fromkeys((1048, 1364, 1121, 1263), errors.NotNullViolation),
    **dict.fromkeys((4025, 3819), errors.CheckViolation),
    1213: errors.DeadlockError,
    **dict.fromkeys((1020, 8002, 8005, 8022, 8028, 9007), errors.SerializationError),
    **dict.fromkeys((1205, 3572), errors.LockTimeoutError),
    **dict.fromkeys((1317, 1969, 3024, 1968, 1028), errors.QueryCancelledError),
    **dict.fromkeys((1290, 1792, 1836, 1047, 1874), errors.ReadOnlyError),
    **dict.fromkeys((1040, 1203, 1226, 9001, 9002, 9003, 9004, 9005, 9006), errors.TooManyConnectionsError),
    **dict.fromkeys(
        (2002, 2003, 2006, 2013, 2014, 2055, 1053, 1927, 4031, 1152, 1158, 1159, 1160, 1161), errors.DisconnectionError
    ),
    1180: errors.CommitUnknownError,
    **dict.fromkeys((1044, 1045, 1049, 1698, 1130), errors.OperationalError),
    **dict.fromkeys((1064, 1065, 1146, 1054, 1051, 1052, 1050, 1060, 1061, 1091, 1109), errors.ProgrammingError),
    **dict.fromkeys((1110, 1136, 1149, 1142, 1143, 1305, 1318, 1304), errors.ProgrammingError),
    **dict.fromkeys((1153, 1264, 1265, 1366, 1406, 1292, 1690, 1365, 1367, 1411, 1416), errors.DataError),
    **dict.fromkeys((1235, 1295, 1178, 1112), errors.NotSupportedError),
}
"""mysqld_error.h and errmsg.h; beyond them TiDB (8xxx, 9xxx)."""


@cache
def name_patterns() -> list[re.Pattern[str]]:
    """Where a text says which constraint, table and column it is about."""
    import re

    return [
        re.compile(r" for key '(?:(?P<table>[^'.]+)\.)?(?P<constraint>[^']+)'$"),
        re.compile(
            r"\(`[^`]*`\.`(?P<table>[^`]*)`, CONSTRAINT `(?P<constraint>[^`]*)` FOREIGN KEY \((?P<column>[^)]*)\)"
        ),
        re.compile(r"CONSTRAINT `(?P<constraint>[^`]*)` failed for `[^`]*`\.`(?P<table>[^`]*)`"),
        re.compile(r"^Check constraint '(?P<constraint>[^']*)' is violated"),
        re.compile(r" for column (?:`[^`]*`\.`(?P<table>[^`]*)`\.)?[`'](?P<column>[^`']*)[`'] at row "),
        re.compile(r"^(?:Column|Field|Unknown column) '(?:[^'.]*\.)?(?P<column>[^']*)' "),
        re.compile(r"^Table '(?:[^'.]*\.)?(?P<table>[^']*)' doesn't exist"),
    ]


@cache
def value_pattern() -> re.Pattern[str]:
    """Where a text quotes a value, or a piece of the statement with the values written in."""
    import re

    return re.compile(
        r"(?<=Duplicate entry ').*(?=' for key )|(?<= value: ').*(?='(?: for |$))|(?<= out of range in ').*(?='$)"
        r"|(?<=^Illegal double ').*(?=' value)|(?<= near ').*(?=' at line )",
        re.DOTALL,
    )
