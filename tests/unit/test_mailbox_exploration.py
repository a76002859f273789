"""The mailbox between real threads, statement by statement: nothing lost, doubled or overtaken."""

from __future__ import annotations

import os

import pytest
from world import World

from rxplus import Buffer, BufferFullError, ComponentClosedError, Overflow
from rxplus._engine.answers import Answers
from rxplus._engine.mailbox import Mailbox
from rxplus_testing import Sim

COUNT = int(os.environ.get("RXPLUS_EXPLORE", "20"))
FIRST = int(os.environ.get("RXPLUS_EXPLORE_FIRST", "0"))

MOST = 72
"""Messages that may wait: a few come the short way, and the last ones do not."""


class Traffic:
    """Threads that send, a loop that takes, and one that seals the mailbox.

    Args:
        sim: with threads.
        overflow: what happens when it is full.
        taken_at_once: bytes that the loop takes at once.
        rests: virtual seconds that the loop lets pass before it takes.
    """

    def __init__(self, sim: Sim, overflow: Overflow, taken_at_once: int, rests: float) -> None:
        self._sim = sim
        self._lease = sim.runtime.acquire()
        self._at_once = taken_at_once
        self._rests = rests
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.taken: list[str] = []
        self.lost = 0
        self.most = 0
        self.box: Mailbox[str] = Mailbox(
            sim.runtime,
            Answers(self._lease),
            Buffer(max_messages=MOST, max_bytes=MOST * 10, overflow=overflow),
            name="RxTest-1",
            payload=lambda item: item,
            on_ready=self._on_ready,
            on_lost=self._on_lost,
            on_overrun=lambda: None,
        )

    def run(self, threads: int, each: int, sealed_at: float) -> None:
        """Let it run until nothing happens any more."""
        senders = [
            self._sim.thread(self._send, name, each, name=name) for name in "abcdefgh"[:threads]
        ]
        self._sim.at(sealed_at, self.box.seal)
        for sender in senders:
            sender.join()
        self._sim.advance(100.0)
        self._lease.release()

    def _send(self, name: str, each: int) -> None:
        for number in range(each):
            message = f"{name}{number}"
            try:
                # Ten bytes come the short way, eleven do not.
                self.box.put(message, 10 + (number % 7 == 3))
            except (BufferFullError, ComponentClosedError):
                self.refused.append(message)
            else:
                self.accepted.append(message)
            self.most = max(self.most, len(self.box))

    def _on_lost(self) -> None:
        self.lost += sum(self.box.take_losses().values())

    def _on_ready(self) -> None:
        self._lease.loop.call_later(self._rests, self._take)

    def _take(self) -> None:
        while len(self.box):
            self.taken += [message for message, _ in self.box.take(self._at_once)]


@pytest.mark.parametrize("overflow", [Overflow.error(), Overflow.block(None)], ids=str)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_mailbox_loses_and_doubles_nothing_between_threads(seed: int, overflow: Overflow) -> None:
    """What was accepted is taken, once and in each thread's order; what was refused is not."""
    with Sim(seed, mode="threads", switch=0.3, stall=0.002) as sim:
        traffic = Traffic(sim, overflow, (40, 10**6)[seed % 2], (0.0, 0.01)[seed // 2 % 2])
        traffic.run(threads=4, each=30, sealed_at=(0.02, 5.0, 90.0)[seed % 3])
    assert sorted(traffic.taken) == sorted(traffic.accepted)
    assert len(traffic.accepted) + len(traffic.refused) == 4 * 30
    for name in "abcd":
        numbers = [int(message[1:]) for message in traffic.taken if message[0] == name]
        assert numbers == sorted(numbers)
    assert traffic.most <= MOST


@pytest.mark.parametrize("overflow", [Overflow.drop_oldest(), Overflow.drop_newest()], ids=str)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_mailbox_tells_of_every_loss_between_threads(seed: int, overflow: Overflow) -> None:
    """What was accepted is taken once, or counted as lost."""
    with Sim(seed, mode="threads", switch=0.3, stall=0.002) as sim:
        traffic = Traffic(sim, overflow, 10**6, (0.05, 1.0)[seed % 2])
        traffic.run(threads=4, each=30, sealed_at=(0.02, 5.0, 90.0)[seed % 3])
    assert len(traffic.taken) + traffic.lost == len(traffic.accepted)
    assert len(set(traffic.taken)) == len(traffic.taken)
    assert set(traffic.taken) <= set(traffic.accepted)
    assert len(traffic.accepted) + len(traffic.refused) == 4 * 30


def test_loss_that_comes_while_the_loop_wakes_up_is_told_of() -> None:
    """Whoever notes it finds the loop woken already; so that must not have looked yet."""
    with Sim(mode="threads") as sim:
        traffic = Traffic(sim, Overflow.drop_newest(), 10**6, 1.0)
        with sim.pause_at("mailbox:Mailbox._wake", line="with self._lock") as pause:
            traffic.box.put("first", 10)
            pause.wait()
            for _ in range(MOST):
                traffic.box.put("next", 10)
        sim.advance(2.0)
        assert (len(traffic.taken), traffic.lost) == (MOST, 1)
        traffic.run(threads=0, each=0, sealed_at=50.0)


def test_message_that_comes_while_the_client_closes_is_sent() -> None:
    """Its sender has left it and not woken the loop yet; closing does, and loses no time."""
    with Sim(mode="threads") as sim:
        world = World(sim)
        server = world.server()
        received = sim.record(server)
        client = world.connected(server)
        client.on_next("first")
        sim.advance(1.0)
        with sim.pause_at("mailbox:Mailbox.put", line="if not self._woken") as pause:
            sender = sim.thread(client.on_next, "second")
            pause.wait()
            began = sim.now
            assert client.close(60.0)
            assert sim.now - began < 1.0
        sender.join()
        assert [tagged.data for tagged in received.values] == ["first", "second"]
        server.close()
