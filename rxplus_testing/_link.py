"""A link of the memory network: two pipes, and a terminal at each end."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rxplus_testing._faults import Faults
from rxplus_testing._rxplus import Address, ConnectionClosedError
from rxplus_testing._traffic import Traffic, TrafficEntry
from rxplus_testing._wire import Item, Message

__all__ = ["Conditions", "End", "Link", "Medium", "Pipe", "Terminal"]


class Conditions:
    """How the network treats what is on its way, by server port.

    Args:
        latency: seconds each way.
    """

    def __init__(self, latency: float) -> None:
        self._latency: dict[int | None, float] = {None: latency}
        self._held: set[int | None] = set()

    def latency(self, port: int | None) -> float:
        """Return the seconds that one way takes."""
        return self._latency.get(port, self._latency[None])

    def set_latency(self, seconds: float, port: int | None) -> None:
        """Set the latency of one port, or with ``None`` of those not set on their own."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"latency must be finite and not negative, got {seconds!r}")
        self._latency[port] = seconds

    def held(self, port: int) -> bool:
        """Tell whether nothing may be delivered."""
        return None in self._held or port in self._held

    def hold(self, port: int | None) -> None:
        """Stop delivering for one port, or with ``None`` for all."""
        self._held.add(port)

    def release(self, port: int | None) -> None:
        """Take back :meth:`hold` for one port, or with ``None`` all of them."""
        if port is None:
            self._held.clear()
        self._held.discard(port)


@dataclass(frozen=True, slots=True)
class Medium:
    """What all links of a network share."""

    loop: asyncio.AbstractEventLoop
    conditions: Conditions
    faults: Faults
    traffic: Traffic


class Pipe:
    """One direction of a link: keeps the order, takes its time, and needs one timer."""

    def __init__(
        self,
        medium: Medium,
        port: int,
        sink: Callable[[Item], None],
    ) -> None:
        self._loop = medium.loop
        self._conditions = medium.conditions
        self._port = port
        self._sink = sink
        self._queue: deque[tuple[float, Item]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, item: Item) -> None:
        """Send ``item`` on its way. It overtakes nothing, should the latency have fallen."""
        due = self._loop.time() + self._conditions.latency(self._port)
        self._queue.append((due, item))
        self.arm()

    def clear(self) -> None:
        """Lose what is on its way."""
        self._queue.clear()

    def keep(self, size: int) -> None:
        """Lose what is on its way, but for the first ``size`` bytes of messages."""
        for index, (_, item) in enumerate(self._queue):
            size -= item.size if isinstance(item, Message) else 0
            if size < 0:
                self._queue = deque(itertools.islice(self._queue, index))
                return

    def arm(self) -> None:
        """See to it that the head of the queue is delivered when it is due."""
        if self._timer is None and self._queue and not self._conditions.held(self._port):
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        while self._queue and self._queue[0][0] <= self._loop.time():
            if self._conditions.held(self._port):
                return
            self._sink(self._queue.popleft()[1])
        self.arm()


class End(Protocol):
    """Who listens at a terminal."""

    def arrive(self, item: Item) -> None:
        """Take what came through the pipe."""

    def broken(self, error: Exception) -> None:
        """Hear that the link was cut."""

    def acknowledged(self, size: int) -> None:
        """Hear that the other end took ``size`` bytes of messages."""


class Terminal:
    """One side of a link, as the end that sits there sees it."""

    def __init__(self, link: Link, local: Address, remote: Address, direction: str) -> None:
        self.link = link
        self.local = local
        self.remote = remote
        self.label: str | None = None
        self._direction = direction
        self._end: End | None = None

    @property
    def occupied(self) -> bool:
        """Whether an end sits here."""
        return self._end is not None

    def attach(self, end: End, label: str | None = None) -> None:
        """Put ``end`` here, in place of what was.

        Args:
            end: gets all that arrives from now on.
            label: names it among the things left open; ``None`` leaves it out.
        """
        self._end = end
        self.label = label

    def detach(self) -> None:
        """Leave: what arrives from now on is lost."""
        self._end = None
        self.label = None
        self.link.discard_if_done()

    def put(self, item: Item) -> None:
        """Send ``item`` to the other side."""
        self.link.carry(self, item, self._direction)

    def lose_unsent(self, sent: int) -> None:
        """Lose what is on its way from here, but for the first ``sent`` bytes."""
        self.link.pipe_from(self).keep(sent)

    def check_send(self) -> None:
        """Raise instead of sending when a fault says so, and break the link."""
        self.link.check_send()

    def acknowledge(self, size: int) -> None:
        """Tell the other side that ``size`` bytes were taken."""
        self.link.other(self).hear_acknowledged(size)

    def hear_acknowledged(self, size: int) -> None:
        """Tell the end that sits here that the other one took ``size`` bytes."""
        if self._end is not None:
            self._end.acknowledged(size)

    def deliver(self, item: Item) -> None:
        """Give ``item`` to the end that sits here."""
        if self._end is not None:
            self._end.arrive(item)

    def break_off(self, error: Exception) -> None:
        """Tell the end that sits here that the link was cut."""
        if self._end is not None:
            self._end.broken(error)


class Link:
    """A connection between two addresses.

    Args:
        number: counts the links of a network from 1.
        client: the client's address.
        server: the server's address.
        path: of the request that opens it, without the query.
        medium: what it shares with the other links.
        on_done: called when both ends have left.
    """

    def __init__(
        self,
        number: int,
        client: Address,
        server: Address,
        path: str,
        medium: Medium,
        on_done: Callable[[Link], None],
    ) -> None:
        name, self.port = f"c{number}", server[1]
        self.number = number
        self.path = path
        self.client = Terminal(self, client, server, f"{name} -> :{self.port}")
        self.server = Terminal(self, server, client, f":{self.port} -> {name}")
        self._medium = medium
        self._on_done = on_done
        self._up = Pipe(medium, self.port, self.server.deliver)
        self._down = Pipe(medium, self.port, self.client.deliver)

    def carry(self, sender: Terminal, item: Item, direction: str) -> None:
        """Log ``item`` and put it into the pipe that leads away from ``sender``."""
        self._medium.traffic.add(TrafficEntry(self._medium.loop.time(), direction, item))
        self.pipe_from(sender).put(item)

    def pipe_from(self, terminal: Terminal) -> Pipe:
        """Return the pipe that leads away from ``terminal``."""
        return self._up if terminal is self.client else self._down

    def other(self, terminal: Terminal) -> Terminal:
        """Return the far side."""
        return self.server if terminal is self.client else self.client

    def check_send(self) -> None:
        """Raise instead of sending when a fault says so, and break the link."""
        if self._medium.faults.take_send_fault(self.port) is None:
            return
        self._medium.loop.call_soon(self.sever, ConnectionResetError("sending failed"))
        raise ConnectionClosedError(1006, "sending failed")

    def sever(self, error: Exception) -> None:
        """Break the connection; what was on its way is lost."""
        self._up.clear()
        self._down.clear()
        self.server.break_off(error)
        self.client.break_off(error)

    def arm(self) -> None:
        """Go on delivering after a hold."""
        self._up.arm()
        self._down.arm()

    def discard_if_done(self) -> None:
        """Leave the network when nobody is at either end."""
        if not self.client.occupied and not self.server.occupied:
            self._on_done(self)

    def describe_open(self) -> list[str]:
        """Return a line for each end that somebody still has open."""
        return [
            f"connection c{self.number} to port {self.port}: {terminal.label} is open"
            for terminal in (self.client, self.server)
            if terminal.label is not None
        ]
