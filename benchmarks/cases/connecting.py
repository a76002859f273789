"""Many connections at once: connecting, connecting again, and using a thousand paths."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import serve

from benchmarks.clock import Stopwatch
from benchmarks.loops import run
from benchmarks.model import Benchmark, Config, Contender, Figures
from benchmarks.sides import ours, plain
from benchmarks.tally import Tally, make_message
from rxplus import Retry, Runtime, RxWSClientGroup, RxWSServer, TaggedData

__all__ = ["BENCHMARKS"]

_CLIENTS = 1_000
_EACH = 10
_RETRY = 0.05


async def _wait(connection: plain.ServerConnection) -> None:
    await connection.wait_closed()


@contextmanager
def _server_and_group(config: Config) -> Iterator[tuple[Runtime, RxWSServer, RxWSClientGroup]]:
    runtime, transport = ours.runtime_of(config), ours.transport_of(config)
    retry = Retry(initial=_RETRY, maximum=_RETRY, jitter=0.0)
    server_cfg = {"host": ours.HOST, "port": 0}
    with RxWSServer(server_cfg, runtime=runtime, transport=transport) as server:
        group_cfg = {"host": ours.HOST, "port": server.port}
        with RxWSClientGroup(group_cfg, runtime=runtime, transport=transport, retry=retry) as group:
            yield runtime, server, group


def _connect_ours(config: Config) -> Figures:
    count = config.count(_CLIENTS)
    with _server_and_group(config) as (_, _, group):
        with Stopwatch() as watch:
            _open_all(group, count)
        return watch.rate(count, "connection")


def _open_all(group: RxWSClientGroup, count: int) -> None:
    for number in range(count):
        group.open_path(f"/{number}")
    assert group.wait_connected(ours.LIMIT)


def _connect_plain(config: Config) -> Figures:
    count = config.count(_CLIENTS)

    async def main() -> Figures:
        async with plain.serving(_wait) as server:
            port = plain.port_of(server)
            with Stopwatch() as watch:
                clients = await _connect_all(port, count)
            await _close_all(clients)
        return watch.rate(count, "connection")

    return run(config, main())


async def _connect_all(port: int, count: int) -> list[ClientConnection]:
    async def one(number: int) -> ClientConnection:
        return await plain.connecting(port, f"/{number}")

    return await asyncio.gather(*map(one, range(count)))


async def _close_all(clients: list[ClientConnection]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


def _storm_ours(config: Config) -> Figures:
    """Have the server vanish and come back."""
    count = config.count(_CLIENTS)
    with _server_and_group(config) as (runtime, server, group):
        _open_all(group, count)
        server.close()
        back_cfg = {"host": ours.HOST, "port": server.port}
        transport = ours.transport_of(config)
        with (
            Stopwatch() as watch,
            RxWSServer(back_cfg, runtime=runtime, transport=transport) as back,
        ):
            while len(back.peers) < count:
                assert group.wait_connected(ours.LIMIT)
            seconds = watch.lap()
    return {"s until all are back": seconds}


def _storm_plain(config: Config) -> Figures:
    count = config.count(_CLIENTS)

    async def main() -> Figures:
        back, present = asyncio.Event(), 0

        async def one(number: int) -> None:
            while True:
                try:
                    async with plain.connecting(port, f"/{number}") as client:
                        await client.wait_closed()
                except OSError:
                    pass
                await asyncio.sleep(_RETRY)

        async def counting(connection: plain.ServerConnection) -> None:
            nonlocal present
            present += 1
            if present == count:
                back.set()
            await connection.wait_closed()

        async with plain.serving(counting) as server:
            port = plain.port_of(server)
            clients = [asyncio.create_task(one(number)) for number in range(count)]
            await back.wait()
        back.clear()
        present = 0
        with Stopwatch() as watch:
            async with serve(counting, plain.HOST, port, compression=None):
                await back.wait()
                seconds = watch.lap()
                for client in clients:
                    client.cancel()
                await asyncio.wait(clients)
        return {"s until all are back": seconds}

    return run(config, main())


def _use_ours(config: Config) -> Figures:
    message = str(make_message(64))
    count = config.count(_CLIENTS)
    total = count * _EACH
    done = threading.Event()
    tally = Tally(message, total, done.set)
    with _server_and_group(config) as (_, server, group):
        _open_all(group, count)
        server.subscribe(lambda tagged: tally(tagged.data))
        with Stopwatch() as watch:
            for _ in range(_EACH):
                for number in range(count):
                    group.on_next(TaggedData(f"/{number}", message))
            assert done.wait(ours.LIMIT)
    tally.check()
    return watch.rate(total)


def _use_plain(config: Config) -> Figures:
    message = str(make_message(64))
    count = config.count(_CLIENTS)
    total = count * _EACH

    async def main() -> Figures:
        done = asyncio.Event()
        tally = Tally(message, total, done.set)
        async with plain.serving(plain.sink(tally)) as server:
            clients = await _connect_all(plain.port_of(server), count)
            with Stopwatch() as watch:
                for _ in range(_EACH):
                    for client in clients:
                        await client.send(message)
                await done.wait()
            await _close_all(clients)
        tally.check()
        return watch.rate(total)

    return run(config, main())


BENCHMARKS = (
    Benchmark(
        name="connect",
        title=f"connecting {_CLIENTS:,} clients at once, server in the same process",
        contenders=(Contender("websockets", _connect_plain), Contender("rxplus", _connect_ours)),
        rounds=3,
        group="connections",
    ),
    Benchmark(
        name="storm",
        title=f"{_CLIENTS:,} clients connect again when the server is back",
        contenders=(Contender("websockets", _storm_plain), Contender("rxplus", _storm_ours)),
        rounds=3,
        group="connections",
    ),
    Benchmark(
        name="paths",
        title=f"a group of {_CLIENTS:,} paths, {_EACH} messages of 64 B on each, by turns",
        contenders=(Contender("websockets", _use_plain), Contender("rxplus", _use_ours)),
        rounds=3,
        group="connections",
    ),
)
