"""What is sent, in a store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Parcel
from rxplus._core.protocol.numbers import Span
from rxplus._core.sizes import payload_size
from rxplus._engine.durable import Archive
from rxplus._engine.hub import Hub
from rxplus.delivery import Delivery
from rxplus.errors import ComponentClosedError, ProtocolViolationError, StoreError
from rxplus.store import Stored
from rxplus.transport import Payload

__all__ = ["StoredOutgoing"]

_READ = 256
"""Messages that are read from the store at once."""


class StoredOutgoing:
    """A :class:`rxplus._core.protocol.replay.Outgoing` whose messages are in a store.

    :meth:`put` and :meth:`seal` may be called from any thread, the rest on the loop.

    Args:
        hub: of the component.
        archive: where they are.
        path: for reports.
        delivery: how much may be on its way.
        on_ready: called on the loop when there is something to send.
    """

    def __init__(
        self,
        hub: Hub[Any],
        archive: Archive,
        path: str,
        delivery: Delivery,
        on_ready: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._archive = archive
        self._store = archive.store
        self._stream = archive.stream
        self._path = path
        self._max_messages = delivery.max_messages
        self._max_bytes = delivery.max_bytes
        self._on_ready = on_ready
        self._lock = hub.runtime.lock()
        self._woken = False
        self._sealed = False
        # Numbers below are those of the stream; the session's are less by the base.
        self._last = self._store.last(self._stream)
        waiting = self._store.pending(self._stream, limit=1)
        self._acked = waiting[0].number - 1 if waiting else self._last
        # Messages of a session before this one may still be there.
        self._acked = max(self._acked, archive.record.base)
        # Whether they had been sent is not kept: they may have been.
        self._sent = self._last
        self._cursor = self._acked
        self._open = False
        # Numbers and sizes of those that are on their way.
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._ahead: deque[Stored] = deque()  # read, and not taken yet

    # ── any thread ────────────────────────────────────────────────────────────────────────

    def put(self, payload: Payload, size: int) -> None:
        """Add a message. When it returns, the message is in the store.

        Raises:
            StoreFullError: there is no room for it.
            StoreError: it cannot be written.
            ComponentClosedError: :meth:`seal` has been called.
        """
        wake = False
        try:
            # In this order: who is in a transaction already may call this as well.
            with self._store.transaction(), self._lock:
                if self._sealed:
                    raise ComponentClosedError(f"{self._hub.name} is closed")
                self._last = self._store.append(self._stream, (payload,))
                wake = not self._woken
                self._woken = True
        finally:
            # Also when the transaction fails at its end: later messages rely on this call.
            if wake:
                self._hub.lease.call_soon(self._wake)

    def seal(self) -> None:
        """Take no more messages."""
        with self._lock:
            self._sealed = True

    def _wake(self) -> None:
        with self._lock:  # or a put that is under way would overwrite it
            self._woken = False
        self._on_ready()

    # ── as an Outgoing ────────────────────────────────────────────────────────────────────

    @property
    def acked(self) -> int:
        return self._acked - self._archive.record.base

    @property
    def sent(self) -> int:
        return self._sent - self._archive.record.base

    @property
    def idle(self) -> bool:
        return self._acked == self._last

    @property
    def waiting(self) -> int:
        """How many messages have not been acknowledged. Any thread."""
        return self._last - self._acked

    def count_unsent(self) -> int:
        """Return how many messages have not been sent."""
        try:
            self._look_again()
        except StoreError as exc:
            self._archive.fail(exc)
        return self._last - self._sent

    @property
    def bytes(self) -> int:
        """Size of those that are on their way."""
        return self._bytes

    def __len__(self) -> int:
        if not self._open or not self._has_room:
            return 0
        return self._last - self._cursor

    @property
    def _has_room(self) -> bool:
        return len(self._under_way) < self._max_messages and self._bytes < self._max_bytes

    def take(self, max_bytes: int) -> list[Parcel[Payload]]:
        parcels: list[Parcel[Payload]] = []
        while len(self._under_way) < self._max_messages and self._read():
            size = payload_size(self._ahead[0].payload)
            if parcels and size > max_bytes:
                break
            stored = self._ahead.popleft()
            parcels.append((stored.payload, size))
            self._under_way.append((stored.number, size))
            self._bytes += size
            self._cursor = stored.number
            max_bytes -= size
        self._sent = max(self._sent, self._cursor)
        return parcels

    def _read(self) -> bool:
        """Have a message ready, if there is one."""
        if not self._ahead and self._cursor < self._last:
            try:
                self._ahead += self._store.pending(self._stream, self._cursor, _READ)
                if not self._ahead:
                    self._look_again()
            except StoreError as exc:
                self._open = False
                self._archive.fail(exc)
        return bool(self._ahead)

    def _look_again(self) -> None:
        """Find out what is there: a transaction that had added something was undone."""
        with self._store.transaction(), self._lock:
            self._last = self._store.last(self._stream)

    def restore(self, parcels: list[Parcel[Payload]]) -> None:
        """Do nothing: they are still in the store."""

    def acknowledge(self, number: int) -> None:
        number += self._archive.record.base
        if number > self._cursor:
            raise ProtocolViolationError("ack: a message was acknowledged that was not sent")
        if number <= self._acked:
            return
        while self._under_way and self._under_way[0][0] <= number:
            self._bytes -= self._under_way.popleft()[1]
        self._acked = number
        self._forget(number)

    def _forget(self, number: int) -> None:
        try:
            self._store.acknowledge(self._stream, number)
        except StoreError as exc:
            # It stays there, and is dropped by its number should it be sent once more.
            self._hub.report(exc, "cannot remove from the store what was acknowledged")

    def resume(self, received: int) -> int:
        base = self._archive.record.base
        arrived = received + base
        self._go_to(arrived, self._give_up(arrived))
        self._open = True
        return self._cursor + 1 - base

    def _go_to(self, arrived: int, cursor: int) -> None:
        """Go on behind ``cursor``: messages up to it have arrived, or have been given up."""
        self._cursor = cursor
        self._sent = max(self._sent, cursor)
        self._ahead.clear()
        # What has arrived and is not acknowledged takes a place, and no room: it is there.
        self._under_way = deque((number, 0) for number in range(self._acked + 1, arrived + 1))
        self._bytes = 0

    def _give_up(self, arrived: int) -> int:
        """Give up what has waited for too long, and report it, once.

        It stays in the store until the peer acknowledges it, also for the next process. The
        record is kept before the peer hears of it, as on each connection.

        Args:
            arrived: the last message that need not be sent.

        Returns:
            The number before that of the first message to be sent.
        """
        record = self._archive.record
        last, spans = record.give_up(self._expired(), arrived)
        for span in spans:
            numbers = Span(span.first - record.base, span.last - record.base)
            self._hub.lose_span(self._path, LossReason.EXPIRED, numbers)
        return last

    def _expired(self) -> int:
        try:
            return self._store.expired(self._stream)
        except StoreError as exc:
            self._archive.fail(exc)
            return 0

    def disconnect(self) -> None:
        self._open = False

    def restart(self, *, resend: bool) -> Span | None:
        record = self._archive.record
        gone, lost = self._give_up(self._acked), None
        if not resend:
            lost = Span.of(gone + 1 - record.base, self.sent)
            gone = max(gone, self._sent)
        if gone > self._acked:
            self._acked = gone
            self._forget(gone)
        record.base = self._sent = self._acked
        self._go_to(self._acked, self._acked)
        return lost
