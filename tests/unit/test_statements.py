"""Statements as steps: the same ones on every Python, and who hears of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pytest
import stepping

from rxplus_testing import Sim
from rxplus_testing._baton_thread import Killed
from rxplus_testing._statements import _Monitoring, _TracedFrame, _Tracing, first_lines, watch

FILE = stepping.__file__


class Listener:
    """Writes down the statements of one file."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths or (FILE,)
        self.seen: list[tuple[str, int, bool]] = []

    def reached(self, code: CodeType, line: int, *, entered: bool) -> None:
        """Write one down."""
        self.seen.append((code.co_name, line, entered))


class Free:
    """A lock and an event that do nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, timeout: float) -> bool:
        """Say no."""
        return False


def listen(action: Callable[[], object], listener: Listener) -> list[tuple[str, int, bool]]:
    """Watch ``action`` in a thread of its own, which traces nothing else."""

    def run() -> None:
        watching = watch(listener)
        try:
            action()
        finally:
            watching.stop()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return listener.seen


def test_statements_are_the_same_on_every_python() -> None:
    """What each function goes through is written down here; every version must agree."""
    seen = listen(lambda: stepping.work(Free(), Free()), Listener())
    source = Path(FILE).read_text("utf-8").splitlines()
    code = [line.partition("  # ")[0].strip() for line in source]
    steps = [f"{name}: {code[line - 1]}" for name, line, _ in seen]
    assert steps == STEPS.strip().splitlines()


def test_trace_with_threads_is_the_same_on_every_python() -> None:
    """The steps of two threads in these functions, under one seed, are written down here."""
    with Sim(11, mode="threads", files=[FILE], switch=0.3, stall=0.05) as sim:
        lock, event = sim.runtime.lock(), sim.runtime.event()
        threads = [sim.thread(stepping.work, lock, event) for _ in range(2)]
        results = [thread.join(60.0) for thread in threads]
    steps = [f"{one.time:.2f} {one.thread}: {one.point}" for one in sim.trace]
    assert results == [14, 14]
    assert steps == TRACE.strip().splitlines()


STEPS = """
work: total = 0
work: with lock:
work: for number in numbers(3):
numbers: for number in range(count):
numbers: yield number % 10
work: total += sum(
<genexpr>: total += sum(
twice: return value * 2
twice: return value * 2
work: for number in numbers(3):
numbers: for number in range(count):
numbers: yield number % 10
work: total += sum(
<genexpr>: total += sum(
twice: return value * 2
twice: return value * 2
work: for number in numbers(3):
numbers: for number in range(count):
numbers: yield number % 10
work: total += sum(
<genexpr>: total += sum(
twice: return value * 2
twice: return value * 2
work: for number in numbers(3):
numbers: for number in range(count):
work: with lock:
work: try:
work: values = [twice(one) for one in range(3)]
twice: return value * 2
twice: return value * 2
twice: return value * 2
work: many = {
twice: return value * 2
twice: return value * 2
twice: return value * 2
work: if event.wait(
work: total += len(many)
work: match total:
work: return total + 1
"""

TRACE = """
0.00 test: start thread-1
0.00 loop: loop select
0.00 thread-1: lock in work
0.00 test: start thread-2
0.00 test: runs until
0.00 thread-2: lock in work
0.00 thread-1: stepping.py:11 numbers
0.00 thread-1: stepping.py:12 numbers
0.00 thread-1: stepping.py:25 work
0.00 thread-1: stepping.py:17 twice
0.00 thread-1: stepping.py:17 twice
0.00 thread-1: stepping.py:24 work
0.00 thread-1: stalls at stepping.py:23 work
0.00 thread-2: waits for a lock in work
2.00 thread-1: unlock in work
2.00 thread-1: stalls at stepping.py:34 work
2.00 thread-2: stepping.py:11 numbers
2.00 thread-2: stepping.py:17 twice
2.00 thread-2: stepping.py:11 numbers
2.00 thread-2: stepping.py:12 numbers
2.00 thread-2: stalls at stepping.py:25 work
2.01 thread-1: stepping.py:17 twice
2.01 thread-1: stepping.py:17 twice
2.01 thread-1: stepping.py:40 work
2.01 thread-1: wait in work
2.01 thread-1: waits in work
2.20 thread-2: stepping.py:25 work.<locals>.<genexpr>
2.20 thread-2: stepping.py:17 twice
2.20 thread-2: stepping.py:12 numbers
2.20 thread-2: stepping.py:25 work.<locals>.<genexpr>
2.20 thread-2: stepping.py:17 twice
2.20 thread-2: stepping.py:11 numbers
2.20 thread-2: stepping.py:23 work
2.20 thread-2: unlock in work
2.20 thread-2: stepping.py:17 twice
2.20 thread-2: stepping.py:17 twice
2.20 thread-2: stepping.py:17 twice
2.20 thread-2: wait in work
2.20 thread-2: waits in work
2.51 thread-1: stepping.py:45 work
2.51 thread-1: stepping.py:46 work
2.51 thread-1: end
2.51 test: runs until
2.70 thread-2: stepping.py:45 work
2.70 thread-2: stepping.py:46 work
2.70 thread-2: stepping.py:50 work
2.70 thread-2: end
2.70 test: lets the others run
2.70 test: lets time pass
62.70 test: lets the others run
62.70 loop: end
"""


def test_first_lines_without_source_are_none() -> None:
    """A file that cannot be read, or is not Python, has no statements."""
    assert first_lines("/nowhere/at/all.py") == frozenset()
    assert first_lines(__file__.replace("test_statements.py", "../../README.md")) == frozenset()


# Both ways to watch, called as the interpreter does: it traces nothing while it calls them.


def test_traced_frame_counts_first_lines_once() -> None:
    """Lines within a statement do not count, nor does coming back to the last one."""
    listener = Listener()
    frame: Any = SimpleNamespace(f_lineno=0)
    traced = _TracedFrame(listener, stepping.twice.__code__)
    first = stepping.twice.__code__.co_firstlineno
    for event, line in [("line", first + 2), ("line", first + 2), ("return", first), ("line", 1)]:
        frame.f_lineno = line
        assert traced.trace(frame, event, None) == traced.trace
    assert listener.seen == [("twice", first + 2, True), ("twice", 1, False)]


def test_tracing_picks_its_frames() -> None:
    """Other files, and what later Pythons inline, are not traced; a coroutine keeps its tracer."""
    found: list[Any] = []

    def run() -> None:
        tracing = _Tracing(Listener())
        for code in (stepping.twice.__code__, run.__code__):
            frame: Any = SimpleNamespace(f_code=code, f_trace=None)
            found.append(tracing._on_call(frame, "call", None))
        inlined = stepping.twice.__code__.replace(co_name="<listcomp>")
        frame = SimpleNamespace(f_code=inlined, f_trace=None)
        found.append(tracing._on_call(frame, "call", None))
        frame = SimpleNamespace(f_code=stepping.twice.__code__, f_trace="its own")
        found.append(tracing._on_call(frame, "call", None))
        tracing.leave()
        tracing.stop()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[0] is not None
    assert found[1:] == [None, None, "its own"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python has no sys.monitoring")
def test_monitoring_picks_its_code() -> None:
    """Code of other files is left alone for good, or until somebody wants it."""
    disable = sys.monitoring.DISABLE  # type: ignore[attr-defined]  # the type checker sees 3.11
    listener = Listener()
    watching = _Monitoring(listener)
    code, line = stepping.twice.__code__, stepping.twice.__code__.co_firstlineno + 2
    try:
        assert watching._on_start(test_monitoring_picks_its_code.__code__, 0) is disable
        assert watching._on_start(code, 0) is None
        assert watching._on_line(code, line) is None
        assert watching._on_line(code, line) is None
        assert watching._on_line(code, 2) is disable  # between statements
        assert watching._on_line(json_code(), 1) in (None, disable)
    finally:
        watching.stop()
    assert listener.seen == [("twice", line, True)]


def json_code() -> CodeType:
    """Return code whose first line begins a statement, of a file that nobody watches."""
    return compile("pass", __file__, "exec")


def test_killed_is_no_exception() -> None:
    """What ends a thread passes by every ``except Exception``."""
    assert not issubclass(Killed, Exception)
