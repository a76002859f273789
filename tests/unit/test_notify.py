"""Where subscribers run: at once, or on a scheduler, in order and one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import HookLock, ManualLease
from reactivex import abc
from reactivex.scheduler import ImmediateScheduler, VirtualTimeScheduler

from rxplus._engine.notify import Direct, Scheduled


class CountingScheduler(VirtualTimeScheduler):
    """Runs actions when it is started, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduled = 0
        self.refuses = False

    def schedule(self, action: abc.ScheduledAction[Any], state: Any = None) -> abc.DisposableBase:
        """Count, and schedule."""
        if self.refuses:
            raise RuntimeError("no more")
        self.scheduled += 1
        return super().schedule(action, state)


class Desk:
    """A delivery on a scheduler that runs when the test says so."""

    def __init__(self, limit: int = 4) -> None:
        self.scheduler = CountingScheduler()
        self.lease = ManualLease()
        self.lock = HookLock()
        self.rooms = 0
        self.refusals: list[Exception] = []
        self.deliver = Scheduled(
            self.scheduler, self.lock, self.lease, limit, self.on_room, self.refusals.append
        )
        self.seen: list[Any] = []

    def on_room(self) -> None:
        """Count."""
        assert self.lease.is_loop
        self.rooms += 1

    def put(self, count: int) -> None:
        """Have so many values delivered."""
        for value in range(count):
            self.deliver(self.seen.append, value)

    def run(self) -> None:
        """Let the scheduler's thread run, then the loop."""
        self.scheduler.start()
        self.lease.run()


def test_direct_calls_at_once() -> None:
    """Without a scheduler subscribers run where the value is, and nothing ever waits."""
    deliver, seen = Direct(), list[int]()
    deliver(seen.append, 1)
    assert seen == [1]
    assert not deliver.full


def test_scheduled_calls_on_the_scheduler_in_order() -> None:
    """Nothing is called before the scheduler runs; then everything is, in order."""
    desk = Desk()
    desk.put(3)
    assert desk.seen == []
    desk.run()
    assert desk.seen == [0, 1, 2]


def test_scheduled_needs_one_action_per_burst() -> None:
    """A thousand values cost the scheduler one action; the next burst one more."""
    desk = Desk(limit=10_000)
    desk.put(1000)
    desk.run()
    assert (len(desk.seen), desk.scheduler.scheduled) == (1000, 1)
    desk.put(1)
    desk.run()
    assert (len(desk.seen), desk.scheduler.scheduled) == (1001, 2)


def test_scheduled_calls_one_at_a_time() -> None:
    """What a subscriber sets off is delivered after it, never within it."""
    desk = Desk()
    events: list[str] = []

    def first(value: int) -> None:
        events.append("first begins")
        desk.deliver(second, value)
        events.append("first ends")

    def second(value: int) -> None:
        events.append("second")

    desk.deliver(first, 1)
    desk.run()
    assert events == ["first begins", "first ends", "second"]


def test_scheduled_takes_a_scheduler_that_runs_at_once() -> None:
    """On a scheduler that runs actions where they are scheduled it is a direct call."""
    seen: list[int] = []
    refusals: list[Exception] = []
    deliver = Scheduled(
        ImmediateScheduler(), HookLock(), ManualLease(), 4, lambda: None, refusals.append
    )
    deliver(seen.append, 1)
    deliver(seen.append, 2)
    assert seen == [1, 2]
    assert refusals == []


def test_scheduled_calls_where_it_is_once_the_scheduler_refuses() -> None:
    """A scheduler that takes no more work is told of once, and costs nobody a value."""
    desk = Desk()
    desk.put(1)
    desk.run()
    desk.scheduler.refuses = True
    desk.put(2)
    assert desk.seen == [0, 0, 1]
    assert [str(error) for error in desk.refusals] == ["no more"]


def test_scheduled_calls_without_holding_the_lock() -> None:
    """A subscriber may take its time: the loop goes on handing over."""
    desk = Desk()
    held: list[bool] = []
    desk.deliver(lambda value: held.append(desk.lock.held), 1)
    desk.run()
    assert held == [False]


def test_scheduled_is_full_at_its_limit() -> None:
    """Reading stops when as much waits as may."""
    desk = Desk(limit=3)
    desk.put(2)
    assert not desk.deliver.full
    desk.put(1)
    assert desk.deliver.full


def test_scheduled_tells_of_room_once_half_is_gone() -> None:
    """The loop is told once, on the loop thread, and not for every value."""
    desk = Desk(limit=4)
    told: list[int] = []
    for _ in range(4):
        desk.deliver(lambda _: told.append(len(desk.lease.calls)), None)
    assert desk.deliver.full
    desk.run()
    # The calls that the loop was given, as each value saw them: after the second there is room.
    assert told == [0, 0, 1, 1]
    assert desk.rooms == 1
    assert not desk.deliver.full


def test_scheduled_does_not_tell_of_room_that_nobody_missed() -> None:
    """Unless reading stopped, it need not go on."""
    desk = Desk(limit=4)
    desk.put(4)  # Full, but nobody looked.
    desk.run()
    assert desk.rooms == 0


def test_scheduled_tells_of_room_each_time() -> None:
    """After it was full again, it tells again."""
    desk = Desk(limit=1)
    for _ in range(3):
        desk.put(1)
        assert desk.deliver.full
        desk.run()
    assert desk.rooms == 3


def test_scheduled_never_says_full_when_nobody_will_tell_of_room() -> None:
    """When everything is delivered while the loop looks, reading does not stop for good.

    The scheduler's thread gets its turn just after the first look at the limit.
    """
    desk: Desk
    turns: list[str] = []

    class Limit(int):
        """A limit that lets the other thread run after it was compared."""

        def __gt__(self, other: int) -> bool:
            is_below = int(self) > other
            if not turns:
                turns.append("drained")
                desk.scheduler.start()
            return is_below

    desk = Desk(limit=Limit(2))
    desk.put(2)
    full = desk.deliver.full
    desk.lease.run()
    assert turns
    assert desk.seen == [0, 1]
    assert not full or desk.rooms == 1


def test_scheduled_stays_full_when_only_some_is_delivered_while_it_looks() -> None:
    """A second look that finds room does not forget that reading had stopped before."""
    desk = Desk(limit=4)
    desk.put(4)
    assert desk.deliver.full
    desk.put(1)
    assert desk.deliver.full
    desk.run()
    assert desk.rooms == 1


def test_scheduled_goes_on_after_what_is_not_about_a_subscriber() -> None:
    """Ctrl-C on the scheduler's thread is raised there, and costs none of what waits."""
    desk = Desk()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    desk.deliver(interrupt, None)
    desk.put(2)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    desk.scheduler.stop()
    desk.run()
    desk.put(1)
    desk.run()
    assert desk.seen == [0, 1, 0]
