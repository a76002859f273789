"""What the bytes of a connection mean: for the traffic log of the byte network."""

from __future__ import annotations

from collections.abc import Iterator

from rxplus_testing._frames import Frame, FrameReader, Opcode, parse_close
from rxplus_testing._http import END_OF_HEAD, parse_head, request_of
from rxplus_testing._rxplus import Headers
from rxplus_testing._wire import Accept, Ask, Close, Message, Ping, Pong, Reject

__all__ = ["Decoder"]

_KEEP = 2**12
"""Bytes of a payload that the log shows and keeps."""

_TLS_HANDSHAKE = 0x16


class Decoder:
    """Reads one direction of a connection: an HTTP head, and then frames.

    Attributes:
        path: that the head asked for; empty in the other direction.
    """

    def __init__(self) -> None:
        self.path = ""
        self._head = bytearray()
        self._frames: FrameReader | None = None
        self._is_opaque = False

    def feed(self, data: bytes) -> Iterator[object]:
        """Take bytes, and iterate over what is to be logged."""
        if not self._head and self._frames is None and data[:1] == bytes([_TLS_HANDSHAKE]):
            self._is_opaque = True
        if self._is_opaque:
            yield f"{len(data)} bytes"
        elif self._frames is not None:
            yield from map(_meaning, self._frames.feed(data))
        else:
            yield from self._feed_head(data)

    def _feed_head(self, data: bytes) -> Iterator[object]:
        self._head += data
        head, end, rest = self._head.partition(END_OF_HEAD)
        if not end:
            return
        start, headers = parse_head(bytes(head))
        item = _answer(start, headers) if start.startswith("HTTP/") else self._ask(start, headers)
        yield item
        if isinstance(item, Reject):
            self._is_opaque = True
            return
        self._frames = FrameReader(_KEEP)
        yield from self.feed(bytes(rest))

    def _ask(self, start: str, headers: Headers) -> object:
        request = request_of(start, headers)
        self.path = request.path
        return Ask(request)


def _answer(start: str, headers: Headers) -> object:
    status = start.split(" ")[1] if " " in start else ""
    if status == "101":
        return Accept(headers.get("Sec-WebSocket-Protocol"))
    return Reject(int(status) if status.isdigit() else 0)


def _meaning(frame: Frame) -> object:
    if frame.compressed or not frame.fin or frame.opcode == Opcode.CONT:
        kind = "compressed" if frame.compressed else "fragment"
        return f"{kind} {frame.size} bytes"
    match frame.opcode:
        case Opcode.TEXT | Opcode.BINARY:
            return Message(_payload(frame), frame.size)
        case Opcode.PING:
            return Ping(int.from_bytes(frame.payload, "big"))
        case Opcode.PONG:
            return Pong(int.from_bytes(frame.payload, "big"))
        case Opcode.CLOSE:
            return Close(*parse_close(frame.payload))
        case _:
            return f"frame of unknown kind {frame.opcode}"


def _payload(frame: Frame) -> str | bytes:
    if frame.opcode == Opcode.BINARY:
        return frame.payload
    return frame.payload.decode(errors="replace")
