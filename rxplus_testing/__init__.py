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
    ClockStep,
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
from rxplus_testing._line import Closed
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._plan import FAULT_KINDS, FaultPlan, PlannedFault
from rxplus_testing._recorder import Recorder
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._store import MemoryStore
from rxplus_testing._subscribers import SubscriberError, blocking, raising
from rxplus_testing._switching import Pause
from rxplus_testing._trace import Trace, TracePoint
from rxplus_testing._traffic import Traffic, TrafficEntry
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.explore import Exploration, explore
from rxplus_testing.memory import MemoryNetwork, MemoryTransport
from rxplus_testing.peer import Peer
from rxplus_testing.sim import Sim

__all__ = [
    "AcceptThenClose",
    "Bandwidth",
    "ByteNetwork",
    "ClockStep",
    "Closed",
    "Cut",
    "FAULT_KINDS",
    "Exploration",
    "ExplorationError",
    "FailSend",
    "Fault",
    "FaultPlan",
    "ForeignThreadError",
    "Hang",
    "Hold",
    "InvariantError",
    "Latency",
    "LeakError",
    "MemoryNetwork",
    "MemoryStore",
    "MemoryTransport",
    "Outage",
    "Peer",
    "PlannedFault",
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
    "SubscriberError",
    "Trace",
    "TracePoint",
    "Traffic",
    "TrafficEntry",
    "VirtualLoop",
    "VirtualScheduler",
    "blocking",
    "raising",
    "explore",
]
