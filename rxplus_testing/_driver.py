"""Moves a virtual loop and its clock on, on behalf of the test's thread."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from rxplus_testing._errors import SimDeadlock, SimError, SimTimeout
from rxplus_testing._invariants import Invariants
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._switching import Pause
from rxplus_testing._trace import Trace

__all__ = ["Driver"]

_TURNS_AT_ONE_MOMENT = 100_000
"""Turns of the loop without the clock moving, after which it is taken to spin."""


class Driver:
    """Runs the loop between the lines of a test.

    Between two turns of the loop, and only there, it calls the actions that
    :meth:`at` was given: they play another thread, so they may block, which
    makes these methods re-enter.

    Args:
        loop: what it runs.
        trace: where the steps are written down.
        invariants: looked at at every step.
    """

    def __init__(self, loop: VirtualLoop, trace: Trace, invariants: Invariants) -> None:
        self._loop = loop
        self._trace = trace
        self._invariants = invariants
        self._actions: list[tuple[float, int, Callable[[], object]]] = []
        self._action_seq = itertools.count()

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Call ``action`` at ``when``, or as soon as possible when that has passed."""
        heapq.heappush(self._actions, (when, next(self._action_seq), action))

    def spawn(self, name: str, action: Callable[[], object]) -> None:
        """Call ``action`` as soon as possible, as a thread of that name would."""
        self.at(self._loop.time(), action)

    def pause_at(self, pause: Pause) -> None:
        """Refuse: where there is one thread, holding it would hold everything."""
        raise SimError(f"pause_at({pause.label!r}) needs Sim(mode='threads')")

    def settle(self) -> None:
        """Let what is under way come to its end."""
        self.run_until_idle()

    def run_until_idle(self) -> None:
        """Run all that can run without virtual time passing."""
        self.refuse_in_callback("run the simulation")
        for _ in range(_TURNS_AT_ONE_MOMENT):
            if not self._step():
                return
        raise SimTimeout(self._report("still busy at the same moment, as if it spins for ever"))

    def advance_to(self, end: float) -> None:
        """Run all that happens up to and including ``end``."""
        self.run_until_idle()
        while (due := self._next_due()) is not None and due <= end:
            self._loop.skip_to(due)
            self.run_until_idle()
        self._loop.skip_to(end)

    def run_until(self, reached: Callable[[], object], end: float) -> bool:
        """Run until ``reached()`` is true, and not a turn further.

        Returns:
            False when it is not by ``end``.

        Raises:
            SimDeadlock: nothing is left that could make it true.
        """
        if self.run_while_possible(reached, end):
            return True
        if self._next_due() is None:
            raise SimDeadlock(self._report("nothing is left that could make it true"))
        self._loop.skip_to(end)
        return False

    def run_while_possible(self, reached: Callable[[], object], end: float | None) -> bool:
        """Run until ``reached()`` is true, and not a turn further.

        Args:
            reached: called between two turns of the loop.
            end: the virtual time to give up at; ``None`` never gives up.

        Returns:
            False when what comes next, if anything does, comes after ``end``.
            The clock then still shows the last moment at which something ran.
        """
        self.refuse_in_callback("wait")
        while not self._reached_now(reached):
            due = self._next_due()
            if due is None or (end is not None and due > end):
                return False
            self._loop.skip_to(due)
        return True

    def refuse_in_callback(self, action: str) -> None:
        """Raise when the loop is running a callback: it would wait for itself."""
        self._loop.check_thread(action)
        if self._loop.in_callback():
            raise SimDeadlock(self._report(f"a blocking wait on the loop thread (to {action})"))

    def _reached_now(self, reached: Callable[[], object]) -> bool:
        for _ in range(_TURNS_AT_ONE_MOMENT):
            if reached():
                return True
            if not self._step():
                return False
        raise SimTimeout(self._report("still busy at the same moment, as if it spins for ever"))

    def _step(self) -> bool:
        """Do one thing that is due now: the next action, or a turn of the loop."""
        if self._actions and self._actions[0][0] <= self._loop.time():
            self._trace.add("test", "action")
            heapq.heappop(self._actions)[2]()
        elif self._loop.has_work():
            self._trace.add("loop", "turn")
            self._loop.turn()
        else:
            return False
        self._invariants.check(f"after {self._trace[-1].point}")
        return True

    def describe(self) -> str:
        """Return the time and where each task waits, a line each."""
        return self._loop.describe()

    def end(self) -> list[str]:
        """Do nothing: there are no threads to end."""
        return []

    def _next_due(self) -> float | None:
        timer = self._loop.next_due()
        action = self._actions[0][0] if self._actions else None
        return min((due for due in (timer, action) if due is not None), default=None)

    def _report(self, problem: str) -> str:
        return f"{problem}\n{self._loop.describe()}"
