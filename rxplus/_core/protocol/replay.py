"""The sending half of a session: what is on its way, kept until it is acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol

from rxplus._core.outbox import Parcel, Source, parcel_size
from rxplus._core.protocol.given_up import GivenUp
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
        delivery: how much may be on its way, and for how long.
        now: tells the time, in seconds.
        on_expired: hears which messages were given up, since they were on their way for too long.
    """

    __slots__ = (
        "_behind",
        "_bytes",
        "_given_up",
        "_kept",
        "_max_age",
        "_max_bytes",
        "_max_messages",
        "_now",
        "_on_expired",
        "_open",
        "_source",
        "_taken",
        "acked",
    )

    def __init__(
        self,
        source: Source[_Payload],
        delivery: Delivery,
        *,
        now: Callable[[], float],
        on_expired: Callable[[Span], None],
    ) -> None:
        self._source = source
        self._now = now
        self._on_expired = on_expired
        self._max_age = delivery.max_age
        self._max_messages = delivery.max_messages
        self._max_bytes = delivery.max_bytes
        # Sent and not acknowledged; the first has the number acked + 1.
        self._kept: deque[Parcel[_Payload]] = deque()
        self._bytes = 0
        # How many, at the end of it, are yet to be sent on this connection.
        self._behind = 0
        # When messages were taken, by the number of the last; only if age is limited.
        self._taken: deque[tuple[int, float]] = deque()
        self._given_up = GivenUp()
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
        self._bytes += sum(map(parcel_size, parcels))
        if self._max_age is not None:
            self._taken.append((self.sent, self._now()))
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
        while self._taken and self._taken[0][0] <= number:
            self._taken.popleft()

    def resume(self, received: int) -> int:
        last = self._give_up(received)
        self._behind = self.sent - last
        self._open = True
        return last + 1

    def _give_up(self, arrived: int) -> int:
        """Give up what is too old; return the number before that of the first to be sent."""
        last, spans = self._given_up.give_up(self._expired(), arrived)
        for span in spans:
            self._on_expired(span)
        return last

    def _expired(self) -> int:
        """Return the number of the last message that is too old; 0 if there is none."""
        if self._max_age is None:
            return 0
        since = self._now() - self._max_age
        return max((number for number, at in self._taken if at < since), default=0)

    def disconnect(self) -> None:
        self._open = False
        self._behind = 0

    def restart(self, *, resend: bool) -> Span | None:
        gone = self._give_up(self.acked)
        pending, kept = Span.of(gone + 1, self.sent), list(self._kept)[gone - self.acked :]
        self._kept.clear()
        self._taken.clear()
        self._given_up = GivenUp()
        self._bytes = self._behind = self.acked = 0
        if not resend:
            return pending
        if kept:
            self._source.restore(kept)
        return None
