"""Who has which part of a store: one component at a time, also with some work left behind."""

from __future__ import annotations

from typing import Any

import pytest
from machine import PORT, SOON, Machine, close, send
from reactivex.scheduler import VirtualTimeScheduler
from world import World

from rxplus import StoreError


@pytest.mark.parametrize("side", ["near", "far"])
def test_what_waits_for_a_scheduler_is_dealt_with_by_the_next_component(
    world: World, near: Machine, far: Machine, side: str
) -> None:
    """Once: what the scheduler of one that was closed comes to after that, it passes over."""
    late = VirtualTimeScheduler()
    receiver, sender = (near, far) if side == "near" else (far, near)
    receiver.parts["scheduler"] = late
    far.serve()
    assert near.connect().wait_connected(5)
    send(sender, "one", "two")
    world.settle(1)
    assert receiver.received == []
    receiver.part.close()
    receiver.parts.clear()
    near.connect() if receiver is near else far.serve()
    world.settle(5)
    assert receiver.received == ["one", "two"]
    late.start()
    assert receiver.received == ["one", "two"]
    assert sender.waiting == 0
    close(near, far)


def test_what_waits_for_a_scheduler_is_dealt_with_if_there_is_no_next_component(
    world: World, near: Machine, far: Machine
) -> None:
    """What came before the end is for subscribers, however late they are."""
    near.parts["scheduler"] = late = VirtualTimeScheduler()
    far.serve()
    assert near.connect().wait_connected(5)
    send(far, "one", "two")
    world.settle(1)
    near.part.close()
    late.start()
    assert near.received == ["one", "two"]
    near.parts.clear()
    near.connect()
    world.settle(5)
    assert near.received == ["one", "two"]
    assert far.waiting == 0
    close(near, far)


def test_what_waits_for_the_scheduler_of_a_group_is_dealt_with_by_the_next_one(
    world: World, near: Machine, far: Machine
) -> None:
    """Also there, where the number is kept in a transaction of its own."""
    late = VirtualTimeScheduler()
    far.serve()

    def group(**options: Any) -> Any:
        near.run(world.group(PORT, delivery=near.delivery(), retry=SOON, **options))
        assert near.part.open_path("/a").wait_connected(10)
        return near.part

    first = group(scheduler=late)
    send(far, "one", "two")
    world.settle(1)
    first.close()
    second = group()
    send(far, "three")
    world.settle(5)
    late.start()
    assert near.received == ["one", "two", "three"]
    assert near.store.load("rxplus in client /a") == b"3"
    second.close()
    close(far)


def test_store_has_one_server(world: World, far: Machine) -> None:
    """Two would both take the sessions that it has."""
    first = far.serve()
    with pytest.raises(ValueError, match="'server' is in use in this store: give each server"):
        world.server(delivery=far.delivery())
    first.close()
    far.serve()
    close(far)


def test_what_cannot_be_read_is_not_claimed(world: World, near: Machine) -> None:
    """A client that could not be made does not keep its path from the next one."""
    last = near.store.last

    def fail(stream: str) -> int:
        raise StoreError("broken")

    near.store.last = fail  # type: ignore[method-assign]  # a fault
    with pytest.raises(StoreError, match="broken"):
        near.connect()
    near.store.last = last  # type: ignore[method-assign]  # mended
    near.connect()
    close(near)


def test_number_of_a_message_is_kept_by_who_has_the_session(
    world: World, near: Machine, far: Machine
) -> None:
    """A group's subscriber that is at it while another group takes over saves nothing after it."""
    late = VirtualTimeScheduler()
    far.serve()
    group = world.group(PORT, delivery=near.delivery(), retry=SOON, scheduler=late)
    group.subscribe(lambda _: take_over())
    assert group.open_path("/a").wait_connected(10)
    send(far, "one")
    world.settle(1)
    group.close()

    def take_over() -> None:
        near.connect()
        world.settle(5)

    late.start()
    assert near.received == ["one"]  # for that one message, a second time
    assert near.store.load("rxplus in client /a") == b"1"
    close(near, far)
