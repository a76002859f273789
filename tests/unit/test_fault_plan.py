"""Plans of faults, and the faults that are none of a network's."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.subject import Subject

from rxplus import Retry, RxWSClient, RxWSServer, TaggedData
from rxplus_testing import (
    FAULT_KINDS,
    ClockStep,
    FaultPlan,
    Hold,
    Outage,
    PlannedFault,
    Reset,
    Sim,
    SubscriberError,
    blocking,
    raising,
)


def test_plan_is_the_same_for_the_same_seed() -> None:
    """A seed decides everything, in the order of time; another seed decides otherwise."""
    plan = FaultPlan.random(3, count=50)
    assert plan == FaultPlan.random(3, sorted(FAULT_KINDS, reverse=True), count=50)
    assert plan != FaultPlan.random(4, count=50)
    assert [one.at for one in plan.faults] == sorted(one.at for one in plan.faults)
    assert all(one.at >= 0 and one.at + one.lasts <= 60 for one in plan.faults)
    assert len({type(one.fault) for one in plan.faults}) > 8


def test_plan_of_some_kinds() -> None:
    """Only the kinds that were asked for are drawn."""
    plan = FaultPlan.random(0, ["outage", "reset"], count=20, port=9000)
    assert {one.fault for one in plan.faults} == {Outage(), Reset()}
    assert {one.port for one in plan.faults} == {9000}


@pytest.mark.parametrize("kinds", [[], ["earthquake"]])
def test_plan_of_unknown_kinds_is_refused(kinds: list[str]) -> None:
    """The error names what is known."""
    with pytest.raises(ValueError, match=r"known are .*'bandwidth'"):
        FaultPlan.random(0, kinds)


def test_plan_reads_well() -> None:
    """A line for each fault: when, what, and where."""
    plan = FaultPlan(
        (
            PlannedFault(at=1.0, lasts=2.5, fault=Hold(direction="up"), port=9000),
            PlannedFault(at=4.0, lasts=0.0, fault=Reset()),
        )
    )
    assert str(plan) == (
        "1.000 to 3.500: Hold(direction='up') on port 9000\n4.000 to 4.000: Reset()"
    )


def test_plan_happens(sim: Sim) -> None:
    """Faults begin when they are due, on both networks, and end after they have lasted."""
    FaultPlan(
        (
            PlannedFault(at=1.0, lasts=2.0, fault=Outage()),
            PlannedFault(at=2.0, lasts=5.0, fault=Hold()),
            PlannedFault(at=2.5, lasts=0.0, fault=ClockStep(seconds=3600.0)),
        )
    ).install(sim)
    seen = []
    for when in (0.5, 1.5, 2.5, 4.0, 8.0):
        sim.advance(when - sim.now)
        assert [one.fault for one in sim.net.faults] == [one.fault for one in sim.byte_net.faults]
        seen.append([one.fault for one in sim.net.faults])
    assert seen == [[], [Outage()], [Outage(), Hold()], [Hold()], []]
    assert sim.scheduler.now.timestamp() == 3608.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("real", [False, True])
def test_components_survive_a_plan(seed: int, real: bool) -> None:
    """After any plan the client is connected again, and what it sends arrives."""
    with Sim(seed) as sim:
        FaultPlan.random(seed).install(sim)
        transport = None if real else sim.transport
        parts: dict[str, Any] = {"runtime": sim.runtime, "transport": transport}
        server = RxWSServer({"host": "127.0.0.1", "port": 9000}, **parts)
        config = {"host": "127.0.0.1", "port": 9000, "path": "/a"}
        client = RxWSClient(config, retry=Retry(maximum=2.0), **parts)
        received = sim.record(server)
        for number in range(60):
            client.on_next(str(number))
            sim.advance(1)
        assert client.wait_connected(60)
        sim.advance(15)
        assert client.wait_connected(60)
        client.on_next("last")
        sim.advance(1)
        numbers = [int(value.data) for value in received.values if value.data != "last"]
        assert numbers == sorted(set(numbers))
        assert received.values[-1] == TaggedData("/a", "last")
        client.close()
        server.close()


@pytest.mark.parametrize("seed", range(3))
def test_same_seed_same_bytes(seed: int) -> None:
    """With the real transport, too, a seed decides what goes over the network, and when."""

    def play() -> str:
        with Sim(seed) as sim:
            FaultPlan.random(seed, count=20).install(sim)
            server = RxWSServer({"host": "127.0.0.1", "port": 9000}, runtime=sim.runtime)
            config = {"host": "127.0.0.1", "port": 9000, "path": "/a"}
            client = RxWSClient(config, runtime=sim.runtime)
            for number in range(30):
                client.on_next("x" * number * 100)
                sim.advance(2)
            client.close()
            server.close()
            return sim.byte_net.snapshot()

    assert play() == play()


def test_subscriber_that_raises_is_reported(sim: Sim) -> None:
    """The other values arrive, and so do the other subscribers' values."""
    parts: dict[str, Any] = {"runtime": sim.runtime, "transport": sim.transport}
    with RxWSServer({"host": "127.0.0.1", "port": 9000}, **parts) as server:
        client = RxWSClient({"host": "127.0.0.1", "port": 9000, "path": "/a"}, **parts)
        errors, received = sim.record(server.errors), sim.record(server)
        server.subscribe(raising(after=1))
        assert client.wait_connected(5)
        for value in "abc":
            client.on_next(value)
        sim.advance(1)
        assert [value.data for value in received.values] == ["a", "b", "c"]
        [error] = errors.values
        assert isinstance(error.exception, SubscriberError)
        client.close()


def test_raising_goes_on_raising() -> None:
    """Without a limit it raises from then on."""
    on_next = raising(after=1, times=None)
    on_next(1)
    for value in (2, 3):
        with pytest.raises(SubscriberError, match=f"cannot take {value}"):
            on_next(value)


def test_subscriber_that_blocks_lets_time_pass(sim: Sim) -> None:
    """The loop stands still meanwhile, and what was due comes late."""
    times: list[float] = []
    sim.loop.call_later(1.0, blocking(sim, 5.0), None)
    sim.loop.call_later(2.0, lambda: times.append(sim.now))
    sim.run_until(lambda: times)
    assert times == [6.0]


def test_clock_step_changes_what_the_clock_says(sim: Sim) -> None:
    """Timestamps jump, and a timer that runs does not."""
    values: Subject[str] = Subject()
    stamped = sim.record(values.pipe(ops.timestamp(scheduler=sim.scheduler)))
    timer = sim.record(reactivex.timer(2.0, scheduler=sim.scheduler))
    values.on_next("before")
    sim.advance(1.0)
    sim.scheduler.step(-100.0)
    values.on_next("after")
    sim.advance(5.0)
    assert [one.timestamp.timestamp() for one in stamped.values] == [0.0, -99.0]
    assert timer.times == [2.0]
