"""What there is to know about a simulation whose test failed."""

from __future__ import annotations

from pathlib import Path

from rxplus_testing._traffic import TrafficEntry
from rxplus_testing.sim import Sim

__all__ = ["describe_failed", "write_artifacts"]

_TRAFFIC = 20
"""Lines of traffic that are shown."""

_STEPS = 20
"""Steps of the trace that are shown."""

_EVENTS = 5
"""Events of each recorder that are shown."""


def describe_failed(sim: Sim, replay: str) -> str:
    """Return a report on how a simulation stands.

    Args:
        sim: the simulation; it need not be open any more.
        replay: the command that runs the same again.
    """
    lines = [f"seed {sim.seed}, replayed by: {replay}", sim.describe()]
    lines += _recorded(sim)
    lines += _tail("traffic", list(map(str, _traffic(sim))), _TRAFFIC)
    lines += _tail("trace", list(map(str, sim.trace)), _STEPS)
    return "\n".join(lines)


def write_artifacts(directory: Path, sim: Sim, report: str) -> None:
    """Write the report, and in full what it shows the end of, as files into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "report.txt": report,
        "traffic.txt": "\n".join(map(str, _traffic(sim))),
        "trace.txt": "\n".join(map(str, sim.trace)),
    }
    for name, text in files.items():
        (directory / name).write_text(text + "\n", "utf-8")


def _traffic(sim: Sim) -> list[TrafficEntry]:
    """Return what went over both networks, in order."""
    entries = [*sim.net.traffic, *sim.byte_net.traffic]
    return sorted(entries, key=lambda entry: entry.time)


def _recorded(sim: Sim) -> list[str]:
    return [
        f"recorder {number}: {recorder.tail(_EVENTS)}"
        for number, recorder in enumerate(sim.recorders, 1)
    ]


def _tail(title: str, lines: list[str], count: int) -> list[str]:
    """Return the last lines, indented, under a title that says how many there were."""
    shown = lines[-count:]
    if not shown:
        return [f"{title}: nothing"]
    of_all = f"last {len(shown)} of {len(lines)}" if len(shown) < len(lines) else "all"
    return [f"{title} ({of_all}):", *(f"  {line}" for line in shown)]
