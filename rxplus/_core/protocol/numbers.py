"""Runs of message numbers."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Span"]


class Span(NamedTuple):
    """Messages from one number to another, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    @classmethod
    def of(cls, first: int, last: int) -> Span | None:
        """Make one; ``None`` when there is nothing in it."""
        return cls(first, last) if first <= last else None
