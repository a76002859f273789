"""A bounded buffer of messages, and what it does when it is full."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable
from enum import Enum, auto
from functools import partial
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from rxplus._core.losses import LossReason
from rxplus.config import Buffer, OnFull

__all__ = [
    "AgedOutbox",
    "LatestOutbox",
    "Outbox",
    "Parcel",
    "Put",
    "Source",
    "make_outbox",
    "parcel_message",
    "parcel_size",
]

T = TypeVar("T")

Parcel: TypeAlias = tuple[T, int]
"""A message in a buffer, and its size in bytes."""


class Source(Protocol[T]):
    """Where messages are taken from to be sent."""

    def __len__(self) -> int: ...

    def take(self, max_bytes: int) -> list[Parcel[T]]:
        """Remove messages from the front: one, and more up to ``max_bytes`` in all."""
        ...

    def restore(self, parcels: list[Parcel[T]]) -> None:
        """Put back at the front what was taken and could not be sent."""


OnLost: TypeAlias = Callable[[int, LossReason], None]
"""Hears how many messages were dropped, and why."""


class Put(Enum):
    """What :meth:`Outbox.put` did."""

    TAKEN = auto()
    FULL = auto()
    """Nothing: the caller is to wait, or to raise."""
    OVERRUN = auto()
    """Everything was dropped, and the connection is to go."""


# Looking a member up in its enum costs as much as a call, on CPython 3.11.
_TAKEN = Put.TAKEN

_popleft = deque.popleft

parcel_message: Callable[[Parcel[Any]], Any] = itemgetter(0)
"""Return the message of a parcel."""

parcel_size: Callable[[Parcel[Any]], int] = itemgetter(1)
"""Return the size of a parcel; half the time of a generator expression."""


class Outbox(Generic[T]):
    """First in, first out, within a limit in messages and in bytes.

    An empty outbox takes a message of any size: the limit on bytes bounds what
    waits, not what can be sent.

    Args:
        buffer: limits and policy.
        on_lost: called for what is dropped.
    """

    __slots__ = (
        "_bytes",
        "_max_bytes",
        "_max_messages",
        "_on_full",
        "_on_lost",
        "_pop",
        "_queue",
        "parcels",
    )

    def __init__(self, buffer: Buffer, on_lost: OnLost) -> None:
        self._queue: deque[Parcel[T]] = deque()
        self.parcels: Collection[Parcel[Any]] = self._queue
        """What waits, oldest first. Its length is told without a call of a Python function."""
        self._pop: Callable[[], Parcel[T]] = self._queue.popleft
        self._bytes = 0
        self._max_messages = buffer.max_messages
        self._max_bytes = buffer.max_bytes
        self._on_full = buffer.overflow.on_full
        self._on_lost = on_lost

    def __len__(self) -> int:
        return len(self.parcels)

    @property
    def bytes(self) -> int:
        """Size of all that waits."""
        return self._bytes

    def has_room(self, size: int) -> bool:
        """Tell whether a message of ``size`` bytes would fit."""
        waiting = len(self)
        return not waiting or (
            waiting < self._max_messages and self._bytes + size <= self._max_bytes
        )

    def put(self, item: T, size: int) -> Put:
        """Add a message at the end, or do what the policy says."""
        waiting = len(self._queue)
        if waiting and (waiting >= self._max_messages or self._bytes + size > self._max_bytes):
            return self._overflow(item, size)
        self._queue.append((item, size))
        self._bytes += size
        return _TAKEN

    def force(self, item: T, size: int) -> None:
        """Add a message at the end, whatever the limits."""
        self._queue.append((item, size))
        self._bytes += size

    def room_for(self, size: int) -> int:
        """Tell how many messages of up to ``size`` bytes :meth:`absorb` may move here.

        None where each is looked at as it is put.
        """
        places = self._max_messages - len(self._queue)
        return min(places, (self._max_bytes - self._bytes) // (size or 1))

    def absorb(self, pile: deque[Parcel[T]]) -> None:
        """Move the messages of a pile, to which others may add meanwhile, to the end."""
        queue, count = self._queue, len(pile)
        # In one step, for the interpreter: no message is ever in both, or in neither.
        queue.extend(map(_popleft, repeat(pile, count)))
        self._bytes += sum(map(parcel_size, islice(reversed(queue), count)))

    def take(self, max_bytes: int) -> list[Parcel[T]]:
        """Remove messages from the front: one, and more up to ``max_bytes`` in all."""
        if self._bytes <= max_bytes:
            return self.clear()
        count = total = 0
        for _, size in self.parcels:
            if count and total + size > max_bytes:
                break
            count += 1
            total += size
        self._bytes -= total
        pop = self._pop
        return [pop() for _ in range(count)]

    def restore(self, parcels: list[Parcel[T]]) -> None:
        """Put back at the front what was taken and could not be sent.

        The limits do not apply: these messages were accepted already.
        """
        self._queue.extendleft(reversed(parcels))
        self._bytes += sum(map(parcel_size, parcels))

    def clear(self) -> list[Parcel[T]]:
        """Remove all messages and return them."""
        everything = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return everything

    def first(self) -> Parcel[T]:
        """Return the message in front, which there is."""
        return next(iter(self.parcels))

    def drop(self) -> None:
        """Remove it."""
        self._bytes -= self._pop()[1]

    def _overflow(self, item: T, size: int) -> Put:
        match self._on_full:
            case OnFull.DROP_OLDEST:
                self._drop_oldest(size)
                self.force(item, size)
                return Put.TAKEN
            case OnFull.DROP_NEWEST:
                self._on_lost(1, LossReason.OVERFLOW)
                return Put.TAKEN
            case OnFull.DISCONNECT:
                self._on_lost(len(self.clear()) + 1, LossReason.OVERFLOW)
                return Put.OVERRUN
        # block and error; latest has an outbox of its own.
        return Put.FULL

    def _drop_oldest(self, size: int) -> None:
        dropped = 0
        while not self.has_room(size):
            self.drop()
            dropped += 1
        self._on_lost(dropped, LossReason.OVERFLOW)


class LatestOutbox(Outbox[T]):
    """An outbox in which a message replaces the waiting one with the same key.

    It takes the newer one's place at the end, so that what goes out is in the
    order in which it was put.

    Args:
        buffer: limits.
        on_lost: called for what is replaced, and for the oldest when there are
            too many keys.
        key: what makes two messages the same thing.
    """

    __slots__ = ("_by_key", "_key")

    def __init__(self, buffer: Buffer, on_lost: OnLost, key: Callable[[T], Hashable]) -> None:
        super().__init__(buffer, on_lost)
        self._key = key
        self._by_key: OrderedDict[Hashable, Parcel[T]] = OrderedDict()
        self._pop = partial(_pop_first, self._by_key)
        self.parcels = self._by_key.values()

    def put(self, item: T, size: int) -> Put:
        key = self._key(item)
        stale = self._by_key.pop(key, None)
        if stale is not None:
            self._bytes -= stale[1]
            self._on_lost(1, LossReason.CONFLATED)
        if not self.has_room(size):
            self._drop_oldest(size)
        self._by_key[key] = (item, size)
        self._bytes += size
        return Put.TAKEN

    def room_for(self, size: int) -> int:
        return 0

    def restore(self, parcels: list[Parcel[T]]) -> None:
        replaced = 0
        for item, size in reversed(parcels):
            key = self._key(item)
            if key in self._by_key:
                replaced += 1
                continue
            self._by_key[key] = (item, size)
            self._bytes += size
            self._by_key.move_to_end(key, last=False)
        if replaced:
            self._on_lost(replaced, LossReason.CONFLATED)

    def clear(self) -> list[Parcel[T]]:
        everything = list(self._by_key.values())
        self._by_key.clear()
        self._bytes = 0
        return everything


def _pop_first(by_key: OrderedDict[Hashable, Parcel[T]]) -> Parcel[T]:
    return by_key.popitem(last=False)[1]


class AgedOutbox(Outbox[T]):
    """An outbox that forgets what has waited for too long, when it comes across it.

    Args:
        buffer: limits.
        on_lost: what the inner one was given.
        inner: keeps messages with the times at which they were put.
        now: tells the time.
        on_expired: called with what is forgotten.
    """

    __slots__ = ("_inner", "_max_age", "_now", "_on_expired", "_taken_at")

    def __init__(
        self,
        buffer: Buffer,
        on_lost: OnLost,
        inner: Outbox[tuple[float, T]],
        now: Callable[[], float],
        on_expired: Callable[[list[T]], None],
    ) -> None:
        super().__init__(buffer, on_lost)
        assert buffer.max_age is not None
        self._max_age = buffer.max_age
        self._inner = inner
        self._now = now
        self._on_expired = on_expired
        self._taken_at = 0.0
        self.parcels = inner.parcels

    @property
    def bytes(self) -> int:
        return self._inner.bytes

    def has_room(self, size: int) -> bool:
        self._make_room(size)
        return self._inner.has_room(size)

    def put(self, item: T, size: int) -> Put:
        self._make_room(size)
        return self._inner.put((self._now(), item), size)

    def force(self, item: T, size: int) -> None:
        self._inner.force((self._now(), item), size)

    def room_for(self, size: int) -> int:
        return 0

    def take(self, max_bytes: int) -> list[Parcel[T]]:
        self._forget()
        if not len(self._inner):
            return []
        parcels = self._inner.take(max_bytes)
        self._taken_at = parcels[-1][0][0]
        return [(item, size) for (_, item), size in parcels]

    def restore(self, parcels: list[Parcel[T]]) -> None:
        # None of them is younger than that.
        self._inner.restore([((self._taken_at, item), size) for item, size in parcels])

    def clear(self) -> list[Parcel[T]]:
        return [(item, size) for (_, item), size in self._inner.clear()]

    def _make_room(self, size: int) -> None:
        if not self._inner.has_room(size):
            self._forget()

    def _forget(self) -> None:
        """Forget what has waited for too long. The oldest is always in front."""
        since = self._now() - self._max_age
        expired: list[T] = []
        while len(self._inner) and (first := self._inner.first()[0])[0] < since:
            expired.append(first[1])
            self._inner.drop()
        if expired:
            self._on_expired(expired)


def make_outbox(
    buffer: Buffer,
    on_lost: OnLost,
    payload: Callable[[T], str | bytes],
    now: Callable[[], float],
    on_expired: Callable[[list[T]], None] | None = None,
) -> Outbox[T]:
    """Make the outbox that the limits and the policy ask for.

    Args:
        buffer: limits and policy.
        on_lost: called for what is dropped.
        payload: finds, in what is put, the message that the policy's key looks at.
        now: tells the time.
        on_expired: called with what has waited for too long; ``None``: that is told to
            ``on_lost``.
    """
    if buffer.max_age is None:
        return _make(buffer, on_lost, payload)
    inner: Outbox[tuple[float, T]] = _make(buffer, on_lost, lambda timed: payload(timed[1]))
    if on_expired is None:
        return AgedOutbox(
            buffer, on_lost, inner, now, lambda items: on_lost(len(items), LossReason.EXPIRED)
        )
    return AgedOutbox(buffer, on_lost, inner, now, on_expired)


def _make(buffer: Buffer, on_lost: OnLost, payload: Callable[[T], str | bytes]) -> Outbox[T]:
    overflow = buffer.overflow
    if overflow.on_full is not OnFull.LATEST:
        return Outbox(buffer, on_lost)
    key = overflow.key
    if key is None:
        return LatestOutbox(buffer, on_lost, lambda _: None)
    return LatestOutbox(buffer, on_lost, lambda item: key(payload(item)))
