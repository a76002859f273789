"""What every transport must do, as tests that any transport can be put through.

Subclass :class:`TransportContract`, say how to make the transport, and let a test runner find
the class::

    class TestMyTransport(TransportContract):
        def make_transport(self) -> Transport:
            return MyTransport()

Nothing here needs pytest: each case is a method whose name starts with ``test_``.
"""

from rxplus_testing._line import Line
from rxplus_testing.contract._bench import (
    KIB,
    MIB,
    SHORT,
    End,
    Site,
    TransportBench,
    case,
    raises,
    refuses,
    same,
)
from rxplus_testing.contract.backpressure import BackpressureCases
from rxplus_testing.contract.close import CloseCases
from rxplus_testing.contract.concurrency import ConcurrencyCases
from rxplus_testing.contract.connect import ConnectCases
from rxplus_testing.contract.data import DataCases
from rxplus_testing.contract.liveness import LivenessCases

__all__ = [
    "KIB",
    "MIB",
    "SHORT",
    "End",
    "Line",
    "Site",
    "TransportBench",
    "TransportContract",
    "case",
    "raises",
    "refuses",
    "same",
]


class TransportContract(
    ConnectCases, DataCases, ConcurrencyCases, BackpressureCases, CloseCases, LivenessCases
):
    """All cases. Subclass it with a ``make_transport``."""
