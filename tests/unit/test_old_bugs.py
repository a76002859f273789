"""Bugs of the plan's code base, put back one at a time: exploration finds each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from world import World

from rxplus import TaggedData
from rxplus._core.routing import Channel, Routes
from rxplus._engine.fanout import Outgoing
from rxplus._engine.supervisor import Supervisor
from rxplus.server import RxWSServer
from rxplus_testing import ExplorationError, LeakError, Sim, explore

SEEDS = range(15)

ENOUGH = range(100)
"""Seeds to look with: each finds a bug in a quarter of all cases, and the first one ends it."""

FILES = (str(Path(__file__)),)
"""The defects are here, so the statements of this file count as those of rxplus."""


def find(scenario: Any) -> ExplorationError:
    """Return what exploration finds."""
    with pytest.raises(ExplorationError, match="a second run is the same") as caught:
        explore(scenario, ENOUGH, files=FILES)
    return caught.value


# BUG-1: a path's channel is made by whoever does not find one, without a lock.


def open_without_lock(self: Routes[Any], path: str) -> Channel[Any]:
    """Look, then act: two threads may both find nothing."""
    if path not in self._channels:
        made: Channel[Any] = Channel(self._datatype_of(path), path)
        self._channels[path] = made
    return self._channels[path]


def ask_for_a_path_while_a_client_joins(sim: Sim) -> None:
    """The channel that a thread sees is the one that the client is on."""
    world = World(sim)
    server = world.server()
    joined = sim.record(server.connections)
    client = world.client(server, "/a")
    received = sim.record(client)

    def ask() -> Channel[Any]:
        sim.advance(sim.net.latency)  # so that the client's request is there
        return server._get_path_channels("/a")

    asking = [sim.thread(ask) for _ in range(2)]
    channels = [thread.join() for thread in asking]
    sim.run_until(lambda: joined.values)
    server.on_next(TaggedData("/a", "to all"))
    sim.advance(1.0)
    assert channels[0] is channels[1]
    assert received.values == ["to all"]
    client.close()
    server.close()


def test_bug_1_race_for_a_channel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels for one path: some thread, or the client, is on the wrong one."""
    explore(ask_for_a_path_while_a_client_joins, SEEDS, files=FILES)
    monkeypatch.setattr(Routes, "open", open_without_lock)
    error = find(ask_for_a_path_while_a_client_joins)
    assert isinstance(error.__cause__, AssertionError)


# BUG-3: completing a client closes its connection, and its loop of attempts goes on.


async def close_the_connection_only(self: Supervisor, timeout: float) -> None:
    """Do what ``async_completing()`` did."""
    if self._session is not None:
        await self._session.close(1000, "", timeout)


def complete_a_client(sim: Sim) -> None:
    """After ``on_completed`` nothing of the client is left."""
    world = World(sim)
    server = world.server()
    client = world.connected(server)
    sim.thread(client.on_completed).join()
    sim.advance(10.0)
    server.close()


def test_bug_3_loop_that_goes_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client connects again, and its task never ends."""
    explore(complete_a_client, SEEDS)
    monkeypatch.setattr(Supervisor, "shutdown", close_the_connection_only)
    error = find(complete_a_client)
    assert isinstance(error.__cause__, LeakError)
    assert "run: _engine/supervisor.py" in str(error.__cause__)


# BUG-6: a broadcast goes through the members of a path in the sender's own thread.


def broadcast_from_the_senders_thread(self: RxWSServer, value: TaggedData) -> None:
    """Iterate over what the loop thread changes."""
    channel = self._routes.open(value.tag)
    for member in channel.members:
        self._put(Outgoing(member, value.data), len(value.data))


def broadcast_while_clients_come_and_go(sim: Sim) -> None:
    """Sending raises nothing, whoever joins or leaves."""
    world = World(sim)
    server = world.server()
    clients = [world.connected(server, "/a")]

    def send() -> None:
        for number in range(10):
            server.on_next(TaggedData("/a", str(number)))
            sim.advance(sim.net.latency)

    sending = sim.thread(send)
    clients += [world.client(server, "/a") for _ in range(2)]
    clients[0].close()
    sending.join()
    sim.advance(1.0)
    for client in clients:
        client.close()
    server.close()


def test_bug_6_set_changed_during_iteration_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender gets a ``RuntimeError``, under the seeds that change the set meanwhile."""
    explore(broadcast_while_clients_come_and_go, SEEDS, files=FILES)
    monkeypatch.setattr(RxWSServer, "on_next", broadcast_from_the_senders_thread)
    error = find(broadcast_while_clients_come_and_go)
    assert "changed size during iteration" in str(error.__cause__)
