"""Simulations with threads: who runs, when time passes, and what is said when it does not."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from world import World

from rxplus import Retry, TaggedData
from rxplus_testing import (
    ForeignThreadError,
    InvariantError,
    LeakError,
    Sim,
    SimDeadlock,
    SimError,
    SimTimeout,
    Trace,
    explore,
)

HERE = str(Path(__file__))


def threads(seed: int = 0, **options: Any) -> Sim:
    """Make a simulation with threads."""
    return Sim(seed, mode="threads", **options)


def echo(sim: Sim) -> list[str]:
    """Have two threads send through a client to an echo server; return what came back."""
    world = World(sim)
    server = world.server(ping_interval=None)
    server.subscribe(server.on_next)
    client = world.client(server, ping_interval=None)
    assert client.wait_connected(60.0)
    replies = sim.record(client)

    def send(name: str) -> None:
        for number in range(5):
            client.on_next(f"{name}{number}")

    for thread in [sim.thread(send, name, name=name) for name in "ab"]:
        thread.join()
    sim.advance(60)
    client.close(60.0)
    server.close(60.0)
    return replies.values


# What it is for.


def test_components_work_with_threads() -> None:
    """Real threads send, the loop thread carries, and each thread's order is kept."""
    with threads(1) as sim:
        values = echo(sim)
    assert [value for value in values if value[0] == "a"] == [f"a{number}" for number in range(5)]
    assert [value for value in values if value[0] == "b"] == [f"b{number}" for number in range(5)]


def test_seed_decides_who_runs_first() -> None:
    """Different seeds interleave the threads differently."""
    orders = set()
    for seed in range(10):
        with threads(seed) as sim:
            orders.add(tuple(echo(sim)))
    assert len(orders) > 3


def test_same_seed_same_trace() -> None:
    """A run can be had again, step by step."""
    traces: list[Trace] = []
    for _ in range(2):
        with threads(5, stall=0.005) as sim:
            echo(sim)
        traces.append(sim.trace)
    assert traces[0].differs_at(traces[1]) is None
    assert traces[0] == traces[1]


def test_trace_does_not_depend_on_hashes() -> None:
    """Other processes, with other hash seeds, take the same steps."""
    folder = Path(__file__).parent
    program = "import test_threads_mode as t; print(t.fingerprint())"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("PYTHONSAFEPATH", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**environment, "PYTHONHASHSEED": hash_seed},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("0", "4242")
    ]
    outputs = [process.communicate()[0].strip() for process in processes]
    assert outputs == [fingerprint()] * 2


def fingerprint() -> str:
    """Run a scenario and return what identifies its trace."""
    with threads(3, stall=0.005) as sim:
        echo(sim)
    steps = "\n".join(map(str, sim.trace))
    return hashlib.sha256(steps.encode()).hexdigest()


def test_ten_minutes_of_reconnecting_with_threads() -> None:
    """Virtual time passes as fast as there is nothing to do."""
    with threads() as sim:
        client = World(sim).client(9000, retry=Retry(initial=1.0, maximum=10.0))
        states = sim.record(client.connection_state)
        sim.advance(600)
        assert len([state for state in states.values if state == "reconnecting"]) > 40
        assert sim.now == 600
        client.close()


# Time.


def test_advance_lets_all_due_run_first() -> None:
    """What is due at the very end has happened when advance returns."""
    ran: list[float] = []
    with threads() as sim:
        sim.at(2.0, lambda: ran.append(sim.now))
        sim.loop.call_at(2.0, lambda: ran.append(sim.now))
        sim.advance(2.0)
        assert (ran, sim.now) == ([2.0, 2.0], 2.0)


def test_run_until_stops_at_the_step() -> None:
    """The clock stands where the predicate became true."""
    ran: list[int] = []
    with threads() as sim:
        sim.loop.call_at(1.0, ran.append, 1)
        sim.loop.call_at(2.0, ran.append, 2)
        sim.run_until(lambda: ran)
        assert (ran, sim.now) == ([1], 1.0)


def test_run_until_timeout_names_threads_and_tasks() -> None:
    """The error says where each thread and each task is."""
    with threads() as sim:
        event = sim.runtime.event()
        thread = sim.thread(event.wait, 100.0, name="patient")
        with pytest.raises(SimTimeout, match="still not true after 5") as caught:
            sim.run_until(lambda: False, timeout=5.0)
        event.set()
        assert thread.join()
    assert "thread patient: waits in " in str(caught.value)
    assert "thread loop: loop select" in str(caught.value)


def test_run_until_without_hope_is_a_deadlock() -> None:
    """Nobody is left that could make it true: that is told at once, and no time passes."""
    with threads() as sim:
        with pytest.raises(SimDeadlock, match="no thread can run any more"):
            sim.run_until(lambda: False)
        assert sim.now == 0.0


def test_run_a_coroutine() -> None:
    """The loop's thread runs it; the test's waits."""

    async def where() -> str:
        return threading.current_thread().name

    with threads() as sim:
        assert sim.run(where()) == "sim loop"


def test_threads_that_spin_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passing points for ever at one moment is an error, not a hang."""
    monkeypatch.setattr("rxplus_testing._baton._STEPS_AT_ONE_MOMENT", 500)
    stop: list[int] = []
    with threads() as sim:

        def spin() -> None:
            if not stop:
                sim.loop.call_soon(spin)

        spin()
        with pytest.raises(SimTimeout, match="spins for ever"):
            sim.run_until(lambda: False)
        stop.append(1)


def test_real_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for something outside the simulation is told by name."""
    monkeypatch.setattr("rxplus_testing._baton._REAL_SECONDS", 0.05)
    real = threading.Event()
    sim = threads()
    with pytest.raises(SimDeadlock, match="thread outsider has not come to a point"):
        sim.thread(real.wait, name="outsider").join()
    with pytest.raises(LeakError, match="thread outsider"):
        sim.close()
    real.set()


# Threads.


def test_thread_returns_and_raises_at_join() -> None:
    """Joining gives what the function gave."""

    def fail() -> None:
        raise KeyError("x")

    with threads() as sim:
        assert sim.thread(lambda: 3).join() == 3
        with pytest.raises(KeyError):
            sim.thread(fail).join()


def test_thread_that_exits_is_not_overlooked() -> None:
    """What is no ``Exception`` comes out in the test's thread at once."""
    with threads() as sim, pytest.raises(SystemExit):
        sim.thread(sys.exit, 3).join()


def test_thread_in_inline_mode_is_done_in_turn() -> None:
    """Where there are no threads the function is called between two turns of the loop."""
    with Sim() as sim:
        thread = sim.thread(lambda: sim.now)
        assert repr(thread) == "<SimThread thread-1, running>"
        assert thread.join() == 0.0
        assert repr(thread) == "<SimThread thread-1, ended>"


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_thread_failure_that_nobody_joins_is_reported(mode: Any) -> None:
    """It comes out when the simulation is closed."""

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(LeakError, match="thread bad raised KeyError"), Sim(mode=mode) as sim:
        sim.thread(fail, name="bad")
        sim.run_until_idle()


def test_thread_left_waiting_is_reported() -> None:
    """A thread that has not ended is a leak, and ends all the same."""
    sim = threads()
    event = sim.runtime.event()
    sim.thread(lambda: event.wait(), name="stuck")
    sim.run_until_idle()
    with pytest.raises(LeakError, match=r"thread stuck: waits in .* at .*test_threads_mode"):
        sim.close()
    assert "sim stuck" not in [thread.name for thread in threading.enumerate()]


def test_at_error_comes_out_of_the_drive() -> None:
    """What an action raises reaches the test."""

    def fail() -> None:
        raise KeyError("x")

    with threads() as sim:
        sim.at(1.0, fail)
        with pytest.raises(KeyError):
            sim.advance(2.0)


def test_at_may_block() -> None:
    """An action is a thread of its own, which may wait."""
    seen: list[tuple[bool, float]] = []
    with threads() as sim:
        event = sim.runtime.event()
        sim.at(1.0, lambda: seen.append((event.wait(5.0), sim.now)))
        sim.at(2.5, event.set)
        sim.advance(4.0)
    assert seen == [(True, 2.5)]


def test_at_that_has_not_come_is_no_leak() -> None:
    """As in the other mode, what was planned for later is forgotten at the end."""
    with threads() as sim:
        sim.at(100.0, lambda: 1 / 0)


def test_foreign_thread_is_refused() -> None:
    """A thread that the simulation did not start may not synchronise in it."""
    caught: list[BaseException] = []
    with threads() as sim:
        event = sim.runtime.event()

        def intrude() -> None:
            try:
                event.wait(1.0)
            except ForeignThreadError as error:
                caught.append(error)

        thread = threading.Thread(target=intrude, name="intruder")
        thread.start()
        thread.join()
    assert "'intruder'" in str(caught[0])


# Locks, events, leases.


def test_lock_excludes_and_hands_over() -> None:
    """Whoever waits for a lock gets it when it is free."""

    def scenario(sim: Sim) -> None:
        inside: list[str] = []
        lock, event = sim.runtime.lock(), sim.runtime.event()

        def work(name: str) -> None:
            with lock:
                inside.append(name)
                event.wait(0.1)
                assert inside == [name]
                inside.clear()

        for thread in [sim.thread(work, name) for name in "abc"]:
            thread.join()
        assert sim.now == pytest.approx(0.3)

    explore(scenario, range(20))


def test_lock_taken_twice_is_a_deadlock() -> None:
    """A lock is not reentrant; the error says since when it is held."""
    with threads() as sim:
        lock = sim.runtime.lock()
        with lock, pytest.raises(SimDeadlock, match="its own thread test holds since"), lock:
            pytest.fail("taken twice")


def test_locks_in_opposite_order_are_a_deadlock() -> None:
    """Some seed has each of two threads hold what the other one waits for."""

    def both(sim: Sim) -> None:
        one, other = sim.runtime.lock(), sim.runtime.lock()

        def take(first: Any, second: Any) -> None:
            with first, second:
                pass

        for thread in [sim.thread(take, one, other), sim.thread(take, other, one)]:
            thread.join()

    found = None
    for seed in range(50):
        try:
            with threads(seed) as sim:
                both(sim)
        except SimDeadlock as error:
            found = str(error)
            break
    assert found is not None
    assert found.count("waits for a lock") == 2


def test_event_wait_times_out_in_virtual_time() -> None:
    """A wait with a timeout ends when the clock says so."""
    with threads() as sim:
        event = sim.runtime.event()
        assert not event.wait(3.0)
        assert sim.now == 3.0
        event.set()
        assert event.wait()
        assert event.is_set()
        event.clear()
        assert not event.wait(0.0)


def test_event_wait_on_the_loop_is_a_deadlock() -> None:
    """A component that waits on its own loop thread is told so, and so is the test."""
    with threads() as sim:
        event = sim.runtime.event()
        lease = sim.runtime.acquire()
        with pytest.raises(SimDeadlock, match="waits on the loop thread"):
            lease.call_soon(event.wait, 5.0)
            sim.run_until_idle()
        sim.loop.failures.clear()
        lease.release()


def test_driving_on_the_loop_is_a_deadlock() -> None:
    """A callback cannot let the simulation run."""
    caught: list[SimDeadlock] = []
    with threads() as sim:

        def drive() -> None:
            try:
                sim.advance(1.0)
            except SimDeadlock as error:
                caught.append(error)

        sim.loop.call_soon(drive)
        with pytest.raises(SimDeadlock):  # should the callback keep it to itself
            sim.run_until_idle()
    assert "a blocking wait on the loop thread" in str(caught[0])


def test_lease_follows_the_protocol() -> None:
    """Calls are made in order, none after the release, and the last one to join waits for them."""
    ran: list[int] = []
    with threads() as sim:
        first, second = sim.runtime.acquire(), sim.runtime.acquire()
        assert first.loop is sim.loop
        assert not first.in_loop()
        assert all(first.call_soon(ran.append, number) for number in range(3))
        first.release()
        first.release()
        assert first.join()
        assert not first.call_soon(ran.append, 9)
        assert second.call_soon(ran.append, 3)
        second.release()
        assert second.join(1.0)
        assert ran == [0, 1, 2, 3]
        again = sim.runtime.acquire()
        again.release()
    with pytest.raises(RuntimeError, match="the simulation is closed"):
        sim.runtime.acquire()


def test_lease_left_held_is_reported() -> None:
    """The error says where it was taken."""
    sim = threads()
    sim.runtime.acquire()
    with pytest.raises(LeakError, match=r"lease taken at .*test_threads_mode\.py"):
        sim.close()


def test_runtime_has_seeded_random_and_no_exit() -> None:
    """The rest of the runtime is as in the other mode."""
    with threads(1) as one, Sim(1) as other:
        assert one.runtime.random.random() == other.runtime.random.random()
        assert one.runtime.now() == 0.0
        one.runtime.at_exit(lambda: lambda: 1 / 0)()


# Callbacks that fail.


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_failing_callback_is_reported_and_the_loop_goes_on(error: type[BaseException]) -> None:
    """As on the real loop thread, no callback ends it."""
    ran: list[int] = []

    def fail() -> None:
        raise error

    with pytest.raises(LeakError, match="callback"), threads() as sim:
        sim.loop.call_soon(fail)
        sim.loop.call_soon(ran.append, 1)
        sim.run_until_idle()
    assert ran == [1]


def test_component_may_not_use_the_loop_from_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What would not wake a real loop is refused, though here it would do no harm."""

    with threads() as sim:
        server = World(sim).server()
        loop = sim.loop

        def careless(self: Any) -> int:
            loop.call_soon(print)
            return 0

        code = careless.__code__.replace(co_filename=sys.modules["rxplus.server"].__file__ or "")
        monkeypatch.setattr(careless, "__code__", code)
        monkeypatch.setattr("rxplus.server.RxWSServer._queued_bytes", careless)
        with pytest.raises(RuntimeError, match=r"only Lease\.call_soon"):
            server.health()
        monkeypatch.undo()
        server.close()


# Invariants and pauses.


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_always_names_the_invariant_and_the_moment(mode: Any) -> None:
    """It is looked at at each step, and fails once."""
    values: list[int] = []
    with Sim(mode=mode) as sim:
        sim.always("fewer than two", lambda: len(values) < 2)
        for when in (1.0, 2.0, 3.0):
            sim.loop.call_at(when, values.append, 1)
        with pytest.raises(InvariantError, match=r"'fewer than two' does not hold at t=2\.0000"):
            sim.advance(5.0)
        assert sim.now == 2.0
        sim.advance(5.0)
        sim.always("twice", lambda: True)
        with pytest.raises(ValueError, match="already"):
            sim.always("twice", lambda: True)


def test_always_may_not_wait() -> None:
    """A predicate that needs a lock which a thread holds is refused instead of hanging."""
    with threads() as sim:
        lock = sim.runtime.lock()
        event = sim.runtime.event()

        def look() -> bool:
            with lock:
                return event.is_set() or True

        def hold() -> None:
            with lock:
                event.wait(1.0)

        sim.always("free", look)
        with pytest.raises(SimError, match="a predicate may not wait"):
            sim.at(0.5, hold)
            sim.advance(2.0)
        sim.advance(2.0)


def test_pause_holds_a_thread_until_released() -> None:
    """The thread stands before the named function while others run and time passes."""
    with threads() as sim:
        world = World(sim)
        server = world.server()
        client = world.connected(server)
        received = sim.record(server)
        with sim.pause_at("mailbox:Mailbox.put", thread="sender") as pause:
            assert repr(pause) == "<Pause at mailbox:Mailbox.put  holds None>"
            sender = sim.thread(client.on_next, "held", name="sender")
            pause.wait()
            assert pause.held == ("sender",)
            client.on_next("free")
            sim.advance(10.0)
            assert received.values == [TaggedData("/a", "free")]
        sender.join()
        sim.advance(1.0)
        assert received.values[1:] == [TaggedData("/a", "held")]
        client.close()
        server.close()


def test_pause_before_a_line_of_a_file_of_ones_own() -> None:
    """A part of the source names the statement; files of the user's are watched when named."""
    steps: list[str] = []

    def work() -> None:
        steps.append("first")
        steps.append("second")

    with threads(files=[HERE]) as sim:
        pause = sim.pause_at("work", line='append("second")')
        thread = sim.thread(work)
        pause.wait()
        assert steps == ["first"]
        pause.release()
        thread.join()
    assert steps == ["first", "second"]


def test_pause_elsewhere_holds_nobody() -> None:
    """Function, module and thread must all match."""
    with threads() as sim:
        for label in ("Mailbox.pu", "session:Mailbox.put", "ailbox.put"):
            sim.pause_at(label)
        with sim.pause_at("Mailbox.put", thread="nobody") as pause:
            echo(sim)
            with pytest.raises(SimTimeout):
                sim.at(100.0, lambda: None)
                pause.wait(timeout=1.0)


def test_pause_in_inline_mode_is_refused() -> None:
    """Where there is one thread, holding it would hold everything."""
    with Sim() as sim, pytest.raises(SimError, match="needs Sim"):
        sim.pause_at("Mailbox.put")


# Ends.


def test_garbage_collection_is_as_before_afterwards() -> None:
    """It is off meanwhile, since its moments do not come from the seed."""
    assert gc.isenabled()
    with threads():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with threads():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_failed_test_ends_all_threads() -> None:
    """What the test raised stays the error, and the rest is in its notes."""
    with pytest.raises(ZeroDivisionError) as caught, threads() as sim:
        sim.runtime.acquire()
        event = sim.runtime.event()
        sim.thread(lambda: event.wait(), name="waiter")
        sim.run_until_idle()
        raise ZeroDivisionError
    notes = "\n".join(caught.value.__notes__)
    assert "lease taken at" in notes
    assert "thread waiter" in notes
    assert not [one for one in threading.enumerate() if one.name.startswith("sim ")]


def test_callback_that_the_end_cuts_off_has_not_failed() -> None:
    """The loop's thread may be in the middle of a callback when a test fails."""

    def callback() -> None:
        pytest.fail("went on")

    with pytest.raises(ZeroDivisionError) as caught, threads(files=[HERE]) as sim:
        pause = sim.pause_at("callback", thread="loop")
        sim.loop.call_soon(callback)
        pause.wait()
        raise ZeroDivisionError
    notes = "\n".join(caught.value.__notes__)
    assert "thread loop: is held at callback" in notes
    assert "Killed" not in notes


def test_simulations_within_each_other() -> None:
    """An inner simulation does not disturb the outer one."""
    with threads(1) as outer:
        with threads(2) as inner:
            echo(inner)
        values = echo(outer)
    assert len(values) == 10


def test_mode_must_be_known() -> None:
    """Anything else is refused by name."""
    with pytest.raises(ValueError, match="'free'"):
        Sim(mode="free")  # type: ignore[arg-type]  # what is tested


def test_waits_after_the_end_end_at_once() -> None:
    """What is called after the simulation has ended does not hang."""
    with threads() as sim:
        event, lock = sim.runtime.event(), sim.runtime.lock()
    assert not event.wait(5.0)
    event.set()
    assert event.wait()
    with lock:
        pass


def test_predicate_may_not_drive() -> None:
    """Between two steps nothing else can run."""
    with threads() as sim:
        sim.always("idle", sim.run_until_idle)
        with pytest.raises(SimError):
            sim.advance(1.0)


def test_trace_reads_well() -> None:
    """A trace shows its end; steps say time, thread and point."""
    with threads() as sim:
        sim.advance(1.0)
        assert repr(sim.trace).startswith(f"<Trace, {len(sim.trace)} steps>")
        assert str(sim.trace[0]).endswith("test: lets time pass")
        assert sim.trace != []


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_real_transport_can_be_shown(mode: Any) -> None:
    """asyncio's own description of a transport works on the simulation's sockets."""
    with Sim(mode=mode) as sim:
        server = sim.run(
            asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 80)
        )
        _, writer = sim.run(asyncio.open_connection("localhost", 80))
        assert "_SelectorSocketTransport" in repr(writer.transport)
        writer.close()
        server.close()
        sim.advance(1.0)


def test_only_the_first_error_comes_out() -> None:
    """Of two actions that fail at the same moment, one is what the test hears of."""

    def fail(number: int) -> None:
        raise KeyError(number)

    with threads() as sim:
        for number in range(2):
            sim.at(1.0, lambda number=number: fail(number))  # type: ignore[misc]  # bound early
        with pytest.raises(KeyError):
            sim.advance(2.0)


def test_thread_that_waits_while_it_is_ended_is_ended() -> None:
    """Neither a wait in a ``finally`` nor a held lock keeps a thread alive."""
    sim = threads()
    event, lock = sim.runtime.event(), sim.runtime.lock()

    def stubborn() -> None:
        with lock:
            try:
                event.wait()
            finally:
                event.wait()

    sim.thread(stubborn, name="stubborn")
    sim.run_until_idle()
    with pytest.raises(LeakError, match="thread stubborn"):
        sim.close()
    assert "sim stubborn" not in [one.name for one in threading.enumerate()]


def test_leases_overlap_in_terms_of_their_own() -> None:
    """A lease that is taken after the last one was given up begins a new term."""
    with threads() as sim:
        first = sim.runtime.acquire()
        first.release()
        second = sim.runtime.acquire()
        third = sim.runtime.acquire()
        second.release()
        assert second.join()
        assert not second.call_soon(print)
        third.release()
        assert third.join()
        assert first.join(1.0)
