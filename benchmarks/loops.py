"""Event loops for contenders that are asyncio code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from benchmarks.model import Config

__all__ = ["loop_factory", "run"]

T = TypeVar("T")


def loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes an event loop."""
    if not config.uvloop:
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def run(config: Config, main: Coroutine[None, None, T]) -> T:
    """Run a coroutine on a loop of its own."""
    with asyncio.Runner(loop_factory=loop_factory(config)) as runner:
        return runner.run(main)
