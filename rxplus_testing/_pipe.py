"""One direction of a link: it keeps the order, takes its time, and loses nothing by itself."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from rxplus_testing._faults import (
    Bandwidth,
    Cut,
    Direction,
    Faults,
    Hold,
    Latency,
    SlowClose,
    check_duration,
)
from rxplus_testing._traffic import Traffic

__all__ = ["Conditions", "Medium", "Pipe"]

T = TypeVar("T")


class Conditions:
    """How the network treats what is on its way, by server port: as rules say, or by default.

    Args:
        latency: seconds each way, where no rule says otherwise.
        faults: the rules.
        seed: decides the jitter.
    """

    def __init__(self, latency: float, faults: Faults, seed: int) -> None:
        self._latency: dict[int | None, float] = {}
        self.set_latency(latency, None)
        self._faults = faults
        self._random = random.Random(seed)  # noqa: S311 - the same in each run

    def latency(self, port: int | None) -> float:
        """Return the seconds that one way takes by default."""
        return self._latency.get(port, self._latency[None])

    def set_latency(self, seconds: float, port: int | None) -> None:
        """Set the latency of one port, or with ``None`` of those not set on their own."""
        check_duration("latency", seconds)
        self._latency[port] = seconds

    def delay(self, port: int) -> float:
        """Return the seconds that this piece takes, jitter included."""
        rule = self._faults.first(Latency, port)
        if rule is None:
            return self.latency(port)
        return rule.seconds + (self._random.uniform(0, rule.jitter) if rule.jitter else 0.0)

    def bandwidth(self, port: int) -> float | None:
        """Return the bytes a second of one direction; ``None`` when it is not limited."""
        rule = self._faults.first(Bandwidth, port)
        return None if rule is None else rule.bytes_per_second

    def held(self, port: int, direction: Direction) -> bool:
        """Tell whether nothing may be delivered."""
        holds = self._faults.each(Hold, port)
        return any(hold.direction in ("both", direction) for hold in holds)

    def closing_delay(self, port: int) -> float:
        """Return how many seconds longer the end of a connection takes."""
        rule = self._faults.first(SlowClose, port)
        return 0.0 if rule is None else rule.seconds


@dataclass(frozen=True, slots=True)
class Medium:
    """What all links of a network share."""

    loop: asyncio.AbstractEventLoop
    conditions: Conditions
    faults: Faults
    traffic: Traffic


class Pipe(Generic[T]):
    """Carries items one way, in order, with one timer.

    Args:
        medium: how it has to treat them.
        port: the link's server port.
        direction: where it leads.
        sink: takes an item that has arrived.
        on_cut: called when the place has arrived at which a fault cuts the link.
        on_rest: called behind items that have arrived together.
    """

    def __init__(
        self,
        medium: Medium,
        port: int,
        direction: Direction,
        sink: Callable[[T], None],
        on_cut: Callable[[], None],
        on_rest: Callable[[], None] = lambda: None,
    ) -> None:
        self.direction: Direction = direction
        self._loop = medium.loop
        self._conditions = medium.conditions
        self._port = port
        self._sink = sink
        self._on_cut = on_cut
        self._on_rest = on_rest
        self._queue: deque[tuple[float, Callable[[], None], T | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # When the last item will have left, and when it will arrive: nothing overtakes it.
        self._free_at = 0.0
        self._last_due = 0.0
        # Bytes until a fault cuts the link; nothing gets in after the cut.
        self._left: int | None = None
        self._is_cut = False

    def cut_after(self, fault: Cut | None) -> None:
        """Have the link cut after a number of bytes, if the fault is meant for this direction."""
        if fault is not None and fault.direction == self.direction:
            self._left = fault.after

    def until_cut(self, size: int) -> int:
        """Return how many of ``size`` bytes get through before a cut."""
        return size if self._left is None else min(size, self._left)

    def put(self, item: T, size: int = 0, *, is_end: bool = False) -> None:
        """Send ``item``, of ``size`` bytes, on its way; ``is_end``: nothing follows it."""
        if self._is_cut:
            return
        if size > self.until_cut(size):
            self._is_cut = True
            self._enqueue(0, 0.0, self._on_cut, None)
            return
        if self._left is not None:
            self._left -= size
        extra = self._conditions.closing_delay(self._port) if is_end else 0.0
        self._enqueue(size, extra, lambda: self._sink(item), item)

    def _enqueue(self, size: int, extra: float, arrive: Callable[[], None], item: T | None) -> None:
        now = self._loop.time()
        bandwidth = self._conditions.bandwidth(self._port)
        self._free_at = max(now, self._free_at) + (size / bandwidth if bandwidth else 0.0)
        due = self._free_at + self._conditions.delay(self._port) + extra
        self._last_due = max(due, self._last_due)
        self._queue.append((self._last_due, arrive, item))
        self.arm()

    def clear(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()

    def keep(self, count: int) -> None:
        """Lose what is on its way, but for the first ``count`` items."""
        self._queue = deque(itertools.islice(self._queue, count))

    def under_way(self) -> Iterator[T | None]:
        """Iterate over the items that have not arrived; a cut is ``None``."""
        return (item for _, _, item in self._queue)

    def describe(self) -> list[str]:
        """Return when each item is due that has not arrived, and what it is, a line each."""
        held = "held, " if self._conditions.held(self._port, self.direction) else ""
        return [f"{held}due {due:.6f}: {_shown(item)}" for due, _, item in self._queue]

    def arm(self) -> None:
        """See to it that the head of the queue is delivered when it is due."""
        held = self._conditions.held(self._port, self.direction)
        if self._timer is None and self._queue and not held:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        while self._queue and self._queue[0][0] <= self._loop.time():
            if self._conditions.held(self._port, self.direction):
                break
            self._queue.popleft()[1]()
        self._on_rest()
        self.arm()


def _shown(item: object) -> str:
    if item is None:
        return "the end of the connection"
    return f"{len(item)} bytes" if isinstance(item, bytes) else str(item)
