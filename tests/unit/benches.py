"""Where the unit tests run the contract: in virtual time, on one of the two networks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

from rxplus import ClientEndpoint, Transport, WebSocketsTransport
from rxplus_testing import ByteNetwork, MemoryNetwork, MemoryTransport, VirtualLoop
from rxplus_testing.contract import MIB, Line, TransportBench

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class VirtualBench(TransportBench):
    """Runs cases without waiting for anything."""

    unbufferable = MIB
    loop_factory: LoopFactory | None = VirtualLoop
    network: MemoryNetwork | ByteNetwork

    def jitter(self) -> AbstractContextManager[object]:
        """Let what is sent take a time that varies."""
        return self.network.jitter(0.0, 0.005)

    async def line(self, endpoint: ClientEndpoint) -> Line:
        """Connect a client that can misbehave."""
        return await self.network.connect_line(endpoint)


class MemoryBench(VirtualBench):
    """Runs cases with the memory transport, on a network of its own for each."""

    latency = 0.001

    def make_transport(self) -> Transport:
        """Make a network of its own for each case."""
        self.network = MemoryNetwork(asyncio.get_running_loop(), latency=self.latency)
        return MemoryTransport(self.network)


class ByteBench(VirtualBench):
    """Runs cases with the real transport, on a network of its own for each."""

    def make_transport(self) -> Transport:
        """Make a network of its own for each case."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.network = ByteNetwork(loop, buffer_size=2**16)
        return WebSocketsTransport()
