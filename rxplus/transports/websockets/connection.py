"""A connection as the layers above see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as LibraryRequest

from rxplus.handshake import Address, Headers, Request
from rxplus.transports.websockets.keepalive import NEVER_MEASURED
from rxplus.transports.websockets.wire import Wire

if TYPE_CHECKING:
    from rxplus.transport import Payload, Receiver

__all__ = ["WebSocketsConnection", "address_of", "request_value"]


class WebSocketsConnection:
    """A :class:`rxplus.transport.Connection`."""

    __slots__ = ("_local_address", "_remote_address", "_request", "_wire")

    def __init__(self, wire: Wire, request: Request) -> None:
        self._wire = wire
        self._request = request
        # Read now: a TLS transport forgets them when it closes.
        self._local_address = address_of(wire.local_address)
        self._remote_address = address_of(wire.remote_address)

    @property
    def request(self) -> Request:
        return self._request

    @property
    def subprotocol(self) -> str | None:
        return self._wire.protocol.subprotocol

    @property
    def remote_address(self) -> Address | None:
        return self._remote_address

    @property
    def local_address(self) -> Address | None:
        return self._local_address

    @property
    def writable(self) -> bool:
        wire = self._wire
        return not wire.paused and wire.is_open

    @property
    def latency(self) -> float | None:
        latency = self._wire.latency
        return None if latency == NEVER_MEASURED else latency

    def start(self, receiver: Receiver) -> None:
        self._own_wire().start(receiver)

    def send(self, messages: Sequence[Payload]) -> None:
        wire = self._own_wire()
        if not wire.is_open:
            raise wire.closed_error()
        wire.send_batch(messages)

    def pause_reading(self) -> None:
        self._own_wire().pause_reading()

    def resume_reading(self) -> None:
        self._own_wire().resume_reading()

    async def ping(self) -> float:
        wire = self._own_wire()
        if not wire.is_open:
            raise wire.closed_error()
        try:
            return await wire.send_ping()
        except ConnectionClosed as exc:
            raise wire.closed_error() from exc

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See :meth:`rxplus.transport.Connection.close`.

        A reason of more than 123 bytes is cut, between two characters: reasons are often
        made from exceptions, and a failure must not prevent the close that it explains.

        Raises:
            ValueError: ``code`` is not one that may be sent, such as 1006.
        """
        wire = self._own_wire()
        wire.begin_close(code, reason)
        try:
            await asyncio.shield(wire.connection_lost_waiter)
        except asyncio.CancelledError:
            wire.abort()
            raise

    def abort(self) -> None:
        self._own_wire().abort()

    def _own_wire(self) -> Wire:
        """Return the wire, if the caller is on its loop; elsewhere, using it is a data race."""
        if asyncio.get_running_loop() is not self._wire.loop:
            raise RuntimeError("a connection may be used on its own loop thread only")
        return self._wire


def address_of(name: object) -> Address | None:
    """Return the ``(host, port)`` of a socket name of whatever family."""
    if isinstance(name, tuple) and len(name) >= 2:
        return cast("Address", name if len(name) == 2 else name[:2])
    return None


def request_value(request: LibraryRequest, client: object, *, secure: bool) -> Request:
    path, _, query = request.path.partition("?")
    return Request(
        path=path,
        query=query,
        headers=Headers(request.headers.raw_items()),
        remote_address=address_of(client),
        secure=secure,
    )
