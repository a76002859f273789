"""Where threads change in the middle of the code: at random, or where a test says so."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable
from pathlib import PurePath
from types import CodeType, TracebackType
from typing import Self

from rxplus_testing._baton import Baton, Clock
from rxplus_testing._baton_thread import Wait
from rxplus_testing._rxplus import PACKAGE_PATH
from rxplus_testing._statements import watch

__all__ = ["Pause", "Switching"]

_STALLS = (0.01, 0.2, 2.0)
"""Virtual seconds that a stalled thread stands still."""

_PROCESS_WIDE = f"{PACKAGE_PATH}_meters.py"
"""What it holds outlives a simulation, so a second run does not do in it what the first did.
Its locks are real ones: who waits for one does not give the baton up."""


class Pause:
    """A place in the code that holds the threads that come there: from :meth:`Sim.pause_at`.

    It holds a thread before the statement is executed, until :meth:`release` or
    the end of a ``with`` block. The other threads run on, and time passes.
    """

    def __init__(
        self,
        label: str,
        line: str | None,
        thread: str | None,
        run_until: Callable[[Callable[[], object], float], None],
    ) -> None:
        self.label = label
        self._module, _, self._function = label.rpartition(":")
        self._line = line
        self._thread = thread
        self._run_until = run_until
        self._held: list[str] = []
        self._active = True

    @property
    def held(self) -> tuple[str, ...]:
        """The names of the threads that are held here now."""
        return tuple(self._held)

    def wait(self, timeout: float = 60.0) -> None:
        """Run until a thread is held here.

        Raises:
            SimTimeout: none has come after ``timeout`` virtual seconds.
            SimDeadlock: none can come any more.
        """
        self._run_until(lambda: self._held, timeout)

    def release(self) -> None:
        """Let the threads go on that are held, and hold no more."""
        self._active = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Pause at {self.label} {self._line or ''} holds {', '.join(self._held) or None}>"

    def matches(self, code: CodeType, line: int, *, entered: bool, thread: str) -> bool:
        """Tell whether a thread is to be held at a statement."""
        if not self._active or self._thread not in (None, thread):
            return False
        if not f".{code.co_qualname}".endswith(f".{self._function}"):
            return False
        module = ".".join(PurePath(code.co_filename).with_suffix("").parts)
        if not f".{module}".endswith(f".{self._module}" if self._module else ""):
            return False
        if self._line is None:
            return entered
        return self._line in linecache.getline(code.co_filename, line)

    def hold(self, baton: Baton) -> None:
        """Hold the calling thread."""
        name = baton.current.name
        self._held.append(name)
        try:
            baton.wait(Wait(why=f"is held at {self.label}", ready=lambda: not self._active))
        finally:
            self._held.remove(name)


class Switching:
    """Gives the baton up at statements of rxplus, and of the files that the user names.

    Args:
        baton: of the simulation.
        clock: its time.
        switch: how likely another thread may run before a statement.
        stall: how likely a thread stands still before a statement, for some virtual time.
        files: names of further files, or of folders of them.
    """

    def __init__(
        self, baton: Baton, clock: Clock, *, switch: float, stall: float, files: Iterable[str]
    ) -> None:
        self.paths = (PACKAGE_PATH, *files)
        self.pauses: list[Pause] = []
        self._baton = baton
        self._clock = clock
        self._stall = stall
        self._either = stall + switch
        self._watch = watch(self)
        self.enter_thread = self._watch.enter
        self.leave_thread = self._watch.leave
        self.stop = self._watch.stop

    def reached(self, code: CodeType, line: int, *, entered: bool) -> None:
        """Decide what happens before a statement; the watch calls it."""
        baton = self._baton
        if code.co_filename == _PROCESS_WIDE or not baton.has_it():
            return
        for pause in self.pauses:
            if pause.matches(code, line, entered=entered, thread=baton.current.name):
                pause.hold(baton)
        drawn = baton.random.random()
        if drawn < self._stall:
            self._stand_still(_label(code, line))
        elif drawn < self._either:
            baton.switch(_label(code, line))

    def calm_down(self) -> bool:
        """Let no thread stand still any more; tell whether one could."""
        stalled, self._stall = self._stall > 0, 0.0
        return stalled

    def _stand_still(self, label: str) -> None:
        until = self._clock.time() + self._baton.random.choice(_STALLS)
        self._baton.wait(Wait(why=f"stalls at {label}", deadline=lambda: until))


def _label(code: CodeType, line: int) -> str:
    return f"{PurePath(code.co_filename).name}:{line} {code.co_qualname}"
