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
from rxplus_testing._line import Closed
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._plan import FAULT_KINDS, FaultPlan, PlannedFault
from rxplus_testing._recorder import Recorder
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._subscribers import SubscriberError, blocking, raising
from rxplus_testing._traffic import Traffic, TrafficEntry
from rxplus_testing.byte import ByteNetwork
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
    "FailSend",
    "Fault",
    "FaultPlan",
    "ForeignThreadError",
    "Hang",
    "Hold",
    "Latency",
    "LeakError",
    "MemoryNetwork",
    "MemoryTransport",
    "Outage",
    "Peer",
    "PlannedFault",
    "PortBusy",
    "Recorder",
    "RefuseConnection",
    "RejectHandshake",
    "Reset",
    "Rule",
    "Sim",
    "SimDeadlock",
    "SimError",
    "SimTimeout",
    "Slices",
    "SlowClose",
    "SubscriberError",
    "Traffic",
    "TrafficEntry",
    "VirtualLoop",
    "VirtualScheduler",
    "blocking",
    "raising",
]
