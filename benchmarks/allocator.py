"""The C library's memory, which decides what a read of asyncio costs."""

from __future__ import annotations

__all__ = ["settle_allocator"]

LARGE = 2**20


def settle_allocator() -> None:
    """Free a large block, as most programs have done before long.

    asyncio makes 256 KiB of memory for each read. glibc maps and unmaps it, until a block that
    was mapped has been freed (``mallopt(3)``, M_MMAP_THRESHOLD): by that a round trip of plain
    ``websockets`` went from 168 to 104 us. A contender must not gain by what ran before it.
    """
    bytearray(LARGE)
