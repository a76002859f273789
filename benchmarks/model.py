"""What a benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BASELINE", "MANY_ROUNDS", "Benchmark", "Config", "Contender", "Figures", "Goal"]

Figures: TypeAlias = Mapping[str, float]
"""What one run measured, by name with unit, such as ``"msg/s"``."""

BASELINE = ""
"""Stands for the first contender of a benchmark, whatever its name."""

MANY_ROUNDS = 15
"""For goals that are near, when a round is short: on a busy machine one says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to run.

    Attributes:
        transport: name of the transport that rxplus uses.
        uvloop: whether every event loop, of all contenders, is uvloop's.
        scale: what counts of messages and connections are multiplied by.
    """

    transport: str = "websockets"
    uvloop: bool = False
    scale: float = 1.0

    def count(self, full: int, *, least: int = 1) -> int:
        """Scale a count."""
        return max(least, round(full * self.scale))


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work. ``run`` does all of it afresh, set-up included."""

    name: str
    run: Callable[[Config], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a contender is to reach.

    Attributes:
        contender: who.
        figure: of what.
        limit: to reach or pass.
        at_most: whether less is better.
        versus: the contender that is 1.0; ``None``: ``limit`` is the figure itself.
    """

    contender: str
    figure: str
    limit: float
    at_most: bool = False
    versus: str | None = BASELINE

    def reached(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        if self.versus is None:
            return f"{sign} {self.limit:,.10g}"
        versus = f" of {self.versus}" if self.versus else ""
        return f"{sign} {self.limit:g}x{versus}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Contenders that do the same work.

    Attributes:
        name: to ask for it with.
        title: what the work is.
        contenders: the first is the baseline, 1.0.
        goals: of the design; none for what is measured to be known.
        rounds: how often each contender runs; the median counts.
        warm_up: whether a first round is run and forgotten.
        group: what it is shown together with.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    rounds: int = 7
    warm_up: bool = True
    group: str = "goals"
