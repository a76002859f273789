"""Durable delivery while processes are killed, disks are full, and messages grow old.

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
from machine import PORT, Machine
from world import World, tagged

from rxplus import Retry, RxWSServer, StoreFullError, Timeouts
from rxplus_testing import MemoryStore, Sim

SEEDS = int(os.environ.get("RXPLUS_EXPLORE", "60"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))
STEPS = 40


def full() -> StoreFullError:
    """Make what a store says that is full."""
    return StoreFullError("no room")


class ShakyStore(MemoryStore):
    """A store on a disk that is full at one moment and not at the next.

    Only what delivery keeps for itself fails; what subscribers write fails with ``failure``.
    """

    def shake(self, draw: Callable[[], bool]) -> None:
        """Say when there is no room."""
        self.draw = draw

    def save(self, key: str, value: bytes | None) -> None:
        """Keep a value, unless there is no room."""
        if self.draw():
            raise full()
        super().save(key, value)

    def reopen(self) -> MemoryStore:
        """Restart it on the same disk."""
        store = ShakyStore(max_age=self._max_age, clock=self._clock, lock=self._lock)
        store._contents, store.failure = self._contents, self.failure
        store.shake(self.draw)
        self._closed = True
        return store


class History:
    """A server and a client, each with a store, to whom one thing after another happens."""

    def __init__(self, sim: Sim, kind: str) -> None:
        self.sim = sim
        self.kind = kind
        self.world = World(sim)
        self.random = random.Random(f"{sim.seed} durable")
        self.shaky = 0.0
        self.max_age = self.random.choice([None, 0.5, 3.0])
        scheduler = None if kind == "direct" else sim.scheduler
        common: dict[str, Any] = {
            "scheduler": scheduler,
            "ping_interval": 2.0,
            "ping_timeout": 2.0,
            "timeouts": Timeouts(open=3.0),
        }
        retry = Retry(initial=0.05, maximum=1.0)
        self.near = Machine(self.world, self.store(), retry=retry, **common)
        self.far = Machine(self.world, self.store(), **common)
        self.heard: list[str] = []
        self.up: list[str] = []
        self.down: list[str] = []
        self.resumed: list[bool | None] = []
        self.serve()
        self.connect()
        sim.run_until(lambda: self.resumed != [])

    def store(self) -> ShakyStore:
        """Make a store."""
        store = ShakyStore(
            max_age=self.max_age, lock=self.sim.runtime.lock(), clock=lambda: self.sim.now
        )
        store.shake(lambda: self.random.random() < self.shaky)
        return store

    def options(self) -> dict[str, Any]:
        """Draw limits, small ones: they are to matter."""
        return {
            "max_messages": self.random.choice([1, 3, 1000]),
            "ack_messages": self.random.randint(1, 5),
            "ack_delay": self.random.choice([0.0, 0.01, 0.3]),
            "expiry": 100_000.0,
        }

    def serve(self) -> None:
        """Run the server."""
        self.far.serve(**self.options())

    def connect(self) -> None:
        """Run the client, or a group that has it."""
        if self.kind == "group":
            delivery = self.near.delivery(**self.options())
            group = self.world.group(PORT, delivery=delivery, **self.near.parts)
            # Its subscribers are not in a transaction.
            group.subscribe(lambda value: self.heard.append(value.data))
            self.near.part = group
            group.losses.subscribe(self.near.losses.append)
            client = group.open_path("/a")
        else:
            client = self.near.connect(**self.options())
        client.connection_state.subscribe(
            lambda one: self.resumed.append(one.resumed) if one == "connected" else None
        )

    # What may happen.

    def machine(self) -> Machine:
        """Draw one."""
        return self.random.choice([self.near, self.far])

    def send(self, sent: list[str], name: str, send: Callable[[str], None]) -> None:
        """Send a few messages, unless there is no room for them."""
        for _ in range(self.random.randint(1, 4)):
            message = f"{name} {len(sent)}"
            try:
                send(message)
            except StoreFullError:
                return
            sent.append(message)

    def client_sends(self) -> None:
        """The client sends."""
        part, group = self.near.part, self.kind == "group"
        self.send(self.up, "up", lambda one: part.on_next(tagged("/a", one)[0] if group else one))

    def server_sends(self) -> None:
        """The server sends."""
        self.send(self.down, "down", self.far.part.peers[0].on_next)

    def fill(self) -> None:
        """A disk is full."""
        self.machine().store.failure = full()

    def heal(self) -> None:
        """There is room again."""
        self.near.store.failure = self.far.store.failure = None

    def shake(self) -> None:
        """There is room at times."""
        self.shaky = self.random.choice([0.0, 0.0, 0.1, 0.5])

    def kill(self) -> None:
        """A process is killed, and starts again."""
        machine = self.machine()
        if self.kind == "group" and machine is self.near:
            return
        machine.kill()
        self.sim.advance(self.random.choice([0.01, 1.0]))
        if isinstance(machine.part, RxWSServer):
            self.serve()
        else:
            self.connect()

    def sever(self) -> None:
        """Connections break."""
        self.sim.net.sever()

    def hold(self) -> None:
        """Packets are held back for a while."""
        self.sim.net.hold()
        self.sim.advance(self.random.choice([0.002, 0.1, 3.0]))
        if self.random.random() < 0.3:
            self.sever()
        self.sim.net.release()

    def refuse(self) -> None:
        """Connections are refused for a while: messages grow old."""
        with self.sim.net.refuse(PORT):
            self.sever()
            self.sim.advance(self.random.choice([0.1, 2.0]))

    def fail_sends(self) -> None:
        """The next sends raise."""
        self.sim.net.fail_next_send(self.random.randint(1, 2), port=PORT)

    def go(self) -> None:
        """Let it all happen, then heal everything, and let everything arrive."""
        actions = [self.client_sends, self.client_sends, self.server_sends, self.server_sends]
        actions += [self.fill, self.heal, self.heal, self.shake, self.kill]
        actions += [self.sever, self.hold, self.refuse, self.fail_sends]
        for _ in range(STEPS):
            self.random.choice(actions)()
            self.sim.advance(self.random.choice([0.0, 0.0005, 0.0015, 0.01, 0.4]))
        for rule in self.sim.net.faults:
            rule.remove()
        self.shaky = 0.0
        self.heal()
        self.sim.advance(60)

    def check(self) -> None:
        """Check that all arrived, once and in order, or was reported, by both sides."""
        received = self.heard if self.kind == "group" else self.near.received
        check_aging(self.up, self.far.received, self.near.losses, self.far.losses)
        check_aging(self.down, received, self.far.losses, self.near.losses)
        assert set(self.resumed[1:]) <= {True}
        (peer,) = self.far.part.peers
        assert self.near.part.health().queued_messages == 0
        assert peer._member.conversation.outgoing.idle

    def close(self) -> None:
        """Close both."""
        self.near.part.close()
        self.far.part.close()


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("kind", ["direct", "scheduler", "group"])
@pytest.mark.parametrize("seeds", lots(SEEDS, FIRST))
def test_nothing_is_lost_by_a_full_disk_or_in_silence(seeds: range, kind: str) -> None:
    """Whatever happens: all arrives once and in order, but for what both sides say is too old."""
    for seed in seeds:
        with Sim(seed) as sim:
            history = History(sim, kind)
            history.go()
            history.check()
            history.close()
