"""Answers of subscribers may go out in the turn of the loop in which they were told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from rxplus.runtime import Lease

__all__ = ["Answers"]

T = TypeVar("T")

_SOMETHING = (None,)


class Answers:
    """Calls to the loop that subscribers give rise to while they are told of messages.

    They are made as soon as the subscribers are done, which saves who waits for an answer a
    turn of the loop. Not when the loop has more to do in this one: that may be messages of other
    peers, and then the answers to all of them go out together, after it (docs/adr/0020).

    Args:
        lease: the loop.
    """

    __slots__ = ("_calls", "_upcoming", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        # What is to be called, while subscribers are told. Changed on the loop thread only.
        self._calls: list[Callable[[], None]] | None = None
        # What the loop has yet to do in this turn; looked up there.
        self._upcoming: Collection[object] | None = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called on the loop, if that has not ended. Any thread.

        It may overtake what was handed to the lease earlier, so it has to be one that may be
        called at any time.
        """
        calls = self._calls
        if calls is not None and self.lease.in_loop():
            calls.append(callback)
        else:
            self.lease.call_soon(callback)

    def tell(self, take: Callable[[T], None], messages: T) -> None:
        """Have subscribers told of messages, by ``take(messages)``. Loop thread."""
        upcoming = self._upcoming
        if upcoming is None:
            # Nothing public tells; of other loops than asyncio's own nothing is known.
            upcoming = self._upcoming = getattr(self.lease.loop, "_ready", _SOMETHING)
        if upcoming:
            take(messages)
            return
        calls = self._calls = []
        try:
            take(messages)
        finally:
            self._calls = None
            for call in calls:
                try:
                    call()
                except BaseException as exc:  # noqa: BLE001 - not about who was told: the loop's
                    self.lease.call_soon(_raise, exc)


def _raise(error: BaseException) -> None:
    raise error
