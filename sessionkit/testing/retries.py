"""A switch for `run`: in a test, what fails is raised at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..retry.policy import active

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_retries() -> Iterator[None]:
    """Let `run` try once only, in this context: what fails in a test is raised at once."""
    token = active.set(False)
    try:
        yield
    finally:
        active.reset(token)
