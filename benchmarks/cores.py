"""What a contender may do with the cores of the processor."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from benchmarks.model import Config, Figures

__all__ = ["CAN_CHOOSE", "CAN_KEEP_AWAKE", "awake", "on_one"]

CAN_CHOOSE = hasattr(os, "sched_setaffinity")
"""Whether the system lets a program choose; macOS and Windows do not, or not so."""

# Linux: as long as it is open, no core may sleep so deeply that it takes more than the
# microseconds written to it to wake up (kernel documentation, "PM Quality Of Service Interface").
_LATENCY = Path("/dev/cpu_dma_latency")


def _can_keep_awake() -> bool:
    # Tried, not looked up: root is told that it may write even where a container forbids it.
    try:
        _LATENCY.open("wb", buffering=0).close()
    except OSError:
        return False
    return True


CAN_KEEP_AWAKE = _can_keep_awake()
"""Whether this process may keep cores from sleeping; on most systems root may."""


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


def awake(run: Callable[[Config], Figures]) -> Callable[[Config], Figures]:
    """Have a contender run on cores that do not sleep when they have nothing to do."""

    @wraps(run)
    def kept(config: Config) -> Figures:
        with _LATENCY.open("wb", buffering=0) as device:
            device.write(struct.pack("i", 0))
            return run(config)

    return kept
