"""A store in memory, which outlives the components that a test kills."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

from rxplus_testing._rxplus import Lock, Payload, Stored, StoreError, StoreFullError

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Stream:
    last: int = 0
    messages: dict[int, Stored] = field(default_factory=dict)


@dataclass(slots=True)
class _Contents:
    streams: dict[str, _Stream] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> _Contents:
        streams = {
            name: replace(stream, messages=dict(stream.messages))
            for name, stream in self.streams.items()
        }
        return _Contents(streams, dict(self.values))


class MemoryStore:
    """A :class:`rxplus.Store` that keeps its contents in memory. For tests.

    Args:
        max_messages: that may wait, in all streams together; ``None`` for any number.
        max_age: seconds after which a message is :meth:`expired`; ``None`` for never.
        clock: seconds since the epoch.
        lock: what makes other threads wait; in a simulation, ``sim.runtime.lock()``.

    Attributes:
        failure: raised by everything that writes, while it is set: a disk that is full, say.
    """

    def __init__(
        self,
        *,
        max_messages: int | None = None,
        max_age: float | None = None,
        clock: Callable[[], float] = time.time,
        lock: Lock | None = None,
    ) -> None:
        self.failure: StoreError | None = None
        self._max_messages = max_messages
        self._max_age = max_age
        self._clock = clock
        self._lock: Lock = threading.Lock() if lock is None else lock
        # The thread that is in a transaction.
        self._owner: int | None = None
        self._contents = _Contents()
        self._closed = False

    def reopen(self) -> MemoryStore:
        """Return a store with the same contents, as after a restart. This one is closed."""
        self._closed = True
        store = MemoryStore(
            max_messages=self._max_messages,
            max_age=self._max_age,
            clock=self._clock,
            lock=self._lock,
        )
        store._contents = self._contents  # noqa: SLF001, RUF100 - its own kind
        return store

    def append(self, stream: str, payloads: Sequence[Payload]) -> int:
        """See :meth:`rxplus.Store.append`.

        Raises:
            StoreFullError: there would be more than ``max_messages``.
        """
        at = float(self._clock())
        with self._writing():
            self._check_room(len(payloads))
            found = self._contents.streams.setdefault(stream, _Stream())
            first = found.last + 1
            for number, payload in enumerate(payloads, first):
                found.messages[number] = Stored(number, payload, at)
            found.last += len(payloads)
            return first

    def _check_room(self, count: int) -> None:
        waiting = sum(len(stream.messages) for stream in self._contents.streams.values())
        if count and self._max_messages is not None and waiting + count > self._max_messages:
            raise StoreFullError(
                f"store has no room: it holds {waiting} messages of {self._max_messages}"
            )

    def pending(self, stream: str, after: int = 0, limit: int = 1000) -> list[Stored]:
        """See :meth:`rxplus.Store.pending`."""
        with self._turn():
            found = self._contents.streams.get(stream, _Stream())
            messages = (one for number, one in found.messages.items() if number > after)
            return list(islice(messages, limit))

    def acknowledge(self, stream: str, up_to: int) -> None:
        """See :meth:`rxplus.Store.acknowledge`."""
        with self._writing():
            found = self._contents.streams.get(stream, _Stream())
            for number in [number for number in found.messages if number <= up_to]:
                del found.messages[number]

    def last(self, stream: str) -> int:
        """See :meth:`rxplus.Store.last`."""
        with self._turn():
            return self._contents.streams.get(stream, _Stream()).last

    def expired(self, stream: str) -> int:
        """See :meth:`rxplus.Store.expired`."""
        since = -math.inf if self._max_age is None else self._clock() - self._max_age
        with self._turn():
            messages = self._contents.streams.get(stream, _Stream()).messages.values()
            old = list(takewhile(lambda one: one.at < since, messages))
            return old[-1].number if old else 0

    def streams(self) -> list[str]:
        """See :meth:`rxplus.Store.streams`."""
        with self._turn():
            return list(self._contents.streams)

    def drop(self, stream: str) -> None:
        """See :meth:`rxplus.Store.drop`."""
        with self._writing():
            self._contents.streams.pop(stream, None)

    def load(self, key: str) -> bytes | None:
        """See :meth:`rxplus.Store.load`."""
        with self._turn():
            return self._contents.values.get(key)

    def save(self, key: str, value: bytes | None) -> None:
        """See :meth:`rxplus.Store.save`."""
        with self._writing():
            if value is None:
                self._contents.values.pop(key, None)
            else:
                self._contents.values[key] = value

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`rxplus.Store.transaction`."""
        if self.in_transaction:
            yield
            return
        with self._turn():
            before = self._contents.copy()
            try:
                yield
            except BaseException:
                self._contents.streams, self._contents.values = before.streams, before.values
                raise

    @property
    def in_transaction(self) -> bool:
        """See :attr:`rxplus.Store.in_transaction`."""
        return self._owner == threading.get_ident()

    def close(self) -> None:
        """See :meth:`rxplus.Store.close`. The contents stay for :meth:`reopen`."""
        self._closed = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn():
            if self.failure is not None:
                raise self.failure.with_traceback(None)
            yield

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._closed:
            raise StoreError("store is closed")
        if self.in_transaction:
            yield
            return
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None
