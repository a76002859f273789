"""Waiting, on the loop, for something to happen."""

from __future__ import annotations

import asyncio

__all__ = ["Signal"]


class Signal:
    """Wakes everyone who waits at the time it is sent. Costs nothing while nobody does."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait until :meth:`send` is called."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        # Shielded: one who gives up must not take the others along.
        await asyncio.shield(self._future)

    def send(self) -> None:
        """Wake those who wait."""
        future, self._future = self._future, None
        if future is not None:
            future.set_result(None)
