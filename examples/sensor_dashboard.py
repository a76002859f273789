"""Sensors to a dashboard: many streams in on paths of their own, one summary out.

It shows a group, which is one Subject for many paths; a server that folds what
arrives into a summary and sends that to another path; and a client, the
dashboard, that watches it until every sensor has said its last.

Run it with ``python examples/sensor_dashboard.py``; it ends by itself.
"""

from __future__ import annotations

import math
from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler, TimeoutScheduler
from reactivex.subject import ReplaySubject

from rxplus import RxWSClient, RxWSClientGroup, RxWSServer, TaggedData, tag

DASHBOARD = "/dashboard"
SENSORS = ("/sensor/boiler", "/sensor/cellar", "/sensor/roof")
READINGS = 20
"""How many each sensor sends."""

Summary = dict[str, dict[str, float]]
"""By path: how many readings there were, the lowest and the highest."""

TOO_LATE: Observable[Any] = reactivex.throw(TimeoutError("the dashboard stands still"))


def temperature(path: str, scheduler: EventLoopScheduler) -> Observable[TaggedData]:
    """Pretend to measure a temperature every 10 ms."""
    base = 20.0 * (1 + SENSORS.index(path))

    def wave(n: int) -> float:
        return round(base + 5.0 * math.sin(n / 3), 2)

    return reactivex.interval(0.01, scheduler=scheduler).pipe(
        ops.take(READINGS),
        ops.map(wave),
        tag(path),
    )


def is_reading(message: TaggedData) -> bool:
    """Tell whether a message is from a sensor."""
    return message.tag in SENSORS


def fold(summary: Summary, reading: TaggedData) -> Summary:
    """Add a reading to a summary."""
    path, value = reading
    so_far = summary.get(path, {"count": 0, "low": value, "high": value})
    merged = {
        "count": so_far["count"] + 1,
        "low": min(so_far["low"], value),
        "high": max(so_far["high"], value),
    }
    return {**summary, path: merged}


def serve() -> RxWSServer:
    """Start a server on a free port that keeps the dashboard up to date."""
    server = RxWSServer({"host": "127.0.0.1", "port": 0}, "json")
    empty: Summary = {}
    server.pipe(
        ops.filter(is_reading),
        ops.scan(fold, empty),
        tag(DASHBOARD),
    ).subscribe(server.on_next)
    return server


def is_complete(summary: Summary) -> bool:
    """Tell whether every sensor has sent all its readings."""
    return all(summary.get(path, {"count": 0})["count"] == READINGS for path in SENSORS)


def main() -> Summary:
    """Run the sensors until the dashboard has seen all they have to say.

    Returns:
        The last summary on the dashboard.
    """
    clock = EventLoopScheduler()
    with clock, serve() as server:
        address: dict[str, Any] = {"host": "127.0.0.1", "port": server.port}
        with (
            RxWSClient({**address, "path": DASHBOARD}, "json") as dashboard,
            RxWSClientGroup(address, "json", buffer_while_disconnected=True) as sensors,
        ):
            # Nobody keeps a summary for a dashboard that is not there yet.
            if not dashboard.wait_connected(10.0):
                raise TimeoutError("the dashboard cannot connect")
            seen: ReplaySubject[Summary] = ReplaySubject(1)
            dashboard.subscribe(seen)
            # `sensors.on_next`, not `sensors`: the end of the readings is not that of the group.
            reactivex.merge(*(temperature(path, clock) for path in SENSORS)).subscribe(
                sensors.on_next
            )
            return seen.pipe(
                ops.timeout(10.0, TOO_LATE, TimeoutScheduler.singleton()),
                ops.first(is_complete),
            ).run()


if __name__ == "__main__":
    for path, row in main().items():
        print(f"{path:<16} {row['count']:>3} readings, {row['low']:.2f} to {row['high']:.2f} C")
