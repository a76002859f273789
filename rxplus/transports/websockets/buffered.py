"""Reading to one buffer per loop, in place of new memory for each read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from rxplus.transports.websockets.memory import memory_of

if TYPE_CHECKING:
    from rxplus.transports.websockets.wire import Wire

__all__ = ["BufferedReads", "Outpost", "feed"]


class Outpost(asyncio.BaseProtocol):
    """What a transport talks to instead of a connection. What is no reading it passes on."""

    __slots__ = ()

    _wire: Wire

    def eof_received(self) -> None:
        self._wire.eof_received()

    def pause_writing(self) -> None:
        self._wire.pause_writing()

    def resume_writing(self) -> None:
        self._wire.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        wire = self._wire
        # TLS layers go on to refer to whom they gave what was read: without this a connection and
        # the buffers of its TLS would wait for the garbage collector.
        del self._wire
        wire.connection_lost(exc)


class BufferedReads(Outpost, asyncio.BufferedProtocol):
    """Reads for a connection.

    Without it asyncio's own loops have new bytes of 256 KiB made for each read, and cut down to
    what came: glibc maps and unmaps memory for that, and a round trip takes up to half as long
    again. (uvloop has a buffer of its own, and would do as well without.)

    Args:
        wire: the connection.
    """

    __slots__ = ("_buffer", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = memory_of(wire.loop).reads

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._wire.data_received(self._buffer[:nbytes])


def feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Have a protocol take bytes that were read already."""
    rest = memoryview(data)
    while rest:
        buffer = cast("memoryview", protocol.get_buffer(-1))
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        protocol.buffer_updated(size)
        rest = rest[size:]
