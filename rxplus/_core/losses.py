"""What is said about messages that will not be delivered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Loss", "LossReason"]


class LossReason(StrEnum):
    """Why a message will not be delivered. Each compares equal to its name as a string."""

    DISCONNECTED = "disconnected"
    """There was no connection and buffering is off, or the connection broke."""
    NO_PEER = "no_peer"
    """Nobody is connected on that path, or that peer has left."""
    OVERFLOW = "overflow"
    """A buffer was full."""
    CONFLATED = "conflated"
    """A newer message took its place, under the policy ``latest``."""
    CLOSED = "closed"
    """The component closed before it could be sent."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages that will not be delivered.

    Attributes:
        path: the path they were for, without a query.
        reason: why.
        count: how many. A broadcast that several peers miss counts once for each.
    """

    path: str
    reason: LossReason
    count: int
