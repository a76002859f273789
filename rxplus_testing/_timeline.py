"""Time as a recorder sees it: that of a simulation, or that of the clock on the wall."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from reactivex.abc import SchedulerBase

from rxplus_testing._errors import SimDeadlock, SimTimeout

__all__ = ["RealTimeline", "SimTimeline", "Simulation", "Timeline"]


class Timeline(Protocol):
    """How long things take, and how to wait for them."""

    virtual: bool
    """Whether time passes only when a test lets it."""

    patience: float
    """Seconds to wait for what has to happen, when nobody says otherwise."""

    @property
    def now(self) -> float:
        """The time in seconds, from whenever it started."""
        ...

    @property
    def scheduler(self) -> SchedulerBase | None:
        """The scheduler for subscriptions; ``None``: Rx chooses."""
        ...

    def watch(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until ``reached()`` is true, or ``seconds`` are over.

        Returns:
            Whether it became true.
        """
        ...

    def changed(self) -> None:
        """Say that something has happened that :meth:`watch` might wait for."""

    def describe(self) -> str:
        """Return where things stand; empty when that is not known."""
        ...


class Simulation(Protocol):
    """What :class:`SimTimeline` uses of :class:`rxplus_testing.Sim`."""

    @property
    def now(self) -> float: ...

    @property
    def scheduler(self) -> SchedulerBase: ...

    def advance(self, seconds: float) -> None: ...

    def run_until(self, predicate: Callable[[], object], timeout: float) -> None: ...

    def describe(self) -> str: ...


class SimTimeline:
    """The virtual time of a simulation."""

    virtual = True
    patience = 60.0

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    @property
    def now(self) -> float:
        """The virtual time."""
        return self._sim.now

    @property
    def scheduler(self) -> SchedulerBase:
        """The simulation's scheduler."""
        return self._sim.scheduler

    def watch(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Run the simulation until ``reached()`` is true, for ``seconds`` at the most."""
        end = self.now + seconds
        try:
            self._sim.run_until(reached, seconds)
        except SimTimeout:
            return False
        except SimDeadlock:
            # Nothing is left to happen, but the time passes all the same.
            self._sim.advance(end - self.now)
            return False
        return True

    def changed(self) -> None:
        """Do nothing: the simulation looks after each step."""

    def describe(self) -> str:
        """Return what waits where in the simulation, and what is on its way."""
        return self._sim.describe()


class RealTimeline:
    """The time on the wall, for components with threads of their own."""

    virtual = False
    patience = 10.0

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._start = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since this was made."""
        return time.monotonic() - self._start

    @property
    def scheduler(self) -> None:
        """None: components bring their own threads."""
        return None

    def watch(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``reached()`` is true, woken by :meth:`changed`."""
        with self._condition:
            return self._condition.wait_for(reached, seconds)

    def changed(self) -> None:
        """Wake whoever waits in :meth:`watch`. Any thread."""
        with self._condition:
            self._condition.notify_all()

    def describe(self) -> str:
        """Return nothing: what else goes on in the process is not known."""
        return ""
