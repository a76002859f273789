"""A network in memory, with messages for packets, and a transport on it."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os

from rxplus_testing._faults import (
    AcceptThenClose,
    FailSend,
    Fault,
    Faults,
    Hang,
    RefuseConnection,
    RejectHandshake,
    Rule,
)
from rxplus_testing._link import Conditions, Link, Medium
from rxplus_testing._listener import Doorman, MemoryListener
from rxplus_testing._opening import ClientOpening, check_endpoint
from rxplus_testing._rxplus import (
    ClientEndpoint,
    Connection,
    Listener,
    OnRequest,
    ServerEndpoint,
)
from rxplus_testing._traffic import Traffic

__all__ = ["MemoryNetwork", "MemoryTransport"]

_FIRST_LISTENER_PORT = 40_000
_FIRST_CLIENT_PORT = 50_000
_ANY_HOST = frozenset({"", "0.0.0.0", "::", "localhost"})  # noqa: S104 - compared, not bound


class MemoryNetwork:
    """A network within one process. It is one machine: only ports tell servers apart.

    What is sent takes ``latency`` seconds and keeps its order. Nothing gets
    lost but by :meth:`sever`. Its methods may be called by the thread that
    runs the loop, within a callback or between two runs.

    Args:
        loop: gives the time and runs the deliveries.
        latency: seconds each way.

    Attributes:
        traffic: a log of all that was sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, latency: float = 0.001) -> None:
        self.traffic = Traffic()
        self._loop = loop
        self._conditions = Conditions(latency)
        self._faults = Faults()
        self._medium = Medium(loop, self._conditions, self._faults, self.traffic)
        self._links: dict[int, Link] = {}
        self._link_numbers = itertools.count(1)
        self._listeners: dict[int, MemoryListener] = {}

    # How the network behaves.

    @property
    def latency(self) -> float:
        """Seconds each way, for server ports that have no latency of their own."""
        return self._conditions.latency(None)

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._conditions.set_latency(seconds, None)

    def set_latency(self, seconds: float, *, port: int | None = None) -> None:
        """Set the seconds each way, of one server port or of all others."""
        self._conditions.set_latency(seconds, port)

    def hold(self, *, port: int | None = None) -> None:
        """Deliver nothing, to and from one server port or anywhere. Nothing is lost."""
        self._conditions.hold(port)

    def release(self, *, port: int | None = None) -> None:
        """End :meth:`hold` for one server port, or every hold, and deliver what waited."""
        self._conditions.release(port)
        for link in self._select(port, None):
            link.arm()

    def sever(self, *, port: int | None = None, path: str | None = None) -> None:
        """Break connections, all or those that match; each side gets 1006.

        What is on its way is lost. What has arrived is still delivered first.
        """
        for link in self._select(port, path):
            # Not at once: receivers are called by the loop, and never from without.
            self._loop.call_soon(link.sever, ConnectionResetError("the network broke"))

    def crash(self, port: int) -> None:
        """Let the server on ``port`` vanish: nobody listens, and its connections break."""
        self._listeners.pop(port, None)
        self.sever(port=port)

    # Faults.

    @property
    def faults(self) -> tuple[Rule, ...]:
        """The rules in force, in the order in which they are asked."""
        return self._faults.rules

    def inject(self, fault: Fault, *, port: int | None = None, times: int | None = None) -> Rule:
        """Put a fault in force, after those that are.

        Args:
            fault: what is to happen.
            port: on which server port; ``None``: on each.
            times: how often; ``None``: until the rule is removed.
        """
        return self._faults.add(fault, port=port, times=times)

    def refuse(self, port: int | None = None) -> Rule:
        """Refuse connections until :meth:`restore`, though somebody may listen."""
        return self.inject(RefuseConnection(), port=port)

    def restore(self, port: int | None = None) -> None:
        """End :meth:`refuse` for one port, or with ``None`` every refusal."""
        for rule in self.faults:
            if isinstance(rule.fault, RefuseConnection) and port in (None, rule.port):
                rule.remove()

    def reject_next(
        self, status: int = 503, body: str = "", *, port: int | None = None, times: int = 1
    ) -> Rule:
        """Answer the next opening requests with an HTTP status."""
        return self.inject(RejectHandshake(status=status, body=body), port=port, times=times)

    def hang_next_connect(self, *, port: int | None = None, times: int = 1) -> Rule:
        """Accept the next connections and never answer their requests."""
        return self.inject(Hang(), port=port, times=times)

    def accept_then_close(
        self, code: int = 1011, times: int = 1, *, reason: str = "", port: int | None = None
    ) -> Rule:
        """Open the next connections and close them at once."""
        return self.inject(AcceptThenClose(code=code, reason=reason), port=port, times=times)

    def fail_next_send(self, n: int = 1, *, port: int | None = None) -> Rule:
        """Let the next ``n`` sends raise; each one's connection breaks with 1006."""
        return self.inject(FailSend(), port=port, times=n)

    # What is there.

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that somebody listens on."""
        return tuple(sorted(self._listeners))

    def describe_open(self) -> list[str]:
        """Return a line for each listener and each end of a connection that is open."""
        listeners = [f"listener on port {port}" for port in self.ports]
        links = [line for link in self._links.values() for line in link.describe_open()]
        return listeners + links

    def _select(self, port: int | None, path: str | None) -> list[Link]:
        return [
            link
            for link in self._links.values()
            if port in (None, link.port) and path in (None, link.path)
        ]

    # What the transport does.

    def _new_link(self, host: str, endpoint: ClientEndpoint) -> Link:
        number = next(self._link_numbers)
        link = Link(
            number,
            (host, _FIRST_CLIENT_PORT + number),
            (_numeric(endpoint.host), endpoint.port),
            endpoint.target.partition("?")[0],
            self._medium,
            self._forget,
        )
        self._links[number] = link
        return link

    def _forget(self, link: Link) -> None:
        self._links.pop(link.number, None)

    async def connect(self, host: str, endpoint: ClientEndpoint) -> Connection:
        """Open a connection from a client at ``host``: for transports."""
        check_endpoint(endpoint)
        link = self._new_link(host, endpoint)
        Doorman(self._loop, link.server, self._faults.take_connect_fault, self._listeners.get)
        return await ClientOpening(self._loop, link.client, endpoint).open()

    def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        """Listen on a port: for transports."""
        port = endpoint.port or self._free_port()
        if port in self._listeners:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: port {port}")
        listener = MemoryListener(self._loop, endpoint, port, on_request, self._unlisten)
        self._listeners[port] = listener
        return listener

    def _free_port(self) -> int:
        ports = itertools.count(_FIRST_LISTENER_PORT)
        return next(port for port in ports if port not in self._listeners)

    def _unlisten(self, listener: MemoryListener) -> None:
        if self._listeners.get(listener.port) is listener:
            del self._listeners[listener.port]


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


def _numeric(host: str) -> str:
    return "127.0.0.1" if host in _ANY_HOST else host
