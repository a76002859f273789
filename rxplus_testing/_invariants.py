"""What must hold at every step of a simulation."""

from __future__ import annotations

from collections.abc import Callable

from rxplus_testing._errors import InvariantError

__all__ = ["Invariants"]


class Invariants:
    """Predicates by name, looked at between any two steps.

    Args:
        clock: tells the virtual time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._predicates: dict[str, Callable[[], object]] = {}

    def add(self, name: str, predicate: Callable[[], object]) -> None:
        """Have ``predicate`` looked at from now on."""
        if name in self._predicates:
            raise ValueError(f"there is an invariant {name!r} already")
        self._predicates[name] = predicate

    def check(self, moment: str) -> None:
        """Look at all of them.

        Args:
            moment: for people.

        Raises:
            InvariantError: one does not hold. It is not looked at again, as is one that raises.
        """
        for name, predicate in list(self._predicates.items()):
            holds = False
            try:
                holds = bool(predicate())
            finally:
                if not holds:
                    del self._predicates[name]
            if not holds:
                raise InvariantError(f"{name!r} does not hold at t={self._clock():.6f}, {moment}")
