"""For tests: a strict fake driver that fails when told to, the contract of every driver, and a switch for retries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..retry.policy import active
from .contract import DriverContract
from .fake import FakeConnection, FakeDriver, FakeError, fake_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DriverContract", "FakeConnection", "FakeDriver", "FakeError", "fake_engine", "no_retries"]


@contextmanager
def no_retries() -> Iterator[None]:
    """Let `run` try once only, in this context: what fails in a test is raised at once."""
    token = active.set(False)
    try:
        yield
    finally:
        active.reset(token)
