"""Database URLs in the forms that people paste."""

from __future__ import annotations

import pytest

from sessionkit import URL, ArgumentError, create_engine

GOOD = [
    ("postgres://app@h/shop", ("postgres", None, "app", None, "h", None, "shop")),
    ("postgresql+psycopg://app:pw@h:5433/shop", ("postgresql", "psycopg", "app", "pw", "h", 5433, "shop")),
    ("postgresql://app:p%40ss%2Fw%3A@h/shop", ("postgresql", None, "app", "p@ss/w:", "h", None, "shop")),
    ("postgresql://app:a:b@h/shop", ("postgresql", None, "app", "a:b", "h", None, "shop")),
    ("postgresql://h1:5432,h2:5433/shop", ("postgresql", None, None, None, "h1:5432,h2:5433", None, "shop")),
    ("postgresql:///shop?host=/tmp", ("postgresql", None, None, None, None, None, "shop")),
    ("postgresql://[::1]:5432/shop", ("postgresql", None, None, None, "::1", 5432, "shop")),
    ("mysql2://app@h/shop", ("mysql2", None, "app", None, "h", None, "shop")),
    ("mariadb+pymysql://app:@h:3306/shop", ("mariadb", "pymysql", "app", "", "h", 3306, "shop")),
    ("sqlite://", ("sqlite", None, None, None, None, None, None)),
    ("sqlite:///rel.db", ("sqlite", None, None, None, None, None, "rel.db")),
    ("sqlite:////abs/my file.db", ("sqlite", None, None, None, None, None, "/abs/my file.db")),
    ("sqlite:///:memory:", ("sqlite", None, None, None, None, None, ":memory:")),
    ("sqlite+pysqlite:///C:/x.db", ("sqlite", "pysqlite", None, None, None, None, "C:/x.db")),
]


@pytest.mark.parametrize(("text", "parts"), GOOD, ids=[text for text, _ in GOOD])
def test_a_url_in_its_parts(text: str, parts: tuple[object, ...]) -> None:
    """Each form is understood, and printed so that it can be parsed again."""
    url = URL.parse(text)
    assert (url.scheme, url.driver, url.username, url.password, url.host, url.port, url.database) == parts
    assert URL.parse(str(url)).database == url.database
    create_engine(text)


BAD = [
    ("p@ss", r"unquoted '@'.*%40"),
    ("pa/ss", r"unquoted '/'.*%2F"),
    ("12/ss", r"unquoted '/'.*%2F"),
    ("pa?ss", r"unquoted '\?'.*%3F"),
    ("pa#ss", r"unquoted '#'.*%23"),
    ("p%ss", r"character 2.*%25"),
    ("100%", r"character 4.*%25"),
    ("p ss", r"position 19.*%20"),
    ("p%ff", "UTF-8"),
]


@pytest.mark.parametrize(("password", "told"), BAD, ids=[password for password, _ in BAD])
def test_a_badly_quoted_password(password: str, told: str) -> None:
    """The error says which character and how to write it, and never shows the password."""
    with pytest.raises(ArgumentError, match=told) as caught:
        URL.parse(f"postgresql://app:{password}@host/shop")
    assert password not in str(caught.value)
    assert caught.value.__context__ is None or password not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop.db", "sqlite:///shop.db"),
        ("sqlite://rel.db", "sqlite:///file.db"),
        ("oracle://h/x", "known: .*postgresql"),
        ("postgresql+asyncpg://h/x", "psycopg"),
        ("postgresql://h:port/x", "no port number"),
        ("postgresql://h/x?oops", "part 1"),
        ("sqlite:///x.db?chache=shared", "chache"),
        (5, "int"),
    ],
)
def test_what_is_no_url(text: str, told: str) -> None:
    """The error says what would be one."""
    with pytest.raises(ArgumentError, match=told):
        create_engine(text)


def test_no_secret_is_printed() -> None:
    """Neither the password nor what a query's key calls one."""
    url = URL.parse("postgresql://app:hunter2@h/x?sslpassword=hunter3&application_name=me")
    assert repr(url) == "URL('postgresql://app:***@h/x?sslpassword=***&application_name=me')"
    assert "hunter" not in repr(create_engine(url))
