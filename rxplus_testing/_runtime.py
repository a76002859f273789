"""The inline runtime: one virtual loop, run by the test's thread, and no other thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from rxplus_testing._driver import Driver
from rxplus_testing._errors import SimDeadlock
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._rxplus import Event, Lease, Lock
from rxplus_testing._seeded import SeededRuntime
from rxplus_testing._sites import caller_name, caller_site
from rxplus_testing._trace import Trace

__all__ = ["InlineRuntime"]


class InlineLock:
    """A lock in a world of one thread: to find it taken is to wait for ever."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._holder: str | None = None

    def __enter__(self) -> bool:
        self._loop.check_thread("take a lock")
        if self._holder is not None:
            raise SimDeadlock(
                f"{caller_site()} waits for a lock that is held since {self._holder}, "
                f"on the same thread\n{self._loop.describe()}"
            )
        self._holder = caller_site()
        return True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self._holder = None


class InlineEvent:
    """An event whose waiters run the loop until it is set."""

    def __init__(self, loop: VirtualLoop, driver: Driver, trace: Trace) -> None:
        self._loop = loop
        self._driver = driver
        self._trace = trace
        self._flag = False

    def set(self) -> None:
        """Let all who wait, now or later, go on."""
        self._loop.check_thread("set an event")
        self._flag = True

    def clear(self) -> None:
        """Make those who come from now on wait."""
        self._flag = False

    def is_set(self) -> bool:
        """Tell whether :meth:`wait` would return at once."""
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        """Run the loop until set, or for ``timeout`` virtual seconds.

        Raises:
            SimDeadlock: called from within the loop; or there is no timeout and
                nothing is left that could set it.
        """
        if self._flag:
            return True
        self._trace.add("test", f"wait in {caller_name()}")
        end = None if timeout is None else self._loop.time() + max(timeout, 0.0)
        if self._driver.run_while_possible(self.is_set, end):
            return True
        if end is None:
            raise SimDeadlock(
                f"{caller_site()} waits for an event that nothing is left to set\n"
                f"{self._loop.describe()}"
            )
        self._loop.skip_to(end)
        return False


class InlineLease:
    """One component's hold on the virtual loop."""

    def __init__(
        self, loop: VirtualLoop, driver: Driver, trace: Trace, on_release: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._driver = driver
        self._trace = trace
        self._on_release: Callable[[], None] | None = on_release

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The virtual loop."""
        return self._loop

    def in_loop(self) -> bool:
        """Tell whether the loop is running a callback."""
        return self._loop.in_callback()

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Have ``callback(*args)`` called by the loop.

        Returns:
            False after :meth:`release`, or when the simulation has ended.
        """
        self._loop.check_thread("call Lease.call_soon()")
        if self._on_release is None or self._loop.is_closed():
            return False
        self._trace.add("loop" if self.in_loop() else "test", f"call_soon in {caller_name()}")
        self._loop.call_soon(callback, *args)
        return True

    def release(self) -> None:
        """Give the loop up; it lives on until the simulation is closed."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()

    def join(self, timeout: float | None = None) -> bool:
        """Run what is ready: what was handed to the loop before has then been called."""
        if not self._loop.in_callback() and not self._loop.is_closed():
            self._driver.run_until_idle()
        return True


class InlineRuntime(SeededRuntime):
    """A :class:`rxplus.Runtime` without threads.

    The test's own code, whenever the loop is not inside a callback, plays the
    other threads; its blocking waits run the loop in virtual time.
    """

    def __init__(self, loop: VirtualLoop, driver: Driver, trace: Trace, seed: int) -> None:
        super().__init__(seed)
        self._loop = loop
        self._driver = driver
        self._trace = trace
        self._leases: dict[InlineLease, str] = {}

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._loop.time()

    def lock(self) -> Lock:
        """Make a lock."""
        return InlineLock(self._loop)

    def event(self) -> Event:
        """Make an event, not set."""
        return InlineEvent(self._loop, self._driver, self._trace)

    def acquire(self) -> Lease:
        """Take a lease on the loop.

        Raises:
            RuntimeError: the simulation has been closed.
        """
        self._loop.check_thread("acquire the loop")
        if self._loop.is_closed():
            raise RuntimeError("the simulation is closed")
        lease = InlineLease(self._loop, self._driver, self._trace, lambda: self._forget(lease))
        self._leases[lease] = caller_site()
        return lease

    def held(self) -> list[str]:
        """Return where each lease was taken that has not been released, oldest first."""
        return list(self._leases.values())

    def _forget(self, lease: InlineLease) -> None:
        del self._leases[lease]
