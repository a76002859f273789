"""What a component counts. Plain numbers: telemetry and ``health()`` read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Health", "Stats"]


@dataclass(slots=True)
class Stats:
    """Totals since the component was made, written on the loop thread only."""

    connections: int = 0
    """Open now."""
    connections_opened: int = 0
    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    reconnects: int = 0
    handshake_failures: int = 0
    errors: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    """Messages lost, by reason."""
    queue: Callable[[], int] = lambda: 0
    """Tells how many messages wait to be sent. Any thread."""
    ping: Callable[[], float | None] = lambda: None
    """Tells the last round-trip time in seconds. Any thread."""

    def add(self, other: Stats) -> None:
        """Add the totals of another component to these."""
        for name in _TOTALS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.losses.update(other.losses)

    @property
    def queued_messages(self) -> int:
        """Messages that wait to be sent, now."""
        return self.queue()

    @property
    def latency(self) -> float | None:
        """The last round-trip time in seconds; ``None`` before there is one."""
        return self.ping()


_TOTALS = (
    "connections",
    "connections_opened",
    "messages_in",
    "bytes_in",
    "messages_out",
    "bytes_out",
    "reconnects",
    "handshake_failures",
    "errors",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at a component. Sizes in bytes, times in seconds.

    Attributes:
        name: of the component.
        kind: ``"server"``, ``"client"`` or ``"group"``.
        healthy: whether it does its work now: a server that listens, a client
            that is connected, a group all of whose clients are.
        state: ``"open"``, ``"closing"`` or ``"closed"``; for a client that is
            open, its connection state.
        uptime: since it was made.
        connections: open now.
        connections_opened: since it was made.
        messages_in: received.
        messages_out: given to the transport, once per peer of a broadcast.
        bytes_in: of messages received.
        bytes_out: of messages given to the transport.
        queued_messages: that wait to be sent.
        queued_bytes: of those.
        losses: messages lost, by reason.
        errors: reported on ``errors``.
        reconnects: attempts to connect again.
        handshake_failures: attempts that failed, or requests that were refused.
        latency: last round-trip time measured; ``None`` before there is one.
        paths: connections by path.
    """

    name: str
    kind: str
    healthy: bool
    state: str
    uptime: float
    connections: int
    connections_opened: int
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    queued_messages: int
    queued_bytes: int
    losses: Mapping[str, int]
    errors: int
    reconnects: int
    handshake_failures: int
    latency: float | None
    paths: Mapping[str, int]
