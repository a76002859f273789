"""An asyncio event loop whose clock moves instead of waiting.

It is all of :class:`asyncio.base_events.BaseEventLoop` but the selector: where
a real loop would sleep until its next timer, this one sets its clock to that
timer. So a run takes no time, and two runs of the same program are the same.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Protocol, TypeVar, TypeVarTuple

from rxplus_testing._errors import ForeignThreadError, SimDeadlock
from rxplus_testing._sites import describe_task
from rxplus_testing._socket_loop import SocketLoop

__all__ = ["VirtualLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _OrderedTimer(asyncio.TimerHandle):
    """A timer that comes after those made before it for the same moment.

    asyncio's heap leaves equal deadlines unordered. In virtual time they are
    the rule, and swapping two of them would reorder a byte stream.
    """

    __slots__ = ("_seq",)

    # BaseEventLoop keeps this flag; its type stubs leave it out.
    _scheduled: bool

    def __init__(self, seq: int, *args: Any) -> None:
        super().__init__(*args)
        self._seq = seq

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        assert isinstance(other, _OrderedTimer)
        return (self.when(), self._seq) < (other.when(), other._seq)


class Selector(Protocol):
    """What ``BaseEventLoop`` sleeps in."""

    def select(self, timeout: float | None) -> list[Any]:
        """Sleep until there is something to do; return which files are ready: none."""
        ...

    def get_key(self, fd: int) -> Any:
        """Raise ``KeyError``: no file is watched."""


class _Selector:
    """Nothing comes from outside, so it never sleeps."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise SimDeadlock(f"nothing is left to run\n{self._loop.describe()}")
        if timeout > 0:
            self._loop.skip_to_timer()
        return []

    def get_key(self, fd: int) -> Any:
        """Tell that nothing is watched: asyncio asks when it shows a transport."""
        raise KeyError(fd)


class VirtualLoop(SocketLoop):
    """An event loop in virtual time, for the thread that made it.

    It can be run like any other loop (``run_until_complete``,
    ``asyncio.Runner(loop_factory=VirtualLoop)``), or one turn at a time with
    :meth:`turn`, which leaves the clock to the caller.

    Attributes:
        failures: contexts given to the exception handler, such as an exception
            in a callback or "Task was destroyed but it is pending!".
    """

    # What BaseEventLoop defines and its type stubs leave out.
    _clock_resolution: float
    _ready: deque[asyncio.Handle]
    _scheduled: list[_OrderedTimer]
    _timer_cancelled_count: int
    _selector: Selector
    _stopping: bool
    _thread_id: int | None
    _check_closed: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timer_seq = itertools.count()
        self._task_seq = itertools.count(1)
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._adopt()
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.failures.append(context))
        self._set_now(0.0)

    # The clock.

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._now

    def next_due(self) -> float | None:
        """Return when the next timer is due; ``None`` when there is none."""
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        return self._scheduled[0].when() if self._scheduled else None

    def skip_to(self, when: float) -> None:
        """Set the clock to ``when``, or leave it when that has passed."""
        if when > self._now:
            self._set_now(when)

    def skip_to_timer(self) -> None:
        """Set the clock to the next timer, which there must be."""
        self.skip_to(self._scheduled[0].when())

    def _adopt(self) -> None:
        """Make the calling thread the one that runs the loop."""
        self._owner = threading.current_thread()
        self._rest_in(_Selector(self))

    def _rest_in(self, selector: Selector) -> None:
        self._selector = selector

    def _set_now(self, now: float) -> None:
        # The loop runs timers with `when < now + resolution`: with one unit in
        # the last place these are the timers up to now and not one more, also
        # when the clock is so far on that a fixed resolution would be lost.
        self._now = now
        self._clock_resolution = math.ulp(now)

    # Running.

    def turn(self) -> bool:
        """Run once what is ready at this moment.

        Returns:
            False when there was nothing.
        """
        if not self.has_work():
            return False
        self.stop()
        self.run_forever()
        return True

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called."""
        self.check_thread("run the loop")
        super().run_forever()

    def in_callback(self) -> bool:
        """Tell whether the loop is running a callback, and the caller is inside it."""
        return self.is_running() and threading.current_thread() is self._owner

    def has_work(self) -> bool:
        """Tell whether anything is to be done at this moment."""
        if self._ready:
            return True
        due = self.next_due()
        return due is not None and due <= self.time()

    # Scheduling.

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` at ``when``, after what was asked for the same moment before."""
        self._check_closed()
        self.check_thread("schedule a timer")
        timer = _OrderedTimer(next(self._timer_seq), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call ``callback`` soon. Unlike on a real loop, from the loop's own thread only.

        Raises:
            ForeignThreadError: another thread called, whose timing nobody controls.
        """
        self.check_thread("call call_soon_threadsafe()")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run ``func`` as a callback of this loop: there are no other threads."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_run_job, future, functools.partial(func, *args))
        return future

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Start a task. Without a name it gets one that is the same in each run."""
        seq = next(self._task_seq)
        if kwargs.get("name") is None:
            kwargs["name"] = f"{getattr(coro, '__qualname__', 'task')}#{seq}"
        task: asyncio.Task[Any] = super().create_task(coro, **kwargs)
        self._tasks[task] = seq
        return task

    def check_thread(self, action: str) -> None:
        """Refuse a thread that is not the one that made this loop."""
        thread = threading.current_thread()
        if thread is not self._owner:
            raise ForeignThreadError(
                f"thread {thread.name!r} tried to {action}, but this simulation is run by "
                f"thread {self._owner.name!r} alone"
            )

    # Reports.

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended, oldest first."""
        alive = sorted(self._tasks.items(), key=lambda item: item[1])
        return [task for task, _ in alive if not task.done()]

    def describe(self) -> str:
        """Return the time, the next timer and where each task waits, a line each."""
        due = self.next_due()
        timer = "no timer" if due is None else f"next timer at {due:.6f}"
        lines = self.describe_tasks() or ["  no task"]
        return "\n".join([f"t={self._now:.6f}, {timer}", *lines])

    def describe_tasks(self) -> list[str]:
        """Return where each task waits, a line each, sorted."""
        return [f"  task {text}" for text in sorted(map(describe_task, self.pending_tasks()))]

    def _process_events(self, event_list: list[Any]) -> None:
        """Take what the selector found, which is nothing."""

    def _write_to_self(self) -> None:
        """Wake the selector, which never sleeps."""


def _run_job(future: asyncio.Future[T], job: Callable[[], T]) -> None:
    if future.cancelled():
        return
    try:
        result = job()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the job
        future.set_exception(error)
    else:
        future.set_result(result)
