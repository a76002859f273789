"""The runtime of a simulation with threads: locks and events that give the baton up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from rxplus_testing._baton import Baton
from rxplus_testing._baton_loop import BatonLoop
from rxplus_testing._baton_thread import BatonThread, Wait
from rxplus_testing._errors import SimDeadlock
from rxplus_testing._rxplus import Event, Lease, Lock
from rxplus_testing._seeded import SeededRuntime
from rxplus_testing._sites import caller_name, caller_site

__all__ = ["BatonRuntime"]


class BatonLock:
    """A lock that another thread may snatch before it is taken, and after."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._holder: BatonThread | None = None
        self._site = ""

    def __enter__(self) -> bool:
        baton, who = self._baton, caller_name()
        baton.switch(f"lock in {who}")
        holder = self._holder
        if holder is not None and holder is baton.current and baton.has_it():
            raise baton.told(
                SimDeadlock(
                    f"{caller_site()} waits for a lock that its own thread {holder.name} "
                    f"holds since {self._site}\n{baton.describe()}"
                )
            )
        if holder is not None:
            baton.wait(Wait(why=f"waits for a lock in {who}", ready=lambda: self._holder is None))
        self._holder = baton.current
        self._site = caller_site()
        return True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self._holder = None
        if self._baton.has_it():
            self._baton.switch(f"unlock in {caller_name()}")


class BatonEvent:
    """An event whose waiters let the other threads run.

    Args:
        baton: of the simulation.
        loop: whose thread may not wait: what sets the event runs there.
    """

    def __init__(self, baton: Baton, loop: BatonLoop) -> None:
        self._baton = baton
        self._loop = loop
        self._flag = False

    def set(self) -> None:
        """Let all who wait, now or later, go on."""
        self._flag = True
        if self._baton.has_it():
            self._baton.switch(f"set in {caller_name()}")

    def clear(self) -> None:
        """Make those who come from now on wait."""
        self._flag = False

    def is_set(self) -> bool:
        """Tell whether :meth:`wait` would return at once."""
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set, or for ``timeout`` virtual seconds.

        Raises:
            SimDeadlock: called on the loop thread; or, in the test's own thread,
                nobody is left that could set it.
        """
        who = caller_name()
        self._baton.switch(f"wait in {who}")
        if self._flag:
            return True
        if self._loop.in_callback():
            raise self._baton.told(
                SimDeadlock(
                    f"{caller_site()} waits on the loop thread for what only the loop can do\n"
                    f"{self._baton.describe()}\n{self._loop.describe()}"
                )
            )
        due = None if timeout is None else self._loop.time() + max(timeout, 0.0)
        wait = Wait(why=f"waits in {who}", ready=self.is_set, deadline=lambda: due)
        return self._baton.wait(wait)


class _Term:
    """The time in which somebody holds the loop: what a loop thread's life is in reality."""

    def __init__(self, ended: BatonEvent) -> None:
        self.leases = 0
        self.ended = ended


class BatonLease:
    """One component's hold on the loop."""

    def __init__(
        self, loop: BatonLoop, term: _Term, on_release: Callable[[BatonLease], bool]
    ) -> None:
        self.term = term
        self.site = caller_site()
        self._loop = loop
        self._on_release = on_release
        self._was_last = False
        self._released = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop

    def in_loop(self) -> bool:
        """Tell whether the caller runs on the loop thread."""
        return self._loop.in_callback()

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Have ``callback(*args)`` called on the loop thread.

        Returns:
            False after :meth:`release`, or when the simulation has ended.
        """
        if self._released or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(callback, *args)
        return True

    def release(self) -> None:
        """Give the loop up."""
        if self._released:
            return
        self._released = True
        self._was_last = self._on_release(self)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until what was handed over before the last lease was released has been done."""
        if not self._was_last or self.in_loop():
            return True
        return self.term.ended.wait(timeout)


class BatonRuntime(SeededRuntime):
    """A :class:`rxplus.Runtime` whose threads run one at a time, as the seed says.

    It differs from the real one in this: the loop and its thread stay for as
    long as the simulation, since the network lives there too.
    """

    def __init__(self, baton: Baton, loop: BatonLoop, seed: int) -> None:
        super().__init__(seed)
        self._baton = baton
        self._loop = loop
        self._leases: dict[BatonLease, None] = {}
        self._term: _Term | None = None

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._loop.time()

    def lock(self) -> Lock:
        """Make a lock."""
        return BatonLock(self._baton)

    def event(self) -> Event:
        """Make an event, not set."""
        return BatonEvent(self._baton, self._loop)

    def acquire(self) -> Lease:
        """Take a lease on the loop.

        Raises:
            RuntimeError: the simulation has been closed.
        """
        self._baton.switch("acquire the loop")
        if self._loop.is_closed():
            raise RuntimeError("the simulation is closed")
        if self._term is None:
            self._term = _Term(BatonEvent(self._baton, self._loop))
        self._term.leases += 1
        lease = BatonLease(self._loop, self._term, self._give_up)
        self._leases[lease] = None
        return lease

    def held(self) -> list[str]:
        """Return where each lease was taken that has not been released, oldest first."""
        return [lease.site for lease in self._leases]

    def _give_up(self, lease: BatonLease) -> bool:
        """Take back a lease; tell whether it was the last one."""
        del self._leases[lease]
        term = lease.term
        term.leases -= 1
        if term.leases:
            return False
        self._term = None
        self._loop.call_soon_threadsafe(term.ended.set)
        return True
