"""What a test lets another thread do, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["SimThread"]

T = TypeVar("T")


class SimThread(Generic[T]):
    """A thread of a simulation: from :meth:`Sim.thread`.

    In the mode ``"inline"`` it is none: what it does is done in one go, between
    two turns of the loop.

    Attributes:
        name: as the trace calls it.
        done: whether it has ended.
    """

    def __init__(
        self,
        name: str,
        action: Callable[[], T],
        run_until: Callable[[Callable[[], object], float], None],
    ) -> None:
        self.name = name
        self.done = False
        self._action = action
        self._run_until = run_until
        self._outcome: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it: for the simulation, once."""
        try:
            self._outcome.append(self._action())
        except Exception as error:  # noqa: BLE001 - it is for whoever joins
            self._error = error
        finally:
            self.done = True
            del self._action  # and what it refers to

    def join(self, timeout: float = 60.0) -> T:
        """Wait for its end and return what it returned.

        Raises:
            SimTimeout: it has not ended after ``timeout`` virtual seconds.
            SimDeadlock: it cannot end any more.
            Exception: whatever it raised.
        """
        self._run_until(lambda: self.done, timeout)
        error = self.take_error()
        if error is not None:
            raise error
        return self._outcome[0]

    def take_error(self) -> BaseException | None:
        """Return what it raised, which is then known."""
        error, self._error = self._error, None
        return error

    def __repr__(self) -> str:
        return f"<SimThread {self.name}, {'ended' if self.done else 'running'}>"
