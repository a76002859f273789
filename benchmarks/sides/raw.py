"""asyncio with neither WebSocket nor library: a thread, a loop on another, and bytes between them.

What a blocking caller cannot do better than, as long as a loop has a thread of its own.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.loops import loop_factory
from benchmarks.model import Config

__all__ = ["HOST", "echoing"]

HOST = "127.0.0.1"


class _Taking(asyncio.Protocol):
    """Gives what arrives to a function, with the transport it came on."""

    def __init__(self, take: Callable[[asyncio.Transport, bytes], object]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._take(self._transport, data)


@contextmanager
def echoing(config: Config) -> Iterator[Callable[[bytes], bytes]]:
    """Serve, connect, and give the function that sends bytes and waits until they are back."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    async def open_both() -> tuple[asyncio.Server, asyncio.BaseTransport]:
        server = await loop.create_server(
            lambda: _Taking(lambda peer, data: peer.write(data)), HOST, 0
        )
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(
            lambda: _Taking(lambda _, data: answers.put(data)), *address
        )
        return server, transport

    async def close_both() -> None:
        transport.close()
        server.close()
        await server.wait_closed()

    def trip(data: bytes) -> bytes:
        loop.call_soon_threadsafe(transport.write, data)
        return answers.get()

    loop = loop_factory(config)()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server, opened = asyncio.run_coroutine_threadsafe(open_both(), loop).result()
        assert isinstance(opened, asyncio.Transport)
        transport = opened
        yield trip
        asyncio.run_coroutine_threadsafe(close_both(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
