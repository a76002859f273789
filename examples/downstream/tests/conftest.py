"""The fixtures of rxplus_testing, made into those of this project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from device_dashboard import Dashboard

from rxplus import RxWSServer
from rxplus_testing import Sim, expect


@pytest.fixture
def gateway(rx_sim: Sim) -> Iterator[RxWSServer]:
    """A gateway in the simulated world."""
    with RxWSServer(
        {"host": "127.0.0.1", "port": 0}, "json", runtime=rx_sim.runtime, transport=rx_sim.transport
    ) as server:
        yield server


@pytest.fixture
def dashboard(rx_sim: Sim, gateway: RxWSServer) -> Iterator[Dashboard]:
    """A dashboard that is connected to it."""
    with Dashboard(
        {"host": "127.0.0.1", "port": gateway.port, "path": "/devices"},
        scheduler=rx_sim.scheduler,
        runtime=rx_sim.runtime,
        transport=rx_sim.transport,
    ) as dashboard:
        expect(rx_sim.record(dashboard.online)).values(False, True)
        yield dashboard
