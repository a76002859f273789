"""A line on messages: on a memory network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rxplus_testing._line import Line
from rxplus_testing._link import Terminal
from rxplus_testing._listener import Doorman
from rxplus_testing._rxplus import (
    ConnectError,
    HandshakeRejectedError,
    Payload,
    ServerEndpoint,
)
from rxplus_testing._wire import (
    Accept,
    Ask,
    Breach,
    Close,
    Eof,
    Item,
    Message,
    Ping,
    Pong,
    Reject,
    to_close,
    to_messages,
)

__all__ = ["LineListener", "MemoryLine"]


class MemoryLine(Line):
    """One end of a connection on a memory network.

    Args:
        terminal: where it sits.
        label: names it among the things left open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, terminal: Terminal, label: str) -> None:
        super().__init__(loop)
        self._terminal = terminal
        self._inbox: deque[Item] = deque()
        self._reads = True
        self._has_closed = False
        terminal.attach(self, label)

    # What it is told to do.

    def send(self, *messages: Payload) -> None:
        """Send messages."""
        for message in to_messages(messages):
            self._put(message)

    def send_fragments(self, *parts: Payload) -> None:
        """Send one message: this network knows no frames."""
        self.send("".join(map(str, parts)) if isinstance(parts[0], str) else _joined(parts))

    def breach(self, kind: tuple[int, str]) -> None:
        """Send what no peer may send."""
        self._put(Breach(*kind))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake."""
        if not self._has_closed:
            self._has_closed = True
            self._put(to_close(code, reason))

    def abort(self) -> None:
        """Drop the connection."""
        self._put(Eof(ConnectionResetError("connection reset by peer")))
        self._leave(1006)

    def stop_reading(self) -> None:
        """Take nothing more from the network."""
        self._reads = False

    def resume_reading(self) -> None:
        """Read on."""
        self._reads = True
        self._read()

    def _put(self, item: Item) -> None:
        if self.closed is None:
            self._terminal.put(item)

    # What the link tells it.

    def arrive(self, item: Item) -> None:
        """Take what came."""
        self._inbox.append(item)
        self._read()

    def arrived(self) -> None:
        """Each item was taken as it came."""

    def broken(self, error: Exception) -> None:
        """Hear that the link was cut."""
        self.arrive(Eof(error))

    def acknowledged(self, size: int) -> None:
        """Hear that messages were taken; it sends without looking."""

    def _read(self) -> None:
        while self._reads and self._inbox:
            self._handle(self._inbox.popleft())

    def _handle(self, item: Item) -> None:
        match item:
            case Accept():
                self.opened.set_result(None)
            case Reject(status, body):
                self._fail_to_open(HandshakeRejectedError(status, body))
                self._leave(1006)
            case Message(payload, size):
                self._terminal.acknowledge(size)
                self._take(payload)
            case Ping(serial):
                self._put(Pong(serial))
            case Close(code, reason):
                self.close(code, reason)
                self._leave(code, reason)
            case _:
                assert isinstance(item, Eof)
                self._fail_to_open(ConnectError(f"cannot connect: {item.error}"))
                self._leave(1006)

    def _leave(self, code: int, reason: str = "") -> None:
        self._end(code, reason)
        self._terminal.detach()


class LineListener:
    """Lets everybody in, each as a line of its own.

    Args:
        on_line: takes them.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, port: int, on_line: Callable[[Line], None]
    ) -> None:
        self.endpoint = ServerEndpoint(host="127.0.0.1", port=port)
        self._loop = loop
        self._on_line = on_line

    def shake_hands(self, doorman: Doorman, ask: Ask) -> None:
        """Open a connection."""
        terminal = doorman.terminal
        terminal.put(Accept())
        line = MemoryLine(self._loop, terminal, f"peer {ask.request.path}")
        line.opened.set_result(None)
        self._on_line(line)


def _joined(parts: tuple[Payload, ...]) -> bytes:
    return b"".join(part for part in parts if isinstance(part, bytes))
