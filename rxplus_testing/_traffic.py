"""A readable log of what went over the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rxplus_testing._wire import FRAMES

__all__ = ["Traffic", "TrafficEntry"]


@dataclass(frozen=True, slots=True)
class TrafficEntry:
    """One thing that was put on the wire.

    Attributes:
        time: the virtual time at which it was sent, in seconds.
        direction: ``"c1 -> :9000"`` or ``":9000 -> c1"``; connections are
            numbered from 1 in the order in which they were attempted.
        payload: what was sent: a message, a close, a ping, and so on.
    """

    time: float
    direction: str
    payload: object

    def __str__(self) -> str:
        return f"{self.time:.6f} {self.direction} {self.payload}"


class Traffic:
    """The log, oldest first. It keeps the last ``limit`` entries.

    Args:
        limit: entries kept; ``None`` keeps all.
    """

    def __init__(self, limit: int | None = 10_000) -> None:
        self._entries: deque[TrafficEntry] = deque(maxlen=limit)

    def add(self, entry: TrafficEntry) -> None:
        """Append ``entry``."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget everything logged so far."""
        self._entries.clear()

    @property
    def frames(self) -> list[TrafficEntry]:
        """The entries that are WebSocket frames: messages, pings, pongs and closes."""
        return [entry for entry in self._entries if isinstance(entry.payload, FRAMES)]

    def snapshot(self) -> str:
        """Return the log as text, a line per entry."""
        return "\n".join(map(str, self._entries))

    def __iter__(self) -> Iterator[TrafficEntry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Traffic, {len(self)} entries>\n{self.snapshot()}"
