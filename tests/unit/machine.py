"""A place where a component runs, is killed, and runs again, with what its store has."""

from __future__ import annotations

from functools import partial
from typing import Any

from world import World, tagged

from rxplus import Delivery, Loss, Retry, RxException, RxWSClient, RxWSServer
from rxplus_testing import MemoryStore

__all__ = ["PORT", "SOON", "Machine", "close", "send"]

PORT = 4321
SOON = Retry(initial=0.1, jitter=0.0)


class Machine:
    """A machine with one component on it.

    Args:
        world: the simulation.
        store: what survives; a new one by default.
        parts: further options for what runs.
    """

    def __init__(self, world: World, store: MemoryStore | None = None, **parts: Any) -> None:
        self.world = world
        lock, clock = world.sim.runtime.lock(), lambda: world.sim.now
        self.store = store or MemoryStore(lock=lock, clock=clock)
        self.parts = parts
        self.losses: list[Loss] = []
        self.errors: list[RxException] = []
        self.part: Any = None

    def delivery(self, **options: Any) -> Delivery:
        """Make the level."""
        return Delivery.durable(self.store, **options)

    def run(self, part: Any) -> None:
        """Have a component run here."""
        self.part = part
        part.losses.subscribe(self.losses.append)
        part.errors.subscribe(self.errors.append)
        part.subscribe(partial(self.take, self.store))

    def take(self, store: MemoryStore, value: Any) -> None:
        """Write down what arrives, in the store: so it is undone when the process is killed."""
        store.append("seen", [str(getattr(value, "data", value))])

    def serve(self, **options: Any) -> RxWSServer:
        """Run a server."""
        delivery = self.delivery(**options)
        self.run(self.world.server(PORT, delivery=delivery, **self.parts))
        server: RxWSServer = self.part
        return server

    def connect(self, path: str = "/a", **options: Any) -> RxWSClient:
        """Run a client."""
        parts = {"delivery": self.delivery(**options), "retry": SOON, **self.parts}
        self.run(self.world.client(PORT, path, **parts))
        client: RxWSClient = self.part
        return client

    def kill(self) -> None:
        """Kill it: nothing that it does from now on reaches the store."""
        self.store = self.store.reopen()
        if isinstance(self.part, RxWSServer):
            self.world.sim.net.crash(PORT)
        self.part.close(0)

    @property
    def waiting(self) -> int:
        """How many messages it has in the store, to be sent or acknowledged."""
        streams = [name for name in self.store.streams() if name.startswith("rxplus out")]
        return sum(len(self.store.pending(name)) for name in streams)

    @property
    def received(self) -> list[str]:
        """What it has dealt with, in all its lives."""
        return [str(one.payload) for one in self.store.pending("seen", limit=1_000_000)]


def send(machine: Machine, *messages: str) -> None:
    """Send messages to the path, or from it."""
    for message in messages:
        server = isinstance(machine.part, RxWSServer)
        machine.part.on_next(tagged("/a", message)[0] if server else message)


def close(*machines: Machine) -> None:
    """Close what runs."""
    for machine in machines:
        machine.part.close()
