"""A blocking caller's round trip."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from websockets.asyncio.server import ServerConnection
from websockets.sync.server import ServerConnection as SyncServerConnection

from benchmarks.clock import latency
from benchmarks.cores import CAN_CHOOSE, CAN_KEEP_AWAKE, awake, on_one
from benchmarks.loops import run
from benchmarks.model import MANY_ROUNDS, Benchmark, Config, Contender, Figures, Goal
from benchmarks.sides import blocking, ours, plain, raw
from benchmarks.tally import make_message

__all__ = ["BENCHMARKS"]

TRIPS = 2_000

_Trip: TypeAlias = Callable[[bytes], bytes]


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def _echo_sync(connection: SyncServerConnection) -> None:
    for message in connection:
        connection.send(message)


def _timed(trips: int, message: str | bytes, trip: Callable[[], object]) -> Figures:
    """Make round trips, one after the other."""
    seconds = []
    for _ in range(trips):
        started = time.perf_counter()
        answer = trip()
        seconds.append(time.perf_counter() - started)
        assert answer == message
    return latency(seconds)


def _plain(config: Config) -> Figures:
    message = make_message(64)

    async def main() -> Figures:
        seconds = []
        async with plain.pair(_echo) as client:
            for _ in range(config.count(TRIPS, least=2)):
                started = time.perf_counter()
                await client.send(message)
                answer = await client.recv()
                seconds.append(time.perf_counter() - started)
                assert answer == message
        return latency(seconds)

    return run(config, main())


def _ours(shared: bool, config: Config) -> Figures:
    message = make_message(64)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ours.pair(config, shared=shared) as (server, client):
        server.subscribe(server.on_next)
        client.subscribe(answers.put)

        def trip() -> object:
            client.on_next(message)
            return answers.get()

        return _timed(config.count(TRIPS, least=2), message, trip)


def _sync(config: Config) -> Figures:
    message = make_message(64)
    with blocking.pair(_echo_sync) as client:

        def trip() -> object:
            client.send(message)
            return client.recv()

        return _timed(config.count(TRIPS, least=2), message, trip)


def _websocket_client(config: Config) -> Figures:
    message = make_message(64)
    with blocking.websocket_client_pair(_echo_sync) as client:

        def trip() -> object:
            client.send(message)
            return client.recv()

        return _timed(config.count(TRIPS, least=2), message, trip)


def _raw(side: Callable[[Config], AbstractContextManager[_Trip]], config: Config) -> Figures:
    # As long as the frames of the others.
    message = bytes(64 + 6)
    with side(config) as trip:
        return _timed(config.count(TRIPS, least=2), message, partial(trip, message))


def _fast(config: Config) -> Figures:
    """As with ``rxplus[fast]``: components run on uvloop where it is installed."""
    return _ours(True, replace(config, uvloop=True))


_SHARED = "rxplus, shared loop"
_APART = "rxplus, two loops"
_FAST = "rxplus[fast], shared loop"

_CONTENDERS = (
    Contender("websockets", _plain),
    Contender(_SHARED, partial(_ours, True)),
    Contender(_APART, partial(_ours, False)),
    Contender(_FAST, _fast),
    Contender("websockets.sync", _sync),
    Contender("websocket-client", _websocket_client),
    Contender("asyncio alone, from another thread", partial(_raw, raw.echoing)),
    Contender("two wake-ups of threads, alone", partial(_raw, raw.waking)),
)

_AS_SCHEDULED = Benchmark(
    name="echo",
    title="blocking round trip, 64 B text",
    rounds=MANY_ROUNDS,
    contenders=_CONTENDERS,
    goals=(
        Goal(contender=_SHARED, figure="p50 us", limit=1.9, at_most=True),
        Goal(contender=_APART, figure="p50 us", limit=2.6, at_most=True),
        *(
            Goal(
                contender=name,
                figure="p50 us",
                limit=1.0,
                at_most=True,
                versus="websockets.sync",
            )
            for name in (_SHARED, _FAST)
        ),
        Goal(contender=_SHARED, figure="p99 us", limit=2.0, at_most=True),
    ),
)

# What is left of a round trip when no core has to wake up for it: since there is one only, or
# since none sleeps.
_ON_ONE_CORE = Benchmark(
    name="echo-one-core",
    title="blocking round trip, 64 B text, all threads on one core",
    contenders=tuple(Contender(one.name, on_one(one.run)) for one in _CONTENDERS),
)

_AWAKE = Benchmark(
    name="echo-awake",
    title="blocking round trip, 64 B text, on cores that are kept from sleeping",
    contenders=tuple(Contender(one.name, awake(one.run)) for one in _CONTENDERS),
)

BENCHMARKS = (
    _AS_SCHEDULED,
    *((_ON_ONE_CORE,) if CAN_CHOOSE else ()),
    *((_AWAKE,) if CAN_KEEP_AWAKE else ()),
)
