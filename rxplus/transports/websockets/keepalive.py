"""Pings, and the end of connections on which no pong comes back."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from websockets.frames import CloseCode
from websockets.protocol import OPEN

from rxplus.transports.websockets.inbound import Inbound

__all__ = ["NEVER_MEASURED", "Keepalive"]

NEVER_MEASURED = -1.0
"""A round-trip time before the first pong; 0.0 is a real one, under a simulated clock."""


class Keepalive(Inbound):
    """Pings the peer, once started, and fails the connection when it does not answer.

    The library's own is a task per connection, takes a pong for missing when it cannot arrive
    because this side does not read, and waits for ever for a write buffer that a vanished peer
    does not drain.
    """

    # Defaults on the class: an idle connection holds only what it needs.

    _ping_timer: asyncio.TimerHandle | None = None
    _ping_count = 0

    # Whether reading was paused since a pong was last found overdue. Who has only just resumed
    # has not yet seen what was there by then.
    _was_deaf = False

    # Bytes given to the transport, and how many of them the system had taken when the last ping
    # was looked after.
    _written = 0
    _taken = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latency = NEVER_MEASURED

    @property
    def is_open(self) -> bool:
        return self.protocol.state is OPEN and not self.transport.is_closing()

    @property
    def is_deaf(self) -> bool:
        """Whether a pong may be there unread. What is built on this knows."""
        raise NotImplementedError

    def fail(self, code: CloseCode, reason: str, error: BaseException) -> None:
        """Close because of what the peer did. What is built on this says how."""
        raise NotImplementedError

    def send_ping(self) -> asyncio.Future[float]:
        pong: asyncio.Future[float] = self.loop.create_future()
        self._ping_count += 1
        payload = struct.pack("!Q", self._ping_count)
        self.pending_pings[payload] = (pong, self.loop.time())
        self.protocol.send_ping(payload)
        self.send_data()
        return pong

    def start_keepalive(self) -> None:
        if self.ping_interval is not None:
            self._ping_timer = self.loop.call_later(self.ping_interval, self._keepalive)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None

    def _keepalive(self) -> None:
        if not self.is_open or self.ping_interval is None:
            return
        sent_at = self.loop.time()
        pong = self.send_ping()
        if self.ping_timeout is None:
            self.start_keepalive()
            return
        pong.add_done_callback(lambda _: self._next_keepalive(sent_at))
        self._look_after(pong, self.ping_timeout)

    def _look_after(self, pong: asyncio.Future[float], timeout: float) -> None:
        self._taken = self._count_taken()
        self._was_deaf = self.is_deaf
        self._ping_timer = self.loop.call_later(timeout, self._overdue, pong)

    def _next_keepalive(self, sent_at: float) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        if self.is_open and self.ping_interval is not None:
            self._ping_timer = self.loop.call_at(sent_at + self.ping_interval, self._keepalive)

    def _overdue(self, pong: asyncio.Future[float]) -> None:
        if not self.is_open or self.ping_timeout is None:
            return
        moving = self._count_taken() > self._taken and self.transport.get_write_buffer_size() > 0
        if self._was_deaf or moving:
            # The pong may be there unread, or the ping not be out yet on a slow link.
            self._look_after(pong, self.ping_timeout)
            return
        text = "keepalive ping timeout"
        self.fail(CloseCode.INTERNAL_ERROR, text, TimeoutError(text))

    def _count_taken(self) -> int:
        return self._written - self.transport.get_write_buffer_size()
