"""Scripted peers: the far end of a component, on both networks."""

from __future__ import annotations

from typing import Any

import pytest

from rxplus import (
    ConnectError,
    HandshakeRejectedError,
    RxWSClient,
    RxWSServer,
    TaggedData,
)
from rxplus_testing import ByteNetwork, MemoryNetwork, Peer, Sim
from rxplus_testing._frames import Opcode, encode

URL = "ws://127.0.0.1:9000/a?x=1"


class World:
    """A simulation, one of its networks, and components on it."""

    def __init__(self, sim: Sim, network: MemoryNetwork | ByteNetwork) -> None:
        self.sim = sim
        self.network = network
        self.parts: dict[str, Any] = {"runtime": sim.runtime}
        if network is sim.net:
            self.parts["transport"] = sim.transport

    def peer(self, url: str = URL, **options: Any) -> Peer:
        """Make a peer."""
        return Peer(self.sim, url, network=self.network, **options)

    def server(self, **options: Any) -> RxWSServer:
        """Make a server."""
        return RxWSServer({"host": "127.0.0.1", "port": 9000}, **self.parts, **options)

    def client(self, **options: Any) -> RxWSClient:
        """Make a client."""
        config = {"host": "127.0.0.1", "port": 9000, "path": "/a"}
        return RxWSClient(config, **self.parts, **options)


@pytest.fixture(params=["net", "byte_net"])
def world(request: pytest.FixtureRequest, sim: Sim) -> World:
    """A simulation, on each of its networks."""
    return World(sim, getattr(sim, request.param))


def test_peer_as_client(world: World) -> None:
    """It sends text and bytes, whole or in fragments, and hears what comes."""
    with world.server() as server, world.peer(headers={"X-Id": "7"}).connect() as peer:
        received = world.sim.record(server)
        peer.send("text", "b")
        peer.send_fragments("one ", "message")
        world.sim.advance(1)
        server.on_next(TaggedData("/a", "answer"))
        world.sim.advance(1)
        assert [value.data for value in received.values] == ["text", "b", "one message"]
        assert peer.received == ["answer"]
        assert peer.connections == 1
        [joined] = server.peers
        assert (joined.path, joined.query, joined.headers["x-id"]) == ("/a", "x=1", "7")


def test_peer_as_client_sends_bytes(world: World) -> None:
    """Bytes go whole or in fragments too."""
    with world.server(datatype="bytes") as server, world.peer().connect() as peer:
        received = world.sim.record(server)
        peer.send(b"whole")
        peer.send_fragments(b"in ", b"parts")
        world.sim.advance(1)
        server.on_next(TaggedData("/a", b"back"))
        world.sim.advance(1)
        assert [value.data for value in received.values] == [b"whole", b"in parts"]
        assert peer.received == [b"back"]


def test_peer_as_server_comes_and_goes(world: World) -> None:
    """A client finds it, loses it, and finds it again on the same port."""
    peer = world.peer().start()
    client = world.client()
    received = world.sim.record(client)
    assert client.wait_connected(5)
    client.on_next("up")
    peer.send("down")
    world.sim.advance(1)
    assert (peer.received, received.values) == (["up"], ["down"])
    peer.stop()
    world.sim.advance(10)
    assert not client.connected
    peer.start()
    assert client.wait_connected(60)
    world.sim.advance(1)
    client.on_next("again")
    world.sim.advance(1)
    assert peer.received == ["up", "again"]
    assert peer.connections == 2
    client.close()
    assert peer.closed is not None
    assert peer.closed.code == 1000
    peer.stop()


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4321])
def test_peer_closes_with_any_code(world: World, code: int) -> None:
    """A client hears the code and the reason, and comes back."""
    with world.peer().start() as peer, world.client() as client:
        states = world.sim.record(client.connection_state)
        assert client.wait_connected(5)
        peer.close(code, "go")
        peer.close(code)
        world.sim.advance(10)
        lost = next(state for state in states.values if state.code is not None)
        assert (lost.code, lost.reason) == (code, "go")
        assert client.connected


def test_peer_abort_is_a_reset(world: World) -> None:
    """The component finds its connection broken."""
    with world.server() as server, world.peer().connect() as peer:
        assert len(server.peers) == 1
        peer.abort()
        peer.abort()
        world.sim.advance(1)
        assert not server.peers
        assert peer.closed is not None
        assert peer.closed.code == 1006
        peer.send("into the void")
        world.sim.advance(1)


@pytest.mark.parametrize(
    ("action", "code"), [(Peer.send_bad_utf8, 1007), (Peer.send_malformed, 1002)]
)
def test_peer_that_breaks_the_rules_is_sent_away(world: World, action: Any, code: int) -> None:
    """The component closes with the code for it, and goes on."""
    with world.server() as server, world.peer().connect() as peer:
        action(peer)
        world.sim.advance(1)
        assert peer.closed is not None
        assert peer.closed.code == code
        received = world.sim.record(server)
        with world.peer().connect() as other:
            other.send("fine")
            world.sim.advance(1)
        assert [value.data for value in received.values] == ["fine"]


def test_peer_that_stops_reading_is_given_up(world: World) -> None:
    """It answers no ping, so keepalive ends the connection; then it reads what there was."""
    with world.server(ping_interval=1.0, ping_timeout=1.0) as server:
        peer = world.peer().connect()
        peer.stop_reading()
        server.on_next(TaggedData("/a", "unread"))
        world.sim.advance(20)
        assert server.peers == ()
        assert peer.received == []
        peer.resume_reading()
        world.sim.advance(1)
        assert peer.received == ["unread"]
        peer.stop()


def test_peer_rejected(world: World) -> None:
    """It says with which status."""
    with world.server(), world.network.reject_next(403):
        with pytest.raises(HandshakeRejectedError) as caught:
            world.peer().connect()
        assert caught.value.status == 403


def test_peer_refused(world: World) -> None:
    """Nobody listens."""
    with pytest.raises((ConnectError, ConnectionRefusedError)):
        world.peer().connect()


def test_peer_severed_while_it_connects(world: World) -> None:
    """A connection that breaks half-way is a failure to connect."""
    with world.server():
        world.sim.at(0.0015, world.network.sever)
        with pytest.raises((ConnectError, ConnectionResetError)):
            world.peer().connect()


def test_peer_that_speaks_to_nobody_says_so(world: World) -> None:
    """Whoever forgot to connect is told what to do."""
    with pytest.raises(RuntimeError, match=r"call connect\(\)"):
        world.peer().send("hello")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "ws://127.0.0.1", "ws://:9000/"])
def test_peer_refuses_what_is_no_url(sim: Sim, url: str) -> None:
    """The URL needs a scheme, a host and a port."""
    with pytest.raises(ValueError, match=r"got 'ws|got 'http"):
        Peer(sim, url)


def test_peer_sends_raw_bytes(sim: Sim) -> None:
    """On a byte network: half a frame is waited for, and what is no frame ends the connection."""
    world = World(sim, sim.byte_net)
    with world.server() as server, world.peer().connect() as peer:
        received = sim.record(server)
        peer.raw(b"\x81\x82\0\0\0\0h")
        sim.advance(1)
        assert received.values == []
        peer.raw(b"i")
        sim.advance(1)
        assert [value.data for value in received.values] == ["hi"]
        peer.raw(b"\xff" * 20)
        sim.advance(1)
        assert peer.closed is not None
        assert peer.closed.code == 1002


def test_peer_has_no_raw_bytes_among_messages(sim: Sim) -> None:
    """A memory network carries none, and says where they are."""
    world = World(sim, sim.net)
    with (
        world.server(),
        world.peer().connect() as peer,
        pytest.raises(RuntimeError, match="use a ByteNetwork"),
    ):
        peer.raw(b"\0")


def test_peer_uses_the_memory_network_by_default(sim: Sim) -> None:
    """A peer without a network meets the components with the simulation's transport."""
    with World(sim, sim.net).server(), Peer(sim, "ws://127.0.0.1:9000").connect() as peer:
        assert peer.port == 9000
        assert sim.net.frames == []


def test_peer_to_peer(world: World) -> None:
    """Two peers can speak with each other, in fragments too."""
    with world.peer().start() as server, world.peer().connect() as client:
        client.send_fragments("a", "b", "c")
        client.send_fragments(b"d", b"e")
        server.send("f")
        if isinstance(world.network, ByteNetwork):
            client.raw(encode(Opcode.PING, b"?", mask=b"mask"))
        world.sim.advance(1)
        assert server.received == ["abc", b"de"]
        assert client.received == ["f"]
        client.close(3000, "done")
        world.sim.advance(1)
        assert server.closed == client.closed == (3000, "done")
