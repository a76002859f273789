"""What server, client and group have in common for their users."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any, Self, TypeVar

from reactivex import Observable, Subject, abc

from rxplus._core.losses import Loss
from rxplus._core.stats import Health, Stats
from rxplus._engine.hub import Hub
from rxplus.config import check_timeout
from rxplus.errors import RxException

__all__ = ["Component"]

T = TypeVar("T")


class Component(Subject[T]):
    """A Subject with a life of its own. All methods may be called from any thread.

    Subscribers are called on the loop thread, or on the component's scheduler
    when it was given one, one at a time and in order. What arrives before
    anybody has subscribed waits for the first subscriber, up to 1,000 values or 1 MiB.
    """

    def __init__(self, hub: Hub[Any]) -> None:
        super().__init__()
        self._hub = hub

    @property
    def name(self) -> str:
        """What it is called in logs and errors."""
        return self._hub.name

    @property
    def errors(self) -> Observable[RxException]:
        """Failures that did not end the component: of a peer, a message, a subscriber."""
        return self._hub.errors

    @property
    def losses(self) -> Observable[Loss]:
        """Messages that will not be delivered."""
        return self._hub.losses

    def health(self) -> Health:
        """Take a snapshot of state and counters."""
        hub, stats = self._hub, self._stats()
        return Health(
            name=hub.name,
            kind=hub.kind,
            healthy=hub.is_open and self._is_healthy(),
            state=self._state(),
            uptime=hub.runtime.now() - hub.started,
            connections=stats.connections,
            connections_opened=stats.connections_opened,
            messages_in=stats.messages_in,
            messages_out=stats.messages_out,
            bytes_in=stats.bytes_in,
            bytes_out=stats.bytes_out,
            queued_messages=stats.queued_messages,
            queued_bytes=self._queued_bytes(),
            losses=dict(stats.losses),
            errors=stats.errors,
            reconnects=stats.reconnects,
            handshake_failures=stats.handshake_failures,
            latency=stats.latency,
            paths=self._paths(),
        )

    def close(self, timeout: float | None = None) -> bool:
        """Shut down: send what is queued, close connections, complete the streams.

        Blocks until everything has been let go of. From a subscriber's callback
        on the loop thread it starts the shutdown and returns at once. Closing
        again waits for the same shutdown.

        Args:
            timeout: seconds for sending and for closing handshakes, after which
                connections are cut; ``None`` takes ``Timeouts.close``.

        Returns:
            Whether everything has been let go of.

        Raises:
            ValueError: ``timeout`` is negative or not finite; nothing is closed then.
            TypeError: it is no number.
        """
        check_timeout(timeout)
        return self._close(timeout, None)

    def _close(self, timeout: float | None, error: Exception | None) -> bool:
        self._hub.begin_close(timeout, error)
        given = self._hub.timeouts.close if timeout is None else timeout
        # Cutting connections takes a moment too. More is needed only while a
        # subscriber holds the loop.
        return self._hub.wait_closed(given + 1.0)

    def dispose(self) -> None:
        """Close; what Rx calls it."""
        self.close()

    def on_completed(self) -> None:
        """Close, since there is nothing more to send."""
        self.close()

    def on_error(self, error: Exception) -> None:
        """Close, and end the stream with ``error``: the source of what is sent has failed."""
        self._close(None, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        hub: Hub[Any] | None = getattr(self, "_hub", None)
        if hub is None or not hub.is_open:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        # On the loop: a collection may run anywhere, even where a lock is held.
        hub.lease.call_soon(hub.begin_close, hub.timeouts.exit)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._state()}>"

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self._hub.messages.attach(observer)

    def _state(self) -> str:
        if self._hub.is_closed:
            return "closed"
        return "open" if self._hub.is_open else "closing"

    # What differs:

    def _stats(self) -> Stats:
        return self._hub.stats

    def _is_healthy(self) -> bool:
        return True

    def _queued_bytes(self) -> int:
        raise NotImplementedError

    def _paths(self) -> dict[str, int]:
        raise NotImplementedError
