"""Many paths: threads, and how long closing takes."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from benchmarks.clock import Stopwatch
from benchmarks.loops import run
from benchmarks.model import Benchmark, Config, Contender, Figures, Goal
from benchmarks.sides import ours, plain
from rxplus import RxWSClient, RxWSClientGroup, RxWSServer

__all__ = ["BENCHMARKS"]

_NUMBER = 30


def _threads(config: Config) -> Figures:
    before = threading.active_count()
    server_cfg = {"host": ours.HOST, "port": 0}
    with RxWSServer(server_cfg, transport=ours.transport_of(config)) as server:
        group_cfg = {"host": ours.HOST, "port": server.port}
        with RxWSClientGroup(group_cfg, transport=ours.transport_of(config)) as group:
            for number in range(_NUMBER):
                group.open_path(f"/{number}")
            assert group.wait_connected(ours.LIMIT)
            return {"threads": threading.active_count() - before}


def _close(config: Config) -> Figures:
    """Close clients, each with a thread of its own, one after the other, then the server."""
    with ExitStack() as stack:
        server = stack.enter_context(
            RxWSServer({"host": ours.HOST, "port": 0}, transport=ours.transport_of(config))
        )
        clients = [
            stack.enter_context(
                RxWSClient(ours.endpoint(server), transport=ours.transport_of(config))
            )
            for _ in range(_NUMBER)
        ]
        for client in clients:
            assert client.wait_connected(ours.LIMIT)
        with Stopwatch() as watch:
            closed = [component.close() for component in (*clients, server)]
        assert all(closed)
        assert server.health().errors == 0
    return {"s": watch.wall}


def _close_plain(config: Config) -> Figures:
    async def wait(connection: plain.ServerConnection) -> None:
        await connection.wait_closed()

    async def main() -> Figures:
        async with plain.serving(wait) as server:
            port = plain.port_of(server)
            clients = [await plain.connecting(port) for _ in range(_NUMBER)]
            with Stopwatch() as watch:
                for client in clients:
                    await client.close()
                server.close()
                await server.wait_closed()
        return {"s": watch.wall}

    return run(config, main())


def _goal(figure: str, limit: float) -> tuple[Goal, ...]:
    return (Goal(contender="rxplus", figure=figure, limit=limit, at_most=True, versus=None),)


BENCHMARKS = (
    Benchmark(
        name="threads",
        title=f"a group of {_NUMBER} paths, and a server in the same process",
        contenders=(Contender("rxplus", _threads),),
        goals=_goal("threads", 2),
        rounds=1,
    ),
    Benchmark(
        name="closing",
        title=f"closing {_NUMBER} clients and a server, one after the other",
        contenders=(Contender("websockets", _close_plain), Contender("rxplus", _close)),
        goals=_goal("s", 0.2),
        rounds=5,
    ),
)
