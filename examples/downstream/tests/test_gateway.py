"""The dashboard with a real gateway: real sockets, real threads, real time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from device_dashboard import Dashboard, Reading
from reactivex import Observable

from rxplus import TaggedData
from rxplus_testing import Recorder, RestartableServer, expect

pytestmark = pytest.mark.usefixtures("rx_no_leaks")


def test_dashboard_finds_a_restarted_gateway(
    rx_server: Callable[..., RestartableServer],
    rx_record: Callable[[Observable[Any]], Recorder[Any]],
) -> None:
    """A restart of the gateway costs neither readings that come later, nor orders."""
    gateway = rx_server("json")
    with Dashboard(gateway.conn_cfg("/devices")) as dashboard:
        online, readings = rx_record(dashboard.online), rx_record(dashboard.readings)
        expect(online).next(False)
        expect(online).next(True)
        gateway.send("/devices", {"device": "pump", "temperature": 70})
        expect(readings).next(Reading("pump", 70.0))

        gateway.stop()
        expect(online).next(False)
        dashboard.set_fan("pump", on=True)
        gateway.start()

        expect(online).next(True)
        order = {"order": "fan", "device": "pump", "on": True}
        expect(gateway.received).next(TaggedData("/devices", order))
        gateway.send("/devices", {"device": "pump", "temperature": 71})
        expect(readings).next(Reading("pump", 71.0))
