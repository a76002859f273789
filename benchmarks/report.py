"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.machine import describe
from benchmarks.measure import Result, Spread
from benchmarks.model import Config, Goal

__all__ = ["report"]


def report(results: list[Result], config: Config, command: str) -> str:
    """Return all tables: goals and what was reached, then everything that was measured."""
    loop = "uvloop" if config.uvloop else "asyncio"
    parts = [f"`{command}`", f"{describe()}; transport {config.transport}, {loop} loops."]
    if any(result.benchmark.goals for result in results):
        parts.append("### Goals\n\n" + "\n".join(_goals(results)))
    parts.append("### All figures\n\n" + "\n".join(_figures(results)))
    return "\n\n".join(parts)


def _goals(results: list[Result]) -> Iterator[str]:
    yield "| work | contender | figure | goal | reached | |"
    yield "|---|---|---|---|---|---|"
    for result in results:
        for goal in result.benchmark.goals:
            mark = "yes" if goal.reached(result.value(goal)) else "**no**"
            cells = (result.benchmark.title, goal.contender, goal.figure, goal)
            yield _row(*cells, _reached(result, goal), mark)


def _reached(result: Result, goal: Goal) -> str:
    if goal.versus is None:
        spread = result.absolute(goal.contender, goal.figure)
        assert spread is not None
        return _spread(spread)
    spread = result.ratio(goal.contender, goal.figure, goal.versus)
    assert spread is not None
    return _ratio(spread)


def _figures(results: list[Result]) -> Iterator[str]:
    yield "| work | contender | figure | median (least to most) | ratio to the first |"
    yield "|---|---|---|---|---|"
    for result in results:
        work = f"{result.benchmark.title} (`{result.benchmark.name}`)"
        for figure in result.figures:
            for contender in result.benchmark.contenders:
                spread = result.absolute(contender.name, figure)
                if spread is None:
                    continue
                ratio = result.ratio(contender.name, figure)
                shown = "" if ratio is None else _ratio(ratio)
                yield _row(work, contender.name, figure, _spread(spread), shown)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f}x ({spread.least:.2f} to {spread.most:.2f})"


def _spread(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.least)} to {_number(spread.most)})"


def _number(value: float) -> str:
    """Show three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
