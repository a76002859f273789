"""WebSocket frames as bytes (RFC 6455, section 5): enough to log them, and to send wrong ones."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Frame", "FrameReader", "Opcode", "close_payload", "encode", "parse_close"]


class Opcode(enum.IntEnum):
    """What a frame is."""

    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        opcode: its number; one of :class:`Opcode`, if the sender was right.
        payload: unmasked, and as much of it as was to be kept.
        size: bytes of the whole payload.
        fin: whether a message ends with it.
        compressed: whether the bit of permessage-deflate is set (RFC 7692).
    """

    opcode: int
    payload: bytes
    size: int
    fin: bool
    compressed: bool


def encode(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = b"") -> bytes:
    """Return a frame, masked when a mask of four bytes is given, as clients must."""
    first, bit = opcode | (0x80 if fin else 0), 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + mask + (_apply(mask, payload) if mask else payload)


class FrameReader:
    """Finds the frames in a stream of bytes.

    Args:
        keep: bytes of each payload that are kept; ``None`` keeps all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._keep = keep
        self._buffer = bytearray()
        # Of a payload that is longer than what is kept: bytes still to come and go.
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes, and iterate over the frames whose kept part is there."""
        self._buffer += data
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            frame = None if self._skip else self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> Frame | None:
        head = _head_size(self._buffer)
        if head is None or len(self._buffer) < head:
            return None
        first, masked, size = self._buffer[0], self._buffer[1] & 0x80, _payload_size(self._buffer)
        kept = size if self._keep is None else min(size, self._keep)
        if len(self._buffer) < head + kept:
            return None
        payload = bytes(self._buffer[head : head + kept])
        if masked:
            payload = _apply(bytes(self._buffer[head - 4 : head]), payload)
        del self._buffer[: head + kept]
        self._skip = size - kept
        return Frame(first & 0x0F, payload, size, bool(first & 0x80), bool(first & 0x40))


def close_payload(code: int, reason: str = "") -> bytes:
    """Return what a close frame carries."""
    return struct.pack("!H", code) + reason.encode()


def parse_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame; 1005 when it has none."""
    if len(payload) < 2:
        return 1005, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")


_LENGTH_BYTES = {126: 2, 127: 8}


def _head_size(buffer: bytearray) -> int | None:
    if len(buffer) < 2:
        return None
    length_bytes = _LENGTH_BYTES.get(buffer[1] & 0x7F, 0)
    return 2 + length_bytes + (4 if buffer[1] & 0x80 else 0)


def _payload_size(buffer: bytearray) -> int:
    short = buffer[1] & 0x7F
    length_bytes = _LENGTH_BYTES.get(short, 0)
    return int.from_bytes(buffer[2 : 2 + length_bytes], "big") if length_bytes else short


def _apply(mask: bytes, payload: bytes) -> bytes:
    # As one number: a loop over the bytes would take a second for a few MiB.
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
