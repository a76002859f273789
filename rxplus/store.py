"""What must survive the process: the seam behind durable delivery.

A store keeps *streams*, each a queue of numbered messages, and small *values* by key.
:class:`rxplus.stores.SQLiteStore` is the embedded one; anything that keeps the promises
below will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from rxplus.transport import Payload

__all__ = ["Store", "Stored"]


class Stored(NamedTuple):
    """A message in a stream."""

    number: int
    """Its place in the stream, from 1."""
    payload: Payload
    """``str`` stays ``str``, ``bytes`` stays ``bytes``."""
    at: float
    """When it was appended, in seconds since the epoch."""


class Store(Protocol):
    """Streams of messages, and values by key, that survive a crash.

    All methods may be called from any thread. Each call is a transaction of its own, done and
    safe from a crash of the process when the call returns, or one part of the
    :meth:`transaction` that its thread is in. A call that raises has changed nothing.

    Raises:
        StoreFullError: there is no room, on the disk or within the store's limits.
        StoreError: it cannot be read or written.
    """

    def append(self, stream: str, payloads: Sequence[Payload]) -> int:
        """Add messages at the end of a stream, which is made when it does not exist.

        The numbers of a stream go up by one and are never used twice, also when all its
        messages have been acknowledged and after a restart.

        Returns:
            The number of the first.
        """
        ...

    def pending(self, stream: str, after: int = 0, limit: int = 1000) -> list[Stored]:
        """Return the first messages with numbers above ``after``, in order, at most ``limit``."""
        ...

    def acknowledge(self, stream: str, up_to: int) -> None:
        """Forget the messages up to this number, and itself. Doing it twice is harmless."""

    def last(self, stream: str) -> int:
        """Return the number of the message that was appended last; 0 before the first."""
        ...

    def expired(self, stream: str) -> int:
        """Return the number of the last message that has waited for longer than the store allows.

        Of those before the first that has not, if there is one. They stay until they are
        acknowledged.

        Returns:
            0 if there is none, or messages may wait for ever.
        """
        ...

    def streams(self) -> list[str]:
        """Return the names of all streams that exist, in no order."""
        ...

    def drop(self, stream: str) -> None:
        """Forget a stream, with its messages and its numbering. It need not exist."""

    def load(self, key: str) -> bytes | None:
        """Return a value, or ``None``."""
        ...

    def save(self, key: str, value: bytes | None) -> None:
        """Keep a value in place of what was there; ``None`` forgets it."""

    def transaction(self) -> AbstractContextManager[object]:
        """Make one transaction of all calls that this thread makes within ``with``.

        It is safe when the block ends, and undone when the block raises. Other threads wait.
        Blocks may be nested: the outermost one counts.
        """
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is in a :meth:`transaction`: then it must not wait for others."""
        ...

    def close(self) -> None:
        """Let go of the files. Closing twice is harmless; any other use after it raises."""
