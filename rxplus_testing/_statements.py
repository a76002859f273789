"""Tells, while threads run, which statement of which function each is about to execute.

Line events differ between versions of Python: comprehensions are inlined or
not, calls over several lines come back to their first one or not. So only the
first lines of statements count, and each once until the same frame has been at
another statement. What is left is the same on all of them.
"""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

__all__ = ["Watcher", "first_lines", "watch"]

_monitoring: Any = getattr(sys, "monitoring", None)
"""Python 3.12 and later have it; the type checker looks at 3.11."""

_TOOL_IDS = (3, 4)
_INLINED = frozenset(("<listcomp>", "<setcomp>", "<dictcomp>"))
"""Functions that Python 3.11 has and later versions have not."""


class Watcher(Protocol):
    """Hears of statements."""

    @property
    def paths(self) -> tuple[str, ...]:
        """What the names of the files begin with whose statements matter."""
        ...

    def reached(self, code: CodeType, line: int, *, entered: bool) -> None:
        """A thread is about to execute a statement; ``entered``: its frame's first."""


class Watch(Protocol):
    """A watcher's connection to the interpreter."""

    def enter(self) -> None:
        """Watch the calling thread from now on."""

    def leave(self) -> None:
        """Watch it no longer."""

    def stop(self) -> None:
        """Tell the watcher no more. Called by the thread that began to watch."""


@functools.cache
def first_lines(filename: str) -> frozenset[int]:
    """Return the lines that a statement of a file begins on; none when there is no source."""
    try:
        tree = ast.parse(Path(filename).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt))


class _Tracing:
    """Watches with ``sys.settrace``, thread by thread; coverage is blind meanwhile."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._before = sys.gettrace()
        self.enter()

    def enter(self) -> None:
        sys.settrace(self._on_call)

    def leave(self) -> None:
        sys.settrace(None)  # pragma: no cover - the thread is not traced by coverage here

    def stop(self) -> None:
        sys.settrace(self._before)  # pragma: no cover - likewise

    def _on_call(  # pragma: no cover - likewise
        self, frame: FrameType, event: str, arg: Any
    ) -> Any:
        code = frame.f_code
        if code.co_name in _INLINED or not code.co_filename.startswith(self._watcher.paths):
            return None
        # A coroutine is "called" each time that it goes on.
        return frame.f_trace or _TracedFrame(self._watcher, code).trace


class _TracedFrame:
    __slots__ = ("_code", "_last", "_lines", "_watcher")

    def __init__(self, watcher: Watcher, code: CodeType) -> None:
        self._watcher = watcher
        self._code = code
        self._lines = first_lines(code.co_filename)
        self._last: int | None = None

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        line = frame.f_lineno
        if event == "line" and line != self._last and line in self._lines:
            entered, self._last = self._last is None, line
            self._watcher.reached(self._code, line, entered=entered)
        return self.trace


class _Monitoring:
    """Watches with ``sys.monitoring``, all threads at once; coverage is not affected."""

    # One of each for the process.
    tool_id: int | None = None
    watching: list[_Monitoring] = []  # noqa: RUF012
    seen_paths: set[str] = set()  # noqa: RUF012

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._last: dict[int, int | None] = {}
        _Monitoring.tool_id = self.tool_id or self._claim()
        if not self.seen_paths.issuperset(watcher.paths):
            # Functions that did not matter before have been taken off the list.
            self.seen_paths.update(watcher.paths)
            _monitoring.restart_events()
        self._register(self._on_start, self._on_line)
        self.watching.append(self)

    def enter(self) -> None:
        """Do nothing: all threads are watched."""

    def leave(self) -> None:
        """Do nothing, likewise."""

    def stop(self) -> None:
        self.watching.remove(self)
        if self.watching:
            outer = self.watching[-1]
            self._register(outer._on_start, outer._on_line)
        else:
            # The tool id is kept, and the code instrumented: doing that anew for each
            # simulation would take longer than many a simulation.
            self._register(None, None)

    @staticmethod
    def _claim() -> int:
        tool_id: int = next(one for one in _TOOL_IDS if _monitoring.get_tool(one) is None)
        _monitoring.use_tool_id(tool_id, "rxplus_testing")
        _monitoring.set_events(tool_id, _monitoring.events.PY_START)
        return tool_id

    def _register(self, on_start: Any, on_line: Any) -> None:
        assert self.tool_id is not None
        events = _monitoring.events
        _monitoring.register_callback(self.tool_id, events.PY_START, on_start)
        _monitoring.register_callback(self.tool_id, events.LINE, on_line)

    def _on_start(self, code: CodeType, offset: int) -> Any:
        if not code.co_filename.startswith(tuple(self.seen_paths)):
            return _monitoring.DISABLE
        assert self.tool_id is not None
        _monitoring.set_local_events(self.tool_id, code, _monitoring.events.LINE)
        # A frame that was at the same address before has nothing to do with this one.
        self._last[id(sys._getframe(1))] = None
        return None

    def _on_line(self, code: CodeType, line: int) -> Any:
        if line not in first_lines(code.co_filename):
            return _monitoring.DISABLE
        if not code.co_filename.startswith(self._watcher.paths):
            return None
        frame = id(sys._getframe(1))
        last = self._last.get(frame)
        if line != last:
            self._last[frame] = line
            self._watcher.reached(code, line, entered=last is None)
        return None


def watch(watcher: Watcher) -> Watch:
    """Tell ``watcher`` of statements, in this thread and in those that enter the watch."""
    return _Tracing(watcher) if _monitoring is None else _Monitoring(watcher)
