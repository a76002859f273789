"""What the two networks have in common: how they behave, and what can be made to go wrong."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal, Protocol

from rxplus_testing._faults import (
    AcceptThenClose,
    Bandwidth,
    Cut,
    Direction,
    Fault,
    Faults,
    Hang,
    Hold,
    Latency,
    Outage,
    PortBusy,
    RefuseConnection,
    RejectHandshake,
    Reset,
    Rule,
    SlowClose,
)
from rxplus_testing._pipe import Conditions, Medium
from rxplus_testing._traffic import Traffic, TrafficEntry

__all__ = ["AnyLink", "Network", "numeric"]

FIRST_LISTENER_PORT = 40_000
FIRST_CLIENT_PORT = 50_000

_NAMES_OF_THIS_HOST = frozenset({"", "0.0.0.0", "::", "localhost"})  # noqa: S104 - compared, not bound


class AnyLink(Protocol):
    """What a network knows about each of its connections."""

    @property
    def number(self) -> int:
        """Counts the connections of a network from 1."""
        ...

    @property
    def port(self) -> int:
        """The server's port."""
        ...

    @property
    def path(self) -> str:
        """The path of the request that opens it, without the query."""
        ...

    def arm(self) -> None:
        """Go on delivering after a hold."""

    def sever(self, error: Exception) -> None:
        """Break the connection; what was on its way is lost."""

    def describe_under_way(self) -> list[str]:
        """Return a line for all that has not arrived."""
        ...

    def describe_open(self) -> list[str]:
        """Return a line for each end that somebody still has open."""
        ...


class Network(ABC):
    """A network within one process. It is one machine: only ports tell servers apart.

    What is sent takes ``latency`` seconds and keeps its order. Nothing gets
    lost but by a connection that breaks. Its methods may be called by the
    thread that runs the loop, within a callback or between two runs.

    Args:
        loop: gives the time and runs the deliveries.
        latency: seconds each way.
        seed: decides what is random, such as jitter.

    Attributes:
        traffic: a log of all that was sent.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, latency: float = 0.001, seed: int = 0
    ) -> None:
        self.traffic = Traffic()
        self._loop = loop
        self._faults = Faults(self._arm)
        self._conditions = Conditions(latency, self._faults, seed)
        self._medium = Medium(loop, self._conditions, self._faults, self.traffic)
        self._links: dict[int, AnyLink] = {}
        self._link_numbers = itertools.count(1)

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

    def jitter(self, latency: float, jitter: float, *, port: int | None = None) -> Rule:
        """Let what is sent take ``latency`` seconds, and up to ``jitter`` more."""
        return self.inject(Latency(seconds=latency, jitter=jitter), port=port)

    def limit(self, bytes_per_second: float, *, port: int | None = None) -> Rule:
        """Limit the bandwidth of each direction of each connection."""
        return self.inject(Bandwidth(bytes_per_second=bytes_per_second), port=port)

    def hold(self, *, port: int | None = None) -> Rule:
        """Deliver nothing, to and from one server port or anywhere. Nothing is lost."""
        return self.inject(Hold(), port=port)

    def release(self, *, port: int | None = None) -> None:
        """End every :meth:`hold` and :meth:`partition` of one server port, or all of them."""
        self._end(Hold, port)

    def partition(
        self, direction: Direction | Literal["both"] = "both", *, port: int | None = None
    ) -> Rule:
        """Deliver nothing in one direction, or both, until the rule is removed."""
        return self.inject(Hold(direction=direction), port=port)

    # What breaks.

    def sever(self, *, port: int | None = None, path: str | None = None) -> None:
        """Break connections, all or those that match; each side gets 1006.

        What is on its way is lost. What has arrived is still delivered first.
        """
        for link in self._select(port, path):
            # Not at once: receivers are called by the loop, and never from without.
            self._loop.call_soon(link.sever, ConnectionResetError("the network broke"))

    def crash(self, port: int) -> None:
        """Let the server on ``port`` vanish: nobody listens, and its connections break."""
        self._forget_listener(port)
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
            times: how often, for a fault that befalls something; ``None``: until
                the rule is removed.
        """
        rule = self._faults.add(fault, port=port, times=times)
        if isinstance(fault, Reset | Outage):
            self.sever(port=port)
        if isinstance(fault, Reset):
            rule.remove()
        return rule

    def refuse(self, port: int | None = None) -> Rule:
        """Refuse connections until :meth:`restore`, though somebody may listen."""
        return self.inject(RefuseConnection(), port=port)

    def restore(self, port: int | None = None) -> None:
        """End :meth:`refuse` for one port, or with ``None`` every refusal."""
        self._end(RefuseConnection, port)

    def outage(self, port: int | None = None) -> Rule:
        """Break connections, and refuse new ones until the rule is removed."""
        return self.inject(Outage(), port=port)

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

    def cut_next(
        self,
        after: int,
        direction: Direction = "down",
        *,
        port: int | None = None,
        times: int = 1,
    ) -> Rule:
        """Break the next connections after so many bytes in one direction."""
        return self.inject(Cut(after=after, direction=direction), port=port, times=times)

    def slow_close(self, seconds: float, *, port: int | None = None) -> Rule:
        """Let the end of a connection arrive so much later."""
        return self.inject(SlowClose(seconds=seconds), port=port)

    def busy(self, port: int, *, times: int | None = None) -> Rule:
        """Let listening on ``port`` fail, as if another process had it."""
        return self.inject(PortBusy(), port=port, times=times)

    # What was sent, and what is there.

    @property
    def frames(self) -> list[TrafficEntry]:
        """The WebSocket frames that were sent, oldest first."""
        return self.traffic.frames

    def snapshot(self) -> str:
        """Return the traffic log as text, a line per entry."""
        return self.traffic.snapshot()

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that somebody listens on."""
        return tuple(sorted(self._listening()))

    def describe_open(self) -> list[str]:
        """Return a line for each listener and each end of a connection that is open."""
        listeners = [f"listener on port {port}" for port in self.ports]
        links = [line for link in self._links.values() for line in link.describe_open()]
        return listeners + links

    def describe_under_way(self) -> list[str]:
        """Return a line for all that was sent and has not arrived."""
        return [line for link in self._links.values() for line in link.describe_under_way()]

    # For the two networks.

    @abstractmethod
    def _listening(self) -> Iterable[int]:
        """Return the ports that somebody listens on."""

    @abstractmethod
    def _forget_listener(self, port: int) -> None:
        """Let nobody listen on a port any more."""

    def _take_port(self, port: int) -> int:
        """Return the port to listen on, for the one that was asked for.

        Raises:
            OSError: somebody listens there, or a fault says so.
        """
        taken = set(self._listening())
        if port == 0:
            return next(free for free in itertools.count(FIRST_LISTENER_PORT) if free not in taken)
        if port in taken or self._faults.take(PortBusy, port):
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: port {port}")
        return port

    def _forget(self, link: AnyLink) -> None:
        self._links.pop(link.number, None)

    def _select(self, port: int | None, path: str | None) -> list[AnyLink]:
        return [
            link
            for link in self._links.values()
            if port in (None, link.port) and path in (None, link.path)
        ]

    def _arm(self) -> None:
        for link in self._select(None, None):
            link.arm()

    def _end(self, kind: type[Fault], port: int | None) -> None:
        for rule in self.faults:
            if isinstance(rule.fault, kind) and port in (None, rule.port):
                rule.remove()


def numeric(host: str) -> str:
    """Return the address for a name of this machine."""
    return "127.0.0.1" if host in _NAMES_OF_THIS_HOST else host
