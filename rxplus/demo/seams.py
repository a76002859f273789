"""What the demo stands on, so that a test can put other things there."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from reactivex import abc
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxplus import Lease, Runtime, ThreadRuntime, Transport
from rxplus.demo.readings import Machine, find_machine

__all__ = ["Seams", "on_loop"]


@dataclass(frozen=True, kw_only=True)
class Seams:
    """Everything that would make two runs differ.

    Args:
        clients: where client and group run, on one thread.
        server: where the server runs.
        transport: how they reach each other; ``None`` is real WebSockets.
        scheduler: makes the scheduler of a loop, for operators that take time.
        machine: where readings come from.
        stream: where to print; ``None`` is the standard output.
    """

    clients: Runtime = field(default_factory=lambda: ThreadRuntime("rxplus demo clients"))
    server: Runtime = field(default_factory=lambda: ThreadRuntime("rxplus demo server"))
    transport: Transport | None = None
    scheduler: Callable[[AbstractEventLoop], abc.SchedulerBase] = AsyncIOThreadSafeScheduler
    machine: Machine = field(default_factory=find_machine)
    stream: TextIO | None = None


def on_loop(runtime: Runtime, lease: Lease, action: Callable[[], object]) -> None:
    """Have something done on the loop thread and wait for it.

    A subscription that is disposed of there has nothing under way afterwards.
    """
    done = runtime.event()

    def act() -> None:
        try:
            action()
        finally:
            done.set()

    if lease.call_soon(act):
        done.wait()
