"""A network in memory, with messages for packets, and a transport on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from rxplus_testing._faults import ConnectFault, FailSend, Rule
from rxplus_testing._line import Line
from rxplus_testing._link import Link
from rxplus_testing._listener import Doorman, Host, MemoryListener
from rxplus_testing._memory_line import LineListener, MemoryLine
from rxplus_testing._network import FIRST_CLIENT_PORT, Network, numeric
from rxplus_testing._opening import ClientOpening, check_endpoint, make_request
from rxplus_testing._rxplus import (
    ClientEndpoint,
    Connection,
    Listener,
    OnRequest,
    ServerEndpoint,
)
from rxplus_testing._wire import Ask

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
        self._listeners: dict[int, Host] = {}

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
        Doorman(self._loop, link.server, self._connect_fault, self._listeners.get)
        return link

    async def connect(self, host: str, endpoint: ClientEndpoint) -> Connection:
        """Open a connection from a client at ``host``: for transports."""
        check_endpoint(endpoint)
        link = self._new_link(host, endpoint)
        return await ClientOpening(self._loop, link.client, endpoint).open()

    def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        """Listen on a port: for transports."""
        port = self._take_port(endpoint.port)
        listener = MemoryListener(
            self._loop, endpoint, port, on_request, lambda it: self._unlisten(port, it)
        )
        self._listeners[port] = listener
        return listener

    # What scripted peers do.

    async def connect_line(self, endpoint: ClientEndpoint) -> Line:
        """Open a connection without a transport: for scripted peers."""
        terminal = self._new_link("127.0.0.1", endpoint).client
        line = MemoryLine(self._loop, terminal, f"peer {terminal.link.path}")
        terminal.put(Ask(make_request(endpoint, terminal), endpoint.subprotocols))
        await line.opened
        return line

    async def listen_for_lines(
        self, port: int, on_line: Callable[[Line], None]
    ) -> Callable[[], None]:
        """Let everybody in on a port: for scripted peers. Return what stops that."""
        port = self._take_port(port)
        listener = self._listeners[port] = LineListener(self._loop, port, on_line)
        return lambda: self._unlisten(port, listener)

    def _unlisten(self, port: int, listener: Host) -> None:
        # After a crash somebody else may listen there.
        if self._listeners.get(port) is listener:
            self._forget_listener(port)

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
