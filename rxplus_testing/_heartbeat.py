"""Pings: those that a user asks for, and those that find out whether the peer lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from rxplus_testing._rxplus import ConnectionClosedError, WireOptions

__all__ = ["Heartbeat"]


class _Sent(NamedTuple):
    at: float
    answer: asyncio.Future[float] | None


class Heartbeat:
    """Sends pings, matches the answers, and says when the peer is silent.

    It works with timers rather than a task, so that a connection at rest leaves
    a simulation idle.

    Args:
        send: puts a ping of the given number on the wire.
        progress: how many bytes the peer has taken so far; ``None`` when this
            side does not read, so that the answer may be there unread.
        on_silence: called once when a keepalive ping was not answered in time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: WireOptions,
        *,
        send: Callable[[int], None],
        progress: Callable[[], int | None],
        on_silence: Callable[[], None],
    ) -> None:
        self.latency: float | None = None
        self._loop = loop
        self._interval = options.ping_interval
        self._timeout = options.ping_timeout
        self._send = send
        self._progress = progress
        self._on_silence = on_silence
        self._serial = 0
        self._sent: dict[int, _Sent] = {}
        # The keepalive ping that is under way.
        self._probe: int | None = None
        self._seen_progress: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beat_at(loop.time())

    def ping(self) -> asyncio.Future[float]:
        """Send a ping; the result is its round-trip time."""
        answer: asyncio.Future[float] = self._loop.create_future()
        self._send_ping(answer)
        return answer

    def answered(self, serial: int) -> None:
        """Take the pong of one ping."""
        sent = self._sent.pop(serial)
        self.latency = self._loop.time() - sent.at
        if sent.answer is not None and not sent.answer.done():
            sent.answer.set_result(self.latency)
        if serial == self._probe:
            self._probe = None
            self._beat_at(sent.at)

    def stop(self, error: ConnectionClosedError) -> None:
        """Send nothing more, and fail the pings that were not answered with ``error``."""
        self._cancel_timer()
        sent, self._sent = self._sent, {}
        for _, answer in sent.values():
            if answer is not None and not answer.done():
                answer.set_exception(error)
                # Whoever waited may have been cancelled meanwhile; that is no failure.
                answer.exception()

    def _send_ping(self, answer: asyncio.Future[float] | None) -> int:
        self._serial += 1
        self._sent[self._serial] = _Sent(self._loop.time(), answer)
        self._send(self._serial)
        return self._serial

    def _beat_at(self, previous: float) -> None:
        """Send the next keepalive ping one interval after the previous."""
        self._cancel_timer()
        if self._interval is not None:
            self._timer = self._loop.call_at(previous + self._interval, self._beat)

    def _beat(self) -> None:
        self._probe = self._send_ping(None)
        if self._timeout is None:
            self._beat_at(self._loop.time())
        else:
            self._wait_for_pong(self._timeout)

    def _wait_for_pong(self, timeout: float) -> None:
        self._seen_progress = self._progress()
        self._timer = self._loop.call_later(timeout, self._overdue, timeout)

    def _overdue(self, timeout: float) -> None:
        progress = self._progress()
        if progress is None or progress != self._seen_progress:
            # The pong may be unread here, or the ping behind messages on a slow link.
            self._wait_for_pong(timeout)
        else:
            self._on_silence()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
