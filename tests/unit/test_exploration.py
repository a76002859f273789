"""Exploration of our own components: a few seeds in each run, many when asked for.

``RXPLUS_EXPLORE=2000`` runs that many seeds of each scenario and way; ``tox -e
explore`` does it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from scenarios import SCENARIOS

from rxplus_testing import ExplorationError, Sim, explore

COUNT = int(os.environ.get("RXPLUS_EXPLORE", "4"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))

WAYS: dict[str, dict[str, Any]] = {
    "inline": {"mode": "inline"},
    "switches": {"mode": "threads"},
    "stalls": {"mode": "threads", "stall": 0.01},
}


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_components_keep_their_promises(
    scenario: Callable[[Sim], None], way: str, record_property: Callable[[str, str], None]
) -> None:
    """Nothing that the seeds draw makes a component break what the documentation promises."""
    done = explore(scenario, range(FIRST, FIRST + COUNT), **WAYS[way])
    assert done.seeds == COUNT
    record_property("explored", repr(done))


# explore() itself.


def test_explore_counts() -> None:
    """What was covered is told."""

    def scenario(sim: Sim) -> None:
        sim.advance(1.5)

    done = explore(scenario, range(4))
    assert (done.seeds, done.seconds) == (4, 6.0)
    assert done.steps >= 8


def test_explore_reports_seed_steps_and_sites() -> None:
    """The error tells the seed, what failed, the last steps, and where everything stood."""

    def scenario(sim: Sim) -> None:
        event = sim.runtime.event()
        sim.thread(lambda: event.wait(5.0), name="waiter")
        sim.advance(1.0)
        assert sim.seed < 3, "too many"
        event.set()
        sim.run_until_idle()

    with pytest.raises(ExplorationError) as caught:
        explore(scenario, range(10), switch=0.25)
    report = str(caught.value)
    assert report.startswith("Sim(3, mode='threads', stall=0.0, switch=0.25) fails: Assertion")
    assert "a second run is the same" in report
    assert "1.000000 test: " in report
    assert "thread waiter: waits in test_explore_reports" in report
    assert "in scenario" in report  # the traceback
    assert isinstance(caught.value.__cause__, AssertionError)


def test_explore_reports_a_run_that_takes_other_steps() -> None:
    """What does not come from the seed makes a report worthless, so that is said first."""
    chance = random.Random(1)

    def scenario(sim: Sim) -> None:
        sim.advance(chance.random())
        raise ValueError

    with pytest.raises(ExplorationError, match="IT DOES NOT REPLAY: something in the scenario"):
        explore(scenario, [0])


def test_explore_reports_a_run_that_is_longer() -> None:
    """A run that goes on after the other one has ended is another run as well."""
    runs: list[int] = []

    def scenario(sim: Sim) -> None:
        runs.append(1)
        for _ in runs:
            sim.run_until_idle()
        raise ValueError

    with pytest.raises(ExplorationError, match="IT DOES NOT REPLAY"):
        explore(scenario, [0])


def test_explore_reports_a_run_that_ends_otherwise() -> None:
    """Neither is it a replay when the same steps end in another error, or in none."""
    runs: list[int] = []

    def scenario(sim: Sim) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError

    with pytest.raises(ExplorationError, match="takes the same steps and ends with None"):
        explore(scenario, [0], mode="inline")


def test_explore_installs_faults() -> None:
    """What goes wrong is made from the seed, afresh for each run."""
    installed: list[tuple[int, float]] = []

    class Plan:
        def __init__(self, seed: int) -> None:
            self.seed = seed

        def install(self, sim: Sim) -> None:
            installed.append((self.seed, sim.now))

    explore(lambda sim: None, range(3), faults=Plan)
    assert installed == [(0, 0.0), (1, 0.0), (2, 0.0)]
