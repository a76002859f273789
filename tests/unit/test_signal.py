"""Waiting, on the loop, for something to happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from rxplus._engine.signal import Signal


class Waiters:
    """Tasks that wait for a signal, and note that they woke."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.awake: list[str] = []

    def begin(self, name: str) -> asyncio.Task[None]:
        """Start one."""
        return asyncio.get_running_loop().create_task(self.wait(name))

    async def wait(self, name: str) -> None:
        """Wait once."""
        await self.signal.wait()
        self.awake.append(name)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(scenario: Callable[[Signal, Waiters], Coroutine[None, None, None]]) -> None:
    """Run a scenario on a loop of its own."""

    async def main() -> None:
        signal = Signal()
        await scenario(signal, Waiters(signal))

    asyncio.run(main())


def test_signal_wakes_all_who_wait() -> None:
    """One signal is for everyone who waits when it is sent."""

    async def scenario(signal: Signal, waiters: Waiters) -> None:
        tasks = [waiters.begin("a"), waiters.begin("b")]
        await settle()
        assert waiters.awake == []
        signal.send()
        await asyncio.gather(*tasks)
        assert waiters.awake == ["a", "b"]

    run(scenario)


def test_signal_is_not_for_those_who_come_later() -> None:
    """A signal is not remembered: who waits after it waits for the next."""

    async def scenario(signal: Signal, waiters: Waiters) -> None:
        signal.send()
        task = waiters.begin("late")
        await settle()
        assert waiters.awake == []
        signal.send()
        await task
        again = waiters.begin("again")
        await settle()
        assert waiters.awake == ["late"]
        signal.send()
        await again

    run(scenario)


def test_signal_survives_a_waiter_that_gives_up() -> None:
    """Cancelling one waiter neither wakes nor cancels the others."""

    async def scenario(signal: Signal, waiters: Waiters) -> None:
        impatient, patient = waiters.begin("impatient"), waiters.begin("patient")
        await settle()
        impatient.cancel()
        await settle()
        assert impatient.cancelled()
        assert not patient.done()
        signal.send()
        await patient
        assert waiters.awake == ["patient"]

    run(scenario)


def test_signal_may_be_sent_when_all_have_given_up() -> None:
    """A signal that nobody waits for any more is no failure."""

    async def scenario(signal: Signal, waiters: Waiters) -> None:
        task = waiters.begin("a")
        await settle()
        task.cancel()
        await settle()
        signal.send()
        signal.send()
        await settle()
        assert waiters.awake == []

    run(scenario)


def test_signal_can_be_made_and_sent_without_a_loop() -> None:
    """Nothing is needed, or spent, while nobody waits."""
    Signal().send()
