"""Many clients in a process of their own, the same for all servers that are compared.

Light clients are as cheap as can be, so that the server is what is measured: they compare the
bytes of the stream with those that must come. Library clients are those of ``websockets``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.frames import Frame, Opcode

from benchmarks.processes import Wire, until_closed
from benchmarks.sides import plain
from benchmarks.tally import Tally

__all__ = ["DONE", "READY", "connect_library_clients", "connect_light_clients"]

READY = "ready"
DONE = "done"

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_CHUNK = 2**18


def connect_light_clients(
    wire: Wire, port: int, paths: list[str], message: str, total: int
) -> None:
    """Connect a client on each path; say when they are, and each time that each has got all.

    Args:
        wire: to the process that measures.
        port: of the server.
        paths: of the clients.
        message: that comes again and again.
        total: how many times, to each; 0: the clients are idle, and answer pings.
    """
    asyncio.run(_light_clients(wire, port, paths, message, total))


async def _light_clients(wire: Wire, port: int, paths: list[str], message: str, total: int) -> None:
    stream = _Stream(message, total, _last_of(len(paths), lambda: wire.send(DONE)))
    opened = asyncio.Event()
    on_open = _last_of(len(paths), opened.set)
    loop = asyncio.get_running_loop()
    for path in paths:
        request = _REQUEST.format(path=path, host=plain.HOST, port=port).encode()
        await loop.create_connection(
            lambda request=request: _LightClient(request, stream, on_open),  # type: ignore[misc]
            plain.HOST,
            port,
        )
    await opened.wait()
    wire.send(READY)
    await asyncio.to_thread(until_closed, wire)
    stream.check()


class _LightClient(asyncio.Protocol):
    """Takes frames from a server, and has them compared with what they must be."""

    def __init__(self, request: bytes, stream: _Stream, on_open: Callable[[], None]) -> None:
        self._request = request
        self._stream = stream
        self._on_open: Callable[[], None] | None = on_open
        self._at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._on_open is not None:
            data = self._opened(data)
        if data and not self._stream.length:
            self._pong(data)
        elif data:
            self._at = self._stream.advance(self._at, data)

    def _opened(self, data: bytes) -> bytes:
        """Take the server's answer, which is short enough to come in one piece."""
        head, end, rest = data.partition(b"\r\n\r\n")
        assert end, data
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert self._on_open is not None
        self._on_open()
        self._on_open = None
        return rest

    def _pong(self, ping: bytes) -> None:
        if ping[0] == 0x80 | Opcode.PING:
            pong = Frame(Opcode.PONG, ping[2 : 2 + ping[1]])
            self._transport.write(pong.serialize(mask=True))


class _Stream:
    """The bytes that each client must get."""

    def __init__(self, message: str, total: int, on_end: Callable[[], None]) -> None:
        frame = Frame(Opcode.TEXT, message.encode()).serialize(mask=False)
        self._period = len(frame)
        self._bytes = frame * (_CHUNK // len(frame) + 2)
        self.length = total * len(frame)
        self._on_end = on_end
        self._wrong = 0

    def advance(self, at: int, data: bytes) -> int:
        """Compare ``data`` with what must come at ``at``; return where it ends."""
        for start in range(0, len(data), _CHUNK):
            piece = data[start : start + _CHUNK]
            if not self._bytes.startswith(piece, (at + start) % self._period):
                self._wrong += 1
        end = at + len(data)
        for _ in range(end // self.length - at // self.length):
            self._on_end()
        return end

    def check(self) -> None:
        """Refuse a stream that was not what it must be."""
        assert not self._wrong, "not what was sent"


def connect_library_clients(
    wire: Wire, port: int, paths: list[str], message: str, total: int
) -> None:
    """Do the same as :func:`connect_light_clients`, with clients of ``websockets``."""
    asyncio.run(_library_clients(wire, port, paths, message, total))


async def _library_clients(
    wire: Wire, port: int, paths: list[str], message: str, total: int
) -> None:
    clients = [await plain.connecting(port, path) for path in paths]
    wire.send(READY)

    async def receive(client: plain.ClientConnection) -> None:
        tally = Tally(message, total, lambda: None)
        for _ in range(total):
            tally(await client.recv())
        tally.check()

    await asyncio.gather(*map(receive, clients))
    wire.send(DONE)
    await asyncio.to_thread(until_closed, wire)
    for client in clients:
        # Nobody is there to answer a closing handshake: the measuring loop waits for us to end.
        client.transport.abort()


def _last_of(number: int, callback: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls ``callback`` each ``number``-th time that it is called."""
    left = [number]

    def one() -> None:
        left[0] -= 1
        if not left[0]:
            left[0] = number
            callback()

    return one
