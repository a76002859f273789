"""Threads, tasks and sockets that somebody forgot."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import gc
import socket
import sysconfig
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TypeVar

import rxplus
from rxplus_testing._errors import LeakError
from rxplus_testing._sites import describe_task, short_path

__all__ = ["no_leaks"]

T = TypeVar("T")

_FRAMES = 25
"""Callers remembered of each allocation: enough to get out of asyncio and rxplus."""

_DESCRIPTORS = Path("/proc/self/fd")

_STANDARD = (sysconfig.get_path("stdlib"), "<frozen")
_LIBRARIES = (*_STANDARD, sysconfig.get_path("purelib"), str(PurePath(rxplus.__file__).parent))


@contextmanager
def no_leaks(*, grace: float = 1.0, ignore: Collection[str] = ()) -> Iterator[None]:
    """Check that the block leaves no thread, task or socket behind.

    A leak is named with the line that made it. To know that, memory is traced
    during the block, which slows it down a few times.

    Args:
        grace: seconds that threads may take to end by themselves.
        ignore: patterns, such as ``"pool-*"``, of the names of threads and tasks
            that may stay.

    Raises:
        LeakError: something was left. Not when the block itself raises.
    """
    before = weakref.WeakSet([*_threads(), *_tasks(), *_sockets()])
    descriptors = _socket_descriptors()
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start(_FRAMES)
    try:
        yield
        _wait_for_threads(before, grace)
        leaks = _describe_leaks(before, ignore)
        leaks += _describe_descriptors(descriptors)
    finally:
        if not traced:
            tracemalloc.stop()
    if leaks:
        raise LeakError("left behind:\n" + "\n".join(leaks))


def _threads() -> list[Any]:
    return list(threading.enumerate())


def _tasks() -> list[Any]:
    # What is pending on a loop that is closed will never do anything.
    tasks = _alive(asyncio.Task)
    return [one for one in tasks if not one.done() and not one.get_loop().is_closed()]


def _sockets() -> list[Any]:
    return [one for one in _alive(socket.socket) if one.fileno() != -1]


def _alive(kind: type[T]) -> list[T]:
    """Return every object of a class, whichever loop or thread it belongs to."""
    # type() and not isinstance(): the latter asks proxies what they stand for.
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _wait_for_threads(before: Collection[object], grace: float) -> None:
    end = time.monotonic() + grace
    for thread in _new(_threads(), before):
        thread.join(max(0.0, end - time.monotonic()))


def _describe_leaks(before: Collection[object], ignore: Collection[str]) -> list[str]:
    # What nobody refers to is not left open but lost: Python itself tells of that.
    gc.collect()
    found: list[tuple[Callable[[], list[Any]], Callable[[Any], tuple[str, str]]]] = [
        (_threads, lambda thread: (thread.name, f"thread {thread.name}")),
        (_tasks, lambda task: (task.get_name(), f"task {describe_task(task)}")),
        (_sockets, lambda sock: ("", f"socket {_describe_socket(sock)}")),
    ]
    return [
        f"  {text}, made at {_made_at(one)}"
        for find, describe in found
        for one in _new(find(), before)
        for name, text in [describe(one)]
        if not any(fnmatch.fnmatch(name, pattern) for pattern in ignore)
    ]


def _new(things: list[Any], before: Collection[object]) -> list[Any]:
    return [one for one in things if one not in before]


def _socket_descriptors() -> dict[str, str]:
    """Return the sockets that this process has open; nothing where the system does not tell."""
    found = {}
    for entry in _DESCRIPTORS.iterdir() if _DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # the one that iterdir() itself had open
            target = str(entry.readlink())
            if target.startswith("socket:"):
                found[target] = entry.name
    return found


def _describe_descriptors(before: dict[str, str]) -> list[str]:
    """Name what is left of the sockets that Python does not know, such as those of uvloop."""
    known = {str(sock.fileno()) for sock in _sockets()}
    return [
        f"  socket fd {number}, made by a library"
        for target, number in _socket_descriptors().items()
        if target not in before and number not in known
    ]


def _describe_socket(sock: socket.socket) -> str:
    try:
        remote = f"connected to {sock.getpeername()}"
    except OSError:
        remote = "not connected"
    return f"{sock.family.name}, fd {sock.fileno()}, at {sock.getsockname()}, {remote}"


def _made_at(thing: object) -> str:
    trace = tracemalloc.get_object_traceback(_traceable(thing))
    if trace is None:
        return "an unknown place"
    frames = list(reversed(trace))  # newest first
    for libraries in (_LIBRARIES, _STANDARD):
        for frame in frames:
            if not frame.filename.startswith(libraries):
                return f"{short_path(frame.filename)}:{frame.lineno}"
    return f"{short_path(frames[0].filename)}:{frames[0].lineno}"


def _traceable(thing: object) -> object:
    """Return what was allocated together with ``thing``, and is known to tracemalloc.

    Before Python 3.12 it does not find objects that have a ``__dict__``.
    """
    started = getattr(thing, "_started", None) if isinstance(thing, threading.Thread) else None
    return started._cond._waiters if started is not None else thing
