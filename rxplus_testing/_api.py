"""The public names of the package, which loads them from here."""

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
from rxplus_testing._expect import Expectation, expect
from rxplus_testing._explore import Exploration, explore
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
from rxplus_testing._leaks import no_leaks
from rxplus_testing._line import Closed
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._plan import FAULT_KINDS, FaultPlan, PlannedFault
from rxplus_testing._recorder import Recorder
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._servers import RestartableServer
from rxplus_testing._store import MemoryStore
from rxplus_testing._subscribers import SubscriberError, blocking, raising
from rxplus_testing._switching import Pause
from rxplus_testing._trace import Trace, TracePoint
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
    "Expectation",
    "Exploration",
    "ExplorationError",
    "FAULT_KINDS",
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
    "Pause",
    "Peer",
    "PlannedFault",
    "PortBusy",
    "Recorder",
    "RefuseConnection",
    "RejectHandshake",
    "Reset",
    "RestartableServer",
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
    "expect",
    "explore",
    "no_leaks",
    "raising",
]
