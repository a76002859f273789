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
    UNACKNOWLEDGED = "unacknowledged"
    """It was sent, and this side or the peer closed before it was acknowledged."""
    SESSION_LOST = "session_lost"
    """It was sent and not acknowledged, and the session could not be resumed."""
    EXPIRED = "expired"
    """It waited for too long, or its session had no connection for too long."""
    WITHDRAWN = "withdrawn"
    """It was to arrive, but the peer gave it up."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages that will not be delivered.

    Attributes:
        path: the path they were for, without a query.
        reason: why.
        count: how many. A broadcast that several peers miss counts once for each.
        first: number of the first of them within the session, if they have numbers.
        last: number of the last.
    """

    path: str
    reason: LossReason
    count: int
    first: int | None = None
    last: int | None = None
