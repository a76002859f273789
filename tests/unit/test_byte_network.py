"""The byte network: the real transport on it, in virtual time."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any

import pytest
import trustme
from benches import ByteBench

from rxplus import (
    RxWSClient,
    RxWSServer,
    TaggedData,
    WireOptions,
)
from rxplus_testing import Sim
from rxplus_testing.contract import TransportContract


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """An authority that signs what the tests need."""
    return trustme.CA()


@pytest.fixture(scope="module")
def contexts(ca: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's; making keys takes longer than most cases."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(client)
    return server, client


class TestPlain(ByteBench, TransportContract):
    """The contract."""


class TestDeflate(ByteBench, TransportContract):
    """The contract with permessage-deflate."""

    options = WireOptions(compression="deflate")


class TestTls(ByteBench, TransportContract):
    """The contract on TLS."""

    @pytest.fixture(autouse=True)
    def use_contexts(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.server_tls, self.client_tls = contexts


# --- Components in a simulation -------------------------------------------------------------------


class World:
    """A simulation, with short ways to make components that use the real transport."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.net = sim.byte_net

    def server(self, port: int = 9000, **options: Any) -> RxWSServer:
        """Make a server."""
        return RxWSServer({"host": "127.0.0.1", "port": port}, runtime=self.sim.runtime, **options)

    def client(self, port: int = 9000, path: str = "/a", **options: Any) -> RxWSClient:
        """Make a client."""
        config = {"host": "127.0.0.1", "port": port, "path": path}
        return RxWSClient(config, runtime=self.sim.runtime, **options)

    def stream(self, size: int) -> tuple[list[tuple[float, int]], asyncio.StreamWriter]:
        """Listen with asyncio's streams; return what arrives, and what writes to it."""
        arrived: list[tuple[float, int]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionResetError):
                while data := await reader.read(size):
                    arrived.append((self.sim.now, len(data)))
            writer.close()

        async def connect() -> asyncio.StreamWriter:
            await asyncio.start_server(serve, "127.0.0.1", 7000)
            _, writer = await asyncio.open_connection("127.0.0.1", 7000)
            return writer

        return arrived, self.sim.run(connect())


@pytest.fixture
def world(sim: Sim) -> World:
    """A simulated world, whose components use the real transport."""
    return World(sim)


def test_components_run_on_the_real_transport(world: World) -> None:
    """A server and a client without a transport of their own meet on the byte network."""
    with world.server() as server, world.client() as client:
        received = world.sim.record(server)
        assert client.wait_connected(5)
        client.on_next("hello")
        world.sim.advance(1)
        assert received.values == [TaggedData("/a", "hello")]
    assert world.net.snapshot().splitlines() == [
        "0.000000 c1 -> :9000 open",
        "0.001000 :9000 -> c1 opened",
        "0.002000 c1 -> :9000 open /a",
        "0.003000 :9000 -> c1 accept",
        "0.004000 c1 -> :9000 text 'hello'",
        "1.004000 c1 -> :9000 close 1000",
        "1.005000 :9000 -> c1 close 1000",
        "1.005000 :9000 -> c1 eof",
        "1.006000 c1 -> :9000 eof",
    ]
    assert [str(entry.payload) for entry in world.net.frames][:2] == ["text 'hello'", "close 1000"]
