"""Parsing frames with picows, which only parses here: it neither reads nor writes a socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode
from websockets.protocol import CLIENT

from rxplus.transports.picows.library import WSProtocol, logger
from rxplus.transports.websockets.buffered import Outpost, feed
from rxplus.transports.websockets.frames import restored

if TYPE_CHECKING:
    from rxplus.transport import Payload
    from rxplus.transports.websockets.wire import Wire

__all__ = ["Frames"]

FIRST_BUFFER = 2**12
"""Bytes that a connection's read buffer begins with; it grows with what arrives."""

MOST_READ = 2**17
"""Bytes read at once, so that a flood does not make the read buffer grow."""

_TEXT = WSMsgType.TEXT
_BINARY = WSMsgType.BINARY

_WASTE = memoryview(bytearray(2**16))
"""Where bytes go that mean nothing any more. It is written to from any loop, and never read."""

_UPGRADE = (
    b"GET / HTTP/1.1\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Socketless:
    """Stands where picows has its asyncio transport.

    All that picows would send, once it is past the handshake, is that it refuses a frame.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.get_extra_info = transport.get_extra_info
        self.opened = False
        self.refused = False

    def get_write_buffer_size(self) -> int:
        return 1  # else it would write to the socket itself

    def write(self, _data: bytes) -> None:
        self.refused = self.opened

    def close(self) -> None: ...

    def let_go(self) -> None:
        """Refer to the loop's transport no more, which is closed."""
        del self.get_extra_info


class _Sorter(WSListener):
    """Hands on whole messages, and leaves every other frame to the library."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._mask = wire.protocol.side is not CLIENT
        # Whether what still comes is void.
        self.over = False
        # Whether a whole message may come next: no fragments are about, and it is not over.
        self._between = True
        # Read, and not delivered yet: until the end of the read, or the next other frame.
        self._batch: list[Payload] = []
        self._add = self._batch.append

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        whole = self._between and frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        kind = frame.msg_type  # made anew each time, and a fifth of all that a message costs here
        if whole and kind is _TEXT:
            try:
                self._add(frame.get_payload_as_utf8_text())
            except UnicodeDecodeError:
                self._leave(frame)
        elif whole and kind is _BINARY:
            self._add(frame.get_payload_as_bytes())
        else:
            self._leave(frame)

    def let_go(self) -> None:
        """Refer to the wire no more, which has ended."""
        self.over = True
        del self._wire

    def deliver(self, *, more: bool) -> None:
        """Deliver what has been read; there may be ``more`` to deliver of the same read."""
        if self._batch:
            batch = self._batch.copy()
            self._batch.clear()
            self._wire.deliver(batch, more=more)

    def _leave(self, frame: WSFrame) -> None:
        """Have the library take a fragment, a control frame, or what is not allowed."""
        self.deliver(more=True)
        if self.over:
            return
        flags = frame.fin << 7 | frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
        first = flags | frame.msg_type.value
        wire = self._wire
        wire.data_received(restored(first, frame.get_payload_as_bytes(), mask=self._mask))
        self.over = wire.discards
        self._between = not self.over and wire.protocol.current_size is None


class Frames(Outpost, WSProtocol):
    """What the loop's transport talks to instead of the wire, while the connection is open.

    Args:
        wire: whose connection it is.
    """

    def __init__(self, wire: Wire) -> None:
        client = wire.protocol.side is CLIENT
        limit = wire.protocol.max_message_size
        self._wire = wire
        self._sorter = _Sorter(wire)
        super().__init__(
            "localhost",
            "/",
            client,
            lambda *_: self._sorter,
            logger,
            False,  # an exception of ours is logged, and ends nothing
            None,
            False,  # the wire sends pings, and answers them
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,
            sys.maxsize if limit is None else limit,
            None,
            FIRST_BUFFER,
        )
        self._output = _Socketless(wire.transport)
        super().connection_made(self._output)
        feed(self, _switching(self.transport.request.headers) if client else _UPGRADE)
        self._output.opened = True

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._sorter.over:
            return _WASTE
        return super().get_buffer(sizehint)[:MOST_READ]

    def buffer_updated(self, nbytes: int) -> None:
        if self._sorter.over:
            return
        super().buffer_updated(nbytes)
        self._sorter.deliver(more=self._output.refused)
        if self._output.refused and not self._sorter.over:
            self._fail()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._sorter.let_go()
        self._output.let_go()

    def _fail(self) -> None:
        """Close because of a frame that picows refused; it sent its reasons to nobody."""
        sent = self.transport.close_handshake.sent
        self._sorter.over = True
        self._wire.fail(CloseCode(int(sent.code)), sent.reason, ProtocolError(sent.reason))


def _switching(headers: Mapping[str, str]) -> bytes:
    """Return the answer that picows expects as a client."""
    key = headers["Sec-WebSocket-Key"].encode()
    return _SWITCHING % base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
