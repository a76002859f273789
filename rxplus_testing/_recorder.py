"""What an observable did, and when."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from reactivex import Observable
from reactivex.notification import OnCompleted, OnError, OnNext
from reactivex.testing import Recorded

from rxplus_testing._events import Event
from rxplus_testing._marbles import Lookup, draw
from rxplus_testing._timeline import RealTimeline, Timeline

__all__ = ["Recorder"]

T = TypeVar("T")


class Recorder(Generic[T]):
    """Writes down all that an observable emits, whichever thread it does so on.

    Args:
        source: what to subscribe to.
        timeline: tells the time, and waits: a simulation's, which
            :meth:`Sim.record` gives; by default that of the real world.

    Attributes:
        values: the values, in order.
        error: what the observable failed with; ``None`` while it has not.
        completed: whether it completed.
        ended_at: when it failed or completed.
        started_at: when the subscription was made.
        timeline: as given.
    """

    def __init__(self, source: Observable[T], timeline: Timeline | None = None) -> None:
        self.timeline = timeline or RealTimeline()
        self.values: list[T] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended_at: float | None = None
        self.started_at = self.timeline.now
        self._times: list[float] = []
        self._checked = 0
        self._subscription = source.subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=self.timeline.scheduler
        )

    @property
    def times(self) -> list[float]:
        """The time of each value, in seconds: virtual in a simulation, else since the start."""
        return self._times[: len(self.values)]

    @property
    def ended(self) -> bool:
        """Whether the observable has failed or completed."""
        return self.completed or self.error is not None

    @property
    def events(self) -> list[Event]:
        """All that was recorded, in order."""
        values = zip(self._times, self.values, strict=False)
        found = [Event(when, OnNext(value)) for when, value in values]
        if self.ended_at is not None and self.ended:
            end: Any = OnCompleted() if self.error is None else OnError(self.error)
            found.append(Event(self.ended_at, end))
        return found

    @property
    def messages(self) -> list[Recorded[Any]]:
        """The same as :mod:`reactivex.testing` writes it.

        So it compares with ``ReactiveTest.on_next(1.5, "a")`` and its kin.
        """
        # reactivex says int, and means whatever its scheduler counts in.
        return [Recorded(event.time, event.notification) for event in self.events]  # type: ignore[arg-type]

    @property
    def unchecked(self) -> list[Event]:
        """The events that no :func:`expect` has taken yet."""
        return self.events[self._checked :]

    def has_unchecked(self) -> bool:
        """Tell whether there are such messages."""
        return len(self.values) + self.ended > self._checked

    def check_off(self, count: int) -> None:
        """Count the next ``count`` messages as taken: for :func:`expect`."""
        self._checked += count

    def marbles(self, timespan: float = 1.0, lookup: Lookup | None = None) -> str:
        """Draw what was recorded as a marble diagram that ``reactivex.from_marbles`` can read.

        Args:
            timespan: seconds that a character stands for.
            lookup: names of values, as for ``from_marbles``; a value without one
                is drawn as its text.

        Raises:
            ValueError: too much happened within a timespan, or a value has no
                text that fits into a diagram.
        """
        return draw(self.events, self.started_at, timespan, lookup or {})

    def dispose(self) -> None:
        """End the subscription; what was recorded stays."""
        self._subscription.dispose()

    # Others may look at any moment: what they look for is set last.

    def _on_next(self, value: T) -> None:
        self._times.append(self.timeline.now)
        self.values.append(value)
        self.timeline.changed()

    def _on_error(self, error: Exception) -> None:
        self.ended_at = self.timeline.now
        self.error = error
        self.timeline.changed()

    def _on_completed(self) -> None:
        self.ended_at = self.timeline.now
        self.completed = True
        self.timeline.changed()

    def tail(self, count: int) -> str:
        """Return the last ``count`` events as text, in one line."""
        events = self.events
        before = max(0, len(events) - count)
        shown = [f"... {before} before"] if before else []
        return "; ".join([*shown, *map(str, events[before:])]) or "nothing yet"

    def __repr__(self) -> str:
        return f"<Recorder {self.tail(len(self.events))}>"
