"""Drives a simulation with threads, on behalf of the test's thread."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

from rxplus_testing._baton import Baton
from rxplus_testing._baton_loop import BatonLoop
from rxplus_testing._baton_thread import Wait
from rxplus_testing._errors import SimDeadlock
from rxplus_testing._invariants import Invariants
from rxplus_testing._switching import Pause, Switching
from rxplus_testing._trace import Trace

__all__ = ["ThreadDriver"]

_AFTER_STALLS = 60.0
"""Virtual seconds that a simulation with stalls may take to end: they delay everything."""


class ThreadDriver:
    """Lets threads run between the lines of a test, and within them.

    Args:
        loop: the loop, which it starts.
        seed: decides who runs.
        trace: where the steps are written down.
        invariants: looked at at every step.
        switch: see :class:`Switching`, as for the two others.
        stall: likewise.
        files: likewise.
    """

    def __init__(
        self,
        loop: BatonLoop,
        seed: int,
        trace: Trace,
        invariants: Invariants,
        *,
        switch: float,
        stall: float,
        files: Iterable[str],
    ) -> None:
        self._loop = loop
        # Its moments depend on what ran before, and it runs finalisers in the middle of things.
        self._collects = gc.isenabled()
        gc.disable()
        self.baton = Baton(loop, seed, trace, invariants)
        self._switching = Switching(self.baton, loop, switch=switch, stall=stall, files=files)
        self.baton.around = (self._switching.enter_thread, self._switching.leave_thread)
        loop.begin(self.baton)

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Call ``action`` at ``when``, in a thread of its own."""

        def act() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - it comes out in the test's thread
                self.baton.interrupt(error)

        self.baton.start(f"at {when:.6f}", act, Wait(why="not yet", deadline=lambda: when))

    def spawn(self, name: str, action: Callable[[], object]) -> None:
        """Call ``action`` in a thread of its own, from now on."""
        self.baton.start(name, action)
        self.baton.switch(f"start {name}")

    def pause_at(self, pause: Pause) -> None:
        """Have threads held."""
        self._switching.pauses.append(pause)

    def settle(self) -> None:
        """Let the others come to the end of what they do, stalled ones too."""
        self.run_until_idle()
        if self._switching.calm_down():
            self.advance_to(self._loop.time() + _AFTER_STALLS)

    def run_until_idle(self) -> None:
        """Let the others run until none can without virtual time passing."""
        self._refuse_on_loop("run the simulation")
        self.baton.wait(Wait(why="lets the others run", ready=lambda: True, last=True))

    def advance_to(self, end: float) -> None:
        """Let the others run up to ``end``; for the test's own thread all of them come first."""
        self._refuse_on_loop("let time pass")
        last = self.baton.current is self.baton.test
        self.baton.wait(Wait(why="lets time pass", deadline=lambda: end, last=last))

    def run_until(self, reached: Callable[[], object], end: float) -> bool:
        """Let the others run until ``reached()`` is true.

        Returns:
            False when it is not by ``end``.

        Raises:
            SimDeadlock: nobody is left that could make it true.
        """
        self._refuse_on_loop("wait")
        wait = Wait(why="runs until", ready=reached, deadline=lambda: end, hopeful=False)
        return self.baton.wait(wait)

    def refuse_in_callback(self, action: str) -> None:
        """Raise on the loop thread: it would wait for itself."""
        self.baton.check_thread(action)
        self._refuse_on_loop(action)

    def describe(self) -> str:
        """Return the time, and where each thread and each task is, a line each."""
        return f"{self._loop.describe()}\n{self.baton.describe()}"

    def end(self) -> list[str]:
        """End all threads; return a line for each that should have ended by itself."""
        self._loop.end()
        problems: list[str] = []
        try:
            self.run_until_idle()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            problems.append(f"  {type(error).__name__} while closing: {error}")
        problems += [thread.describe() for thread in self.baton.alive() if thread.begun]
        self._switching.stop()
        problems += self.baton.end()
        self._loop.take_back()
        if self._collects:
            gc.enable()
        return problems

    def _refuse_on_loop(self, action: str) -> None:
        if self._loop.in_callback():
            raise self.baton.told(
                SimDeadlock(f"a blocking wait on the loop thread (to {action})\n{self.describe()}")
            )
