"""The transport itself: opens connections, and listens for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rxplus.transports.websockets.client import attempt, check, translated
from rxplus.transports.websockets.connection import WebSocketsConnection, request_value
from rxplus.transports.websockets.server import WebSocketsListener
from rxplus.transports.websockets.wire import ClientWire, ServerWire

if TYPE_CHECKING:
    from rxplus.transport import (
        ClientEndpoint,
        Connection,
        Listener,
        OnRequest,
        ServerEndpoint,
        Transport,
    )

__all__ = ["WebSocketsTransport"]


class WebSocketsTransport:
    """A :class:`rxplus.transport.Transport` on TCP and TLS sockets. It has no state."""

    __slots__ = ()

    # What carries its connections; a transport that carries them otherwise replaces these.
    _client_wire: ClassVar[type[ClientWire]] = ClientWire
    _server_wire: ClassVar[type[ServerWire]] = ServerWire

    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        """See :meth:`rxplus.transport.Transport.connect`. Redirects are not followed."""
        check(endpoint)
        try:
            wire = await attempt(endpoint, self._client_wire)
        except Exception as exc:
            raise translated(exc, endpoint) from exc
        assert isinstance(wire, ClientWire)
        assert wire.request is not None
        request = request_value(wire.request, wire.local_address, secure=endpoint.tls is not None)
        return WebSocketsConnection(wire, request)

    async def listen(
        self,
        endpoint: ServerEndpoint,
        on_request: OnRequest,
    ) -> Listener:
        """See :meth:`rxplus.transport.Transport.listen`.

        When ``host`` is a name with several addresses and ``port`` is 0, all of them are
        bound to the same free port.
        """
        listener = WebSocketsListener(endpoint, on_request, self._server_wire)
        await listener.bind()
        return listener


if TYPE_CHECKING:

    def _conforms(
        transport: WebSocketsTransport,
        connection: WebSocketsConnection,
        listener: WebSocketsListener,
    ) -> tuple[Transport, Connection, Listener]:
        """Let the type checker compare the classes with the interfaces."""
        return transport, connection, listener
