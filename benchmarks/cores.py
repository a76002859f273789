"""Keeping a contender to one core of the processor."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps

from benchmarks.model import Config, Figures

__all__ = ["CAN_CHOOSE", "on_one"]

CAN_CHOOSE = hasattr(os, "sched_setaffinity")
"""Whether the system lets a program choose; macOS and Windows do not, or not so."""


def on_one(run: Callable[[Config], Figures]) -> Callable[[Config], Figures]:
    """Have a contender run on one core: its thread, and all threads that it starts."""

    @wraps(run)
    def pinned(config: Config) -> Figures:
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            return run(config)
        finally:
            os.sched_setaffinity(0, cores)

    return pinned
