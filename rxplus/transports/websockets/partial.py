"""Messages of which only a part is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError

from rxplus.transports.websockets.frames import TEXT_FRAME, apply_mask, restored

if TYPE_CHECKING:
    from rxplus.transport import Payload
    from rxplus.transports.websockets.memory import Memory

__all__ = ["MAX_FRAGMENTS", "FragmentedMessage", "LargeMessage"]

MAX_FRAGMENTS = 2**18
"""Fragments of one message; one more closes with 1009.

They are joined as they come, so they cost no memory beyond the message's own size; the limit
only ends a stream of empty ones. The library's own limit of 4,096 refuses honest peers: the
Autobahn test suite sends 65,536 fragments.
"""


class LargeMessage:
    """A message that is one large frame, while it arrives.

    Args:
        first: first byte of the frame.
        mask: empty where frames have none.
        size: of the payload, in bytes.
        memory: where it is put together, if there is room; :meth:`let_go` gives that back.
            Else it takes memory as it comes, not as is announced.
    """

    __slots__ = ("_arrived", "_first", "_lent", "_mask", "_memory", "_size", "missing")

    def __init__(self, first: int, mask: bytes, size: int, memory: Memory) -> None:
        self._first = first
        self._mask = mask
        self._size = size
        self._memory = memory
        self._lent = memory.borrow(size)
        self._arrived = bytearray()
        self.missing = size
        """Bytes that are still to come."""

    def add(self, part: bytes | memoryview) -> None:
        """Take what comes next of it, and nothing beyond it. Makes a copy."""
        if self._lent is None:
            self._arrived += part
        else:
            at = self._size - self.missing
            self._lent[at : at + len(part)] = part
        self.missing -= len(part)

    def let_go(self) -> None:
        """Give back what was lent: it is needed no more."""
        if self._lent is not None:
            self._memory.give_back(self._lent)
            self._lent = None

    def message(self) -> Payload:
        """Return it, when nothing is missing.

        Raises:
            UnicodeDecodeError: it is not the text that it should be.
        """
        payload = self._payload()
        return payload.decode() if self._first == TEXT_FRAME else payload

    def frame(self) -> bytes:
        """Return the frame that it came in."""
        return restored(self._first, self._payload(), mask=bool(self._mask))

    def _payload(self) -> bytes:
        arrived = self._arrived if self._lent is None else self._lent[: self._size]
        return apply_mask(arrived, self._mask) if self._mask else bytes(arrived)


class FragmentedMessage:
    """A message that comes as several frames (RFC 6455, section 5.4).

    Args:
        data: payload of the first, unmasked.
        is_text: whether it is to be a text.
    """

    __slots__ = ("_arrived", "_count", "_is_text")

    def __init__(self, data: bytes | bytearray | memoryview, *, is_text: bool) -> None:
        self._arrived = bytearray(data)
        self._is_text = is_text
        self._count = 1

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Take the payload of the next frame.

        Raises:
            ProtocolError: it is one too many.
        """
        self._arrived += data
        self._count += 1
        if self._count > MAX_FRAGMENTS:
            raise ProtocolError("too many fragments")

    def message(self) -> Payload:
        """Return it, when the last frame has come.

        Raises:
            UnicodeDecodeError: it is not the text that it should be.
        """
        return self._arrived.decode() if self._is_text else bytes(self._arrived)
