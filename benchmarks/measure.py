"""Running benchmarks: contenders take turns, so that a busy moment hits all of them."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.model import BASELINE, Benchmark, Config, Contender, Figures, Goal

__all__ = ["Result", "Spread", "measure"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of some numbers."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Take them from a list."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured, round by round: ``rounds[n][contender][figure]``."""

    benchmark: Benchmark
    rounds: tuple[Mapping[str, Figures], ...]

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of what was measured, in order."""
        names: dict[str, None] = {}
        for figures in self.rounds[0].values():
            names.update(dict.fromkeys(figures))
        return tuple(names)

    def absolute(self, contender: str, figure: str) -> Spread | None:
        """Return the figure itself; ``None`` where the contender has no such figure."""
        if figure not in self.rounds[0][contender]:
            return None
        return Spread.of([one[contender][figure] for one in self.rounds])

    def ratio(self, contender: str, figure: str, versus: str = BASELINE) -> Spread | None:
        """Return how it compares, round by round, with what ran just before or after."""
        versus = versus or self.benchmark.contenders[0].name
        first = self.rounds[0]
        if figure not in first[contender] or not first[versus].get(figure):
            return None
        return Spread.of([one[contender][figure] / one[versus][figure] for one in self.rounds])

    def value(self, goal: Goal) -> float:
        """Return what a goal is about."""
        if goal.versus is None:
            spread = self.absolute(goal.contender, goal.figure)
        else:
            spread = self.ratio(goal.contender, goal.figure, goal.versus)
        assert spread is not None, f"{goal.contender} has no {goal.figure}"
        return spread.median


def measure(
    benchmark: Benchmark,
    config: Config,
    *,
    rounds: int | None = None,
    warm_up: bool | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Result:
    """Run a benchmark.

    Args:
        benchmark: which.
        config: how.
        rounds: how often; ``None``: as often as it asks for.
        warm_up: whether to run one more round first, and forget it; ``None``: as it asks for.
        tell: hears how it goes on.
    """
    rounds = rounds or benchmark.rounds
    first = benchmark.warm_up if warm_up is None else warm_up
    kept = []
    for number in range(-int(first), rounds):
        tell(f"{benchmark.name}: round {number + 1} of {rounds}")
        figures = {one.name: _run(one, config) for one in _in_turn(benchmark, number)}
        if number >= 0:
            kept.append(figures)
    return Result(benchmark, tuple(kept))


def _in_turn(benchmark: Benchmark, number: int) -> tuple[Contender, ...]:
    """Return the contenders, each round beginning with another one."""
    contenders = benchmark.contenders
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


def _run(contender: Contender, config: Config) -> Figures:
    # Nobody pays for what another one left behind.
    gc.collect()
    return contender.run(config)
