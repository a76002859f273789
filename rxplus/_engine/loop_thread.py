"""The real runtime: one daemon thread with an asyncio loop, and the only threading code."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from rxplus._engine.outside import outside_of

if TYPE_CHECKING:
    from rxplus.runtime import BeginExit, Event, Lease, Lock, Runtime

__all__ = ["ThreadRuntime"]

DEFAULT_NAME = "rxplus"

_logger = logging.getLogger("rxplus")

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


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
        self._current: _LoopThread | None = None

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
                    thread = self._current = _LoopThread(self._name, self._loop_factory)
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
    """A :class:`rxplus.runtime.Lease` on a :class:`_LoopThread`."""

    __slots__ = ("_runtime", "released", "thread", "was_last")

    def __init__(self, runtime: ThreadRuntime, thread: _LoopThread) -> None:
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


class _LoopThread:
    """One thread and its loop, from the start to the end of both.

    Raises:
        RuntimeError: it cannot be started.
    """

    __slots__ = (
        "_accepting",
        "_ended",
        "_gate",
        "_ident",
        "_outside",
        "_stopping",
        "_thread",
        "leases",
        "loop",
    )

    def __init__(self, name: str, loop_factory: LoopFactory) -> None:
        # The loop is made here, not on the thread, so that a failure reaches the caller.
        try:
            self.loop = loop_factory()
            try:
                self._outside = outside_of(self.loop)
            except BaseException:
                self.loop.close()
                raise
        except OSError as exc:
            raise RuntimeError("cannot make an event loop") from exc
        self.loop.set_exception_handler(_report)
        # How many hold it; guarded by the runtime's lock.
        self.leases = 0
        # Makes "may still be called" and "is handed over" one step, so that no call gets lost
        # between the loop's last turn and its closing. Reentrant, as the runtime's lock is.
        self._gate = threading.RLock()
        self._accepting = True
        self._stopping = False
        self._ended = threading.Event()
        # Of the thread, as long as it runs: idents are used again.
        self._ident: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except Exception:
            self._close()
            raise
        except BaseException:
            self.stop()  # Ctrl-C: it may have started
            raise

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def in_loop(self) -> bool:
        return threading.get_ident() == self._ident

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        if self.in_loop():
            if self._accepting:
                # After those of other threads that came before.
                taker = self._outside if self._outside.waiting else self.loop
                taker.call_soon(callback, *args)
            return self._accepting
        with self._gate:
            if self._accepting:
                self._outside.call_soon(callback, *args)
            return self._accepting

    def stop(self) -> None:
        self.call_soon(self._stop)

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    def _is_stopped(self) -> bool:
        return self._stopping

    def join(self, timeout: float | None) -> bool:
        if not self._ended.wait(timeout):
            return False
        self._thread.join()  # it has nothing left to do
        return True

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._serve(until=self._is_stopped)
            self._complete(self._cancel_tasks())
            self._complete(self.loop.shutdown_asyncgens())
            self._complete(self.loop.shutdown_default_executor())
            self._finish_calls()
        finally:
            with self._gate:
                self._accepting = False
            try:
                self._close()
            finally:
                self._ident = None
                self._ended.set()

    def _close(self) -> None:
        self._outside.close()
        self.loop.close()

    def _serve(self, until: Callable[[], bool]) -> None:
        """Run the loop. A callback may not end it for all who hold it, nor stop it early."""
        while not until():
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio lets these through; on this thread they can only come from a callback's
                # own code. Anything else is the loop's own failure, and trying again would not
                # help.
                _logger.exception("a callback tried to end the loop thread")

    def _complete(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        task.add_done_callback(lambda _: self.loop.stop())
        self._serve(until=task.done)
        task.result()

    def _finish_calls(self) -> None:
        """Accept no further calls, make those accepted, and end what these began."""
        with self._gate:
            self._accepting = False
        self._stopping = False
        self._outside.call_soon(self._stop)
        self._serve(until=self._is_stopped)
        self._complete(self._cancel_tasks())

    async def _cancel_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught on the loop."""
    # A client's failed TLS handshake: asyncio tells of it in debug mode only.
    message = context.get("message", "unhandled exception on the loop")
    level = logging.DEBUG if message == _FAILED_ACCEPT else logging.ERROR
    details = [f"{key}: {value!r}" for key, value in context.items() if key not in _SHOWN]
    text = "\n".join((message, *details))
    _logger.log(level, "%s", text, exc_info=context.get("exception"))


_FAILED_ACCEPT = "Error on transport creation for incoming connection"
_SHOWN = frozenset(("message", "exception", "source_traceback"))


if TYPE_CHECKING:

    def _conforms(runtime: ThreadRuntime, lease: ThreadLease) -> tuple[Runtime, Lease]:
        """Let the type checker compare the classes with the interfaces."""
        return runtime, lease
