"""The second seam: everything else that would make two runs differ.

Components get their loop, clock, locks, events and random numbers from a
:class:`Runtime` and never from ``threading``, ``time`` or ``random``, so that a
test can put all of them under its own control. :class:`rxplus.ThreadRuntime` is
the real one: one daemon thread with an asyncio loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeAlias

__all__ = ["BeginExit", "Event", "Lease", "Lock", "Runtime"]


BeginExit: TypeAlias = Callable[[], Callable[[], object]]
"""Starts to shut down, and returns what waits until that is done."""


class Lock(Protocol):
    """What components use of :class:`threading.Lock`: not reentrant."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


class Event(Protocol):
    """What components use of :class:`threading.Event`."""

    def set(self) -> None:
        """Let all who wait, now or later, go on."""

    def clear(self) -> None:
        """Make those who come from now on wait."""

    def is_set(self) -> bool:
        """Tell whether :meth:`wait` would return at once."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Block until set, or for ``timeout`` seconds.

        Returns:
            Whether it is set.
        """
        ...


class Lease(Protocol):
    """One component's hold on a running loop. All methods may be called from any thread."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop. Only code that runs on it may touch it."""
        ...

    def in_loop(self) -> bool:
        """Tell whether the caller runs on the loop thread."""
        ...

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Have ``callback(*args)`` called on the loop thread, in order of the calls.

        Returns:
            False when the loop has ended, so that the call will not be made.
        """
        ...

    def release(self) -> None:
        """Give the loop up. Once nobody holds it, it stops and its thread ends.

        Releasing twice is harmless.
        """

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the loop thread has ended, if this was its last lease.

        On the loop thread itself it returns at once.

        Args:
            timeout: seconds; ``None`` waits for ever.

        Returns:
            False when the time was not enough.
        """
        ...


class Runtime(Protocol):
    """Where components run. All methods may be called from any thread."""

    @property
    def random(self) -> random.Random:
        """The generator that jitter is drawn from."""
        ...

    def token(self) -> str:
        """Make a name that nobody can guess: text of at least 128 random bits.

        A simulation may make it from its seed.
        """
        ...

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def lock(self) -> Lock:
        """Make a lock."""
        ...

    def event(self) -> Event:
        """Make an event, not set."""
        ...

    def acquire(self) -> Lease:
        """Take a lease on the loop, which is started if it does not run.

        Raises:
            RuntimeError: a loop cannot be started any more.
        """
        ...

    def at_exit(self, begin: BeginExit) -> Callable[[], None]:
        """Have ``begin`` called when the interpreter exits, while threads still run.

        It starts to shut something down and returns a function that waits for
        the end. All that were registered begin before any is waited for.

        Returns:
            A function that takes it back; taking it back twice is harmless.
        """
        ...
