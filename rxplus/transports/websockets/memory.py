"""Memory that all connections of a loop use, in place of new memory for each of their reads."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

__all__ = ["MOST_LENT", "MOST_PIECES", "Memory", "memory_of"]

MOST_READ = 2**18
"""Bytes read at once, as by asyncio itself."""

MOST_LENT = 2**20
"""Bytes of one piece. A message that is larger is dear anyway."""

MOST_PIECES = 4
"""Pieces that a loop keeps. Who needs one more has to take memory of its own."""


class Memory:
    """What one loop has. Used on that loop's thread only."""

    def __init__(self) -> None:
        self.reads = memoryview(bytearray(MOST_READ))
        """Where all connections read to: what is read is put elsewhere at once."""
        self._free: list[memoryview] = []
        self._made = 0

    def borrow(self, size: int) -> memoryview | None:
        """Lend a piece of memory, in which there may be anything, until :meth:`give_back`.

        Without it glibc maps and unmaps pages for each large message, two hundred to eight
        hundred of them for 1 MiB: where a loop has a thread of its own that may take as long as
        all else that is done with the message.

        Returns:
            A piece of ``MOST_LENT`` bytes; ``None`` when that is not enough or all are lent.
        """
        if size > MOST_LENT:
            return None
        if self._free:
            return self._free.pop()
        if self._made == MOST_PIECES:
            return None
        self._made += 1
        return memoryview(bytearray(MOST_LENT))

    def give_back(self, piece: memoryview) -> None:
        """Take back what :meth:`borrow` has lent."""
        self._free.append(piece)


_memories: WeakKeyDictionary[asyncio.AbstractEventLoop, Memory] = WeakKeyDictionary()


def memory_of(loop: asyncio.AbstractEventLoop) -> Memory:
    """Return a loop's memory, made when it is first asked for."""
    memory = _memories.get(loop)
    if memory is None:
        memory = _memories[loop] = Memory()
    return memory
