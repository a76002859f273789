"""Real threads, one at a time: who has the baton runs, and the seed picks who gets it next.

A thread gives the baton up at a *point*: where it synchronises with others, or
at a source line that the seed chose. Then either it goes on or another one
does. The clock moves only when every thread waits.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Protocol

from rxplus_testing._baton_thread import BatonThread, Killed, Wait
from rxplus_testing._errors import ForeignThreadError, SimDeadlock, SimError, SimTimeout
from rxplus_testing._invariants import Invariants
from rxplus_testing._trace import Trace

__all__ = ["Baton", "Clock"]

_STEPS_AT_ONE_MOMENT = 200_000
"""Points passed without the clock moving, after which threads are taken to spin."""

_REAL_SECONDS = 20.0
"""How long no thread may reach a point, before the one that runs is taken to hang."""


class Clock(Protocol):
    """The virtual time."""

    def time(self) -> float:
        """Tell it, in seconds."""
        ...

    def skip_to(self, when: float) -> None:
        """Move it forward."""


def _nothing() -> None:
    """Stand in for what nobody asked for."""


class Baton:
    """The baton of one simulation. The thread that makes it has it first.

    Args:
        clock: the virtual time.
        seed: decides who gets the baton.
        trace: where every point is written down.
        invariants: looked at at every point.
    """

    def __init__(self, clock: Clock, seed: int, trace: Trace, invariants: Invariants) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._clock = clock
        self._trace = trace
        self._invariants = invariants
        self.test = BatonThread("test")
        self.test.ident = threading.get_ident()
        self.current = self.test
        self.steps = 0
        self._steps_here = 0
        self._threads: list[BatonThread] = [self.test]
        self._deciding = False
        self._ending = False
        self.around: tuple[Callable[[], None], Callable[[], None]] = (_nothing, _nothing)
        """Called by each further thread before and after it does what it does."""

    # Points. All are called by the thread that has the baton.

    def switch(self, point: str) -> None:
        """Let another thread run here, if the seed says so.

        Raises:
            ForeignThreadError: the caller is not a thread of the simulation.
        """
        me = self._me(point)
        if me is not None:
            self._trace.add(me.name, point)
            self._hand_over(me)

    def wait(self, wait: Wait) -> bool:
        """Wait, and let the others run meanwhile.

        Returns:
            Whether it is ready; False: its deadline has passed.

        Raises:
            SimDeadlock: in the test's thread: nobody can run any more.
            SimError: a predicate that is looked at between two steps has to wait itself.
        """
        me = self._me(wait.why)
        if me is None:
            return self._look(wait)
        self._trace.add(me.name, wait.why)
        me.wait = wait
        try:
            self._hand_over(me)
        finally:
            me.wait = None
        return bool(wait.ready())

    def _look(self, wait: Wait) -> bool:
        """Wait where there is nobody to wait for."""
        if self._ending:
            return bool(wait.ready())
        raise SimError(f"a predicate may not wait: {wait.why}\n{self.describe()}")

    def interrupt(self, error: BaseException) -> None:
        """Have the test's thread raise ``error`` when it next gives up or gets the baton."""
        if self.test.interrupt is None:
            self.test.interrupt = error

    def told(self, error: SimError) -> SimError:
        """Return ``error`` for the caller to raise; should that be swallowed, the test hears it."""
        if self.current is not self.test:
            self.interrupt(error)
        return error

    def has_it(self) -> bool:
        """Tell whether the caller has the baton, and may give it up."""
        mine = self.current.ident == threading.get_ident()
        return mine and not self._deciding and not self._ending

    def check_thread(self, action: str) -> None:
        """Refuse a thread that the simulation does not control."""
        if self.current.ident != threading.get_ident() and not self._ending:
            raise ForeignThreadError(
                f"thread {threading.current_thread().name!r} tried to {action}, but this "
                "simulation does not control it: start it with Sim.thread()"
            )

    def _me(self, action: str) -> BatonThread | None:
        """Return the caller; ``None`` where it cannot give the baton up."""
        self.check_thread(action)
        if self._ending:
            if self.test.ident == threading.get_ident():
                return None
            raise Killed
        return None if self._deciding else self.current

    # Passing it on.

    def _hand_over(self, me: BatonThread) -> None:
        chosen = self._next()
        if chosen is not me:
            self.current = chosen
            chosen.gate.release()
            self._park(me)
        interrupt, me.interrupt = me.interrupt, None
        if interrupt is not None:
            raise interrupt

    def _park(self, me: BatonThread) -> None:
        if me is self.test:
            self._park_test()
        else:
            me.gate.acquire()
        if self._ending and me is not self.test:
            raise Killed

    def _park_test(self) -> None:
        """Wait for the baton, but not for ever: a real lock could be in the way."""
        steps = -1
        while not self.test.gate.acquire(timeout=_REAL_SECONDS):
            if steps == self.steps:
                raise SimDeadlock(
                    f"thread {self.current.name} has not come to a point for {_REAL_SECONDS:.0f} "
                    f"real seconds: it waits outside the simulation, or spins\n{self.describe()}"
                )
            steps = self.steps

    def _next(self) -> BatonThread:
        """Choose who is next; what goes wrong in that is the test's to hear."""
        self._deciding = True
        try:
            self._count()
            return self._choose()
        except Exception as error:  # noqa: BLE001 - predicates are the user's code
            self.interrupt(error)
            return self.test
        finally:
            self._deciding = False

    def _count(self) -> None:
        self.steps += 1
        self._steps_here += 1
        if self._steps_here > _STEPS_AT_ONE_MOMENT:
            self._steps_here = 0
            raise SimTimeout(
                f"still busy at the same moment, as if it spins for ever\n{self.describe()}"
            )
        last = self._trace[-1]
        self._invariants.check(f"before thread {last.thread} goes on with: {last.point}")

    def _choose(self) -> BatonThread:
        while True:
            now = self._clock.time()
            able = [thread for thread in self._threads if thread.can_run(now)]
            able = [one for one in able if one.wait is None or not one.wait.last] or able
            if able:
                return able[0] if len(able) == 1 else able[self.random.randrange(len(able))]
            self._clock.skip_to(self._next_due())
            self._steps_here = 0

    def _next_due(self) -> float:
        waits = [thread.wait for thread in self._threads if thread.wait is not None]
        dues = [(due, wait.hopeful) for wait in waits if (due := wait.deadline()) is not None]
        if not any(hopeful for _, hopeful in dues):
            raise SimDeadlock(f"no thread can run any more\n{self.describe()}")
        return min(due for due, _ in dues)

    # Threads.

    def start(
        self, name: str, target: Callable[[], object], wait: Wait | None = None
    ) -> BatonThread:
        """Start a thread, which runs once it gets the baton.

        Args:
            name: for people and for the trace.
            target: what it does.
            wait: what it waits for before it begins.
        """
        thread = BatonThread(name)
        thread.wait = wait
        thread.thread = threading.Thread(
            target=self._run, args=(thread, target), name=f"sim {name}", daemon=True
        )
        self._threads.append(thread)
        thread.thread.start()
        thread.ident = thread.thread.ident
        return thread

    def _run(self, thread: BatonThread, target: Callable[[], object]) -> None:
        try:
            self._park(thread)
            thread.wait, thread.begun = None, True
            self.around[0]()
            target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - nobody else would hear of it
            self.interrupt(error)
        self.around[1]()
        self._threads.remove(thread)
        if not self._ending:
            self._trace.add(thread.name, "end")
            self.current = self._next()
            self.current.gate.release()

    def alive(self) -> list[BatonThread]:
        """Return the threads that have not ended, the test's own left out."""
        return [thread for thread in self._threads if thread is not self.test]

    def describe(self) -> str:
        """Return where each thread is, a line each."""
        return "\n".join(thread.describe() for thread in self._threads)

    def end(self) -> list[str]:
        """End all other threads; return a line for each that would not.

        Called by the test's thread, which runs freely from then on.
        """
        self._ending = True
        self.current = self.test
        stuck: list[str] = []
        for thread in self.alive():
            assert thread.thread is not None
            thread.gate.release()
            thread.thread.join(_REAL_SECONDS)
            if thread.thread.is_alive():
                stuck.append(thread.describe())
        return stuck
