"""How a simulation's loop is emptied, and how its failures read."""

from __future__ import annotations

import gc
import itertools
import traceback
from typing import Any

from rxplus_testing._loop import VirtualLoop

__all__ = ["Collector", "cancel_tasks", "describe_failure"]

_ROUNDS = 20
_TURNS = 1_000

_FROZEN_AT_START = gc.get_freeze_count()
"""Python 3.12 freezes a few hundred objects by itself."""


_TURNS_TO_FULL = 100
"""A full collection now and then: what a simulation leaves is older than the next one, which does
not look at it, and by collecting at its end keeps Python from doing so by itself."""

_turn = itertools.count(1)


class Collector:
    """Finds the garbage that was made since, and does not look at anything older.

    A full collection takes about 20 ms in a process that has loaded pytest,
    many times as long as a short simulation.
    """

    def __init__(self) -> None:
        if next(_turn) % _TURNS_TO_FULL == 0:
            gc.collect()
        # A simulation within another, or somebody else, has frozen more already.
        self._froze = gc.get_freeze_count() <= _FROZEN_AT_START
        if self._froze:
            gc.freeze()

    def collect(self) -> None:
        """Collect, once."""
        gc.collect()
        if self._froze:
            self._froze = False
            gc.unfreeze()


def cancel_tasks(loop: VirtualLoop) -> None:
    """Cancel every task, oldest first, and let it end; one that refuses is reported.

    No virtual time passes: a task that waits in its clean-up is cancelled again.
    """
    for _ in range(_ROUNDS):
        tasks = loop.pending_tasks()
        for task in tasks:
            task.cancel()
        if not tasks and not _drain(loop):
            return
        _drain(loop)
    loop.failures += [
        {"message": f"task {task.get_name()} does not let itself be cancelled"}
        for task in loop.pending_tasks()
    ]


def _drain(loop: VirtualLoop) -> bool:
    """Run what is ready, within reason; tell whether there was anything."""
    ran = False
    for _ in range(_TURNS):
        if not loop.turn():
            break
        ran = True
    return ran


def describe_failure(context: dict[str, Any]) -> str:
    """Return what the loop's exception handler was told, with the traceback if there is one."""
    message = str(context.get("message", "unhandled exception"))
    task = context.get("task") or context.get("future")
    if task is not None and hasattr(task, "get_name"):
        message = f"{message} (task {task.get_name()})"
    error = context.get("exception")
    if not isinstance(error, BaseException):
        return message
    text = "".join(traceback.format_exception(error)).rstrip()
    return f"{message}\n{text}"
