"""Delivery under every fault that the simulation knows: nothing lost, twice, or out of order.

Each seed is another history. ``RXPLUS_EXPLORE=20000`` tries so many in place of a few.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from aging import check_aging
from lots import lots
from scenarios import PATIENCE, Observed, Scene, Sender
from world import World, tagged

from rxplus import Delivery, Limits, Loss, Peer, Retry, RxWSClient, RxWSServer, Timeouts
from rxplus_testing import Sim, explore

SEEDS = int(os.environ.get("RXPLUS_EXPLORE", "60"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))
PORT = 4321
STEPS = 40


class History:
    """A server and two clients, to whom one thing after another happens."""

    def __init__(self, sim: Sim, *, forgets: bool = False, ages: bool = False) -> None:
        self.sim = sim
        self.world = World(sim)
        self.random = random.Random(f"{sim.seed} history")
        self.forgets = forgets
        self.ages = ages
        self.scheduler = self.random.choice([None, sim.scheduler])
        self.sent: dict[str, list[str]] = {"/a": [], "/b": []}
        self.to: dict[str, list[str]] = {"/a": [], "/b": []}
        self.seen: dict[str, list[str]] = {"/a": [], "/b": []}
        self.got: dict[str, list[str]] = {"/a": [], "/b": []}
        self.losses: list[tuple[str, Loss]] = []
        self.server = self.new_server()
        self.clients = {path: self.new_client(path) for path in self.sent}

    def delivery(self) -> Delivery:
        """Draw limits, small ones: they are to matter."""
        return Delivery.acknowledged(
            max_messages=self.random.choice([1, 3, 1000]),
            ack_messages=self.random.randint(1, 5),
            ack_delay=self.random.choice([0.0, 0.01, 0.3]),
            expiry=100_000.0,
            max_age=self.random.choice([0.1, 1.0, 5.0]) if self.ages else None,
        )

    def new_server(self) -> RxWSServer:
        """Make the server, and listen to it."""
        server = self.world.server(
            PORT,
            delivery=self.delivery(),
            scheduler=self.scheduler,
            ping_interval=2.0,
            ping_timeout=2.0,
            timeouts=Timeouts(open=3.0),
            buffer=None,
        )
        server.subscribe(lambda value: self.seen[value.tag].append(value.data))
        server.losses.subscribe(lambda loss: self.losses.append(("server", loss)))
        return server

    def new_client(self, path: str) -> RxWSClient:
        """Make a client, and listen to it."""
        client = self.world.client(
            PORT,
            path,
            delivery=self.delivery(),
            retry=Retry(initial=0.05, maximum=1.0),
            scheduler=self.scheduler,
            ping_interval=2.0,
            ping_timeout=2.0,
            timeouts=Timeouts(open=3.0),
            limits=Limits(slow_callback=None),
        )
        client.subscribe(self.got[path].append)
        client.losses.subscribe(lambda loss: self.losses.append((path, loss)))
        return client

    # What may happen.

    def client_sends(self) -> None:
        """A client sends a few messages."""
        path = self.random.choice(["/a", "/b"])
        for _ in range(self.random.randint(1, 4)):
            message = f"{path} {len(self.sent[path])}{self.padding()}"
            self.sent[path].append(message)
            self.clients[path].on_next(message)

    def padding(self) -> str:
        """Draw what makes a few messages more than is sent at once."""
        return "x" * self.random.choice([0, 0, 0, 0, 0, 100_000])

    def peers(self, path: str) -> list[Peer]:
        """Return the peers on a path."""
        return [peer for peer in self.server.peers if peer.path == path]

    def server_sends(self) -> None:
        """The server sends a few messages, to a path or to its peer."""
        path = self.random.choice(["/a", "/b"])
        # Before its first hello a client has no session that could wait for it; a session
        # whose welcome was lost has nobody, and a path with two is not to be sent to.
        if len(self.peers(path)) != 1 or not self.clients[path].connected:
            return
        for _ in range(self.random.randint(1, 4)):
            message = f"to {path} {len(self.to[path])}{self.padding()}"
            self.to[path].append(message)
            if self.random.random() < 0.5:
                self.server.on_next(tagged(path, message)[0])
            else:
                self.peers(path)[0].on_next(message)

    def sever(self) -> None:
        """Connections break."""
        self.sim.net.sever(path=self.random.choice([None, "/a", "/b"]))

    def hold(self) -> None:
        """Packets are held back, for as long as a silent partition, or for a moment."""
        self.sim.net.hold()
        self.sim.advance(self.random.choice([0.002, 0.1, 3.0, 10.0]))
        if self.random.random() < 0.3:
            self.sever()
        self.sim.net.release()

    def refuse(self) -> None:
        """Connections are refused for a while."""
        with self.sim.net.refuse(PORT):
            self.sever()
            self.sim.advance(self.random.choice([0.1, 2.0]))

    def break_connects(self) -> None:
        """The next attempts to connect fail, one way or another."""
        net, port = self.sim.net, PORT
        faults: list[Callable[[], Any]] = [
            lambda: net.reject_next(port=port, times=2),
            lambda: net.hang_next_connect(port=port),
            lambda: net.accept_then_close(self.random.choice([1001, 1011, 4000]), port=port),
        ]
        self.random.choice(faults)()
        self.sever()

    def fail_sends(self) -> None:
        """The next sends raise."""
        self.sim.net.fail_next_send(self.random.randint(1, 2), port=PORT)

    def lag(self) -> None:
        """The network becomes slower or faster."""
        self.sim.net.latency = self.random.choice([0.0, 0.001, 0.05])

    def restart(self) -> None:
        """The server crashes, and forgets all sessions."""
        if not self.forgets:
            return
        self.sim.net.crash(PORT)
        self.server.close(0)
        self.sim.advance(self.random.choice([0.01, 1.0]))
        self.server = self.new_server()
        for path in self.to:
            self.to[path] = self.got[path].copy()

    def go(self) -> None:
        """Let it all happen, then heal the network, and let everything arrive."""
        actions = [self.client_sends, self.client_sends, self.server_sends, self.server_sends]
        actions += [self.sever, self.hold, self.refuse, self.break_connects, self.fail_sends]
        actions += [self.lag, self.restart]
        for _ in range(STEPS):
            self.random.choice(actions)()
            self.sim.advance(self.random.choice([0.0, 0.0005, 0.0015, 0.01, 0.4]))
        for rule in self.sim.net.faults:
            rule.remove()
        self.sim.net.latency = 0.001
        self.sim.advance(60)

    def close(self) -> None:
        """Close everything, gracefully."""
        for client in self.clients.values():
            client.close()
        self.server.close()


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("seeds", lots(SEEDS, FIRST))
def test_nothing_is_lost_twice_or_out_of_order(seeds: range) -> None:
    """Whatever the network does: all that was sent arrives, once, in order, both ways."""
    for seed in seeds:
        with Sim(seed) as sim:
            history = History(sim)
            history.go()
            assert (seed, history.seen) == (seed, history.sent)
            assert (seed, history.got) == (seed, history.to)
            assert (seed, [one for one in history.losses if one[0] != "server"]) == (seed, [])
            history.close()


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("seeds", lots(SEEDS, FIRST))
def test_nothing_is_lost_in_silence(seeds: range) -> None:
    """A server that forgets costs what is reported, by number: no more, and nothing twice."""
    for seed in seeds:
        with Sim(seed) as sim:
            history = History(sim, forgets=True)
            history.go()
            for path, sent in history.sent.items():
                order = [sent.index(message) for message in history.seen[path]]
                lost = sum(loss.count for name, loss in history.losses if name == path)
                assert (seed, order) == (seed, sorted(set(order)))
                assert (seed, len(sent) - len(order)) <= (seed, lost)
            history.close()


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("seeds", lots(SEEDS, FIRST))
def test_nothing_grows_too_old_in_silence(seeds: range) -> None:
    """What is on its way for too long is reported by both sides; all else arrives as ever."""
    for seed in seeds:
        with Sim(seed) as sim:
            history = History(sim, ages=True)
            history.go()
            for path in history.sent:
                ours = [loss for name, loss in history.losses if name == path]
                theirs = [loss for name, loss in history.losses if name != path]
                theirs = [loss for loss in theirs if loss.path == path]
                check_aging(history.sent[path], history.seen[path], ours, theirs)
                check_aging(history.to[path], history.got[path], theirs, ours)
            history.close()


def between_threads(sim: Sim) -> None:
    """Threads send both ways, on either network, while it fails in every way that it can."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world

    def delivery() -> Delivery:
        return Delivery.acknowledged(
            max_messages=rng.choice([1, 1000]),
            ack_messages=rng.randint(1, 5),
            ack_delay=rng.choice([0.0, 0.01, 0.3]),
            expiry=100_000.0,
        )

    common: dict[str, Any] = {"ping_interval": 2.0, "ping_timeout": 2.0}
    server = world.server(delivery=delivery(), **common)
    retry = Retry(initial=0.1, maximum=1.0)
    client = world.client(server, "/a", delivery=delivery(), retry=retry, **common)
    served, seen = Observed(sim, server), Observed(sim, client)
    assert client.wait_connected(PATIENCE)
    (peer,) = server.peers
    up = [Sender(name, client.on_next, rng.randint(1, 12), 1.0) for name in ("up-a", "up-b")]
    down = [Sender(name, peer.on_next, rng.randint(1, 12), 1.0) for name in ("down-a", "down-b")]
    scene.trouble(server.port, rng.choice([1, 4, 8]), 8.0)
    threads = [sim.thread(sender.run, sim, name=sender.name) for sender in up + down]
    for thread in threads:
        thread.join(PATIENCE)
    sim.advance(20.0)
    for rule in scene.net.faults:
        rule.remove()
    # A second each way is too much for the keepalive that was asked for.
    scene.net.set_latency(0.001, port=server.port)
    sim.advance(PATIENCE)
    for who, senders in ((served, up), (seen, down)):
        values = [getattr(value, "data", value) for value in who.values.values]
        for sender in senders:
            assert [one for one in values if one.startswith(sender.name)] == sender.accepted
            assert sender.refused == 0
        assert len(values) == sum(len(sender.accepted) for sender in senders)
        assert who.lost == 0
    client.close(PATIENCE)
    server.close(PATIENCE)


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize(
    "way", [{"mode": "inline"}, {"mode": "threads"}], ids=["inline", "threads"]
)
def test_nothing_is_lost_between_threads(way: dict[str, Any]) -> None:
    """Nor with the real transport, cut at any byte, nor wherever threads take turns."""
    explore(between_threads, range(FIRST, FIRST + max(1, SEEDS // 6)), **way)
