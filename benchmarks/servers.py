"""Servers in a process of their own, whose memory and processor time are looked at."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from benchmarks.loops import run
from benchmarks.model import Config
from benchmarks.processes import Wire
from benchmarks.sides import ours, plain
from rxplus import RxWSServer

__all__ = ["Usage", "ping_interval", "serve_ours", "serve_plain", "usage"]


class Usage(NamedTuple):
    """What a process uses: memory in bytes, processor time in seconds."""

    memory: int
    cpu: float


def ping_interval(config: Config) -> float:
    """Return seconds: few, so that a short look sees what keepalive costs."""
    return min(1.0, config.scale)


def usage() -> Usage:
    """Look at this process. Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), time.process_time())


def _tell_usage(wire: Wire, port: int) -> None:
    """Say the port, then usage, whenever asked, until the wire is closed."""
    wire.send(port)
    while True:
        try:
            wire.recv()
        except EOFError:
            return
        wire.send(usage())


def serve_plain(wire: Wire, config: Config) -> None:
    """Serve with plain ``websockets``."""

    async def wait(connection: plain.ServerConnection) -> None:
        # Clients go without goodbye when their process ends.
        with suppress(ConnectionClosedError):
            async for _ in connection:
                pass

    async def main() -> None:
        options: Any = {"compression": None, "close_timeout": 0.1}
        options["ping_interval"] = ping_interval(config)
        async with serve(wait, plain.HOST, 0, **options) as server:
            await asyncio.to_thread(_tell_usage, wire, plain.port_of(server))

    run(config, main())


def serve_ours(wire: Wire, config: Config) -> None:
    """Serve with rxplus."""
    with RxWSServer(
        {"host": ours.HOST, "port": 0},
        ping_interval=ping_interval(config),
        runtime=ours.runtime_of(config),
        transport=ours.transport_of(config),
    ) as server:
        server.subscribe(lambda _: None)
        _tell_usage(wire, server.port)
        server.close(0.1)
