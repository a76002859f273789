"""The byte network: the real transport on it, in virtual time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trustme

from rxplus import Transport, WebSocketsTransport, WireOptions
from rxplus_testing import VirtualLoop
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.contract import MIB, TransportBench, TransportContract


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


class Bench(TransportBench):
    """Runs cases with the real transport in virtual time."""

    unbufferable = MIB
    network: ByteNetwork

    def make_transport(self) -> Transport:
        """Make a network of its own for each case."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.network = ByteNetwork(loop, buffer_size=2**16)
        return WebSocketsTransport()

    def jitter(self) -> AbstractContextManager[object]:
        """Let what is sent take a time that varies."""
        return self.network.jitter(0.0, 0.005)

    def run(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a case without waiting for anything."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self.watched(coro))


class TestPlain(Bench, TransportContract):
    """The contract."""


class TestDeflate(Bench, TransportContract):
    """The contract with permessage-deflate."""

    options = WireOptions(compression="deflate")


class TestTls(Bench, TransportContract):
    """The contract on TLS."""

    @pytest.fixture(autouse=True)
    def use_contexts(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.server_tls, self.client_tls = contexts
