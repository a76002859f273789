"""Seeds of an exploration, as parameters of a test."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["lots"]

_LOTS = 20
_EVERYWHERE = 4


def lots(seeds: int, first: int) -> list[Any]:
    """Return the seeds in lots. The interpreter matters little: a few lots do for the others.

    Args:
        seeds: how many.
        first: the first of them.
    """
    size = max(1, seeds // _LOTS)
    starts = range(first, first + seeds, size)
    return [
        pytest.param(
            range(start, min(start + size, first + seeds)),
            id=f"{start}-",
            marks=() if number < _EVERYWHERE else pytest.mark.once,
        )
        for number, start in enumerate(starts)
    ]
