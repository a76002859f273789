"""Results as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.measure import Result, Spread

__all__ = ["plot"]

_OURS = "#1f77b4"
_THEIRS = "#b0b0b0"

# In inches, as matplotlib has them: a panel of curves, a bar, and what is around all bars.
_CURVES_HEIGHT = 3.6
_BAR_HEIGHT = 0.2
_FRAME_HEIGHT = 1.2

_Panel: TypeAlias = tuple[str, list[Result], Callable[[Any, list[Result]], None]]

_Bar: TypeAlias = tuple[str, Spread, str]
"""Label, length with its least and most, and colour."""


def plot(results: list[Result], path: Path) -> None:
    """Draw what was measured, and save the picture, unless there is nothing to draw.

    Args:
        results: of whatever benchmarks were run.
        path: of the PNG file.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    panels = [panel for panel in _panels(results) if panel[1]]
    if not panels:
        return
    heights = [_height(panel) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9, sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for (title, shown, draw), axis in zip(panels, axes[:, 0], strict=True):
        axis.set_title(title)
        draw(axis, shown)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panels(results: list[Result]) -> list[_Panel]:
    def named(*beginnings: str) -> list[Result]:
        return [one for one in results if one.benchmark.name.startswith(beginnings)]

    return [
        ("client to server: messages or bytes a second", named("upstream", "producers"), _ratios),
        ("blocking round trip: 50th and 99th percentile", named("echo"), _ratios),
        ("fan-out to clients in another process: deliveries a second", named("fan-out"), _ratios),
        (
            "connections: memory, idle time, connecting; 1,000 paths",
            named("idle", "connect", "storm", "paths"),
            _ratios,
        ),
        ("cost of a message as something else grows", named("growth"), _curves),
    ]


def _height(panel: _Panel) -> float:
    _, shown, draw = panel
    return _FRAME_HEIGHT + _BAR_HEIGHT * len(_bars(shown)) if draw is _ratios else _CURVES_HEIGHT


def _bars(results: list[Result]) -> list[_Bar]:
    bars: list[_Bar] = []
    for result in results:
        for figure in result.figures:
            if figure.startswith("CPU us"):
                continue
            for contender in result.benchmark.contenders[1:]:
                spread = result.ratio(contender.name, figure)
                if spread is not None:
                    label = f"{result.benchmark.name}: {contender.name}, {figure}"
                    ours = contender.name.startswith("rxplus")
                    bars.append((label, spread, _OURS if ours else _THEIRS))
    return bars


def _ratios(axis: Any, results: list[Result]) -> None:
    """Draw a bar for each contender, relative to the first, which is the line at 1."""
    from matplotlib.ticker import LogLocator

    labels, spreads, colours = zip(*_bars(results), strict=True)
    places = range(len(labels))
    medians = [spread.median for spread in spreads]
    axis.barh(places, medians, color=colours, xerr=_errors(spreads))
    axis.set_yticks(places, labels, fontsize=7)
    axis.invert_yaxis()
    axis.axvline(1.0, color="black", linewidth=0.8)
    if max(medians) > 4 * min(medians):
        axis.set_xscale("log", subs=())
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("ratio to plain websockets")


def _errors(spreads: Sequence[Spread]) -> tuple[list[float], list[float]]:
    return (
        [one.median - one.least for one in spreads],
        [one.most - one.median for one in spreads],
    )


def _curves(axis: Any, results: list[Result]) -> None:
    """Draw the median against the number that is the contender's name."""
    for result in results:
        (figure,) = result.figures
        names = [contender.name for contender in result.benchmark.contenders]
        medians = [spread.median for name in names if (spread := result.absolute(name, figure))]
        numbers = [int(name.replace(",", "")) for name in names]
        axis.plot(numbers, medians, marker="o", label=result.benchmark.title)
        axis.set_ylabel(figure)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
