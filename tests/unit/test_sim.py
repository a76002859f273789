"""The simulation: its loop, its clock, its runtime, and what it says when things go wrong."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.internal.constants import UTC_ZERO
from reactivex.subject import Subject

from rxplus import RxWSClient
from rxplus.handshake import Request
from rxplus.runtime import Runtime
from rxplus.transport import ClientEndpoint, Connection, OnConnection, ServerEndpoint, Transport
from rxplus_testing import (
    ForeignThreadError,
    LeakError,
    MemoryNetwork,
    Sim,
    SimDeadlock,
    SimTimeout,
    VirtualLoop,
)


def in_thread(action: Callable[[], object]) -> list[BaseException]:
    """Call ``action`` in a thread named "intruder" and return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="intruder")
    thread.start()
    thread.join()
    return raised


# The loop.


def test_loop_equal_deadlines_run_in_order() -> None:
    """Timers for the same moment run in the order they were made, cancelled ones left out."""
    loop = VirtualLoop()
    ran: list[int] = []
    timers = [loop.call_at(5.0, ran.append, number) for number in range(1000)]
    for timer in timers[::3]:
        timer.cancel()
    loop.run_until_complete(asyncio.sleep(10))
    loop.close()
    assert ran == [number for number in range(1000) if number % 3]


def test_loop_sleep_moves_the_clock_exactly() -> None:
    """Sleeping takes no real time, and virtual time to the last bit."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.sleep(86_400 * 365))
        assert runner.get_loop().time() == 86_400 * 365


def test_loop_timer_runs_when_clock_is_far_on() -> None:
    """A timer that is due now runs also when a float of that size has coarse steps."""
    loop = VirtualLoop()
    loop.skip_to(1e12)
    ran: list[float] = []
    loop.call_at(1e12, lambda: ran.append(loop.time()))
    loop.call_at(1e12 + 1, lambda: ran.append(loop.time()))
    assert loop.turn()
    assert not loop.turn()
    loop.close()
    assert ran == [1e12]


def test_loop_without_work_is_a_deadlock() -> None:
    """Waiting for a future that nobody sets raises instead of hanging."""
    loop = VirtualLoop()
    forever: asyncio.Future[None] = loop.create_future()
    with pytest.raises(SimDeadlock, match="nothing is left to run"):
        loop.run_until_complete(forever)
    loop.close()


def test_loop_run_in_executor_runs_inline() -> None:
    """A job for an executor runs on the loop's own thread, result and error included."""

    def fail() -> None:
        raise ValueError("no")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="no"):
            await loop.run_in_executor(None, fail)
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    with Sim() as sim:
        assert sim.run(main()) == threading.current_thread().name


def test_loop_run_in_executor_lets_exits_out() -> None:
    """A job that ends the program is not mistaken for one that failed."""
    with Sim() as sim:
        sim.loop.run_in_executor(None, sys.exit, 3)
        with pytest.raises(SystemExit):
            sim.run_until_idle()


def test_loop_run_in_executor_cancelled_does_not_run() -> None:
    """A job whose future was cancelled before its turn is not run."""
    ran: list[int] = []
    with Sim() as sim:
        sim.loop.run_in_executor(None, ran.append, 1).cancel()
        sim.run_until_idle()
    assert ran == []


def test_loop_threadsafe_call_from_foreign_thread_names_it() -> None:
    """A call from a thread that is not simulated is refused by the thread's name."""
    with Sim() as sim:
        (error,) = in_thread(lambda: sim.loop.call_soon_threadsafe(print))
    assert isinstance(error, ForeignThreadError)
    assert "'intruder'" in str(error)


def test_loop_threadsafe_call_from_own_thread_runs() -> None:
    """From its own thread the call is the same as call_soon."""
    ran: list[int] = []
    with Sim() as sim:
        sim.loop.call_soon_threadsafe(ran.append, 1)
        sim.run_until_idle()
    assert ran == [1]


def test_loop_cannot_be_driven_by_foreign_thread() -> None:
    """Only the thread that made the simulation may run it."""
    with Sim() as sim:
        (error,) = in_thread(sim.run_until_idle)
    assert isinstance(error, ForeignThreadError)


def test_loop_task_names_repeat_in_each_run() -> None:
    """Unnamed tasks get a name that does not depend on what ran before."""

    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    names: list[str] = []
    for _ in range(2):
        with Sim() as sim:
            names.append(sim.run(work()))
    assert names[0] == names[1]
    assert names[0].endswith("work#1")


# Driving.


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a loop to spin after fewer turns, to find it out sooner."""
    monkeypatch.setattr("rxplus_testing._driver._TURNS_AT_ONE_MOMENT", 1000)


def test_run_until_idle_passes_no_time() -> None:
    """Everything ready runs, timers of the future do not."""
    ran: list[str] = []
    with Sim() as sim:
        sim.loop.call_later(1.0, ran.append, "later")
        sim.loop.call_soon(sim.loop.call_soon, ran.append, "soon")
        sim.run_until_idle()
        assert (ran, sim.now) == (["soon"], 0.0)


def test_run_until_idle_reports_a_spinning_loop(short_patience: None) -> None:
    """A callback that schedules itself for ever ends in an error, not in a hang."""
    spinning = True
    with Sim() as sim:

        def spin() -> None:
            if spinning:
                sim.loop.call_soon(spin)

        spin()
        with pytest.raises(SimTimeout, match="spins for ever"):
            sim.run_until_idle()
        spinning = False


def test_run_until_reports_a_spinning_loop(short_patience: None) -> None:
    """The same while waiting for a predicate."""
    spinning = True
    with Sim() as sim:

        def spin() -> None:
            if spinning:
                sim.loop.call_soon(spin)

        spin()
        with pytest.raises(SimTimeout, match="spins for ever"):
            sim.run_until(lambda: False)
        spinning = False


def test_advance_runs_what_is_due_in_order() -> None:
    """All up to and including the end runs, each thing at its own time."""
    ran: list[float] = []
    with Sim() as sim:
        for when in (2.0, 1.0, 3.0, 3.5):
            sim.loop.call_at(when, lambda: ran.append(sim.now))
        sim.advance(3.0)
        assert (ran, sim.now) == ([1.0, 2.0, 3.0], 3.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_advance_refuses_what_is_no_duration(seconds: float) -> None:
    """Time neither goes back nor on for ever."""
    with Sim() as sim, pytest.raises(ValueError, match="finite and not negative"):
        sim.advance(seconds)


def test_run_until_stops_at_the_turn() -> None:
    """The clock stands where the predicate became true."""
    ran: list[int] = []
    with Sim() as sim:
        sim.loop.call_at(1.0, ran.append, 1)
        sim.loop.call_at(2.0, ran.append, 2)
        sim.run_until(lambda: ran)
        assert (ran, sim.now) == ([1], 1.0)


def test_run_until_timeout_tells_where_tasks_wait() -> None:
    """The error names each task, sorted, and the line that it waits in."""

    async def inner() -> None:
        await asyncio.sleep(100)

    async def outer() -> None:
        await inner()

    with Sim() as sim:
        tasks = [sim.loop.create_task(outer(), name=name) for name in ("b", "a")]
        with pytest.raises(SimTimeout) as caught:
            sim.run_until(lambda: False, timeout=5.0)
        assert sim.now == 5.0
        for task in tasks:
            task.cancel()
        sim.run_until_idle()
    lines = str(caught.value).splitlines()
    assert lines[0] == "still not true after 5.0 s"
    assert lines[1] == "t=5.000000, next timer at 100.000000"
    assert [line.split(":")[0] for line in lines[2:]] == ["  task a", "  task b"]
    assert "test_sim.py" in lines[2]
    assert lines[2].index(" outer") < lines[2].index(" inner")


def test_run_until_with_nothing_left_is_a_deadlock() -> None:
    """What can never become true is told at once, without the time passing."""
    with Sim() as sim:
        with pytest.raises(SimDeadlock):
            sim.run_until(lambda: False)
        assert sim.now == 0.0


def test_run_returns_the_result() -> None:
    """A coroutine runs to its end in virtual time."""

    async def main() -> str:
        await asyncio.sleep(3)
        return "done"

    with Sim() as sim:
        assert sim.run(main()) == "done"
        assert sim.now == 3.0


def test_run_raises_what_the_coroutine_raises() -> None:
    """An exception in the coroutine is the caller's."""

    async def main() -> None:
        raise KeyError("x")

    with Sim() as sim, pytest.raises(KeyError):
        sim.run(main())


def test_run_gives_up_and_cancels() -> None:
    """A coroutine that takes too long is cancelled and leaves nothing."""
    cancelled: list[bool] = []

    async def main() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with Sim() as sim:
        with pytest.raises(SimTimeout):
            sim.run(main(), timeout=1.0)
        assert cancelled == [True]


def test_run_in_a_callback_is_a_deadlock() -> None:
    """A callback that waits for a coroutine would wait for itself; nothing is left unawaited."""
    caught: list[SimDeadlock] = []

    async def never() -> None: ...

    with Sim() as sim:

        def wait() -> None:
            try:
                sim.run(never())
            except SimDeadlock as error:
                caught.append(error)

        sim.loop.call_soon(wait)
        sim.run_until_idle()
        gc.collect()
    assert len(caught) == 1


def test_at_is_called_outside_the_loop() -> None:
    """An action is called at its time, as by another thread, and may block."""
    with Sim() as sim:
        event = sim.runtime.event()
        lease = sim.runtime.acquire()
        seen: list[tuple[float, bool, bool]] = []
        sim.at(1.0, lambda: seen.append((sim.now, lease.in_loop(), event.wait(2.0))))
        sim.loop.call_at(2.5, event.set)
        sim.advance(1.0)
        assert (seen, sim.now) == ([(1.0, False, True)], 2.5)
        lease.release()


def test_at_error_comes_out_of_the_drive() -> None:
    """What an action raises reaches the test."""

    def fail() -> None:
        raise KeyError("x")

    with Sim() as sim:
        sim.at(1.0, fail)
        with pytest.raises(KeyError):
            sim.advance(2.0)


def test_at_same_time_runs_in_order() -> None:
    """Actions for the same time run in the order of the calls, before the loop's timers."""
    ran: list[str] = []
    with Sim() as sim:
        sim.loop.call_at(1.0, ran.append, "timer")
        sim.at(1.0, lambda: ran.append("a"))
        sim.at(1.0, lambda: ran.append("b"))
        sim.advance(1.0)
    assert ran == ["a", "b", "timer"]


# The scheduler and the recorder.


def test_scheduler_now_is_virtual() -> None:
    """The scheduler's clock is the loop's."""
    with Sim() as sim:
        sim.advance(90.0)
        assert sim.scheduler.now == UTC_ZERO + timedelta(seconds=90)


def test_record_delay_in_virtual_time() -> None:
    """A delayed value comes after its delay, and the recorder says when."""
    with Sim() as sim:
        recorder = sim.record(rx.of("a", "b").pipe(ops.delay(1.5)))
        sim.advance(1.0)
        assert recorder.values == []
        sim.advance(1.0)
        assert (recorder.values, recorder.times) == (["a", "b"], [1.5, 1.5])
        assert (recorder.completed, recorder.ended_at) == (True, 1.5)


def test_record_interval_uses_the_scheduler() -> None:
    """Operators that make timers get the simulation's scheduler without being told."""
    with Sim() as sim:
        recorder = sim.record(rx.interval(1.0))
        sim.advance(3.0)
        assert recorder.times == [1.0, 2.0, 3.0]


def test_record_repr_is_readable() -> None:
    """A failed assertion on a recorder shows what it saw, and when."""
    with Sim() as sim:
        subject: Subject[str] = Subject()
        recorder = sim.record(subject)
        assert repr(recorder) == "<Recorder nothing yet>"
        subject.on_next("a")
        sim.advance(1.0)
        subject.on_error(ValueError("no"))
        assert repr(recorder) == "<Recorder 0.000000 'a'; 1.000000 error ValueError('no')>"
        assert isinstance(recorder.error, ValueError)
        assert recorder.ended
        assert not recorder.completed


def test_record_dispose_stops_recording() -> None:
    """After dispose nothing is added."""
    with Sim() as sim:
        subject: Subject[int] = Subject()
        recorder = sim.record(subject)
        subject.on_next(1)
        recorder.dispose()
        subject.on_next(2)
        assert recorder.values == [1]


# The runtime.


def test_runtime_and_transport_fit_their_protocols() -> None:
    """The type checker sees that the simulation gives what components take."""
    with Sim() as sim:
        runtime: Runtime = sim.runtime
        transport: Transport = sim.transport
        assert runtime is sim.runtime
        assert transport is sim.transport


def test_runtime_random_follows_the_seed() -> None:
    """The same seed gives the same numbers, another seed others."""

    def draw(seed: int) -> float:
        with Sim(seed) as sim:
            return sim.runtime.random.random()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_runtime_now_is_virtual() -> None:
    """The runtime's clock is the loop's."""
    with Sim() as sim:
        sim.advance(2.0)
        assert sim.runtime.now() == 2.0


def test_runtime_at_exit_is_called_when_the_simulation_ends() -> None:
    """What is open at the end begins to close, all before any is waited for; others do not."""
    called: list[str] = []
    with Sim() as sim:

        def begin(name: str) -> Callable[[], None]:
            called.append(f"begin {name}")
            return lambda: called.append(f"end {name}")

        take_back = sim.runtime.at_exit(lambda: begin("no"))
        sim.runtime.at_exit(lambda: begin("a"))
        sim.runtime.at_exit(lambda: begin("b"))
        take_back()
        take_back()
    assert called == ["begin a", "begin b", "end a", "end b"]


def test_sim_that_failed_closes_its_components(recwarn: pytest.WarningsRecorder) -> None:
    """What a failed test left open does not warn when it is collected, during other tests."""
    sim = Sim()
    client = RxWSClient(
        {"host": "127.0.0.1", "port": 9000, "path": "/"},
        runtime=sim.runtime,
        transport=sim.transport,
    )
    states = sim.record(client.connection_state)
    with pytest.raises(KeyError), sim:
        raise KeyError
    assert client.health().state == "closed"
    assert states.values == ["connecting"]
    del client
    gc.collect()
    assert len(recwarn) == 0


def test_lease_in_loop_only_inside_callbacks() -> None:
    """The test's own lines are another thread; callbacks are the loop's."""
    with Sim() as sim:
        lease = sim.runtime.acquire()
        inside: list[bool] = []
        lease.call_soon(lambda: inside.append(lease.in_loop()))
        sim.run_until(lambda: inside or lease.in_loop())
        assert (inside, lease.in_loop()) == ([True], False)
        lease.release()


def test_lease_call_soon_keeps_the_order() -> None:
    """Callbacks run in the order of the calls, and not before the loop is driven."""
    ran: list[int] = []
    with Sim() as sim:
        lease = sim.runtime.acquire()
        assert all(lease.call_soon(ran.append, number) for number in range(5))
        assert ran == []
        sim.run_until_idle()
        assert ran == [0, 1, 2, 3, 4]
        lease.release()


def test_lease_call_soon_after_release_is_false() -> None:
    """A component that gave its lease up cannot call the loop; others still can."""
    ran: list[int] = []
    with Sim() as sim:
        first, second = sim.runtime.acquire(), sim.runtime.acquire()
        assert first.loop is second.loop
        first.release()
        first.release()
        assert not first.call_soon(ran.append, 1)
        assert second.call_soon(ran.append, 2)
        second.release()
        assert second.join()
        assert ran == [2]


def test_lease_join_runs_what_was_accepted() -> None:
    """After join, all that call_soon accepted has been called."""
    ran: list[int] = []
    with Sim() as sim:
        lease = sim.runtime.acquire()
        lease.call_soon(ran.append, 1)
        lease.release()
        assert lease.join(timeout=1.0)
        assert ran == [1]


def test_lease_join_on_the_loop_returns_at_once() -> None:
    """Joining from within a callback neither blocks nor raises."""
    joined: list[bool] = []
    with Sim() as sim:
        lease = sim.runtime.acquire()
        lease.call_soon(lambda: joined.append(lease.join()))
        sim.run_until_idle()
        lease.release()
    assert joined == [True]


def test_lease_after_close_of_the_simulation() -> None:
    """When the simulation has ended, calls are not made and no lease is given."""
    sim = Sim()
    lease = sim.runtime.acquire()
    with pytest.raises(LeakError):
        sim.close()
    assert not lease.call_soon(print)
    assert lease.join()
    lease.release()
    with pytest.raises(RuntimeError, match="closed"):
        sim.runtime.acquire()


def test_event_wait_runs_the_loop_until_set() -> None:
    """A blocking wait lets the world go on until the event is set, and no further."""
    with Sim() as sim:
        event = sim.runtime.event()
        sim.loop.call_at(2.0, event.set)
        assert event.wait(5.0)
        assert sim.now == 2.0
        assert event.is_set()
        assert event.wait()


def test_event_wait_times_out_in_virtual_time() -> None:
    """A wait that is not answered takes its timeout, exactly."""
    with Sim() as sim:
        event = sim.runtime.event()
        sim.loop.call_at(9.0, event.set)
        assert not event.wait(5.0)
        assert sim.now == 5.0
        event.set()
        event.clear()
        assert not event.wait(0.0)
        assert sim.now == 5.0


def test_event_set_at_the_last_moment_is_in_time() -> None:
    """What happens exactly when the timeout ends still counts, so that the result is certain."""
    with Sim() as sim:
        event = sim.runtime.event()
        sim.loop.call_at(5.0, event.set)
        assert event.wait(5.0)


def test_event_wait_without_hope_is_a_deadlock() -> None:
    """A wait without a timeout that nothing can end says where everybody waits."""

    async def wait_too() -> None:
        await asyncio.get_running_loop().create_future()

    with Sim() as sim:
        task = sim.loop.create_task(wait_too(), name="other")
        with pytest.raises(SimDeadlock) as caught:
            sim.runtime.event().wait()
        task.cancel()
        sim.run_until_idle()
    message = str(caught.value)
    assert "test_event_wait_without_hope_is_a_deadlock waits for an event" in message
    assert "task other" in message


def test_event_wait_on_the_loop_is_a_deadlock() -> None:
    """A callback that blocks would wait for itself, and is told so at once."""
    with Sim() as sim:
        event = sim.runtime.event()
        caught: list[SimDeadlock] = []

        def block() -> None:
            try:
                event.wait(1.0)
            except SimDeadlock as error:
                caught.append(error)

        sim.loop.call_soon(block)
        sim.run_until_idle()
        assert sim.now == 0.0
    assert "a blocking wait on the loop thread" in str(caught[0])


def test_lock_taken_twice_is_a_deadlock() -> None:
    """The only thread that could give the lock back is the one that waits for it."""
    with Sim() as sim:
        lock = sim.runtime.lock()
        with lock, pytest.raises(SimDeadlock, match=r"test_sim\.py:\d+ test_lock_taken_twice"):
            lock.__enter__()
        with lock:
            pass


def test_lock_refuses_foreign_threads() -> None:
    """Threads that the simulation does not control are refused."""
    with Sim() as sim:
        (error,) = in_thread(sim.runtime.lock().__enter__)
    assert isinstance(error, ForeignThreadError)


# The end.


def test_close_twice_is_harmless() -> None:
    """The second call does nothing."""
    sim = Sim()
    sim.close()
    sim.close()


def test_close_lets_ready_work_finish() -> None:
    """What needs no more time is done before anything is called a leak."""

    async def work() -> None:
        await asyncio.sleep(0)

    with Sim() as sim:
        sim.loop.create_task(work())


def test_close_reports_lease() -> None:
    """A lease that was not released is reported with the place that took it."""
    sim = Sim()
    sim.runtime.acquire()
    with pytest.raises(LeakError, match=r"lease taken at .*test_close_reports_lease"):
        sim.close()


def test_close_reports_task_and_cancels_it() -> None:
    """A task still running is reported with its wait site, and ended."""
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(True)

    sim = Sim()
    sim.loop.create_task(work(), name="busy")
    with pytest.raises(LeakError, match=r"task busy: .*test_sim\.py:\d+ work"):
        sim.close()
    assert ended == [True]


def test_close_reports_task_that_will_not_end() -> None:
    """A task that ignores cancellation is given up, not waited for."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    sim = Sim()
    sim.loop.create_task(stubborn(), name="mule")
    with pytest.raises(LeakError, match="task mule does not let itself be cancelled"):
        sim.close()


def test_close_reports_task_that_spins_on(short_patience: None) -> None:
    """A task that neither waits nor ends does not hang the test."""

    async def spin() -> None:
        while True:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                continue

    sim = Sim()
    sim.loop.create_task(spin(), name="top")
    with pytest.raises(LeakError, match=r"spins for ever[\s\S]*task top does not let itself"):
        sim.close()


def test_close_reports_listener_and_connection() -> None:
    """Ports listened on and connections open are reported, each end by itself."""

    async def main() -> Connection:
        listener = await sim.transport.listen(ServerEndpoint(host="h", port=9000), accept)
        return await sim.transport.connect(
            ClientEndpoint(host="h", port=listener.port, target="/a")
        )

    async def accept(request: Request) -> OnConnection:
        return lambda connection: None

    sim = Sim()
    sim.run(main())
    with pytest.raises(LeakError) as caught:
        sim.close()
    assert str(caught.value).splitlines()[1:] == [
        "  listener on port 9000",
        "  connection c1 to port 9000: client /a is open",
        "  connection c1 to port 9000: server /a is open",
    ]


def test_close_reports_exception_in_callback() -> None:
    """An exception in a callback, which asyncio would only log, fails the test."""
    sim = Sim()
    sim.loop.call_soon(lambda: 1 / 0)
    with pytest.raises(LeakError, match="ZeroDivisionError"):
        sim.close()


def test_close_reports_exception_never_retrieved() -> None:
    """A task whose failure nobody looked at fails the test."""

    async def fail() -> None:
        raise KeyError("unheard")

    sim = Sim()
    sim.loop.create_task(fail())
    with pytest.raises(LeakError, match=r"never retrieved[\s\S]*unheard"):
        sim.close()


def test_close_reports_exception_in_a_cycle() -> None:
    """The same when only the garbage collector can find the task."""

    async def fail() -> None:
        raise KeyError("unheard")

    sim = Sim()
    cycle: dict[str, object] = {"task": sim.loop.create_task(fail())}
    cycle["cycle"] = cycle
    del cycle
    with pytest.raises(LeakError, match=r"never retrieved[\s\S]*unheard"):
        sim.close()


def test_close_reports_destroyed_task() -> None:
    """A task that was collected while it waited fails the test."""

    async def wait() -> None:
        await asyncio.Future()

    sim = Sim()
    task = sim.loop.create_task(wait(), name="lost")
    sim.run_until_idle()
    del task
    gc.collect()
    with pytest.raises(LeakError, match="Task was destroyed but it is pending"):
        sim.close()


def test_simulations_leave_older_garbage_to_one_of_many() -> None:
    """What each of them does not look at is collected now and then all the same."""

    class Knot:
        def __init__(self) -> None:
            self.end = self

    gc.disable()  # Python's own full collections hardly ever come, as often as we collect
    try:
        left = weakref.ref(Knot())
        for _ in range(100):
            Sim().close()
        assert left() is None
    finally:
        gc.enable()


def test_close_looks_at_no_older_garbage() -> None:
    """What the process held before is not searched, which would take most of the time."""
    before = gc.get_freeze_count()
    with Sim():
        assert gc.get_freeze_count() > before
        held = gc.get_freeze_count()
        with Sim():
            pass
        assert gc.get_freeze_count() == held
    assert gc.get_freeze_count() <= before


def test_close_reports_failing_action() -> None:
    """An action that is due and raises is reported, and all is taken down all the same."""
    sim = Sim()
    sim.at(0.0, lambda: 1 / 0)
    with pytest.raises(LeakError, match="ZeroDivisionError while closing"):
        sim.close()
    assert sim.loop.is_closed()


def test_close_ends_asynchronous_generators() -> None:
    """A generator that was left half-way is closed on the loop."""
    ended: list[bool] = []

    async def count() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main() -> AsyncIterator[int]:
        numbers = count()
        await anext(numbers)
        return numbers

    with Sim() as sim:
        numbers = sim.run(main())
        del numbers
        gc.collect()
    assert ended == [True]


def test_close_ends_asynchronous_generators_in_a_cycle() -> None:
    """The same when only the garbage collector can find the generator."""
    ended: list[bool] = []

    async def count() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main() -> None:
        cycle: dict[str, object] = {"numbers": (numbers := count())}
        cycle["cycle"] = cycle
        await anext(numbers)

    with Sim() as sim:
        sim.run(main())
        assert ended == []
    assert ended == [True]


def test_close_stops_recording() -> None:
    """A subscription does not outlive the simulation."""
    subject: Subject[int] = Subject()
    with Sim() as sim:
        recorder = sim.record(subject)
        subject.on_next(1)
    subject.on_next(2)
    assert recorder.values == [1]


def test_exit_keeps_the_error_of_the_test() -> None:
    """A failing test fails with its own error; what was left over is a note on it."""

    def leak_and_fail() -> None:
        with Sim() as sim:
            sim.runtime.acquire()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        leak_and_fail()
    assert any("lease taken at" in note for note in caught.value.__notes__)


def test_same_seed_gives_the_same_trace() -> None:
    """Two runs with one seed leave the same traffic log, another seed a different one."""

    def trace(seed: int) -> str:
        with Sim(seed) as sim:

            async def accept(request: Request) -> OnConnection:
                return lambda connection: connection.start(Echo(connection))

            async def client(number: int) -> None:
                await asyncio.sleep(sim.runtime.random.random())
                connection = await sim.transport.connect(ClientEndpoint(host="h", port=9000))
                connection.start(Mute())
                connection.send([f"{number}"])
                await asyncio.sleep(sim.runtime.random.random())
                await connection.close()

            async def main() -> None:
                listener = await sim.transport.listen(ServerEndpoint(host="h", port=9000), accept)
                await asyncio.gather(*(client(number) for number in range(20)))
                await listener.close()

            sim.run(main())
            return sim.net.traffic.snapshot()

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


class Mute:
    """A receiver that takes no notice."""

    def on_message(self, message: str | bytes) -> None: ...

    def on_writable(self) -> None: ...

    def on_closed(self, info: object) -> None: ...


class Echo(Mute):
    """A receiver that sends back what it gets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def on_message(self, message: str | bytes) -> None:
        self._connection.send([message])


def test_network_runs_on_a_real_loop_too() -> None:
    """Nothing of the network needs virtual time, should somebody want it without."""

    async def main() -> list[int]:
        network = MemoryNetwork(asyncio.get_running_loop(), latency=0.0)
        return list(network.ports)

    assert asyncio.run(main()) == []
