"""What a simulation did, step by step: what two runs of one seed must agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Trace", "TracePoint"]


class TracePoint(NamedTuple):
    """One step.

    Attributes:
        time: the virtual time, in seconds.
        thread: the name of the thread that got there; ``"test"`` is the test's own.
        point: what it was about to do.
    """

    time: float
    thread: str
    point: str

    def __str__(self) -> str:
        return f"{self.time:.6f} {self.thread}: {self.point}"


class Trace:
    """The steps of a run, oldest first. Equal when all steps are.

    Args:
        clock: tells the virtual time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._points: list[TracePoint] = []

    def add(self, thread: str, point: str) -> None:
        """Append a step that happens now."""
        self._points.append(TracePoint(self._clock(), thread, point))

    def tail(self, count: int = 30) -> str:
        """Return the last ``count`` steps as text, a line each."""
        return "\n".join(map(str, self._points[-count:]))

    def differs_at(self, other: Trace) -> int | None:
        """Return the first step at which two runs differ; ``None`` when they do not."""
        for index, (mine, theirs) in enumerate(zip(self._points, other._points, strict=False)):
            if mine != theirs:
                return index
        shorter = min(len(self), len(other))
        return None if len(self) == len(other) else shorter

    def __getitem__(self, index: int) -> TracePoint:
        return self._points[index]

    def __iter__(self) -> Iterator[TracePoint]:
        return iter(tuple(self._points))

    def __len__(self) -> int:
        return len(self._points)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self._points == other._points

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<Trace, {len(self)} steps>\n{self.tail()}"
