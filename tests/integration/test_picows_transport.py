"""The picows transport, and uvloop: the contract, and the default transport's tests over again.

A case that only raw bytes can provoke has the same outcome with either transport, so the tests
of the default one are subclassed here rather than written again.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Any

import pytest
import test_websockets_transport as default
import trustme
import uvloop
from test_websockets_transport import contexts as contexts
from test_websockets_transport import nothing_logged as nothing_logged
from test_websockets_transport import raw_client, raw_server, switching, tcp_client, upgrade
from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, Frame

from rxplus.transport import Payload, Transport
from rxplus.transports.picows import PicowsTransport, frames
from rxplus.transports.picows.frames import Frames
from rxplus_testing.contract import SHORT, TransportBench, case


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


class Picows(TransportBench):
    """Runs cases with the picows transport."""

    def make_transport(self) -> Transport:
        return PicowsTransport()


class Uvloop(TransportBench):
    """Runs cases on uvloop, as components do where it is installed."""

    loop_factory = staticmethod(uvloop.new_event_loop)


# --- The contract -----------------------------------------------------------------------------


class TestPlain(Picows, default.TestPlain):
    """The contract on TCP."""


class TestPlainUvloop(Uvloop, Picows, default.TestPlain):
    """The contract on TCP, on uvloop."""


class TestTls(Picows, default.TestTls):
    """The contract on TLS."""


class TestTlsUvloop(Uvloop, Picows, default.TestTls):
    """The contract on TLS, on uvloop."""


class TestDefaultUvloop(Uvloop, default.TestPlain):
    """The contract with the default transport on uvloop."""


class TestDefaultTlsUvloop(Uvloop, default.TestTls):
    """The contract with the default transport on TLS, on uvloop."""


# --- What only raw bytes can provoke ----------------------------------------------------------


class TestMessages(Picows, default.TestMessages):
    """What peers do on the level of frames."""

    @pytest.mark.parametrize(
        "bad",
        [b"\x81\xfe\x00\x05\x00\x00\x00\x00", b"\x09\x80abcd", b"\x81\xff\x80" + bytes(11)],
        ids=["length not minimal", "ping in fragments", "length with its highest bit set"],
    )
    def test_frame_that_picows_refuses_closes_1002(self, bad: bytes) -> None:
        """What is said against a frame reaches both sides, and messages before it arrive."""

        async def body() -> None:
            async with self.site() as site, raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                await raw.send(Frame(TEXT, b"good"), bad, Frame(TEXT, b"late"))
                close = await raw.close_frame()
                assert close.code == 1002
                await raw.send(Frame(TEXT, b"later still"))
                raw.close()
                info = await server.closed()
                assert (info.code, info.reason, info.local) == (1002, close.reason, True)
                assert str(info.error) == info.reason
                assert server.messages == ["good"]

        self.run(body())

    @case
    async def test_close_frames_of_all_kinds(self) -> None:
        """A close frame that is not allowed is failed, whoever of the two parsers finds it."""
        bad = {
            b"\x03": 1002,
            struct.pack("!H", 999): 1002,
            struct.pack("!H", 1006): 1002,
            struct.pack("!H", 1000) + b"\xff": 1007,
        }
        async with self.site() as site:
            listener = await site.listen()
            for payload, code in bad.items():
                async with raw_client(listener) as raw:
                    server = (await site.server_end()).start()
                    await raw.send(Frame(CLOSE, payload))
                    assert (await raw.close_frame()).code == code
                    raw.close()
                    assert (await server.closed()).code == code

    @case
    async def test_nothing_after_a_close_frame_is_delivered(self) -> None:
        """What follows a close frame in its packet, or later, is void, also when malformed."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            await raw.send(
                Frame(TEXT, b"last"),
                Frame(CLOSE, struct.pack("!H", 4000)),
                Frame(TEXT, b"late"),
                Frame(PING, b"late"),
                b"\x83\x80abcd",
            )
            assert (await raw.close_frame()).code == 4000
            raw.close()
            info = await server.closed()
            assert (info.code, info.error, info.local) == (4000, None, False)
            assert server.messages == ["last"]

    @case
    async def test_message_between_fragments_is_refused(self) -> None:
        """A whole message in the middle of another is a protocol error, not a message."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = (await site.server_end()).start()
            await raw.send(Frame(TEXT, b"be", fin=False), Frame(TEXT, b"whole"))
            assert (await raw.close_frame()).code == 1002
            raw.close()
            await server.closed()
            assert server.messages == []

    @case
    async def test_fragments_of_every_length(self) -> None:
        """Fragments around each size where a frame changes its form are joined."""
        sizes = [0, 125, 126, 2**16 - 1, 2**16]
        async with self.site() as site:
            async with raw_client(await site.listen()) as raw:
                server = (await site.server_end()).start()
                for size in sizes:
                    data = b"\xff" * size
                    await raw.send(Frame(BINARY, data, fin=False), Frame(CONT, data))
                assert await server.received(5) == [b"\xff" * (2 * size) for size in sizes]
            async with raw_server() as server_socket:
                connecting = asyncio.ensure_future(default.connect_to(site, server_socket.port))
                async with server_socket.accept() as peer:
                    await peer.send(switching(await peer.head()))
                    client = site.adopt(await connecting).start()
                    for size in sizes:
                        data = b"x" * size
                        await peer.send(Frame(TEXT, data, fin=False), Frame(CONT, data))
                    assert await client.received(5) == ["x" * (2 * size) for size in sizes]

    @case
    async def test_flood_before_the_start_waits_in_the_socket(self) -> None:
        """A peer that sends on before it is let in cannot fill the memory."""
        admitted = asyncio.Event()

        async def hold(_request: Any) -> Any:
            await admitted.wait()
            return site.accepted.put_nowait

        async with self.site() as site, tcp_client((await site.listen(hold)).port) as raw:
            await raw.send(upgrade())
            flood = [Frame(BINARY, bytes(2**16))] * 1000
            sending = asyncio.ensure_future(raw.send(*flood))
            before = asyncio.get_running_loop().time()
            await asyncio.wait([sending], timeout=SHORT)
            assert asyncio.get_running_loop().time() > before
            assert not sending.done()
            admitted.set()
            server = (await site.server_end()).start()
            assert await server.received(1000) == [bytes(2**16)] * 1000
            await sending

    @case
    async def test_read_buffer_is_bounded(self) -> None:
        """However much arrives at once, only so much of it is read at once."""
        async with self.site() as site:
            client, server = await site.pair()
            biggest = 0

            def look(_message: Any) -> None:
                nonlocal biggest
                buffer = parser.get_buffer(-1)
                biggest = max(biggest, len(buffer))

            client.connection.send(["first"])
            await server.received(1)
            parser = frames_of(server.connection)
            server.hook = look
            for _ in range(20):
                client.connection.send(["x" * 1000] * 1000)
            await server.received(20_001)
            assert 2**15 < biggest <= frames.MOST_READ

    @case
    async def test_receiver_that_raises_ends_the_connection(self) -> None:
        """A bug in a receiver is told of, and ends the connection: nothing is passed over."""
        told: list[dict[str, Any]] = []

        def fail(message: Any) -> None:
            if message == "bad":
                raise LookupError("bug")

        loop = asyncio.get_running_loop()
        async with self.site() as site:
            client, server = await site.pair()
            loop.set_exception_handler(lambda _, context: told.append(context))
            server.hook = fail
            client.connection.send(["good", "bad", "next"])
            assert (await client.closed()).code == 1006
            assert (await server.closed()).code == 1006
            assert server.messages == ["good", "bad"]
        assert [type(context["exception"]) for context in told] == [LookupError]

    @case
    async def test_compressed_messages(self) -> None:
        """With an extension agreed upon the library parses, since picows knows none."""
        messages: list[Payload] = ["text" * 1000, b"bytes", "", "x" * 2**17]
        async with self.site() as site:
            client, server = await site.pair(compression="deflate", max_message_size=2**17)
            for sender, receiver in ((client, server), (server, client)):
                sender.connection.send(messages)
                assert await receiver.received(4) == messages
            assert not isinstance(protocol_of(server.connection), Frames)
            client.connection.send(["x" * (2**17 + 1)])
            assert (await server.closed()).code == 1009

    @case
    async def test_debug_logs_show_frames(self) -> None:
        """With the library's debug log on, the library parses, since picows shows nothing."""
        logger = logging.getLogger("rxplus.websockets")
        logger.setLevel(logging.DEBUG)
        try:
            async with self.site() as site:
                client, server = await site.pair()
                client.connection.send(["shown"])
                assert await server.received(1) == ["shown"]
                assert not isinstance(protocol_of(server.connection), Frames)
        finally:
            logger.setLevel(logging.NOTSET)


def protocol_of(connection: Any) -> Any:
    """Return what the loop's transport talks to."""
    return default.wire_of(connection).transport.get_protocol()


def frames_of(connection: Any) -> Frames:
    protocol = protocol_of(connection)
    assert isinstance(protocol, Frames)
    return protocol


class TestMessagesUvloop(Uvloop, Picows, default.TestMessages):
    """The same on uvloop."""


class TestEnds(Picows, default.TestEnds):
    """How connections end when the peer does not play by the book."""

    @case
    async def test_end_before_the_start(self) -> None:
        """What a peer sent before it hung up is delivered, though nobody had started yet."""
        async with self.site() as site, raw_client(await site.listen()) as raw:
            server = await site.server_end()
            await raw.send(Frame(TEXT, b"hello"), Frame(CLOSE, struct.pack("!H", 4000)))
            raw.half_close()
            await asyncio.shield(default.wire_of(server.connection).connection_lost_waiter)
            server.start()
            assert (await server.closed()).code == 4000
            assert server.messages == ["hello"]


class TestEndsUvloop(Uvloop, Picows, default.TestEnds):
    """The same on uvloop."""


class TestKeepaliveUvloop(Uvloop, Picows, default.TestKeepalive):
    """When a missing pong means something, and when it does not."""


class TestConnectUvloop(Uvloop, Picows, default.TestConnect):
    """What a client makes of servers that do not open a WebSocket."""


class TestListen(Picows, default.TestListen):
    """What a server makes of clients that do not open one."""


class TestTlsFailures(Picows, default.TestTlsFailures):
    """What goes wrong with certificates."""


class TestTlsFailuresUvloop(Uvloop, Picows, default.TestTlsFailures):
    """The same on uvloop."""

    @case
    async def test_silent_client_is_dropped_by_close(self) -> None:
        """uvloop tells of a connection after its TLS handshake, so that only time can drop it."""
        async with self.site() as site:
            listener = await site.listen(open_timeout=SHORT)
            async with tcp_client(listener.port) as raw:
                await listener.close()
                await raw.rest()


class TestThreads(Picows, default.TestThreads):
    """Loops do not share connections."""
