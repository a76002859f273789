"""The sending half of a session: what is on its way, kept until it is acknowledged."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Protocol

from rxplus._core.outbox import Parcel, Source
from rxplus._core.protocol.numbers import Span
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError

__all__ = ["Outgoing", "Replay"]

_Payload = str | bytes


class Outgoing(Protocol):
    """A source of messages that numbers them, and can go back."""

    @property
    def acked(self) -> int:
        """Number of the last message that the peer has dealt with."""
        ...

    @property
    def sent(self) -> int:
        """Number of the last message that has been sent at least once."""
        ...

    @property
    def idle(self) -> bool:
        """Whether everything there is has been sent and acknowledged."""
        ...

    def __len__(self) -> int:
        """Return how many messages could be sent now."""
        ...

    def take(self, max_bytes: int) -> list[Parcel[_Payload]]:
        """Return messages to send now: those to be sent again, then new ones."""
        ...

    def restore(self, parcels: list[Parcel[_Payload]]) -> None:
        """Hear that they could not be sent."""

    def acknowledge(self, number: int) -> None:
        """Forget the messages up to a number.

        Raises:
            ProtocolViolationError: a message of that number was not sent.
        """

    def resume(self, received: int) -> int:
        """Go on, on a new connection, after the last message that has arrived.

        Returns:
            The number of the message that will be sent first.
        """
        ...

    def disconnect(self) -> None:
        """Send nothing until :meth:`resume`."""

    def restart(self, *, resend: bool) -> Span | None:
        """Begin a new session: its first message has the number 1.

        Args:
            resend: whether to send again, in the new session, what was not acknowledged.

        Returns:
            What was not acknowledged and is not sent again.
        """
        ...


class Replay:
    """An :class:`Outgoing` in memory.

    Args:
        source: of new messages.
        delivery: how much may be on its way.
    """

    __slots__ = (
        "_behind",
        "_bytes",
        "_kept",
        "_max_bytes",
        "_max_messages",
        "_open",
        "_source",
        "acked",
    )

    def __init__(self, source: Source[_Payload], delivery: Delivery) -> None:
        self._source = source
        self._max_messages = delivery.max_messages
        self._max_bytes = delivery.max_bytes
        # Sent and not acknowledged; the first has the number acked + 1.
        self._kept: deque[Parcel[_Payload]] = deque()
        self._bytes = 0
        # How many, at the end of it, are yet to be sent on this connection.
        self._behind = 0
        self._open = False
        self.acked = 0

    @property
    def sent(self) -> int:
        return self.acked + len(self._kept)

    @property
    def idle(self) -> bool:
        return not self._kept and not len(self._source)

    @property
    def bytes(self) -> int:
        """Size of all that is kept."""
        return self._bytes

    def __len__(self) -> int:
        if not self._open:
            return 0
        return self._behind or (len(self._source) if self._has_room else 0)

    @property
    def _has_room(self) -> bool:
        return len(self._kept) < self._max_messages and self._bytes < self._max_bytes

    def take(self, max_bytes: int) -> list[Parcel[_Payload]]:
        if self._behind:
            return self._again(max_bytes)
        parcels = self._source.take(min(max_bytes, self._max_bytes - self._bytes))
        self._kept.extend(parcels)
        self._bytes += sum(size for _, size in parcels)
        return parcels

    def _again(self, max_bytes: int) -> list[Parcel[_Payload]]:
        """Return the next messages that were sent before, on an older connection."""
        parcels: list[Parcel[_Payload]] = []
        for parcel in islice(self._kept, len(self._kept) - self._behind, None):
            max_bytes -= parcel[1]
            if parcels and max_bytes < 0:
                break
            parcels.append(parcel)
        self._behind -= len(parcels)
        return parcels

    def restore(self, parcels: list[Parcel[_Payload]]) -> None:
        """Do nothing: the connection has ended, and :meth:`resume` goes back for them."""

    def acknowledge(self, number: int) -> None:
        if number > self.sent - self._behind:
            raise ProtocolViolationError(f"ack: {number} was not sent, the last was {self.sent}")
        for _ in range(number - self.acked):
            self._bytes -= self._kept.popleft()[1]
        self.acked = max(self.acked, number)

    def resume(self, received: int) -> int:
        self._behind = self.sent - received
        self._open = True
        return received + 1

    def disconnect(self) -> None:
        self._open = False
        self._behind = 0

    def restart(self, *, resend: bool) -> Span | None:
        pending, kept = Span.of(self.acked + 1, self.sent), list(self._kept)
        self._kept.clear()
        self._bytes = self._behind = self.acked = 0
        if not resend:
            return pending
        if kept:
            self._source.restore(kept)
        return None
