"""Where bytes go that arrive: the short way, or through the library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.connection import Connection as LibraryConnection
from websockets.protocol import OPEN, SERVER
from websockets.streams import StreamReader

from rxplus.transports.websockets.memory import memory_of
from rxplus.transports.websockets.partial import LargeMessage
from rxplus.transports.websockets.reading import begin_large, frame_end, is_whole, whole_messages

if TYPE_CHECKING:
    from rxplus.transport import Payload

__all__ = ["Inbound"]

MOST_KEPT = 2**16
"""Bytes of a frame that is not there in full for which it is kept, to be read in one go.

Of what is larger each piece is dealt with as it comes: putting pieces together again and again
would cost more.
"""

MOST_HEAD = 14
"""Bytes of the longest head that a frame can have. One that is not there in full is always kept:
without it nobody knows where the frame ends."""

_BETWEEN_FRAMES = StreamReader.at_eof.__code__
"""What the library's parser waits in when it has read one frame and nothing of the next."""


class Inbound(LibraryConnection):
    """Reads whole messages itself, and has the library read everything else.

    The library gets fragments, control frames, what is against the protocol, and all bytes
    before the connection is open and once it closes. It gets frames one at a time, so that it
    is known to be between two frames afterwards.
    """

    # Defaults on the class: an idle connection holds only what it needs.

    # Whether the library's parser has been found between two frames, and is kept there.
    _in_step = False

    # The beginning of a frame, not given to the library.
    _rest = b""

    # A message of which the beginning is there.
    _large: LargeMessage | None = None

    # Bytes still to come of a frame whose beginning was given to the library.
    _owed = 0

    @property
    def plain(self) -> bool:
        """Whether frames can be read and made without the library.

        For a text of 64 bytes the library's ``send_text`` takes 1.65 us on a client and 0.94 us
        on a server, our own serialising 0.24 and 0.09 us (CPython 3.13). Extensions change
        payloads, and debug logs show frames: both go the library's way.
        """
        return not self.protocol.extensions and not self.protocol.debug

    def deliver(self, messages: Sequence[Payload], *, more: bool) -> None:
        """Take messages that have arrived. What is built on this says how.

        Args:
            messages: in order.
            more: whether something else may have arrived with them, that is still to come.
        """

    def forget_partial(self) -> None:
        """Let go of what has come of a frame, whose rest means nothing any more."""
        if self._large is not None:
            self._large.let_go()
            self._large = None
        self._rest = b""

    def data_received(self, data: bytes | memoryview) -> None:
        """Take what has arrived, before a buffer that it is a view of is used again."""
        within = self._owed if self._large is None else self._large.missing
        if within:
            # Of what is within a large frame a copy would be one too many. What comes after it is
            # copied first: who is told of the frame may have something read to the same buffer.
            part, rest = data[:within], bytes(data[within:])
            if self._large is None:
                self._pass_on(part, 0, within)
            else:
                self._go_on(self._large, part, more=is_whole(rest, 0))
            data = rest
        if not data:
            return
        data, self._rest = self._rest + data, b""  # makes bytes of a view
        at, size = 0, len(data)
        while at < size:
            if self.protocol.state is OPEN and (self._in_step or self._comes_in_step()):
                at = self._read(data, at)
            else:
                self.have_library_read(data[at:])  # of all bytes it makes no copy
                return

    def have_library_read(self, data: bytes | memoryview) -> None:
        """Give bytes to the library."""
        super().data_received(cast("bytes", data))

    def _comes_in_step(self) -> bool:
        """Tell whether the library's parser is between two frames."""
        if not self.plain:
            return False
        step: Any = self.protocol.parser  # a generator, and those that it yields from
        while step.gi_yieldfrom is not None:
            step = step.gi_yieldfrom
        self._in_step = step.gi_code is _BETWEEN_FRAMES
        return self._in_step

    def _read(self, data: bytes, at: int) -> int:
        """Read messages, or one other frame; return how far."""
        protocol = self.protocol
        most = protocol.max_message_size
        limit = sys.maxsize if most is None else most
        if protocol.current_size is None:  # else the frame belongs to a message in fragments
            messages, end = whole_messages(data, at, masked=protocol.side is SERVER, limit=limit)
            if messages:
                self.deliver(messages, more=is_whole(data, end))
                return end
        end = frame_end(data, at)
        if end > len(data) and end - at <= max(MOST_HEAD, min(MOST_KEPT, limit)):
            self._rest = data[at:]
            return len(data)
        if end > len(data) and protocol.current_size is None:
            self._large = begin_large(
                data,
                at,
                masked=protocol.side is SERVER,
                limit=limit,
                memory=memory_of(self.loop),
            )
            if self._large is not None:
                return len(data)
        return self._pass_on(data, at, end)

    def _go_on(self, large: LargeMessage, part: bytes | memoryview, *, more: bool) -> None:
        """Take more of a large message, and nothing beyond it."""
        large.add(part)
        if not large.missing:
            self._large = None
            self._finish(large, more=more)

    def _finish(self, large: LargeMessage, *, more: bool) -> None:
        try:
            message = large.message()
        except UnicodeDecodeError:
            self.have_library_read(large.frame())  # so that it fails as all others do
            return
        finally:
            large.let_go()
        self.deliver((message,), more=more)

    def _pass_on(self, data: bytes | memoryview, at: int, end: int) -> int:
        """Give a frame to the library, or as much as is there; return how far."""
        there = min(end, len(data))
        self._owed = end - there
        self.have_library_read(data[at:there])
        return there
