"""The receiving half of a session: what has arrived, and what is to be said of it."""

from __future__ import annotations

from rxplus._core.protocol.numbers import Span
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError

__all__ = ["Receipt"]

_UNNUMBERED = -1


class Receipt:
    """Numbers messages as they arrive, drops those that came before, and decides over acks.

    Args:
        delivery: how often to acknowledge.
        received: number of the last message that arrived in an earlier life of the session.
    """

    __slots__ = (
        "_ack_bytes",
        "_ack_messages",
        "_skip",
        "_unacked_bytes",
        "acked",
        "due_at",
        "processed",
        "received",
        "unkept",
    )

    def __init__(self, delivery: Delivery, received: int = 0) -> None:
        self._ack_messages = delivery.ack_messages
        self._ack_bytes = delivery.ack_bytes
        self._unacked_bytes = 0
        self.due_at = received + delivery.ack_messages
        """When this number has been processed, that should be acknowledged at once."""
        # How many of the next messages arrived before, or _UNNUMBERED: that was not said yet.
        self._skip = _UNNUMBERED
        self.received = received
        """Number of the last message that arrived."""
        self.processed = received
        """Number of the last one that subscribers are done with, and that is safe if it has to be.

        Once there are messages, only the subscribers' thread sets it."""
        self.unkept = 0
        """Number of the last one that they are done with, if it could not be made safe."""
        self.acked = 0
        """Number that was acknowledged last on this connection.

        An earlier acknowledgement may not have arrived, so each connection says it anew.
        """

    def disconnect(self) -> None:
        """Forget what the connection that ended has said."""
        self._skip = _UNNUMBERED
        self.acked = 0

    def sequence(self, number: int) -> Span | None:
        """Hear the number of the message that comes next.

        Returns:
            The messages that the sender has given up: they will never arrive.

        Raises:
            ProtocolViolationError: it was said before.
        """
        if self._skip != _UNNUMBERED:
            raise ProtocolViolationError("seq: said twice on one connection")
        expected = self.received + 1
        self._skip = max(0, expected - number)
        self.received = max(self.received, number - 1)
        return Span.of(expected, number - 1)

    def accept(self, count: int, size: int) -> int:
        """Count messages that arrived.

        Args:
            count: how many.
            size: about how large they are, all together.

        Returns:
            How many of them, from the first on, have arrived before and are to be dropped.

        Raises:
            ProtocolViolationError: their numbers were not said.
        """
        again = self._again(count) if self._skip else 0
        self.received += count - again
        self._unacked_bytes += size
        if self._unacked_bytes >= self._ack_bytes:
            self.due_at = min(self.due_at, self.received)
        return again

    def _again(self, count: int) -> int:
        if self._skip == _UNNUMBERED:
            raise ProtocolViolationError("a message came before the number of the first")
        again = min(count, self._skip)
        self._skip -= again
        return again

    def rewind(self) -> None:
        """Have what subscribers are not done with come again, on the next connection."""
        self.received = self.processed
        self._unacked_bytes = 0

    @property
    def owes(self) -> bool:
        """Whether there is something to acknowledge, now or once subscribers are done with it."""
        return self.acked < self.received

    def acknowledge(self) -> int:
        """Return the number to acknowledge."""
        self._unacked_bytes = 0
        self.acked = self.processed
        self.due_at = self.acked + self._ack_messages
        return self.acked
