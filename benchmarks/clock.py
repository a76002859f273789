"""Measuring time: on the clock, and on the processor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Self

from benchmarks.model import Figures

__all__ = ["Stopwatch", "latency"]


class Stopwatch:
    """Times its ``with`` block, on the clock and on the processor (all threads together).

    Processor time does not count what other programs take away meanwhile.
    """

    wall = 0.0
    cpu = 0.0

    def __enter__(self) -> Self:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu

    def lap(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._wall

    def rate(self, count: int, unit: str = "msg") -> Figures:
        """Return what ``count`` things in that time make."""
        return {f"{unit}/s": count / self.wall, f"CPU us/{unit}": 1e6 * self.cpu / count}


def latency(seconds: Sequence[float]) -> Figures:
    """Return median and 99th percentile, in microseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50 us": 1e6 * cuts[49], "p99 us": 1e6 * cuts[98]}
