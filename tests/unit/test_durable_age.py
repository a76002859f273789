"""Messages that wait in a store for too long: given up when a connection opens, and reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from machine import PORT, Machine, send
from sessions import Hand, hello
from world import World, tagged

from rxplus import Loss, LossReason, StoreError
from rxplus._core.protocol.control import Ack, Control, Seq, Welcome
from rxplus_testing import MemoryStore

EXPIRED = LossReason.EXPIRED


@pytest.fixture
def new_machine(world: World) -> Callable[[], Machine]:
    """Make machines whose stores let messages wait for 10 s."""
    lock, clock = world.sim.runtime.lock(), lambda: world.sim.now
    return lambda: Machine(world, MemoryStore(max_age=10.0, lock=lock, clock=clock))


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("side", ["near", "far"])
def test_old_messages_are_given_up_when_a_connection_opens(
    world: World, near: Machine, far: Machine, side: str, scheduled: bool
) -> None:
    """Both sides report them by number; what is young arrives, and nothing comes up again."""
    if scheduled:
        near.parts["scheduler"] = far.parts["scheduler"] = world.sim.scheduler
    far.serve()
    assert near.connect().wait_connected(5)
    sender, receiver = (near, far) if side == "near" else (far, near)
    send(sender, "one")
    world.settle(1)
    with world.sim.net.refuse(PORT):
        world.sim.net.sever()
        world.settle()
        send(sender, "two", "three")
        world.settle(11)
        send(sender, "four")
        assert sender.losses == []
    world.settle(60)
    assert receiver.received == ["one", "four"]
    assert sender.losses == [Loss("/a", EXPIRED, 2, 2, 3)]
    assert receiver.losses == [Loss("/a", LossReason.WITHDRAWN, 2, 2, 3)]
    receiver.kill()
    far.serve() if receiver is far else near.connect()
    send(sender, "five")
    world.settle(60)
    assert receiver.received == ["one", "four", "five"]
    assert len(sender.losses) == len(receiver.losses) == 1
    assert sender.waiting == 0
    near.part.close()
    far.part.close()


def test_old_messages_that_are_all_there_is_leave_the_store(
    world: World, near: Machine, far: Machine
) -> None:
    """The peer says that it knows, also when nothing else is to be said."""
    client = near.connect()
    send(near, "one")
    world.settle(11)
    far.serve()
    world.settle(60)
    assert near.losses == [Loss("/a", EXPIRED, 1, 1, 1)]
    assert near.waiting == 0
    client.close()
    far.part.close()


def opened(hand: Hand) -> list[Control | None]:
    """Return what a scripted client has heard of its session."""
    return [one for one in hand.controls() if isinstance(one, (Welcome, Seq))]


def greet(world: World, far: Machine, token: str | None, epoch: int, received: int) -> Hand:
    """Connect by hand."""
    hand = Hand(world, PORT)
    hand.say(hello(token, epoch=epoch, received=received))
    return hand


def begin(world: World, far: Machine) -> tuple[Hand, str]:
    """Connect by hand for the first time."""
    hand = greet(world, far, None, 1, 0)
    welcome = opened(hand)[0]
    assert isinstance(welcome, Welcome)
    return hand, welcome.session


@pytest.mark.parametrize("restarted", [False, True])
def test_old_messages_do_not_cost_the_session(world: World, far: Machine, restarted: bool) -> None:
    """A peer that has not heard of it yet comes back, to this process or to the next."""
    far.serve()
    hand, token = begin(world, far)
    hand.drop()
    send(far, "one", "two")
    world.settle(11)
    send(far, "three")
    for epoch in (2, 3):
        hand = greet(world, far, token, epoch, 0)
        assert opened(hand) == [Welcome(token, True, 0, 60.0), Seq(3)]
        hand.drop()
        if restarted:
            far.kill()
            far.store._max_age = None  # what was given up stays so
            far.serve()
    hand = greet(world, far, token, 4, 2)
    assert opened(hand) == [Welcome(token, True, 0, 60.0), Seq(3)]
    assert far.losses == [Loss("/a", EXPIRED, 2, 1, 2)]
    hand.say(Ack(3))
    assert far.waiting == 0
    hand.drop()
    far.part.close()


def test_more_grows_old_before_the_peer_has_heard(world: World, far: Machine) -> None:
    """Each message is reported once."""
    far.serve()
    hand, token = begin(world, far)
    hand.drop()
    send(far, "one")
    world.settle(6)
    send(far, "two")
    world.settle(6)
    greet(world, far, token, 2, 0).drop()
    world.settle(6)
    hand = greet(world, far, token, 3, 0)
    assert opened(hand)[1] == Seq(3)
    assert far.losses == [Loss("/a", EXPIRED, 1, 1, 1), Loss("/a", EXPIRED, 1, 2, 2)]
    hand.drop()
    far.part.close()


def test_peer_that_has_lost_what_it_had(world: World, far: Machine) -> None:
    """What it asks for again may be too old by now; it is reported beside the rest."""
    far.serve()
    hand, token = begin(world, far)
    send(far, "one", "two", "three")
    world.settle()
    hand.drop()
    world.settle(11)
    greet(world, far, token, 2, 2).drop()
    assert far.losses == [Loss("/a", EXPIRED, 1, 3, 3)]
    hand = greet(world, far, token, 3, 1)
    assert opened(hand)[1] == Seq(4)
    assert far.losses[1:] == [Loss("/a", EXPIRED, 1, 2, 2)]
    hand.drop()
    greet(world, far, token, 4, 1).drop()
    assert len(far.losses) == 2
    far.part.close()


@pytest.mark.parametrize("resend", [False, True])
def test_new_session_takes_nothing_old_along(world: World, near: Machine, resend: bool) -> None:
    """What is too old when a session was lost is reported as that, and not sent again."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect(resend_lost=resend)
    assert client.wait_connected(5)
    send(near, "old")  # nobody has subscribed, so it is not acknowledged
    world.settle(6)
    send(near, "young")
    world.settle(1)
    world.sim.net.crash(PORT)
    server.close(0)
    world.settle(4)
    server = world.server(PORT, delivery="acknowledged")
    values = world.sim.record(server)
    world.settle(40)
    lost = [] if resend else [Loss("/a", LossReason.SESSION_LOST, 1, 2, 2)]
    assert near.losses == [Loss("/a", EXPIRED, 1, 1, 1), *lost]
    assert values.values == (tagged("/a", "young") if resend else [])
    assert near.waiting == 0
    client.close()
    server.close()


def test_new_session_is_not_mixed_up_with_what_could_not_be_removed(
    world: World, near: Machine
) -> None:
    """Messages of an old session may still be in the store when the process starts again."""
    server = world.server(PORT, delivery="acknowledged")
    client = near.connect(resend_lost=False)
    assert client.wait_connected(5)
    send(near, "lost")
    world.settle(1)
    world.sim.net.crash(PORT)
    server.close(0)

    def refuse(stream: str, up_to: int) -> None:
        raise StoreError("broken")

    near.store.acknowledge = refuse  # type: ignore[method-assign]  # a fault
    server = world.server(PORT, delivery="acknowledged")
    values = world.sim.record(server)
    assert client.wait_connected(60)
    near.kill()
    client = near.connect(resend_lost=False)
    send(near, "next")
    assert client.health().queued_messages == 1
    world.settle(5)
    assert values.values == tagged("/a", "next")
    assert near.waiting == 0
    client.close()
    server.close()


def test_store_that_cannot_say_what_is_old_ends_the_component(
    world: World, near: Machine, far: Machine
) -> None:
    """As everything does that cannot be read."""

    def refuse(stream: str) -> int:
        raise StoreError("broken")

    near.store.expired = refuse  # type: ignore[method-assign]  # a fault
    values: Any = world.sim.record(near.connect())
    far.serve()
    world.settle(5)
    assert "its store failed" in str(values.error)
    far.part.close()
