"""The default transport on real sockets: the contract, and what only raw bytes can provoke."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import ssl
import struct
import threading
import weakref
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme
from helpers import collecting
from websockets.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Close,
    CloseCode,
    Frame,
    Opcode,
)
from websockets.protocol import Protocol, Side
from websockets.utils import accept_key

from rxplus.errors import (
    CertificateError,
    ConnectError,
    ConnectionClosedError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    InvalidEndpointError,
)
from rxplus.handshake import Headers, Request, Response
from rxplus.transport import (
    ClientEndpoint,
    Connection,
    Listener,
    OnConnection,
    Payload,
    Transport,
    WireOptions,
)
from rxplus.transports.websockets import WebSocketsTransport, partial
from rxplus.transports.websockets.connection import WebSocketsConnection, address_of
from rxplus.transports.websockets.frames import COPY_LIMIT
from rxplus.transports.websockets.server import WebSocketsListener
from rxplus.transports.websockets.wire import ServerWire, Wire
from rxplus_testing.contract import (
    KIB,
    MIB,
    SHORT,
    Site,
    TransportBench,
    TransportContract,
    case,
    raises,
    refuses,
)

LOOPBACK = "127.0.0.1"
TOOK_OVER_BADLY = "could not be taken over"


# --- Tools ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def contexts(ca: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's; making keys takes longer than most cases."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(client)
    return server, client


@pytest.fixture(autouse=True)
def nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which anything is logged as an error, but for what it has a case about."""
    yield
    records = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not [r for r in records if TOOK_OVER_BADLY not in r.getMessage()]


def open_files() -> set[str]:
    """Return what each file descriptor of the process refers to."""
    files = set()
    for link in Path("/proc/self/fd").iterdir():
        # The directory itself was open while it was listed.
        with suppress(FileNotFoundError):
            files.add(f"{link.name} {link.readlink()}")
    return files


class Bench(TransportBench):
    """Runs cases with the default transport, and looks for what they leave open."""

    unbufferable = 4 * MIB

    def make_transport(self) -> Transport:
        return WebSocketsTransport()

    def narrow(self, connection: Connection) -> None:
        sock = wire_of(connection).transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:  # not closed again already
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, 64 * KIB)

    def run(self, coro: Coroutine[Any, Any, None]) -> None:
        files, threads = open_files(), threading.enumerate()
        with collecting():
            super().run(coro)
        assert open_files() == files
        assert threading.enumerate() == threads


class Raw:
    """A peer on a bare socket, which sends and reads bytes.

    Args:
        sock: connected and not blocking.
        side: of the peer.
    """

    def __init__(self, sock: socket.socket, side: Side) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._side = side
        self._parser = Protocol(side, max_size=None)
        self._frames: list[Frame] = []
        self.ended = False

    async def send(self, *parts: bytes | Frame) -> None:
        """Send bytes and frames with one system call."""
        mask = self._side is Side.CLIENT
        data = b"".join(p if isinstance(p, bytes) else p.serialize(mask=mask) for p in parts)
        await self._loop.sock_sendall(self._sock, data)

    async def head(self) -> bytes:
        """Read an HTTP message up to the end of its headers, and not a byte more."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            byte = await self._loop.sock_recv(self._sock, 1)
            assert byte, f"closed after {data!r}"
            data += byte
        return data

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        data = b""
        while True:
            try:
                more = await self._loop.sock_recv(self._sock, 2**16)
            except ConnectionResetError:
                more = b""
            if not more:
                self.ended = True
                return data
            data += more

    async def frame(self, *opcodes: Opcode) -> Frame:
        """Return the next frame, of these opcodes if some are given."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if not opcodes or frame.opcode in opcodes:
                    return frame
            data = await self._loop.sock_recv(self._sock, 2**16)
            assert data, "closed"
            self._parser.receive_data(data)
            events = self._parser.events_received()
            self._frames += [event for event in events if isinstance(event, Frame)]

    async def close_frame(self) -> Close:
        return Close.parse((await self.frame(CLOSE)).data)

    async def some(self) -> bytes:
        """Read what there is."""
        return await self._loop.sock_recv(self._sock, 2**20)

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        """Close with an RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


def upgrade(*headers: str, target: str = "/") -> bytes:
    """Return a client's request."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def switching(request: bytes, *headers: str) -> bytes:
    """Return a server's answer to a request."""
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def tcp_client(port: int, host: str = LOOPBACK) -> AsyncIterator[Raw]:
    """Connect a raw peer, and send nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        yield Raw(sock, Side.CLIENT)


@asynccontextmanager
async def raw_client(listener: Listener) -> AsyncIterator[Raw]:
    """Connect a raw peer as a WebSocket client."""
    async with tcp_client(listener.port) as raw:
        await raw.send(upgrade())
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        yield raw


class RawServer:
    """A bare listening socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.port: int = sock.getsockname()[1]

    @asynccontextmanager
    async def accept(self) -> AsyncIterator[Raw]:
        """Accept a client, and read nothing."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
        with sock:
            sock.setblocking(False)
            yield Raw(sock, Side.SERVER)

    async def answer(self, make: Callable[[bytes], bytes]) -> None:
        """Accept a client, answer its request, and close."""
        async with self.accept() as raw:
            await raw.send(make(await raw.head()))
            raw.half_close()
            await raw.rest()


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    with socket.create_server((LOOPBACK, 0)) as sock:
        sock.setblocking(False)
        yield RawServer(sock)


def wire_of(connection: Connection) -> Wire:
    """Return what is behind a connection of the default transport."""
    assert isinstance(connection, WebSocketsConnection)
    return connection._wire


async def connect_to(site: Site, port: int, **options: Any) -> Connection:
    endpoint = replace(site.client, port=port, options=WireOptions(**options))
    return await site.transport.connect(endpoint)


# --- The contract -----------------------------------------------------------------------------


class Ear:
    """A receiver that nothing is sent to."""

    def on_message(self, message: str | bytes) -> None:
        raise AssertionError(message)

    def on_writable(self) -> None: ...

    def on_closed(self, info: object) -> None: ...


class Freed(Bench):
    """What an ended connection leaves behind."""

    @case
    async def test_an_ended_connection_is_freed_without_a_collector(self) -> None:
        """Neither it nor the buffers of its TLS wait for one."""
        async with self.site() as site:
            connection = await connect_to(site, (await site.listen()).port)
            connection.start(Ear())
            other = (await site.server_end()).start()
            gc.disable()
            try:
                await connection.close()
                await other.closed()
                gone = weakref.ref(cast("WebSocketsConnection", connection)._wire)
                del connection
                assert gone() is None
            finally:
                gc.enable()


class TestPlain(Freed, TransportContract):
    """The contract on TCP."""


class TestDeflate(Bench, TransportContract):
    """The contract with permessage-deflate, which takes the library's way of making frames."""

    options = WireOptions(compression="deflate")


class TestTls(Freed, TransportContract):
    """The contract on TLS."""

    @pytest.fixture(autouse=True)
    def use_contexts(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.server_tls, self.client_tls = contexts


# --- Messages ---------------------------------------------------------------------------------


class TestMessages(Bench):
    """What peers do on the level of frames."""

    @case
    async def test_fragments_are_one_message(self) -> None:
        """Fragments are joined, also when they cut a character and control frames come between."""
        text = "\N{SNOWMAN}".encode()
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            await raw.send(
                Frame(TEXT, text[:1], fin=False),
                Frame(PING, b"between"),
                Frame(CONT, text[1:2], fin=False),
                Frame(CONT, text[2:]),
                Frame(BINARY, b"\xff", fin=False),
                Frame(CONT, b""),
                Frame(TEXT, b"whole"),
            )
            assert await server.received(3) == ["\N{SNOWMAN}", b"\xff", "whole"]
            assert type(server.messages[1]) is bytes
            assert (await raw.frame(PONG)).data == b"between"

    @case
    async def test_fragment_of_a_message_that_was_given_up_is_dropped(self) -> None:
        """A failure is told of once, and what was to follow the failed message is no message."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            wire = wire_of(server.connection)
            for reason in ("first", "second"):
                wire.fail(CloseCode.MESSAGE_TOO_BIG, reason, ValueError(reason))
            wire.process_event(Frame(CONT, b"rest"))
            assert (await raw.close_frame()).reason == "first"
            raw.close()
            assert (await server.closed()).reason == "first"
            assert server.messages == []

    @case
    async def test_client_gets_bytes(self) -> None:
        """Binary messages are bytes on the client too, whole or in fragments."""
        async with self.site() as site, raw_server() as server:
            connecting = asyncio.ensure_future(connect_to(site, server.port))
            async with server.accept() as raw:
                await raw.send(
                    switching(await raw.head()),
                    Frame(BINARY, b"a"),
                    Frame(BINARY, b"b", fin=False),
                    Frame(CONT, b"c"),
                )
                client = site.adopt(await connecting).start()
                assert await client.received(2) == [b"a", b"bc"]
                assert [type(message) for message in client.messages] == [bytes, bytes]

    @pytest.mark.parametrize(
        "bad",
        [
            [Frame(TEXT, b"\xff")],
            [Frame(TEXT, b"caf\xc3", fin=False), Frame(CONT, b"")],
            [Frame(TEXT, b"\xed\xa0\x80")],
        ],
        ids=["invalid", "cut at the end of a fragmented message", "surrogate"],
    )
    def test_bad_utf8_closes_1007(self, bad: list[Frame]) -> None:
        """Bad UTF-8 fails the connection; messages before are delivered, later ones are not."""

        async def body() -> None:
            async with self.site() as site, raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                await raw.send(Frame(TEXT, b"good"), *bad, Frame(TEXT, b"late"), *bad)
                assert (await raw.close_frame()).code == 1007
                raw.close()
                info = await server.closed()
                assert (info.code, info.local) == (1007, True)
                assert isinstance(info.error, UnicodeDecodeError)
                assert server.messages == ["good"]

        self.run(body())

    @case
    async def test_bad_utf8_before_a_close_frame_is_still_1007(self) -> None:
        """A close frame in the same packet does not cover up the bad message before it."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            await raw.send(Frame(TEXT, b"\xff"), Frame(CLOSE, struct.pack("!H", 1000)))
            raw.close()
            assert (await server.closed()).code == 1007
            assert server.messages == []

    def test_too_many_fragments_1009(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endless stream of empty fragments is ended."""
        monkeypatch.setattr(partial, "MAX_FRAGMENTS", 10)

        async def body() -> None:
            async with self.site() as site, raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                start, more, last = (
                    Frame(TEXT, b"", fin=False),
                    Frame(CONT, b"", fin=False),
                    Frame(CONT, b""),
                )
                await raw.send(start, *[more] * 8, last)
                assert await server.received(1) == [""]
                await raw.send(start, *[more] * 20, last, Frame(TEXT, b"late"))
                assert (await raw.close_frame()).code == 1009
                raw.close()
                assert (await server.closed()).code == 1009
                assert server.messages == [""]

        self.run(body())

    @case
    async def test_fragments_over_max_size_1009(self) -> None:
        """The size limit is for the whole message, not for one fragment."""
        async with (
            self.site() as site,
            raw_client(await site.listen(max_message_size=100)) as raw,
        ):
            server = (await site.server_end()).start()
            half, rest = Frame(TEXT, b"x" * 50, fin=False), Frame(CONT, b"x" * 51)
            await raw.send(half, rest)
            assert (await raw.close_frame()).code == 1009
            raw.close()
            assert (await server.closed()).code == 1009
            assert server.messages == []

    @pytest.mark.parametrize(
        "bad",
        [b"\x83\x80\x00\x00\x00\x00", b"\x81\x01x", b"\xc1\x80\x00\x00\x00\x00", b"\x80\x80abcd"],
        ids=["reserved opcode", "unmasked", "reserved bit", "continuation of nothing"],
    )
    def test_malformed_frame_closes_1002(self, bad: bytes) -> None:
        """A frame that breaks the protocol fails the connection."""

        async def body() -> None:
            async with self.site() as site, raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                await raw.send(Frame(TEXT, b"good"), bad, Frame(TEXT, b"late"))
                assert (await raw.close_frame()).code == 1002
                raw.close()
                info = await server.closed()
                assert (info.code, info.local) == (1002, True)
                assert info.error is not None
                assert server.messages == ["good"]

        self.run(body())

    @case
    async def test_text_that_is_not_utf8_is_not_sent(self) -> None:
        """A lone surrogate raises UnicodeEncodeError, and nothing of the batch is sent."""
        async with self.site() as site:
            client, server = await site.pair()
            with pytest.raises(UnicodeEncodeError):
                client.connection.send(["before", "\ud800"])
            client.connection.send(["next"])
            assert await server.received(1) == ["next"]

    @case
    async def test_what_arrives_together_is_delivered_in_one_call(self) -> None:
        """A receiver that takes batches gets one, of what came in one packet."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = await site.server_end()
            batches: list[tuple[list[Payload], bool]] = []

            def take(messages: Sequence[Payload], *, more: bool) -> None:
                batches.append((list(messages), more))
                for message in messages:
                    server.on_message(message)

            receiver: Any = SimpleNamespace(
                on_message=server.on_message,
                on_messages=take,
                on_writable=server.on_writable,
                on_closed=server.on_closed,
            )
            server.connection.start(receiver)
            await raw.send(Frame(TEXT, b"1"), Frame(TEXT, b"2"))
            assert await server.received(2) == ["1", "2"]
            assert batches == [(["1", "2"], False)]

    @case
    async def test_messages_with_the_handshake_are_kept(self) -> None:
        """Frames in the packet of the 101, or of the request, wait for start()."""
        async with self.site() as site, raw_server() as server:
            connecting = asyncio.ensure_future(connect_to(site, server.port))
            async with server.accept() as raw:
                await raw.send(switching(await raw.head()), Frame(TEXT, b"1"), Frame(TEXT, b"2"))
                client = site.adopt(await connecting)
                await asyncio.sleep(0)
                assert client.messages == []
                client.start()
                await raw.send(Frame(TEXT, b"3"))
                assert await client.received(3) == ["1", "2", "3"]
            listener = await site.listen()
            async with tcp_client(listener.port) as eager:
                await eager.send(upgrade(), Frame(TEXT, b"early"), Frame(TEXT, b"bird"))
                accepted = (await site.server_end()).start()
                assert await accepted.received(2) == ["early", "bird"]

    @case
    async def test_compression_is_off_unless_asked_for(self) -> None:
        """The extension is negotiated only when both sides want it."""
        async with self.site() as site:
            for compression, negotiated in (("deflate", True), (None, False)):
                listener = await site.listen(compression=compression)
                async with tcp_client(listener.port) as raw:
                    await raw.send(upgrade("Sec-WebSocket-Extensions: permessage-deflate"))
                    head = await raw.head()
                    assert (b"permessage-deflate" in head) is negotiated
                    server = (await site.server_end()).start()
                    server.connection.send(["x" * 1000])
                    frame = await raw.some()
                    assert bool(frame[0] & 0x40) is negotiated


# --- Ends -------------------------------------------------------------------------------------


class TestEnds(Bench):
    """How connections end when the peer does not play by the book."""

    @case
    async def test_close_without_code_is_1005(self) -> None:
        """An empty close frame is 1005, and the peer's doing."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            await raw.send(Frame(CLOSE, b""))
            assert (await raw.frame(CLOSE)).data == b""
            raw.close()
            info = await server.closed()
            assert (info.code, info.reason, info.local, info.error) == (1005, "", False, None)

    @case
    async def test_vanished_peer_is_1006(self) -> None:
        """A TCP connection that ends without a close frame is 1006, with the cause."""
        async with self.site() as site:
            listener = await site.listen()
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                raw.half_close()
                info = await server.closed()
                assert (info.code, info.local) == (1006, False)
                assert isinstance(info.error, EOFError)
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                raw.reset()
                info = await server.closed()
                assert (info.code, info.local) == (1006, False)
                assert isinstance(info.error, ConnectionResetError)

    def test_batch_to_a_peer_that_has_reset_stops_at_the_break(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The rest of a batch is not written to a dead socket: asyncio would log each piece."""

        async def body() -> None:
            async with self.site() as site, raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                raw.reset()
                large = bytes(COPY_LIMIT)
                server.connection.send([large] * 10)
                refuses(ConnectionClosedError, server.connection.send, ["late"])
                assert (await server.closed()).code == 1006

        self.run(body())
        told = [record.message for record in caplog.records if record.name == "asyncio"]
        # On a busy machine debug mode tells of slow callbacks, too.
        assert [message for message in told if message.startswith("socket.send()")] == []

    @case
    async def test_vanished_peer_ends_a_close(self) -> None:
        """A peer that hangs up instead of answering the close frame ends close() with 1006."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            closing = asyncio.ensure_future(server.connection.close(4000))
            assert (await raw.close_frame()).code == 4000
            raw.half_close()
            await closing
            info = await server.closed()
            assert (info.code, info.local) == (1006, True)
            assert info.error is not None

    @pytest.mark.parametrize("begins", ["peer", "server"])
    def test_peer_that_keeps_tcp_open_is_dropped(self, begins: str) -> None:
        """After the closing handshake the TCP connection may not outlive close_timeout."""

        async def body() -> None:
            async with (
                self.site() as site,
                raw_client(await site.listen(close_timeout=SHORT)) as raw,
            ):
                server = (await site.server_end()).start()
                if begins == "server":
                    closing = asyncio.ensure_future(server.connection.close(4000))
                    await raw.close_frame()
                    await raw.send(Frame(CLOSE, struct.pack("!H", 4000)))
                    await closing
                else:
                    await raw.send(Frame(CLOSE, struct.pack("!H", 4000)))
                info = await server.closed()
                assert (info.code, info.local) == (4000, begins == "server")

        self.run(body())

    @case
    async def test_peer_that_ignores_a_failure_is_dropped(self) -> None:
        """A peer that was failed has close_timeout to go, and nothing it says is delivered."""
        async with (
            self.site() as site,
            raw_client(await site.listen(close_timeout=SHORT)) as raw,
        ):
            server = (await site.server_end()).start()
            await raw.send(Frame(TEXT, b"\xff"))
            await raw.close_frame()
            await raw.send(Frame(TEXT, b"late"))
            assert (await server.closed()).code == 1007
            assert server.messages == []

    @case
    async def test_reason_is_cut_between_characters(self) -> None:
        """A reason that is too long is cut to 123 bytes of valid UTF-8."""
        async with self.site() as site:
            client, server = await site.pair()
            await client.connection.close(4000, "\N{EURO SIGN}" * 50)
            assert (await server.closed()).reason == "\N{EURO SIGN}" * 41

    @case
    async def test_code_that_may_not_be_sent_is_valueerror(self) -> None:
        """A reserved code is refused, and the connection stays open."""
        async with self.site() as site:
            client, server = await site.pair()
            for code in (0, 999, 1005, 1006, 1015, 5000):
                await raises(ValueError, client.connection.close(code))
            client.connection.send(["open"])
            assert await server.received(1) == ["open"]

    @case
    async def test_messages_while_closing_paused_are_not_kept(self) -> None:
        """A peer that goes on sending cannot fill the memory of a paused side that closes."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            server.connection.pause_reading()
            closing = asyncio.ensure_future(server.connection.close(4000))
            await raw.close_frame()
            await raw.send(*[Frame(TEXT, b"more")] * 100, Frame(CLOSE, struct.pack("!H", 4000)))
            raw.half_close()
            await closing
            assert (await server.closed()).code == 4000
            assert server.messages == []

    @case
    async def test_messages_while_closing_are_delivered(self) -> None:
        """What the peer sent before it saw our close frame still arrives."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            closing = asyncio.ensure_future(server.connection.close(4000))
            await raw.close_frame()
            await raw.send(Frame(TEXT, b"crossing"), Frame(CLOSE, struct.pack("!H", 4000)))
            raw.half_close()
            await closing
            assert server.messages == ["crossing"]

    @case
    async def test_an_ended_connection_lets_its_receiver_go(self) -> None:
        """After on_closed nothing refers to the receiver, so that no collector is needed."""
        async with self.site() as site:
            client, server = await site.pair()
            connection = await connect_to(site, server.connection.local_address[1])  # type: ignore[index]  # it is known here
            ear = Ear()
            connection.start(ear)
            other = (await site.server_end()).start()
            await connection.close()
            await other.closed()
            gone = weakref.ref(ear)
            gc.disable()
            try:
                del ear
                assert gone() is None
            finally:
                gc.enable()
            assert client.infos == []


# --- Keepalive --------------------------------------------------------------------------------


class TestKeepalive(Bench):
    """When a missing pong means something, and when it does not."""

    @pytest.fixture(autouse=True)
    def overdue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count how often a pong was found overdue."""
        self.times_overdue = 0
        self.news = asyncio.Event()
        original = Wire._overdue

        def counting(wire: Wire, pong: asyncio.Future[float]) -> None:
            self.times_overdue += 1
            self.news.set()
            original(wire, pong)

        monkeypatch.setattr(Wire, "_overdue", counting)

    async def until_overdue(self, times: int) -> None:
        while self.times_overdue < times:
            self.news.clear()
            await self.news.wait()

    @case
    async def test_silent_peer_is_failed(self) -> None:
        """A peer that reads but does not answer gets 1011."""
        async with (
            self.site() as site,
            raw_client(await site.listen(ping_interval=0.0, ping_timeout=0.0)) as raw,
        ):
            server = (await site.server_end()).start()
            await raw.frame(PING)
            assert (await raw.close_frame()).code == 1011
            raw.close()
            info = await server.closed()
            assert (info.code, info.reason) == (1011, "keepalive ping timeout")

    @case
    async def test_paused_side_does_not_blame_the_peer(self) -> None:
        """While this side does not read, a pong that is not seen is not missing."""
        async with self.site() as site:
            listener = await site.listen(ping_interval=0.001, ping_timeout=0.001)
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                server.connection.pause_reading()
                await self.until_overdue(3)
                ping = await raw.frame(PING)
                await raw.send(Frame(PONG, ping.data), Frame(TEXT, b"alive"))
                server.connection.resume_reading()
                assert await server.received(1) == ["alive"]
                assert server.connection.latency is not None

    @case
    async def test_side_that_has_just_resumed_does_not_blame_the_peer(self) -> None:
        """A pong that came during a pause is not missing before there was time to read it."""
        async with self.site() as site:
            listener = await site.listen(ping_interval=0.0, ping_timeout=1000.0)
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                ping = await raw.frame(PING)
                server.connection.pause_reading()
                await raw.send(Frame(PONG, ping.data), Frame(TEXT, b"alive"))
                server.connection.resume_reading()
                wire_of(server.connection)._overdue(asyncio.get_running_loop().create_future())
                assert await server.received(1) == ["alive"]

    @case
    async def test_link_that_moves_is_not_dead(self) -> None:
        """As long as the write buffer drains, the ping in it cannot have been answered."""
        async with self.site() as site:
            listener = await site.listen(ping_interval=0.0, ping_timeout=1000.0)
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                wire = wire_of(server.connection)
                await raw.frame(PING)
                server.connection.send([bytes(2**25)])
                pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()
                for _ in range(3):
                    wire._overdue(pong)
                    assert server.connection.writable is False
                    taken = wire._count_taken()
                    while wire._count_taken() == taken:
                        await raw.some()
                # The same, when nothing was taken since the last time.
                wire._overdue(pong)
                wire._overdue(pong)
                wire._overdue(pong)  # too late to matter
                raw.close()
                info = await server.closed()
                assert (info.code, info.reason) == (1011, "keepalive ping timeout")

    @case
    async def test_keepalive_can_be_turned_off(self) -> None:
        """With ping_interval None the first frame is the first message."""
        async with (
            self.site() as site,
            raw_client(await site.listen(ping_interval=None)) as raw,
        ):
            server = (await site.server_end()).start()
            assert wire_of(server.connection)._ping_timer is None
            server.connection.send(["first"])
            assert (await raw.frame()).opcode is TEXT

    @case
    async def test_without_a_timeout_pings_go_on(self) -> None:
        """With ping_timeout None a peer may be silent for ever."""
        async with self.site() as site:
            listener = await site.listen(ping_interval=0.0, ping_timeout=None)
            async with raw_client(listener) as raw:
                server = (await site.server_end()).start()
                for _ in range(3):
                    await raw.frame(PING)
                assert server.infos == []


# --- Connecting -------------------------------------------------------------------------------


class TestConnect(Bench):
    """What a client makes of servers that do not open a WebSocket."""

    def attempt(self, answer: Callable[[bytes], bytes]) -> ConnectError:
        """Connect to a server that answers like this, and return what was raised."""
        raised: list[ConnectError] = []

        async def body() -> None:
            async with self.site() as site, raw_server() as server:
                answering = asyncio.ensure_future(server.answer(answer))
                raised.append(await raises(ConnectError, connect_to(site, server.port)))
                await answering

        self.run(body())
        assert raised[0].__cause__ is not None
        return raised[0]

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        ],
        ids=["nothing", "not HTTP", "not an upgrade", "cut short"],
    )
    def test_other_answers_are_plain_connect_errors(self, answer: bytes) -> None:
        """An answer that is no complete HTTP response to an upgrade is a ConnectError."""
        assert type(self.attempt(lambda _request: answer)) is ConnectError

    def test_wrong_accept_key_is_connect_error(self) -> None:
        """A 101 to somebody else's request opens nothing."""
        answer = switching(b"Sec-WebSocket-Key: x\r\n")
        assert type(self.attempt(lambda _request: answer)) is ConnectError

    def test_subprotocol_not_offered_is_connect_error(self) -> None:
        """A server that chooses what was not offered opens nothing."""
        exc = self.attempt(lambda request: switching(request, "Sec-WebSocket-Protocol: odd"))
        assert type(exc) is ConnectError

    def test_redirect_is_not_followed(self) -> None:
        """A redirect is a rejection with its status."""
        answer = b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n"
        exc = self.attempt(lambda _request: answer)
        assert isinstance(exc, HandshakeRejectedError)
        assert exc.status == 302

    def test_rejection_body_that_is_not_utf8(self) -> None:
        """A body in another encoding does not hide the status."""
        exc = self.attempt(lambda _: b"HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\n\xff")
        assert isinstance(exc, HandshakeRejectedError)
        assert (exc.status, exc.body) == (503, "\N{REPLACEMENT CHARACTER}")

    @case
    async def test_silent_server_times_out(self) -> None:
        """A server that accepts and says nothing is a ConnectTimeoutError."""
        async with self.site() as site, raw_server() as server:
            connecting = connect_to(site, server.port, open_timeout=SHORT)
            await raises(ConnectTimeoutError, connecting)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"target": "/a b"},
            {"target": "/a#b"},
            {"target": "/a\r\nX: y"},
            {"target": "a"},
            {"headers": Headers([("X", "a\r\nY: b")])},
            {"headers": Headers([("X: Y\r\nZ", "a")])},
            {"headers": Headers([("", "a")])},
            {"origin": "http://a\nb"},
            {"subprotocols": ("not a token",)},
            {"host": "a" * 64 + ".example"},
            {"host": "[nonsense"},
        ],
        ids=str,
    )
    def test_invalid_endpoint(self, wrong: dict[str, Any]) -> None:
        """An endpoint that cannot be right raises InvalidEndpointError before anything is sent."""

        async def body() -> None:
            async with self.site() as site, raw_server() as server:
                endpoint = replace(site.client, port=server.port, **wrong)
                await raises(InvalidEndpointError, site.transport.connect(endpoint))

        self.run(body())

    @case
    async def test_secrets_are_not_in_messages(self) -> None:
        """Neither query nor headers, which may hold tokens, are in the error's text."""
        async with self.site() as site:
            listener = await site.listen()
            await listener.close()
            endpoint = replace(
                site.endpoint(listener), target="/?s3cret", headers=Headers({"X": "s3cret"})
            )
            exc = await raises(ConnectError, site.transport.connect(endpoint))
            assert "s3cret" not in str(exc)
            assert str(listener.port) in str(exc)


# --- TLS --------------------------------------------------------------------------------------


class TestTlsFailures(Bench):
    """What goes wrong with certificates."""

    @pytest.fixture(autouse=True)
    def contexts(self, ca: trustme.CA) -> None:
        self.server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(LOOPBACK).configure_cert(self.server_tls)
        self.trusting = ssl.create_default_context()
        ca.configure_trust(self.trusting)

    async def fails(self, listener: Listener, **how: Any) -> ConnectError:
        endpoint = ClientEndpoint(host=LOOPBACK, port=listener.port, **how)
        exc: ConnectError = await raises(ConnectError, self.make_transport().connect(endpoint))
        assert exc.__cause__ is not None
        return exc

    @case
    async def test_unknown_authority(self) -> None:
        """A certificate that nobody vouches for is a CertificateError."""
        async with self.site() as site:
            listener = await site.listen()
            exc = await self.fails(listener, tls=ssl.create_default_context())
            assert isinstance(exc, CertificateError)
            assert site.requests == []

    @case
    async def test_wrong_name(self) -> None:
        """A certificate for another name is a CertificateError."""
        async with self.site() as site:
            how = {"tls": self.trusting, "server_hostname": "other.example"}
            assert isinstance(await self.fails(await site.listen(), **how), CertificateError)

    @case
    async def test_missing_client_certificate(self) -> None:
        """A server that wants a certificate we do not have is a ConnectError of another kind."""
        assert self.server_tls is not None
        self.server_tls.verify_mode = ssl.CERT_REQUIRED
        async with self.site() as site:
            exc = await self.fails(await site.listen(), tls=self.trusting)
            assert type(exc) is ConnectError

    @case
    async def test_plain_client_of_tls_server(self) -> None:
        """A client that forgot TLS gets a ConnectError."""
        async with self.site() as site:
            assert type(await self.fails(await site.listen())) is ConnectError

    @case
    async def test_tls_client_of_plain_server(self) -> None:
        """A client that expects TLS where there is none gets a ConnectError."""
        self.server_tls = None
        async with self.site() as site:
            exc = await self.fails(await site.listen(), tls=self.trusting)
            assert type(exc) is ConnectError
            # asyncio's own exception may have no text.
            assert not str(exc).endswith(": ")

    @case
    async def test_silent_client_is_dropped_by_close(self) -> None:
        """Closing the listener drops a TLS handshake that never began."""
        async with self.site() as site:
            listener = await site.listen(open_timeout=None)
            async with tcp_client(listener.port) as raw:
                # Another one gets through, so the server has this one by now.
                client = ClientEndpoint(host=LOOPBACK, port=listener.port, tls=self.trusting)
                site.adopt(await site.transport.connect(client)).start()
                await listener.close()
                await raw.rest()

    @case
    async def test_silent_client_is_dropped_by_timeout(self) -> None:
        """A client that begins no TLS handshake is dropped after open_timeout."""
        async with self.site() as site:
            listener = await site.listen(open_timeout=SHORT)
            async with tcp_client(listener.port) as raw:
                await raw.rest()


# --- Listening --------------------------------------------------------------------------------


class TestListen(Bench):
    """What a server answers, and what it binds."""

    async def ask(self, listener: Listener, request: bytes) -> tuple[str, dict[str, str], str]:
        """Send a request; return the status line, the headers and the body."""
        async with tcp_client(listener.port) as raw:
            await raw.send(request)
            head, _, body = (await raw.rest()).decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return first, dict(line.split(": ", 1) for line in lines), body

    @case
    async def test_plain_request_is_426(self) -> None:
        """A browser that is let through is told that this is a WebSocket server."""
        async with self.site() as site:
            listener = await site.listen()
            status, headers, body = await self.ask(listener, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status == "HTTP/1.1 426 Upgrade Required"
            assert headers["Upgrade"] == "websocket"
            assert "WebSocket" in body
            assert "Server" not in headers
            assert site.accepted.empty()
            assert not site.requests[0].is_upgrade

    @case
    async def test_response_with_headers(self) -> None:
        """A response is sent with its headers; those that frame it are the transport's."""

        async def page(request: Request) -> Response | OnConnection:
            headers = [("X-Many", "1"), ("x-many", "2"), ("Content-Length", "9")]
            headers.append(("Content-Type", "application/json"))
            return Response(status=200, body=f'"{request.path}"', headers=Headers(headers))

        async with self.site() as site:
            listener = await site.listen(page)
            for method, body in ((b"GET", '"/health"'), (b"HEAD", "")):
                request = method + b" /health?x HTTP/1.1\r\nHost: x\r\n\r\n"
                status, headers, said = await self.ask(listener, request)
                assert status == "HTTP/1.1 200 OK"
                assert said == body
                assert headers["Content-Length"] == "9"
                assert headers["Content-Type"] == "application/json"
                assert (headers["X-Many"], headers["x-many"]) == ("1", "2")
                assert headers["Connection"] == "close"
                assert "Server" not in headers

    @pytest.mark.parametrize("status", [99, 101, 199, 600])
    def test_status_that_is_no_answer_is_500(self, status: int) -> None:
        """A response that would not refuse is a mistake, not an open connection."""

        async def odd(_request: Request) -> Response | OnConnection:
            return Response(status=status)

        async def body() -> None:
            async with self.site() as site:
                line, _, _ = await self.ask(await site.listen(odd), upgrade())
                assert line == "HTTP/1.1 500 Internal Server Error"

        self.run(body())

    @case
    async def test_status_without_a_phrase(self) -> None:
        """A status that HTTP has no phrase for is sent all the same."""

        async def odd(_request: Request) -> Response | OnConnection:
            return Response(status=499)

        async with self.site() as site:
            line, _, _ = await self.ask(await site.listen(odd), upgrade())
            assert line.split() == ["HTTP/1.1", "499"]

    @case
    async def test_hundreds_may_wait_to_be_accepted(self) -> None:
        """As when all clients of a server come back at once: none has to try again."""
        async with self.site() as site:
            listener = await site.listen()
            with ExitStack() as clients:
                for _ in range(300):
                    # The loop, which would accept it, is held up; one too many gets no answer.
                    client = socket.create_connection((LOOPBACK, listener.port), timeout=5)
                    clients.enter_context(client)

    def test_listening_fails_halfway(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was bound by then is let go of, and the caller is told."""

        def dup(_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "no more")

        async def body() -> None:
            async with self.site() as site:
                with monkeypatch.context() as patch:
                    patch.setattr(TransportSocket, "dup", dup)
                    with pytest.raises(OSError, match="no more"):
                        await site.listen()
                await site.listen()

        self.run(body())

    @pytest.mark.parametrize(
        "noise",
        [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /\r\n\r\n", b"nonsense\r\n\r\n"],
        ids=["nothing", "TLS", "HTTP/0.9", "no HTTP"],
    )
    def test_noise_is_dropped(self, noise: bytes) -> None:
        """What is not HTTP is closed without a word, here or in the log."""

        async def body() -> None:
            async with self.site() as site:
                listener = await site.listen()
                async with tcp_client(listener.port) as raw:
                    await raw.send(noise)
                    raw.half_close()
                    assert await raw.rest() == b""
                assert site.requests == []
                await site.connect(listener)

        self.run(body())

    @case
    async def test_silent_client_is_dropped_by_timeout(self) -> None:
        """A client that sends no request is dropped after open_timeout."""
        async with (
            self.site() as site,
            tcp_client((await site.listen(open_timeout=SHORT)).port) as raw,
        ):
            assert await raw.rest() == b""

    @case
    async def test_silent_client_is_dropped_by_close(self) -> None:
        """Closing the listener drops a client that has not sent its request."""
        async with self.site() as site:
            listener = await site.listen(open_timeout=None)
            async with tcp_client(listener.port) as raw:
                await site.connect(listener)
                await listener.close()
                assert await raw.rest() == b""

    @case
    async def test_close_right_after_a_client_came(self) -> None:
        """A client that was accepted while the listener closed is dropped too."""
        async with self.site() as site:
            for turns in range(6):
                listener = await site.listen()
                async with tcp_client(listener.port) as raw:
                    await raw.send(upgrade())
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    await listener.close()
                    if site.accepted.empty():
                        assert b" 101 " not in await raw.rest()

    @case
    async def test_client_that_left_is_not_taken_over(self) -> None:
        """A client that hangs up while it is decided upon is not handed over."""
        asked, answer = asyncio.Event(), asyncio.Event()
        async with self.site() as site:

            async def hold(_request: Request) -> Response | OnConnection:
                asked.set()
                await answer.wait()
                return site.accepted.put_nowait

            listener = await site.listen(hold)
            async with tcp_client(listener.port) as raw:
                await raw.send(upgrade())
                await asked.wait()
                raw.reset()
            await site.connect(await site.listen())  # the loop has seen the reset by now
            answer.set()
            await listener.close()
            assert site.accepted.empty()

    @case
    async def test_failing_on_connection_is_logged(self) -> None:
        """A bug in whoever takes over is not hidden, and the peer gets to know that much."""

        def broken(_connection: Connection) -> None:
            raise LookupError("bug")

        async def accept(_request: Request) -> Response | OnConnection:
            return broken

        async with self.site() as site, raw_client(await site.listen(accept)) as raw:
            assert (await raw.close_frame()).code == 1011
            [record] = [r for r in self.caplog.records if TOOK_OVER_BADLY in r.getMessage()]
            assert record.exc_info is not None
            assert isinstance(record.exc_info[1], LookupError)

    @pytest.fixture(autouse=True)
    def log(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def resolve_to(self, *hosts: str) -> None:
        """Have every name resolve to these addresses."""
        loop = asyncio.get_running_loop()

        async def getaddrinfo(_host: object, port: object, **_: object) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

        loop.getaddrinfo = getaddrinfo  # type: ignore[assignment,method-assign]  # test double

    @case
    async def test_one_port_on_all_addresses_of_a_name(self) -> None:
        """Port 0 of a name with several addresses is the same free port on each."""
        self.resolve_to("127.0.0.1", "127.0.0.2", "127.0.0.3")
        async with self.site() as site:
            site.server = replace(site.server, host="three.test")
            listener = await site.listen()
            for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
                async with tcp_client(listener.port, host) as raw:
                    await raw.send(upgrade())
                    assert b" 101 " in await raw.head()
                    (await site.server_end()).start()

    def collide(self, times: int, error: int = errno.EADDRINUSE) -> list[int]:
        """Let a chosen port fail so many times; return the ports tried."""
        loop = asyncio.get_running_loop()
        create_server, tried = loop.create_server, []

        async def busy(factory: Any, host: Any, port: int, **options: Any) -> asyncio.Server:
            tried.append(port)
            if port and sum(map(bool, tried)) <= times:
                raise OSError(error, "busy")
            server = await create_server(factory, host, port, **options)
            # Addresses get the same port by chance, once in some ten thousand times.
            while not port and len({sock.getsockname()[1] for sock in server.sockets}) == 1:
                server.close()
                server = await create_server(factory, host, port, **options)
            return server

        loop.create_server = busy  # type: ignore[assignment,method-assign]  # test double
        return tried

    @case
    async def test_port_that_is_taken_on_another_address(self) -> None:
        """Another port is tried when the first is not free on every address."""
        self.resolve_to("127.0.0.1", "127.0.0.2")
        tried = self.collide(times=2)
        async with self.site() as site:
            site.server = replace(site.server, host="two.test")
            listener = await site.listen()
            assert [bool(port) for port in tried] == [False, True, False, True, False, True]
            assert listener.port == tried[-1]

    @case
    async def test_no_port_free_on_all_addresses(self) -> None:
        """Looking for a port ends, with OSError."""
        self.resolve_to("127.0.0.1", "127.0.0.2")
        self.collide(times=10**6)
        async with self.site() as site:
            site.server = replace(site.server, host="two.test")
            exc = await raises(OSError, site.listen())
            assert exc.errno == errno.EADDRINUSE

    @case
    async def test_address_that_cannot_be_bound(self) -> None:
        """Only a taken port is a reason to look for another."""
        self.resolve_to("127.0.0.1", "127.0.0.2")
        tried = self.collide(times=1, error=errno.EACCES)
        async with self.site() as site:
            site.server = replace(site.server, host="two.test")
            exc = await raises(OSError, site.listen())
            assert exc.errno == errno.EACCES
            assert len(tried) == 2

    @pytest.mark.parametrize(("host", "reach"), [("0.0.0.0", LOOPBACK), ("::", "::1")])
    def test_all_interfaces(self, host: str, reach: str) -> None:
        """The addresses that mean "everywhere" can be bound and reached."""
        if ":" in host:
            try:
                socket.create_server(("::1", 0), family=socket.AF_INET6).close()
            except OSError:
                pytest.skip("this machine has no IPv6")

        async def body() -> None:
            async with self.site() as site:
                site.server = replace(site.server, host=host)
                site.client = replace(site.client, host=reach)
                client, _ = await site.pair()
                assert client.connection.remote_address is not None
                assert client.connection.remote_address[0] == reach

        self.run(body())

    @case
    async def test_name_without_an_address_is_oserror(self) -> None:
        """A name that does not resolve is OSError, like any address that cannot be bound."""
        self.resolve_to()
        async with self.site() as site:
            site.server = replace(site.server, host="none.test")
            await raises(OSError, site.listen())

    @case
    async def test_wire_made_outside_of_a_task(self) -> None:
        """A loop may accept from a plain callback, as simulated ones do."""
        async with self.site() as site:
            listener = await site.listen()
            assert isinstance(listener, WebSocketsListener)
            made = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: made.set_result(listener._make_wire()))
            assert isinstance(await made, ServerWire)
            assert not listener._handshakes


class TestThreads(Bench):
    """Loops do not share connections."""

    @case
    async def test_use_on_another_loop_raises(self) -> None:
        """A call from another thread is refused, also when that one runs a loop as well."""
        async with self.site() as site:
            client, server = await site.pair()
            refused: list[str] = []

            async def use() -> None:
                with pytest.raises(RuntimeError) as caught:
                    client.connection.send(["foreign"])
                refused.append(str(caught.value))

            thread = threading.Thread(target=lambda: asyncio.run(use()))
            thread.start()
            thread.join()
            assert refused == ["a connection may be used on its own loop thread only"]
            client.connection.send(["own"])
            assert await server.received(1) == ["own"]


def test_addresses_of_all_families() -> None:
    """IPv6 names lose flow and scope; what has no port has no address."""
    assert address_of(("127.0.0.1", 80)) == ("127.0.0.1", 80)
    assert address_of(("::1", 80, 0, 0)) == ("::1", 80)
    assert address_of("/tmp/socket") is None
    assert address_of(None) is None


class TestContractItself:
    """That the contract's tools find what they are there to find."""

    def failure(self, make: Callable[[Bench], Coroutine[Any, Any, None]]) -> str:
        """Run a case that has to fail; return what it failed with."""
        bench = Bench()
        with pytest.raises((AssertionError, NotImplementedError)) as caught:
            bench.run(make(bench))
        return f"{type(caught.value).__name__}: {caught.value}"

    def test_what_must_raise_and_does_not(self) -> None:
        """An expected exception that is not raised fails the case."""

        async def nothing() -> None: ...

        async def body(_bench: Bench) -> None:
            await raises(ValueError, nothing())

        assert "ValueError was not raised" in self.failure(body)

        async def direct(_bench: Bench) -> None:
            refuses(ValueError, int, "1")

        assert "ValueError was not raised" in self.failure(direct)

    def test_a_task_left_behind(self) -> None:
        """A task that outlives its case fails it."""
        tasks: list[asyncio.Future[Any]] = []

        async def body(_bench: Bench) -> None:
            tasks.append(asyncio.ensure_future(asyncio.Event().wait()))

        assert "tasks left" in self.failure(body)

    def test_an_unhandled_exception(self) -> None:
        """An exception that a callback lets out fails the case."""

        async def body(_bench: Bench) -> None:
            asyncio.get_running_loop().call_soon(int, "x")
            await asyncio.sleep(0)

        assert "unhandled" in self.failure(body)

    def test_a_bench_without_a_transport(self) -> None:
        """The transport has to be given."""

        async def body(_bench: Bench) -> None:
            async with TransportBench().site():
                pass

        assert "NotImplementedError" in self.failure(body)


class TestLogger:
    """Where the library's records go."""

    def test_library_logs_below_rxplus_and_not_to_stderr(self) -> None:
        """Without logging configured nothing is printed; with it, records arrive."""
        logger = logging.getLogger("rxplus.websockets")
        assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
        assert logger.propagate
