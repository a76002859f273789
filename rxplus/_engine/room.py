"""Waiting for room in a mailbox, or being refused: the policies that push back."""

from __future__ import annotations

from collections.abc import Callable

from rxplus.config import OnFull, Overflow
from rxplus.errors import BufferFullError
from rxplus.runtime import Event, Lease, Lock, Runtime

__all__ = ["Room"]


class Room:
    """Whether there may be room in a mailbox, for threads that found none.

    Args:
        runtime: gives event and clock.
        lease: the loop that makes room, and so cannot wait for it.
        lock: the mailbox's.
        overflow: its policy.
        name: of the component, for error messages.
        fill: says what is in the mailbox, for error messages.
    """

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        lock: Lock,
        overflow: Overflow,
        *,
        name: str,
        fill: Callable[[], str],
    ) -> None:
        self._now = runtime.now
        self._lease = lease
        self._lock = lock
        self._overflow = overflow
        self._name = name
        self._fill = fill
        # Set while there may be room; who finds none clears it, under the lock.
        self._perhaps: Event = runtime.event()
        self.awaited = 0
        """How many threads wait. Read by who has the lock."""

    def deny(self) -> None:
        """Say that there is none. The caller holds the lock, so that it undoes no later word."""
        self._perhaps.clear()

    def allow(self) -> None:
        """Have those who wait look again."""
        self._perhaps.set()

    def wait(self, attempt: Callable[[], bool]) -> None:
        """Attempt something until there is room for it, if the policy is to wait.

        Args:
            attempt: returns whether there was.

        Raises:
            BufferFullError: there is none in time, or waiting will not do.
        """
        if self._overflow.on_full is OnFull.ERROR:
            raise self.refusal("wait to be sent")
        if self._lease.in_loop():
            raise self.refusal(
                "wait to be sent, and a callback on the loop thread cannot wait for them"
            )
        timeout = self._overflow.timeout
        deadline = None if timeout is None else self._now() + timeout
        # Ctrl-C just before or after "try" would leave one too many for good: a needless set().
        with self._lock:
            self.awaited += 1
        try:
            while not attempt():
                left = None if deadline is None else deadline - self._now()
                if (left is not None and left <= 0) or not self._perhaps.wait(left):
                    raise self.refusal(f"still wait to be sent after {timeout} s")
        finally:
            with self._lock:
                self.awaited -= 1

    def refusal(self, why: str) -> BufferFullError:
        """Make the error of who gets no room."""
        return BufferFullError(f"{self._name}: {self._fill()} {why}")
