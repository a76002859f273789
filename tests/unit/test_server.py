"""RxWSServer: letting peers in, receiving, fanning out, ending."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from reactivex import abc
from reactivex.scheduler import ImmediateScheduler
from world import Nowhere, World, tagged

from rxplus import (
    BatchReceiver,
    Buffer,
    BufferFullError,
    ComponentClosedError,
    ConnectionClosedError,
    DecodeError,
    Handshake,
    HandshakeRejectedError,
    Limits,
    Loss,
    LossReason,
    Overflow,
    Peer,
    Request,
    Response,
    RxException,
    RxWSClient,
    RxWSServer,
    Security,
    TaggedData,
    UnsafePickleWarning,
    WouldDeadlockError,
    basic_auth,
)
from rxplus_testing import MemoryTransport


def refusals(world: World, server: RxWSServer, path: str = "/a", **options: Any) -> list[int]:
    """Let a client try once and return the HTTP statuses it was refused with."""
    client = world.client(server, path, **options)
    errors = world.sim.record(client.errors)
    world.settle()
    client.close()
    found = [error.exception for error in errors.values]
    return [error.status for error in found if isinstance(error, HandshakeRejectedError)]


# ── making one ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"port": 1}, r"conn_cfg missing required keys: \['host'\]"),
        ({"host": "h"}, r"conn_cfg missing required keys: \['port'\]"),
        ({"host": "", "port": 1}, "host"),
        ({"host": "h", "port": "http"}, "port .* 'http'"),
        ({"host": "h", "port": 1, "hosts": 2}, r"unknown keys: \['hosts'\]"),
    ],
)
def test_server_refuses_wrong_conn_cfg(config: dict[str, Any], message: str) -> None:
    """A configuration that cannot be right is refused at once, by key and value."""
    with pytest.raises(ValueError, match=message):
        RxWSServer(config)


def test_server_refuses_an_unsupported_datatype(world: World) -> None:
    """A datatype that does not exist is refused when the server is made."""
    with pytest.raises(ValueError, match="Unsupported datatype 'xml'"):
        world.server(datatype="xml")


def test_server_that_cannot_bind_raises_from_its_constructor(world: World) -> None:
    """A port in use is known at once, as an RxException with the OSError inside."""
    server = world.server()
    with pytest.raises(RxException, match=f"cannot listen on 127.0.0.1 port {server.port}") as info:
        world.server(server.port)
    assert isinstance(info.value.exception, OSError)
    assert info.value.__cause__ is info.value.exception
    server.close()


def test_server_tells_its_port(world: World) -> None:
    """Port 0 takes a free port, which `port` tells."""
    with world.server() as server:
        assert server.port > 0


def test_server_cannot_be_made_on_the_loop_it_would_run_on(world: World) -> None:
    """A constructor that would wait for its own thread raises instead."""
    raised: list[Exception] = []

    def make() -> None:
        try:
            world.server()
        except WouldDeadlockError as exc:
            raised.append(exc)

    world.on_loop(make)
    assert len(raised) == 1


# ── receiving ─────────────────────────────────────────────────────────────────────────────


def test_server_keeps_what_comes_before_somebody_subscribes(world: World) -> None:
    """Peers and messages that are there before the line after the constructor are not missed."""
    server = world.server()
    client = world.connected(server)
    client.on_next("early")
    world.settle()
    values, peers = world.sim.record(server), world.sim.record(server.connections)
    world.settle()
    assert values.values == tagged("/a", "early")
    (peer,) = peers.values
    from_peer = world.sim.record(peer)
    client.on_next("late")
    world.settle()
    assert values.values == tagged("/a", "early", "late")
    assert from_peer.values == ["early", "late"]
    client.close()
    server.close()


def test_server_that_nobody_listens_to_keeps_little(world: World) -> None:
    """Beyond a megabyte it keeps nothing: it may be a server that only sends."""
    server = world.server(datatype="bytes")
    client = world.connected(server, datatype="bytes")
    for _ in range(3):
        client.on_next(bytes(2**19))
    world.settle()
    values, peers = world.sim.record(server), world.sim.record(server.connections)
    client.on_next(b"heard")
    world.settle()
    assert values.values == tagged("/a", b"heard")
    assert len(peers.values) == 1
    client.close()
    server.close()


def test_server_routes_by_the_path_without_the_query(world: World) -> None:
    """Peers on one path with different queries are on the same route."""
    server = world.server()
    one = world.connected(server, "/a?token=1")
    two = world.connected(server, "/a?token=2")
    values = world.sim.record(server)
    seen = [world.sim.record(one), world.sim.record(two)]
    one.on_next("from one")
    world.settle()
    server.on_next(TaggedData("/a?whatever", "to both"))
    world.settle()
    assert values.values == tagged("/a", "from one")
    assert [each.values for each in seen] == [["to both"], ["to both"]]
    for part in (one, two, server):
        part.close()


def test_unpackage_error_handling(world: World) -> None:
    """A malformed message is an event on errors; the peer's next one arrives."""
    server = world.server(datatype="json")
    bad = world.connected(server, datatype="string")
    good = world.connected(server, "/b", datatype="json")
    values, errors = world.sim.record(server), world.sim.record(server.errors)
    bad.on_next("{not json")
    bad.on_next("[1]")
    good.on_next({"still": "here"})
    world.settle()
    assert sorted(values.values, key=lambda value: value.tag) == [
        TaggedData("/a", [1]),
        TaggedData("/b", {"still": "here"}),
    ]
    assert [type(error.exception) for error in errors.values] == [DecodeError]
    for part in (bad, good, server):
        part.close()


def together(world: World, peer: Peer, *messages: str) -> None:
    """Have messages of a peer arrive in one read."""
    receiver = peer._member.session.receiver
    assert isinstance(receiver, BatchReceiver)
    world.on_loop(lambda: receiver.on_messages(messages, more=False))


def test_messages_that_arrive_together(world: World) -> None:
    """A batch is given in order, to both streams, with what is wrong reported in its place."""
    server = world.server(datatype="json")
    peers = world.sim.record(server.connections)
    client = world.connected(server)
    (peer,) = peers.values
    heard: list[Any] = []
    peer.subscribe(lambda value: heard.append(("own", value)))
    server.subscribe(heard.append)
    server.errors.subscribe(lambda error: heard.append(type(error.exception)))
    together(world, peer, "1", "{not json", "2", "3")
    one, two, three = ((("own", data), TaggedData("/a", data)) for data in (1, 2, 3))
    assert heard == [*one, DecodeError, *two, *three]
    assert (server.health().messages_in, server.health().bytes_in) == (4, 12)
    for part in (client, server):
        part.close()


def test_subscribing_to_a_peer_because_of_a_message(world: World) -> None:
    """It gets the messages after that one, those that were read together with it too."""
    server = world.server()
    server.connections.subscribe()  # so that nothing is kept for the first to come
    client = world.connected(server)
    (peer,) = server.peers
    heard: list[Any] = []
    own: list[abc.DisposableBase] = []

    def on_message(message: TaggedData) -> None:
        heard.append(message.data)
        if message.data == "login":
            own.append(peer.subscribe(lambda value: heard.append(("own", value))))
            own.append(peer.subscribe(lambda value: heard.append(("too", value))))

    server.subscribe(on_message)
    server.subscribe(lambda message: heard.append(("second", message.data)))
    together(world, peer, "hello", "login", "1", "2")
    together(world, peer, "3")
    for subscription in own:
        subscription.dispose()
    together(world, peer, "4")
    before = [of for data in ("hello", "login") for of in (data, ("second", data))]
    meanwhile = [
        of for data in "123" for of in (("own", data), ("too", data), data, ("second", data))
    ]
    assert heard == [*before, *meanwhile, "4", ("second", "4")]
    for part in (client, server):
        part.close()


def test_subscribing_to_a_peer_from_another_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not on the loop thread takes nothing from what is being given."""
    server = world.server()
    server.connections.subscribe()
    client = world.connected(server)
    (peer,) = server.peers
    heard: list[Any] = []

    def on_message(message: TaggedData) -> None:
        heard.append(message.data)
        if message.data == "login":
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr(server._hub.lease, "in_loop", lambda: False)
                peer.subscribe(lambda value: heard.append(("own", value)))

    server.subscribe(on_message)
    together(world, peer, "login", "1")
    together(world, peer, "2")
    assert heard == ["login", "1", ("own", "2"), "2"]
    for part in (client, server):
        part.close()


def test_subscribing_to_a_peer_whose_messages_are_kept(world: World) -> None:
    """The first to come gets all that were kept, each once, whenever it comes."""
    server = world.server()
    client = world.connected(server)
    (peer,) = server.peers
    heard: list[Any] = []

    def on_message(message: TaggedData) -> None:
        if message.data == "login":
            peer.subscribe(heard.append)

    server.subscribe(on_message)
    together(world, peer, "hello", "login", "1", "2")
    together(world, peer, "3")
    world.settle()
    assert heard == ["hello", "login", "1", "2", "3"]
    for part in (client, server):
        part.close()


def test_subscribing_to_a_peer_between_messages(world: World) -> None:
    """What nobody listened to does not come later."""
    server = world.server()
    server.connections.subscribe()
    server.subscribe().dispose()
    client = world.connected(server)
    (peer,) = server.peers
    together(world, peer, "1", "2")
    heard: list[Any] = []
    own: list[abc.DisposableBase] = []
    world.on_loop(lambda: own.append(peer.subscribe(heard.append)))
    together(world, peer, "3", "4")
    assert heard == ["3", "4"]
    own[0].dispose()
    everything = world.sim.record(server)
    together(world, peer, "5")
    assert everything.values == tagged("/a", "5")
    for part in (client, server):
        part.close()


def test_messages_come_one_by_one_to_a_scheduler(world: World) -> None:
    """Reading may have to be paused after any of them."""
    server = world.server(scheduler=ImmediateScheduler())
    client = world.connected(server)
    assert not isinstance(server.peers[0]._member.session.receiver, BatchReceiver)
    for part in (client, server):
        part.close()


def test_server_survives_a_raising_subscriber(world: World) -> None:
    """One raising subscriber harms neither the others nor the clients."""
    server = world.server()
    clients = [world.connected(server, path) for path in ("/a", "/b")]
    values, errors = world.sim.record(server), world.sim.record(server.errors)

    def fail(value: TaggedData) -> None:
        raise KeyError(value.tag)

    server.subscribe(fail)
    late = world.sim.record(server)
    for client in clients:
        client.on_next("x")
    world.settle()
    assert len(values.values) == len(late.values) == len(errors.values) == 2
    assert all(client.connected for client in clients)
    for part in (*clients, server):
        part.close()


def test_server_survives_a_raising_subscriber_of_errors(world: World) -> None:
    """A subscriber of errors that raises is not told of its own error for ever."""
    server = world.server(datatype="json")
    client = world.connected(server, datatype="string")

    def fail(_: RxException) -> None:
        raise RuntimeError("again")

    server.errors.subscribe(fail)
    errors = world.sim.record(server.errors)
    client.on_next("{")
    world.settle()
    assert len(errors.values) == 1
    client.close()
    server.close()


def test_server_reports_a_peer_that_broke_off(world: World) -> None:
    """A connection that breaks is an event on errors; an orderly goodbye is not."""
    server = world.server()
    errors = world.sim.record(server.errors)
    world.connected(server).close()
    world.settle()
    assert errors.values == []
    client = world.connected(server)
    world.sim.net.sever()
    world.settle()
    (error,) = errors.values
    assert isinstance(error.exception, ConnectionClosedError)
    assert error.exception.code == 1006
    client.close()
    server.close()


# ── who gets in ───────────────────────────────────────────────────────────────────────────


def test_server_answers_404_where_it_has_no_datatype(world: World) -> None:
    """A path for which the datatype function raises is refused; other paths go on."""

    def choose(path: str) -> str:
        return {"/a": "string", "/j": "json"}[path]

    server = world.server(datatype=choose)
    errors = world.sim.record(server.errors)
    good = world.connected(server, "/a")
    assert refusals(world, server, "/nope") == [404]
    assert isinstance(errors.values[0].exception, KeyError)
    values = world.sim.record(server)
    good.on_next("on")
    world.settle()
    assert values.values == tagged("/a", "on")
    good.close()
    server.close()


def test_server_limits_connections(world: World) -> None:
    """One connection too many is answered with 503."""
    server = world.server(limits=Limits(max_connections=1))
    client = world.connected(server)
    assert refusals(world, server) == [503]
    client.close()
    world.settle()
    assert refusals(world, server) == []
    server.close()


def test_server_limits_connections_per_address(world: World) -> None:
    """One connection too many from an address is answered with 429."""
    server = world.server(limits=Limits(max_connections_per_address=1))
    client = world.connected(server)
    assert refusals(world, server) == [429]
    client.close()
    server.close()


def test_server_checks_origins(world: World) -> None:
    """Only a listed origin gets in."""
    server = world.server(security=Security(origins=("https://good.example",)))
    good, bad = (Handshake(origin=f"https://{name}.example") for name in ("good", "bad"))
    assert refusals(world, server, handshake=bad) == [403]
    assert refusals(world, server) == [403]
    assert refusals(world, server, handshake=good) == []
    server.close()


def test_server_authenticates(world: World) -> None:
    """The hook decides who gets in, and its answer is the peer's user."""

    async def who(request: Request) -> str | bool | Response:
        match request.query:
            case "tea":
                return Response(status=418)
            case "broken":
                raise RuntimeError("no database")
            case "nobody":
                return False
            case name:
                return name or True

    server = world.server(security=Security(authenticate=who))
    errors = world.sim.record(server.errors)
    assert refusals(world, server, "/a?tea") == [418]
    assert refusals(world, server, "/a?nobody") == [401]
    assert errors.values == []
    assert refusals(world, server, "/a?broken") == [500]
    assert "no database" in str(errors.values[0])
    clients = [world.connected(server, path) for path in ("/a?ada", "/a")]
    assert [peer.user for peer in server.peers] == ["ada", ""]
    for part in (*clients, server):
        part.close()


@pytest.mark.parametrize("answer", ["", 0, 1, b"ada", [], ("ada",)])
def test_server_lets_nobody_in_on_an_answer_that_is_none(world: World, answer: Any) -> None:
    """What is neither a name nor a yes does not count as one; the mistake is reported."""
    server = world.server(security=Security(authenticate=lambda _: answer))
    errors = world.sim.record(server.errors)
    assert refusals(world, server) == [500]
    assert f"Response or None, got {answer!r}" in str(errors.values[0])
    server.close()


def test_server_warns_of_pickle_from_a_stranger(world: World) -> None:
    """Unpickling what a peer elsewhere sends is warned of, unless it was authenticated."""
    elsewhere = MemoryTransport(world.sim.net, host="10.0.0.9")
    server = world.server(datatype="object")
    with pytest.warns(UnsafePickleWarning, match=r"10\.0\.0\.9"):
        client = world.connected(server, transport=elsewhere)
    client.close()
    server.close()
    server = world.server(datatype="object", security=Security(authenticate=lambda _: "ada"))
    client = world.connected(server, transport=elsewhere)
    assert server.health().errors == 0
    client.close()
    server.close()


def test_server_goes_on_when_a_warning_is_an_error(world: World) -> None:
    """Where warnings are errors, the one about pickle is on errors and costs no connection."""
    server = world.server(datatype="object")
    errors = world.sim.record(server.errors)
    client = world.connected(server, transport=MemoryTransport(world.sim.net, host="10.0.0.9"))
    world.settle()
    assert [type(error.exception) for error in errors.values] == [UnsafePickleWarning]
    assert client.connected
    client.close()
    server.close()


def test_server_does_basic_auth(world: World) -> None:
    """Right credentials get in, wrong ones get 401."""
    server = world.server(security=Security(authenticate=basic_auth({"ada": "secret"})))
    assert refusals(world, server) == [401]
    assert refusals(world, server, handshake=Handshake(basic_auth=("ada", "guess"))) == [401]
    client = world.connected(server, handshake=Handshake(basic_auth=("ada", "secret")))
    assert server.peers[0].user == "ada"
    client.close()
    server.close()


def test_server_counts_refused_handshakes(world: World) -> None:
    """Refused requests are counted."""
    server = world.server(limits=Limits(max_connections=1))
    client = world.connected(server)
    refusals(world, server)
    assert server.health().handshake_failures == 1
    client.close()
    server.close()


# ── sending ───────────────────────────────────────────────────────────────────────────────


def test_server_broadcasts_to_a_path(world: World) -> None:
    """Everyone on the path gets every message, in order; nobody else gets any."""
    server = world.server()
    inside = [world.connected(server, "/a") for _ in range(3)]
    outside = world.connected(server, "/b")
    seen = [world.sim.record(client) for client in inside]
    nothing = world.sim.record(outside)
    for number in range(20):
        server.on_next(TaggedData("/a", str(number)))
    world.settle()
    assert [each.values for each in seen] == [[str(n) for n in range(20)]] * 3
    assert nothing.values == []
    for part in (*inside, outside, server):
        part.close()


def test_server_sends_what_is_for_one_path_together(world: World) -> None:
    """However the paths of a burst alternate, each gets its messages in one go."""
    with world.server() as server:
        losses = world.sim.record(server.losses)
        for number in range(6):
            server.on_next(TaggedData(f"/{number % 2}", str(number)))
        world.settle()
        reason = LossReason.NO_PEER
        assert losses.values == [Loss("/0", reason, 3), Loss("/1", reason, 3)]


def test_server_refuses_wrong_values_in_the_callers_thread(world: World) -> None:
    """Neither an untagged value nor one that the datatype cannot send gets further."""
    server = world.server()
    with pytest.raises(TypeError, match="TaggedData, got str"):
        server.on_next("x")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError, match="WSStr expects a string payload"):
        server.on_next(TaggedData("/a", 1))
    server.close()


def test_server_reports_messages_that_nobody_gets(world: World) -> None:
    """A message for a path without peers is reported as lost."""
    server = world.server()
    losses = world.sim.record(server.losses)
    server.on_next(TaggedData("/nobody", "1"))
    server.on_next(TaggedData("/nobody", "2"))
    world.settle()
    assert losses.values == [Loss("/nobody", LossReason.NO_PEER, 2)]
    server.close()


def slow_and_fast(world: World, overflow: Overflow) -> tuple[RxWSServer, Any, Any, Any]:
    """Make a server with a peer that reads nothing and one that reads all."""
    server = world.server(buffer=Buffer(max_messages=10, overflow=overflow))
    slow, fast = world.connected(server, "/a"), world.connected(server, "/a")
    world.on_loop(slow._supervisor.pause_reading)
    return server, slow, fast, world.sim.record(fast)


def flood(world: World, server: RxWSServer, messages: int) -> list[str]:
    """Send messages too big for any write buffer, slowly enough for a fast peer."""
    sent = [f"{number} " + "x" * 300_000 for number in range(messages)]
    for message in sent:
        server.on_next(TaggedData("/a", message))
        world.settle()
    return sent


@pytest.mark.parametrize(
    "overflow", [Overflow.drop_oldest(), Overflow.drop_newest(), Overflow.latest()]
)
def test_server_drops_for_a_slow_peer_alone(world: World, overflow: Overflow) -> None:
    """A peer that does not read loses messages, reported; the others get everything."""
    server, slow, fast, values = slow_and_fast(world, overflow)
    losses = world.sim.record(server.losses)
    sent = flood(world, server, 20)
    assert values.values == sent
    assert sum(loss.count for loss in losses.values) > 0
    assert server.health().queued_messages <= 10
    got = world.sim.record(slow)
    world.on_loop(slow._supervisor.resume_reading)
    world.settle(1)
    assert len(got.values) + sum(loss.count for loss in losses.values) == 20
    assert got.values == [one for one in sent if one in got.values]
    for part in (slow, fast, server):
        part.close()


def test_server_disconnects_a_slow_peer(world: World) -> None:
    """Under `disconnect` the peer that does not read is dropped; the others stay."""
    server, slow, fast, values = slow_and_fast(world, Overflow.disconnect())
    sent = flood(world, server, 20)
    assert values.values == sent
    assert len(server.peers) == 1
    assert fast.connected
    for part in (slow, fast, server):
        part.close()


@pytest.mark.parametrize("overflow", [Overflow.error(), Overflow.block(timeout=1.0)])
def test_server_pushes_back_on_the_sender(world: World, overflow: Overflow) -> None:
    """Under `error` and `block` nothing is dropped: the sender feels the slowest peer."""
    server, slow, fast, values = slow_and_fast(world, overflow)
    got, losses = world.sim.record(slow), world.sim.record(server.losses)
    accepted = []
    with pytest.raises(BufferFullError):
        for number in range(100):
            message = f"{number} " + "x" * 300_000
            server.on_next(TaggedData("/a", message))
            accepted.append(message)
            world.settle()
    world.on_loop(slow._supervisor.resume_reading)
    world.settle(1)
    assert values.values == got.values == accepted
    assert losses.values == []
    for part in (slow, fast, server):
        part.close()


def test_server_reports_what_a_peer_did_not_get_before_it_left(world: World) -> None:
    """Messages queued for a peer that breaks off are reported as lost."""
    server, slow, fast, _ = slow_and_fast(world, Overflow.drop_oldest())
    losses = world.sim.record(server.losses)
    flood(world, server, 5)
    waiting = server.health().queued_messages
    assert waiting > 0
    fast.close()
    world.sim.net.sever()
    world.settle()
    assert losses.values == [Loss("/a", LossReason.DISCONNECTED, waiting)]
    slow.close()
    server.close()


def test_server_survives_a_conflation_key_that_raises(world: World) -> None:
    """A key function that raises costs the message it raised for, reported, and no more."""

    def key(message: str | bytes) -> str:
        raise ValueError("no key")

    server, slow, fast, values = slow_and_fast(world, Overflow.latest(key=key))
    errors, losses = world.sim.record(server.errors), world.sim.record(server.losses)
    sent = flood(world, server, 4)
    assert values.values == sent
    assert "no key" in str(errors.values[0])
    assert losses.values[0].reason == "overflow"
    for part in (slow, fast, server):
        part.close()


# ── paths ─────────────────────────────────────────────────────────────────────────────────


def test_server_path_channels_thread_safety() -> None:
    """Threads that ask for a path's channel at the same time get one and the same."""
    made: list[str] = []

    def choose(path: str) -> str:
        made.append(path)
        return "string"

    server = RxWSServer({"host": "h", "port": 1}, choose, transport=Nowhere())
    barrier = threading.Barrier(8)
    found: list[Any] = []

    def ask() -> None:
        barrier.wait(10)
        for number in range(50):
            found.append((number, server._get_path_channels(f"/p{number}")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 400
    assert len({(number, id(channel)) for number, channel in found}) == 50
    assert len(made) == 50
    server.close()


def test_server_forgets_a_path_without_peers(world: World) -> None:
    """A path that nobody is on any more costs no memory."""
    server = world.server()
    for number in range(20):
        world.connected(server, f"/p{number}").close()
    world.settle()
    assert len(server._routes) == 0
    assert server.health().paths == {}
    assert server.peers == ()
    server.close()


# ── ending ────────────────────────────────────────────────────────────────────────────────


def test_server_close_says_goodbye(world: World) -> None:
    """Closing sends what is queued, closes peers with 1001 and completes the stream once."""
    server = world.server()
    client = world.connected(server)
    values, seen = world.sim.record(server), world.sim.record(client)
    states = world.sim.record(client.connection_state)
    for number in range(30):
        server.on_next(TaggedData("/a", str(number)))
    assert server.close()
    assert values.completed
    assert seen.values == [str(number) for number in range(30)]
    world.sim.run_until(lambda: "disconnected" in states.values)
    assert states.values[1].code == 1001
    assert server.health().state == "closed"
    client.close()


def test_server_that_closes_as_a_peer_comes_says_goodbye_to_it_too(world: World) -> None:
    """Who was let in while the server began to close gets 1001, not a broken connection."""
    closing: list[bool] = []

    def close(_: Request) -> bool:
        closing.append(server.close())
        return True

    server = world.server(security=Security(authenticate=close))
    client = world.client(server)
    states = world.sim.record(client.connection_state)
    world.settle()
    assert closing == [False]
    assert states.values[:3] == ["connecting", "connected", "disconnected"]
    assert states.values[2].code == 1001
    client.close()
    assert server.close()


def test_server_close_from_a_callback(world: World) -> None:
    """Closing from a subscriber returns at once and still closes everything."""
    server = world.server()
    client = world.connected(server)
    results: list[bool] = []
    server.subscribe(lambda _: results.append(server.close()))
    values = world.sim.record(server)
    client.on_next("stop")
    world.settle(1)
    assert results == [False]
    assert values.completed
    assert server.close()
    client.close()


def test_server_close_does_not_wait_for_a_silent_peer_for_ever(world: World) -> None:
    """A peer that does not answer the goodbye is cut off at the deadline."""
    server = world.server()
    client = world.connected(server)
    world.sim.net.hold()
    started = world.sim.now
    assert server.close(timeout=2.0)
    assert world.sim.now - started == pytest.approx(2.0, abs=0.1)
    world.sim.net.release()
    client.close()


def test_server_reports_what_it_could_not_send_before_closing(world: World) -> None:
    """What a slow peer has not got at the deadline is reported as lost."""
    server, slow, fast, _ = slow_and_fast(world, Overflow.block(timeout=1.0))
    losses = world.sim.record(server.losses)
    with pytest.raises(BufferFullError):
        flood(world, server, 100)
    server.close(timeout=1.0)
    reasons = {loss.reason for loss in losses.values}
    assert LossReason.CLOSED in reasons
    assert losses.completed
    slow.close()
    fast.close()


def test_server_refuses_use_after_close(world: World) -> None:
    """Sending on a closed server raises in the caller's thread."""
    server = world.server(name="gone")
    server.close()
    with pytest.raises(ComponentClosedError, match="gone is closed"):
        server.on_next(TaggedData("/a", "x"))


def test_server_restarts_on_the_same_port(world: World) -> None:
    """The port is free as soon as close() returns."""
    server = world.server()
    port = server.port
    for _ in range(5):
        server.close()
        server = world.server(port)
    server.close()


def test_server_keeps_serving_while_peers_come_and_go(world: World) -> None:
    """Peers that join and leave during a broadcast disturb nobody who stays."""
    server = world.server()
    stays = world.connected(server)
    values = world.sim.record(stays)
    order = random.Random(3)
    others: list[RxWSClient] = []
    for number in range(60):
        server.on_next(TaggedData("/a", str(number)))
        if others and order.random() < 0.5:
            others.pop(order.randrange(len(others))).close()
        else:
            others.append(world.client(server))
        world.settle(0.001)
    world.settle()
    assert values.values == [str(number) for number in range(60)]
    for part in (*others, stays, server):
        part.close()
