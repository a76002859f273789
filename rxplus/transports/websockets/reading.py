"""Messages out of the bytes that arrive (RFC 6455, section 5.2), as long as they are plain.

The library's parser takes 3.7 us for a text of 64 bytes on a server, this one 0.6 us
(CPython 3.11): it reads messages that are one frame each, and leaves everything else to the
library.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rxplus.transports.websockets.frames import BINARY_FRAME, TEXT_FRAME, apply_mask
from rxplus.transports.websockets.partial import LargeMessage

if TYPE_CHECKING:
    from rxplus.transport import Payload
    from rxplus.transports.websockets.memory import Memory

__all__ = ["begin_large", "frame_end", "is_whole", "whole_messages"]

_WHOLE = (TEXT_FRAME, BINARY_FRAME)
_MASK = 0x80

_two_bytes = struct.Struct("!H").unpack_from
_eight_bytes = struct.Struct("!Q").unpack_from


def whole_messages(data: bytes, at: int, *, masked: bool, limit: int) -> tuple[list[Payload], int]:
    """Read messages up to the first frame that is not a whole message, or not there in full.

    Args:
        data: what has arrived.
        at: where a frame begins.
        masked: whether frames must be masked.
        limit: largest message in bytes.

    Returns:
        The messages, and where the frame after them begins. That frame may be a fragment, a
        control frame, too large, against the protocol, or text that is not valid UTF-8.
    """
    messages: list[Payload] = []
    mask_bit, head = (_MASK, 6) if masked else (0, 2)
    size = len(data)
    try:
        while at + head <= size:
            kind = data[at]
            # With the mask bit wrong this is 128 or more.
            length = data[at + 1] ^ mask_bit
            start = at + head
            if length > 125:
                length, start = _long(data, length, at, start)
            end = start + length
            if end > size or length > limit:
                break
            payload = data[start:end]
            if masked:
                payload = apply_mask(payload, data[start - 4 : start])
            if kind == TEXT_FRAME:
                messages.append(payload.decode())
            elif kind == BINARY_FRAME:
                messages.append(payload)
            else:
                break
            at = end
    except UnicodeDecodeError:
        pass  # the library gets to see it
    return messages, at


def _long(data: bytes, length: int, at: int, start: int) -> tuple[int, int]:
    """Return length and start of a payload whose length takes 2 or 8 more bytes.

    Where these are not there yet, or the mask bit is wrong, they are past what is there.
    """
    size = len(data)
    if length == 126 and start + 2 <= size:
        return _two_bytes(data, at + 2)[0], start + 2
    if length == 127 and start + 8 <= size:
        return _eight_bytes(data, at + 2)[0], start + 8
    return 0, size + 1


def _place(data: bytes, at: int) -> tuple[int, int]:
    """Return length and start of a frame's payload; past what is there without a whole head."""
    if at + 2 > len(data):
        return 0, len(data) + 1
    start = at + (6 if data[at + 1] & _MASK else 2)
    length = data[at + 1] & 0x7F
    return _long(data, length, at, start) if length > 125 else (length, start)


def frame_end(data: bytes, at: int) -> int:
    """Return where the frame that begins at ``at`` ends, whatever it is.

    Before its head is there in full: one byte after what is there.
    """
    length, start = _place(data, at)
    return start + length if start <= len(data) else len(data) + 1


def is_whole(data: bytes, at: int) -> bool:
    """Tell whether a frame that begins at ``at`` is there to its end."""
    return at < len(data) and frame_end(data, at) <= len(data)


def begin_large(
    data: bytes, at: int, *, masked: bool, limit: int, memory: Memory
) -> LargeMessage | None:
    """Begin a message that goes on after what is there, unless its frame is for the library.

    Args:
        data: what has arrived.
        at: where a frame begins.
        masked: whether frames must be masked.
        limit: largest message in bytes.
        memory: where it may be put together.
    """
    length, start = _place(data, at)
    if start > len(data) or length > limit:
        return None
    if data[at] not in _WHOLE or bool(data[at + 1] & _MASK) is not masked:
        return None
    mask = data[start - 4 : start] if masked else b""
    message = LargeMessage(data[at], mask, length, memory)
    message.add(data[start:])
    return message
