"""A link of the memory network: two pipes, and a terminal at each end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from rxplus_testing._faults import Cut, Direction, FailSend
from rxplus_testing._pipe import Medium, Pipe
from rxplus_testing._rxplus import Address, ConnectionClosedError
from rxplus_testing._traffic import TrafficEntry
from rxplus_testing._wire import Close, Eof, Item, Message

__all__ = ["End", "Link", "Terminal"]


class End(Protocol):
    """Who listens at a terminal."""

    def arrive(self, item: Item) -> None:
        """Take what came through the pipe."""

    def arrived(self) -> None:
        """Hear that this was all that came together."""

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
        self.direction = direction
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
        self.link.carry(self, item, self.direction)

    def lose_unsent(self, sent: int) -> None:
        """Lose what is on its way from here, but for the first ``sent`` bytes."""
        pipe = self.link.pipe_from(self)
        pipe.keep(_fitting(pipe.under_way(), sent))

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

    def delivered(self) -> None:
        """Tell the end that sits here that this was all that came together."""
        if self._end is not None:
            self._end.arrived()

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
        self._up = self._pipe(medium, "up", self.server)
        self._down = self._pipe(medium, "down", self.client)
        cut = medium.faults.take(Cut, self.port)
        for pipe in (self._up, self._down):
            pipe.cut_after(cut)

    def _pipe(self, medium: Medium, direction: Direction, to: Terminal) -> Pipe[Item]:
        return Pipe(medium, self.port, direction, to.deliver, self._cut, on_rest=to.delivered)

    def carry(self, sender: Terminal, item: Item, direction: str) -> None:
        """Log ``item`` and put it into the pipe that leads away from ``sender``."""
        self._medium.traffic.add(TrafficEntry(self._medium.loop.time(), direction, item))
        size = item.size if isinstance(item, Message) else 0
        self.pipe_from(sender).put(item, size, is_end=isinstance(item, Close | Eof))

    def pipe_from(self, terminal: Terminal) -> Pipe[Item]:
        """Return the pipe that leads away from ``terminal``."""
        return self._up if terminal is self.client else self._down

    def other(self, terminal: Terminal) -> Terminal:
        """Return the far side."""
        return self.server if terminal is self.client else self.client

    def check_send(self) -> None:
        """Raise instead of sending when a fault says so, and break the link."""
        if self._medium.faults.take(FailSend, self.port) is None:
            return
        self._medium.loop.call_soon(self.sever, ConnectionResetError("sending failed"))
        raise ConnectionClosedError(1006, "sending failed")

    def sever(self, error: Exception) -> None:
        """Break the connection; what was on its way is lost."""
        self._up.clear()
        self._down.clear()
        self.server.break_off(error)
        self.client.break_off(error)

    def _cut(self) -> None:
        self.sever(ConnectionResetError("the network broke"))

    def arm(self) -> None:
        """Go on delivering after a hold."""
        self._up.arm()
        self._down.arm()

    def discard_if_done(self) -> None:
        """Leave the network when nobody is at either end."""
        if not self.client.occupied and not self.server.occupied:
            self._on_done(self)

    def describe_under_way(self) -> list[str]:
        """Return a line for all that has not arrived."""
        pipes = ((self.client, self._up), (self.server, self._down))
        return [f"{end.direction} {line}" for end, pipe in pipes for line in pipe.describe()]

    def describe_open(self) -> list[str]:
        """Return a line for each end that somebody still has open."""
        return [
            f"connection c{self.number} to port {self.port}: {terminal.label} is open"
            for terminal in (self.client, self.server)
            if terminal.label is not None
        ]


def _fitting(items: Iterable[Item | None], size: int) -> int:
    """Return how many of the items are before the first message that does not fit."""
    count = 0
    for item in items:
        size -= item.size if isinstance(item, Message) else 0
        if size < 0:
            break
        count += 1
    return count
