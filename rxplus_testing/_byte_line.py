"""A line on bytes: on a byte network, or on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from rxplus_testing._frames import (
    Frame,
    FrameReader,
    Opcode,
    close_payload,
    encode,
    parse_close,
)
from rxplus_testing._http import END_OF_HEAD, parse_head, switching, upgrade
from rxplus_testing._line import Breaches, Line
from rxplus_testing._rxplus import ClientEndpoint, ConnectError, HandshakeRejectedError, Payload

__all__ = ["ByteLine", "connect_line"]

_MASK = b"mask"
"""Clients must mask; with what is up to them."""

_NO_SUCH_OPCODE = 11


class ByteLine(Line, asyncio.Protocol):
    """One end of a WebSocket connection, on a transport of asyncio's.

    Args:
        request: what a client sends first; ``None`` on a server.
        on_open: called when a server has let somebody in.
    """

    _transport: asyncio.Transport
    _socket: socket.socket

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        request: bytes | None,
        on_open: Callable[[Line], None] = lambda _line: None,
    ) -> None:
        super().__init__(loop)
        self._request = request
        self._mask = b"" if request is None else _MASK
        self._on_open = on_open
        self._head = bytearray()
        self._frames = FrameReader()
        self._parts: list[bytes] = []
        self._is_text = False
        self._has_closed = False

    # What it is told to do.

    def send(self, *messages: Payload) -> None:
        """Send messages."""
        for message in messages:
            self._write(*_content(message))

    def send_fragments(self, *parts: Payload) -> None:
        """Send one message in several frames."""
        opcode, _ = _content(parts[0])
        last = len(parts) - 1
        for at, part in enumerate(parts):
            self._write(Opcode.CONT if at else opcode, _content(part)[1], fin=at == last)

    def breach(self, kind: tuple[int, str]) -> None:
        """Send what no peer may send."""
        if kind == Breaches.BAD_UTF8:
            self._write(Opcode.TEXT, b"\xff")
        else:
            self._write(_NO_SUCH_OPCODE)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._transport.write(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake."""
        if not self._has_closed:
            self._has_closed = True
            self._write(Opcode.CLOSE, close_payload(code, reason))

    def abort(self) -> None:
        """Drop the connection with a reset."""
        if self._socket.fileno() >= 0:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def stop_reading(self) -> None:
        """Take nothing more from the network."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def _write(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self._transport.write(encode(opcode, payload, fin=fin, mask=self._mask))

    # What asyncio tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request, if this is a client."""
        self._transport = cast("asyncio.Transport", transport)
        # Asked for now: a TLS transport forgets it when it closes.
        self._socket = transport.get_extra_info("socket")
        if self._request is not None:
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take what came: the head first, and then frames."""
        if not self.opened.done():
            self._head += data
            head, end, data = bytes(self._head).partition(END_OF_HEAD)
            if not end or not self._open(head):
                return
        for frame in self._frames.feed(data):
            self._handle(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self._fail_to_open(exc or ConnectError("the other side left"))
        self._end(1006)

    def _open(self, head: bytes) -> bool:
        """Take the other side's head; tell whether the connection is open."""
        start, headers = parse_head(head)
        if self._request is None:
            self._transport.write(switching(headers))
        elif not start.startswith("HTTP/1.1 101 "):
            self._fail_to_open(HandshakeRejectedError(int(start.split(" ")[1])))
            self._transport.close()
            return False
        self.opened.set_result(None)
        self._on_open(self)
        return True

    def _handle(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.PING:
                self._write(Opcode.PONG, frame.payload)
            case Opcode.CLOSE:
                code, reason = parse_close(frame.payload)
                self.close(1000 if code == 1005 else code, reason)
                self._end(code, reason)
                self._transport.close()
            case Opcode.PONG:
                pass
            case _:
                self._add(frame)

    def _add(self, frame: Frame) -> None:
        if frame.opcode != Opcode.CONT:
            self._parts, self._is_text = [], frame.opcode == Opcode.TEXT
        self._parts.append(frame.payload)
        if frame.fin:
            whole = b"".join(self._parts)
            self._take(whole.decode() if self._is_text else whole)


async def connect_line(endpoint: ClientEndpoint) -> ByteLine:
    """Connect a line as a client, on the loop that runs."""
    loop = asyncio.get_running_loop()
    request = upgrade(f"{endpoint.host}:{endpoint.port}", endpoint.target, endpoint.headers)
    tls: ssl.SSLContext | None = endpoint.tls
    _, line = await loop.create_connection(
        lambda: ByteLine(loop, request), endpoint.host, endpoint.port, ssl=tls
    )
    await line.opened
    return line


def _content(message: Payload) -> tuple[Opcode, bytes]:
    if isinstance(message, str):
        return Opcode.TEXT, message.encode()
    return Opcode.BINARY, message
