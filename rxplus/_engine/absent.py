"""Stands for the connection of a peer that has not come back since the server was started."""

from __future__ import annotations

from collections.abc import Sequence

from rxplus._core.protocol.names import NAME
from rxplus.errors import ConnectionClosedError
from rxplus.handshake import Address, Request
from rxplus.transport import CloseInfo, Payload, Receiver

__all__ = ["ABSENT", "AbsentConnection"]

ABSENT = CloseInfo(code=1006, reason="it has not come back since the server was started")
"""How such a connection ended."""


class AbsentConnection:
    """A :class:`rxplus.transport.Connection` that has ended.

    Args:
        path: that the peer was on.
    """

    subprotocol = NAME
    remote_address: Address | None = None
    local_address: Address | None = None
    writable = False
    latency: float | None = None

    def __init__(self, path: str) -> None:
        self.request = Request(path=path)

    def start(self, receiver: Receiver) -> None:
        """Do nothing."""

    def send(self, messages: Sequence[Payload]) -> None:
        """Refuse."""
        raise ConnectionClosedError(ABSENT.code, ABSENT.reason)

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""

    async def ping(self) -> float:
        """Refuse."""
        raise ConnectionClosedError(ABSENT.code, ABSENT.reason)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""
