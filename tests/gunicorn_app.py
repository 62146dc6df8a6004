"""A small web backend for `gunicorn --preload`: its engine has been used before the workers are forked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sessionkit import create_engine

if TYPE_CHECKING:
    from collections.abc import Callable

engine = create_engine(os.environ["APP_DATABASE_URL"], pool_size=2)
kept = engine.pool.checkout()  # of the parent: lent while the workers are forked
engine.execute("select 1")  # and one that is idle


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Insert a row, and tell which process this is and which one of the server's serves it."""
    with engine.begin() as session:
        session.execute("insert into item (name, price) values (:n, 1)", {"n": environ["PATH_INFO"]})
        backend = session.scalar("select pg_backend_pid()")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {backend}".encode()]
