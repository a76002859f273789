"""The far end of a connection, without rxplus: for scripted peers, and for the contract."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from rxplus_testing._rxplus import Payload

__all__ = ["Breaches", "Closed", "Line"]


class Closed(NamedTuple):
    """How a line ended: the code that arrived, or 1006."""

    code: int
    reason: str = ""


class Breaches:
    """What :meth:`Line.breach` can do wrong, as ``(code, reason)`` of the answer."""

    BAD_UTF8 = (1007, "a text message that is not UTF-8")
    MALFORMED = (1002, "a frame of a kind that does not exist")


class Line(ABC):
    """One connection, seen from an end that does as it is told and nothing else.

    It answers pings and closes, as long as it reads.

    Attributes:
        received: the messages that came, in order.
        closed: how it ended; ``None`` as long as it is open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.received: list[Payload] = []
        self.closed: Closed | None = None
        self.opened: asyncio.Future[None] = loop.create_future()
        self._news = asyncio.Event()

    @abstractmethod
    def send(self, *messages: Payload) -> None:
        """Send messages."""

    @abstractmethod
    def send_fragments(self, *parts: Payload) -> None:
        """Send one message in several frames."""

    @abstractmethod
    def breach(self, kind: tuple[int, str]) -> None:
        """Send what no peer may send: one of :class:`Breaches`."""

    def raw(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            RuntimeError: the network carries no bytes.
        """
        raise RuntimeError("this network carries messages, not bytes: use a ByteNetwork")

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection; the other side finds that it was reset."""

    @abstractmethod
    def stop_reading(self) -> None:
        """Take nothing more from the network, and answer nothing."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read on."""

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until what came makes ``predicate`` true."""
        while not predicate():
            self._news.clear()
            await self._news.wait()

    def _take(self, message: Payload) -> None:
        self.received.append(message)
        self._news.set()

    def _end(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = Closed(code, reason)
            self._news.set()

    def _fail_to_open(self, error: Exception) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
