"""Idle connections: memory of each, and what the processor does for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.processes import LIMIT, Wire, hear, process
from benchmarks.receivers import READY, connect_light_clients
from benchmarks.servers import Usage, ping_interval, serve_ours, serve_plain

__all__ = ["BENCHMARKS"]

_INTERVALS = 2
"""For how many pings processor time is measured."""


def _ask(wire: Wire) -> Usage:
    wire.send(None)
    assert wire.poll(LIMIT)
    answer: Usage = wire.recv()
    return answer


def _idle(serve: Callable[..., None], clients: int, config: Config) -> Figures:
    clients = config.count(clients, least=2)
    seconds = _INTERVALS * ping_interval(config)
    with process(serve, config) as server:
        port: Any = server.recv()
        # The first connection pays for what all of them share.
        with process(connect_light_clients, port, ["/"], "", 0) as first:
            hear(first, READY)
            before = _ask(server)
            with process(connect_light_clients, port, ["/"] * clients, "", 0) as wire:
                hear(wire, READY)
                begun = _ask(server)
                time.sleep(seconds)
                ended = _ask(server)
    return {
        "KiB/connection": max(1, ended.memory - before.memory) / clients / 1024,
        "CPU % idle": 100 * (ended.cpu - begun.cpu) / seconds,
    }


def _benchmark(clients: int, rounds: int, goals: tuple[Goal, ...] = ()) -> Benchmark:
    return Benchmark(
        name=f"idle-{clients}",
        title=f"{clients:,} idle connections of a server, a ping on each every second",
        contenders=(
            Contender("websockets", partial(_idle, serve_plain, clients)),
            Contender("rxplus", partial(_idle, serve_ours, clients)),
        ),
        goals=goals,
        rounds=rounds,
        warm_up=False,
        group="goals" if goals else "idle",
    )


BENCHMARKS = (
    _benchmark(
        1_000, 3, (Goal(contender="rxplus", figure="KiB/connection", limit=1.2, at_most=True),)
    ),
    _benchmark(100, 3),
    _benchmark(5_000, 2),
)
