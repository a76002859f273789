"""Writing frames: what is serialised is what the other side reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from rxplus.transport import Payload
from rxplus.transports.websockets.frames import (
    COPY_LIMIT,
    MASKED_AT_ONCE,
    Piece,
    apply_mask,
    masked,
    unmasked,
)
from rxplus.transports.websockets.reading import whole_messages

SIZES = (
    *(0, 1, 125, 126, 65_535, 65_536),
    *(COPY_LIMIT - 1, COPY_LIMIT, COPY_LIMIT + 1),
    *(2 * MASKED_AT_ONCE - 1, 2 * MASKED_AT_ONCE, 2 * MASKED_AT_ONCE + 3),
)


@pytest.mark.parametrize("serialise", [masked, unmasked])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_what_is_read(
    size: int, serialise: Callable[[Sequence[Payload]], list[Piece]]
) -> None:
    """Of every size, alone and between others, text and binary."""
    data = random.Random(size).randbytes(size)
    messages: list[Payload] = ["a", data, "y" * size, data, b"z"]
    for batch in (messages, messages[1:2], messages[2:4]):
        pieces = serialise(batch)
        written = b"".join(
            piece if isinstance(piece, bytes) else apply_mask(*piece) for piece in pieces
        )
        is_masked = serialise is masked
        read, end = whole_messages(written, 0, masked=is_masked, limit=size or 1)
        assert (read, end) == (batch, len(written))


def test_large_payload_is_masked_in_parts() -> None:
    """So that no copy of it as a whole is made; what is small goes with its neighbours."""
    pieces = masked(["a", bytes(2 * MASKED_AT_ONCE + 1), "b", bytes(MASKED_AT_ONCE)])
    parts = [0 if isinstance(piece, bytes) else len(piece[0]) for piece in pieces]
    assert parts == [0, MASKED_AT_ONCE, MASKED_AT_ONCE, 1, 0, MASKED_AT_ONCE]
    assert all(pieces)
