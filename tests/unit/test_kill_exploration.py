"""Processes with stores, killed at any access to them: nothing lost, twice, or out of order.

Each seed is another history. ``RXPLUS_EXPLORE=20000`` tries so many in place of a few.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from world import World, tagged

from rxplus import Delivery, Loss, Retry, StoreError, Timeouts
from rxplus_testing import MemoryStore, Sim

SEEDS = int(os.environ.get("RXPLUS_EXPLORE", "60"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))
PORT = 4321
PATH = "/a"
STEPS = 40


class MortalStore(MemoryStore):
    """A store at whose next accesses its process may be killed: before one, or just after it.

    Attributes:
        left: accesses until then; ``None`` for any number.
        after: whether the last of them still counts.
        on_death: is to see to it that nothing more leaves the process.
    """

    left: int | None = None
    after = False
    on_death: Callable[[], None]

    @property
    def dead(self) -> bool:
        """Whether the process has been killed."""
        return self._closed

    def reopen(self) -> MortalStore:
        """Return a store with the same contents, which lives until it is doomed."""
        store = MortalStore(lock=self._lock, clock=self._clock)
        store._contents = self._contents
        return store

    def die(self) -> None:
        """Be killed."""
        self._closed = True
        self.on_death()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        last = self._count_down()
        if last and not self.after:
            self.die()
        with super()._turn():
            yield
        if last and self.after and not self.dead:
            self.die()

    def _count_down(self) -> bool:
        if self.left is None or self.dead:
            return False
        self.left -= 1
        return self.left <= 0


class Machine:
    """A place where a component runs, is killed, and runs again, with what its store has."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.random = rng
        sim = world.sim
        self.store = MortalStore(lock=sim.runtime.lock(), clock=lambda: sim.now)
        self.store.on_death = self._vanish
        self.losses: list[Loss] = []
        self.ends: list[BaseException] = []
        self.part: Any = None

    def _vanish(self) -> None:
        """See to it that nothing more leaves it."""
        raise NotImplementedError

    def start(self) -> None:
        """Run."""
        raise NotImplementedError

    def delivery(self) -> Delivery:
        """Draw limits, small ones: they are to matter."""
        return Delivery.durable(
            self.store,
            max_messages=self.random.choice([1, 3, 1000]),
            ack_messages=self.random.randint(1, 5),
            ack_delay=self.random.choice([0.0, 0.01, 0.3]),
            expiry=100_000.0,
        )

    def options(self) -> dict[str, Any]:
        """Return what both sides have in common."""
        return {
            "delivery": self.delivery(),
            "ping_interval": 2.0,
            "ping_timeout": 2.0,
            "timeouts": Timeouts(open=3.0),
        }

    def listen(self, part: Any) -> None:
        """Hear what it says."""
        self.part, store = part, self.store
        part.losses.subscribe(self.losses.append)

        def take(value: Any) -> None:
            # In the store: so it is undone when the process is killed.
            store.append("seen", [str(getattr(value, "data", value))])

        def end(error: BaseException) -> None:
            if not store.dead:
                self.ends.append(error)

        part.subscribe(take, on_error=end)

    def send(self, send: Callable[[str], None]) -> None:
        """Send a message with the next number, which is kept with it."""
        if self.store.dead:
            return
        try:
            with self.store.transaction():
                number = self.store.append("sent", [""])
                send(str(number))
        except StoreError:
            assert self.store.dead

    def doom(self) -> None:
        """Have it killed at one of the next accesses to its store."""
        self.store.after = self.random.random() < 0.5
        self.store.left = self.random.randint(1, 12)

    def kill(self) -> None:
        """Kill it now."""
        if not self.store.dead:
            self.store.die()

    def come_back(self) -> None:
        """Run again, if it was killed."""
        if self.store.dead:
            self.part.close(0)
            self.store = self.store.reopen()
            self.store.on_death = self._vanish
            try:
                self.start()
            except StoreError:
                assert self.store.dead

    def payloads(self, stream: str) -> list[int]:
        """Return what was written down."""
        return [int(one.payload) for one in self.store.pending(stream, limit=1_000_000)]


class Near(Machine):
    """That of the client."""

    def start(self) -> None:
        """Run a client."""
        retry = Retry(initial=0.05, maximum=1.0)
        self.listen(self.world.client(PORT, PATH, retry=retry, **self.options()))

    def _vanish(self) -> None:
        self.world.sim.net.sever(port=PORT)

    def send_some(self) -> None:
        """Send a few messages."""
        for _ in range(self.random.randint(1, 4)):
            self.send(self.part.on_next)


class Far(Machine):
    """That of the server."""

    def start(self) -> None:
        """Run a server."""
        self.listen(self.world.server(PORT, **self.options()))

    def _vanish(self) -> None:
        self.world.sim.net.crash(PORT)

    def send_some(self, client: Near) -> None:
        """Send a few messages, if somebody is there."""
        for _ in range(self.random.randint(1, 4)):
            # A session whose welcome was lost has nobody, and a path with two is not to be sent to.
            if len(self.part.peers) == 1 and client.part.connected:
                self.send(lambda message: self.part.on_next(tagged(PATH, message)[0]))


def sent(machine: Machine) -> list[int]:
    """Return the numbers of what was sent."""
    return list(range(1, machine.store.last("sent") + 1))


def live(sim: Sim) -> tuple[Near, Far]:
    """Let a client and a server live through one thing after another."""
    world, rng = World(sim), random.Random(f"{sim.seed} kills")
    near, far = Near(world, rng), Far(world, rng)
    far.start()
    near.start()
    actions: list[Callable[[], None]] = [near.send_some, lambda: far.send_some(near)] * 2
    actions += [near.doom, far.doom, near.kill, far.kill, lambda: sim.net.sever(port=PORT)]
    actions += [near.come_back, far.come_back] * 2
    for _ in range(STEPS):
        rng.choice(actions)()
        sim.advance(rng.choice([0.0, 0.0005, 0.0015, 0.003, 0.01, 0.4]))
    for machine in (near, far):
        machine.store.left = None
        machine.come_back()
    sim.advance(60)
    return near, far


@pytest.mark.timeout(0)  # a long exploration takes as long as it takes
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_nothing_is_lost_by_kills(seed: int) -> None:
    """Whoever is killed, whenever: neither side gives up, and everything arrives once, in order."""
    with Sim(seed) as sim:
        near, far = live(sim)
        assert near.ends == far.ends == []
        assert far.payloads("seen") == sent(near)
        assert near.payloads("seen") == sent(far)
        assert near.losses == far.losses == []
        assert near.part.health().queued_messages == 0
        near.part.close()
        far.part.close()
