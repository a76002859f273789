"""The transport itself."""

from __future__ import annotations

from typing import ClassVar

from rxplus.transports.picows.wire import PicowsClientWire, PicowsServerWire
from rxplus.transports.websockets import WebSocketsTransport
from rxplus.transports.websockets.wire import ClientWire, ServerWire

__all__ = ["PicowsTransport"]


class PicowsTransport(WebSocketsTransport):
    """A :class:`rxplus.transport.Transport` on TCP and TLS sockets, for many small messages.

    It does what :class:`rxplus.transports.websockets.WebSocketsTransport` does. With
    ``compression="deflate"`` agreed upon it is no faster than that one.
    """

    __slots__ = ()

    _client_wire: ClassVar[type[ClientWire]] = PicowsClientWire
    _server_wire: ClassVar[type[ServerWire]] = PicowsServerWire
