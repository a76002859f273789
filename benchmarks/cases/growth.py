"""Whether a message costs more when there is more of something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from benchmarks.clock import Stopwatch
from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.processes import hear, process
from benchmarks.receivers import DONE, READY, connect_light_clients
from benchmarks.sides import ours
from benchmarks.tally import Tally, make_message
from rxplus import RxWSServer, TaggedData

__all__ = ["BENCHMARKS"]

_COST = "CPU us/msg"
_FLAT = 1.5


def _send(server: RxWSServer, config: Config, count: int) -> Figures:
    """Send messages from a client of the server, all at once."""
    message = make_message(64)
    done = threading.Event()
    tally = Tally(message, count, done.set)
    subscription = server.subscribe(lambda tagged: tally(tagged.data))
    with ours.client(config, server) as client, Stopwatch() as watch:
        for _ in range(count):
            client.on_next(message)
        assert done.wait(ours.LIMIT)
    subscription.dispose()
    tally.check()
    return {_COST: 1e6 * watch.cpu / count}


def _with_idle_connections(number: int, config: Config) -> Figures:
    with ours.server(config) as server:
        job = (connect_light_clients, server.port, ["/"] * config.count(number), "", 0)
        with process(*job) as wire:
            hear(wire, READY)
            return _send(server, config, config.count(20_000))


def _with_queue(number: int, config: Config) -> Figures:
    """Have that many messages wait at the same time."""
    count = config.count(number)
    with ours.server(config) as server:
        rounds = [_send(server, config, count) for _ in range(max(1, 30_000 // number))]
    return {_COST: sum(one[_COST] for one in rounds) / len(rounds)}


def _to_paths(number: int, config: Config) -> Figures:
    """Send to as many paths by turns, with one client on each."""
    message = str(make_message(64))
    paths = [f"/{one}" for one in range(config.count(number))]
    each = config.count(20_000) // len(paths) + 1
    with ours.server(config) as server:
        job = (connect_light_clients, server.port, paths, message, each)
        with process(*job) as wire:
            hear(wire, READY)
            with Stopwatch() as watch:
                for _ in range(each):
                    for path in paths:
                        server.on_next(TaggedData(path, message))
                hear(wire, DONE)
    return {_COST: 1e6 * watch.cpu / (each * len(paths))}


def _benchmark(
    name: str,
    title: str,
    run: Callable[[int, Config], Figures],
    sizes: tuple[int, ...],
    *,
    flat: bool = True,
) -> Benchmark:
    names = [f"{size:,}" for size in sizes]
    goal = Goal(contender=names[-1], figure=_COST, limit=_FLAT, at_most=True, versus=names[-2])
    return Benchmark(
        name=f"growth-{name}",
        title=title,
        contenders=tuple(
            Contender(label, partial(run, size)) for label, size in zip(names, sizes, strict=True)
        ),
        goals=(goal,) if flat else (),
        rounds=3,
        group="growth",
    )


BENCHMARKS = (
    _benchmark(
        "connections",
        "cost of a message to the server, by idle connections",
        _with_idle_connections,
        (1, 10, 100, 1_000),
    ),
    _benchmark(
        "queue",
        "cost of a message to the server, by length of the queue",
        _with_queue,
        (100, 1_000, 10_000, 60_000),
    ),
    _benchmark(
        "paths",
        "cost of a message from the server, by paths it sends to in turn",
        _to_paths,
        (1, 10, 100, 1_000),
        # The more paths, the fewer messages there are for each to be written together.
        flat=False,
    ),
)
