"""The threads of a simulation, and what they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rxplus_testing._sites import describe_thread

__all__ = ["BatonThread", "Killed", "Wait"]


class Killed(BaseException):
    """Ends a thread whose simulation has ended; nothing but the thread's own end catches it."""


def _never() -> bool:
    return False


def _no_deadline() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a thread waits for.

    Attributes:
        why: for people.
        ready: whether it can go on; called by any thread, between two steps.
        deadline: when it goes on all the same; ``None``: never.
        last: whether it goes on only when no other thread can.
        hopeful: whether the deadline is an event like any other. One that is not
            does not keep a simulation going that is dead otherwise.
    """

    why: str
    ready: Callable[[], object] = _never
    deadline: Callable[[], float | None] = _no_deadline
    last: bool = False
    hopeful: bool = True


class BatonThread:
    """A thread that runs when it has the baton."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ident: int | None = None
        self.gate = threading.Lock()
        self.gate.acquire()
        self.wait: Wait | None = None
        self.interrupt: BaseException | None = None
        self.begun = False
        self.thread: threading.Thread | None = None

    def can_run(self, now: float) -> bool:
        """Tell whether it has something to do."""
        wait = self.wait
        if wait is None or wait.ready():
            return True
        due = wait.deadline()
        return due is not None and due <= now

    def describe(self) -> str:
        """Return what it waits for, and where."""
        why = "can run" if self.wait is None else self.wait.why
        return f"  thread {self.name}: {why} at {describe_thread(self.ident)}"
