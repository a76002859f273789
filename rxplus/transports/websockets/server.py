"""Listening."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import http.client
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.server import Server, ServerConnection
from websockets.datastructures import Headers as LibraryHeaders
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import CloseCode
from websockets.http11 import Request as LibraryRequest
from websockets.http11 import Response as LibraryResponse
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from rxplus.handshake import Response
from rxplus.transports.websockets.connection import WebSocketsConnection, request_value
from rxplus.transports.websockets.frames import Piece, encoded, unmasked
from rxplus.transports.websockets.library import limits, logger, tls_timeouts

if TYPE_CHECKING:
    from rxplus.handshake import Request
    from rxplus.transport import Connection, OnConnection, OnRequest, Payload, ServerEndpoint
    from rxplus.transports.websockets.wire import ServerWire, Wire

__all__ = ["WebSocketsListener"]

BACKLOG = 4_096
"""Most connections that wait to be accepted; the system's own limit cuts it, by default to this.

The system forgets what comes beyond it, and the client tries again after 1, 2, 4 s and so on
(RFC 6298). asyncio has 100, fewer than come back at once when a server of 1,000 has restarted.
"""

BIND_ATTEMPTS = 16
"""How often a port is looked for that is free on all addresses of a name."""

TURNS_TO_START = 4
"""Turns of the loop after which the handshake of what was accepted before has started.

asyncio takes one to start its own task, one to tell the protocol of the transport, and one to
start the library's task. A task that is cancelled before it has started cannot close its socket.
"""


class LenientProtocol(ServerProtocol):
    """The library's, but a client that offers no subprotocol we know is let in without one."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        known = self.available_subprotocols or ()
        return next((name for name in known if name in subprotocols), None)


class WebSocketsListener:
    """A :class:`rxplus.transport.Listener`.

    It does with the library's parts what ``websockets.serve`` does, except for the task that
    ``serve`` keeps for each connection as long as it is open.
    """

    __slots__ = (
        "_closed",
        "_endpoint",
        "_extensions",
        "_handshakes",
        "_on_request",
        "_port",
        "_server",
        "_sockets",
        "_wire",
    )
    _sockets: asyncio.Server  # since bind()

    def __init__(
        self, endpoint: ServerEndpoint, on_request: OnRequest, wire: type[ServerWire]
    ) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._on_request = on_request
        deflate = endpoint.options.compression == "deflate"
        self._extensions = enable_server_permessage_deflate(None) if deflate else None
        self._closed = False
        self._port = endpoint.port
        self._server = Server(self._listen, self._handshake, logger)
        # The library adds its handshake tasks to this set, bind() those of TLS.
        self._handshakes = self._server.handler_tasks

    async def bind(self) -> None:
        """Start to listen.

        Raises:
            OSError: the address cannot be bound.
        """
        await self._server

    @property
    def port(self) -> int:
        return self._port

    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        pieces: list[Piece] | None = None
        others: list[Wire] = []
        for connection in connections:
            wire = cast("WebSocketsConnection", connection)._wire
            if not wire.is_open:
                continue
            if not wire.plain:
                others.append(wire)
                continue
            if pieces is None:
                pieces = unmasked(messages)
            wire.write(pieces)
        if others or pieces is None:
            contents = encoded(messages)
            for wire in others:
                wire.send_through_library(contents)

    async def close(self) -> None:
        self._closed = True
        # asyncio does not finish what it accepted in this very turn for a server that is
        # closed by then, and leaves that connection open: so one more turn, accepting nothing.
        self._accept_no_more()
        await asyncio.sleep(0)
        self._sockets.close()
        for _ in range(TURNS_TO_START):
            await asyncio.sleep(0)
        under_way = list(self._handshakes)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)

    def _accept_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets.sockets:
            loop.remove_reader(sock.fileno())

    async def _listen(self) -> asyncio.Server:
        """Bind and listen; the library calls this."""
        options: dict[str, Any] = {"start_serving": False}
        if self._endpoint.tls is not None:
            options |= {"ssl": self._endpoint.tls, **tls_timeouts(self._endpoint.options)}
        self._sockets = await self._bind_one_port(options)
        self._port = next(iter(_ports(self._sockets)), self._endpoint.port)
        try:
            await self._sockets.start_serving()
            self._deepen_backlog()
        except BaseException:
            self._sockets.close()
            raise
        return self._sockets

    def _deepen_backlog(self) -> None:
        # Not by asyncio's own argument: that is also how many it accepts before anything else
        # gets its turn, and how often it logs that there are no more file descriptors.
        for shared in self._sockets.sockets:
            with shared.dup() as sock:
                sock.listen(BACKLOG)

    async def _bind_one_port(self, options: dict[str, Any]) -> asyncio.Server:
        """Bind the host, which may be a name with several addresses, to the same port on each."""
        create_server = asyncio.get_running_loop().create_server
        host, port = self._endpoint.host, self._endpoint.port
        for _ in range(BIND_ATTEMPTS):
            server = await create_server(self._make_wire, host, port, **options)
            ports = _ports(server)
            if len(ports) <= 1:
                return server
            # Port 0: each address got another one. Try to have one of them on all.
            server.close()
            try:
                return await create_server(self._make_wire, host, min(ports), **options)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"no port is free on all addresses of {host}")

    def _make_wire(self) -> ServerWire:
        # asyncio calls this in the task that will do the TLS handshake.
        task = asyncio.current_task()
        if task is not None:
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        protocol = LenientProtocol(
            extensions=self._extensions,
            subprotocols=cast("tuple[Subprotocol, ...]", self._endpoint.subprotocols) or None,
            max_size=self._endpoint.options.max_message_size,
            logger=logger,
        )
        return self._wire(protocol, self._server, **limits(self._endpoint.options))

    async def _handshake(self, connection: ServerConnection) -> None:
        """Open one connection, as the task that the library starts for it."""
        wire = cast("ServerWire", connection)
        try:
            if await self._open(wire) and wire.accepted is not None:
                (take_over, request), wire.accepted = wire.accepted, None
                wire.start_keepalive()
                _hand_over(wire, request, take_over)
        except BaseException:
            wire.transport.abort()
            raise
        finally:
            self._handshakes.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _open(self, wire: ServerWire) -> bool:
        """Do the opening handshake; return whether it opened the connection."""
        try:
            async with asyncio.timeout(self._endpoint.options.open_timeout):
                await wire.handshake(self._answer, server_header=None)
        except (ConnectionClosed, TimeoutError):
            pass  # the peer left or stalled: it has no connection that could tell of it
        if wire.is_open and not self._closed:
            return True
        wire.transport.abort()
        return False

    async def _answer(
        self, connection: ServerConnection, request: LibraryRequest
    ) -> LibraryResponse | None:
        """Ask ``on_request``; ``None`` has the library go on with the handshake."""
        secure = self._endpoint.tls is not None
        try:
            value = request_value(request, connection.remote_address, secure=secure)
            decision = await self._on_request(value)
            if isinstance(decision, Response):
                return _serializable(decision, request.method)
        except Exception:  # noqa: BLE001 - it should not raise; the peer gets an answer anyway
            return connection.respond(500, "Internal server error.\n")
        if self._closed:
            return connection.respond(503, "Server is shutting down.\n")
        cast("ServerWire", connection).accepted = (decision, value)
        return None


def _hand_over(wire: ServerWire, request: Request, take_over: OnConnection) -> None:
    try:
        take_over(WebSocketsConnection(wire, request))
    except Exception as exc:  # noqa: BLE001 - it should not raise; the peer gets to know anyway
        logger.exception("a connection to %s could not be taken over", request.path)
        wire.fail(CloseCode.INTERNAL_ERROR, "internal error", exc)


def _ports(server: asyncio.Server) -> set[int]:
    return {sock.getsockname()[1] for sock in server.sockets}


def _serializable(response: Response, method: str) -> LibraryResponse:
    """Turn a response into the library's, with the headers that HTTP asks for."""
    if not 200 <= response.status <= 599:
        raise ValueError(f"{response.status} does not answer a request")
    body = response.body.encode()
    headers = LibraryHeaders()
    headers["Date"] = email.utils.formatdate(usegmt=True)
    headers["Connection"] = "close"
    headers["Content-Length"] = str(len(body))
    if "Content-Type" not in response.headers:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    for name, value in response.headers.raw_items():
        if name.lower() not in ("connection", "content-length", "transfer-encoding"):
            headers[name] = value
    phrase = http.client.responses.get(response.status, "")
    return LibraryResponse(response.status, phrase, headers, b"" if method == "HEAD" else body)
