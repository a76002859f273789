"""Servers in a process of their own, whose memory and processor time are looked at."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from websockets.asyncio.server import serve

from benchmarks.loops import run
from benchmarks.model import Config
from benchmarks.processes import Wire
from benchmarks.sides import ours, plain
from rxplus import RxWSServer

__all__ = ["PING_INTERVAL", "Usage", "serve_ours", "serve_plain", "usage"]

PING_INTERVAL = 1.0
"""Seconds: short, so that a short look sees what keepalive costs."""


class Usage(NamedTuple):
    """What a process uses: memory in bytes, processor time in seconds."""

    memory: int
    cpu: float


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
        async for _ in connection:
            pass

    async def main() -> None:
        async with serve(
            wait, plain.HOST, 0, compression=None, ping_interval=PING_INTERVAL, close_timeout=0.1
        ) as server:
            await asyncio.to_thread(_tell_usage, wire, plain.port_of(server))

    run(config, main())


def serve_ours(wire: Wire, config: Config) -> None:
    """Serve with rxplus."""
    with RxWSServer(
        {"host": ours.HOST, "port": 0},
        ping_interval=PING_INTERVAL,
        runtime=ours.runtime_of(config),
        transport=ours.transport_of(config),
    ) as server:
        server.subscribe(lambda _: None)
        _tell_usage(wire, server.port)
        server.close(0.1)
