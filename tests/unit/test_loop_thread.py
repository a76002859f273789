"""The real runtime, on real threads; every wait ends with an event, none with the clock."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import queue
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rxplus._engine.loop_thread import LoopThread
from rxplus._engine.outside import outside_of
from rxplus._engine.thread_runtime import ThreadRuntime
from rxplus.runtime import Lease

OPEN_FILES = Path("/proc/self/fd")

LIMIT = 20.0
"""Seconds after which a wait fails the test."""


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop])
def runtime(request: pytest.FixtureRequest) -> Iterator[ThreadRuntime]:
    """A runtime; the test fails when its thread is still there at the end."""
    before = threading.enumerate()
    yield ThreadRuntime("under test", loop_factory=request.param)
    assert threading.enumerate() == before


def end(*leases: Lease) -> None:
    """Release leases and wait for their threads."""
    for lease in leases:
        lease.release()
    for lease in leases:
        assert lease.join(LIMIT)


def on_loop(lease: Lease, function: Callable[[], Any]) -> Any:
    """Call a function on the loop thread; return what it returned."""
    done, result = threading.Event(), []

    def call() -> None:
        result.append(function())
        done.set()

    assert lease.call_soon(call)
    assert done.wait(LIMIT)
    return result[0]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program with warnings as errors and asyncio's debug mode."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- Threads and leases -----------------------------------------------------------------------


def test_thread_starts_with_the_first_lease(runtime: ThreadRuntime) -> None:
    """A runtime that nobody uses has no thread; one that is used has one, named, a daemon."""
    before = set(threading.enumerate())
    lease = runtime.acquire()
    (thread,) = set(threading.enumerate()) - before
    assert thread.name == "under test"
    assert thread.daemon
    assert on_loop(lease, threading.current_thread) is thread
    end(lease)


def test_default_name() -> None:
    """Without a name the thread says what it belongs to."""
    lease = ThreadRuntime().acquire()
    assert on_loop(lease, threading.current_thread).name == "rxplus"
    end(lease)


def test_repr_tells_the_name(runtime: ThreadRuntime) -> None:
    """The runtime's repr tells it from others."""
    assert repr(runtime) == "<ThreadRuntime 'under test'>"


def test_leases_share_a_loop(runtime: ThreadRuntime) -> None:
    """The thread lives as long as one lease does."""
    first, second = runtime.acquire(), runtime.acquire()
    assert first.loop is second.loop
    end(first)
    assert on_loop(second, second.in_loop)
    end(second)
    assert second.loop.is_closed()


def test_release_twice_is_harmless(runtime: ThreadRuntime) -> None:
    """A lease counts once, however often it is released."""
    first, second = runtime.acquire(), runtime.acquire()
    first.release()
    first.release()
    assert on_loop(second, second.in_loop)
    end(second)
    second.release()


def test_acquire_after_the_end_starts_afresh(runtime: ThreadRuntime) -> None:
    """A runtime can be used again after its last lease."""
    first = runtime.acquire()
    end(first)
    second = runtime.acquire()
    assert second.loop is not first.loop
    assert on_loop(second, second.in_loop)
    end(second)


def test_acquire_while_the_old_thread_finishes(runtime: ThreadRuntime) -> None:
    """A new lease does not wait for a thread that is about to end, nor keeps it."""
    old = runtime.acquire()
    finish = threading.Event()
    old.call_soon(finish.wait, LIMIT)
    old.release()
    new = runtime.acquire()
    assert new.loop is not old.loop
    assert on_loop(new, new.in_loop)
    assert not old.loop.is_closed()
    finish.set()
    end(old, new)


def test_release_on_the_loop_thread(runtime: ThreadRuntime) -> None:
    """A callback may give up the last lease; join() there returns at once."""
    lease = runtime.acquire()

    def leave() -> bool:
        lease.release()
        return lease.join()

    assert on_loop(lease, leave)
    end(lease)


def test_many_threads_acquire_and_release(runtime: ThreadRuntime) -> None:
    """Leases taken and given up from many threads never get a loop that has ended."""
    start = threading.Barrier(8)
    failures: list[object] = []

    def use() -> None:
        start.wait(LIMIT)
        for _ in range(30):
            lease = runtime.acquire()
            called = threading.Event()
            if not lease.call_soon(called.set) or not called.wait(LIMIT):
                failures.append(lease)
            lease.release()
            if not lease.join(LIMIT):
                failures.append(lease)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not failures
    # A join() that was not for the last lease does not wait for the thread.
    end(runtime.acquire())


def test_lease_released_in_the_middle_of_acquire(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A __del__ that runs inside acquire() and ends the loop does not hand out a dead one."""
    first = runtime.acquire()
    is_alive = LoopThread.is_alive

    def collecting(thread: LoopThread) -> bool:
        first.release()
        return is_alive(thread)

    monkeypatch.setattr(LoopThread, "is_alive", collecting)
    second = runtime.acquire()
    assert second.loop is not first.loop
    assert on_loop(second, second.in_loop)
    end(first, second)


def test_thread_that_a_fork_left_behind(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is gone without having been stopped is replaced."""
    first = runtime.acquire()
    alive = iter([False])
    monkeypatch.setattr(LoopThread, "is_alive", lambda _: next(alive, True))
    second = runtime.acquire()
    assert second.loop is not first.loop
    end(first, second)


def test_runtime_is_collected() -> None:
    """A runtime is collected when nobody refers to it, after the end of its leases."""
    own = ThreadRuntime()
    lease = own.acquire()
    end(lease)
    gone = weakref.ref(own)
    del own, lease
    gc.collect()
    assert gone() is None


# --- Calls ------------------------------------------------------------------------------------


def test_calls_are_made_in_order(runtime: ThreadRuntime) -> None:
    """Calls of one thread are made in their order, and before a release after them."""
    lease = runtime.acquire()
    seen: list[int] = []
    for number in range(1000):
        assert lease.call_soon(seen.append, number)
    end(lease)
    assert seen == list(range(1000))


def test_calls_from_the_loop_thread_queue_up_with_others(runtime: ThreadRuntime) -> None:
    """A call made on the loop thread is made later, not at once."""
    lease = runtime.acquire()
    seen: list[str] = []

    def outer() -> list[str]:
        assert lease.call_soon(seen.append, "inner")
        seen.append("outer")
        return list(seen)

    assert on_loop(lease, outer) == ["outer"]
    end(lease)
    assert seen == ["outer", "inner"]


def test_calls_from_the_loop_thread_come_after_earlier_ones_of_others(
    runtime: ThreadRuntime,
) -> None:
    """Who calls on the loop thread may know that another thread has called before."""
    lease = runtime.acquire()
    seen: list[str] = []
    busy, called, made = threading.Event(), threading.Event(), threading.Event()

    def outer() -> None:
        busy.set()
        called.wait(LIMIT)
        lease.call_soon(seen.append, "second")
        lease.call_soon(made.set)

    lease.call_soon(outer)
    assert busy.wait(LIMIT)
    lease.call_soon(seen.append, "first")
    called.set()
    assert made.wait(LIMIT)
    end(lease)
    assert seen == ["first", "second"]


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this machine has no eventfd")
def test_calls_that_come_once_the_loop_has_woken_up_wait_for_its_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made at once, they would leave it waking up for nothing, and with that mix up an order."""
    loop = asyncio.SelectorEventLoop()
    outside = outside_of(loop)
    read, seen, late = os.eventfd_read, list[str](), ["late"]

    def read_and_be_called(fd: int) -> int:
        count = read(fd)
        if late:
            outside.call_soon(seen.append, late.pop())
        return count

    monkeypatch.setattr(os, "eventfd_read", read_and_be_called)
    outside.call_soon(seen.append, "early")
    turns: list[list[str]] = []
    for _ in range(2):
        loop.call_soon(loop.stop)
        loop.run_forever()
        turns.append(seen.copy())
    assert turns == [["early"], ["early", "late"]]
    outside.close()
    outside.close()
    loop.close()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this machine has no eventfd")
def test_turn_that_was_interrupted_is_noticed_twice_and_harmless() -> None:
    """The loop has found that there are calls, and finds it again when it goes on."""
    loop = asyncio.SelectorEventLoop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    outside, seen = outside_of(loop), list[str]()
    loop.call_soon(sys.exit, 1)
    outside.call_soon(seen.append, "made")
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert (seen, problems) == (["made"], [])
    outside.close()
    loop.close()


def test_loop_that_is_interrupted_loses_no_call(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """A turn that ends before calls of other threads are made leaves them to the next."""
    lease = runtime.acquire()
    busy, called, made = threading.Event(), threading.Event(), threading.Event()

    def leave() -> None:
        busy.set()
        called.wait(LIMIT)
        lease.loop.call_soon(sys.exit, 1)

    lease.call_soon(leave)
    assert busy.wait(LIMIT)
    for _ in range(3):
        lease.call_soon(int)
    lease.call_soon(made.set)
    called.set()
    assert made.wait(LIMIT)
    assert on_loop(lease, lambda: "alive") == "alive"
    end(lease)
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [SystemExit]


def test_calls_have_the_context_of_who_calls(runtime: ThreadRuntime) -> None:
    """Context variables are as they were at the call, as with any asyncio callback."""
    variable: ContextVar[str] = ContextVar("variable")
    lease = runtime.acquire()
    variable.set("the caller's")
    assert on_loop(lease, variable.get) == "the caller's"
    assert on_loop(lease, lambda: variable.set("the callback's")) is not None
    assert on_loop(lease, variable.get) == "the caller's"
    end(lease)


def test_call_after_release_is_refused(runtime: ThreadRuntime) -> None:
    """A lease that was given up takes no calls, whether the loop lives on or not."""
    first, second = runtime.acquire(), runtime.acquire()
    first.release()
    assert not first.call_soon(pytest.fail, "called")
    end(second)
    assert not second.call_soon(pytest.fail, "called")


def test_accepted_calls_are_made_in_a_race_with_the_end(runtime: ThreadRuntime) -> None:
    """Every call that was accepted is made, however close to the end of the loop."""
    for _ in range(50):
        lease = runtime.acquire()
        thread = lease.thread  # type: ignore[attr-defined]  # past the lease's own refusal
        accepted = 0
        made: list[None] = []
        lease.release()
        while thread.call_soon(made.append, None):
            accepted += 1
        assert lease.join(LIMIT)
        assert len(made) == accepted


def test_call_on_the_loop_thread_after_the_last_turn(runtime: ThreadRuntime) -> None:
    """A call made by the very last callback is refused, as nothing could make it."""
    lease = runtime.acquire()
    thread = lease.thread  # type: ignore[attr-defined]  # past the lease's own refusal
    answers: list[bool] = []

    def again() -> None:
        answers.append(thread.call_soon(again))

    on_loop(lease, lambda: thread.call_soon(again))
    end(lease)
    assert answers[-1] is False
    assert all(answers[:-1])


def test_in_loop(runtime: ThreadRuntime) -> None:
    """Only the loop thread is in the loop, and nobody once it has ended."""
    lease = runtime.acquire()
    assert not lease.in_loop()
    assert on_loop(lease, lease.in_loop) is True
    end(lease)
    assert not lease.in_loop()


def test_in_loop_does_not_trust_idents_of_ended_threads(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later thread with the ident of an ended loop thread is another one."""
    lease = runtime.acquire()
    ident = on_loop(lease, threading.get_ident)
    end(lease)
    monkeypatch.setattr(threading, "get_ident", lambda: ident)
    assert not lease.in_loop()


# --- Join -------------------------------------------------------------------------------------


def test_join_times_out_while_a_callback_blocks(runtime: ThreadRuntime) -> None:
    """join() says so when the thread did not end in time, and can be called again."""
    lease = runtime.acquire()
    finish = threading.Event()
    lease.call_soon(finish.wait, LIMIT)
    lease.release()
    assert lease.join(0.0) is False
    finish.set()
    assert lease.join() is True
    assert lease.join(0.0) is True


def test_join_of_a_lease_that_is_not_the_last(runtime: ThreadRuntime) -> None:
    """join() does not wait for a loop that others hold, or that is not released."""
    first, second = runtime.acquire(), runtime.acquire()
    assert first.join() is True
    first.release()
    assert first.join() is True
    end(second)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_join_can_be_interrupted(runtime: ThreadRuntime) -> None:
    """Ctrl-C ends a join() on the main thread."""
    lease = runtime.acquire()
    ready, seen, finish = threading.Event(), threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def press(*_: object) -> None:
        if not seen.is_set():
            seen.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        ready.wait(LIMIT)
        # A signal that comes just before the interpreter blocks does not wake it: press on.
        while not seen.wait(0.01):
            signal.pthread_kill(main, signal.SIGINT)
        finish.wait(LIMIT)

    lease.call_soon(interrupt)
    lease.release()

    def wait() -> None:
        ready.set()
        lease.join(LIMIT)

    before = signal.signal(signal.SIGINT, press)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
        finish.set()
        assert lease.join(LIMIT)
    finally:
        signal.signal(signal.SIGINT, before)


# --- The end of the loop ----------------------------------------------------------------------


def test_tasks_are_cancelled_and_awaited(runtime: ThreadRuntime) -> None:
    """Tasks that still run at the end are cancelled, and may clean up."""
    lease = runtime.acquire()
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    task = on_loop(lease, lambda: lease.loop.create_task(work()))
    end(lease)
    assert task.cancelled()
    assert steps == ["cleaned up"]


def test_tasks_begun_by_the_last_calls_are_cancelled_too(runtime: ThreadRuntime) -> None:
    """What the cleaning up of a task hands over is called, and the task it begins is ended."""
    lease = runtime.acquire()
    thread = lease.thread  # type: ignore[attr-defined]  # past the lease's own refusal
    tasks: list[asyncio.Task[Any]] = []

    async def wait() -> None:
        await asyncio.Event().wait()

    def begin() -> None:
        tasks.append(lease.loop.create_task(wait()))

    def step(turns: int) -> None:
        # As late as it gets: in the loop's last turn.
        if not thread.call_soon(step, turns + 1):
            begin()

    on_loop(lease, lambda: thread.call_soon(step, 0))
    end(lease)
    assert [task.cancelled() for task in tasks] == [True]


def leave_running(
    lease: Lease, in_task: Callable[[], object], in_generator: Callable[[], object]
) -> tuple[AsyncIterator[int], asyncio.Task[None]]:
    """Leave an async generator half-way and a task waiting; each calls a function as it ends."""

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            in_generator()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            in_task()

    async def begin() -> tuple[AsyncIterator[int], asyncio.Task[None]]:
        generator, task = numbers(), lease.loop.create_task(wait())
        await anext(generator)
        await asyncio.sleep(0)  # a task that has not begun would not notice its end
        return generator, task

    return asyncio.run_coroutine_threadsafe(begin(), lease.loop).result(LIMIT)


def test_exits_while_the_thread_ends_lose_no_call(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is accepted is called, though tasks and callbacks call sys.exit() to the end."""
    lease = runtime.acquire()
    thread = lease.thread  # type: ignore[attr-defined]  # past the lease's own refusal
    accepted: list[int] = []
    made: list[int] = []
    steps: list[str] = []

    def step(turn: int) -> None:
        thread.call_soon(sys.exit, turn)
        if thread.call_soon(made.append, turn):
            accepted.append(turn)
        thread.call_soon(step, turn + 1)

    def exit_from_task() -> None:
        steps.append("cancelled")
        sys.exit("a task")

    generator, task = leave_running(lease, exit_from_task, lambda: steps.append("closed"))
    on_loop(lease, lambda: thread.call_soon(step, 0))
    end(lease)
    assert made == accepted != []
    del generator  # the collector would have closed it
    assert steps == ["cancelled", "closed"]
    with pytest.raises(SystemExit):
        task.result()
    assert {record.message for record in caplog.records} == {
        "a callback tried to end the loop thread"
    }


def test_what_fails_while_the_thread_ends_is_told_of_and_the_rest_done(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that cancels all others, and threads that are not to be had any more."""
    lease = ThreadRuntime(loop_factory=asyncio.SelectorEventLoop).acquire()
    steps: list[str] = []

    def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def hand_over() -> None:
        assert lease.thread.call_soon(steps.append, "called")  # type: ignore[attr-defined]  # past the lease's own refusal
        steps.append("closed")

    async def fail() -> None:
        raise RuntimeError("can't start new thread")

    kept = leave_running(lease, cancel_all, hand_over)
    monkeypatch.setattr(lease.loop, "shutdown_default_executor", fail)
    end(lease)
    assert steps == ["closed", "called"]
    del kept  # the collector would have closed the generator
    first, second = caplog.records
    assert "LoopThread._cancel_tasks()" in first.getMessage()
    assert ".fail()" in second.getMessage()


def test_async_generators_and_executor_are_shut_down(runtime: ThreadRuntime) -> None:
    """Generators left half-way get their aclose(), and the executor's threads end."""
    lease = runtime.acquire()
    steps: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            steps.append("closed")

    async def work() -> None:
        generator = numbers()
        steps.append(str(await anext(generator)))
        steps.append(await asyncio.to_thread(lambda: "executor"))
        keep.append(generator)

    keep: list[object] = []
    asyncio.run_coroutine_threadsafe(work(), lease.loop).result(LIMIT)
    end(lease)
    assert steps == ["1", "executor", "closed"]


def test_loop_that_breaks_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that fails by itself is told of once, and given up; the next lease gets another."""
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    class Broken(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            raise OSError("the selector is closed")

    loops: list[type[asyncio.SelectorEventLoop]] = [Broken, asyncio.SelectorEventLoop]
    runtime = ThreadRuntime(loop_factory=lambda: loops.pop(0)())
    lease = runtime.acquire()
    while lease.call_soon(int):
        pass  # until it has given up
    lease.release()
    assert lease.join(LIMIT)
    assert [args.exc_type for args in told] == [OSError]
    again = runtime.acquire()
    assert on_loop(again, lambda: 1) == 1
    end(again)


def test_a_callback_cannot_stop_the_loop_for_others(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither sys.exit() nor loop.stop() in a callback ends the thread; the first is logged."""
    lease = runtime.acquire()
    busy, called, made = threading.Event(), threading.Event(), threading.Event()
    lease.call_soon(busy.set)
    lease.call_soon(called.wait, LIMIT)
    assert busy.wait(LIMIT)
    lease.call_soon(sys.exit, 1)
    lease.call_soon(made.set)
    called.set()
    assert made.wait(LIMIT)  # though it was handed over together with what came before it
    lease.call_soon(lease.loop.stop)
    assert on_loop(lease, lambda: "alive") == "alive"
    end(lease)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("rxplus", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is SystemExit


def test_unhandled_exceptions_are_logged(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that a callback or a task lets out is in the log, with its traceback."""
    lease = runtime.acquire()

    def fail() -> None:
        raise LookupError("in a callback")

    async def fail_later() -> None:
        raise LookupError("in a task")

    lease.call_soon(fail)
    task = on_loop(lease, lambda: lease.loop.create_task(fail_later()))
    assert on_loop(lease, task.done)
    del task
    end(lease)
    gc.collect()
    errors = [record for record in caplog.records if record.name == "rxplus"]
    assert [record.levelno for record in errors] == [logging.ERROR] * 2
    assert sorted(str(record.exc_info[1]) for record in errors if record.exc_info) == [
        "in a callback",
        "in a task",
    ]
    assert "fail" in errors[0].getMessage()


def test_failed_accept_is_no_error(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """What asyncio tells in debug mode only, of a client's TLS handshake, is for debugging."""
    lease = runtime.acquire()
    context = {"message": "Error on transport creation for incoming connection"}
    with caplog.at_level(logging.DEBUG, "rxplus"):
        on_loop(lease, lambda: lease.loop.call_exception_handler(context))
        end(lease)
    records = [record for record in caplog.records if record.name == "rxplus"]
    assert [record.levelno for record in records] == [logging.DEBUG]


class Gate:
    """A lock that tells when somebody waits for it."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._lock = threading.RLock()
        self._tell = tell

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._tell("waits")
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("breaks", [False, True], ids=["stops", "breaks"])
def test_loop_is_not_closed_in_the_middle_of_a_call(
    breaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is about to wake the loop up does not write to a file that is another one by then."""
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    seen: queue.SimpleQueue[str] = queue.SimpleQueue()
    calling, go_on = threading.Event(), threading.Event()
    lease = ThreadRuntime(loop_factory=asyncio.SelectorEventLoop).acquire()
    thread: LoopThread = lease.thread  # type: ignore[attr-defined]  # to be seen from inside
    monkeypatch.setattr(thread, "_gate", Gate(seen.put))
    accepted: list[bool] = []
    made: list[str] = []
    close, hand_over = lease.loop.close, thread._outside.call_soon

    def end_when_called() -> None:
        assert calling.wait(LIMIT)
        if breaks:
            monkeypatch.setattr(lease.loop, "run_forever", fail)
            lease.loop.stop()
        else:
            lease.release()

    def fail() -> None:
        raise OSError("the selector is closed")

    def close_seen() -> None:
        seen.put("closes")
        close()

    def hand_over_later(callback: Callable[..., object], *args: object) -> None:
        if threading.current_thread() is caller:
            calling.set()
            assert go_on.wait(LIMIT)
        hand_over(callback, *args)

    lease.call_soon(end_when_called)
    monkeypatch.setattr(lease.loop, "close", close_seen)
    monkeypatch.setattr(thread._outside, "call_soon", hand_over_later)
    caller = threading.Thread(target=lambda: accepted.append(thread.call_soon(made.append, "made")))
    caller.start()
    first = seen.get(timeout=LIMIT)
    go_on.set()
    caller.join(LIMIT)
    lease.release()
    assert lease.join(LIMIT)
    assert first == "waits"
    assert accepted == [True]
    assert made == ["made"] * (not breaks)  # a loop that breaks makes no more calls
    assert [args.exc_type for args in told] == [OSError] * breaks


# --- Failures to start ------------------------------------------------------------------------


def test_no_loop_to_be_had() -> None:
    """A loop that cannot be made is a RuntimeError for the caller, who may try again."""
    failures = [OSError("too many open files")]

    def make() -> asyncio.AbstractEventLoop:
        if failures:
            raise failures.pop()
        return asyncio.new_event_loop()

    runtime = ThreadRuntime(loop_factory=make)
    with pytest.raises(RuntimeError) as caught:
        runtime.acquire()
    assert isinstance(caught.value.__cause__, OSError)
    end(runtime.acquire())


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this machine has no eventfd")
def test_no_file_descriptor_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that cannot be called from outside is a RuntimeError too, and is closed."""
    loop = asyncio.SelectorEventLoop()
    runtime = ThreadRuntime(loop_factory=lambda: loop)

    def fail(*_: int) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "eventfd", fail)
    with pytest.raises(RuntimeError):
        runtime.acquire()
    assert loop.is_closed()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="this machine has no eventfd")
def test_loop_that_refuses_to_be_called_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A selector may be full, or not take what wakes it."""
    gc.collect()
    before = len(list(OPEN_FILES.iterdir()))

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", fail)
    with pytest.raises(RuntimeError):
        ThreadRuntime(loop_factory=asyncio.SelectorEventLoop).acquire()
    assert len(list(OPEN_FILES.iterdir())) == before


def test_thread_ends_when_its_start_was_interrupted(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the caller waits for the thread to start: it is there by then."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runtime.acquire()
    started[0].join(LIMIT)
    assert not started[0].is_alive()
    end(runtime.acquire())


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this machine has no /proc")
def test_thread_leaves_no_file_descriptor(runtime: ThreadRuntime) -> None:
    """What a loop was called by is closed with it."""
    gc.collect()  # or files of other tests may go meanwhile
    before = [file.name for file in OPEN_FILES.iterdir()]
    end(runtime.acquire())
    assert [file.name for file in OPEN_FILES.iterdir()] == before


def test_loop_is_uvloops_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a factory the loop is the fastest there is; with one it is what was asked for."""

    def kind_of_loop(runtime: ThreadRuntime) -> type[asyncio.AbstractEventLoop]:
        lease = runtime.acquire()
        kind = type(lease.loop)
        end(lease)
        return kind

    asyncios = asyncio.SelectorEventLoop
    assert kind_of_loop(ThreadRuntime()) is uvloop.Loop
    assert kind_of_loop(ThreadRuntime(loop_factory=asyncio.SelectorEventLoop)) is asyncios
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert kind_of_loop(ThreadRuntime()) is asyncios


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that cannot be started is a RuntimeError, and its loop is closed."""
    loops: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.new_event_loop())
        return loops[-1]

    runtime = ThreadRuntime(loop_factory=make)

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            runtime.acquire()
    assert [loop.is_closed() for loop in loops] == [True]
    end(runtime.acquire())


# --- Clock, random, locks ---------------------------------------------------------------------


def test_now_is_monotonic(runtime: ThreadRuntime) -> None:
    """The clock is time.monotonic itself."""
    before = time.monotonic()
    assert before <= runtime.now() <= time.monotonic()


def test_token_is_long_and_never_the_same(runtime: ThreadRuntime) -> None:
    """A name has 128 random bits, which no seed gives away."""
    tokens = set()
    for _ in range(100):
        random.seed(1)
        tokens.add(runtime.token())
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {22}


def test_random_is_the_runtimes_own(runtime: ThreadRuntime) -> None:
    """Seeding the global generator does not make the jitter of two clients the same."""
    random.seed(1)
    first = ThreadRuntime().random.random()
    random.seed(1)
    assert ThreadRuntime().random.random() != first
    assert runtime.random is runtime.random


def test_lock_and_event(runtime: ThreadRuntime) -> None:
    """Locks exclude each other, and events let go of those who wait."""
    lock, event = runtime.lock(), runtime.event()
    lease = runtime.acquire()
    reached = threading.Event()
    seen: list[str] = []

    def contend() -> None:
        reached.set()
        with lock:
            seen.append("loop")
        event.set()

    with lock:
        lease.call_soon(contend)
        assert reached.wait(LIMIT)
        seen.append("main")
    assert event.wait(LIMIT)
    assert seen == ["main", "loop"]
    event.clear()
    assert not event.is_set()
    assert not event.wait(0.0)
    end(lease)


# --- Exit -------------------------------------------------------------------------------------


def test_at_exit_is_called_while_the_loop_runs() -> None:
    """At exit the callback can still use the loop thread, and what it took back is not called."""
    result = run_python("""
        import threading
        from rxplus._engine.thread_runtime import ThreadRuntime

        runtime = ThreadRuntime()
        lease = runtime.acquire()

        def flush():
            done = threading.Event()
            assert lease.call_soon(done.set)

            def wait():
                print("flushed" if done.wait(20) else "stuck")
                lease.release()
                print(lease.join(20))

            return wait

        runtime.at_exit(flush)
        take_back = runtime.at_exit(flush)
        take_back()
        take_back()
    """)
    assert (result.stdout.split(), result.stderr, result.returncode) == (["flushed", "True"], "", 0)


def test_at_exit_begins_everything_before_it_waits() -> None:
    """Components shut down side by side, so that their deadlines do not add up."""
    result = run_python("""
        from rxplus._engine.thread_runtime import ThreadRuntime

        def begin(name):
            print("begin", name)
            return lambda: print("wait", name)

        for name in "ab":
            ThreadRuntime().at_exit(lambda name=name: begin(name))
    """)
    expected = ["begin a", "begin b", "wait a", "wait b"]
    assert (result.stdout.splitlines(), result.stderr) == (expected, "")


def test_exit_with_a_lease_held_is_quiet() -> None:
    """A program may end with the loop running, and prints nothing."""
    result = run_python("""
        from rxplus._engine.thread_runtime import ThreadRuntime

        lease = ThreadRuntime().acquire()
        lease.call_soon(lambda: None)
    """)
    assert (result.stderr, result.returncode) == ("", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_lease_in_a_forked_child() -> None:
    """A child process gets a thread of its own."""
    result = run_python("""
        import os, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the point here
        from rxplus._engine.thread_runtime import ThreadRuntime

        runtime = ThreadRuntime()
        lease = runtime.acquire()
        pid = os.fork()
        if pid == 0:
            done = threading.Event()
            runtime.acquire().call_soon(done.set)
            os._exit(0 if done.wait(20) else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        lease.release()
        lease.join(20)
    """)
    assert (result.stdout.split(), result.stderr) == (["0"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_exit_of_a_forked_child_leaves_the_parents_to_the_parent() -> None:
    """What the parent registered is begun and waited for in the parent only."""
    result = run_python("""
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the point here
        from rxplus._engine.thread_runtime import ThreadRuntime

        runtime = ThreadRuntime()
        lease = runtime.acquire()
        runtime.at_exit(lambda: lambda: print("waited"))
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        os.waitpid(pid, 0)
        print("parent", flush=True)
    """)
    assert (result.stdout.splitlines(), result.stderr) == (["parent", "waited"], "")
