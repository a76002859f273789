"""Tests for programs that use rxplus: no network, no sleeping, the same run each time."""

from __future__ import annotations

from rxplus_testing._errors import (
    ExplorationError,
    ForeignThreadError,
    InvariantError,
    LeakError,
    SimDeadlock,
    SimError,
    SimTimeout,
)
from rxplus_testing._faults import (
    AcceptThenClose,
    Bandwidth,
    Cut,
    FailSend,
    Fault,
    Hang,
    Hold,
    Latency,
    Outage,
    PortBusy,
    RefuseConnection,
    RejectHandshake,
    Reset,
    Rule,
    Slices,
    SlowClose,
)
from rxplus_testing._jobs import SimThread
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._recorder import Recorder
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._switching import Pause
from rxplus_testing._trace import Trace, TracePoint
from rxplus_testing._traffic import Traffic, TrafficEntry
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.explore import Exploration, explore
from rxplus_testing.memory import MemoryNetwork, MemoryTransport
from rxplus_testing.sim import Sim

__all__ = [
    "AcceptThenClose",
    "Bandwidth",
    "ByteNetwork",
    "Cut",
    "Exploration",
    "ExplorationError",
    "FailSend",
    "Fault",
    "ForeignThreadError",
    "Hang",
    "Hold",
    "InvariantError",
    "Latency",
    "LeakError",
    "MemoryNetwork",
    "MemoryTransport",
    "Outage",
    "Pause",
    "PortBusy",
    "Recorder",
    "RefuseConnection",
    "RejectHandshake",
    "Reset",
    "Rule",
    "Sim",
    "SimDeadlock",
    "SimError",
    "SimThread",
    "SimTimeout",
    "Slices",
    "SlowClose",
    "Trace",
    "TracePoint",
    "Traffic",
    "TrafficEntry",
    "VirtualLoop",
    "VirtualScheduler",
    "explore",
]
