"""What both simulated runtimes draw from the seed, and what they do at the end."""

from __future__ import annotations

import random
from collections.abc import Callable

from rxplus_testing._exits import Exits
from rxplus_testing._rxplus import BeginExit
from rxplus_testing._tokens import Tokens

__all__ = ["SeededRuntime"]


class SeededRuntime:
    """The part of a :class:`rxplus.Runtime` that needs neither a loop nor threads.

    Args:
        seed: of the simulation.

    Attributes:
        exits: what is to be shut down when the simulation ends.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._tokens = Tokens(seed)
        self.exits = Exits()

    @property
    def random(self) -> random.Random:
        """The generator, seeded by the simulation's seed."""
        return self._random

    def token(self) -> str:
        """Make a name, which follows from the seed."""
        return self._tokens.make()

    def at_exit(self, begin: BeginExit) -> Callable[[], None]:
        """Have ``begin`` called when the simulation ends before whoever asked has taken it back."""
        return self.exits.add(begin)
