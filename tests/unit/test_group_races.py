"""Races in a group that exploration found, each held at the place where it happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from world import World

from rxplus import ComponentClosedError, Delivery, TaggedData
from rxplus_testing import MemoryStore, Sim


@pytest.fixture
def sim() -> Iterator[Sim]:
    """A simulation with threads that change only where they must, or are held."""
    with Sim(mode="threads", switch=0.0) as sim:
        yield sim


def test_loss_on_a_path_that_is_being_opened_is_heard(sim: Sim) -> None:
    """A second thread that sends on a path finds no client which the group does not listen to."""
    group = World(sim).group(9000)
    losses = sim.record(group.losses)
    with sim.pause_at("_Members._add", line="self._attach", thread="opener") as pause:
        opener = sim.thread(group.open_path, "/a", name="opener")
        pause.wait()
        sender = sim.thread(group.on_next, TaggedData("/a", "lost"), name="sender")
        sim.advance(0.1)
    opener.join()
    sender.join()
    sim.advance(0.1)
    assert [loss.count for loss in losses.values] == [1]
    assert group.health().losses == {"disconnected": 1}
    group.close()


def test_path_opened_while_the_group_closes_is_closed_with_it(sim: Sim) -> None:
    """A client that is being made when the group begins to close does not outlive it."""
    group = World(sim).group(9000)
    with sim.pause_at("_Members._add", line="self._make", thread="opener") as pause:
        opener = sim.thread(group.open_path, "/a", name="opener")
        pause.wait()
        closer = sim.thread(group.close, name="closer")
        sim.advance(60.0)
    client = opener.join()
    assert closer.join()
    assert client.health().state == "closed"
    with pytest.raises(ComponentClosedError):
        group.open_path("/b")


def test_path_is_opened_within_a_transaction_while_another_opens_one(sim: Sim) -> None:
    """Neither has what the other waits for: the group's lock, or its store."""
    store = MemoryStore(lock=sim.runtime.lock(), clock=lambda: sim.now)
    group = World(sim).group(9000, delivery=Delivery.durable(store))

    def within() -> None:
        with store.transaction():
            sim.runtime.event().wait(1.0)
            group.on_next(TaggedData("/a", "1"))

    def beside() -> None:
        sim.runtime.event().wait(0.5)
        group.on_next(TaggedData("/b", "1"))

    threads = [sim.thread(one, name=one.__name__) for one in (within, beside)]
    for thread in threads:
        thread.join(60.0)
    assert group.health().queued_messages == 2
    group.close(0)


def test_path_reopened_while_its_client_still_closes(sim: Sim) -> None:
    """The group counts the old client to its end, and waits for it when it closes."""
    world = World(sim)
    server = world.server()
    group = world.group(server)
    losses = sim.record(group.losses)
    old = group.open_path("/a")
    assert old.wait_connected(5.0)
    sim.net.hold()
    leaving = sim.thread(old.close, 3.0)
    sim.advance(1.0)
    group.on_next(TaggedData("/a", "lost"))
    new = group.open_path("/a")
    assert new is not old
    assert group.health().connections == 1
    closer = sim.thread(group.close, 5.0)
    sim.advance(1.0)
    assert group.health().state == "closing"
    sim.advance(5.0)
    assert leaving.join()
    assert closer.join()
    health = group.health()
    assert (health.state, health.connections, health.connections_opened) == ("closed", 0, 1)
    assert sum(loss.count for loss in losses.values) == sum(health.losses.values()) == 1
    sim.net.release()
    server.close()
