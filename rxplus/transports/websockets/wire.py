"""The library's connections, made to push, to send in batches, and to have no task."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.messages import Assembler
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ProtocolError
from websockets.frames import BINARY, CONT, TEXT, Close, CloseCode, Frame
from websockets.protocol import CLOSING, OPEN, Event

from rxplus.errors import ConnectionClosedError
from rxplus.transport import CloseInfo
from rxplus.transports.websockets.buffered import BufferedReads
from rxplus.transports.websockets.frames import (
    Piece,
    apply_mask,
    encoded,
    fitting,
    joined,
    masked,
    unmasked,
)
from rxplus.transports.websockets.keepalive import Keepalive
from rxplus.transports.websockets.partial import FragmentedMessage

if TYPE_CHECKING:
    from rxplus.handshake import Request
    from rxplus.transport import OnConnection, Payload, Receiver

__all__ = ["ClientWire", "ServerWire", "Wire"]


class _NoQueue(Assembler):
    """Stands where the library has its queue of inbound frames, which nothing here uses."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass


_NO_QUEUE = _NoQueue()


class Wire(Keepalive):
    """What both sides' connections do unlike the library's own.

    It comes after ``ServerConnection`` or ``ClientConnection`` in the order of bases, so that
    these see to the handshake first and only frames get here.
    """

    # Defaults on the class: an idle connection holds only what it needs.

    # Who is told, and while messages may go straight through, the functions that take them: one
    # at a time, and, if that is wanted, all that have arrived together.
    _receiver: Receiver | None = None
    _sink: Any = None
    _batch_sink: Any = None

    # Messages that came while they could not be delivered.
    _kept: collections.deque[Payload] | None = None
    _reading_paused = False

    # A message that is arriving in fragments.
    _fragments: FragmentedMessage | None = None

    # Whether this side began to close, dropped the connection, or found fault with the peer.
    _closing = False
    _aborted = False
    _failure: tuple[Close, BaseException] | None = None

    # How it ended; set once it has.
    _info: CloseInfo | None = None

    _close_timer: asyncio.TimerHandle | None = None

    # Delivery

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.loop.call_soon(self._drain)

    def process_event(self, event: Event) -> None:
        assert isinstance(event, Frame)
        opcode = event.opcode
        if opcode is not TEXT and opcode is not BINARY and opcode is not CONT:
            super().process_event(event)
            return
        try:
            message: Payload | None
            if opcode is CONT or not event.fin:
                message = self._add_fragment(event)
            elif opcode is TEXT:
                message = str(event.data, "utf-8")
            else:
                message = bytes(event.data)  # of bytes it makes no copy
        except UnicodeDecodeError as exc:
            self.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}", exc)
            return
        except ProtocolError as exc:
            self.fail(CloseCode.MESSAGE_TOO_BIG, str(exc), exc)
            return
        if message is not None:
            self.deliver((message,), more=True)

    def deliver(self, messages: Sequence[Payload], *, more: bool) -> None:
        if self._batch_sink is not None and self._sink is not None:
            self._batch_sink(messages, more=more)
            return
        for message in messages:
            # Looked at each time: who gets one may want no more.
            if self._sink is not None:
                self._sink(message)
            else:
                self._keep(message)

    def _add_fragment(self, frame: Frame) -> Payload | None:
        """Take one fragment; return the message when it was the last."""
        if frame.opcode is not CONT:
            self._fragments = FragmentedMessage(frame.data, is_text=frame.opcode is TEXT)
            return None
        if self._fragments is None:
            return None  # this message was given up
        self._fragments.add(frame.data)
        if not frame.fin:
            return None
        whole, self._fragments = self._fragments, None
        return whole.message()

    def _keep(self, message: Payload) -> None:
        """Put a message by that may not be delivered now."""
        if self._gave_up or self._closing:
            # Whoever closes without reading on has no use for it; keeping what comes until the
            # peer has answered the close frame would let the peer decide how much memory.
            return
        if self._kept is None:
            self._kept = collections.deque()
        self._kept.append(message)
        self.transport.pause_reading()

    @property
    def _gave_up(self) -> bool:
        """Whether messages that still arrive are void."""
        return self._aborted or self._failure is not None

    @property
    def is_deaf(self) -> bool:
        return self._reading_paused or self._receiver is None

    @property
    def discards(self) -> bool:
        """Whether what still arrives means nothing: the peer has closed, or was failed."""
        protocol = self.protocol
        return (
            protocol.close_rcvd is not None
            or protocol.parser_exc is not None
            or self._failure is not None
        )

    def pause_reading(self) -> None:
        self._reading_paused = self._was_deaf = True
        self._sink = None
        # While closing, reading on is the only way to notice the end.
        if self.protocol.state is OPEN:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            # Not at once: the caller may be in the middle of something.
            self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Deliver what was kept, then read on or tell of the end."""
        receiver = self._receiver
        if receiver is None:
            return
        while self._kept and not self._reading_paused:
            receiver.on_message(self._kept.popleft())
        if self._kept:
            return
        self._kept = None
        if self._info is not None:
            # Cleared first: it breaks the cycle with the session, and makes this the only time.
            self._receiver = self._sink = self._batch_sink = None
            receiver.on_closed(self._info)
        elif not self._reading_paused and not self._gave_up:
            self._sink = receiver.on_message
            # As isinstance() with BatchReceiver, which takes 9 us (CPython 3.11).
            self._batch_sink = getattr(receiver, "on_messages", None)
            self.transport.resume_reading()

    # Writing

    def closed_error(self) -> ConnectionClosedError:
        if self._info is None:
            return ConnectionClosedError()
        return ConnectionClosedError(self._info.code, self._info.reason)

    serialize: Callable[[Sequence[Payload]], list[Piece]]

    def send_batch(self, messages: Sequence[Payload]) -> None:
        if self.plain:
            self.write(self.serialize(messages))
        else:
            self.send_through_library(encoded(messages))

    def send_through_library(self, contents: Sequence[tuple[bool, bytes]]) -> None:
        """Send what :func:`encoded` has made of messages."""
        for is_text, data in contents:
            if is_text:
                self.protocol.send_text(data)
            else:
                self.protocol.send_binary(data)
        parts = self.protocol.data_to_send()
        self.write(joined(parts))

    def write(self, pieces: list[Piece]) -> None:
        """Write to the transport, which the caller has just found open."""
        for number, piece in enumerate(pieces):
            if number and self.transport.is_closing():
                return  # it broke at the piece before; asyncio would log each further one
            data = piece if isinstance(piece, bytes) else apply_mask(*piece)
            self._written += len(data)
            self.transport.write(data)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._receiver is not None and self.is_open:
            self._receiver.on_writable()

    # The end

    def begin_close(self, code: int, reason: str) -> None:
        if self.protocol.state is not OPEN:
            return
        try:
            self.protocol.send_close(code, fitting(reason))
        except ProtocolError as exc:
            raise ValueError(f"{code} cannot be sent as a close code") from exc
        self._closing = True
        self.send_data()
        self._limit_closing()

    def fail(self, code: CloseCode, reason: str, error: BaseException) -> None:
        """Close because of what the peer did (RFC 6455, section 7.1.7)."""
        if self._failure is not None:
            return
        self._failure = (Close(code, reason), error)
        self._sink = self._fragments = None
        self.forget_partial()
        self.protocol.fail(code, reason)
        self.send_data()
        self._limit_closing()

    def abort(self) -> None:
        self._aborted = True
        self._sink = self._kept = self._fragments = None
        self.forget_partial()
        self.transport.abort()
        if self._info is not None:
            self.loop.call_soon(self._drain)

    def have_library_read(self, data: bytes | memoryview) -> None:
        super().have_library_read(data)
        if self.protocol.state is CLOSING:
            self._limit_closing()

    def _limit_closing(self) -> None:
        """See to it that the connection ends, whatever the peer does."""
        if self._close_timer is None and self.close_timeout is not None:
            self._close_timer = self.loop.call_later(self.close_timeout, self._give_up)
        self.transport.resume_reading()

    def _give_up(self) -> None:
        text = f"the closing handshake took longer than {self.close_timeout} s"
        self.set_connection_exc(TimeoutError(text))
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Instead of super(), which makes a queue for inbound frames.
        self.transport = cast("asyncio.Transport", transport)
        self.recv_messages = _NO_QUEUE
        self.transport.set_write_buffer_limits(self.write_limit_high, self.write_limit_low)
        self.transport.set_protocol(BufferedReads(self))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.forget_partial()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._info = self._explain_end()
        self._drain()

    def _explain_end(self) -> CloseInfo:
        received, sent = self.protocol.close_rcvd, self.protocol.close_sent
        broken = self.protocol.parser_exc
        if self._failure is not None:
            close, error = self._failure
            return CloseInfo(code=int(close.code), reason=close.reason, local=True, error=error)
        if sent is not None and not self._closing and broken is not None and not _is_eof(broken):
            # The library failed the connection: a malformed or too large message.
            return CloseInfo(code=int(sent.code), reason=sent.reason, local=True, error=broken)
        if received is not None:
            local = not self.protocol.close_rcvd_then_sent
            return CloseInfo(code=int(received.code), reason=received.reason, local=local)
        local = self._closing or self._aborted
        cause = None if self._aborted else self.connection_exc or broken
        return CloseInfo(code=int(CloseCode.ABNORMAL_CLOSURE), local=local, error=cause)


def _is_eof(exc: BaseException) -> bool:
    return isinstance(exc, EOFError)


class ClientWire(ClientConnection, Wire):
    """The client's end."""

    serialize = staticmethod(masked)


class ServerWire(ServerConnection, Wire):
    """The server's end."""

    serialize = staticmethod(unmasked)

    # Who takes the connection over, and what they decided upon; until it is open.
    accepted: tuple[OnConnection, Request] | None = None
