"""A simulation: components, network and clock under the control of one test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from reactivex import Observable

from rxplus_testing._baton_loop import BatonLoop
from rxplus_testing._baton_runtime import BatonRuntime
from rxplus_testing._driver import Driver
from rxplus_testing._errors import LeakError, SimError, SimTimeout
from rxplus_testing._invariants import Invariants
from rxplus_testing._jobs import SimThread
from rxplus_testing._loop import VirtualLoop
from rxplus_testing._recorder import Recorder
from rxplus_testing._runtime import InlineRuntime
from rxplus_testing._rxplus import Runtime, Transport
from rxplus_testing._scheduler import VirtualScheduler
from rxplus_testing._switching import Pause
from rxplus_testing._teardown import Collector, cancel_tasks, describe_failure
from rxplus_testing._threads import ThreadDriver
from rxplus_testing._timeline import SimTimeline
from rxplus_testing._trace import Trace
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.memory import MemoryNetwork, MemoryTransport

__all__ = ["Faults", "Mode", "Sim"]

T = TypeVar("T")

Mode = Literal["inline", "threads"]
"""Whether one thread plays all parts, or each part has its own."""


class Faults(Protocol):
    """What goes wrong in a simulation, planned beforehand."""

    def install(self, sim: Sim) -> object:
        """See to it that it goes wrong, with :meth:`Sim.at` and the network's own faults."""


class Sim:
    """One simulated world, in virtual time.

    Give :attr:`runtime` and :attr:`transport` to the components under test.
    All times are virtual, in seconds from 0. Use it as a context manager, or
    call :meth:`close`.

    In the mode ``"inline"`` the test's thread runs everything: while the test's
    own lines run, the world stands still; :meth:`advance` and its kin, and each
    blocking call of a component, let it go on.

    In the mode ``"threads"`` the loop has a thread of its own, and so has
    whatever :meth:`thread` and :meth:`at` start. One of them runs at a time. At
    each point where threads synchronise, and before source lines of rxplus,
    the seed picks who goes on. Time passes when all of them wait.

    Args:
        seed: decides everything that is random.
        mode: see above.
        stall: how likely a thread stands still before a statement of rxplus, for
            0.01 to 2 virtual seconds, in the mode ``"threads"``.
        switch: how likely another thread may run there, likewise.
        files: names of further files, or folders, whose statements count as those of rxplus.
        faults: what goes wrong.

    Attributes:
        seed: as given.
        mode: as given.
        loop: the virtual asyncio loop.
        net: the network of :attr:`transport`, which takes the faults.
        byte_net: the network of the loop's sockets, on which the real transport runs:
            components use it that are given :attr:`runtime` alone.
        trace: the steps so far.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        mode: Mode = "inline",
        stall: float = 0.0,
        switch: float = 0.1,
        files: Iterable[str] = (),
        faults: Faults | None = None,
    ) -> None:
        if mode not in ("inline", "threads"):
            raise ValueError(f"mode must be 'inline' or 'threads', got {mode!r}")
        self.seed = seed
        self.mode: Mode = mode
        self._collector = Collector()
        self.loop: VirtualLoop = VirtualLoop() if mode == "inline" else BatonLoop()
        self.trace = Trace(self.loop.time)
        self._invariants = Invariants(self.loop.time)
        self._driver: Driver | ThreadDriver
        self._runtime: InlineRuntime | BatonRuntime
        if isinstance(self.loop, BatonLoop):
            self._driver = ThreadDriver(
                self.loop,
                seed,
                self.trace,
                self._invariants,
                switch=switch,
                stall=stall,
                files=files,
            )
            self._runtime = BatonRuntime(self._driver.baton, self.loop, seed)
        else:
            self._driver = Driver(self.loop, self.trace, self._invariants)
            self._runtime = InlineRuntime(self.loop, self._driver, self.trace, seed)
        self.net = MemoryNetwork(self.loop, seed=seed)
        self.byte_net = ByteNetwork(self.loop, seed=seed)
        self._transport = MemoryTransport(self.net)
        self._scheduler = VirtualScheduler(self.loop)
        self._recorders: list[Recorder[Any]] = []
        self._threads: list[SimThread[Any]] = []
        if faults is not None:
            faults.install(self)

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
        if not self._driver.run_until(predicate, self.now + timeout):
            raise SimTimeout(f"still not true after {timeout} s\n{self.describe()}")

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

        It may block: it is called between two turns of the loop, or in a thread
        of its own. What it raises comes out of the call that lets the time pass.
        """
        self._driver.at(when, action)

    def thread(self, action: Callable[..., T], *args: Any, name: str | None = None) -> SimThread[T]:
        """Call ``action(*args)`` in another thread, from now on.

        Args:
            action: what the thread does.
            args: for ``action``.
            name: in the trace; made up when ``None``.

        Returns:
            The thread: :meth:`SimThread.join` returns what it returned. A failure
            that nobody joins is reported when the simulation is closed.
        """
        name = name or f"thread-{len(self._threads) + 1}"
        thread = SimThread(name, partial(action, *args), self.run_until)
        self._threads.append(thread)
        self._driver.spawn(name, thread.run)
        return thread

    def always(self, name: str, predicate: Callable[[], object]) -> None:
        """Look at ``predicate()`` between any two steps from now on.

        The first time that it is false, :class:`InvariantError` comes out of the
        call that lets the simulation run, or in the mode ``"threads"`` out of
        whatever the test's thread is doing. A predicate may not wait.

        Args:
            name: for the error.
            predicate: what must always hold.
        """
        self._invariants.add(name, predicate)

    def pause_at(self, label: str, *, line: str | None = None, thread: str | None = None) -> Pause:
        """Hold each thread that comes to a place in the code, until it is released.

        Args:
            label: the function: ``"put"``, ``"Mailbox.put"`` or
                ``"rxplus._engine.mailbox:Mailbox.put"``. It must be in rxplus or
                in ``files``.
            line: a part of the source of the statement before which to hold;
                ``None``: the function's first one.
            thread: the name of the only thread to hold; ``None``: any.

        Raises:
            SimError: the mode is not ``"threads"``.
        """
        pause = Pause(label, line, thread, self.run_until)
        self._driver.pause_at(pause)
        return pause

    def describe(self) -> str:
        """Return the time, where threads and tasks wait, and what has not arrived, a line each."""
        networks = [*self.net.describe_under_way(), *self.byte_net.describe_under_way()]
        return "\n".join([self._driver.describe(), *(f"  undelivered {line}" for line in networks)])

    def record(self, observable: Observable[T]) -> Recorder[T]:
        """Subscribe to ``observable`` and write down all that it does."""
        recorder = Recorder(observable, SimTimeline(self))
        self._recorders.append(recorder)
        return recorder

    @property
    def recorders(self) -> tuple[Recorder[Any], ...]:
        """What :meth:`record` has returned, in order."""
        return tuple(self._recorders)

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
            self._driver.settle()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            problems.append(f"  {type(error).__name__} while closing: {error}")
        problems += self._left_open()
        self._shut_down()
        problems += self._driver.end()
        self._take_down()
        problems += [f"  {describe_failure(context)}" for context in self.loop.failures]
        return problems

    def _left_open(self) -> list[str]:
        leases = [f"  lease taken at {site}" for site in self._runtime.held()]
        open_ends = (*self.net.describe_open(), *self.byte_net.describe_open())
        network = [f"  {text}" for text in open_ends]
        failed = [
            f"  thread {thread.name} raised {error!r}"
            for thread in self._threads
            if (error := thread.take_error()) is not None
        ]
        return leases + network + self.loop.describe_tasks() + failed

    def _shut_down(self) -> None:
        """Close the components that are open. Collected open, they would warn in a later test."""
        for recorder in self._recorders:
            recorder.dispose()
        with contextlib.suppress(Exception):  # what is wrong has been reported already
            self._runtime.exits.run()

    def _take_down(self) -> None:
        cancel_tasks(self.loop)
        # A task or future that failed unheard says so when it is collected, and
        # it says it to the loop: so before that is closed.
        self._collector.collect()
        # Collecting an asynchronous generator starts a task that closes it.
        cancel_tasks(self.loop)
        self.loop.close()
