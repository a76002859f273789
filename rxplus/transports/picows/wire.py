"""The default transport's wires, with frames parsed by picows once they are open."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from websockets.client import ClientProtocol
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from rxplus.transports.picows.frames import Frames
from rxplus.transports.websockets.buffered import feed
from rxplus.transports.websockets.server import LenientProtocol
from rxplus.transports.websockets.wire import ClientWire, ServerWire, Wire

if TYPE_CHECKING:
    from rxplus.transport import Receiver

__all__ = ["PicowsClientWire", "PicowsServerWire"]

MAX_EARLY = 2**16
"""Bytes that may arrive before a connection is started; then reading waits for the start."""


class _Gate(Protocol):
    """Holds back the library's parser from the first frame on, until the gate is opened.

    It comes after ``ServerProtocol`` or ``ClientProtocol`` in the order of bases: these parse the
    handshake, and then what is the base class's to parse.
    """

    gate_is_open = False

    def parse(self) -> Generator[None]:
        while not self.gate_is_open:
            yield
        yield from super().parse()

    def open_gate(self) -> bytes:
        """Let the parser have what comes from now on; return what had come."""
        self.gate_is_open = True
        early = bytes(self.reader.buffer)
        self.reader.discard()
        return early


class _ClientGate(ClientProtocol, _Gate):
    pass


class _ServerGate(LenientProtocol, _Gate):
    pass


class _PicowsWire(Wire):
    """What both sides' wires do unlike the default transport's."""

    _gate: _Gate

    def data_received(self, data: bytes | memoryview) -> None:
        super().data_received(data)
        if not self._gate.gate_is_open and len(self._gate.reader.buffer) > MAX_EARLY:
            self.transport.pause_reading()

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        if not self.is_open:
            return
        if not self.plain:
            # Extensions change payloads, and debug logs show frames: the library sees to both.
            self._stay_with_library()
            return
        early = self._gate.open_gate()
        frames = Frames(self)
        # Paused, since uvloop looks at the kind of protocol when it begins to read.
        self.transport.pause_reading()
        self.transport.set_protocol(frames)
        feed(frames, early)

    def eof_received(self) -> None:
        self._stay_with_library()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay_with_library()
        super().connection_lost(exc)

    def _stay_with_library(self) -> None:
        """Have the library parse what came before the start, and what comes."""
        if not self._gate.gate_is_open:
            self.data_received(self._gate.open_gate())


class PicowsClientWire(ClientWire, _PicowsWire):
    """The client's end."""

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        self._gate = _ClientGate(
            protocol.uri,
            origin=protocol.origin,
            extensions=protocol.available_extensions,
            subprotocols=protocol.available_subprotocols,
            max_size=protocol.max_message_size,
            logger=protocol.logger,
        )
        super().__init__(self._gate, **options)


class PicowsServerWire(ServerWire, _PicowsWire):
    """The server's end."""

    def __init__(self, protocol: ServerProtocol, *args: Any, **options: Any) -> None:
        self._gate = _ServerGate(
            extensions=protocol.available_extensions,
            subprotocols=protocol.available_subprotocols,
            max_size=protocol.max_message_size,
            logger=protocol.logger,
        )
        super().__init__(self._gate, *args, **options)
