"""Acknowledged delivery: sessions between components, and with a peer that is scripted."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
from sessions import Hand, hello
from world import World, tagged

from rxplus import (
    Buffer,
    BufferFullError,
    Delivery,
    DeliveryUnsupportedError,
    HandshakeRejectedError,
    Limits,
    Loss,
    LossReason,
    Overflow,
    Peer,
    ProtocolViolationError,
    Retry,
    RxWSClient,
    RxWSServer,
    Security,
    SessionTakenError,
    Timeouts,
    basic_auth,
)
from rxplus._core.protocol.control import Ack, Away, Seq, Sync, Welcome
from rxplus._engine.server_session import ServerSession, SessionMember

ACKNOWLEDGED = Delivery.acknowledged()
SOON = Retry(initial=0.1, jitter=0.0)


def pair(world: World, **options: Any) -> tuple[RxWSServer, RxWSClient]:
    """Make a server and a client with a session."""
    given: dict[str, Any] = {"delivery": ACKNOWLEDGED, **options}
    server = world.server(delivery=given["delivery"])
    return server, world.connected(server, retry=SOON, **given)


def token_of(hand: Hand) -> str:
    """Return the session that a scripted client was given."""
    welcome = hand.controls()[0]
    assert isinstance(welcome, Welcome)
    return welcome.session


def member_of(server: RxWSServer) -> SessionMember:
    """Return the one peer of a server, as its engine has it."""
    (peer,) = server.peers
    assert isinstance(peer._member, SessionMember)
    return peer._member


# ── a session outlives its connections ────────────────────────────────────────────────────


def test_session_delivers_both_ways_over_any_number_of_connections(world: World) -> None:
    """What is on its way when a connection breaks arrives on the next one, once, in order."""
    server, client = pair(world)
    at_server, at_client = world.sim.record(server), world.sim.record(client)
    losses = world.sim.record(client.losses), world.sim.record(server.losses)
    up, down = [], []
    for breaks in range(20):
        for number in range(10):
            up.append(f"up {breaks} {number}")
            down.append(f"down {breaks} {number}")
            client.on_next(up[-1])
            server.on_next(tagged("/a", down[-1])[0])
        world.settle(0.0005 * (breaks % 5))
        world.sim.net.sever()
        world.settle(0.05 * (breaks % 4))
    world.settle(10)
    assert at_server.values == tagged("/a", *up)
    assert at_client.values == down
    assert losses[0].values == losses[1].values == []
    client.close()
    server.close()


def test_session_keeps_its_peer(world: World) -> None:
    """A peer lives on while its client is away, and gets what was sent to it meanwhile."""
    server = world.server(delivery=ACKNOWLEDGED)
    joined = world.sim.record(server.connections)
    client = world.connected(server, delivery=ACKNOWLEDGED, retry=SOON)
    got = world.sim.record(client)
    peer = joined.values[0]
    messages = world.sim.record(peer)
    world.sim.net.sever()
    world.settle(0.01)
    assert not peer.connected
    assert server.peers == (peer,)
    peer.on_next("for you")
    client.on_next("for the server")
    world.settle(1)
    assert peer.connected
    assert got.values == ["for you"]
    assert messages.values == ["for the server"]
    assert joined.values == [peer]
    assert not messages.completed
    client.close()
    world.settle()
    assert messages.completed
    assert server.peers == ()
    server.close()


def test_session_says_whether_it_goes_on(world: World) -> None:
    """The state `connected` tells: nothing at first, then True, False when it was lost."""
    server, client = pair(world)
    port = server.port
    states = world.sim.record(client.connection_state)
    world.sim.net.sever()
    world.settle(1)
    server.close()
    world.settle(0.01)
    server = world.server(port, delivery=ACKNOWLEDGED)
    world.settle(5)
    resumed = [status.resumed for status in states.values if status == "connected"]
    assert resumed == [None, True, False]
    client.close()
    server.close()


def test_session_that_is_lost_is_reported_by_number(world: World) -> None:
    """A server that forgot costs what was sent and not acknowledged; the rest goes on."""
    server, client = pair(world)
    port = server.port
    losses, _ = world.sim.record(client.losses), world.sim.record(server)
    for number in range(3):
        client.on_next(f"acknowledged {number}")
    world.settle(1)
    world.sim.net.hold()
    client.on_next("lost 4")
    client.on_next("lost 5")
    world.settle(0.01)
    world.sim.net.crash(port)
    world.sim.net.release()
    server.close(0)
    world.settle(0.01)
    client.on_next("kept")
    server = world.server(port, delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    world.settle(2)
    assert losses.values == [Loss("/a", LossReason.SESSION_LOST, 2, 4, 5)]
    assert values.values == tagged("/a", "kept")
    client.close()
    server.close()


def test_session_that_is_lost_is_sent_again_when_asked(world: World) -> None:
    """Or what was not acknowledged goes out in the next session, in front of the rest."""
    server, client = pair(world, delivery=Delivery.acknowledged(resend_lost=True))
    port = server.port
    losses = world.sim.record(client.losses)
    world.sim.net.hold()
    client.on_next("first")
    world.settle(0.01)
    world.sim.net.crash(port)
    world.sim.net.release()
    server.close(0)
    client.on_next("second")
    server = world.server(port, delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    world.settle(2)
    assert losses.values == []
    assert values.values == tagged("/a", "first", "second")
    client.close()
    server.close()


def test_session_carries_text_that_looks_like_control(world: World) -> None:
    """Any text and any bytes may be sent."""
    server, client = pair(world)
    values, got = world.sim.record(server), world.sim.record(client)
    texts = ["\0", "\0\0", '\0{"type":"ack","number":9}', "", "plain"]
    for text in texts:
        client.on_next(text)
        server.on_next(tagged("/a", text)[0])
    world.settle()
    assert values.values == tagged("/a", *texts)
    assert got.values == texts
    client.close()
    server.close()


# ── expiry ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("direct", [True, False])
def test_session_takes_what_arrives_together_in_order(world: World, direct: bool) -> None:
    """Numbers, control messages and their look-alikes hold within one read as they do over many."""
    delivery = Delivery.acknowledged(ack_messages=4)
    scheduler = None if direct else world.sim.scheduler
    server = world.server(delivery=delivery, scheduler=scheduler)
    values = world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), "1", "\0\0", "", Sync(), *(str(n) for n in range(4, 14)))
    token = token_of(hand)
    data = [value.data for value in values.values]
    assert data == ["1", "\0", "", *(str(n) for n in range(4, 14))]
    hand.drop()
    hand = Hand(world, server)
    hand.say(hello(token, epoch=2, next=14), Seq(12), "again", "and again", "14", "15", Sync())
    assert [value.data for value in values.values[13:]] == ["14", "15"]
    assert hand.controls()[-1] == Ack(15)
    hand.drop()
    server.close(0)


def test_session_acknowledges_within_what_arrives_together(world: World) -> None:
    """After so many messages as were agreed on, not after all that one read happened to bring."""
    server = world.server(delivery=Delivery.acknowledged(ack_messages=4))
    seen: list[tuple[str, int]] = []
    server.subscribe(
        lambda value: seen.append((value.data, member_of(server).conversation.incoming.acked))
    )
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), *"abcdefghij")
    assert seen == list(zip("abcdefghij", [0] * 4 + [4] * 4 + [8] * 2, strict=True))
    hand.drop()
    server.close(0)


def test_session_that_ends_within_what_arrives_together_takes_no_more(world: World) -> None:
    """What is behind a violation is not dealt with."""
    server = world.server(delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), "taken", Seq(2), "void", "void", "\0\0void")
    assert [value.data for value in values.values] == ["taken"]
    assert hand.end is not None
    assert hand.end.code == 4400
    hand = Hand(world, server)
    hand.say(hello(), "without a number", "void")
    assert hand.end is not None
    assert hand.end.code == 4400
    assert [value.data for value in values.values] == ["taken"]
    server.close(0)


@pytest.mark.parametrize("sender", ["client", "server"])
def test_session_gives_up_what_was_on_its_way_for_too_long(world: World, sender: str) -> None:
    """Both sides report it by number, and the session goes on with what is younger."""
    delivery = Delivery.acknowledged(max_age=10.0, max_messages=2)
    server, client = pair(world, delivery=delivery)
    ups, downs = world.sim.record(server), world.sim.record(client)
    lost = [world.sim.record(one.losses) for one in (client, server)]
    world.sim.net.hold()

    def send(text: str) -> None:
        client.on_next(text) if sender == "client" else server.peers[0].on_next(text)
        world.settle(0.01)

    send("old")
    send("older than it looks")
    send("waits")
    with world.sim.net.refuse(server.port):
        world.sim.net.sever()
        world.sim.net.release()
        world.settle(11)
        assert [one.values for one in lost] == [[], []]
    world.settle(60)
    received = ups.values if sender == "client" else tagged("/a", *downs.values)
    assert received == tagged("/a", "waits")
    told, missed = lost if sender == "client" else reversed(lost)
    assert told.values == [Loss("/a", LossReason.EXPIRED, 2, 1, 2)]
    assert missed.values == [Loss("/a", LossReason.WITHDRAWN, 2, 1, 2)]
    assert client.health().queued_messages == server.health().queued_messages == 0
    client.close()
    server.close()


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt])
@pytest.mark.parametrize("listens", ["server", "peer"])
def test_session_loses_nothing_by_what_a_subscriber_raises(
    world: World, error: type[BaseException], listens: str
) -> None:
    """Whatever it is: the rest of what arrived together is dealt with all the same."""
    server = world.server(delivery=ACKNOWLEDGED, datatype="json")
    seen: list[Any] = []

    def take(value: Any) -> None:
        seen.append(getattr(value, "data", value))
        if seen[-1] == 2:
            raise error

    if listens == "server":
        server.subscribe(take)
    else:
        server.subscribe(lambda _: None)

        def listen(peer: Peer) -> None:
            peer.subscribe(take)

        server.connections.subscribe(listen)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), "1")
    messages = ["2", "3", "{", "4"]

    def arrive() -> None:
        with suppress(KeyboardInterrupt):
            member_of(server).session.receiver.on_messages(messages, more=False)  # type: ignore[attr-defined]

    world.on_loop(arrive)
    assert seen == [1, 2, 3, 4]
    hand.say("5", Sync())
    assert seen == [1, 2, 3, 4, 5]
    assert hand.controls()[-1] == Ack(6)
    hand.drop()
    server.close(0)


def test_session_expires_on_the_server(world: World) -> None:
    """A client that stays away is given up: its peer completes, what it did not get is lost."""
    server = world.server(delivery=ACKNOWLEDGED)
    joined, losses = world.sim.record(server.connections), world.sim.record(server.losses)
    hand = Hand(world, server)
    hand.say(hello(expiry=5.0))
    assert hand.controls()[0] == Welcome(member_of(server).token, False, 0, 5.0)
    hand.say(Seq(1))
    messages = world.sim.record(joined.values[0])
    server.on_next(tagged("/a", "sent")[0])
    world.settle()
    hand.drop()
    server.on_next(tagged("/a", "queued")[0])
    world.settle(4)
    assert not messages.completed
    world.settle(1)
    assert messages.completed
    assert losses.values == [
        Loss("/a", LossReason.EXPIRED, 1, 1, 1),
        Loss("/a", LossReason.EXPIRED, 1),
    ]
    again = Hand(world, server)
    again.say(hello("gone", epoch=2))
    assert isinstance(again.controls()[0], Welcome)
    server.close()


def test_session_expires_on_the_client(world: World) -> None:
    """A client that finds no way back in time reports what was not acknowledged, and goes on."""
    server, client = pair(world, delivery=Delivery.acknowledged(expiry=5.0))
    losses, states = world.sim.record(client.losses), world.sim.record(client.connection_state)
    world.sim.net.hold()
    client.on_next("sent")
    world.settle(0.01)
    world.sim.net.sever()
    world.sim.net.release()
    world.sim.net.refuse()
    world.settle(4)
    client.on_next("kept")
    assert losses.values == []
    world.settle(2)
    assert losses.values == [Loss("/a", LossReason.EXPIRED, 1, 1, 1)]
    world.sim.net.restore()
    values = world.sim.record(server)
    world.settle(10)
    assert values.values == tagged("/a", "kept")
    assert states.values[-1].resumed is None
    client.close()
    server.close()


def test_session_of_one_away_makes_room_for_another(world: World) -> None:
    """The limit on connections bounds sessions too: the one longest away is ended."""
    server = world.server(delivery=ACKNOWLEDGED, limits=Limits(max_connections=1))
    joined = world.sim.record(server.connections)
    first = Hand(world, server)
    first.say(hello())
    first.drop()
    second = Hand(world, server)
    second.say(hello())
    assert server.peers == (joined.values[1],)
    second.drop()
    server.close()


# ── who may have which session ────────────────────────────────────────────────────────────


def test_session_is_not_for_another_user_or_path(world: World) -> None:
    """A stolen name is worth nothing to another user, nor on another path."""
    passwords = basic_auth({"me": "x", "you": "x"})
    server = world.server(delivery=ACKNOWLEDGED, security=Security(authenticate=passwords))
    mine = {"Authorization": "Basic bWU6eA=="}
    first = Hand(world, server, headers=mine)
    first.say(hello())
    token = token_of(first)
    for path, headers in (("/a", {"Authorization": "Basic eW91Ong="}), ("/b", mine)):
        thief = Hand(world, server, path=path, headers=headers)
        thief.say(hello(token, epoch=2))
        assert token_of(thief) != token
    assert first.end is None
    again = Hand(world, server, headers=mine)
    again.say(hello(token, epoch=2))
    assert token_of(again) == token
    server.close()


def test_session_moves_to_the_newer_connection(world: World) -> None:
    """A connection that is still open, unknown to its client, is closed with 4409 and ignored."""
    server = world.server(delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    old = Hand(world, server)
    old.say(hello(), Seq(1), "one")
    token = token_of(old)
    new = Hand(world, server)
    new.say(hello(token, epoch=2, next=3))
    assert [type(one) for one in new.controls()] == [Welcome, Seq, Ack]
    assert old.end is not None
    assert old.end.code == 4409
    new.say(Seq(2), "two")
    assert values.values == tagged("/a", "one", "two")
    server.close()


def test_session_ignores_what_an_older_connection_still_sends(world: World) -> None:
    """Nothing that arrives on a connection counts once the session has moved on."""
    server = world.server(delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    old, new = Hand(world, server), Hand(world, server)
    old.say(hello(), Seq(1), "one")
    token = token_of(old)
    session = member_of(server).session
    new.say(hello(token, epoch=2, next=2), Seq(2))
    world.on_loop(lambda: session.on_message("stale"))
    world.on_loop(lambda: session.on_message("\0{}"))
    new.say("two")
    assert values.values == tagged("/a", "one", "two")
    server.close()


def test_session_stays_with_the_newer_connection(world: World) -> None:
    """A connection that was overtaken is refused, and does the session no harm."""
    server = world.server(delivery=ACKNOWLEDGED)
    first = Hand(world, server)
    first.say(hello(epoch=7))
    late = Hand(world, server)
    late.say(hello(token_of(first), epoch=7))
    assert late.end is not None
    assert late.end.code == 4409
    assert first.end is None
    server.close()


def test_session_that_does_not_fit_is_lost_whole(world: World) -> None:
    """A client that cannot send what is missing gets a new session, and the old one ends."""
    server = world.server(delivery=ACKNOWLEDGED)
    joined, losses = world.sim.record(server.connections), world.sim.record(server.losses)
    first = Hand(world, server)
    first.say(hello(), Seq(1))
    server.on_next(tagged("/a", "sent")[0])
    world.settle()
    first.drop()
    again = Hand(world, server)
    again.say(hello(token_of(first), epoch=2, first=5, next=6))
    welcome = again.controls()[0]
    assert isinstance(welcome, Welcome)
    assert not welcome.resumed
    assert len(joined.values) == 2
    assert losses.values == [Loss("/a", LossReason.SESSION_LOST, 1, 1, 1)]
    server.close()


def test_session_that_does_not_fit_is_lost_on_a_live_connection_too(world: World) -> None:
    """The older connection is closed with the session that it had."""
    server = world.server(delivery=ACKNOWLEDGED)
    first, again = Hand(world, server), Hand(world, server)
    first.say(hello(), Seq(1))
    again.say(hello(token_of(first), epoch=2, received=5))
    assert first.end is not None
    assert first.end.code == 1000
    assert len(server.peers) == 1
    server.close()


def test_session_has_room_for_one_when_nobody_is_away(world: World) -> None:
    """Sessions are bounded by connections: who is connected is not sent away for another."""
    server = world.server(delivery=ACKNOWLEDGED, limits=Limits(max_connections=2))
    first, second = Hand(world, server), Hand(world, server)
    first.say(hello())
    second.say(hello())
    assert len(server.peers) == 2
    server.close()


# ── violations ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "messages",
    [
        ["data"],
        [Seq(1)],
        ["\0nonsense"],
        [hello(), "data"],
        [hello(), hello()],
        [hello(), Seq(1), Seq(1)],
        [hello(), Ack(1)],
        [hello(), Away(1.0)],
    ],
)
def test_session_ends_with_a_violation(world: World, messages: list[Any]) -> None:
    """What the protocol does not allow is answered with 4400, and ends the session."""
    server = world.server(delivery=ACKNOWLEDGED)
    errors = world.sim.record(server.errors)
    hand = Hand(world, server)
    hand.say(*messages)
    assert hand.end is not None
    assert hand.end.code == 4400
    assert server.peers == ()
    assert [type(error.exception) for error in errors.values] == [ProtocolViolationError]
    server.close()


def test_session_passes_over_what_it_does_not_know(world: World) -> None:
    """A control message of a later revision does no harm."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello(), '\0{"type":"later"}')
    assert hand.end is None
    server.close()


def test_session_needs_a_greeting_in_time(world: World) -> None:
    """A client that says nothing is closed with 4408."""
    server = world.server(delivery=ACKNOWLEDGED, timeouts=Timeouts(open=3.0))
    hand = Hand(world, server)
    world.settle(3)
    assert hand.end is not None
    assert hand.end.code == 4408
    server.close()


def test_session_needs_no_greeting_while_there_is_no_limit(world: World) -> None:
    """Without a limit on opening a client may take its time; closing sends it away."""
    server = world.server(delivery=ACKNOWLEDGED, timeouts=Timeouts(open=None))
    hand = Hand(world, server)
    world.settle(1000)
    assert hand.end is None
    server.close()
    assert hand.end is not None
    assert hand.end.code == 1001


@pytest.mark.parametrize(
    ("code", "error"), [(4409, SessionTakenError), (4400, ProtocolViolationError)]
)
def test_client_stops_when_the_server_says_so(
    world: World, code: int, error: type[Exception]
) -> None:
    """A session that somebody else has, or a protocol that is not understood, end a client."""
    server, client = pair(world)
    values = world.sim.record(client)
    server.peers[0].close(code, "because")
    world.settle(1)
    assert isinstance(values.error.exception, error)  # type: ignore[union-attr]  # it failed
    assert client.close()
    server.close()


def test_violation_is_told_once(world: World) -> None:
    """What comes after a violation, on a connection that is being closed, changes nothing."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    session = member_of(server).session
    world.sim.net.hold()
    world.on_loop(lambda: session.finish(4001, "first"))
    world.on_loop(lambda: session.finish(4002, "second"))
    world.sim.net.release()
    world.settle()
    assert hand.end is not None
    assert hand.end.code == 4001
    server.close()


def test_client_stops_when_the_server_breaks_the_protocol(world: World) -> None:
    """A server that says what it may not say ends the client, with an error that tells."""
    server, client = pair(world)
    values = world.sim.record(client)
    world.on_loop(lambda: member_of(server).session.say(hello()))
    world.settle(1)
    assert isinstance(values.error.exception, ProtocolViolationError)  # type: ignore[union-attr]  # it failed
    client.close()
    server.close()


# ── peers that cannot ─────────────────────────────────────────────────────────────────────


def test_plain_client_gets_raw_messages(world: World) -> None:
    """On a server with sessions, a client that asks for none gets and sends plain messages."""
    server, client = pair(world)
    plain = Hand(world, server, subprotocols=())
    values, got = world.sim.record(server), world.sim.record(client)
    server.on_next(tagged("/a", "to all")[0])
    plain.say("raw")
    assert plain.heard == ["to all"]
    assert values.values == tagged("/a", "raw")
    assert got.values == ["to all"]
    plain.drop()
    client.close()
    server.close()


def test_client_refuses_a_server_that_cannot(world: World) -> None:
    """What was asked for cannot be had: the client ends, and says what to do."""
    server = world.server()
    client = world.client(server, delivery=ACKNOWLEDGED)
    values = world.sim.record(client)
    world.settle(1)
    assert isinstance(values.error.exception, DeliveryUnsupportedError)  # type: ignore[union-attr]  # it failed
    assert "fallback" in str(values.error)
    client.close()
    server.close()


def test_client_falls_back_when_it_may(world: World) -> None:
    """With the fallback that was chosen, a plain server will do; a session is lost for it."""
    delivery = Delivery.acknowledged(fallback="at_most_once")
    server, client = pair(world, delivery=delivery)
    port, losses = server.port, world.sim.record(client.losses)
    world.sim.net.hold()
    client.on_next("lost")
    world.settle(0.01)
    world.sim.net.crash(port)
    world.sim.net.release()
    server.close(0)
    server = world.server(port)
    values = world.sim.record(server)
    world.settle(2)
    client.on_next("raw")
    world.settle()
    assert client.connected
    assert losses.values == [Loss("/a", LossReason.SESSION_LOST, 1, 1, 1)]
    assert values.values == tagged("/a", "raw")
    world.sim.net.sever()
    world.settle(2)
    assert client.connected
    client.close()
    server.close()


def test_server_refuses_clients_that_cannot_when_asked(world: World) -> None:
    """A server for sessions only answers others with 400."""
    server = world.server(delivery=Delivery.acknowledged(fallback="error"))
    with pytest.raises(HandshakeRejectedError, match=r"400: This server needs .* rxplus\.v1"):
        Hand(world, server, subprotocols=("chat",))
    client = world.connected(server, delivery=ACKNOWLEDGED)
    client.close()
    server.close()


def test_session_goes_with_the_applications_subprotocols(world: World) -> None:
    """Subprotocols of the application are agreed on as ever, and seen as ever."""
    server = world.server(delivery=ACKNOWLEDGED, subprotocols=["v2", "v1"])
    joined = world.sim.record(server.connections)
    client = world.connected(server, delivery=ACKNOWLEDGED, subprotocols=["v1", "v0"])
    plain = Hand(world, server, subprotocols=("v1",))
    bare = Hand(world, server, subprotocols=("rxplus.v1+v2",))
    bare.say(hello())
    assert [peer.subprotocol for peer in joined.values] == ["v1", "v1", "v2"]
    plain.drop()
    client.close()
    server.close()


def test_session_without_an_applications_subprotocol_shows_none(world: World) -> None:
    """The session protocol is not the application's business."""
    server, client = pair(world)
    assert server.peers[0].subprotocol is None
    client.close()
    server.close()


# ── acknowledging ─────────────────────────────────────────────────────────────────────────


def test_ack_comes_after_subscribers_have_returned(world: World) -> None:
    """With a scheduler a message is acknowledged when it has been dealt with, not before."""
    server = world.server(
        delivery=Delivery.acknowledged(ack_messages=2, ack_delay=1.0), scheduler=world.sim.scheduler
    )
    values = world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    hand.controls()
    hand.say("one", "two", Sync())
    acked = [one.number for one in hand.controls() if isinstance(one, Ack)]
    assert values.values == tagged("/a", "one", "two")
    assert acked[-1] == 2
    assert acked == sorted(acked)
    server.close()


def test_ack_comes_late_for_a_few(world: World) -> None:
    """Few messages are acknowledged together, after a while."""
    server = world.server(delivery=Delivery.acknowledged(ack_delay=1.0))
    world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), "one", "two")
    assert not any(isinstance(one, Ack) for one in hand.controls())
    world.settle(1)
    assert hand.controls() == [Ack(2)]
    world.settle(10)
    assert hand.controls() == []
    server.close()


def test_ack_waits_for_somebody_to_subscribe(world: World) -> None:
    """What comes before the first subscriber waits for it, and is not acknowledged."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), "one", "two")
    hand.drop()
    again = Hand(world, server)
    token = token_of(hand)
    again.say(hello(token, epoch=2, next=4), Seq(3), "three")
    world.settle(1)
    assert not any(isinstance(one, Ack) for one in again.controls())
    values = world.sim.record(server)
    world.settle(1)
    assert values.values == tagged("/a", "one", "two", "three")
    assert again.controls() == [Ack(3)]
    server.close()


def test_session_that_nobody_hears_leaves_nothing(world: World) -> None:
    """A server that only sends remembers no connection that has ended."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    token = token_of(hand)
    for epoch in (2, 3):
        Hand(world, server).say(hello(token, epoch=epoch))
    gc.collect()
    sessions = [one for one in gc.get_objects() if type(one) is ServerSession]
    assert sessions == [member_of(server).session]
    server.close()


def test_ack_does_not_wait_for_ever_for_a_subscriber(world: World) -> None:
    """With nobody to subscribe, messages are taken for unwanted after a while."""
    server, client = pair(world)
    for number in range(2000):
        client.on_next(str(number))
    world.settle(1)
    assert client._supervisor.continuity is not None
    assert client._supervisor.continuity.idle
    client.close()
    server.close()


def test_subscriber_that_raises_does_not_get_the_message_again(world: World) -> None:
    """It is reported; the message counts as dealt with."""
    server, client = pair(world)
    seen: list[str] = []

    def picky(value: Any) -> None:
        seen.append(value.data)
        raise ValueError("no such thing")

    server.subscribe(picky)
    errors = world.sim.record(server.errors)
    client.on_next("bad")
    world.settle(1)
    world.sim.net.sever()
    world.settle(1)
    assert seen == ["bad"]
    assert len([error for error in errors.values if "picky" in error.note]) == 1
    client.close()
    server.close()


@pytest.mark.parametrize("failures", [1, 5])
def test_subscriber_that_raises_gets_the_message_again_when_asked(
    world: World, failures: int
) -> None:
    """So many times, before the next message, and each failure is reported."""
    server = world.server(delivery=Delivery.acknowledged(redeliver=2))
    client = world.connected(server, delivery=ACKNOWLEDGED)
    left, seen = [failures], []

    def picky(value: Any) -> None:
        seen.append(value.data)
        if value.data == "bad" and left[0]:
            left[0] -= 1
            raise ValueError("not yet")

    server.subscribe(picky)
    errors = world.sim.record(server.errors)
    client.on_next("bad")
    client.on_next("good")
    world.settle()
    tries = min(failures + 1, 3)
    assert seen == ["bad"] * tries + ["good"]
    assert len(errors.values) == min(failures, 3)
    client.close()
    server.close()


def test_message_that_cannot_be_unpackaged_is_acknowledged(world: World) -> None:
    """It would not get better by being sent again."""
    server = world.server(delivery=ACKNOWLEDGED)
    errors = world.sim.record(server.errors)
    world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1), b"bytes", Sync())
    assert hand.controls()[-1] == Ack(1)
    assert len(errors.values) == 1
    server.close()


def test_withdrawn_messages_are_reported(world: World) -> None:
    """A peer may give messages up: those that wait for them hear which."""
    server = world.server(delivery=ACKNOWLEDGED)
    losses = world.sim.record(server.losses)
    world.sim.record(server)
    hand = Hand(world, server)
    hand.say(hello(), Seq(4), "four")
    world.settle(1)
    assert losses.values == [Loss("/a", LossReason.WITHDRAWN, 3, 1, 3)]
    assert hand.controls()[-1] == Ack(4)
    server.close()


# ── limits ────────────────────────────────────────────────────────────────────────────────


def test_sender_waits_while_too_much_is_unacknowledged(world: World) -> None:
    """What is not acknowledged is bounded; what waits then fills the buffer."""
    delivery = Delivery.acknowledged(max_messages=1)
    server = world.server(
        delivery=Delivery.acknowledged(ack_delay=0.5), scheduler=world.sim.scheduler
    )
    values = world.sim.record(server)
    client = world.connected(
        server, delivery=delivery, buffer=Buffer(max_messages=2, overflow=Overflow.error())
    )
    accepted = []
    with pytest.raises(BufferFullError):
        for number in range(10):
            client.on_next(str(number))
            accepted.append(str(number))
            world.settle(0.01)
    world.settle(10)
    assert values.values == tagged("/a", *accepted)
    assert len(accepted) < 10
    client.close()
    server.close()


# ── closing ───────────────────────────────────────────────────────────────────────────────


def test_close_waits_for_acknowledgements(world: World) -> None:
    """A graceful close ends when everything has been dealt with, and asks for that at once."""
    server = world.server(delivery=Delivery.acknowledged(ack_delay=60.0))
    values = world.sim.record(server)
    client = world.connected(server, delivery=ACKNOWLEDGED)
    losses = world.sim.record(client.losses)
    for number in range(10):
        client.on_next(str(number))
    started = world.sim.now
    assert client.close()
    assert world.sim.now - started < 0.1
    assert len(values.values) == 10
    assert losses.values == []
    assert server.peers == ()
    server.close()


def test_close_reports_what_was_not_acknowledged(world: World) -> None:
    """When time is over, what may not have arrived is told by number."""
    server, client = pair(world)
    losses = world.sim.record(client.losses)
    world.sim.net.hold()
    client.on_next("one")
    client.on_next("two")
    world.settle(0.01)
    client.close(0.5)
    assert losses.values == [Loss("/a", LossReason.UNACKNOWLEDGED, 2, 1, 2)]
    world.sim.net.release()
    server.close()


def test_server_close_waits_for_acknowledgements_and_reports(world: World) -> None:
    """The same for a server: its peers' messages are acknowledged, or told by number."""
    server, client = pair(world)
    got, losses = world.sim.record(client), world.sim.record(server.losses)
    server.on_next(tagged("/a", "one")[0])
    assert server.close()
    assert got.values == ["one"]
    assert losses.values == []
    client.close()


def test_server_close_reports_sessions_that_are_away(world: World) -> None:
    """Nobody comes back to a server that is closed."""
    server = world.server(delivery=ACKNOWLEDGED)
    losses = world.sim.record(server.losses)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    server.on_next(tagged("/a", "one")[0])
    world.settle()
    hand.drop()
    server.on_next(tagged("/a", "two")[0])
    world.settle()
    server.close()
    assert losses.values == [
        Loss("/a", LossReason.UNACKNOWLEDGED, 1, 1, 1),
        Loss("/a", LossReason.UNACKNOWLEDGED, 1),
    ]


def test_peer_close_ends_its_session(world: World) -> None:
    """Whatever the code: the client finds a new session when it comes back."""
    server, client = pair(world)
    states = world.sim.record(client.connection_state)
    server.peers[0].close(4001, "out")
    world.settle(2)
    assert [one.resumed for one in states.values if one == "connected"] == [None, False]
    client.close()
    server.close()


def test_peer_close_ends_the_session_of_one_who_is_away(world: World) -> None:
    """There is no connection to close, and what it did not get is reported."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    hand.drop()
    server.peers[0].close()
    world.settle()
    assert server.peers == ()
    server.close()


def test_server_close_with_1000_ends_the_session_at_the_client(world: World) -> None:
    """A server that is done with a client ends the session for both."""
    server, client = pair(world)
    states = world.sim.record(client.connection_state)
    server.peers[0].close(1000)
    world.settle(2)
    assert [one.resumed for one in states.values if one == "connected"] == [None, None]
    client.close()
    server.close()


def test_restart_is_announced_and_spread(world: World) -> None:
    """Clients come back when the server says, each at another time, and with their sessions."""
    server = world.server(delivery=ACKNOWLEDGED)
    port = server.port
    clients = [world.connected(server, delivery=ACKNOWLEDGED) for _ in range(4)]
    states = [world.sim.record(client.connection_state) for client in clients]
    plain = world.connected(server)
    server.announce_restart(10.0, spread=20.0)
    world.settle()
    server.close()
    server = world.server(port, delivery=ACKNOWLEDGED)
    world.settle(9.5)
    assert not any(client.connected for client in clients)
    world.settle(30)
    assert all(client.connected for client in clients)
    assert len({round(each.times[-1], 3) for each in states}) == len(clients)
    for client in (*clients, plain):
        client.close()
    server.close()


def test_restart_is_not_announced_to_those_who_are_away(world: World) -> None:
    """They would not hear of it, and come back as they do."""
    server = world.server(delivery=ACKNOWLEDGED)
    hand = Hand(world, server)
    hand.say(hello())
    hand.drop()
    server.announce_restart(1.0)
    world.settle()
    server.close()


@pytest.mark.parametrize("after", [-1.0, float("nan"), float("inf")])
def test_restart_is_refused_at_an_impossible_time(world: World, after: float) -> None:
    """A time that cannot be is named."""
    server = world.server()
    with pytest.raises(ValueError, match="after"):
        server.announce_restart(after)
    server.close()


# ── groups ────────────────────────────────────────────────────────────────────────────────


def test_group_has_a_session_per_path(world: World) -> None:
    """Each path of a group is delivered as was asked for, over any breaks."""
    server = world.server(delivery=ACKNOWLEDGED)
    values = world.sim.record(server)
    group = world.group(server, delivery=ACKNOWLEDGED, retry=SOON)
    got = world.sim.record(group)
    sent = []
    for number in range(10):
        for path in ("/a", "/b"):
            group.on_next(tagged(path, (number and str(number)) or "0")[0])
            sent.append(tagged(path, str(number))[0])
        world.settle(0.002)
        world.sim.net.sever()
        world.settle(0.3)
        server.on_next(tagged("/a", f"down {number}")[0])
    world.settle(5)
    for path in ("/a", "/b"):
        assert [one for one in values.values if one.tag == path] == [
            one for one in sent if one.tag == path
        ]
    assert got.values == tagged("/a", *(f"down {n}" for n in range(10)))
    group.close()
    server.close()


def test_group_acknowledges_after_its_own_subscribers(world: World) -> None:
    """Not when its clients have passed the message on."""
    server = world.server(delivery=ACKNOWLEDGED)
    group = world.group(server, delivery=ACKNOWLEDGED, scheduler=world.sim.scheduler)
    client = group.open_path("/a")
    assert client.wait_connected(5)
    server.on_next(tagged("/a", "early")[0])
    world.settle(1)
    member = member_of(server)
    assert not member.conversation.outgoing.idle
    values = world.sim.record(group)
    world.settle(1)
    assert values.values == tagged("/a", "early")
    assert member.conversation.outgoing.idle
    group.close()
    server.close()
