"""Calls to a loop from other threads (docs/adr/0019)."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection
from contextvars import Context, copy_context
from typing import Any, Protocol

__all__ = ["Outside", "outside_of"]


class Outside(Protocol):
    """Takes calls to a loop from other threads, as long as the loop is not closed."""

    @property
    def waiting(self) -> Collection[object]:
        """Calls that have not been made, and of which the loop itself does not know."""
        ...

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Have ``callback(*args)`` called on the loop, in order of the calls. Any thread."""

    def close(self) -> None:
        """Let go of the loop, before that is closed. Twice is harmless."""


class _Threadsafe:
    """Takes calls as every loop does."""

    waiting: Collection[object] = ()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_soon: Callable[..., object] = loop.call_soon_threadsafe

    def close(self) -> None:
        """There is nothing to let go of."""


class _Eventfd:
    """Takes calls for a loop of asyncio's own, in less time than that does.

    That writes to a socket, which it then reads twice, and it is on a thread that has just been
    woken up, when everything takes its time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: deque[tuple[Context, Callable[..., object], tuple[Any, ...]]] = deque()
        # It counts the calls that wait.
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            loop.add_reader(self._fd, self._make_calls)
        except BaseException:
            os.close(self._fd)
            raise

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> None:
        call = (copy_context(), callback, args)
        try:
            self.waiting.append(call)
        finally:  # Ctrl-C may come between the two
            os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd != -1:
            self._loop.remove_reader(fd)
            os.close(fd)

    def _make_calls(self) -> None:
        """Make the calls that waited when the loop woke up, and none that came since.

        Those have the loop wake up again. To make them now would leave it waking up for nothing,
        and what it then hands over before it finds that out would come after later calls.
        """
        try:
            left = os.eventfd_read(self._fd)
        except BlockingIOError:
            return  # the loop noticed twice, having been interrupted in between
        try:
            while left:
                left -= 1
                self._make(*self.waiting.popleft())
        except BaseException:
            os.eventfd_write(self._fd, left)  # of nothing it wakes up nobody
            raise

    def _make(
        self, context: Context, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        # Apart: a traceback that somebody keeps refers to what is here, and to no other call.
        try:
            context.run(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - asyncio leaves nothing else through
            # Not its repr, which may be the user's code.
            name = getattr(callback, "__qualname__", type(callback).__qualname__)
            problem = f"Exception in callback {name}()"
            self._loop.call_exception_handler({"message": problem, "exception": exc})


def outside_of(loop: asyncio.AbstractEventLoop) -> Outside:
    """Return what takes calls for a loop.

    Raises:
        OSError: there are no more file descriptors.
    """
    # Not for a subclass, which may have its own way to be called.
    if hasattr(os, "eventfd") and type(loop) is asyncio.SelectorEventLoop:
        return _Eventfd(loop)
    return _Threadsafe(loop)
