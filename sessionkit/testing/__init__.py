"""
For tests: a sandbox that undoes what code commits, private servers, a strict fake driver, the contract of every driver.

`pip install 'dbapi-sessionkit[pytest]'` brings the fixtures `sandbox`, `statements`, `database_url`, `postgres_url`, `mariadb_url`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import DriverContract
    from .fake import FakeConnection, FakeDriver, FakeError, fake_engine
    from .retries import no_retries
    from .sandboxing import sandbox

__all__ = ["DriverContract", "FakeConnection", "FakeDriver", "FakeError", "fake_engine", "no_retries", "sandbox"]

_PLACES = {
    "DriverContract": "contract", "FakeConnection": "fake", "FakeDriver": "fake", "FakeError": "fake", "fake_engine": "fake",
    "no_retries": "retries", "sandbox": "sandboxing",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # so that the plugin, which each run of pytest imports, brings none of them
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found
    return found
