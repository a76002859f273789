"""What happens before a statement. The interpreter calls this where coverage cannot see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxplus import _meters
from rxplus_testing import Sim
from rxplus_testing._switching import Pause, Switching
from rxplus_testing._threads import ThreadDriver

CODE = Sim.advance.__code__
LINE = CODE.co_firstlineno + 6


def switching_of(sim: Sim) -> Switching:
    """Return what decides in a simulation."""
    assert isinstance(sim._driver, ThreadDriver)
    return sim._driver._switching


def points(sim: Sim) -> list[str]:
    """Return the steps of the test's own thread."""
    return [one.point for one in sim.trace if one.thread == "test"]


def test_switch_gives_the_baton_up() -> None:
    """With the likelihood 1 every statement is a step."""
    with Sim(mode="threads", switch=1.0) as sim:
        switching_of(sim).reached(CODE, LINE, entered=False)
        assert points(sim)[-1:] == [f"sim.py:{LINE} Sim.advance"]


def test_stall_lets_time_pass() -> None:
    """A thread that stands still makes the others, and the clock, go on."""
    with Sim(mode="threads", stall=1.0, switch=0.0) as sim:
        switching_of(sim).reached(CODE, LINE, entered=False)
        assert points(sim)[-1:] == [f"stalls at sim.py:{LINE} Sim.advance"]
        assert sim.now in (0.01, 0.2, 2.0)


def test_no_likelihood_no_step() -> None:
    """With the likelihood 0 nothing happens."""
    with Sim(mode="threads", switch=0.0) as sim:
        switching_of(sim).reached(CODE, LINE, entered=True)
        assert points(sim) == []


def test_what_outlives_a_simulation_is_no_step() -> None:
    """The meters belong to the process, and their locks are real."""
    with Sim(mode="threads", switch=1.0) as sim:
        switching_of(sim).reached(_meters.meters_of.__code__, 1, entered=True)
        assert points(sim) == []


def test_pause_holds_whoever_comes() -> None:
    """A thread that comes to the place is held, in the middle of what it does."""
    with Sim(mode="threads", switch=0.0) as sim:
        sim.pause_at("elsewhere")
        pause = sim.pause_at("Sim.advance")
        sim.at(5.0, pause.release)
        switching_of(sim).reached(CODE, LINE, entered=True)
        assert sim.now == 5.0
        assert pause.held == ()
        assert points(sim) == ["is held at Sim.advance"]


@pytest.mark.parametrize(
    ("label", "line", "thread", "entered", "held"),
    [
        ("advance", None, None, True, True),
        ("Sim.advance", None, "test", True, True),
        ("sim:Sim.advance", None, None, True, True),
        ("rxplus_testing.sim:advance", None, None, True, True),
        ("Sim.advance", None, None, False, False),
        ("Sim.advance", None, "other", True, False),
        ("im.advance", None, None, True, False),
        ("im:Sim.advance", None, None, True, False),
        ("Sim.advance", "def advance", None, False, True),
        ("Sim.advance", "something else", None, True, False),
    ],
)
def test_pause_matches(
    label: str, line: str | None, thread: str | None, entered: bool, held: bool
) -> None:
    """Function, module, thread and source must fit; without source it is the first statement."""
    pause = Pause(label, line, thread, lambda reached, timeout: None)
    first = CODE.co_firstlineno
    assert pause.matches(CODE, first, entered=entered, thread="test") is held
    pause.release()
    assert not pause.matches(CODE, first, entered=entered, thread="test")


def test_nobody_is_asked_between_steps() -> None:
    """While the next thread is chosen, and after the end, no statement is a step."""
    with Sim(mode="threads", switch=1.0) as sim:
        inside: list[Any] = []

        def look() -> bool:
            before = len(sim.trace)
            switching_of(sim).reached(CODE, LINE, entered=True)
            inside.append(len(sim.trace) - before)
            return True

        sim.always("quiet", look)
        sim.run_until_idle()
        steps = len(sim.trace)
    switching_of(sim).reached(CODE, LINE, entered=True)
    assert set(inside) == {0}
    assert steps <= len(sim.trace)
    assert Path(CODE.co_filename).name == "sim.py"
