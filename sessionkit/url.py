"""Database URLs: parsed, printed, and explained when they are wrong, without ever showing a password."""

from __future__ import annotations

import re

from .errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.]*)(?:\+([A-Za-z0-9_]+))?:")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRET_KEYS = re.compile(r"pass|secret|token|pwd", re.IGNORECASE)


_FILES = ("sqlite", "sqlite3", "duckdb")
"""Schemes of databases in a file: a path and nothing before it."""


class URL:
    """
    A database URL in its parts: `scheme+driver://user:password@host:port/database?key=value`.

    `host` keeps several PostgreSQL hosts as they were written (`h1:5432,h2:5433`), with `port` None then.
    Parts that are absent are None; `query` is a dict. `repr` and `str` show `***` for the password.
    """

    __slots__ = ("database", "driver", "host", "password", "port", "query", "scheme", "username")

    def __init__(
        self,
        scheme: str,
        *,
        driver: str | None = None,
        username: str | None = None,
        password: str | None = None,
        host: str | None = None,
        port: int | None = None,
        database: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self.scheme = scheme
        self.driver = driver
        self.username = username
        self.password = password
        self.host = host
        self.port = port
        self.database = database
        self.query = dict(query or {})

    @classmethod
    def parse(cls, text: str | URL) -> URL:
        """
        Parse a URL.

        Raises:
            ArgumentError: it is no URL, or a character in it must be percent-encoded; the text says which
                one and how, and never shows the password.
        """
        if isinstance(text, URL):
            return text
        if not isinstance(text, str):
            raise ArgumentError(f"a database URL is a string, got {type(text).__name__}")
        head = _SCHEME.match(text)
        if head is None or not text.startswith("//", head.end()):
            raise ArgumentError(
                "not a database URL: it starts with a scheme and '://', such as sqlite:///shop.db "
                "or postgresql://user@host/shop"
            )
        scheme, driver = head.group(1).lower(), head.group(2)
        rest, _, fragment = text[head.end() + 2 :].partition("#")
        if scheme in _FILES:
            return cls._parse_file(scheme, driver, text[head.end() + 2 :])
        if _control(text):
            raise ArgumentError(
                f"the {scheme} URL holds a space or control character at position {_control(text)}; "
                "percent-encode it (a space is %20)"
            )
        if "@" in fragment:
            raise _unquoted("#", "%23")
        return cls._parse_server(scheme, driver, rest)

    @classmethod
    def _parse_file(cls, scheme: str, driver: str | None, rest: str) -> URL:
        path, _, query = rest.partition("?")
        if path and not path.startswith("/"):
            raise ArgumentError(
                f"two slashes in {scheme}:// are followed by a host, and there is none; "
                f"write three for a relative path ({scheme}:///file.db) and four for an absolute one"
            )
        database = _decode(path[1:], "path") if len(path) > 1 else None
        return cls(scheme, driver=driver, database=database, query=_parse_query(query))

    @classmethod
    def _parse_server(cls, scheme: str, driver: str | None, rest: str) -> URL:
        end = re.search(r"[/?]", rest)
        authority = rest[: end.start()] if end else rest
        tail = rest[end.start() :] if end else ""
        path, _, query = tail.partition("?")
        if "@" in path or ("@" in query and "=" not in query.partition("@")[0]):
            mark = tail[0]
            raise _unquoted(mark, {"/": "%2F", "?": "%3F"}[mark])
        userinfo, at, hosts = authority.rpartition("@")
        if "@" in userinfo:
            raise _unquoted("@", "%40")
        username, colon, password = userinfo.partition(":")
        host, port = _host_port(hosts)
        return cls(
            scheme,
            driver=driver,
            username=_decode(username, "user name") if at and username else None,
            password=_decode(password, "password") if colon else None,
            host=host,
            port=port,
            database=_decode(path[1:], "database name") if len(path) > 1 else None,
            query=_parse_query(query),
        )

    def without(self, key: str) -> URL:
        """Return the same URL without a key of its query."""
        query = {name: value for name, value in self.query.items() if name != key}
        return URL(
            self.scheme, driver=self.driver, username=self.username, password=self.password, host=self.host, port=self.port,
            database=self.database, query=query,
        )  # fmt: skip

    def at(self, host: str, port: int) -> URL:
        """Return the same URL with another place."""
        return URL(
            self.scheme, driver=self.driver, username=self.username, password=self.password, host=host, port=port,
            database=self.database, query=self.query,
        )  # fmt: skip

    def __str__(self) -> str:
        """Return the URL with `***` for the password and for anything secret among the query's values."""
        from urllib.parse import quote

        user = quote(self.username, safe="") if self.username else ""
        if self.password is not None:
            user += f":{HIDDEN}"
        host = self.host or ""
        if ":" in host and "," not in host:
            host = f"[{host}]"
        elif "/" in host:  # the folder of a socket
            host = quote(host, safe=",:")
        place = (f"{user}@" if user else "") + host + (f":{self.port}" if self.port else "")
        path = f"/{quote(self.database, safe='/:.')}" if self.database is not None else ""
        pairs = (f"{key}={HIDDEN if is_secret(key) else quote(value, safe='/:,')}" for key, value in self.query.items())
        query = "&".join(pairs)
        driver = f"+{self.driver}" if self.driver else ""
        return f"{self.scheme}{driver}://{place}{path}" + (f"?{query}" if query else "")

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.scheme, self.driver, self.username, self.host, self.port, self.database))

    def _parts(self) -> tuple[object, ...]:
        return (
            self.scheme, self.driver, self.username, self.password,
            self.host, self.port, self.database, self.query,
        )  # fmt: skip


def is_secret(key: str) -> bool:
    """Tell whether an option's name says that its value is not to be shown."""
    return _SECRET_KEYS.search(key) is not None


def _control(text: str) -> int:
    """Return the position (from 1) of the first space or control character, 0 for none."""
    return next((i for i, char in enumerate(text, 1) if char <= " " or char == "\x7f"), 0)


def _unquoted(mark: str, code: str) -> ArgumentError:
    return ArgumentError(f"the URL has an unquoted {mark!r} in its user name or password; write it as {code}")


def _decode(part: str, what: str) -> str:
    bad = _ESCAPE.search(part)
    if bad:
        raise ArgumentError(
            f"the {what} has a '%' (its character {bad.start() + 1}) that begins no escape; write it as %25"
        )
    from urllib.parse import unquote

    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ArgumentError(
            f"the escapes in the {what} are not UTF-8; encode it as UTF-8, then percent-encode it"
        ) from None


def _host_port(hosts: str) -> tuple[str | None, int | None]:
    if not hosts:
        return None, None
    if "," in hosts:
        return hosts, None
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%]+)\](?::(.*))?", hosts)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    else:
        host, _, port = hosts.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ArgumentError(
            "what follows the host's ':' is no port number; if it belongs to a password, that password has an "
            "unquoted '/', '?', '#' or '@': write them as %2F, %3F, %23, %40"
        )
    return _decode(host, "host") or None, int(port) if port else None


def _parse_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, pair in enumerate(query.split("&") if query else (), 1):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ArgumentError(f"part {number} of the URL's query (after '?') is not key=value")
        found[_decode(key, "query key")] = _decode(value.replace("+", " "), "query value")
    return found


def host_port(place: str, usual: int = 5432) -> tuple[str, str]:
    """Return the host and the port of one of several places, the `usual` port where none is named."""
    host, _, port = place.rpartition(":") if not place.endswith("]") and ":" in place else (place, "", "")
    return host.strip("[]"), port or str(usual)
