"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from world import World

from rxplus_testing import Sim


@pytest.fixture
def sim() -> Iterator[Sim]:
    """A simulated world; whatever is left open at the end fails the test."""
    with Sim(seed=7) as sim:
        yield sim


@pytest.fixture
def world(sim: Sim) -> World:
    """The same, with short ways to make components."""
    return World(sim)
