"""What a durable server is given to send: kept for sessions, sent to others, or refused whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from machine import PORT, Machine, close, send
from sessions import Hand, hello
from world import World, tagged

from rxplus import (
    Buffer,
    BufferFullError,
    ComponentClosedError,
    Loss,
    LossReason,
    Overflow,
    RxWSServer,
    StoreError,
)
from rxplus._core.protocol.control import Seq


def has_session(world: World, path: str = "/a") -> Hand:
    """Connect a client with a session."""
    hand = Hand(world, PORT, path=path)
    hand.say(hello(), Seq(1))
    return hand


def clog(world: World, server: RxWSServer) -> Hand:
    """Connect a peer that does not read, and so holds up what waits for others."""
    slow = Hand(world, server, path="/b", subprotocols=())
    world.on_loop(slow.connection.pause_reading)
    while not server._acceptor.fanout._clogged:
        server.on_next(tagged("/b", "x" * 300_000)[0])
        world.settle()
    return slow


def data(hand: Hand) -> list[str]:
    """Return the messages that were heard, control messages apart."""
    return [str(one) for one in hand.heard if str(one)[:1] != "\0"]


def test_what_is_kept_needs_no_room_elsewhere(world: World, far: Machine) -> None:
    """With a session only, the buffer of a path and a peer is no limit: the store has its own."""
    far.parts["buffer"] = Buffer(max_messages=1, overflow=Overflow.error())
    server = far.serve()
    hand = has_session(world)
    peer = server.peers[0]
    for number in range(5):
        send(far, f"path {number}")
        peer.on_next(f"peer {number}")
    world.settle(1)
    assert data(hand) == [f"{kind} {n}" for n in range(5) for kind in ("path", "peer")]
    hand.drop()
    close(far)


@pytest.mark.parametrize("policy", ["error", "block"])
def test_what_is_refused_was_not_kept(world: World, far: Machine, policy: str) -> None:
    """With others on the path that there is no room for: who tries again sends it once."""
    overflow = Overflow.error() if policy == "error" else Overflow.block(timeout=0.0)
    far.parts["buffer"] = Buffer(max_messages=2, overflow=overflow)
    far.serve()
    plain, hand = Hand(world, far.part, subprotocols=()), has_session(world)
    send(far, "one", "two")
    with pytest.raises(BufferFullError):
        send(far, "three")
    assert far.waiting == 2
    world.settle(1)
    send(far, "three")
    world.settle(1)
    assert data(hand) == plain.heard == ["one", "two", "three"]
    hand.drop()
    close(far)


def before_transactions(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, happens: Callable[[], object]
) -> None:
    """Have something happen just before the next transaction of a machine's store."""
    transaction = machine.store.transaction

    @contextmanager
    def late() -> Iterator[None]:
        monkeypatch.undo()
        happens()
        with transaction():
            yield

    monkeypatch.setattr(machine.store, "transaction", late)


def test_what_is_refused_by_a_closing_server_was_not_kept(
    world: World, far: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it closes in the middle of it."""
    server = far.serve()
    Hand(world, server, subprotocols=())
    has_session(world)
    before_transactions(monkeypatch, far, server._hub.begin_close)
    with pytest.raises(ComponentClosedError):
        send(far, "late")
    assert far.waiting == 0
    close(far)


def test_message_for_a_session_that_ends_meanwhile_is_reported(
    world: World, far: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither kept nor delivered is lost, and said to be."""
    server = far.serve()
    hand = has_session(world)
    peer = server.peers[0]

    def end() -> None:
        peer.close()
        world.settle()

    before_transactions(monkeypatch, far, end)
    send(far, "too late")
    world.settle()
    assert far.losses == [Loss("/a", LossReason.NO_PEER, 1)]
    peer.on_next("much too late")
    world.settle()
    assert far.losses[1:] == [Loss("/a", LossReason.NO_PEER, 1)]
    assert far.waiting == 0
    assert data(hand) == []
    close(far)


@pytest.mark.parametrize("other", [False, True])
def test_message_for_nobody_is_reported_though_a_session_comes(
    world: World, far: Machine, other: bool
) -> None:
    """A session that joins before it is looked at gets what is sent from then on, and no more."""
    far.parts["buffer"] = Buffer(max_messages=1, overflow=Overflow.block())
    server = far.serve()
    slow = clog(world, server)
    send(far, "for nobody")
    joined = [Hand(world, server, subprotocols=())] if other else []
    hand = has_session(world)
    assert far.losses == []
    world.on_loop(slow.connection.resume_reading)
    world.settle(1)
    send(far, "for somebody")
    world.settle(1)
    assert far.losses == ([] if other else [Loss("/a", LossReason.NO_PEER, 1)])
    assert data(hand) == ["for somebody"]
    assert [one.heard for one in joined] == [["for nobody", "for somebody"]] * len(joined)
    hand.drop()
    close(far)


def test_server_ends_when_what_is_left_of_a_session_cannot_be_read(
    world: World, far: Machine
) -> None:
    """As with any other failure of its store."""
    server = far.serve()
    values = world.sim.record(server)
    has_session(world).drop()

    def fail(stream: str) -> int:
        raise StoreError("broken")

    far.store.last = fail  # type: ignore[method-assign]  # a fault
    server.peers[0].close()
    world.settle(1)
    assert "its store failed" in str(values.error)


def test_nothing_waits_for_room_within_a_transaction(world: World, far: Machine) -> None:
    """The loop, which makes room, may have to wait for the transaction."""
    far.parts["buffer"] = Buffer(max_messages=2, overflow=Overflow.block(timeout=10.0))
    far.serve()
    Hand(world, far.part, subprotocols=())
    hand = has_session(world)
    before = world.sim.now
    with (
        pytest.raises(BufferFullError, match="a transaction, which others"),
        far.store.transaction(),
    ):
        send(far, "one", "two", "three")
    assert world.sim.now == before
    assert far.waiting == 0
    hand.drop()
    close(far)


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_too_old_takes_no_room(world: World, far: Machine, durable: bool) -> None:
    """It is reported, and makes room for what is new, with a store or without."""
    far.parts["buffer"] = Buffer(max_messages=1, overflow=Overflow.error(), max_age=1.0)
    if durable:
        far.serve()
    else:
        far.run(world.server(PORT, **far.parts))
    server = far.part
    slow = clog(world, server)
    send(far, "one")
    with pytest.raises(BufferFullError):
        send(far, "two")
    world.settle(5)
    send(far, "three")
    world.on_loop(slow.connection.resume_reading)
    world.settle(1)
    assert [one for one in far.losses if one.path == "/a"] == [
        Loss("/a", LossReason.EXPIRED, 1),
        Loss("/a", LossReason.NO_PEER, 1),
    ]
    close(far)


def test_server_that_closes_keeps_nothing_more_before_others_may_begin(
    world: World, far: Machine
) -> None:
    """When the first peer completes, no message can be put into the store for any of them."""
    server = far.serve()
    hands = [has_session(world), has_session(world)]
    members = [peer._member for peer in server.peers]
    gone: list[list[bool]] = []
    for peer in server.peers:
        peer.subscribe(on_completed=lambda: gone.append([one.gone for one in members]))
    for hand in hands:
        hand.drop()
    close(far)
    assert gone == [[True, True], [True, True]]


def test_what_was_undone_is_no_loss(world: World, far: Machine) -> None:
    """A message that was never sent is not reported when the session it was for expires."""
    far.serve(expiry=5.0)
    has_session(world).drop()
    with pytest.raises(ZeroDivisionError), far.store.transaction():
        send(far, "undone")
        raise ZeroDivisionError
    world.settle(6)
    assert far.part.peers == ()
    assert far.losses == []
    close(far)
