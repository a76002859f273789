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
        """Let go of the loop, before that is closed."""


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
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add_reader(self._fd, self._make_calls)

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> None:
        self.waiting.append((copy_context(), callback, args))
        os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _make_calls(self) -> None:
        """Make the calls that wait, each as the loop would."""
        os.eventfd_read(self._fd)
        for _ in range(len(self.waiting)):
            self._make_one(*self.waiting.popleft())

    def _make_one(
        self, context: Context, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        # Apart: a traceback that somebody keeps refers to what is here, and to no other call.
        try:
            context.run(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            os.eventfd_write(self._fd, 1)  # for the calls after it
            raise
        except BaseException as exc:  # noqa: BLE001 - asyncio leaves nothing else through
            problem = {"message": f"Exception in callback {callback!r}", "exception": exc}
            self._loop.call_exception_handler(problem)


def outside_of(loop: asyncio.AbstractEventLoop) -> Outside:
    """Return what takes calls for a loop.

    Raises:
        OSError: there are no more file descriptors.
    """
    if hasattr(os, "eventfd") and isinstance(loop, asyncio.SelectorEventLoop):
        return _Eventfd(loop)
    return _Threadsafe(loop)
