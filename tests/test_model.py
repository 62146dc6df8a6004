"""Random walks through a session, each step held against a model of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .model import FaultyWalk, Walk

if TYPE_CHECKING:
    from .conftest import Database

ASKED = os.environ.get("SESSIONKIT_WALKS")  # how many; else a hundred, the same ones every time


@pytest.mark.filterwarnings("ignore::sessionkit.UncommittedWorkWarning")
def test_a_session_does_what_the_model_says(db: Database) -> None:
    """Statements, blocks, handles, hooks and every end, in any order; each step of the walk asserts (`Walk.agree`, `compare`)."""
    walk = type("Walk", (Walk,), {"database": db})
    walks = settings(max_examples=int(ASKED or 100), stateful_step_count=40, deadline=None, derandomize=not ASKED)
    run_state_machine_as_test(walk, settings=walks)


@pytest.mark.filterwarnings("ignore::sessionkit.UncommittedWorkWarning")
def test_a_session_whose_driver_fails_keeps_what_the_model_says(db: Database) -> None:
    """Errors of the driver at BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK TO and statements, before and after the word."""
    walk = type("Walk", (FaultyWalk,), {"database": db})
    walks = settings(max_examples=int(ASKED or 100), stateful_step_count=30, deadline=None, derandomize=not ASKED)
    run_state_machine_as_test(walk, settings=walks)
