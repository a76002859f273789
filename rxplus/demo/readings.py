"""What this machine says about itself: text of ``/proc`` in, numbers out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = [
    "CpuTime",
    "Machine",
    "ProcFiles",
    "ThisProcess",
    "busy_percent",
    "find_machine",
    "parse_loadavg",
    "parse_meminfo",
    "parse_net_dev",
    "parse_stat",
]

_IDLE_FIELDS = (3, 4)
"""Where ``/proc/stat`` has idle and iowait; both are time in which a CPU did nothing."""

_STAT_FIELDS = 8
"""How many of its fields to add up: guest time, after them, is part of user time already."""


class CpuTime(NamedTuple):
    """How long CPUs were busy, out of how long, since some moment. In one unit, whichever."""

    busy: float
    total: float


class Machine(Protocol):
    """Where readings come from. Methods may raise ``OSError`` or ``ValueError``."""

    about: str
    """What is measured, for people."""

    def cpu(self) -> CpuTime:
        """Return CPU time so far."""
        ...

    def memory(self) -> float:
        """Return how much memory is in use, in percent."""
        ...

    def network(self) -> float:
        """Return the bytes received and sent so far."""
        ...

    def load(self) -> float:
        """Return the load average of the last minute."""
        ...


def parse_stat(text: str) -> CpuTime:
    """Read ``/proc/stat``: the time of all CPUs together, in clock ticks."""
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name == "cpu":
            ticks = [float(field) for field in rest.split()[:_STAT_FIELDS]]
            idle = sum(ticks[at] for at in _IDLE_FIELDS if at < len(ticks))
            return CpuTime(sum(ticks) - idle, sum(ticks))
    raise ValueError("/proc/stat has no line for all CPUs")


def parse_meminfo(text: str) -> float:
    """Read ``/proc/meminfo``: memory that programs could not have, in percent."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        total, available = (float(fields[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    except KeyError as exc:
        raise ValueError(f"/proc/meminfo has no {exc}") from exc
    return 100.0 * (total - available) / total


def parse_net_dev(text: str) -> float:
    """Read ``/proc/net/dev``: bytes received and sent on all interfaces, loopback included."""
    total = 0.0
    for line in text.splitlines():
        _, colon, rest = line.partition(":")
        if colon:
            fields = rest.split()
            total += float(fields[0]) + float(fields[8])
    return total


def parse_loadavg(text: str) -> float:
    """Read ``/proc/loadavg``: the average of the last minute."""
    return float(text.split(maxsplit=1)[0])


def busy_percent(before: CpuTime, after: CpuTime) -> float:
    """Return how busy CPUs were between two readings; 0 when no time had passed."""
    passed = after.total - before.total
    # Linux may correct iowait downwards, so a difference can be a little off.
    return min(100.0, max(0.0, 100.0 * (after.busy - before.busy) / passed)) if passed > 0 else 0.0


class ProcFiles:
    """Readings of a whole machine, from ``/proc``."""

    about = "this machine, from /proc"

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def cpu(self) -> CpuTime:
        return parse_stat(self._read("stat"))

    def memory(self) -> float:
        return parse_meminfo(self._read("meminfo"))

    def network(self) -> float:
        return parse_net_dev(self._read("net/dev"))

    def load(self) -> float:
        return parse_loadavg(self._read("loadavg"))

    def _read(self, name: str) -> str:
        return (self._root / name).read_text()


class ThisProcess:
    """What can be known without ``/proc``: this process alone, and nothing of the network."""

    about = "this process only, as there is no /proc here (memory and network read 0)"

    def cpu(self) -> CpuTime:
        return CpuTime(time.process_time(), time.monotonic() * (os.cpu_count() or 1))

    def memory(self) -> float:
        return 0.0

    def network(self) -> float:
        return 0.0

    def load(self) -> float:
        # Windows has no load average.
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def find_machine(root: Path = Path("/proc")) -> Machine:
    """Return the best source of readings that works here."""
    machine = ProcFiles(root)
    try:
        for read in (machine.cpu, machine.memory, machine.network, machine.load):
            read()
    except (OSError, ValueError, IndexError):
        return ThisProcess()
    return machine
