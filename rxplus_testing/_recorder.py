"""What an observable did, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.abc import SchedulerBase

__all__ = ["Recorder"]

T = TypeVar("T")


class Recorder(Generic[T]):
    """Writes down all that an observable emits.

    Attributes:
        values: the values, in order.
        times: the virtual time of each value, in seconds.
        error: what the observable failed with; ``None`` while it has not.
        completed: whether it completed.
        ended_at: when it failed or completed.
    """

    def __init__(
        self, source: Observable[T], scheduler: SchedulerBase, clock: Callable[[], float]
    ) -> None:
        self.values: list[T] = []
        self.times: list[float] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended_at: float | None = None
        self._clock = clock
        self._subscription = source.subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=scheduler
        )

    @property
    def ended(self) -> bool:
        """Whether the observable has failed or completed."""
        return self.ended_at is not None

    def dispose(self) -> None:
        """End the subscription; what was recorded stays."""
        self._subscription.dispose()

    def _on_next(self, value: T) -> None:
        self.values.append(value)
        self.times.append(self._clock())

    def _on_error(self, error: Exception) -> None:
        self.error = error
        self.ended_at = self._clock()

    def _on_completed(self) -> None:
        self.completed = True
        self.ended_at = self._clock()

    def __repr__(self) -> str:
        events = [
            f"{when:.6f} {value!r}" for when, value in zip(self.times, self.values, strict=True)
        ]
        if self.ended_at is not None:
            end = "completed" if self.completed else f"error {self.error!r}"
            events.append(f"{self.ended_at:.6f} {end}")
        return f"<Recorder {'; '.join(events) or 'nothing yet'}>"
