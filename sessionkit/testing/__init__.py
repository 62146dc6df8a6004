"""For tests: a strict fake driver that fails when told to, and the contract that every driver must keep."""

from __future__ import annotations

from .contract import DriverContract
from .fake import FakeConnection, FakeDriver, FakeError, fake_engine

__all__ = ["DriverContract", "FakeConnection", "FakeDriver", "FakeError", "fake_engine"]
