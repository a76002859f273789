"""Names that nobody is to guess, in a world where everything can be repeated."""

from __future__ import annotations

import random

__all__ = ["Tokens"]


class Tokens:
    """Makes names that follow from a seed.

    They are drawn by themselves: who asks for one does not change what others draw.

    Args:
        seed: of the simulation.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"{seed} tokens")  # noqa: S311 - to be repeatable is the point

    def make(self) -> str:
        """Make the next one."""
        return f"{self._random.getrandbits(128):032x}"
