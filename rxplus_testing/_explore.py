"""The same scenario under many seeds, and a report that replays when one fails."""

from __future__ import annotations

import gc
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rxplus_testing._errors import ExplorationError
from rxplus_testing._trace import Trace
from rxplus_testing.sim import Faults, Mode, Sim

__all__ = ["Exploration", "explore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """What an exploration covered without finding anything.

    Attributes:
        seeds: how many were run.
        steps: points that were passed, in all runs together.
        seconds: virtual time that passed, likewise.
    """

    seeds: int
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    trace: Trace
    seconds: float
    error: Exception | None
    told: str
    sites: str


def explore(
    scenario: Callable[[Sim], object],
    seeds: Iterable[int],
    *,
    mode: Mode = "threads",
    stall: float = 0.0,
    switch: float = 0.1,
    files: Iterable[str] = (),
    faults: Callable[[int], Faults] | None = None,
) -> Exploration:
    """Run ``scenario(sim)`` once for each seed, each time in a new simulation.

    A seed that fails is run again, and the two runs are compared, before it is reported.

    Args:
        scenario: makes components and checks what they do; what it raises is a
            failure, and so is what it leaves open.
        seeds: for instance ``range(1000)``.
        mode: as for :class:`Sim`, like the three that follow.
        stall: see there.
        switch: see there.
        files: see there.
        faults: makes what goes wrong, from the seed.

    Raises:
        ExplorationError: a seed fails. It tells which, how to replay it, whether
            that gives the same run, the last steps, and where everything stood.
            Its cause is what the scenario raised.
    """
    files = tuple(files)

    def run(seed: int) -> _Run:
        planned = None if faults is None else faults(seed)
        outcome = _run(
            scenario,
            Sim(seed, mode=mode, stall=stall, switch=switch, files=files, faults=planned),
        )
        if outcome.error is not None:
            _let_go(outcome.error)
        return outcome

    count = steps = 0
    seconds = 0.0
    for seed in seeds:
        outcome = run(seed)
        if outcome.error is not None:
            how = f"Sim({seed}, mode={mode!r}, stall={stall!r}, switch={switch!r})"
            raise ExplorationError(_report(how, outcome, run(seed))) from outcome.error
        count += 1
        steps += len(outcome.trace)
        seconds += outcome.seconds
    return Exploration(seeds=count, steps=steps, seconds=seconds)


def _run(scenario: Callable[[Sim], object], sim: Sim) -> _Run:
    sites = "  at the end"
    error: Exception | None = None
    told = ""
    try:
        with sim:
            try:
                scenario(sim)
            except Exception:
                sites = sim.describe()
                raise
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is reported
        error = caught
        told = "".join(traceback.format_exception(caught))
    return _Run(trace=sim.trace, seconds=sim.now, error=error, told=told, sites=sites)


def _let_go(error: BaseException) -> None:
    """Let go of the components that a failed scenario left open, without a warning for each.

    Tracebacks refer to all that the scenario had; the report has them as text.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        link: BaseException | None = error
        while link is not None:
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
        gc.collect()


def _report(how: str, first: _Run, second: _Run) -> str:
    return "\n".join(
        (
            f"{how} fails: {type(first.error).__name__}: {first.error}",
            _compare(first, second),
            first.told,
            "last steps:",
            first.trace.tail(),
            "where everything stood:",
            first.sites,
        )
    )


def _compare(first: _Run, second: _Run) -> str:
    """Tell whether two runs of one seed are the same."""
    index = first.trace.differs_at(second.trace)
    if index is not None:
        return (
            "IT DOES NOT REPLAY: something in the scenario does not come from the seed. "
            f"Step {index} of the second run is another one: "
            f"{_step(first.trace, index)} / {_step(second.trace, index)}"
        )
    if type(first.error) is not type(second.error):
        return (
            f"IT DOES NOT REPLAY: a second run takes the same steps and ends with {second.error!r}"
        )
    return "a second run is the same"


def _step(trace: Trace, index: int) -> str:
    return str(trace[index]) if index < len(trace) else "none"
