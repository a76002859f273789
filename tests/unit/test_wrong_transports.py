"""The contract, tested: a transport that is wrong in one way fails the case about it."""

from __future__ import annotations

import pytest
from benches import MemoryBench
from wrong import TRIALS, Right, Trial

from rxplus import Transport
from rxplus_testing.contract import TransportContract


class TestRight(MemoryBench, TransportContract):
    """The transport that the wrong ones differ from by one thing passes every case."""

    transport = Right

    def make_transport(self) -> Transport:
        """Put the transport to try around the memory transport."""
        return self.transport(super().make_transport())


@pytest.mark.parametrize("trial", TRIALS.values(), ids=list(TRIALS))
def test_wrong_transport_fails_its_case(trial: Trial) -> None:
    """A defect is found by the case that is about it, and by what that case asserts."""
    bench = TestRight()
    bench.transport = trial.transport
    with pytest.raises(trial.raises):
        getattr(bench, trial.case)()
