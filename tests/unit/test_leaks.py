"""Threads, tasks and sockets that are left, and who left them."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from rxplus_testing import LeakError, VirtualLoop, no_leaks

T = TypeVar("T")


def test_no_leaks_of_a_block_that_cleans_up() -> None:
    """What is ended and closed within the block is no leak, nor what was there before."""
    with socket.socket(), no_leaks():
        thread = threading.Thread(target=lambda: None)
        thread.start()
        with socket.socket():
            pass
        asyncio.run(asyncio.sleep(0))


def test_no_leaks_waits_for_threads_that_are_ending() -> None:
    """A thread that ends by itself in time is none."""
    go = threading.Event()
    timer = threading.Timer(0.0, lambda: go.wait(10))
    with no_leaks(grace=10):
        timer.start()
        threading.Timer(0.001, go.set).start()
    assert not timer.is_alive()


def leaks_of(block: Callable[[], T], grace: float = 0.0) -> tuple[list[str], T]:
    """Return the leaks that ``block`` is told of, sorted, and what it returns."""
    returned: list[T] = []
    with pytest.raises(LeakError) as caught, no_leaks(grace=grace):
        returned.append(block())
    return sorted(str(caught.value).splitlines()[1:]), returned[0]


def test_no_leaks_names_a_thread_and_its_maker() -> None:
    """A thread that is left is named with the line that made it, if that was in the block."""
    go = threading.Event()
    early = threading.Thread(target=go.wait, args=(10,), name="early")

    def leave_two() -> threading.Thread:
        late = threading.Thread(target=go.wait, args=(10,), name="late")
        early.start()
        late.start()
        return late

    lines, late = leaks_of(leave_two)
    go.set()
    early.join()
    late.join()
    assert lines[0] == "  thread early, made at an unknown place"
    assert re.fullmatch(r"  thread late, made at unit/test_leaks.py:\d+", lines[1])


def test_no_leaks_ignores_what_it_is_told_to() -> None:
    """Threads may stay by name."""
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(10,), name="pool-7")
    with no_leaks(grace=0, ignore=("pool-*",)):
        thread.start()
    go.set()
    thread.join()


def test_no_leaks_names_a_task_and_its_maker() -> None:
    """A task is named with the line that it waits in and the one that made it."""
    loop = asyncio.new_event_loop()

    async def forgotten() -> None:
        await asyncio.sleep(1000)

    def leave_one() -> asyncio.Task[None]:
        task = loop.create_task(forgotten(), name="forgotten")
        loop.run_until_complete(asyncio.sleep(0))
        return task

    (line,), task = leaks_of(leave_one)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert re.fullmatch(
        r"  task forgotten: unit/test_leaks.py:\d+ forgotten, made at unit/test_leaks.py:\d+", line
    )


def test_no_leaks_of_a_loop_that_was_closed() -> None:
    """A task whose loop is closed is past doing anything."""
    loops: list[VirtualLoop] = []
    with no_leaks():
        loops.append(VirtualLoop())
        task = loops[0].create_task(asyncio.sleep(1))
        loops[0].close()
    task.get_coro().close()


def test_no_leaks_names_sockets() -> None:
    """A socket is named with its addresses and the line that made it."""

    def leave_some() -> list[socket.socket]:
        listening = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listening.getsockname())
        return [listening, client, *socket.socketpair(), socket.socket()]

    lines, left = leaks_of(leave_some)
    for one in left:
        one.close()
    assert len(lines) == 5
    assert all(re.search(r"made at unit/test_leaks.py:\d+$", line) for line in lines)
    assert sum("at ('127.0.0.1', " in line for line in lines) == 2
    assert sum("connected to ('127.0.0.1', " in line for line in lines) == 1
    assert sum("not connected" in line for line in lines) == 2


def test_no_leaks_names_sockets_that_python_does_not_know() -> None:
    """A socket that only a library written in C knows of is found by its number."""

    def leave_one() -> int:
        return socket.socket().detach()

    (line,), number = leaks_of(leave_one)
    os.close(number)
    assert line == f"  socket fd {number}, made by a library"


def test_no_leaks_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a list of what the process has open, Python's own sockets are found."""
    monkeypatch.setattr("rxplus_testing._leaks._DESCRIPTORS", Path("/no/such/folder"))
    (line,), left = leaks_of(socket.socket)
    left.close()
    assert "AF_INET" in line


def test_no_leaks_of_a_loop_that_was_not_closed() -> None:
    """What only lines of the library made is named with the newest of these."""

    def in_a_thread() -> asyncio.AbstractEventLoop:
        # No frame of anybody else: the thread runs a function of asyncio.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.new_event_loop).result(10)

    lines, loop = leaks_of(in_a_thread)
    loop.close()
    assert len(lines) == 2
    assert all(re.search(r"/socket.py:\d+$", line) for line in lines)


def test_no_leaks_lets_an_error_out() -> None:
    """A block that fails is not blamed for what it left as well."""
    left: list[socket.socket] = []
    with pytest.raises(KeyError), no_leaks():
        left.append(socket.socket())
        raise KeyError
    left.pop().close()


def test_no_leaks_leaves_tracing_as_it_was() -> None:
    """Memory is traced during the block only, unless it was traced before."""
    with no_leaks():
        assert tracemalloc.is_tracing()
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        with no_leaks():
            pass
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
