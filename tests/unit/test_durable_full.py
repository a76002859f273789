"""A disk that is full where messages arrive: they come again until there is room."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from machine import PORT, SOON, Machine, close, send
from sessions import Hand, hello
from world import World, tagged

from rxplus import (
    ConnectionState,
    Delivery,
    Loss,
    LossReason,
    StoreError,
    StoreFullError,
    TaggedData,
)
from rxplus._core.protocol.control import Ack, Seq, Sync, Welcome
from rxplus._engine.server_session import SessionMember
from rxplus.stores import SQLiteStore
from rxplus.stores._tables import RESERVE


def full() -> StoreFullError:
    """Make what a store says that is full."""
    return StoreFullError("no room")


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("side", ["near", "far"])
def test_messages_come_again_until_there_is_room(
    world: World, near: Machine, far: Machine, side: str, scheduled: bool
) -> None:
    """Nothing is lost, nothing is done twice, and the order is kept; the component goes on."""
    if scheduled:
        near.parts["scheduler"] = far.parts["scheduler"] = world.sim.scheduler
    far.serve()
    assert near.connect().wait_connected(5)
    receiver, sender = (near, far) if side == "near" else (far, near)
    states = world.sim.record(near.part.connection_state)
    send(sender, "one")
    world.settle(1)
    receiver.store.failure = full()
    send(sender, "two", "three", "four")
    world.settle(5)
    assert sender.waiting == 3
    assert receiver.received == ["one"]
    assert any("cannot be kept" in one.note for one in receiver.errors)
    assert any(isinstance(one.__cause__ or one.args[0], StoreFullError) for one in receiver.errors)
    closed = [one for one in states.values if one.state is ConnectionState.DISCONNECTED]
    assert {(one.code, one.reason) for one in closed} == {(1013, "the store is full")}
    receiver.store.failure = None
    send(sender, "five")
    world.settle(60)
    assert receiver.received == ["one", "two", "three", "four", "five"]
    assert [one.resumed for one in states.values if one.state is ConnectionState.CONNECTED][1:] == [
        True
    ]
    assert near.losses == far.losses == []
    assert sender.waiting == 0
    close(near, far)


@pytest.mark.parametrize("scheduled", [False, True])
def test_message_that_could_not_be_kept_comes_before_those_behind_it(
    world: World, far: Machine, scheduled: bool
) -> None:
    """There is room again for the next ones at once: they wait for it all the same."""
    if scheduled:
        far.parts["scheduler"] = world.sim.scheduler
    far.serve()
    hand = Hand(world, PORT)
    hand.say(hello(), Seq(1), "one")
    (welcome, *_) = hand.controls()
    assert isinstance(welcome, Welcome)
    save, fail = far.store.save, [True, False, False, False]

    def fail_once(key: str, value: bytes | None) -> None:
        if fail.pop(0):
            raise full()
        save(key, value)

    far.store.save = fail_once  # type: ignore[method-assign]  # a fault
    hand.say("two", "three", Sync())
    assert hand.controls()[-1:] in ([], [Ack(1)])
    assert hand.end is not None
    assert (hand.end.code, hand.end.reason) == (1013, "the store is full")
    assert far.received == ["one"]
    del far.store.save
    hand = Hand(world, PORT)
    hand.say(hello(welcome.session, epoch=2, first=1, next=4))
    assert hand.controls()[0] == Welcome(welcome.session, True, 1, 60.0)
    hand.say(Seq(2), "two", "three", Sync())
    assert hand.controls()[-1] == Ack(3)
    assert far.received == ["one", "two", "three"]
    hand.drop()
    close(far)


def test_connection_that_came_meanwhile_begins_anew(world: World, far: Machine) -> None:
    """It was told that a message had arrived which then could not be kept."""
    far.parts["scheduler"] = world.sim.scheduler
    far.serve()
    hand = Hand(world, PORT)
    hand.say(hello())
    (welcome, *_) = hand.controls()
    assert isinstance(welcome, Welcome)
    member: Any = far.part.peers[0]._member
    hand.say(Seq(1))
    hand.drop()
    other = Hand(world, PORT)
    other.say(hello(welcome.session, epoch=2, next=2))
    receipt = member.conversation.incoming
    receipt.received = 1  # it has arrived, and its subscribers are about to be done with it
    far.store.failure = full()
    world.on_loop(lambda: member.archive.settle(receipt, 1, 1, lambda: None))
    world.settle()
    far.store.failure = None
    assert other.end is not None
    assert other.end.code == 1013
    other = Hand(world, PORT)
    other.say(hello(welcome.session, epoch=3, next=2))
    assert other.controls()[0] == Welcome(welcome.session, True, 0, 60.0)
    other.drop()
    close(far)


def test_failure_without_a_connection_is_reported(world: World, far: Machine) -> None:
    """There is nothing to close; the message comes again on the next connection."""
    far.serve()
    hand = Hand(world, PORT)
    hand.say(hello(), Seq(1))
    member: Any = far.part.peers[0]._member
    hand.drop()
    receipt = member.conversation.incoming
    receipt.received = 1
    far.store.failure = full()
    world.on_loop(lambda: member.archive.settle(receipt, 1, 1, lambda: None))
    far.store.failure = None
    world.settle()
    assert receipt.received == 0
    assert "cannot be kept" in far.errors[-1].note
    close(far)


def test_newcomer_is_not_let_in_while_the_store_is_full(world: World, far: Machine) -> None:
    """Nobody hears of a peer whose session cannot be kept."""
    server = far.serve()
    peers = world.sim.record(server.connections)
    far.store.failure = full()
    hand = Hand(world, PORT)
    hand.say(hello())
    assert hand.heard == []
    assert hand.end is not None
    assert hand.end.code == 1013
    assert (server.peers, peers.values) == ((), [])
    far.store.failure = None
    assert far.store.streams() == []
    hand = Hand(world, PORT)
    hand.say(hello())
    assert len(server.peers) == 1
    hand.drop()
    close(far)


@pytest.mark.parametrize("known", [False, True])
def test_client_says_nothing_that_it_cannot_keep(world: World, near: Machine, known: bool) -> None:
    """Neither hello nor messages go out before the session is in the store."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect()
    if known:  # it gets full between hello and welcome
        save = near.store.save

        def fail(key: str, value: bytes | None) -> None:
            if b'"token": "' in (value or b""):
                raise full()
            save(key, value)

        near.store.save = fail  # type: ignore[method-assign]  # a fault
        client.on_next("one")
        client.errors.subscribe(lambda _: client.on_next("more"))
    else:
        near.store.failure = full()
    world.settle(5)
    assert not client.connected
    assert server.health().messages_in == 0
    assert "cannot be kept" in near.errors[0].note
    near.store.failure = None
    if known:
        near.store.save = save  # type: ignore[method-assign]  # mended
        world.settle(1)
    assert client.wait_connected(60)
    client.close(0)
    server.close()


def test_lost_session_is_reported_though_the_next_cannot_be_kept(
    world: World, near: Machine
) -> None:
    """A report does not depend on the store."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect(resend_lost=False)
    assert client.wait_connected(5)
    client.on_next("lost")
    world.settle(1)
    world.sim.net.crash(PORT)
    server.close(0)
    save = near.store.save

    def fail(key: str, value: bytes | None) -> None:
        if key.startswith("rxplus in"):
            raise full()
        save(key, value)

    near.store.save = fail  # type: ignore[method-assign]  # a fault
    server = world.server(PORT, delivery="acknowledged")
    world.settle(10)
    assert near.losses == [Loss("/a", LossReason.SESSION_LOST, 1, 1, 1)]
    assert not client.connected
    del near.store.save
    assert client.wait_connected(60)
    assert near.store.load("rxplus in client /a") == b"0"
    client.close()
    server.close()


def test_session_that_cannot_be_removed_expires_at_the_next_start(
    world: World, near: Machine, far: Machine
) -> None:
    """The server goes on; what is left over in the store is a session nobody comes back to."""
    server = far.serve(expiry=5.0)
    assert near.connect().wait_connected(5)
    far.store.failure = full()
    server.peers[0].close()
    near.part.close()
    world.settle(1)
    assert server.peers == ()
    assert server.health().healthy
    assert "stays in the store" in far.errors[-1].note
    far.store.failure = None
    far.kill()
    server = far.serve(expiry=5.0)
    assert len(server.peers) == 1
    world.settle(6)
    assert [name for name in far.store.streams() if name != "seen"] == []
    close(far)


@pytest.mark.parametrize("error", [full(), StoreError("broken")])
def test_group_with_a_scheduler_acknowledges_what_is_kept(
    world: World, near: Machine, far: Machine, error: StoreError
) -> None:
    """Its subscribers are done with a message, which does not come again, and is not lost."""
    far.serve()
    scheduler = world.sim.scheduler
    group = world.group(PORT, delivery=near.delivery(), retry=SOON, scheduler=scheduler)
    values, errors = world.sim.record(group), world.sim.record(group.errors)
    assert group.open_path("/a").wait_connected(10)
    save = near.store.save

    def fail(key: str, value: bytes | None) -> None:
        if key.startswith("rxplus in"):
            raise error
        save(key, value)

    near.store.save = fail  # type: ignore[method-assign]  # a fault
    send(far, "one", "two")
    world.settle(5)
    assert values.values == tagged("/a", "one", "two")
    assert far.waiting == 2
    del near.store.save
    if isinstance(error, StoreFullError):
        assert any("cannot be kept" in one.note for one in errors.values)
        world.settle(60)
        assert near.store.load("rxplus in client /a") == b"2"
        assert far.waiting == 0
        send(far, "three")
        world.settle(1)
        assert values.values == tagged("/a", "one", "two", "three")
    else:
        assert "its store failed" in str(errors.values)
    group.close()
    close(far)


@pytest.mark.parametrize("message", ["undecodable", "withdrawn"])
def test_what_is_passed_over_is_kept_as_well(world: World, far: Machine, message: str) -> None:
    """A message that cannot be given to subscribers has a number like any other."""
    far.parts["datatype"] = "json"
    far.serve()
    hand = Hand(world, PORT)
    hand.say(hello())
    (welcome, *_) = hand.controls()
    assert isinstance(welcome, Welcome)
    key = f"rxplus in server {welcome.session}"
    said: tuple[Any, ...] = (Seq(1), "{") if message == "undecodable" else (Seq(2),)
    far.store.failure = full()
    hand.say(*said)
    assert hand.end is not None
    assert hand.end.code == 1013
    assert far.losses == []
    far.store.failure = None
    hand = Hand(world, PORT)
    hand.say(hello(welcome.session, epoch=2, next=2))
    assert hand.controls()[0] == Welcome(welcome.session, True, 0, 60.0)
    hand.say(*said)
    world.settle(1)
    assert far.store.load(key) == b"1"
    assert hand.controls() == [Ack(1)]
    lost = [Loss("/a", LossReason.WITHDRAWN, 1, 1, 1)] if message == "withdrawn" else []
    assert far.losses == lost
    hand.drop()
    close(far)


@pytest.mark.parametrize("more", [1, 1_000])
def test_what_was_held_for_a_first_subscriber_goes_in_order(
    world: World, far: Machine, more: int
) -> None:
    """What an earlier connection has left comes before what this one brings."""
    server = world.server(PORT, delivery=far.delivery())
    hand = Hand(world, PORT)
    hand.say(hello(), Seq(1), "a")
    (welcome, *_) = hand.controls()
    assert isinstance(welcome, Welcome)
    hand.drop()
    hand = Hand(world, PORT)
    hand.say(hello(welcome.session, epoch=2, next=2), Seq(4), *["b"] * more)
    values, losses = world.sim.record(server), world.sim.record(server.losses)
    world.settle(1)
    assert far.store.load(f"rxplus in server {welcome.session}") == b"%d" % (3 + more)
    if more == 1:  # with many, it was given before anybody had subscribed
        assert values.values == tagged("/a", "a", "b")
        assert losses.values == [Loss("/a", LossReason.WITHDRAWN, 2, 2, 3)]
    hand.drop()
    server.close()


def test_member_of_a_session_is_what_the_archive_knows(world: World, far: Machine) -> None:
    """A message of a session that is over is given, and its number kept nowhere."""
    far.serve()
    hand = Hand(world, PORT)
    hand.say(hello())
    member = far.part.peers[0]._member
    assert isinstance(member, SessionMember)
    assert member.archive is not None
    archive, receipt = member.archive, member.conversation.incoming
    far.part.peers[0].close()
    world.settle()
    given: list[int] = []
    for number in (2, 1, 1):
        give = partial(given.append, number)
        world.on_loop(partial(archive.settle, receipt, number, number, give))
    world.on_loop(lambda: archive.keep(receipt, 2))
    world.on_loop(lambda: archive.keep(receipt, 1))
    assert (given, receipt.processed) == ([1], 2)
    assert [one for one in far.store.streams() if one != "seen"] == []
    assert far.store.load(f"rxplus in server {member.token}") is None
    close(far)


def test_message_whose_subscriber_finds_the_disk_full_comes_again(
    world: World, near: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is done or nothing, also while there is room for the number of the message alone."""
    with SQLiteStore(tmp_path / "far.db") as store:
        server = world.server(PORT, delivery=Delivery.durable(store))

        def note(value: TaggedData) -> None:
            store.append("seen", [value.data])

        server.subscribe(note)
        assert near.connect().wait_connected(5)
        room = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room._replace(free=RESERVE))
        send(near, "one", "two")
        world.settle(5)
        assert near.waiting == 2
        monkeypatch.undo()
        world.settle(60)
        assert [one.payload for one in store.pending("seen")] == ["one", "two"]
        assert near.waiting == 0
        near.part.close()
        server.close()


def test_client_whose_session_cannot_be_kept_sends_nothing_as_it_ends(
    world: World, near: Machine
) -> None:
    """A store that is broken, and not just full, ends it between hello and its first message."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect()
    save = near.store.save

    def fail(key: str, value: bytes | None) -> None:
        if b'"token": "' in (value or b""):
            near.store.save = save  # type: ignore[method-assign]  # once
            client.on_next("undone")  # but somebody is told that there is something to send
            raise StoreError("broken")
        save(key, value)

    near.store.save = fail  # type: ignore[method-assign]  # a fault
    client.on_next("one")
    world.settle(5)
    assert client.health().state == "closed"
    assert client.health().messages_out == 0
    assert near.waiting == 1
    server.close()
