"""The dashboard in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from device_dashboard import Alarm, Dashboard, Reading
from reactivex import Observable

from rxplus import RxWSServer, TaggedData
from rxplus_testing import MemoryNetwork, Recorder, Sim, expect

Record = Callable[[Observable[Any]], Recorder[Any]]


def report(gateway: RxWSServer, device: str, temperature: float) -> None:
    """Have a device report its temperature."""
    gateway.on_next(TaggedData("/devices", {"device": device, "temperature": temperature}))


def test_readings_arrive_in_order(
    dashboard: Dashboard, gateway: RxWSServer, rx_record: Record
) -> None:
    """What devices report is what the dashboard shows."""
    readings = rx_record(dashboard.readings)
    report(gateway, "pump", 70.5)
    report(gateway, "fan", 20)
    expect(readings).values(Reading("pump", 70.5), Reading("fan", 20.0), within=1)
    expect(readings).nothing(during=60)


@pytest.mark.parametrize("message", ["hello", {"device": "pump"}, {"temperature": 1}, [], None])
def test_readings_leave_out_what_is_none(
    dashboard: Dashboard, gateway: RxWSServer, rx_record: Record, message: Any
) -> None:
    """Messages of other kinds do no harm."""
    readings = rx_record(dashboard.readings)
    gateway.on_next(TaggedData("/devices", message))
    report(gateway, "pump", 70)
    expect(readings).next(Reading("pump", 70.0))


def test_alarms_tell_each_change_once(
    dashboard: Dashboard, gateway: RxWSServer, rx_sim: Sim, rx_record: Record
) -> None:
    """A device that gets too hot raises one alarm, and one when it has cooled down."""
    alarms = rx_record(dashboard.alarms)
    start = rx_sim.now
    for second, temperature in enumerate([70, 81, 82, 85, 79, 81]):
        rx_sim.at(start + second, partial(report, gateway, "pump", temperature))
    expect(alarms).marbles(
        "--h-----c-h-------------------s",
        timespan=0.5,
        lookup={
            "h": Alarm("pump", "hot"),
            "c": Alarm("pump", "cool again"),
            "s": Alarm("pump", "silent"),
        },
    )


def test_alarms_tell_of_silence(
    dashboard: Dashboard, gateway: RxWSServer, rx_sim: Sim, rx_record: Record
) -> None:
    """Each device has a time of its own, which starts again with each reading."""
    alarms = rx_record(dashboard.alarms)
    report(gateway, "pump", 20)
    report(gateway, "fan", 20)
    rx_sim.advance(9)
    report(gateway, "pump", 20)
    assert expect(alarms).next(within=1.5) == Alarm("fan", "silent")
    expect(alarms).nothing(during=8)
    expect(alarms).next(Alarm("pump", "silent"), within=1.5)


@pytest.mark.rx_sim(seeds=20)
def test_orders_survive_an_outage(
    dashboard: Dashboard,
    gateway: RxWSServer,
    rx_sim: Sim,
    rx_net: MemoryNetwork,
    rx_record: Record,
) -> None:
    """What is ordered while the gateway is away arrives when it is back, whatever the timing."""
    online = rx_record(dashboard.online)
    orders = rx_record(gateway)
    expect(online).next(True)
    with rx_net.refuse():
        rx_net.sever()
        expect(online).next(False)
        dashboard.set_fan("pump", on=True)
        rx_sim.advance(30)
    expect(online).next(True)
    order = {"order": "fan", "device": "pump", "on": True}
    expect(orders).next(TaggedData("/devices", order), within=1)
    expect(orders).nothing(during=60)


def test_closing_ends_what_was_watched(
    dashboard: Dashboard, gateway: RxWSServer, rx_sim: Sim, rx_record: Record
) -> None:
    """After closing there is no alarm any more, not even of silence."""
    readings, alarms = rx_record(dashboard.readings), rx_record(dashboard.alarms)
    report(gateway, "pump", 20)
    rx_sim.advance(1)
    dashboard.close()
    expect(readings).next()
    expect(readings).completed()
    expect(alarms).completed()
    expect(alarms).nothing(during=60)
