"""Peer: one client of a server."""

from __future__ import annotations

from typing import Any

import pytest
from world import World, tagged

from rxplus import Handshake, Loss, LossReason, Peer, TaggedData


def test_peer_tells_who_it_is(world: World) -> None:
    """Path, query, headers, address and subprotocol are those of its request."""
    server = world.server(subprotocols=["v2", "v1"])
    joined = world.sim.record(server.connections)
    client = world.connected(
        server, "/a?x=1", handshake=Handshake(headers={"X-Id": "7"}), subprotocols=["v1"]
    )
    (peer,) = joined.values
    assert (peer.path, peer.query, peer.headers["x-id"]) == ("/a", "x=1", "7")
    assert peer.subprotocol == "v1"
    assert peer.remote_address is not None
    assert peer.user is None
    assert peer.connected
    assert "/a" in repr(peer)
    client.close()
    server.close()


def test_peer_streams_what_it_sends_and_completes_when_it_leaves(world: World) -> None:
    """Who subscribes in `connections` misses nothing that the peer sends."""
    server = world.server()
    events: list[Any] = []

    def follow(peer: Peer) -> None:
        peer.subscribe(events.append, on_completed=lambda: events.append("left"))

    server.connections.subscribe(follow)
    client = world.connected(server)
    client.on_next("hello")
    client.close()
    world.settle()
    assert events == ["hello", "left"]
    server.close()


def test_peer_on_next_sends_to_it_alone(world: World) -> None:
    """A message for one peer does not reach the others on its path."""
    server = world.server()
    clients = [world.connected(server) for _ in range(2)]
    seen = [world.sim.record(client) for client in clients]
    server.peers[1].on_next("only you")
    world.settle()
    assert [each.values for each in seen] == [[], ["only you"]]
    for part in (*clients, server):
        part.close()


def test_peer_messages_keep_their_order_with_broadcasts(world: World) -> None:
    """What one thread sends to a peer and to its path arrives in that order."""
    server = world.server()
    client = world.connected(server)
    values = world.sim.record(client)
    (peer,) = server.peers
    for number in range(0, 30, 2):
        server.on_next(TaggedData("/a", str(number)))
        peer.on_next(str(number + 1))
    world.settle()
    assert values.values == [str(number) for number in range(30)]
    client.close()
    server.close()


def test_peer_refuses_a_wrong_payload(world: World) -> None:
    """Misuse raises in the caller's thread."""
    server = world.server()
    client = world.connected(server)
    with pytest.raises(TypeError, match="WSStr"):
        server.peers[0].on_next(1)
    client.close()
    server.close()


def test_peer_that_has_left_loses_messages_aloud(world: World) -> None:
    """A message for a peer that has left is reported, not raised: leaving is not misuse."""
    server = world.server()
    client = world.connected(server)
    (peer,) = server.peers
    client.close()
    world.settle()
    losses = world.sim.record(server.losses)
    peer.on_next("too late")
    world.settle()
    assert not peer.connected
    assert losses.values == [Loss("/a", LossReason.NO_PEER, 1)]
    server.close()


def test_peer_close_sends_what_was_sent_before(world: World) -> None:
    """Closing a peer comes after the messages sent to it, with code and reason."""
    server = world.server()
    client = world.connected(server)
    values, states = world.sim.record(client), world.sim.record(client.connection_state)
    (peer,) = server.peers
    for number in range(20):
        peer.on_next(str(number))
    peer.close(4001, "enough")
    world.sim.run_until(lambda: "disconnected" in states.values)
    assert values.values == [str(number) for number in range(20)]
    assert (states.values[1].code, states.values[1].reason) == (4001, "enough")
    client.close()
    server.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1005,), ValueError),
        ((1006,), ValueError),
        ((999,), ValueError),
        ((5000,), ValueError),
        (("1000",), TypeError),
        ((1000, b"why"), TypeError),
    ],
)
def test_peer_refuses_a_wrong_close(
    world: World, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    """A code that may not be sent is refused in the caller's thread; the peer stays."""
    server = world.server()
    client = world.connected(server)
    (peer,) = server.peers
    with pytest.raises(error, match=r"^(code|reason) must be "):
        peer.close(*arguments)
    world.settle()
    assert peer.connected
    client.close()
    server.close()


@pytest.mark.parametrize("end", ["on_completed", "dispose"])
def test_peer_ends_like_a_subject(world: World, end: str) -> None:
    """on_completed and dispose close the connection with 1000; the server goes on."""
    server = world.server()
    client = world.connected(server)
    states = world.sim.record(client.connection_state)
    getattr(server.peers[0], end)()
    world.sim.run_until(lambda: "disconnected" in states.values)
    assert states.values[1].code == 1000
    assert client.wait_connected(10)
    client.close()
    server.close()


def test_peer_on_error_is_a_failure_of_this_side(world: World) -> None:
    """A failed source closes with 1011 and is reported on the server's errors."""
    server = world.server()
    client = world.connected(server)
    states, errors = world.sim.record(client.connection_state), world.sim.record(server.errors)
    server.peers[0].on_error(RuntimeError("no more"))
    world.sim.run_until(lambda: "disconnected" in states.values)
    assert states.values[1].code == 1011
    assert "no more" in str(errors.values[0])
    client.close()
    server.close()


def test_peer_can_be_closed_from_its_own_callback(world: World) -> None:
    """A peer may be closed while a message of its own is delivered."""
    server = world.server()

    def follow(peer: Peer) -> None:
        peer.subscribe(lambda _: peer.close())

    server.connections.subscribe(follow)
    client = world.connected(server)
    states = world.sim.record(client.connection_state)
    client.on_next("bye")
    world.sim.run_until(lambda: "disconnected" in states.values)
    client.close()
    server.close()


def test_peer_echo_pipeline(world: World) -> None:
    """A peer can be subscribed to itself: what it sends goes back to it."""
    server = world.server()

    def echo(peer: Peer) -> None:
        peer.subscribe(peer.on_next)

    server.connections.subscribe(echo)
    client = world.connected(server)
    values = world.sim.record(client)
    client.on_next("echo")
    world.settle()
    assert values.values == ["echo"]
    assert world.sim.record(server).values == tagged("/a")
    client.close()
    server.close()


def test_peer_latency_is_measured(world: World) -> None:
    """Keepalive tells the round-trip time."""
    server = world.server(ping_interval=1.0)
    client = world.connected(server)
    assert server.peers[0].latency is None
    world.settle(2)
    assert server.peers[0].latency == pytest.approx(0.002)
    client.close()
    server.close()


def test_connections_completes_with_the_server(world: World) -> None:
    """The stream of peers ends when the server does."""
    server = world.server()
    joined = world.sim.record(server.connections)
    server.close()
    assert joined.completed
