"""The byte network: the real transport on it, in virtual time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest
import trustme
from benches import ByteBench

from rxplus import (
    ConnectTimeoutError,
    HandshakeRejectedError,
    Retry,
    RxException,
    RxWSClient,
    RxWSServer,
    TaggedData,
    Timeouts,
    WebSocketsTransport,
    WireOptions,
)
from rxplus_testing import (
    Bandwidth,
    Cut,
    Latency,
    Peer,
    Reset,
    Sim,
    Slices,
    SlowClose,
    VirtualLoop,
)
from rxplus_testing._decode import Decoder
from rxplus_testing._frames import FrameReader, Opcode, encode
from rxplus_testing.contract import TransportContract


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """An authority that signs what the tests need."""
    return trustme.CA()


@pytest.fixture(scope="module")
def contexts(ca: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's; making keys takes longer than most cases."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(client)
    return server, client


class TestPlain(ByteBench, TransportContract):
    """The contract."""


class TestDeflate(ByteBench, TransportContract):
    """The contract with permessage-deflate."""

    options = WireOptions(compression="deflate")


class TestTls(ByteBench, TransportContract):
    """The contract on TLS."""

    @pytest.fixture(autouse=True)
    def use_contexts(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.server_tls, self.client_tls = contexts


# --- Components in a simulation -------------------------------------------------------------------


class World:
    """A simulation, with short ways to make components that use the real transport."""

    listener: asyncio.Server

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.net = sim.byte_net

    def server(self, port: int = 9000, **options: Any) -> RxWSServer:
        """Make a server."""
        return RxWSServer({"host": "127.0.0.1", "port": port}, runtime=self.sim.runtime, **options)

    def client(self, port: int = 9000, path: str = "/a", **options: Any) -> RxWSClient:
        """Make a client."""
        config = {"host": "127.0.0.1", "port": port, "path": path}
        return RxWSClient(config, runtime=self.sim.runtime, **options)

    def stream(self, size: int) -> tuple[list[tuple[float, int]], asyncio.StreamWriter]:
        """Listen with asyncio's streams; return what arrives, and what writes to it."""
        arrived: list[tuple[float, int]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionResetError):
                while data := await reader.read(size):
                    arrived.append((self.sim.now, len(data)))
            writer.close()

        async def connect() -> asyncio.StreamWriter:
            self.listener = await asyncio.start_server(serve, "127.0.0.1", 7000)
            _, writer = await asyncio.open_connection("127.0.0.1", 7000)
            return writer

        return arrived, self.sim.run(connect())

    def stop(self) -> None:
        """Stop listening, and let what is under way end."""
        self.listener.close()
        self.sim.advance(1)


@pytest.fixture
def world(sim: Sim) -> World:
    """A simulated world, whose components use the real transport."""
    return World(sim)


def test_components_run_on_the_real_transport(world: World) -> None:
    """A server and a client without a transport of their own meet on the byte network."""
    with world.server() as server, world.client() as client:
        received = world.sim.record(server)
        assert client.wait_connected(5)
        client.on_next("hello")
        world.sim.advance(1)
        assert received.values == [TaggedData("/a", "hello")]
    assert world.net.snapshot().splitlines() == [
        "0.000000 c1 -> :9000 open",
        "0.001000 :9000 -> c1 opened",
        "0.002000 c1 -> :9000 open /a",
        "0.003000 :9000 -> c1 accept",
        "0.004000 c1 -> :9000 text 'hello'",
        "1.004000 c1 -> :9000 close 1000",
        "1.005000 :9000 -> c1 close 1000",
        "1.005000 :9000 -> c1 eof",
        "1.006000 c1 -> :9000 eof",
    ]
    assert [str(entry.payload) for entry in world.net.frames][:2] == ["text 'hello'", "close 1000"]


# --- Links ----------------------------------------------------------------------------------------


def test_latency_and_jitter_keep_the_order(world: World) -> None:
    """Each piece takes its own time, none overtakes another, and the seed decides."""

    def play() -> list[tuple[float, int]]:
        with Sim(5) as sim:
            world = World(sim)
            arrived, writer = world.stream(100)
            with world.net.jitter(0.1, 0.5):
                for _ in range(10):
                    writer.write(b"x" * 10)
                    sim.advance(0.01)
                sim.advance(2)
            writer.close()
            sim.run(writer.wait_closed())
            world.stop()
            return list(arrived)

    arrived = play()
    times = [time for time, _ in arrived]
    assert times == sorted(times)
    assert 0.1 <= times[0] <= 0.7
    assert sum(size for _, size in arrived) == 100
    assert arrived == play()


def test_bandwidth_spreads_what_is_sent(world: World) -> None:
    """Bytes trickle in at the rate that is allowed, and no faster."""
    arrived, writer = world.stream(2**20)
    with world.net.limit(1000, port=7000):
        writer.write(b"x" * 10_000)
        world.sim.advance(5.01)
        assert 3000 <= sum(size for _, size in arrived) <= 5100
        world.sim.advance(6)
    assert sum(size for _, size in arrived) == 10_000
    assert arrived[-1][0] == pytest.approx(10.0, abs=0.1)
    writer.close()
    world.stop()


def test_slices_cut_frames_anywhere(world: World) -> None:
    """Byte by byte, a message still is one message."""
    with world.net.slice(1), world.server() as server, world.client() as client:
        received = world.sim.record(server)
        assert client.wait_connected(5)
        client.on_next("\N{SNOWMAN}" * 50)
        world.sim.advance(1)
        assert [value.data for value in received.values] == ["\N{SNOWMAN}" * 50]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_partition_one_way(world: World, direction: Any) -> None:
    """What goes the other way arrives, and the rest when the partition heals."""
    with world.server() as server, world.client() as client:
        up, down = world.sim.record(server), world.sim.record(client)
        assert client.wait_connected(5)
        with world.net.partition(direction):
            client.on_next("up")
            server.on_next(TaggedData("/a", "down"))
            world.sim.advance(1)
            assert (len(up.values), len(down.values)) == ((0, 1) if direction == "up" else (1, 0))
        world.sim.advance(1)
        assert (len(up.values), len(down.values)) == (1, 1)


def test_partition_one_way_stops_a_sender_in_the_end(world: World) -> None:
    """Who does not hear that its bytes were taken has to wait: TCP's window does not move."""
    arrived, writer = world.stream(2**20)
    with world.net.partition("down"):
        writer.write(b"x" * 2**20)
        world.sim.advance(10)
        assert sum(size for _, size in arrived) == 2**18
    world.sim.advance(10)
    assert sum(size for _, size in arrived) == 2**20
    writer.close()
    world.stop()


def test_hold_delays_even_the_first_packet(world: World) -> None:
    """Nobody can connect, and whoever gave up meanwhile does not appear later."""
    server = world.server()
    world.net.hold()
    impatient = world.client(timeouts=Timeouts(open=1.0), retry=Retry(limit=0))
    world.sim.advance(5)
    assert not impatient.connected
    impatient.close()
    world.net.release()
    world.sim.advance(1)
    assert server.peers == ()
    server.close()


def test_slow_close_delays_the_end_alone(world: World) -> None:
    """Messages arrive as ever, and the end of the stream later."""
    with world.server() as server:
        client = world.client()
        received = world.sim.record(server)
        assert client.wait_connected(5)
        with world.net.slow_close(3.0):
            client.on_next("quick")
            world.sim.advance(0.1)
            assert len(received.values) == 1
            before = world.sim.now
            client.close()
            assert 3.0 <= world.sim.now - before < 3.1


# --- What breaks ----------------------------------------------------------------------------------


def test_cut_breaks_after_so_many_bytes(world: World) -> None:
    """What is before the cut arrives, and both sides find the connection reset."""
    arrived: list[tuple[float, int]]
    with world.net.cut_next(5000, "up", port=7000):
        arrived, writer = world.stream(100_000)
    writer.write(b"x" * 3000)
    writer.write(b"x" * 3000)
    writer.write(b"x" * 3000)
    world.sim.advance(1)
    assert sum(size for _, size in arrived) == 5000
    with pytest.raises(ConnectionResetError):
        world.sim.run(writer.drain())
    world.stop()


def test_reset_ends_connections_with_1006(world: World) -> None:
    """Both sides hear of it, and the client comes back."""
    with world.server(), world.client() as client:
        states = world.sim.record(client.connection_state)
        assert client.wait_connected(5)
        world.net.inject(Reset())
        world.sim.advance(10)
        assert 1006 in [state.code for state in states.values]
        assert client.connected
        assert world.net.faults == ()


def test_sever_of_a_path_leaves_others_alone(world: World) -> None:
    """The path is known from the request."""
    with world.server() as server, world.client(path="/a") as a, world.client(path="/b") as b:
        assert a.wait_connected(5)
        assert b.wait_connected(5)
        world.net.sever(path="/b")
        world.sim.advance(0.01)
        assert [peer.path for peer in server.peers] == ["/a"]
        assert "connection c1 to port 9000: client /a is open" in world.net.describe_open()


def test_outage_looks_like_a_restart(world: World) -> None:
    """Clients lose their connections, are refused meanwhile, and come back after it."""
    with world.server(), world.client() as client:
        assert client.wait_connected(5)
        with world.net.outage(9000):
            world.sim.advance(30)
            assert not client.connected
        assert client.wait_connected(60)


def test_crash_and_restart_on_the_same_port(world: World) -> None:
    """Nobody listens after a crash; whoever listens next gets the port."""
    old = world.server()
    with world.client() as client:
        assert client.wait_connected(5)
        world.net.crash(9000)
        world.sim.advance(5)
        assert not client.connected
        assert "listener on port 9000" not in world.net.describe_open()
        with world.server():
            assert client.wait_connected(60)
            old.close()
            assert "listener on port 9000" in world.net.describe_open()


def test_port_busy_on_restart(world: World) -> None:
    """Listening fails as long as the rule says so."""
    with world.net.busy(9000, times=1):
        with pytest.raises(RxException, match="in use"):
            world.server()
        world.server().close()


def test_hang_times_out(world: World) -> None:
    """The connection opens, and the request is never answered."""
    with world.server() as server, world.net.hang_next_connect():
        errors = None
        with world.client(timeouts=Timeouts(open=2.0)) as client:
            errors = world.sim.record(client.errors)
            world.sim.advance(1.9)
            assert server.peers == ()
            assert client.wait_connected(30)
            assert isinstance(errors.values[0].exception, ConnectTimeoutError)


def test_reject_and_close_in_the_servers_place(world: World) -> None:
    """A status or a close code is what the client hears; the server sees nobody."""
    with world.server() as server:
        joined = world.sim.record(server.connections)
        world.net.reject_next(503, "later")
        world.net.accept_then_close(4000, reason="no")
        with world.client() as client:
            states = world.sim.record(client.connection_state)
            errors = world.sim.record(client.errors)
            assert client.wait_connected(60)
            world.sim.advance(30)
            assert client.connected
            assert 4000 in [state.code for state in states.values]
            assert isinstance(errors.values[0].exception, HandshakeRejectedError)
            assert len(joined.values) == 1


def test_faults_of_connecting_go_through_tls(
    world: World, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The answer in the server's place is encrypted, and the log shows no more than sizes."""
    server_tls, client_tls = contexts
    world.net.reject_next(503)
    with world.server(tls=server_tls), world.client(tls=client_tls) as client:
        errors = world.sim.record(client.errors)
        assert client.wait_connected(60)
        assert isinstance(errors.values[0].exception, HandshakeRejectedError)
    assert " bytes" in world.net.snapshot()
    assert world.net.frames == []


def test_reject_of_a_client_that_speaks_no_tls(
    world: World, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Nobody is there to be answered."""
    world.net.reject_next(503)
    with world.server(tls=contexts[0]), world.client(retry=Retry(limit=0)) as client:
        world.sim.advance(5)
        assert not client.connected


# --- The log --------------------------------------------------------------------------------------


def test_log_shows_what_bytes_mean(world: World) -> None:
    """Fragments, compressed messages, rejections and unknown frames have a line each."""
    with world.server(compression="deflate"), world.client(compression="deflate") as client:
        assert client.wait_connected(5)
        client.on_next("x" * 100)
        world.sim.advance(1)
        with Peer(world.sim, "ws://127.0.0.1:9000/p", network=world.net).connect() as peer:
            peer.send_fragments("a", "b")
            peer.raw(bytes([0x8B, 0x80, 0, 0, 0, 0]))
            world.sim.advance(1)
    log = world.net.snapshot()
    assert "compressed " in log
    assert log.count("fragment 1 bytes") == 2
    assert "frame of unknown kind 11" in log
    assert "close 1002" in log


def test_log_of_what_is_no_websocket(world: World) -> None:
    """Another answer than 101 is a rejection, and what follows is only counted."""
    with world.server() as server:

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n")
            writer.write(b"\r\n")
            answer = await reader.read()
            writer.close()
            return answer

        assert world.sim.run(ask()).startswith(b"HTTP/1.1 426 ")
    assert "open /nothing" in world.net.snapshot()
    assert "reject 426" in world.net.snapshot()


def test_decoder_takes_nonsense() -> None:
    """The log never fails, whatever is sent."""
    decoder = Decoder()
    assert [str(item) for item in decoder.feed(b"HTTP/1.1\r\n\r\nrest")] == ["reject 0"]
    assert list(decoder.feed(b"more")) == ["4 bytes"]
    decoder = Decoder()
    head = b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Protocol: v1\r\n\r\n"
    items = list(decoder.feed(head + b"\x88\x00" + b"\x82\x01\xff" + b"\x8a\x01\x05"))
    assert list(map(str, items)) == ["accept v1", "close 1005", r"binary b'\xff'", "pong 5"]


def test_log_keeps_the_start_of_a_long_message() -> None:
    """What is longer is counted, not kept, and the next frame is found."""
    reader = FrameReader(keep=10)
    data = encode(Opcode.BINARY, b"x" * 70_000, mask=b"abcd") + encode(Opcode.TEXT, b"next")
    frames = [
        frame for at in range(0, len(data), 999) for frame in reader.feed(data[at : at + 999])
    ]
    assert [(frame.payload, frame.size) for frame in frames] == [(b"x" * 10, 70_000), (b"next", 4)]


# --- asyncio on it --------------------------------------------------------------------------------


def test_loop_without_a_network_says_so() -> None:
    """A virtual loop needs one to connect or listen."""
    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        pytest.raises(RuntimeError, match="make a ByteNetwork"),
    ):
        runner.run(asyncio.open_connection("127.0.0.1", 1))


def test_addresses_of_both_families(world: World) -> None:
    """IPv6 addresses have the four parts that asyncio gives them."""

    async def names() -> list[Any]:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 0)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("::1", port)
        found = [writer.get_extra_info(name) for name in ("sockname", "peername")]
        writer.close()
        server.close()
        return found

    local, remote = world.sim.run(names())
    assert local == ("::1", 50_001, 0, 0)
    assert remote == ("::1", 40_000, 0, 0)


def test_ports_do_not_clash(world: World) -> None:
    """Port 0 is a free one each time, and a taken one is an error."""
    with world.server(0) as one, world.server(0) as two:
        assert one.port != two.port
        with pytest.raises(RxException, match="in use"):
            world.server(one.port)


def test_listener_that_closes_resets_who_was_not_accepted(world: World) -> None:
    """A connection that nobody accepted ends with its listener."""

    async def connect() -> bytes:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, "127.0.0.1", 7000, start_serving=False
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", 7000)
        server.close()
        try:
            return await reader.read()
        finally:
            writer.close()

    with pytest.raises(ConnectionResetError):
        world.sim.run(connect())


def test_socket_answers_as_a_socket_does(world: World) -> None:
    """What asyncio does not use of a socket, protocols may."""

    async def play() -> None:
        loop = asyncio.get_running_loop()
        listening = world.net.bind("127.0.0.1", 7000, None)
        ours = await world.net.connect("127.0.0.1", 7000)
        theirs, name = listening.accept()
        with pytest.raises(BlockingIOError):
            listening.accept()
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        assert name == ours.getsockname() == theirs.getpeername()
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert ours.sendmsg([b"ab", memoryview(b"cd")]) == 4
        assert ours.gettimeout() == 0.0
        assert theirs.send(b"x" * 2**20) == 2**18
        with pytest.raises(BlockingIOError):
            theirs.send(b"more")
        ours.shutdown(socket.SHUT_RD)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            ours.send(b"late")
        buffer = bytearray(3)
        assert await loop.sock_recv_into(theirs, buffer) == 3  # type: ignore[arg-type]  # as good
        assert (bytes(buffer), theirs.recv(10), theirs.recv(10)) == (b"abc", b"d", b"")
        assert "StreamSocket ('127.0.0.1', 7000)" in repr(theirs)
        assert repr(listening) == "<ListeningSocket ('127.0.0.1', 7000)>"
        for sock in (ours, theirs, listening):
            sock.close()
            sock.close()
            assert sock.fileno() == -1
            with pytest.raises(OSError, match="Bad file"):
                sock.getsockname()

    world.sim.run(play())


def test_bytes_for_a_closed_socket_are_answered_with_a_reset(world: World) -> None:
    """Who sends to somebody who left finds out."""

    async def play() -> None:
        listening = world.net.bind("127.0.0.1", 7000, None)
        ours = await world.net.connect("127.0.0.1", 7000)
        theirs, _ = listening.accept()
        theirs.close()
        await asyncio.sleep(0.01)
        assert ours.recv(1) == b""
        assert ours.send(b"late") == 4
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionResetError):
            ours.send(b"later")
        ours.close()
        listening.close()

    world.sim.run(play())


def test_closing_with_something_unread_resets(world: World) -> None:
    """What will not be read is said to be lost (RFC 2525, section 2.17)."""

    async def play() -> None:
        listening = world.net.bind("127.0.0.1", 7000, None)
        ours = await world.net.connect("127.0.0.1", 7000)
        theirs, _ = listening.accept()
        ours.send(b"unread")
        await asyncio.sleep(0.01)
        theirs.close()
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
        ours.close()
        listening.close()

    world.sim.run(play())


@pytest.mark.parametrize("limit", [0.0005, 0.0015])
def test_connect_given_up_leaves_nothing(world: World, limit: float) -> None:
    """Whoever gives up before the first packet arrives, or the answer to it, was not there."""

    async def play() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 7000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.open_connection("::1", 7000)
        await asyncio.sleep(1)
        server.close()

    world.sim.run(play())
    assert world.net.describe_open() == []


def test_reject_a_request_that_comes_in_two_parts(world: World) -> None:
    """The answer in the server's place waits for the whole head."""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", 9000)
        writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    world.net.reject_next(599, "odd")
    with world.server():
        assert world.sim.run(ask()).startswith(b"HTTP/1.1 599 \r\n")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Cut(after=-1),
        lambda: Bandwidth(bytes_per_second=0),
        lambda: Slices(size=0),
        lambda: Latency(jitter=-1.0),
        lambda: SlowClose(seconds=float("inf")),
    ],
)
def test_faults_that_cannot_be_are_refused(wrong: Any) -> None:
    """A number that makes no sense is an error that shows it."""
    with pytest.raises(ValueError, match="got"):
        wrong()


def test_frames_of_every_length() -> None:
    """What is encoded is read back, masked or not."""
    for size in (0, 125, 126, 2**16 - 1, 2**16):
        for mask in (b"", b"mask"):
            [frame] = FrameReader().feed(encode(Opcode.BINARY, b"x" * size, mask=mask))
            assert (frame.opcode, frame.payload, frame.fin) == (Opcode.BINARY, b"x" * size, True)


@pytest.mark.parametrize("real", [True, False], ids=["bytes", "messages"])
def test_what_has_not_arrived_is_described(real: bool) -> None:
    """A failure report names what is still on its way: contents, and where a fault cuts."""
    with Sim() as sim:
        net = sim.byte_net if real else sim.net
        transport = WebSocketsTransport() if real else sim.transport
        server = RxWSServer(
            {"host": "127.0.0.1", "port": 0}, runtime=sim.runtime, transport=transport
        )
        config = {"host": "127.0.0.1", "port": server.port, "path": "/"}
        with net.inject(Cut(after=1_000, direction="up"), times=1):
            client = RxWSClient(config, runtime=sim.runtime, transport=transport)
            assert client.wait_connected(5)
        assert net.describe_under_way() == []
        net.hold()
        client.on_next("hello")
        client.on_next("x" * 2_000)
        sim.run_until_idle()
        *_, last = net.describe_under_way()
        assert "held, due" in last
        assert last.endswith("the end of the connection")
        net.release()
        client.close()
        server.close()
