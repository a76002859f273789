"""Stand-ins for locks, events and leases that put another thread in where a test wants it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rxplus import BeginExit

__all__ = ["Busy", "HookEvent", "HookLock", "ManualLease", "ManualRuntime"]


class Busy(Exception):
    """Another thread would have to wait here, for a lock that this one holds."""


class HookLock:
    """A lock in a world of one thread: taking it twice raises.

    ``before_enter`` is what other threads do before this one gets it.
    """

    def __init__(self) -> None:
        self.held = False
        self.before_enter: Callable[[], object] | None = None

    def __enter__(self) -> bool:
        others, self.before_enter = self.before_enter, None
        if others is not None:
            others()
        if self.held:
            raise Busy
        self.held = True
        return True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.held = False


class HookEvent:
    """An event; ``before_wait`` is what other threads do before a wait looks at it."""

    def __init__(self) -> None:
        self.flag = False
        self.waits: list[float | None] = []
        self.before_wait: Callable[[], object] | None = None

    def set(self) -> None:
        """Set it."""
        self.flag = True

    def clear(self) -> None:
        """Clear it."""
        self.flag = False

    def is_set(self) -> bool:
        """Look at it."""
        return self.flag

    def wait(self, timeout: float | None = None) -> bool:
        """Let the others run, then look; a wait that would be for ever fails the test."""
        self.waits.append(timeout)
        others, self.before_wait = self.before_wait, None
        if others is not None:
            others()
        assert self.flag or timeout is not None, "this thread would wait for ever"
        return self.flag


class ManualLease:
    """A loop that runs when the test says so."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()
        self.is_loop = False
        self.before_in_loop: Callable[[], object] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Nothing here needs the loop itself."""
        raise NotImplementedError

    def in_loop(self) -> bool:
        """Tell whether the loop is in a callback; the others may run before."""
        others, self.before_in_loop = self.before_in_loop, None
        if others is not None:
            others()
        return self.is_loop

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Remember the call."""
        self.calls.append(lambda: callback(*args))
        return True

    def run(self) -> int:
        """Make all calls that wait, and return how many there were."""
        count = 0
        while self.calls:
            self.is_loop = True
            try:
                self.calls[0]()
            finally:
                self.is_loop = False
            # After the call: one that was Busy is made again.
            self.calls.popleft()
            count += 1
        return count

    def release(self) -> None:
        """There is nothing to let go of."""

    def join(self, timeout: float | None = None) -> bool:
        """There is nothing to wait for."""
        return True


class ManualRuntime:
    """A runtime whose locks and events are stand-ins, and whose clock stands still."""

    def __init__(self) -> None:
        self.time = 0.0
        self.lease = ManualLease()
        self.events: list[HookEvent] = []
        self.locks: list[HookLock] = []

    @property
    def random(self) -> random.Random:
        """A generator."""
        return random.Random(0)

    def token(self) -> str:
        """Make a name."""
        return "token"

    def now(self) -> float:
        """Tell the time."""
        return self.time

    def lock(self) -> HookLock:
        """Make a lock."""
        self.locks.append(HookLock())
        return self.locks[-1]

    def event(self) -> HookEvent:
        """Make an event."""
        self.events.append(HookEvent())
        return self.events[-1]

    def acquire(self) -> ManualLease:
        """Give the one lease there is."""
        return self.lease

    def at_exit(self, begin: BeginExit) -> Callable[[], None]:
        """Do nothing."""
        return lambda: None
