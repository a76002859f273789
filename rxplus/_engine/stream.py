"""The Rx side of the engine: sending values to observers, safely."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxplus.runtime import Lock

__all__ = ["Keeping", "StateStream", "Stream", "Watch", "each"]

T = TypeVar("T")


_RAISED = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)
"""What an observer may raise like any error: sys.exit(), or the outcome of a cancelled future.

Anything else is not about the observer: Ctrl-C, or the end of a test."""


def each(give: Callable[[T], object], values: Iterable[T]) -> None:
    """Call ``give`` with each value. What calls raise comes after the last of them."""
    halt: BaseException | None = None
    for value in values:
        try:
            give(value)
        except BaseException as exc:  # noqa: BLE001 - raised when nobody misses anything by it
            halt = halt or exc
    if halt is not None:
        raise halt


class Watch(Protocol):
    """Hears about observers that misbehave."""

    threshold: float
    """Seconds that an observer may take."""

    def now(self) -> float:
        """Tell the time, in seconds."""
        ...

    def failed(self, observer: abc.ObserverBase[Any], error: BaseException) -> None:
        """An observer raised."""

    def slow(self, observer: abc.ObserverBase[Any], seconds: float) -> None:
        """An observer took longer than the threshold."""


class Keeping(Protocol):
    """Lets a stream keep what comes before anybody has subscribed."""

    def may_keep(self, count: int) -> bool:
        """Tell whether ``count`` values may be kept, with all that has arrived by now."""
        ...

    def soon(self, release: Callable[[None], None]) -> None:
        """Have ``release(None)`` called where values are emitted. Any thread."""


class Stream(Observable[T]):
    """A hot observable that values are pushed into.

    An observer that raises is reported and stays subscribed; the others get the
    value. Subscribing and disposing work from any thread; ``emit`` and
    ``finish`` are called from one thread at a time.

    Args:
        lock: guards the set of observers, never held while one is called.
        watch: hears about observers that raise or dawdle.
        keeping: with it, values that come before the first observer wait for it; a
            component works from the moment it is made, and its user subscribes after that.
        again: how often a value is given again to an observer that raised.
    """

    def __init__(
        self, lock: Lock, watch: Watch, keeping: Keeping | None = None, *, again: int = 0
    ) -> None:
        super().__init__()
        self._guard = lock
        self._watch = watch
        self._keeping = keeping
        self._again = again
        # What came before the first observer; None once nothing is kept any more.
        self._early: list[T] | None = None if keeping is None else []
        # Replaced, never changed, so that emitting needs neither lock nor copy.
        self._observers: tuple[abc.ObserverBase[T], ...] = ()
        self._stopped = False
        self._error: Exception | None = None

    @property
    def observed(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._observers)

    @property
    def keeps(self) -> bool:
        """Whether values wait for the first observer."""
        return self._early is not None

    def __contains__(self, observer: object) -> bool:
        return observer in self._observers

    def emit(self, value: T) -> None:
        """Give a value to every observer."""
        self.emit_all((value,))

    def emit_all(self, values: Iterable[T]) -> None:
        """Give values to every observer, one after the other."""
        if self._early is not None:
            self._keep(values)
        elif self._observers:  # most peers' own streams have none
            arriving = iter(values)
            halts: list[BaseException] = []
            while self._give_to(self._observers, arriving, halts):
                pass
            if halts:
                raise halts[0]

    def _give_to(
        self,
        observers: tuple[abc.ObserverBase[T], ...],
        arriving: Iterator[T],
        halts: list[BaseException],
    ) -> bool:
        """Give values to observers, until there are no more values or other observers.

        Who is alone is timed once for all: the clock costs as much as a small subscriber.

        Returns:
            Whether the observers are others now.
        """
        watch = self._watch
        now, threshold = watch.now, watch.threshold
        alone, changed = len(observers) == 1, False
        started = now()
        for value in arriving:
            for observer in observers:
                try:
                    observer.on_next(value)
                except BaseException as exc:  # noqa: BLE001 - raised when nobody misses anything by it
                    halts += self._failed(observer, value, exc)
                if not alone:
                    ended = now()
                    if ended - started > threshold:
                        watch.slow(observer, ended - started)
                    started = ended
            if self._observers is not observers:
                changed = True
                break
        if alone and (took := now() - started) > threshold:
            watch.slow(observers[0], took)
        return changed

    def _failed(
        self, observer: abc.ObserverBase[T], value: T, error: BaseException
    ) -> list[BaseException]:
        """Report what an observer raised, and try again; return what is not about it."""
        if not isinstance(error, _RAISED):
            return [error]
        self._watch.failed(observer, error)
        for _ in range(self._again):
            try:
                observer.on_next(value)
                break
            except _RAISED as exc:
                self._watch.failed(observer, exc)
            except BaseException as exc:  # noqa: BLE001 - raised later, as the first would be
                return [exc]
        return []

    def _keep(self, values: Iterable[T]) -> None:
        assert self._early is not None
        assert self._keeping is not None
        self._early.extend(values)
        if not self._keeping.may_keep(len(self._early)):
            self._release()  # It seems that nobody is going to listen.

    def _release(self, _: None = None) -> None:
        """Emit what was kept, and keep nothing any more."""
        self.emit_all(self._take_early())

    def _take_early(self) -> list[T]:
        with self._guard:
            early, self._early = self._early, None
        return early or []

    def finish(self, error: Exception | None = None) -> None:
        """End the stream: complete it, or fail it with ``error``. Only the first end counts."""
        with self._guard:
            if self._stopped:
                return
            self._stopped, self._error = True, error
            observers = self._observers
        if observers:
            self._release()
        self._observers = ()
        for observer in observers:
            try:
                observer.on_completed() if error is None else observer.on_error(error)
            except _RAISED as exc:
                # An observer without on_error raises what it is given: Rx's default.
                if exc is not error:
                    self._watch.failed(observer, exc)

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self.attach(observer)

    def attach(self, observer: abc.ObserverBase[T]) -> abc.DisposableBase:
        """Subscribe an observer that has been wrapped by Rx already."""
        with self._guard:
            stopped = self._stopped
            if not stopped:
                self._observers = (*self._observers, observer)
        if not stopped:
            if self._early is not None and self._keeping is not None:
                self._keeping.soon(self._release)
            return Disposable(lambda: self._detach(observer))
        for value in self._take_early():
            observer.on_next(value)
        if self._error is None:
            observer.on_completed()
        else:
            observer.on_error(self._error)
        return Disposable()

    def _detach(self, observer: abc.ObserverBase[T]) -> None:
        with self._guard:
            self._observers = tuple(one for one in self._observers if one is not observer)


class StateStream(Observable[T]):
    """A stream that begins, for each observer, with the current value.

    The first value comes in the subscriber's thread while the next may come in
    another; each observer still sees them in the order in which they happened,
    without a lock being held while it is called.

    Args:
        lock: guards value and mailboxes.
        watch: hears about observers that raise or dawdle.
        value: the first value.
    """

    def __init__(self, lock: Lock, watch: Watch, value: T) -> None:
        super().__init__()
        self._guard = lock
        self._watch = watch
        self._value: T = value
        self._stopped = False
        self._inboxes: list[_Inbox[T]] = []

    @property
    def value(self) -> T:
        """The current value."""
        return self._value

    def emit(self, value: T) -> None:
        """Change the value, and tell every observer."""
        self._post(value=value)

    def finish(self, _: None = None) -> None:
        """End the stream."""
        self._post(done=True)

    def _post(self, *, value: T | None = None, done: bool = False) -> None:
        with self._guard:
            if self._stopped:
                return
            inboxes = tuple(self._inboxes)
            if done:
                self._stopped = True
                self._inboxes.clear()
            else:
                self._value = value  # type: ignore[assignment]  # given whenever not done
            for inbox in inboxes:
                inbox.push(value, done)
        for inbox in inboxes:
            inbox.drain(timed=True)

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        inbox: _Inbox[T] = _Inbox(observer, self._guard, self._watch)
        with self._guard:
            inbox.push(self._value, False)
            if self._stopped:
                inbox.push(None, True)
            else:
                self._inboxes.append(inbox)
        inbox.drain(timed=False)
        return Disposable(lambda: self._detach(inbox))

    def _detach(self, inbox: _Inbox[T]) -> None:
        with self._guard:
            if inbox in self._inboxes:
                self._inboxes.remove(inbox)


class _Inbox(Generic[T]):
    """What one observer has yet to see. Whoever finds it undrained drains it."""

    def __init__(self, observer: abc.ObserverBase[T], lock: Lock, watch: Watch) -> None:
        self._observer = observer
        self._guard = lock
        self._watch = watch
        self._waiting: deque[tuple[Any, bool]] = deque()
        self._draining = False

    def push(self, value: T | None, done: bool) -> None:
        """Add a notification. The caller holds the lock."""
        self._waiting.append((value, done))

    def drain(self, *, timed: bool) -> None:
        """Notify, unless another thread is at it, which then does it.

        Args:
            timed: whether to report an observer that dawdles; the thread of one who
                subscribes is his own to hold up.
        """
        watch = self._watch
        with self._guard:
            if self._draining:
                return
            self._draining = True
        while True:
            with self._guard:
                if not self._waiting:
                    self._draining = False
                    return
                value, done = self._waiting.popleft()
            started = watch.now()
            try:
                self._observer.on_completed() if done else self._observer.on_next(value)
            except _RAISED as exc:
                watch.failed(self._observer, exc)
            took = watch.now() - started
            if timed and took > watch.threshold:
                watch.slow(self._observer, took)
