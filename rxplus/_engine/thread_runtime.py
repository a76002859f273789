"""The real runtime: components hold a loop on a daemon thread, as long as one of them needs it."""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rxplus._engine.loop_thread import LoopFactory, LoopThread

if TYPE_CHECKING:
    from rxplus.runtime import BeginExit, Event, Lease, Lock, Runtime

__all__ = ["ThreadRuntime"]

DEFAULT_NAME = "rxplus"


def _default_loop() -> asyncio.AbstractEventLoop:
    """Make the fastest loop that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class ThreadRuntime:
    """A :class:`rxplus.runtime.Runtime` that runs one loop on a daemon thread of its own.

    The thread starts with the first lease and ends when the last one is released; a later
    lease starts a new one. There is nothing to close. All methods may be called from any thread.

    Args:
        name: of the thread, for people.
        loop_factory: makes the loop, such as ``asyncio.SelectorEventLoop`` or
            ``uvloop.new_event_loop``; ``None``: uvloop's where it is installed
            (``pip install rxplus[fast]``), else asyncio's.
    """

    # The function itself: a method around it would more than double its cost.
    now = staticmethod(time.monotonic)

    def __init__(self, name: str | None = None, *, loop_factory: LoopFactory | None = None) -> None:
        self._name = DEFAULT_NAME if name is None else name
        self._loop_factory = loop_factory or _default_loop
        self._random = random.Random()  # noqa: S311 - for jitter, not for secrets
        # Reentrant: the garbage collector may run a component's __del__ in the middle of
        # acquire(), and that releases a lease.
        self._lock = threading.RLock()
        self._current: LoopThread | None = None

    @property
    def random(self) -> random.Random:
        """The generator that jitter is drawn from, seeded by the system."""
        return self._random

    def lock(self) -> Lock:
        """Make a lock."""
        return threading.Lock()

    def event(self) -> Event:
        """Make an event, not set. Ctrl-C interrupts a wait for it on the main thread."""
        return threading.Event()

    def acquire(self) -> Lease:
        """Take a lease on the loop, which is started if it does not run.

        Raises:
            RuntimeError: no thread or no loop can be had, for want of resources or because the
                interpreter exits.
        """
        with self._lock:
            while True:
                thread = self._current
                # One that is dead all the same was left behind by a fork.
                if thread is None or not thread.is_alive():
                    thread = self._current = LoopThread(self._name, self._loop_factory)
                thread.leases += 1
                if thread is self._current:  # not stopped by a __del__ meanwhile
                    return ThreadLease(self, thread)

    def give_up(self, lease: ThreadLease) -> None:
        """Take back a lease, and end the thread with the last one."""
        with self._lock:
            if lease.released:
                return
            lease.released = True
            thread = lease.thread
            thread.leases -= 1
            if thread.leases:
                return
            lease.was_last = True
            if self._current is thread:
                self._current = None
        thread.stop()

    def token(self) -> str:
        """Make a name that nobody can guess, of 128 bits from the system's generator."""
        return secrets.token_urlsafe(16)

    def at_exit(self, begin: BeginExit) -> Callable[[], None]:
        """See :meth:`rxplus.runtime.Runtime.at_exit`. It is called on the main thread.

        The registration holds ``begin`` strongly until it is taken back.
        """
        key = object()
        _exits[key] = begin
        return lambda: _exits.pop(key, None) and None

    def __repr__(self) -> str:
        return f"<ThreadRuntime {self._name!r}>"


_exits: dict[object, BeginExit] = {}
"""What is to be shut down when the interpreter exits."""


@atexit.register
def _exit() -> None:
    """Begin everything before waiting for anything: the deadlines then run at the same time."""
    waits = [begin() for begin in list(_exits.values())]
    for wait in waits:
        wait()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    # A child has none of the threads that could shut its parent's components down, and would
    # wait for each of them in vain.
    os.register_at_fork(after_in_child=_exits.clear)


class ThreadLease:
    """A :class:`rxplus.runtime.Lease` on a :class:`LoopThread`."""

    __slots__ = ("_runtime", "released", "thread", "was_last")

    def __init__(self, runtime: ThreadRuntime, thread: LoopThread) -> None:
        self._runtime = runtime
        self.thread = thread
        self.released = False
        self.was_last = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop. Only code that runs on it may touch it."""
        return self.thread.loop

    def in_loop(self) -> bool:
        """Tell whether the caller runs on the loop thread."""
        return self.thread.in_loop()

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Have ``callback(*args)`` called on the loop thread, in order of the calls.

        Returns:
            False after :meth:`release`, and when the loop has ended; the call is not made then.
        """
        return not self.released and self.thread.call_soon(callback, *args)

    def release(self) -> None:
        """Give the loop up. Once nobody holds it, it stops and its thread ends.

        Calls handed over before are made first; tasks that still run are cancelled. Releasing
        twice is harmless.
        """
        self._runtime.give_up(self)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the loop thread has ended, if this was its last lease.

        On the loop thread itself it returns at once. On the main thread Ctrl-C interrupts it.

        Args:
            timeout: seconds; ``None`` waits for ever.

        Returns:
            False when the time was not enough.
        """
        if not self.was_last or self.in_loop():
            return True
        return self.thread.join(timeout)


if TYPE_CHECKING:

    def _conforms(runtime: ThreadRuntime, lease: ThreadLease) -> tuple[Runtime, Lease]:
        """Let the type checker compare the classes with the interfaces."""
        return runtime, lease
