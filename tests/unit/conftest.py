"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from machine import Machine
from world import World

from rxplus_testing import Sim


@pytest.fixture
def sim(rx_sim: Sim) -> Sim:
    """A simulated world; whatever is left open at the end fails the test."""
    return rx_sim


@pytest.fixture
def world(sim: Sim) -> World:
    """The same, with short ways to make components."""
    return World(sim)


@pytest.fixture
def new_machine(world: World) -> Callable[[], Machine]:
    """What makes the machines of a test; a module may have its own."""
    return partial(Machine, world)


@pytest.fixture
def near(new_machine: Callable[[], Machine]) -> Machine:
    """The machine of a client, with a store."""
    return new_machine()


@pytest.fixture
def far(new_machine: Callable[[], Machine]) -> Machine:
    """The machine of a server, with a store."""
    return new_machine()
