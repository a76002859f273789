"""The benchmarks: each does its work, tiny; what it measures is nobody's business here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# At the end: the package under test is the installed one, not the tree that is here too.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.cases import ALL
from benchmarks.measure import measure
from benchmarks.model import Benchmark, Config

pytestmark = pytest.mark.once

TINY = Config(scale=0.003)


@pytest.mark.parametrize("benchmark", ALL, ids=lambda one: one.name)
def test_benchmark_does_its_work(benchmark: Benchmark) -> None:
    """Every contender sends, receives and checks, and gives the figures that goals ask for."""
    result = measure(benchmark, TINY, rounds=1, warm_up=False)
    for contender in benchmark.contenders:
        assert result.rounds[0][contender.name]
    for goal in benchmark.goals:
        assert result.value(goal) > 0
