"""Tests for programs that use rxplus: no network, no sleeping, the same run each time."""

from __future__ import annotations

from rxplus_testing._errors import (
    ForeignThreadError,
    LeakError,
    SimDeadlock,
    SimError,
    SimTimeout,
)
from rxplus_testing._faults import (
    AcceptThenClose,
    FailSend,
    Fault,
    Hang,
    RefuseConnection,
    RejectHandshake,
    Rule,
)
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._recorder import Recorder
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._traffic import Traffic, TrafficEntry
from rxplus_testing.memory import MemoryNetwork, MemoryTransport
from rxplus_testing.sim import Sim

__all__ = [
    "AcceptThenClose",
    "FailSend",
    "Fault",
    "ForeignThreadError",
    "Hang",
    "LeakError",
    "MemoryNetwork",
    "MemoryTransport",
    "Recorder",
    "RefuseConnection",
    "RejectHandshake",
    "Rule",
    "Sim",
    "SimDeadlock",
    "SimError",
    "SimTimeout",
    "Traffic",
    "TrafficEntry",
    "VirtualLoop",
    "VirtualScheduler",
]
