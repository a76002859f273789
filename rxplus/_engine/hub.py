"""What every component is made of, beneath its Rx face.

A hub does not know the component it belongs to, and nothing on the loop does:
a component that its user has dropped can be collected, and says so.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from reactivex import abc

from rxplus._core.losses import Loss, LossReason
from rxplus._core.protocol.numbers import Span
from rxplus._core.stats import Stats
from rxplus._engine.answers import Answers
from rxplus._engine.notify import Direct, Notify, Scheduled
from rxplus._engine.stream import Stream
from rxplus.config import Limits, Timeouts
from rxplus.errors import RxException, WouldDeadlockError
from rxplus.runtime import Event, Lease, Runtime
from rxplus.telemetry import Probe, Telemetry

__all__ = ["Engine", "Hub"]

T = TypeVar("T")

_EARLY_VALUES = 1_000
_EARLY_BYTES = 2**20
"""What may wait for the first subscriber: more than arrives until the line after a constructor
has run, and little enough for a component that nobody will subscribe to."""


class Engine(Protocol):
    """What does a component's work on the loop."""

    async def shutdown(self, timeout: float) -> None:
        """Send what is queued, close the connections and let go of everything.

        Takes about ``timeout`` seconds at the most, and raises nothing.
        """


class _Phase(Enum):
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Hub(Generic[T]):
    """Streams, counters, log and life of one component.

    Args:
        kind: ``"server"``, ``"client"`` or ``"group"``.
        name: of the component.
        runtime: where it runs.
        timeouts: how long shutting down may take.
        limits: for subscribers.
        scheduler: where subscribers run; ``None`` is the loop thread.
        telemetry: where logs, traces and metrics go.
        redeliver: how often a message is given again to a subscriber that raised.

    Raises:
        TypeError: ``name``, ``scheduler`` or ``runtime`` is of the wrong type.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        runtime: Runtime,
        timeouts: Timeouts,
        limits: Limits,
        scheduler: abc.SchedulerBase | None,
        telemetry: Telemetry,
        redeliver: int = 0,
    ) -> None:
        # First, so that a refusal leaves no thread behind.
        if not isinstance(name, str):
            raise TypeError(f"name must be a str or None, got {name!r}")
        if not isinstance(scheduler, abc.SchedulerBase | None):
            raise TypeError(f"scheduler must be an Rx scheduler or None, got {scheduler!r}")
        if isinstance(runtime, type) or not hasattr(runtime, "acquire"):
            raise TypeError(f"runtime must be a Runtime or None, got {runtime!r}")
        self.kind = kind
        self.name = name
        self.runtime = runtime
        self.timeouts = timeouts
        self.limits = limits
        self.stats = Stats()
        self.started = runtime.now()
        self.lease: Lease = runtime.acquire()
        self.answers = Answers(self.lease)
        self.probe: Probe = telemetry.probe(kind, name, self.stats)
        self.on_room: Callable[[], None] = _nothing
        self.deliver = self._notify(scheduler)
        self.seal: Callable[[], None] = _nothing
        self.received: Callable[[], int] = self._count_received
        self.heard = False
        """Whether somebody has subscribed to what arrives."""
        # A dict for its order, and so that one can be taken back.
        self._when_heard: dict[Callable[[], None], None] = {}

        # The watch of the streams: see stream.Watch.
        self.now = runtime.now
        # Who runs on a scheduler holds up nobody else.
        threshold = limits.slow_callback if scheduler is None else None
        self.threshold = math.inf if threshold is None else threshold
        self._redeliver = redeliver
        self.messages: Stream[T] = self.inbound(keep=True)
        self.errors: Stream[RxException] = self.stream()
        self.losses: Stream[Loss] = self.stream()
        self._side_streams: list[Stream[Any]] = []

        self._engine: Engine | None = None
        self._phase = _Phase.OPEN
        self._phase_lock = runtime.lock()
        self._closed: Event = runtime.event()
        # In how many seconds, and what the streams end with; once it closes.
        self._ending: tuple[float, Exception | None]
        self._shutdown_task: asyncio.Task[None] | None = None
        self._forget_exit = runtime.at_exit(self._on_exit)

    def _notify(self, scheduler: abc.SchedulerBase | None) -> Notify:
        if scheduler is None:
            return Direct()
        return Scheduled(
            scheduler,
            self.runtime.lock(),
            self.lease,
            self.limits.max_undelivered,
            self._tell_of_room,
            self._scheduler_refused,
        )

    def _tell_of_room(self) -> None:
        # Looked up when it happens: the engine sets the hook later.
        self.on_room()

    def _scheduler_refused(self, error: Exception) -> None:
        self.report(error, "the scheduler takes no more work; subscribers run on the loop thread")

    def stream(self, *, keep: bool = False) -> Stream[Any]:
        """Make a further stream with this component's care for subscribers.

        Args:
            keep: whether what comes before the first subscriber waits for it.
        """
        return Stream(self.runtime.lock(), self, self if keep else None)

    def inbound(self, *, keep: bool) -> Stream[Any]:
        """Make a stream of messages, which are given again to subscribers if that was asked for."""
        keeping = self if keep else None
        return Stream(self.runtime.lock(), self, keeping, again=self._redeliver)

    def side_stream(self, *, keep: bool = False) -> Stream[Any]:
        """Make a stream that completes when the component is closed."""
        stream = self.stream(keep=keep)
        self._side_streams.append(stream)
        return stream

    @property
    def direct(self) -> bool:
        """Whether subscribers run on the loop thread, each call made at once."""
        return isinstance(self.deliver, Direct)

    def into(self, give: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return the shortest way to have ``give(value)`` called where subscribers run."""
        if self.direct:
            return give
        return partial(self.deliver, give)

    # ── blocking calls ────────────────────────────────────────────────────────────────────

    def call(self, start: Callable[[], Awaitable[None]], what: str) -> None:
        """Run a coroutine function on the loop and wait for it.

        Raises:
            WouldDeadlockError: called on the loop thread itself.
            BaseException: whatever the coroutine raised.
        """
        if self.lease.in_loop():
            raise WouldDeadlockError(
                f"{self.name}: {what} waits for the loop thread and cannot be called on it; "
                "call it from another thread, or give the component a runtime of its own"
            )
        outcome: list[BaseException | None] = []
        done = self.runtime.event()

        async def run() -> None:
            try:
                await start()
            except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
                outcome.append(exc)
            else:
                outcome.append(None)
            finally:
                done.set()

        tasks: list[asyncio.Task[None]] = []
        if not self.lease.call_soon(lambda: tasks.append(self.lease.loop.create_task(run()))):
            raise RuntimeError(f"{self.name}: its loop has ended")
        done.wait()
        if outcome[0] is not None:
            raise outcome[0]

    def wait_closed(self, timeout: float | None) -> bool:
        """Wait until everything has been let go of. On the loop thread it only looks.

        Returns:
            Whether it has.
        """
        if self.lease.in_loop():
            return self._closed.is_set()
        started = self.runtime.now()
        if not self._closed.wait(timeout):
            return False
        left = None if timeout is None else max(0.0, timeout - (self.runtime.now() - started))
        return self.lease.join(left)

    # ── life ──────────────────────────────────────────────────────────────────────────────

    @property
    def is_open(self) -> bool:
        """Whether nobody has begun to close it."""
        return self._phase is _Phase.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether everything has been let go of."""
        return self._phase is _Phase.CLOSED

    def run(self, engine: Engine) -> None:
        """Say what is to be shut down at the end."""
        self._engine = engine

    def fail(self, error: Exception, why: str) -> None:
        """Close at once, and end the stream with an error. Any thread; does not wait."""
        self.begin_close(0.0, RxException(error, self.name, why))

    def begin_close(self, timeout: float | None = None, error: Exception | None = None) -> None:
        """Start to shut down. Any thread; does not wait. Only the first call says how.

        Args:
            timeout: seconds for sending and closing; ``None`` takes the configured time.
            error: what the streams end with; ``None`` completes them.
        """
        with self._phase_lock:
            if self._phase is _Phase.CLOSED:
                return
            if self._phase is _Phase.OPEN:
                self._ending = (self.timeouts.close if timeout is None else timeout, error)
                self._phase = _Phase.CLOSING
        # Each time: Ctrl-C may have come in the middle of an earlier call.
        try:
            self.seal()
        finally:
            self.lease.call_soon(self._start_shutdown)

    def _start_shutdown(self) -> None:
        if self._shutdown_task is None:
            self.seal()
            self._shutdown_task = self.lease.loop.create_task(
                self._shutdown(*self._ending), name=f"{self.name} shutdown"
            )

    async def _shutdown(self, timeout: float, error: Exception | None) -> None:
        try:
            if self._engine is not None:
                await self._engine.shutdown(timeout)
        finally:
            self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        self._phase = _Phase.CLOSED
        self._forget_exit()
        if error is None:
            self.probe.info("closed", f"{self.name} closed")
        else:
            self.probe.error("failed", f"{self.name} failed: {error}", exception=error)
        self.deliver(self.messages.finish, error)
        for stream in (*self._side_streams, self.losses, self.errors):
            self.deliver(stream.finish, None)
        self.probe.close()
        self.lease.release()
        self._closed.set()

    def _on_exit(self) -> Callable[[], bool]:
        self.begin_close(self.timeouts.exit)
        return partial(self.wait_closed, self.timeouts.exit + 1.0)

    # ── what happens, loop thread ─────────────────────────────────────────────────────────

    def report(self, error: BaseException, note: str, **attributes: Any) -> None:
        """Report a failure that does not end the component."""
        self.stats.errors += 1
        self.probe.warning("error", f"{note}: {error}", exception=error, **attributes)
        self.deliver(self.errors.emit, RxException(error, self.name, note))

    def lost(self, path: str, losses: Mapping[LossReason, int]) -> None:
        """Report messages that will not be delivered."""
        for reason, count in losses.items():
            self.lose(Loss(path, reason, count))

    def lose_span(self, path: str, reason: LossReason, span: Span | None) -> None:
        """Report messages that have numbers; ``None`` is none."""
        if span is not None:
            self.lose(Loss(path, reason, span.size, span.first, span.last))

    def lose(self, loss: Loss) -> None:
        """Report messages that will not be delivered, of one path and for one reason."""
        self.stats.losses[loss.reason.value] += loss.count
        self.probe.warning(
            "messages_lost",
            f"{loss.count} messages for {loss.path} lost: {loss.reason}",
            path=loss.path,
            reason=loss.reason.value,
            count=loss.count,
            first=loss.first,
            last=loss.last,
        )
        self.deliver(self.losses.emit, loss)

    # ── stream.Keeping ────────────────────────────────────────────────────────────────────

    def may_keep(self, count: int) -> bool:
        """Tell whether so many values may wait for a first subscriber."""
        return count <= _EARLY_VALUES and self.received() <= _EARLY_BYTES

    def _count_received(self) -> int:
        return self.stats.bytes_in

    def soon(self, release: Callable[[None], None]) -> None:
        """Have a stream release what it kept, where subscribers run. Any thread."""
        self.lease.call_soon(self.deliver, release, None)
        self.lease.call_soon(self._hear)

    def when_heard(self, call: Callable[[], None]) -> None:
        """Have something called on the loop once somebody has subscribed. Loop thread."""
        self._when_heard[call] = None

    def never_mind(self, call: Callable[[], None]) -> None:
        """Take that back, if it was not called yet. Loop thread."""
        self._when_heard.pop(call, None)

    def _hear(self) -> None:
        self.heard = True
        self.let_go()

    def let_go(self) -> None:
        """Make the calls of :meth:`when_heard` now, in order. Loop thread."""
        calls, self._when_heard = self._when_heard, {}
        for call in calls:
            call()

    # ── stream.Watch ──────────────────────────────────────────────────────────────────────

    def failed(self, observer: abc.ObserverBase[Any], error: BaseException) -> None:
        """An observer raised: say so, where another observer can hear it."""
        note = f"subscriber {_callback_name(observer)} raised"
        if observer in self.errors:
            # Told on `errors` it would raise again, for ever.
            self.probe.error("error", f"{note}: {error}", exception=error)
        else:
            self.report(error, note)

    def slow(self, observer: abc.ObserverBase[Any], seconds: float) -> None:
        """An observer held up the thread it runs on."""
        name = _callback_name(observer)
        self.probe.warning(
            "slow_subscriber",
            f"subscriber {name} took {seconds:.3f} s; meanwhile nothing is sent or received",
            callback=name,
            seconds=seconds,
        )


def _nothing() -> None:
    """Stand in for a hook that has not been set."""


def _callback_name(observer: abc.ObserverBase[Any]) -> str:
    callback = getattr(observer, "_on_next", observer)
    callback = getattr(callback, "func", callback)
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__
