"""One server to many clients, which are in another process."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from websockets.asyncio.server import broadcast

from benchmarks.clock import Stopwatch, latency
from benchmarks.loops import run
from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.processes import hear, process
from benchmarks.receivers import DONE, READY, connect_library_clients, connect_light_clients
from benchmarks.sides import ours, plain
from benchmarks.tally import make_message
from rxplus import TaggedData

__all__ = ["BENCHMARKS"]

_PATH = "/all"
_CLIENTS: dict[str, Any] = {
    "light": connect_light_clients,
    "library": connect_library_clients,
}


async def _wait(connection: plain.ServerConnection) -> None:
    await connection.wait_closed()


def _figures(watch: Stopwatch, deliveries: int) -> Figures:
    return watch.rate(deliveries, "delivery")


def _plain(kind: str, clients: int, count: int, config: Config) -> Figures:
    message = str(make_message(64))
    clients, total = config.count(clients), config.count(count)

    async def main() -> Figures:
        async with plain.serving(_wait) as server:
            port = plain.port_of(server)
            job = (_CLIENTS[kind], port, [_PATH] * clients, message, total)
            with process(*job) as wire:
                await asyncio.to_thread(hear, wire, READY)
                with Stopwatch() as watch:
                    for _ in range(total):
                        broadcast(server.connections, message)
                        # Else nothing is received, and all that waits is memory.
                        await asyncio.sleep(0)
                    await asyncio.to_thread(hear, wire, DONE)
        return _figures(watch, total * clients)

    return run(config, main())


def _ours(kind: str, clients: int, count: int, config: Config) -> Figures:
    message = str(make_message(64))
    clients, total = config.count(clients), config.count(count)
    with ours.server(config) as server:
        job = (_CLIENTS[kind], server.port, [_PATH] * clients, message, total)
        with process(*job) as wire:
            hear(wire, READY)
            with Stopwatch() as watch:
                for _ in range(total):
                    server.on_next(TaggedData(_PATH, message))
                hear(wire, DONE)
    return _figures(watch, total * clients)


def _one_by_one_plain(clients: int, count: int, config: Config) -> Figures:
    """Send each message when all clients have got the one before."""
    message = str(make_message(64))
    clients = config.count(clients)

    async def main() -> Figures:
        seconds = []
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()

        def take() -> None:
            try:
                hear(wire, DONE)  # at once, or the loop would call again for the same
            finally:
                heard.set()

        async with plain.serving(_wait) as server:
            job = (connect_light_clients, plain.port_of(server), [_PATH] * clients, message, 1)
            with process(*job) as wire:
                await asyncio.to_thread(hear, wire, READY)
                loop.add_reader(wire.fileno(), take)
                for _ in range(config.count(count, least=2)):
                    started = time.perf_counter()
                    broadcast(server.connections, message)
                    await heard.wait()
                    seconds.append(time.perf_counter() - started)
                    heard.clear()
                loop.remove_reader(wire.fileno())
        return latency(seconds)

    return run(config, main())


def _one_by_one_ours(clients: int, count: int, config: Config) -> Figures:
    message = str(make_message(64))
    seconds = []
    with ours.server(config) as server:
        paths = [_PATH] * config.count(clients)
        with process(connect_light_clients, server.port, paths, message, 1) as wire:
            hear(wire, READY)
            for _ in range(config.count(count, least=2)):
                started = time.perf_counter()
                server.on_next(TaggedData(_PATH, message))
                hear(wire, DONE)
                seconds.append(time.perf_counter() - started)
    return latency(seconds)


def _benchmark(
    clients: int, count: int, kind: str, goal: float | None, *, group: str = "fan-out"
) -> Benchmark:
    suffix = "" if kind == "light" else "-library"
    limit = (Goal(contender="rxplus", figure="delivery/s", limit=goal),) if goal else ()
    return Benchmark(
        name=f"fan-out-{clients}{suffix}",
        title=f"fan-out to {clients:,} {kind} clients in another process, 64 B text",
        contenders=(
            Contender("websockets.broadcast", partial(_plain, kind, clients, count)),
            Contender("rxplus", partial(_ours, kind, clients, count)),
        ),
        goals=limit,
        rounds=5,
        group=group,
    )


BENCHMARKS = (
    _benchmark(100, 1_000, "light", 1.3, group="goals"),
    _benchmark(100, 300, "library", 1.3, group="goals"),
    _benchmark(10, 5_000, "light", None),
    Benchmark(
        name="fan-out-one-by-one",
        title="fan-out to 100 light clients in another process, until the last has got a message",
        contenders=(
            Contender("websockets.broadcast", partial(_one_by_one_plain, 100, 300)),
            Contender("rxplus", partial(_one_by_one_ours, 100, 300)),
        ),
        rounds=5,
        group="fan-out",
    ),
    _benchmark(1_000, 100, "light", None),
)
