"""Answers of subscribers go out in the turn of the loop in which they were told (docs/adr/0020)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from rxplus._engine.stream import each
from rxplus.runtime import Lease

__all__ = ["Answers"]

T = TypeVar("T")

_SOMETHING = (None,)


class Answers:
    """Calls to the loop that subscribers give rise to while they are told of messages.

    They are made as soon as the subscribers are done, which saves who waits for an answer a
    turn of the loop. Not when the loop has more to do in this one: that may be messages of other
    peers, and then the answers to all of them go out together, after it.

    Args:
        lease: the loop.
    """

    __slots__ = ("_calls", "_upcoming", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        # Not empty as long as the loop has more to do in the same turn. Nothing public tells;
        # where nothing else does either, as in uvloop, answers take a turn of their own.
        self._upcoming: Collection[object] = getattr(lease.loop, "_ready", _SOMETHING)
        # What is to be called, while subscribers are told. Changed on the loop thread only.
        self._calls: list[Callable[[], None]] | None = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have ``callback()`` called on the loop, if that has not ended. Any thread.

        It may come before what was handed to the lease earlier, as a call that does what there
        is to do, whenever that is, may.
        """
        calls = self._calls
        if calls is not None and self.lease.in_loop():
            calls.append(callback)
        else:
            self.lease.call_soon(callback)

    def tell(self, take: Callable[[T], None], arrived: T) -> None:
        """Have subscribers told of what has arrived, by ``take(arrived)``. Loop thread."""
        if self._upcoming:
            take(arrived)
            return
        calls = self._calls = []
        try:
            take(arrived)
        finally:
            self._calls = None
            each(_call, calls)


def _call(callback: Callable[[], None]) -> None:
    callback()
