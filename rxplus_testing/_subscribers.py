"""Subscribers that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rxplus_testing.sim import Sim

__all__ = ["SubscriberError", "blocking", "raising"]


class SubscriberError(Exception):
    """What :func:`raising` raises."""


def raising(after: int = 0, times: int | None = 1) -> Callable[[Any], None]:
    """Return an ``on_next`` that raises :class:`SubscriberError`.

    Args:
        after: values that it takes first.
        times: how often it raises; ``None``: from then on.
    """
    seen = 0

    def on_next(value: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > after and (times is None or seen <= after + times):
            raise SubscriberError(f"cannot take {value!r}")

    return on_next


def blocking(sim: Sim, seconds: float) -> Callable[[Any], None]:
    """Return an ``on_next`` that blocks whoever calls it, usually the loop, for so long."""

    def on_next(_value: Any) -> None:
        sim.loop.skip_to(sim.now + seconds)

    return on_next
