"""Scenarios to explore: components, threads and faults, all drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.scheduler.scheduler import Scheduler
from world import World

from rxplus import (
    Buffer,
    BufferFullError,
    ComponentClosedError,
    ConnectError,
    ConnectionClosedError,
    Limits,
    Loss,
    Overflow,
    Retry,
    RxException,
    RxWSClient,
    TaggedData,
)
from rxplus.component import Component
from rxplus_testing import ByteNetwork, MemoryNetwork, Recorder, Sim

__all__ = ["PATIENCE", "SCENARIOS", "Observed", "Scene", "Sender", "check_states"]

PATIENCE = 500.0
"""Virtual seconds: stalls may delay everything."""

_NEXT = {
    None: {"connecting"},
    "connecting": {"connected", "disconnected", "closed"},
    "connected": {"disconnected", "closed"},
    "disconnected": {"reconnecting", "closed"},
    "reconnecting": {"connected", "disconnected", "closed"},
}


class Sender:
    """Sends numbered messages, and counts those that were accepted."""

    def __init__(self, name: str, send: Callable[[str], object], count: int, pause: float) -> None:
        self.name = name
        self.accepted: list[str] = []
        self.refused = 0
        self._send = send
        self._count = count
        self._pause = pause

    def run(self, sim: Sim) -> None:
        """Send them all, with pauses drawn from the seed."""
        rng = random.Random(f"{sim.seed} {self.name}")
        for number in range(self._count):
            if rng.random() < 0.5:
                sim.advance(rng.random() * self._pause)
            self.send(f"{self.name} {number}")

    def send(self, value: str) -> None:
        """Send one."""
        try:
            self._send(value)
        except (BufferFullError, ComponentClosedError):
            self.refused += 1
        else:
            self.accepted.append(value)


class Observed:
    """A component, and all that it says."""

    def __init__(self, sim: Sim, component: Component[Any]) -> None:
        self.component = component
        self.values: Recorder[Any] = sim.record(component)
        self.errors: Recorder[RxException] = sim.record(component.errors)
        self.losses: Recorder[Loss] = sim.record(component.losses)
        self.states: Recorder[Any] | None = None
        if isinstance(component, RxWSClient):
            self.states = sim.record(component.connection_state)

    @property
    def lost(self) -> int:
        """How many messages were reported as lost."""
        return sum(loss.count for loss in self.losses.values)

    def check_end(self) -> None:
        """Check what must be true of whatever has been closed."""
        health = self.component.health()
        assert health.state == "closed"
        assert health.connections == 0
        assert health.queued_messages == health.queued_bytes == 0
        assert sum(health.losses.values()) == self.lost
        assert health.errors == len(self.errors.values)
        for recorder in (self.values, self.errors, self.losses):
            assert recorder.ended, recorder
        assert self.errors.completed
        assert self.losses.completed
        for error in self.errors.values:
            assert isinstance(error.exception, ConnectError | ConnectionClosedError), error
        if self.states is not None:
            assert self.states.completed
            check_states(self.states.values)

    def check_sent(self, senders: Iterable[Sender]) -> None:
        """Check that each message was handed to a connection, or reported as lost."""
        accepted = sum(len(sender.accepted) for sender in senders)
        sent = self.component.health().messages_out
        assert sent + self.lost == accepted, (sent, self.lost, accepted)


def check_states(states: Iterable[str]) -> None:
    """Check that each state may follow the one before, and that the last is ``closed``."""
    last: str | None = None
    for state in states:
        # A subscriber that comes late starts with the state that it finds.
        assert last is None or state in _NEXT[last], (last, state)
        last = str(state)
    assert last == "closed"


def check_received(received: list[str], senders: Iterable[Sender], *, ordered: bool = True) -> None:
    """Check that what arrived was sent, came once, and in the order of each sender."""
    sent = [value for sender in senders for value in sender.accepted]
    assert len(received) == len(set(received))
    assert set(received) <= set(sent)
    for sender in senders if ordered else ():
        mine = [value for value in received if value.startswith(f"{sender.name} ")]
        places = [sender.accepted.index(value) for value in mine]
        assert places == sorted(places), mine


# What goes wrong.


class Scene:
    """A world of its own: what is drawn from the seed, and the network that it is on."""

    def __init__(self, sim: Sim) -> None:
        self.rng = random.Random(sim.seed)
        self.world = World(sim)
        self.net: MemoryNetwork | ByteNetwork = sim.net
        if self.rng.random() < 0.3:
            # The real transport, in virtual time too.
            self.net = sim.byte_net
            self.world.parts = {"runtime": sim.runtime}
        self._sim = sim

    def trouble(self, port: int, count: int, within: float) -> None:
        """Let ``count`` things go wrong on the network, at moments drawn from the seed."""
        kinds = (self._sever, self._rule, self._rule, self._spoil, self._delay, self._fail)
        for _ in range(count):
            act = partial(self.rng.choice(kinds), port)
            self._sim.at(self._sim.now + self.rng.random() * within, act)

    def _sever(self, port: int) -> None:
        self.net.sever(port=port)

    def _rule(self, port: int) -> None:
        """Break something for a while."""
        net = self.net
        make = self.rng.choice((net.hold, net.partition, net.outage, net.refuse))
        with make(port=port):
            self._sim.advance(self.rng.random() * 6)

    def _spoil(self, port: int) -> None:
        """Spoil what comes next."""
        net = self.net
        spoil: Callable[[], object] = self.rng.choice(
            (
                net.reject_next,
                net.hang_next_connect,
                net.accept_then_close,
                lambda: net.cut_next(self.rng.randint(0, 300), self.rng.choice(("up", "down"))),
            )
        )
        spoil()
        net.sever(port=port)

    def _delay(self, port: int) -> None:
        """Make what is sent take longer, or shorter, from now on."""
        net, rng = self.net, self.rng
        delay: Callable[[], object] = rng.choice(
            (
                lambda: net.set_latency(rng.choice((0.0, 0.001, 0.1, 1.0)), port=port),
                lambda: net.jitter(0.001, 0.5, port=port),
                lambda: net.limit(500.0, port=port),
                lambda: net.slow_close(1.0, port=port),
            )
        )
        delay()

    def _fail(self, port: int) -> None:
        """Fail a send, or slice up what is sent."""
        if isinstance(self.net, ByteNetwork):
            self.net.slice(self.rng.randint(1, 5), port=port)
        else:
            self.net.fail_next_send(self.rng.randint(1, 2), port=port)


def options(rng: random.Random) -> dict[str, Any]:
    """Draw the options of a client."""
    return {
        "buffer_while_disconnected": rng.random() < 0.5,
        "ping_interval": rng.choice((None, 2.0)),
        "ping_timeout": 2.0,
        "retry": Retry(initial=0.1, maximum=1.0, stable_after=rng.choice((0.0, 2.0))),
        "buffer": buffer(rng),
    }


def buffer(rng: random.Random) -> Buffer:
    """Draw limits, and what happens beyond them."""
    overflow = rng.choice(
        (
            Overflow.block(),
            Overflow.block(timeout=0.5),
            Overflow.drop_oldest(),
            Overflow.drop_newest(),
            Overflow.latest(key=lambda payload: str(payload)[:6]),
            Overflow.error(),
            Overflow.disconnect(),
        )
    )
    return Buffer(max_messages=rng.choice((2, 100)), overflow=overflow)


def finish(sim: Sim, *components: Component[Any]) -> None:
    """Close components, in order, and wait for all that was begun."""
    for component in components:
        component.close(random.Random(sim.seed).choice((0.0, 5.0)))
    sim.advance(PATIENCE)
    for component in components:
        assert component.close(PATIENCE)


# The scenarios.


def one_connection(sim: Sim) -> None:
    """A client and its server send to each other, while the network fails."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world
    server = world.server(
        buffer=buffer(rng), ping_interval=rng.choice((None, 2.0)), ping_timeout=2.0
    )
    client = world.client(server, "/a", **options(rng))
    seen, served = Observed(sim, client), Observed(sim, server)
    faults = rng.choice((0, 1, 4))
    scene.trouble(server.port, faults, 5.0)

    up = [Sender(name, client.on_next, rng.randint(1, 12), 1.0) for name in ("up-a", "up-b")]
    down = [
        Sender(
            "down", lambda value: server.on_next(TaggedData("/a", value)), rng.randint(1, 12), 1.0
        )
    ]
    threads = [sim.thread(sender.run, sim, name=sender.name) for sender in up + down]
    if rng.random() < 0.5:
        sim.at(rng.random() * 5.0, lambda: client.close(rng.choice((0.0, 0.1, 10.0))))
    for thread in threads:
        thread.join(PATIENCE)
    sim.advance(rng.choice((0.0, 5.0)))
    order = [client, server]
    rng.shuffle(order)
    finish(sim, *order)

    seen.check_end()
    served.check_end()
    seen.check_sent(up)
    received = [tagged.data for tagged in served.values.values]
    check_received(received, up)
    check_received(seen.values.values, down)
    assert len(received) == server.health().messages_in <= client.health().messages_out
    sent = server.health().messages_out + served.lost
    assert sent >= len(down[0].accepted)


def grouped(sim: Sim) -> None:
    """Threads send on the paths of a group, while paths come and go and the network fails."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world
    server = world.server()
    group = world.group(server, **options(rng))
    seen, served = Observed(sim, group), Observed(sim, server)
    states = sim.record(group.connection_state)
    scene.trouble(server.port, rng.choice((0, 1, 3)), 3.0)
    paths = ("/a", "/b", "/c")

    def send_to(path: str) -> Callable[[str], object]:
        return lambda value: group.on_next(TaggedData(path, value))

    senders = [
        Sender(f"{who}{path}", send_to(path), rng.randint(1, 6), 1.0)
        for who in ("x", "y")
        for path in rng.sample(paths, 2)
    ]
    threads = [sim.thread(sender.run, sim, name=sender.name) for sender in senders]
    for _ in range(rng.randint(0, 3)):
        sim.at(rng.random() * 3.0, lambda: _leave(group.open_path, rng.choice(paths)))
    for thread in threads:
        thread.join(PATIENCE)
    sim.advance(rng.choice((0.0, 5.0)))
    finish(sim, group, server)

    seen.check_end()
    served.check_end()
    seen.check_sent(senders)
    received = [tagged.data for tagged in served.values.values]
    check_received(received, senders)
    assert not group._clients
    for path in paths:
        of_path = [tagged.data for tagged in states.values if tagged.tag == path]
        _check_lives(of_path)


def _leave(open_path: Callable[[str], RxWSClient], path: str) -> None:
    try:
        open_path(path).close(0.1)
    except ComponentClosedError:
        pass


def _check_lives(states: list[str]) -> None:
    """Check the states of a path, which may be open again before it has closed."""
    assert states.count("connecting") == states.count("closed")
    assert not states or states[-1] == "closed"


def closing(sim: Sim) -> None:
    """Several threads close, send, subscribe and look, all at once."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world
    server = world.server()
    client = world.client(server, "/a", **options(rng))
    seen = Observed(sim, client)
    if rng.random() < 0.7:
        assert client.wait_connected(PATIENCE)
    sender = Sender("s", client.on_next, 5, 0.0)
    late: list[Recorder[Any]] = []

    def subscribe() -> None:
        for stream in (client, client.connection_state, client.errors, client.losses):
            late.append(sim.record(stream))

    acts: list[Callable[[], object]] = [
        lambda: sender.run(sim),
        subscribe,
        lambda: client.close(5.0),
        client.on_completed,
        client.dispose,
        lambda: client.on_error(ValueError("no source")),
        client.health,
        lambda: client.wait_connected(rng.random()),
        lambda: server.close(5.0),
    ]
    threads = [sim.thread(act) for act in rng.sample(acts, rng.randint(3, len(acts)))]
    for thread in threads:
        thread.join(PATIENCE)
    finish(sim, server, client)

    seen.check_end()
    seen.check_sent([sender])
    assert all(recorder.ended for recorder in late)
    assert all(recorder.ended_at is not None for recorder in late)


_SENDERS = (("x", "/a"), ("y", "/a"), ("z", "/b"))


def group_closing(sim: Sim) -> None:
    """Threads send on the paths of a group, and open paths, while others close it."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world
    server = world.server()
    group = world.group(server, **options(rng))
    seen = Observed(sim, group)

    def send_to(path: str) -> Callable[[str], object]:
        return lambda value: group.on_next(TaggedData(path, value))

    senders = [Sender(name, send_to(path), 4, 0.01) for name, path in _SENDERS]
    acts: list[Callable[[], object]] = [
        *(partial(sender.run, sim) for sender in senders),
        lambda: group.close(5.0),
        lambda: _leave(group.open_path, "/a"),
        lambda: _leave(group.open_path, "/c"),
        lambda: group.wait_connected(rng.random()),
        group.health,
        lambda: server.close(5.0),
    ]
    threads = [sim.thread(act) for act in rng.sample(acts, rng.randint(3, len(acts)))]
    for thread in threads:
        thread.join(PATIENCE)
    finish(sim, group, server)

    seen.check_end()
    seen.check_sent(senders)
    assert not group._clients


class Workers(Scheduler):
    """A scheduler that runs each action in a thread of the simulation."""

    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    def schedule(self, action: Callable[..., Any], state: Any = None) -> DisposableBase:
        """Run ``action`` soon, elsewhere."""
        self._sim.thread(action, self, state)
        return Disposable()

    def schedule_relative(
        self, duetime: Any, action: Callable[..., Any], state: Any = None
    ) -> DisposableBase:
        """Components ask for nothing but :meth:`schedule`."""
        raise NotImplementedError

    schedule_absolute = schedule_relative


def between_threads(sim: Sim) -> None:
    """Subscribers run on other threads, and the component stops reading when they are behind."""
    scene = Scene(sim)
    rng, world = scene.rng, scene.world
    parts: dict[str, Any] = {
        "scheduler": Workers(sim),
        "limits": Limits(max_undelivered=rng.choice((1, 3, 100))),
    }
    server = world.server(**parts)
    client = world.client(server, "/a", **{**options(rng), "buffer": Buffer()}, **parts)
    seen, served = Observed(sim, client), Observed(sim, server)
    inside: list[str] = []

    def slow(value: Any) -> None:
        inside.append(str(value))
        if rng.random() < 0.3:
            sim.advance(rng.random() * 0.1)
        assert inside == [str(value)], "called by two threads at once"
        inside.clear()

    server.subscribe(slow)
    scene.trouble(server.port, rng.choice((0, 0, 2)), 1.0)
    up = [Sender(name, client.on_next, rng.randint(1, 12), 0.1) for name in ("up-a", "up-b")]
    threads = [sim.thread(sender.run, sim, name=sender.name) for sender in up]
    for thread in threads:
        thread.join(PATIENCE)
    finish(sim, client, server)

    seen.check_end()
    served.check_end()
    seen.check_sent(up)
    received = [tagged.data for tagged in served.values.values]
    # What an earlier connection still has to deliver may come after a later one's.
    check_received(received, up, ordered=server.health().connections_opened == 1)
    assert len(received) == server.health().messages_in


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (one_connection, grouped, closing, group_closing, between_threads)
}
