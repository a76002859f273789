"""Durable delivery: processes that are killed and started again, with a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from machine import PORT, SOON, Machine, close
from sessions import Hand, hello
from world import World, tagged

from rxplus import (
    ComponentClosedError,
    Delivery,
    Loss,
    LossReason,
    RxException,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    WSStr,
)
from rxplus._core.protocol.control import Ack, Seq, Welcome, encode
from rxplus._engine.server_session import SessionMember
from rxplus.transport import CloseInfo, Payload

# ── what survives ─────────────────────────────────────────────────────────────────────────


def test_durable_client_sends_after_a_restart_what_it_had_not(
    world: World, near: Machine, far: Machine
) -> None:
    """What on_next has taken goes out first, in order, when the process runs again."""
    client = near.connect()
    client.on_next("one")
    client.on_next("two")
    near.kill()
    far.serve()
    client = near.connect()
    client.on_next("three")
    world.settle(5)
    assert far.received == ["one", "two", "three"]
    assert client.health().queued_messages == 0
    close(near, far)


def test_durable_client_goes_on_with_its_session_after_a_restart(
    world: World, near: Machine, far: Machine
) -> None:
    """What had arrived before the kill does not arrive again, acknowledged or not."""
    server = far.serve(ack_delay=60.0)
    client = near.connect()
    assert client.wait_connected(5)
    peer = server.peers[0]
    client.on_next("one")
    world.settle()
    near.kill()
    client = near.connect()
    states = world.sim.record(client.connection_state)
    client.on_next("two")
    world.settle(5)
    assert far.received == ["one", "two"]
    assert [one.resumed for one in states.values if one == "connected"] == [True]
    assert server.peers == (peer,)
    close(near, far)


def test_durable_client_that_is_closed_keeps_its_session(
    world: World, near: Machine, far: Machine
) -> None:
    """A graceful end is no end of the session: what is sent to it meanwhile waits."""
    server = far.serve()
    client = near.connect()
    assert client.wait_connected(5)
    client.close()
    world.settle()
    server.peers[0].on_next("for you")
    near.connect()
    world.settle(5)
    assert near.received == ["for you"]
    assert near.losses == far.losses == []
    close(near, far)


def test_durable_server_knows_after_a_restart_what_it_has_dealt_with(
    world: World, near: Machine, far: Machine
) -> None:
    """Sessions, what arrived in them and what is to be sent in them survive a server."""
    server = far.serve()
    client = near.connect()
    assert client.wait_connected(5)
    states = world.sim.record(client.connection_state)
    for number in range(5):
        client.on_next(f"up {number}")
    world.sim.net.hold()
    world.settle(0.01)
    server.on_next(tagged("/a", "down 0")[0])
    server.peers[0].on_next("down 1")
    world.sim.net.release()
    world.sim.run_until(lambda: len(far.received) >= 3)
    far.kill()
    server = far.serve()
    assert [(peer.path, peer.connected) for peer in server.peers] == [("/a", False)]
    server.on_next(tagged("/a", "down 2")[0])
    client.on_next("up 5")
    world.settle(5)
    assert far.received == [f"up {n}" for n in range(6)]
    assert near.received == [f"down {n}" for n in range(3)]
    assert [one.resumed for one in states.values if one == "connected"] == [None, True]
    assert near.losses == far.losses == []
    close(near, far)


def test_durable_sides_survive_being_killed_again_and_again(
    world: World, near: Machine, far: Machine
) -> None:
    """Whichever is killed, at whatever moment: nothing lost, nothing twice, nothing else."""
    far.serve(ack_messages=2)
    near.connect(ack_messages=2)
    near.part.wait_connected(5)
    up, down = [], []
    for number in range(60):
        up.append(f"up {number}")
        near.part.on_next(up[-1])
        down.append(f"down {number}")
        far.part.on_next(tagged("/a", down[-1])[0])
        world.settle(0.0004 * (number % 7))
        if number % 3 == 0:
            near.kill()
            near.connect(ack_messages=2)
        if number % 4 == 0:
            far.kill()
            far.serve(ack_messages=2)
        world.settle(0.1 * (number % 5))
    world.settle(10)
    assert far.received == up
    assert near.received == down
    assert near.losses == far.losses == []
    close(near, far)


def test_durable_client_sends_again_what_a_server_forgot(world: World, near: Machine) -> None:
    """A server without a store forgets; rather twice than not at all, unless told otherwise."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect()
    assert client.wait_connected(5)
    client.on_next("sent")  # nobody has subscribed, so it is not acknowledged
    world.settle()
    world.sim.net.crash(PORT)
    server.close(0)
    server = world.server(PORT, delivery="acknowledged")
    values = world.sim.record(server)
    client.on_next("next")
    world.settle(5)
    assert values.values == tagged("/a", "sent", "next")
    close(near)
    server.close()


def test_durable_client_reports_what_a_server_forgot_when_asked(
    world: World, near: Machine
) -> None:
    """With `resend_lost=False` what may have arrived is reported, and goes from the store."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect(resend_lost=False)
    assert client.wait_connected(5)
    client.on_next("sent")
    world.settle()
    world.sim.net.crash(PORT)
    server.close(0)
    server = world.server(PORT, delivery="acknowledged")
    values = world.sim.record(server)
    world.settle(5)
    client.on_next("next")
    world.settle(5)
    assert values.values == tagged("/a", "next")
    assert near.losses == [Loss("/a", LossReason.SESSION_LOST, 1, 1, 1)]
    assert client.health().queued_messages == 0
    close(near)
    server.close()


def test_durable_session_that_expires_leaves_the_store(
    world: World, near: Machine, far: Machine
) -> None:
    """What waited for a client that did not come back is reported, and forgotten."""
    server = far.serve(expiry=5.0)
    client = near.connect()
    assert client.wait_connected(5)
    client.close()
    server.on_next(tagged("/a", "never fetched")[0])
    far.kill()
    far.serve(expiry=5.0)
    world.settle(6)
    assert far.losses == [Loss("/a", LossReason.EXPIRED, 1, 1, 1)]
    assert [name for name in far.store.streams() if name != "seen"] == []
    far.part.on_next(tagged("/a", "nobody")[0])
    world.settle()
    assert far.losses[1:] == [Loss("/a", LossReason.NO_PEER, 1)]
    close(far)


def test_durable_session_that_ends_reports_what_was_never_sent(
    world: World, near: Machine, far: Machine
) -> None:
    """What waited in the store for a session that ends is lost, and said to be."""
    server = far.serve()
    assert near.connect().wait_connected(5)
    near.kill()
    world.settle()
    server.on_next(tagged("/a", "one")[0])
    server.on_next(tagged("/a", "two")[0])
    server.peers[0].close()
    world.settle()
    assert far.losses == [Loss("/a", LossReason.UNACKNOWLEDGED, 2)]
    close(far)


def test_durable_sessions_end_with_a_server_that_cannot_listen(
    world: World, near: Machine, far: Machine
) -> None:
    """They stay in the store, and nothing of them in the process."""
    far.serve()
    assert near.connect().wait_connected(5)
    near.kill()
    far.kill()
    other = world.server(PORT)
    with pytest.raises(RxException, match="cannot listen"):
        far.serve()
    other.close()
    assert len(far.serve().peers) == 1
    close(far)


def test_durable_client_acknowledges_after_a_restart_what_it_had_before(
    world: World, near: Machine, far: Machine
) -> None:
    """Or a sender whose window is full would wait for ever."""
    server = far.serve(max_messages=1)
    client = near.connect(ack_delay=60.0)
    assert client.wait_connected(5)
    server.on_next(tagged("/a", "one")[0])
    server.on_next(tagged("/a", "two")[0])
    world.settle()
    world.sim.net.sever()  # so that it cannot say so as it ends
    near.kill()
    near.connect()
    world.settle(5)
    assert near.received == ["one", "two"]
    close(near, far)


def test_durable_path_has_one_client(world: World, near: Machine) -> None:
    """Two clients that shared a session would take each other's messages."""
    first = near.connect()
    with pytest.raises(ValueError, match="'client /a' is in use in this store"):
        near.connect()
    near.part = first
    close(near)
    near.connect()
    close(near)


def test_durable_server_is_plain_to_plain_clients(world: World, far: Machine) -> None:
    """Who has no session gets what is sent at most once, and nothing is kept for him."""
    server = far.serve()
    plain = Hand(world, server, subprotocols=())
    server.on_next(tagged("/a", "to all")[0])
    server.peers[0].on_next("to one")
    plain.say("raw")
    assert plain.heard == ["to all", "to one"]
    assert far.received == ["raw"]
    plain.drop()
    close(far)


def test_durable_sender_is_bounded(world: World, near: Machine, far: Machine) -> None:
    """Limits on what is on its way hold for a store as well."""
    far.serve(ack_delay=0.01)
    client = near.connect(max_messages=3, max_bytes=100)
    for number in range(20):
        client.on_next(f"{number} {'x' * 40}")
    world.settle(5)
    assert [one.split()[0] for one in far.received] == [str(n) for n in range(20)]
    client.on_next("y" * 600_000)
    client.on_next("z" * 600_000)
    world.settle(5)
    assert [one[0] for one in far.received[20:]] == ["y", "z"]
    assert client.health().queued_bytes == 0
    close(near, far)


@pytest.mark.parametrize("scheduled", [False, True])
def test_durable_group_has_a_session_per_path(
    world: World, near: Machine, far: Machine, scheduled: bool
) -> None:
    """The paths of a group share a store, and are dealt with by the group's subscribers."""
    server = far.serve()
    scheduler = world.sim.scheduler if scheduled else None
    for life in range(2):
        group = world.group(PORT, delivery=near.delivery(), retry=SOON, scheduler=scheduler)
        near.run(group)
        for path in ("/a", "/b"):
            assert group.open_path(path).wait_connected(10)
            group.on_next(tagged(path, f"up {path} {life}")[0])
            server.on_next(tagged(path, f"down {path} {life}")[0])
        world.settle(1)
        near.kill()
    expected = [f"{path} {life}" for life in range(2) for path in ("/a", "/b")]
    assert sorted(far.received) == sorted(f"up {one}" for one in expected)
    assert sorted(near.received) == sorted(f"down {one}" for one in expected)
    close(far)


# ── what a store may do ───────────────────────────────────────────────────────────────────


def test_durable_sender_hears_that_the_store_is_full(world: World, near: Machine) -> None:
    """What cannot be kept is refused in the caller's thread; the client goes on."""
    client = near.connect()
    near.store.failure = StoreFullError("no room")
    with pytest.raises(StoreFullError, match="no room"):
        client.on_next("refused")
    near.store.failure = None
    client.on_next("taken")
    assert client.health().queued_messages == 1
    client.close(0)


def test_durable_transaction_that_is_undone_takes_its_message_along(
    world: World, near: Machine, far: Machine
) -> None:
    """A message that was sent in a transaction which failed was never sent."""
    far.serve()
    client = near.connect()
    assert client.wait_connected(5)
    with pytest.raises(ZeroDivisionError), near.store.transaction():
        client.on_next("undone")
        raise ZeroDivisionError
    world.settle(1)
    client.on_next("done")
    world.settle(1)
    assert far.received == ["done"]
    assert client.health().queued_messages == 0
    close(near, far)


@pytest.mark.parametrize("side", ["near", "far"])
def test_durable_component_ends_when_its_store_fails(
    world: World, near: Machine, far: Machine, side: str
) -> None:
    """A component that cannot keep its promise ends, with an error; what the store has stays."""
    far.serve()
    near.connect()
    assert near.part.wait_connected(5)
    machine, other = (near, far) if side == "near" else (far, near)
    values = world.sim.record(machine.part)
    machine.store.failure = StoreError("broken")
    other.part.on_next("x" if other is near else tagged("/a", "x")[0])
    world.settle(1)
    assert "its store failed" in str(values.error)
    machine.store.failure = None
    assert machine.received == []
    close(near, far)


def test_durable_receiver_does_not_acknowledge_what_its_store_refused(
    world: World, near: Machine, far: Machine
) -> None:
    """It comes again when the process does, and what followed it has to wait for it."""

    class Mending(WSStr):
        def unpackage(self, frame: Payload) -> Any:
            if frame == "two":
                far.store.failure = None
            return super().unpackage(frame)

    far.run(world.server(PORT, delivery=far.delivery(ack_messages=1), datatype=Mending()))
    client = near.connect()
    assert client.wait_connected(5)
    far.store.failure = StoreError("broken")
    with near.store.transaction():
        client.on_next("one")
        client.on_next("two")
    world.settle(0.01)
    assert client.health().queued_messages == 2
    far.kill()
    far.serve()
    world.settle(5)
    assert far.received == ["one", "two"]
    close(near, far)


def test_durable_client_is_let_in_after_its_store_failed_as_it_connected(
    world: World, near: Machine, far: Machine
) -> None:
    """A connection whose number was not kept is none: the next one with that number is no rival."""
    far.serve()
    assert near.connect().wait_connected(5)
    near.store.failure = StoreError("broken")
    world.sim.net.sever()
    world.settle(5)
    near.store.failure = None
    near.kill()
    client = near.connect()
    values = world.sim.record(client)
    world.settle(5)
    assert values.error is None
    assert client.connected
    close(near, far)


def test_durable_component_ends_when_its_store_cannot_be_read(world: World, near: Machine) -> None:
    """Also when that shows as it sends."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect()
    assert client.wait_connected(5)
    values = world.sim.record(client)
    client.on_next("never read")
    near.store.close()
    world.settle(1)
    assert "its store failed" in str(values.error)
    client.close()
    server.close()


def test_durable_client_survives_that_nothing_can_be_removed(
    world: World, near: Machine, far: Machine
) -> None:
    """What was acknowledged and cannot be removed is reported, and not sent again."""
    far.serve()
    client = near.connect()
    assert client.wait_connected(5)
    errors = world.sim.record(client.errors)
    client.on_next("one")
    near.store.failure = StoreError("broken")
    world.settle(1)
    near.store.failure = None
    assert ["cannot remove" in error.note for error in errors.values] == [True]
    near.kill()
    near.connect().on_next("two")
    world.settle(5)
    assert far.received == ["one", "two"]
    close(near, far)


def test_durable_server_survives_a_session_on_a_path_that_is_no_more(
    world: World, near: Machine, far: Machine
) -> None:
    """It is reported, and stays in the store for a server that knows the path."""
    far.serve()
    client = near.connect()
    assert client.wait_connected(5)
    near.kill()
    far.kill()

    def choose(path: str) -> str:
        raise KeyError(path)

    server = world.server(PORT, delivery=far.delivery(), datatype=choose)
    assert server.peers == ()
    assert server.health().errors == 1
    server.close()
    far.serve()
    assert len(far.part.peers) == 1
    close(far)


def test_durable_component_refuses_a_store_that_makes_no_sense(world: World, near: Machine) -> None:
    """A session that cannot be read is a damaged store, found before anything starts."""
    near.store.save("rxplus session client /a", b"nonsense")
    with pytest.raises(StoreDamagedError, match="cannot be read"):
        near.connect()


def test_durable_component_takes_nothing_after_it_was_closed(
    world: World, near: Machine, far: Machine
) -> None:
    """Use after close raises, and keeps nothing."""
    server, client = far.serve(), near.connect()
    assert client.wait_connected(5)
    peer = server.peers[0]
    close(near, far)
    with pytest.raises(ComponentClosedError):
        client.on_next("late")
    with pytest.raises(ComponentClosedError):
        server.on_next(tagged("/a", "late")[0])
    with pytest.raises(ComponentClosedError):
        peer.on_next("late")
    assert near.store.pending("rxplus out client /a") == []


def test_durable_peer_that_is_away_behaves_as_one(
    world: World, near: Machine, far: Machine
) -> None:
    """A peer that has not come back since the start has a path and a user, and no connection."""
    far.serve()
    assert near.connect().wait_connected(5)
    near.kill()
    far.kill()
    server = far.serve()
    peer = server.peers[0]
    connection = peer._member.connection
    assert (peer.path, peer.query, peer.remote_address, peer.latency) == ("/a", "", None, None)
    assert peer.subprotocol is None
    with pytest.raises(Exception, match="not come back"):
        connection.send(["x"])
    with pytest.raises(Exception, match="not come back"):
        world.sim.run(connection.ping())
    connection.start(peer._member.session)
    connection.pause_reading()
    connection.resume_reading()
    connection.abort()
    assert peer._member.session.end == CloseInfo(
        code=1006, reason="it has not come back since the server was started"
    )
    peer.close()
    world.settle()
    assert server.peers == ()
    close(far)


def test_durable_sender_refuses_an_ack_of_what_was_not_sent(world: World, far: Machine) -> None:
    """As every session does."""
    server = far.serve()
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    server.on_next(tagged("/a", "one")[0])
    world.settle()
    hand.say(Ack(1), Ack(0))
    assert hand.end is None
    hand.say(Ack(2))
    assert hand.end is not None
    assert hand.end.code == 4400
    assert isinstance(hand.controls()[0], Welcome)
    close(far)


@pytest.mark.parametrize("moment", ["hello", "end"])
def test_durable_server_ends_when_a_session_cannot_be_kept(
    world: World, far: Machine, moment: str
) -> None:
    """Neither a session that cannot be written, nor one that cannot be removed, is passed over."""
    server = far.serve()
    values = world.sim.record(server)
    hand = Hand(world, server)
    if moment == "end":
        hand.say(hello())
    far.store.failure = StoreError("broken")
    if moment == "hello":
        hand.say(hello())
        assert hand.controls() == []
    else:
        server.peers[0].close()
    world.settle(1)
    assert "its store failed" in str(values.error)
    far.store.failure = None
    close(far)


def test_durable_message_of_a_session_that_is_over_leaves_nothing(
    world: World, far: Machine
) -> None:
    """What subscribers get when its session has just ended is not noted for a session."""
    server = far.serve()
    hand = Hand(world, server)
    hand.say(hello(), Seq(1))
    member = server.peers[0]._member
    assert isinstance(member, SessionMember)
    assert member.archive is not None
    given: list[str] = []
    settle, receipt = member.archive.settle, member.conversation.incoming
    server.peers[0].close()
    world.settle()
    world.on_loop(lambda: settle(receipt, 1, 1, lambda: given.append("late")))
    assert given == ["late"]
    assert far.store.load(f"rxplus in server {member.token}") is None
    close(far)


@pytest.mark.parametrize("level", ["acknowledged", "durable"])
def test_session_that_is_taken_over_twice_at_once_goes_on_on_the_last_connection(
    world: World, far: Machine, level: str
) -> None:
    """One that is superseded, and in the middle of a backlog, sends none of it any more."""
    delivery = far.delivery() if level == "durable" else Delivery.acknowledged()
    server = world.server(PORT, delivery=delivery)
    first = Hand(world, server)
    first.say(hello(), Seq(1))
    (welcome, *_) = first.controls()
    assert isinstance(welcome, Welcome)
    first.drop()
    messages = [f"{number:05d}" + "x" * 1020 for number in range(1, 1001)]  # several batches
    for message in tagged("/a", *messages):
        server.on_next(message)
    world.settle(1)
    second, third = Hand(world, server), Hand(world, server)

    def greet() -> None:
        for epoch, hand in enumerate((second, third), 2):
            hand.connection.send([encode(hello(welcome.session, epoch=epoch))])

    world.on_loop(greet)
    world.settle(5)
    assert [one for one in third.heard if str(one)[:1] != "\0"] == messages
    third.drop()
    server.close(0)


def test_durable_client_sends_on_after_a_commit_that_failed(
    world: World, near: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is refused in the last moment does not hold up the next one."""
    server = world.server(PORT, delivery="acknowledged")
    received = world.sim.record(server)
    client = near.connect()
    assert client.wait_connected(5)
    transaction = near.store.transaction

    @contextmanager
    def failing() -> Iterator[None]:
        with transaction():
            yield
            raise StoreFullError("at the commit")

    monkeypatch.setattr(near.store, "transaction", failing)
    with pytest.raises(StoreFullError):
        client.on_next("refused")
    monkeypatch.setattr(near.store, "transaction", transaction)
    client.on_next("accepted")
    world.settle(5)
    assert [one.data for one in received.values] == ["accepted"]
    client.close()
    server.close()
