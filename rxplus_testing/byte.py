"""A network in memory that carries bytes: the real transport runs on it, in virtual time."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable, Iterable
from itertools import count
from weakref import WeakValueDictionary

from rxplus_testing._byte_line import ByteLine, connect_line
from rxplus_testing._byte_link import ByteLink, Sign
from rxplus_testing._faults import (
    AcceptThenClose,
    ConnectFault,
    Hang,
    Outage,
    RefuseConnection,
    RejectHandshake,
    Rule,
    Slices,
)
from rxplus_testing._impostor import Impostor
from rxplus_testing._line import Line
from rxplus_testing._network import FIRST_CLIENT_PORT, Network, numeric
from rxplus_testing._rxplus import ClientEndpoint
from rxplus_testing._socket_loop import SocketLoop
from rxplus_testing._sockets import ListeningSocket, SocketName, StreamSocket, Watch

__all__ = ["ByteNetwork"]

_FIRST_FD = 1_000_000
"""The numbers of real files stay far below."""

_IPV6_LOOPBACK = "::1"


class ByteNetwork(Network):
    """A network that carries bytes, for the loop that it is made with.

    ``loop.create_connection`` and ``loop.create_server``, and so asyncio's
    streams and :class:`rxplus.WebSocketsTransport`, TLS included, use it. What
    asyncio does with sockets is the real thing; only the sockets are simulated.

    Args:
        loop: takes it for its network.
        latency: seconds each way.
        seed: decides what is random, such as jitter.
        buffer_size: bytes that each direction of a connection holds before its
            sender has to wait.
    """

    def __init__(
        self,
        loop: SocketLoop,
        *,
        latency: float = 0.001,
        seed: int = 0,
        buffer_size: int = 2**18,
    ) -> None:
        super().__init__(loop, latency=latency, seed=seed)
        self._buffer_size = buffer_size
        self._fds = count(_FIRST_FD)
        self._listeners: dict[int, ListeningSocket] = {}
        self._tls: dict[int, ssl.SSLContext | None] = {}
        # Whoever uses a socket keeps it alive.
        self._sockets: WeakValueDictionary[int, StreamSocket | ListeningSocket]
        self._sockets = WeakValueDictionary()
        loop.attach(self)

    def slice(self, size: int = 1, *, port: int | None = None) -> Rule:
        """Let bytes arrive in pieces of at most ``size``, until the rule is removed."""
        return self.inject(Slices(size=size), port=port)

    # What scripted peers do.

    async def connect_line(self, endpoint: ClientEndpoint) -> Line:
        """Open a connection without a transport: for scripted peers."""
        return await connect_line(endpoint)

    async def listen_for_lines(
        self, port: int, on_line: Callable[[Line], None]
    ) -> Callable[[], None]:
        """Let everybody in on a port: for scripted peers. Return what stops that."""
        server = await self._loop.create_server(
            lambda: ByteLine(self._loop, None, on_line), "127.0.0.1", port
        )
        return server.close

    # What the loop does.

    async def connect(self, host: str, port: int) -> StreamSocket:
        """Open a connection: for the loop.

        Raises:
            ConnectionRefusedError: nobody listens there.
            ConnectionResetError: it broke half-way.
        """
        link = self._new_link(numeric(host), port)
        sock = link.client.socket
        link.client.say(Sign.SYN)
        try:
            await link.opened
        except BaseException:
            sock.close()
            raise
        return sock

    def bind(self, host: str, port: int, tls: ssl.SSLContext | None) -> ListeningSocket:
        """Listen: for the loop.

        Raises:
            OSError: the port is taken.
        """
        port = self._take_port(port)
        name = _name(numeric(host), port)
        sock = ListeningSocket(self._loop, next(self._fds), name, self._unlisten)
        self._watch(sock)
        self._listeners[port] = sock
        self._tls[port] = tls
        return sock

    def watches(self, fd: int) -> tuple[Watch, Watch] | None:
        """Return what watches a socket: for the loop. ``None`` when it is closed."""
        sock = self._sockets.get(fd)
        return None if sock is None else (sock.reader, sock.writer)

    def _new_link(self, host: str, port: int) -> ByteLink:
        number = next(self._link_numbers)
        link = ByteLink(
            number, port, self._medium, self._buffer_size, self._on_opening, self._forget
        )
        server = _name(host, port)
        loopback = _IPV6_LOOPBACK if len(server) == 4 else "127.0.0.1"
        client = _name(loopback, FIRST_CLIENT_PORT + number)
        link.make_sockets((next(self._fds), next(self._fds)), client, server)
        self._watch(link.client.socket)
        # Nobody has it before it was accepted.
        link.server.is_deserted = True
        self._links[number] = link
        return link

    def _on_opening(self, link: ByteLink, sign: Sign) -> None:
        if sign is Sign.SYN:
            if link.client.is_open:
                self._answer(link)
        elif not link.opened.done():
            if sign is Sign.SYN_ACK:
                link.opened.set_result(None)
            else:
                text = f"{os.strerror(errno.ECONNREFUSED)}: port {link.port}"
                link.opened.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, text))

    def _answer(self, link: ByteLink) -> None:
        fault: ConnectFault | None = self._faults.take(ConnectFault, link.port)
        listener = self._listeners.get(link.port)
        if listener is None or isinstance(fault, RefuseConnection | Outage):
            link.server.say(Sign.REFUSED)
            return
        link.server.say(Sign.SYN_ACK)
        if isinstance(fault, Hang):
            return
        sock = link.server.socket
        self._watch(sock)
        link.server.is_deserted = False
        if isinstance(fault, RejectHandshake | AcceptThenClose):
            Impostor(fault).take_over(self._loop, sock, self._tls[link.port])
        else:
            listener.offer(sock)

    def _watch(self, sock: StreamSocket | ListeningSocket) -> None:
        self._sockets[sock.fileno()] = sock

    def _unlisten(self, sock: ListeningSocket) -> None:
        if self._listeners.get(sock.port) is sock:
            self._forget_listener(sock.port)

    def _listening(self) -> Iterable[int]:
        return self._listeners

    def _forget_listener(self, port: int) -> None:
        self._listeners.pop(port, None)
        self._tls.pop(port, None)


def _name(host: str, port: int) -> SocketName:
    return (host, port, 0, 0) if ":" in host else (host, port)
