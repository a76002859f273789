"""The byte network: the real transport on it, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest
import trustme

from rxplus import Transport, WebSocketsTransport, WireOptions
from rxplus_testing import VirtualLoop
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.contract import TransportBench, TransportContract


class Bench(TransportBench):
    """Runs cases with the real transport in virtual time."""

    def make_transport(self) -> Transport:
        """Make a network of its own for each case."""
        ByteNetwork(asyncio.get_running_loop())
        return WebSocketsTransport()

    def run(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a case without waiting for anything."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self.watched(coro))
        gc.collect()


class TestPlain(Bench, TransportContract):
    """The contract."""


class TestDeflate(Bench, TransportContract):
    """The contract with permessage-deflate."""

    options = WireOptions(compression="deflate")


class TestTls(Bench, TransportContract):
    """The contract on TLS."""

    @pytest.fixture(autouse=True)
    def contexts(self, ca: trustme.CA) -> None:
        self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(self.server_tls)
        self.client_tls = ssl.create_default_context()
        ca.configure_trust(self.client_tls)

@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()
