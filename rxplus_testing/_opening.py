"""The opening handshake in the memory network, the client's half."""

from __future__ import annotations

import asyncio
import base64
import re

from rxplus_testing._connection import MemoryConnection
from rxplus_testing._link import Terminal
from rxplus_testing._rxplus import (
    ClientEndpoint,
    ConnectError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    Headers,
    InvalidEndpointError,
    Request,
)
from rxplus_testing._wire import Accept, Ask, Eof, Item, Reject

__all__ = ["ClientOpening", "check_endpoint", "make_request"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\uffff]*")
_DEFAULT_PORTS = {False: 80, True: 443}


class ClientOpening:
    """One attempt of a client to open a connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, terminal: Terminal, endpoint: ClientEndpoint
    ) -> None:
        self._loop = loop
        self._terminal = terminal
        self._endpoint = endpoint
        self._request = make_request(endpoint, terminal)
        self._answer: asyncio.Future[MemoryConnection | Reject | Eof] = loop.create_future()

    async def open(self) -> MemoryConnection:
        """Ask the server and return the open connection, or raise as ``Transport.connect``."""
        self._terminal.attach(self)
        self._terminal.put(Ask(self._request, self._endpoint.subprotocols))
        timeout = self._endpoint.options.open_timeout
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answer
        except TimeoutError as error:
            self._give_up()
            raise ConnectTimeoutError(f"{self._endpoint.url} did not answer in time") from error
        except BaseException:
            self._give_up()
            raise
        return self._outcome(answer)

    def arrive(self, item: Item) -> None:
        """Take the server's answer."""
        if self._answer.done():
            # Cancelled in this very turn: open() is about to give up.
            return
        if isinstance(item, Accept):
            self._answer.set_result(self._connect(item.subprotocol))
        else:
            assert isinstance(item, (Reject, Eof))
            self._terminal.detach()
            self._answer.set_result(item)

    def arrived(self) -> None:
        """Each item was taken as it came."""

    def broken(self, error: Exception) -> None:
        """Hear that the link was cut."""
        self.arrive(Eof(error))

    def acknowledged(self, size: int) -> None:
        """Hear that messages were taken; none have been sent yet."""

    def _connect(self, subprotocol: str | None) -> MemoryConnection:
        # Made here rather than in open(), which runs a turn later: messages may
        # be right behind the answer.
        connection = MemoryConnection(
            self._loop, self._terminal, self._request, subprotocol, self._endpoint.options
        )
        self._terminal.attach(connection, f"client {self._request.path}")
        return connection

    def _give_up(self) -> None:
        answer = self._answer
        if answer.done() and not answer.cancelled():
            if isinstance(connection := answer.result(), MemoryConnection):
                connection.abort()
            return
        self._terminal.put(Eof(ConnectionResetError("the client gave up")))
        self._terminal.detach()

    def _outcome(self, answer: MemoryConnection | Reject | Eof) -> MemoryConnection:
        match answer:
            case Reject(status, body):
                raise HandshakeRejectedError(status, body)
            case Eof(error):
                raise ConnectError(f"cannot connect to {self._endpoint.url}: {error}") from error
            case _:
                return answer


def check_endpoint(endpoint: ClientEndpoint) -> None:
    """Raise ``InvalidEndpointError`` for what no server could be asked."""
    if not endpoint.host or not 0 < endpoint.port < 2**16:
        raise InvalidEndpointError(f"not an address: {endpoint.host!r}, {endpoint.port!r}")
    if not _TARGET.fullmatch(endpoint.target):
        raise InvalidEndpointError(f"not a path and query: {endpoint.target!r}")
    for name, value in _extra_headers(endpoint):
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise InvalidEndpointError(f"not a header: {name!r}: {value!r}")
    for subprotocol in endpoint.subprotocols:
        if not _TOKEN.fullmatch(subprotocol):
            raise InvalidEndpointError(f"not a subprotocol: {subprotocol!r}")


def _extra_headers(endpoint: ClientEndpoint) -> list[tuple[str, str]]:
    extra = list(endpoint.headers.raw_items())
    return extra if endpoint.origin is None else [("Origin", endpoint.origin), *extra]


def make_request(endpoint: ClientEndpoint, terminal: Terminal) -> Request:
    """Return the request that a client sends."""
    path, _, query = endpoint.target.partition("?")
    key = base64.b64encode(terminal.link.number.to_bytes(16, "big")).decode()
    headers = [
        ("Host", _host(endpoint)),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if endpoint.subprotocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(endpoint.subprotocols)))
    return Request(
        path=path,
        query=query,
        headers=Headers([*headers, *_extra_headers(endpoint)]),
        remote_address=terminal.local,
        secure=endpoint.tls is not None,
    )


def _host(endpoint: ClientEndpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    default = _DEFAULT_PORTS[endpoint.tls is not None]
    return host if endpoint.port == default else f"{host}:{endpoint.port}"
