"""A schedule of faults over virtual time, made from a seed or by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from rxplus_testing._faults import (
    AcceptThenClose,
    Bandwidth,
    ClockStep,
    Cut,
    Fault,
    Hang,
    Hold,
    Latency,
    Outage,
    RefuseConnection,
    RejectHandshake,
    Reset,
    Rule,
    Slices,
    SlowClose,
)
from rxplus_testing._scheduler import VirtualScheduler

__all__ = ["FAULT_KINDS", "FaultPlan", "PlannedFault"]

_CLOSE_CODES = (1000, 1001, 1011, 1012, 1013, 4000)
"""Codes that a server may send at any time, and after which a client tries again."""


class _Network(Protocol):
    def inject(self, fault: Fault, *, port: int | None = None, times: int | None = None) -> Rule:
        """Put a fault in force."""
        ...


class _Sim(Protocol):
    @property
    def net(self) -> _Network: ...

    @property
    def byte_net(self) -> _Network: ...

    @property
    def scheduler(self) -> VirtualScheduler: ...

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Have something done at a virtual time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """A fault that begins at a virtual time and lasts.

    Attributes:
        at: when it begins, in seconds.
        lasts: for how long, in seconds; a :class:`Reset` or a :class:`ClockStep` is over
            at once.
        fault: what happens.
        port: on which server port; ``None``: on each.
    """

    at: float
    lasts: float
    fault: Fault | ClockStep
    port: int | None = None

    def __str__(self) -> str:
        where = "" if self.port is None else f" on port {self.port}"
        return f"{self.at:.3f} to {self.at + self.lasts:.3f}: {self.fault}{where}"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults, and when they happen.

    Attributes:
        faults: in the order in which they begin.
    """

    faults: tuple[PlannedFault, ...]

    @classmethod
    def random(
        cls,
        seed: int,
        kinds: Iterable[str] | None = None,
        *,
        count: int = 10,
        until: float = 60.0,
        longest: float = 5.0,
        port: int | None = None,
    ) -> FaultPlan:
        """Draw a plan; the same arguments give the same one.

        Args:
            seed: decides.
            kinds: names out of :data:`FAULT_KINDS`; ``None``: all.
            count: how many faults.
            until: all are over by then, in virtual seconds.
            longest: what one lasts at most, in seconds.
            port: on which server port; ``None``: on each.

        Raises:
            ValueError: a kind is not known.
        """
        names = sorted(FAULT_KINDS if kinds is None else set(kinds))
        unknown = [name for name in names if name not in FAULT_KINDS]
        if unknown or not names:
            raise ValueError(f"unknown kinds {unknown}; known are {sorted(FAULT_KINDS)}")
        chance = random.Random(seed)  # noqa: S311 - the same in each run
        drawn = []
        for _ in range(count):
            lasts = chance.uniform(0.0, min(longest, until))
            at = chance.uniform(0.0, until - lasts)
            fault = FAULT_KINDS[chance.choice(names)](chance)
            drawn.append(PlannedFault(at=at, lasts=lasts, fault=fault, port=port))
        return cls(tuple(sorted(drawn, key=lambda planned: planned.at)))

    def install(self, sim: _Sim) -> None:
        """Have the faults happen in a simulation, on both of its networks."""
        for planned in self.faults:
            sim.at(planned.at, partial(_begin, sim, planned))

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


def _begin(sim: _Sim, planned: PlannedFault) -> None:
    if isinstance(planned.fault, ClockStep):
        sim.scheduler.step(planned.fault.seconds)
        return
    for network in (sim.net, sim.byte_net):
        rule = network.inject(planned.fault, port=planned.port)
        sim.at(planned.at + planned.lasts, rule.remove)


FAULT_KINDS: Mapping[str, Callable[[random.Random], Fault | ClockStep]] = {
    "refuse": lambda _: RefuseConnection(),
    "reject": lambda chance: RejectHandshake(status=chance.choice([429, 500, 502, 503])),
    "hang": lambda _: Hang(),
    "close": lambda chance: AcceptThenClose(code=chance.choice(_CLOSE_CODES)),
    "outage": lambda _: Outage(),
    "reset": lambda _: Reset(),
    "cut": lambda chance: Cut(after=chance.randrange(5000), direction=_direction(chance)),
    "latency": lambda chance: Latency(seconds=chance.uniform(0, 0.5), jitter=_some(chance)),
    "bandwidth": lambda chance: Bandwidth(bytes_per_second=chance.randrange(1_000, 1_000_000)),
    "hold": lambda _: Hold(),
    "partition": lambda chance: Hold(direction=_direction(chance)),
    "slices": lambda chance: Slices(size=chance.randrange(1, 100)),
    "clock": lambda chance: ClockStep(seconds=chance.uniform(-3600, 3600)),
    "slow_close": lambda chance: SlowClose(seconds=chance.uniform(0, 5)),
}
"""The kinds of faults that a plan can draw, by name."""


def _direction(chance: random.Random) -> Any:
    return chance.choice(["up", "down"])


def _some(chance: random.Random) -> float:
    return chance.choice([0.0, chance.uniform(0, 0.5)])
