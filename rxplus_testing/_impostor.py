"""What answers a client in the server's place, when a fault says so."""

from __future__ import annotations

import asyncio
import http
import ssl
import struct
from typing import Any, cast

from rxplus_testing._faults import AcceptThenClose, RejectHandshake
from rxplus_testing._frames import Opcode, accept_key, encode
from rxplus_testing._rxplus import Headers

__all__ = ["Impostor", "read_headers", "switching"]

_END_OF_HEAD = b"\r\n\r\n"


class Impostor(asyncio.Protocol):
    """Answers one opening request with a status, or opens the connection only to close it."""

    _transport: asyncio.Transport

    def __init__(self, fault: RejectHandshake | AcceptThenClose) -> None:
        self._fault = fault
        self._head = bytearray()
        self._answered = False

    def take_over(
        self, loop: asyncio.AbstractEventLoop, sock: Any, tls: ssl.SSLContext | None
    ) -> None:
        """Sit at the server's end of a connection."""
        loop.create_task(
            loop.connect_accepted_socket(lambda: self, sock, ssl=tls), name="impostor"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to answer."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the request; leave when the client has answered the close."""
        if self._answered:
            self._transport.close()
            return
        self._head += data
        if _END_OF_HEAD in self._head:
            self._answered = True
            self._answer(bytes(self._head))

    def _answer(self, head: bytes) -> None:
        match self._fault:
            case RejectHandshake(status=status, body=body):
                self._transport.write(_response(status, body))
                self._transport.close()
            case AcceptThenClose(code=code, reason=reason):
                close = encode(Opcode.CLOSE, struct.pack("!H", code) + reason.encode())
                self._transport.write(switching(read_headers(head)) + close)


def read_headers(head: bytes) -> Headers:
    """Return the headers of a request or response."""
    lines = head.partition(_END_OF_HEAD)[0].decode("latin-1").split("\r\n")[1:]
    parts = (line.partition(":") for line in lines)
    return Headers((name, value.strip()) for name, _, value in parts)


def switching(request: Headers) -> bytes:
    """Return the answer that opens a connection."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(request['Sec-WebSocket-Key'])}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _response(status: int, body: str) -> bytes:
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    data = body.encode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(data)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data
