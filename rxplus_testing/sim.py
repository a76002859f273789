"""A simulation: components, network and clock under the control of one test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from reactivex import Observable

from rxplus_testing._driver import Driver
from rxplus_testing._errors import LeakError, SimDeadlock, SimError, SimTimeout
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._recorder import Recorder
from rxplus_testing._runtime import InlineRuntime
from rxplus_testing._rxplus import Runtime, Transport
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._teardown import Collector, cancel_tasks, describe_failure
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.memory import MemoryNetwork, MemoryTransport

__all__ = ["Sim"]

T = TypeVar("T")


class Sim:
    """One simulated world, in virtual time.

    Give :attr:`runtime` and :attr:`transport` to the components under test.
    The test's thread runs everything: while the test's own lines run, the
    world stands still; :meth:`advance` and its kin, and each blocking call of
    a component, let it go on. All times are virtual, in seconds from 0.

    Use it as a context manager, or call :meth:`close`.

    Args:
        seed: decides everything that is random.

    Attributes:
        seed: as given.
        loop: the virtual asyncio loop.
        net: the network of :attr:`transport`, which takes the faults.
        byte_net: the network of the loop's sockets, on which the real transport runs:
            components use it that are given :attr:`runtime` alone.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._collector = Collector()
        self.loop = VirtualLoop()
        self.net = MemoryNetwork(self.loop, seed=seed)
        self.byte_net = ByteNetwork(self.loop, seed=seed)
        self._driver = Driver(self.loop)
        self._runtime = InlineRuntime(self.loop, self._driver, seed)
        self._transport = MemoryTransport(self.net)
        self._scheduler = VirtualScheduler(self.loop)
        self._recorders: list[Recorder[Any]] = []

    @property
    def runtime(self) -> Runtime:
        """The runtime for the components under test."""
        return self._runtime

    @property
    def transport(self) -> Transport:
        """A transport on :attr:`net`."""
        return self._transport

    @property
    def scheduler(self) -> VirtualScheduler:
        """The scheduler for operators that take time, such as ``ops.delay``."""
        return self._scheduler

    @property
    def now(self) -> float:
        """The virtual time."""
        return self.loop.time()

    def run_until_idle(self) -> None:
        """Run all that can run without time passing."""
        self._driver.run_until_idle()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, with all that happens in them.

        Raises:
            ValueError: ``seconds`` is negative, infinite or not a number.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"seconds must be finite and not negative, got {seconds!r}")
        self._driver.advance_to(self.now + seconds)

    def run_until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """Run until ``predicate()`` is true, and not a turn of the loop further.

        Raises:
            SimTimeout: it is still false after ``timeout`` seconds.
            SimDeadlock: nothing is left that could make it true.
        """
        end = self.now + timeout
        if self._driver.run_until(predicate, end):
            return
        if not self._driver.has_future():
            raise SimDeadlock(f"nothing is left that could make it true\n{self.loop.describe()}")
        self.loop.skip_to(end)
        raise SimTimeout(f"still not true after {timeout} s\n{self.loop.describe()}")

    def run(self, coro: Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
        """Run ``coro`` on the loop, as a task, and return what it returns.

        Raises:
            SimTimeout: it has not ended after ``timeout`` seconds; it is cancelled.
            SimDeadlock: it waits for something that cannot happen; it is cancelled.
        """
        task = self._start(coro)
        try:
            self.run_until(task.done, timeout)
        except SimError:
            task.cancel()
            self._driver.run_until_idle()
            raise
        result: T = task.result()
        return result

    def _start(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            self._driver.refuse_in_callback("run a coroutine")
            return self.loop.create_task(coro)
        except BaseException:
            # It will not be awaited, and should not warn of that on top.
            coro.close()
            raise

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Call ``action()`` when the virtual time is ``when``, as another thread would.

        It is called between two turns of the loop, so it may block. What it
        raises comes out of the call that lets the time pass.
        """
        self._driver.at(when, action)

    def record(self, observable: Observable[T]) -> Recorder[T]:
        """Subscribe to ``observable`` and write down all that it does."""
        recorder = Recorder(observable, self._scheduler, self.loop.time)
        self._recorders.append(recorder)
        return recorder

    def close(self) -> None:
        """End the simulation. Closing twice is harmless.

        Raises:
            LeakError: something is still open, or failed where nobody could hear it.
        """
        problems = self._end()
        if problems:
            raise LeakError("left over at the end:\n" + "\n".join(problems))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.close()
            return
        # A test that failed leaves things open; that must not hide why it failed.
        for problem in self._end():
            exc.add_note(f"left over: {problem.strip()}")

    def _end(self) -> list[str]:
        """Take everything down and return what should not have been there."""
        if self.loop.is_closed():
            return []
        problems: list[str] = []
        try:
            self._driver.run_until_idle()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            problems.append(f"  {type(error).__name__} while closing: {error}")
        problems += self._left_open()
        self._take_down()
        problems += [f"  {describe_failure(context)}" for context in self.loop.failures]
        return problems

    def _left_open(self) -> list[str]:
        leases = [f"  lease taken at {site}" for site in self._runtime.held()]
        network = [*self.net.describe_open(), *self.byte_net.describe_open()]
        return leases + [f"  {text}" for text in network] + self.loop.describe_tasks()

    def _take_down(self) -> None:
        for recorder in self._recorders:
            recorder.dispose()
        self._recorders.clear()
        cancel_tasks(self.loop)
        # A task or future that failed unheard says so when it is collected, and
        # it says it to the loop: so before that is closed.
        self._collector.collect()
        # Collecting an asynchronous generator starts a task that closes it.
        cancel_tasks(self.loop)
        self.loop.close()
