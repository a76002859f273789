"""What answers a client in the server's place, when a fault says so."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from rxplus_testing._faults import AcceptThenClose, RejectHandshake
from rxplus_testing._frames import Opcode, close_payload, encode
from rxplus_testing._http import END_OF_HEAD, parse_head, response, switching

__all__ = ["Impostor"]


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
        loop.create_task(self._accept(loop, sock, tls), name="impostor")

    async def _accept(
        self, loop: asyncio.AbstractEventLoop, sock: Any, tls: ssl.SSLContext | None
    ) -> None:
        try:
            await loop.connect_accepted_socket(lambda: self, sock, ssl=tls)
        except OSError:
            # The client left, or cannot do TLS: nobody is there to be answered.
            return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to answer."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the request; leave when the client has answered the close."""
        if self._answered:
            self._transport.close()
            return
        self._head += data
        if END_OF_HEAD in self._head:
            self._answered = True
            self._answer(parse_head(bytes(self._head))[1])

    def _answer(self, headers: Any) -> None:
        fault = self._fault
        if isinstance(fault, RejectHandshake):
            self._transport.write(response(fault.status, fault.body))
            self._transport.close()
        else:
            close = encode(Opcode.CLOSE, close_payload(fault.code, fault.reason))
            # The client is to take it for the server that it wants.
            offered = headers.get("Sec-WebSocket-Protocol", "")
            self._transport.write(switching(headers, offered.partition(",")[0].strip()) + close)
