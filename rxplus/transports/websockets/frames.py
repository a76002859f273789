"""Messages as frames on the wire (RFC 6455, section 5)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rxplus.transport import Payload

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - platforms without the library's C extension
    from websockets.utils import apply_mask

__all__ = [
    "BINARY_FRAME",
    "COPY_LIMIT",
    "TEXT_FRAME",
    "Piece",
    "apply_mask",
    "encoded",
    "fitting",
    "joined",
    "masked",
    "restored",
    "unmasked",
]

MAX_REASON_BYTES = 123
"""What a close frame can hold besides its code (RFC 6455, section 5.5)."""

COPY_LIMIT = 2**18
"""Payloads of at least so many bytes are written as they are, not copied into the batch.

To write one apart takes two system calls, and each gives up the GIL: with 64 KiB between two
threads it takes half as long again as copying does.
"""

MASKED_AT_ONCE = 2**18
"""Bytes of a large payload that are masked and written at once; a multiple of the mask's length.

Masking makes a copy. A small one is freed to where the next is taken from; for a large one glibc
maps and unmaps pages. 1 MiB takes 1.6 instead of 1.9 ms on a loop with a thread of its own, and
0.95 instead of 1.25 with picows and uvloop (processor time of both sides); between two loops of
asyncio 1.5 instead of 1.3.
"""

Piece: TypeAlias = bytes | tuple[memoryview, bytes]
"""What is written at once: bytes, or a part of a large payload and the mask it still needs."""

TEXT_FRAME = 0x81
"""First byte of a frame that is a whole text: FIN and opcode."""

BINARY_FRAME = 0x82
"""First byte of a frame that is a whole binary message."""

# First byte and length of every frame whose length fits into one byte.
_SMALL_TEXT = tuple(bytes((TEXT_FRAME, length)) for length in range(126))
_SMALL_BINARY = tuple(bytes((BINARY_FRAME, length)) for length in range(126))
_SMALL_TEXT_MASKED = tuple(bytes((TEXT_FRAME, 0x80 | length)) for length in range(126))
_SMALL_BINARY_MASKED = tuple(bytes((BINARY_FRAME, 0x80 | length)) for length in range(126))

_MASK = struct.Struct("4s")


def _long_head(first: int, mask_bit: int, length: int) -> bytes:
    """Return the start of a frame whose length takes 2 or 8 bytes."""
    if length < 2**16:
        return struct.pack("!BBH", first, mask_bit | 126, length)
    return struct.pack("!BBQ", first, mask_bit | 127, length)


def _type_error(message: object) -> TypeError:
    return TypeError(f"a message must be str or bytes, not {type(message).__name__}")


def encoded(messages: Sequence[Payload]) -> list[tuple[bool, bytes]]:
    """Return for each message whether it is text, and its bytes."""
    contents: list[tuple[bool, bytes]] = []
    for message in messages:
        if isinstance(message, str):
            contents.append((True, message.encode()))
        elif isinstance(message, bytes):
            contents.append((False, message))
        else:
            raise _type_error(message)
    return contents


def unmasked(messages: Sequence[Payload]) -> list[Piece]:
    """Serialise messages as a server sends them, into as few pieces as is cheap."""
    parts: list[Any] = []  # bytes, and large pieces
    large = False
    for message in messages:
        if isinstance(message, str):
            data, first, small = message.encode(), TEXT_FRAME, _SMALL_TEXT
        elif isinstance(message, bytes):
            data, first, small = message, BINARY_FRAME, _SMALL_BINARY
        else:
            raise _type_error(message)
        length = len(data)
        parts.append(small[length] if length < 126 else _long_head(first, 0, length))
        parts.append(data)
        if length >= COPY_LIMIT:
            large = True
    return joined(parts) if large else [b"".join(parts)]


def masked(messages: Sequence[Payload]) -> list[Piece]:
    """Serialise messages as a client sends them, into as few pieces as is cheap."""
    parts: list[Any] = []  # bytes, and large pieces
    large = False
    # One draw for the batch: a system call per message would cost more than the rest.
    masks = _MASK.iter_unpack(os.urandom(4 * len(messages)))
    # Not strict: to pass that by name doubles what a lone message costs here (CPython 3.11).
    for message, (mask,) in zip(messages, masks):  # noqa: B905 - there is a mask for each
        if isinstance(message, str):
            data, first, small = message.encode(), TEXT_FRAME, _SMALL_TEXT_MASKED
        elif isinstance(message, bytes):
            data, first, small = message, BINARY_FRAME, _SMALL_BINARY_MASKED
        else:
            raise _type_error(message)
        length = len(data)
        head = small[length] if length < 126 else _long_head(first, 0x80, length)
        if length < COPY_LIMIT:
            parts += (head, mask, apply_mask(data, mask))
        else:
            parts += (head, mask)
            whole = memoryview(data)
            for at in range(0, length, MASKED_AT_ONCE):
                parts.append((whole[at : at + MASKED_AT_ONCE], mask))
            large = True
    return joined(parts) if large else [b"".join(parts)]


def restored(first: int, payload: bytes, *, mask: bool) -> bytes:
    """Return a frame as it can be parsed once more.

    Args:
        first: its first byte.
        payload: unmasked.
        mask: whether the parser expects a mask; this one changes nothing.
    """
    length = len(payload)
    mask_bit = 0x80 if mask else 0
    head = (
        bytes((first, mask_bit | length)) if length < 126 else _long_head(first, mask_bit, length)
    )
    return b"".join((head, bytes(4 if mask else 0), payload))


def joined(parts: list[Any]) -> list[Piece]:
    """Join parts, but leave large ones alone: bytes as they are, and what is yet to be masked.

    ``transport.writelines`` would take them all at once, but before CPython 3.12.9 and 3.13.2
    it does not call ``pause_writing`` (CVE-2024-12254).
    """
    pieces: list[Piece] = []
    run: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes) and len(part) < COPY_LIMIT:
            run.append(part)
            continue
        if run:
            pieces.append(b"".join(run))
            run = []
        pieces.append(part)
    if run:
        pieces.append(b"".join(run))
    return pieces


def fitting(reason: str) -> str:
    """Cut a reason to what a close frame can hold, between two characters."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
