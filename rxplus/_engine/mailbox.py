"""How messages get from any thread to the loop: bounded, ordered, one wake-up per burst."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from typing import Generic, TypeVar

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Parcel, Put, make_outbox, parcel_size
from rxplus._engine.answers import Answers
from rxplus._engine.room import Room
from rxplus.config import Buffer
from rxplus.errors import BufferFullError, ComponentClosedError
from rxplus.runtime import Runtime

__all__ = ["Mailbox"]

T = TypeVar("T")

# Looking a member up in its enum costs as much as a call (CPython 3.11).
_TAKEN, _FULL, _OVERRUN = Put.TAKEN, Put.FULL, Put.OVERRUN

_popleft = deque.popleft

_RESERVE = 64
"""Places in the outbox that are not given away without the lock.

Threads that look for a place at the same moment may all find the last one. So many of them have
to stop between two lines before there is more in the mailbox than may be.
"""


class Mailbox(Generic[T]):
    """An outbox that any thread may put into and the loop thread takes from.

    Small messages come a short way, as long as there is plenty of room: they are left on a pile,
    without the lock, and who has the lock next moves them into the outbox, or takes them all. On
    CPython 3.11 the lock is a third of what sending a message costs the thread that sends.

    Args:
        runtime: gives lock, event and clock.
        answers: hands calls over to the loop.
        buffer: limits and policy.
        name: of the component, for error messages.
        payload: finds the message in what is put.
        on_ready: called on the loop when there may be something to take.
        on_lost: called on the loop, before that, when messages were dropped.
        on_overrun: called on the loop when the policy says to disconnect.
    """

    def __init__(
        self,
        runtime: Runtime,
        answers: Answers,
        buffer: Buffer,
        *,
        name: str,
        payload: Callable[[T], str | bytes],
        on_ready: Callable[[], None],
        on_lost: Callable[[], None],
        on_overrun: Callable[[], None],
    ) -> None:
        self._answers = answers
        self._name = name
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_overrun = on_overrun
        self._lock = runtime.lock()
        self._room = Room(
            runtime, answers.lease, self._lock, buffer.overflow, name=name, fill=self._fill
        )
        # What came the short way, and how it gets there: one step, for the interpreter.
        self._pile: deque[Parcel[T]] = deque()
        self._leave = self._pile.append
        # What came there after the end; who left it takes it back.
        self._late: Collection[Parcel[T]] = ()
        # How large a message may be that comes it: as many as may wait are never too many bytes.
        self._small = buffer.max_bytes // buffer.max_messages
        # Below: read by anybody, written by who has the lock. How long the pile may become, and
        # whether the loop will look at what is left there.
        self._space = 0
        self._woken = False
        # Below: guarded by the lock.
        self._losses: Counter[LossReason] = Counter()
        self._expired: list[T] = []
        self._outbox = make_outbox(
            buffer, self._note_loss, payload, runtime.now, self._note_expired
        )
        self._sealed = False

    def __len__(self) -> int:
        # The pile first: what is moved meanwhile counts twice rather than not at all.
        return len(self._pile) + len(self._outbox.parcels)

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self)

    @property
    def bytes(self) -> int:
        """Size of all that waits."""
        return sum(map(parcel_size, self._pile.copy())) + self._outbox.bytes

    # ── any thread ────────────────────────────────────────────────────────────────────────

    def put(self, item: T, size: int) -> None:
        """Add a message, or do what the policy says. Wakes the loop once per burst.

        Raises:
            BufferFullError: full, under the policy ``error``, or ``block`` when
                the time is over or the caller is on the loop thread.
            ComponentClosedError: :meth:`seal` has been called.
        """
        try:
            if size <= self._small and len(self._pile) < self._space:
                parcel = (item, size)
                self._leave(parcel)
                if not self._woken:  # For most messages it is, and this was all.
                    self._settle(parcel)
            elif self._put(item, size) is _FULL:
                self._put_when_room(item, size)
        except (BufferFullError, ComponentClosedError):
            raise
        except BaseException:
            self._wake_anyway()
            raise

    def _put_when_room(self, item: T, size: int) -> None:
        # Apart: a function that keeps variables for an inner one is slower at all it does.
        self._room.wait(lambda: self._put(item, size) is not _FULL)

    def look_for_room(self, size: int, *, wait: bool) -> None:
        """Look whether there is room for a message, or wait for it, as :meth:`put` does.

        Others may take it first: what follows is for :meth:`force`.

        Raises:
            BufferFullError: as for :meth:`put`; at once unless it may ``wait``.
        """
        with self._watching_for_interruptions():
            if self._look(size) is not _FULL:
                return
            if not wait:
                raise self._room.refusal(
                    "wait to be sent, and a transaction, which others wait for, cannot wait for "
                    "them"
                )
            self._room.wait(lambda: self._look(size) is not _FULL)

    def force(self, item: T, size: int) -> None:
        """Add a message whatever there is already. Does not wait.

        Raises:
            ComponentClosedError: :meth:`seal` has been called.
        """
        with self._watching_for_interruptions():
            self._put(item, size, forced=True)

    def seal(self) -> None:
        """Take no more messages. Those who wait for room get an error. Twice is harmless."""
        with self._lock:
            if not self._sealed:
                # First: who does not see it has left its message where it is moved from now.
                self._woken = False
                self._move()
                self._sealed = True
                self._late, self._pile = self._pile, deque()
            self._room.allow()
        # Who left a message and was about to wake the loop will find that it was moved.
        self._wake_anyway()

    # ── loop thread ───────────────────────────────────────────────────────────────────────

    def take(self, max_bytes: int) -> list[Parcel[T]]:
        """Remove messages from the front: one, and more up to ``max_bytes`` in all."""
        with self._lock:
            count = len(self._pile)
            if 0 < count * self._small <= max_bytes and not len(self._outbox.parcels):
                # A few messages, past an outbox that stays as it is: put, wake-up and this take
                # a third less time.
                return list(map(_popleft, repeat(self._pile, count)))
            self._move()
            taken = self._outbox.take(max_bytes)
            self._reopen()
            if self._room.awaited:
                self._room.allow()
            if not self._expired:
                return taken
            # What was too old to be taken is to be told of.
            calls = self._calls_after(_TAKEN)
        self._make(calls)
        return taken

    def restore(self, parcels: list[Parcel[T]]) -> None:
        """Put back at the front what could not be sent."""
        with self._lock:
            self._move()
            self._outbox.restore(parcels)
            self._reopen()

    def clear(self) -> list[T]:
        """Remove all messages and return them."""
        with self._lock:
            self._move()
            dropped = [item for item, _ in self._outbox.clear()]
            self._reopen()
            self._room.allow()
            return dropped

    def take_losses(self) -> Mapping[LossReason, int]:
        """Return how many messages were dropped since the last call, and why."""
        expired = len(self.take_expired())
        with self._lock:
            losses, self._losses = self._losses, Counter()
        if expired:
            losses[LossReason.EXPIRED] += expired
        return losses

    def take_expired(self) -> list[T]:
        """Return what has waited for too long since the last call."""
        with self._lock:
            expired, self._expired = self._expired, []
            return expired

    # ── inside ────────────────────────────────────────────────────────────────────────────

    def _settle(self, parcel: Parcel[T]) -> None:
        """Wake the loop to a message that was left on the pile, or take it back."""
        with self._lock:
            if self._sealed:
                if any(late is parcel for late in list(self._late)):
                    raise self._closed()
                return  # It was there in time, and sealing has moved it.
            woken, self._woken = self._woken, True
        if not woken:
            self._answers.call_soon(self._wake)

    def _put(self, item: T, size: int, *, forced: bool = False) -> Put:
        with self._lock:
            if self._sealed:
                raise self._closed()
            self._move()
            verdict = _TAKEN
            if forced:
                self._outbox.force(item, size)
            else:
                verdict = self._outbox.put(item, size)
            self._reopen()
            calls = self._calls_after(verdict)
        self._make(calls)
        return verdict

    def _move(self) -> None:
        """Move the pile into the outbox. The caller holds the lock, and then reopens."""
        # First, or the pile would grow once more by what there was room for.
        self._space = 0
        if self._pile:
            self._outbox.absorb(self._pile)

    def _reopen(self) -> None:
        """Find out how much may come the short way. The caller holds the lock."""
        self._space = 0 if self._sealed else self._outbox.room_for(self._small) - _RESERVE

    def _look(self, size: int) -> Put:
        with self._lock:
            self._move()
            self._reopen()
            found = _TAKEN if self._sealed or self._outbox.has_room(size) else _FULL
            # What has waited for too long to be counted is to be told of.
            calls = self._calls_after(found) if found is _FULL or self._expired else []
        self._make(calls)
        return found

    def _calls_after(self, verdict: Put) -> list[Callable[[], None]]:
        """Return what is to be called on the loop. The caller holds the lock."""
        if verdict is _FULL:
            self._room.deny()
            if not self._expired:
                return []
        calls: list[Callable[[], None]] = [] if self._woken else [self._wake]
        self._woken = not self._sealed
        return [*calls, self._on_overrun] if verdict is _OVERRUN else calls

    def _make(self, calls: list[Callable[[], None]]) -> None:
        for call in calls:
            self._answers.call_soon(call)

    @contextmanager
    def _watching_for_interruptions(self) -> Iterator[None]:
        """Do what :meth:`put`, which has no time to spare, does by itself."""
        try:
            yield
        except (BufferFullError, ComponentClosedError):
            raise
        except BaseException:
            self._wake_anyway()
            raise

    def _wake_anyway(self) -> None:
        """Wake the loop whether or not it is noted that it is.

        Ctrl-C, or what else a signal's handler raises, may come between the two, and other
        threads rely on it from then on.
        """
        self._answers.call_soon(self._wake)

    def _closed(self) -> ComponentClosedError:
        return ComponentClosedError(f"{self._name} is closed")

    def _wake(self) -> None:
        # Reset before anything is taken: who puts after this wakes the loop again. Under
        # the lock, or who has it would overwrite it and nobody wake the loop.
        with self._lock:
            self._woken = False
        if self._losses or self._expired:
            self._on_lost()
        self._on_ready()

    def _fill(self) -> str:
        return f"{len(self)} messages ({self.bytes} bytes)"

    def _note_loss(self, count: int, reason: LossReason) -> None:
        self._losses[reason] += count

    def _note_expired(self, items: list[T]) -> None:
        self._expired += items
