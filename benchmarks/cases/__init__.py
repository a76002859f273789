"""The benchmarks, in the order in which they run and are shown."""

from __future__ import annotations

from benchmarks.cases import (
    connecting,
    delivery,
    echo,
    fanout,
    groups,
    growth,
    handover,
    idle,
    telemetry,
    upstream,
)
from benchmarks.model import Benchmark

__all__ = ["ALL", "select"]

ALL: tuple[Benchmark, ...] = (
    *upstream.BENCHMARKS,
    *handover.BENCHMARKS,
    *echo.BENCHMARKS,
    *fanout.BENCHMARKS,
    *groups.BENCHMARKS,
    *idle.BENCHMARKS,
    *connecting.BENCHMARKS,
    *delivery.BENCHMARKS,
    *telemetry.BENCHMARKS,
    *growth.BENCHMARKS,
)


def select(names: list[str]) -> tuple[Benchmark, ...]:
    """Return the benchmarks whose names begin with one of ``names``; all when there is none.

    Raises:
        ValueError: no benchmark has such a name.
    """
    for name in names:
        if not any(one.name.startswith(name) for one in ALL):
            known = ", ".join(one.name for one in ALL)
            raise ValueError(f"no benchmark is called {name!r}; there are {known}")
    return tuple(one for one in ALL if not names or one.name.startswith(tuple(names)))
