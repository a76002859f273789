"""asyncio with neither WebSocket nor library: a thread, a loop on another, and bytes between them.

What a blocking caller cannot do better than, as long as a loop has a thread of its own.
Each function gives another one, which does its work and waits until that is done.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from benchmarks.loops import loop_factory
from benchmarks.model import Config
from benchmarks.sides.plain import HOST

__all__ = ["echoing", "waking"]


class _Taking(asyncio.Protocol):
    """Gives what arrives to a function, with the transport it came on."""

    def __init__(self, take: Callable[[asyncio.Transport, bytes], object]) -> None:
        self._take = take
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._take(self.transport, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@contextmanager
def waking(config: Config) -> Iterator[Callable[[bytes], bytes]]:
    """Have the loop thread give back what it is called with."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def trip(data: bytes) -> bytes:
        loop.call_soon_threadsafe(answers.put, data)
        return answers.get()

    with _loop_thread(config) as loop:
        yield trip


@contextmanager
def echoing(config: Config) -> Iterator[Callable[[bytes], bytes]]:
    """Serve, connect, and send bytes there and back."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    client = _Taking(lambda _, data: answers.put(data))
    peer = _Taking(lambda transport, data: transport.write(data))

    async def open_both() -> asyncio.Server:
        server = await loop.create_server(lambda: peer, HOST, 0)
        await loop.create_connection(lambda: client, *server.sockets[0].getsockname())
        return server

    async def close_both(server: asyncio.Server) -> None:
        client.transport.close()
        await client.ended.wait()
        await peer.ended.wait()
        server.close()
        await server.wait_closed()

    def trip(data: bytes) -> bytes:
        loop.call_soon_threadsafe(client.transport.write, data)
        return answers.get()

    with _loop_thread(config) as loop:
        server = asyncio.run_coroutine_threadsafe(open_both(), loop).result()
        yield trip
        asyncio.run_coroutine_threadsafe(close_both(server), loop).result()


@contextmanager
def _loop_thread(config: Config) -> Iterator[asyncio.AbstractEventLoop]:
    loop = loop_factory(config)()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
