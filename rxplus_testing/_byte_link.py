"""A connection of the byte network: two sockets, and a pipe for each direction."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
from collections.abc import Callable
from typing import TypeAlias

from rxplus_testing._decode import Decoder
from rxplus_testing._faults import Bandwidth, Cut, Direction, Slices
from rxplus_testing._pipe import Medium, Pipe
from rxplus_testing._sockets import Buffer, SocketName, StreamSocket
from rxplus_testing._traffic import TrafficEntry

__all__ = ["ByteLink", "Sign"]

SEGMENT = 2**16
"""Bytes that travel as one when nothing limits the bandwidth."""

PACKET = 1460
"""Bytes that travel as one when something does: what an Ethernet frame has room for."""

_MOST = 2**62


class Sign(enum.Enum):
    """What travels between the sockets besides bytes."""

    SYN = "open"
    SYN_ACK = "opened"
    REFUSED = "refused"
    EOF = "eof"
    RESET = "reset"


Piece: TypeAlias = bytes | Sign


class Half:
    """One side of a link: where its socket's bytes go, and what came for it."""

    socket: StreamSocket

    def __init__(self, link: ByteLink, medium: Medium, port: int, direction: Direction) -> None:
        self.pipe = Pipe[Piece](medium, port, direction, self._carry, link.cut)
        self.other: Half
        self.decoder = Decoder()
        self.is_deserted = False
        self._link = link
        self._medium = medium
        self._port = port
        # Bytes that the other side has not read, and bytes that this side has
        # read without the other being able to hear of it.
        self._unread = 0
        self._owed = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody has the socket and has not closed it."""
        return hasattr(self, "socket") and not self.socket.closed and not self.is_deserted

    # What the socket asks.

    def take(self, data: Buffer) -> int:
        """Send as many bytes as there is room for."""
        with memoryview(data) as view, view.cast("B") as octets:
            taken = bytes(octets[: self._link.buffer_size - self._unread])
        self._unread += len(taken)
        self._log(taken)
        limited = self._medium.faults.first(Bandwidth, self._port) is not None
        size = PACKET if limited else SEGMENT
        through = self.pipe.until_cut(len(taken))
        for at in range(0, through, size):
            piece = taken[at : min(at + size, through)]
            self.pipe.put(piece, len(piece))
        if through < len(taken):
            self.pipe.put(taken[through:], len(taken) - through)
        return len(taken)

    def room(self) -> bool:
        """Tell whether a third of the buffer is free, as systems do it."""
        return 3 * (self._link.buffer_size - self._unread) >= self._link.buffer_size

    def credit(self, size: int) -> None:
        """Tell the other side that so much was read, once it can hear of it."""
        self._owed += size
        if not self._medium.conditions.held(self._port, self.pipe.direction):
            owed, self._owed = self._owed, 0
            self.other.grant(owed)

    def grant(self, size: int) -> None:
        """Hear that the other side has read so much."""
        self._unread -= size
        if self.is_open:
            self.socket.writer.check()

    def finish(self) -> None:
        """Send the end of the stream."""
        self.say(Sign.EOF)

    def reset(self) -> None:
        """Send that nothing will be read any more."""
        self.say(Sign.RESET)

    def leave(self) -> None:
        """Hear that the socket was closed."""
        self._link.discard_if_done()

    def most(self) -> int:
        """Return how many bytes may be read at once."""
        rule = self._medium.faults.first(Slices, self._port)
        return _MOST if rule is None else rule.size

    # What the link does.

    def say(self, sign: Sign) -> None:
        """Send a sign."""
        self._link.log(self.pipe.direction, sign.value)
        self.pipe.put(sign, is_end=sign is Sign.EOF)

    def arm(self) -> None:
        """Go on after a hold."""
        self.pipe.arm()
        self.credit(0)

    def _log(self, data: bytes) -> None:
        for item in self.decoder.feed(data):
            self._link.log(self.pipe.direction, item)

    def _carry(self, piece: Piece) -> None:
        self.other.arrive(piece)

    def arrive(self, piece: Piece) -> None:
        """Take what the other side sent."""
        if isinstance(piece, bytes):
            self._arrive_bytes(piece)
        elif piece in (Sign.SYN, Sign.SYN_ACK, Sign.REFUSED):
            self._link.on_opening(piece)
        elif piece is Sign.EOF:
            self.socket.arrive_eof()
        else:
            self.socket.fail(_reset_error())

    def _arrive_bytes(self, data: bytes) -> None:
        if self.socket.closed:
            # As TCP answers what comes for a connection that is no more.
            self.say(Sign.RESET)
        else:
            self.socket.arrive(data)


class ByteLink:
    """A connection between two addresses.

    Args:
        number: counts the links of a network from 1.
        port: the server's.
        medium: what it shares with the other links.
        buffer_size: bytes that each direction holds before its sender has to wait.
        on_opening: takes what arrives before it is open.
        on_done: called when both sockets are closed.
    """

    def __init__(
        self,
        number: int,
        port: int,
        medium: Medium,
        buffer_size: int,
        on_opening: Callable[[ByteLink, Sign], None],
        on_done: Callable[[ByteLink], None],
    ) -> None:
        self.number = number
        self.port = port
        self.buffer_size = buffer_size
        self.opened: asyncio.Future[None] = medium.loop.create_future()
        self._medium = medium
        self._on_opening = on_opening
        self._on_done = on_done
        self._labels = {"up": f"c{number} -> :{port}", "down": f":{port} -> c{number}"}
        self.client = Half(self, medium, port, "up")
        self.server = Half(self, medium, port, "down")
        self.client.other, self.server.other = self.server, self.client
        cut = medium.faults.take(Cut, port)
        for half in (self.client, self.server):
            half.pipe.cut_after(cut)

    @property
    def path(self) -> str:
        """The path of the request that opened it; empty as long as there was none."""
        return self.client.decoder.path

    def make_sockets(self, fds: tuple[int, int], client: SocketName, server: SocketName) -> None:
        """Make the two ends, of which nobody has the server's yet."""
        loop = self._medium.loop
        self.client.socket = StreamSocket(loop, fds[0], client, server, self.client)
        self.server.socket = StreamSocket(loop, fds[1], server, client, self.server)

    def log(self, direction: Direction, payload: object) -> None:
        """Log what was sent."""
        entry = TrafficEntry(self._medium.loop.time(), self._labels[direction], payload)
        self._medium.traffic.add(entry)

    def on_opening(self, sign: Sign) -> None:
        """Hear what arrived before the connection was open."""
        self._on_opening(self, sign)

    def cut(self) -> None:
        """Break, because a fault says so."""
        self.sever(_reset_error())

    def sever(self, error: Exception) -> None:
        """Break the connection; what was on its way is lost."""
        for half in (self.client, self.server):
            half.pipe.clear()
            half.socket.fail(_reset_error())
        if not self.opened.done():
            self.opened.set_exception(error)

    def arm(self) -> None:
        """Go on delivering after a hold."""
        self.client.arm()
        self.server.arm()

    def discard_if_done(self) -> None:
        """Leave the network when nobody is at either end."""
        if not self.client.is_open and not self.server.is_open:
            self._on_done(self)

    def describe_under_way(self) -> list[str]:
        """Return a line for all that has not arrived."""
        pipes = (self.client.pipe, self.server.pipe)
        return [
            f"{self._labels[pipe.direction]} {line}" for pipe in pipes for line in pipe.describe()
        ]

    def describe_open(self) -> list[str]:
        """Return a line for each socket that somebody still has open."""
        where = f"connection c{self.number} to port {self.port}"
        ends = (("client", self.client), ("server", self.server))
        return [f"{where}: {name} {self.path} is open" for name, half in ends if half.is_open]


def _reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
