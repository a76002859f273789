"""Sessions in a store: what is sent, what has arrived, and who it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from rxplus._core.outbox import Parcel
from rxplus._core.protocol.conversation import Conversation
from rxplus._core.protocol.numbers import Span
from rxplus._core.protocol.record import Record
from rxplus._engine.hub import Hub
from rxplus._engine.session import payload_size
from rxplus.delivery import Delivery
from rxplus.errors import ComponentClosedError, ProtocolViolationError, StoreError
from rxplus.store import Store, Stored
from rxplus.transport import Payload

__all__ = ["Archive", "Archives", "StoredOutgoing"]

_READ = 256
"""Messages that are read from the store at once."""


_OUT = "rxplus out "


class Archives:
    """The sessions of a server, in a store.

    Args:
        hub: of the server.
        store: what survives.
    """

    _PREFIX = f"{_OUT}server "

    def __init__(self, hub: Hub[Any], store: Store) -> None:
        self._hub = hub
        self._store = store

    def open(self, token: str) -> Archive:
        """Return the part of a session, which need not exist."""
        return Archive(self._hub, self._store, f"server {token}")

    def tokens(self) -> list[str]:
        """Return the names of the sessions that there are."""
        streams = sorted(self._store.streams())
        return [one.removeprefix(self._PREFIX) for one in streams if one.startswith(self._PREFIX)]


_claimed: WeakKeyDictionary[Store, set[str]] = WeakKeyDictionary()
"""Which sessions of a store a component of this process has."""


class Archive:
    """The part of a store that belongs to one session of a component.

    Args:
        hub: of the component.
        store: what survives.
        name: of the session, the same in each life of the process.
    """

    def __init__(self, hub: Hub[Any], store: Store, name: str) -> None:
        self._hub = hub
        self.store = store
        self.stream = f"{_OUT}{name}"
        self._record_key = f"rxplus session {name}"
        self._received_key = f"rxplus in {name}"
        self._dropped = False
        self.failed = False
        """Whether something could not be kept: nothing may be promised, or taken, any more."""
        self.record = Record.decode(store.load(self._record_key))
        self.received = int(store.load(self._received_key) or b"0")
        """Number of the last message that subscribers are done with."""

    def claim(self) -> None:
        """Have it alone.

        Raises:
            ValueError: another component has it.
        """
        names = _claimed.setdefault(self.store, set())
        if self.stream in names:
            raise ValueError(
                f"{self.stream.removeprefix(_OUT)!r} is in use in this store: give each client of "
                "a path a store of its own"
            )
        names.add(self.stream)

    def release(self) -> None:
        """Let others have it."""
        _claimed[self.store].discard(self.stream)

    def note(self, conversation: Conversation) -> None:
        """Keep the session as it is now."""
        self.record.token, self.record.epoch = conversation.token, conversation.epoch
        try:
            with self.store.transaction():
                self.store.append(self.stream, ())  # from now on there is one
                self.store.save(self._record_key, self.record.encode())
                self._save_received(conversation.incoming.processed)
        except StoreError as exc:
            self.fail(exc)

    def note_processed(self, number: int) -> None:
        """Keep the number of a message that subscribers are done with. On their thread."""
        if number > self.received and not self._dropped and not self.failed:
            try:
                self._save_received(number)
            except StoreError as exc:
                self.fail(exc)

    def _save_received(self, number: int) -> None:
        self.store.save(self._received_key, b"%d" % number)
        self.received = number

    def drop(self) -> None:
        """Forget the session."""
        self._dropped = True
        try:
            with self.store.transaction():
                self.store.drop(self.stream)
                self.store.save(self._record_key, None)
                self.store.save(self._received_key, None)
        except StoreError as exc:
            self.fail(exc)

    def giving(self, give: Callable[[Any], None]) -> Callable[[tuple[Any, int]], None]:
        """Return what gives a value to subscribers and keeps its number, in one transaction.

        What they write to the store is in it as well: all is done, or nothing.
        """

        def run(numbered: tuple[Any, int]) -> None:
            value, number = numbered
            if self.failed:
                return  # it would count with the one before it, which comes again
            try:
                with self.store.transaction():
                    give(value)
                    if not self._dropped:
                        self._save_received(number)
            except StoreError as exc:
                self.fail(exc)

        return run

    def fail(self, error: StoreError) -> None:
        """End the component: it cannot keep what it promised. What the store has stays there."""
        self.failed = True
        self._hub.fail(error, "its store failed")


class StoredOutgoing:
    """A :class:`rxplus._core.protocol.replay.Outgoing` whose messages are in a store.

    :meth:`put` and :meth:`seal` may be called from any thread, the rest on the loop.

    Args:
        hub: of the component.
        archive: where they are.
        delivery: how much may be on its way.
        on_ready: called on the loop when there is something to send.
    """

    def __init__(
        self,
        hub: Hub[Any],
        archive: Archive,
        delivery: Delivery,
        on_ready: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._archive = archive
        self._store = archive.store
        self._stream = archive.stream
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
        # Whether they had been sent is not kept: they may have been.
        self._sent = self._last
        self._cursor = self._acked
        self._open = False
        self._sizes: deque[int] = deque()  # of those from _acked to _cursor
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
        # In this order: who is in a transaction already may call this as well.
        with self._store.transaction(), self._lock:
            if self._sealed:
                raise ComponentClosedError(f"{self._hub.name} is closed")
            self._last = self._store.append(self._stream, (payload,))
            wake = not self._woken
            self._woken = True
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

    @property
    def unsent(self) -> int:
        """How many messages have not been sent."""
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
        return len(self._sizes) < self._max_messages and self._bytes < self._max_bytes

    def take(self, max_bytes: int) -> list[Parcel[Payload]]:
        parcels: list[Parcel[Payload]] = []
        while len(self._sizes) < self._max_messages and self._read():
            size = payload_size(self._ahead[0].payload)
            if parcels and size > max_bytes:
                break
            stored = self._ahead.popleft()
            parcels.append((stored.payload, size))
            self._sizes.append(size)
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
        for _ in range(min(number - self._acked, len(self._sizes))):
            self._bytes -= self._sizes.popleft()
        self._acked = number
        self._forget(number)

    def _forget(self, number: int) -> None:
        try:
            self._store.acknowledge(self._stream, number)
        except StoreError as exc:
            # It stays there, and is dropped by its number should it be sent once more.
            self._hub.report(exc, "cannot remove from the store what was acknowledged")

    def resume(self, received: int) -> int:
        self._go_to(received + self._archive.record.base)
        self._open = True
        return received + 1

    def _go_to(self, cursor: int) -> None:
        self._cursor = cursor
        self._ahead.clear()
        # What has arrived and is not acknowledged counts as nothing: it is not on its way.
        self._sizes = deque([0] * (cursor - self._acked))
        self._bytes = 0

    def disconnect(self) -> None:
        self._open = False

    def restart(self, *, resend: bool) -> Span | None:
        lost = None if resend else Span.of(self.acked + 1, self.sent)
        if lost is not None:
            self._acked = self._sent
            self._forget(self._sent)
        self._archive.record.base = self._acked
        self._sent = self._acked
        self._go_to(self._acked)
        return lost
