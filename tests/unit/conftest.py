"""Fixtures of the unit tests."""

from __future__ import annotations

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
def near(world: World) -> Machine:
    """The machine of a client, with a store."""
    return Machine(world)


@pytest.fixture
def far(world: World) -> Machine:
    """The machine of a server, with a store."""
    return Machine(world)
