"""Where subscribers run: on the loop thread, or on a scheduler of the user's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from reactivex import abc
from reactivex.scheduler import ImmediateScheduler

from rxplus.runtime import Lease, Lock

__all__ = ["Direct", "Notify", "Scheduled"]


class Notify(Protocol):
    """Makes calls to subscribers, in order, one at a time."""

    def __call__(self, notify: Callable[[Any], None], value: Any) -> None:
        """Have ``notify(value)`` called. Called on the loop thread."""

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be read."""
        ...


class Direct:
    """Makes each call at once, on the loop thread."""

    full = False

    def __call__(self, notify: Callable[[Any], None], value: Any) -> None:
        notify(value)


class Scheduled:
    """Makes the calls on a scheduler: one action per burst, and never two at a time.

    Args:
        scheduler: where subscribers are to run.
        lock: guards the queue's state.
        lease: the loop.
        limit: calls that may wait before :attr:`full`.
        on_room: called on the loop thread when it was full and no longer is.
        on_refused: hears that the scheduler takes no more work: it was disposed of, or the
            interpreter exits. Calls are then made on the loop thread: late is better than
            never, above all for the end of a stream.
    """

    def __init__(
        self,
        scheduler: abc.SchedulerBase,
        lock: Lock,
        lease: Lease,
        limit: int,
        on_room: Callable[[], None],
        on_refused: Callable[[Exception], None],
    ) -> None:
        self._scheduler = scheduler
        self._lock = lock
        self._lease = lease
        self._limit = limit
        self._on_room = on_room
        self._on_refused = on_refused
        self._queue: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._draining = False
        self._was_full = False

    @property
    def full(self) -> bool:
        if len(self._queue) < self._limit:
            return False
        with self._lock:
            # Looked at once more: what empties it meanwhile would not tell of the room.
            if len(self._queue) < self._limit:
                return False
            self._was_full = True
            return True

    def __call__(self, notify: Callable[[Any], None], value: Any) -> None:
        with self._lock:
            self._queue.append((notify, value))
            if self._draining:
                return
            self._draining = True
        try:
            self._scheduler.schedule(self._drain)
        except Exception as exc:  # noqa: BLE001 - the scheduler is the user's
            self._on_refused(exc)
            self._scheduler = ImmediateScheduler()
            self._scheduler.schedule(self._drain)

    def _drain(self, scheduler: abc.SchedulerBase, state: Any = None) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._draining = False
                    break
                notify, value = self._queue.popleft()
            try:
                notify(value)
            except BaseException:
                # Not about a subscriber: Ctrl-C on the scheduler's thread, say. The rest comes
                # all the same.
                scheduler.schedule(self._drain)
                raise
            if self._was_full:
                self._tell_of_room()

    def _tell_of_room(self) -> None:
        with self._lock:
            if len(self._queue) > self._limit // 2:
                return
            self._was_full = False
        self._lease.call_soon(self._on_room)
