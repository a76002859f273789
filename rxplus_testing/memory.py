"""A network in memory, with messages for packets, and a transport on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rxplus_testing._faults import ConnectFault, FailSend, Rule
from rxplus_testing._link import Link
from rxplus_testing._listener import Doorman, MemoryListener
from rxplus_testing._network import FIRST_CLIENT_PORT, Network, numeric
from rxplus_testing._opening import ClientOpening, check_endpoint
from rxplus_testing._rxplus import (
    ClientEndpoint,
    Connection,
    Listener,
    OnRequest,
    ServerEndpoint,
)

__all__ = ["MemoryNetwork", "MemoryTransport"]


class MemoryNetwork(Network):
    """A network that carries whole messages: see :class:`Network` for its faults.

    It is quicker than :class:`rxplus_testing.ByteNetwork`, and knows nothing of
    frames, TCP or TLS.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, latency: float = 0.001, seed: int = 0
    ) -> None:
        super().__init__(loop, latency=latency, seed=seed)
        self._listeners: dict[int, MemoryListener] = {}

    def fail_next_send(self, n: int = 1, *, port: int | None = None) -> Rule:
        """Let the next ``n`` sends raise; each one's connection breaks with 1006."""
        return self.inject(FailSend(), port=port, times=n)

    # What the transport does.

    def _new_link(self, host: str, endpoint: ClientEndpoint) -> Link:
        number = next(self._link_numbers)
        link = Link(
            number,
            (host, FIRST_CLIENT_PORT + number),
            (numeric(endpoint.host), endpoint.port),
            endpoint.target.partition("?")[0],
            self._medium,
            self._forget,
        )
        self._links[number] = link
        return link

    async def connect(self, host: str, endpoint: ClientEndpoint) -> Connection:
        """Open a connection from a client at ``host``: for transports."""
        check_endpoint(endpoint)
        link = self._new_link(host, endpoint)
        Doorman(self._loop, link.server, self._connect_fault, self._listeners.get)
        return await ClientOpening(self._loop, link.client, endpoint).open()

    def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        """Listen on a port: for transports."""
        port = self._take_port(endpoint.port)
        listener = MemoryListener(self._loop, endpoint, port, on_request, self._unlisten)
        self._listeners[port] = listener
        return listener

    def _unlisten(self, listener: MemoryListener) -> None:
        if self._listeners.get(listener.port) is listener:
            self._forget_listener(listener.port)

    def _listening(self) -> Iterable[int]:
        return self._listeners

    def _forget_listener(self, port: int) -> None:
        self._listeners.pop(port, None)

    def _connect_fault(self, port: int) -> ConnectFault | None:
        fault: ConnectFault | None = self._faults.take(ConnectFault, port)
        return fault


class MemoryTransport:
    """A :class:`rxplus.Transport` on a memory network.

    Args:
        network: where to connect and listen.
        host: the address that its clients have, as servers see it.
    """

    def __init__(self, network: MemoryNetwork, *, host: str = "127.0.0.1") -> None:
        self._network = network
        self._host = host

    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        """Open a connection, as :meth:`rxplus.Transport.connect` says."""
        return await self._network.connect(self._host, endpoint)

    async def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        """Listen for connections, as :meth:`rxplus.Transport.listen` says."""
        return self._network.listen(endpoint, on_request)

