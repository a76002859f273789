"""Sending values to observers: order, misbehaviour, and the end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from doubles import HookLock
from reactivex import Observer, abc
from reactivex import operators as ops

from rxplus._engine.stream import StateStream, Stream, each


class Clock:
    """A watch over observers, in a time that only observers spend."""

    threshold = 1.0

    def __init__(self) -> None:
        self.time = 0.0
        self.failures: list[BaseException] = []
        self.failing: list[object] = []
        self.slowness: list[float] = []

    def now(self) -> float:
        """Tell the time."""
        return self.time

    def spend(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def failed(self, observer: abc.ObserverBase[Any], error: BaseException) -> None:
        """Note a failure."""
        self.failures.append(error)
        self.failing.append(observer)

    def slow(self, observer: abc.ObserverBase[Any], seconds: float) -> None:
        """Note that an observer was slow."""
        self.slowness.append(seconds)


class Notes:
    """An observer's notifications, as one list."""

    def __init__(self) -> None:
        self.list: list[Any] = []

    def observer(self) -> Observer[Any]:
        """Make an observer that notes everything."""
        return Observer(
            lambda value: self.list.append(value),
            lambda error: self.list.append(f"error {error}"),
            lambda: self.list.append("completed"),
        )


def stream() -> tuple[Stream[Any], Clock]:
    """Make a stream, and its watch."""
    clock = Clock()
    return Stream(HookLock(), clock), clock


def state(value: Any = 0) -> tuple[StateStream[Any], Clock]:
    """Make a stream of a state, and its watch."""
    clock = Clock()
    return StateStream(HookLock(), clock, value), clock


def raiser(error: BaseException) -> Callable[..., Any]:
    """Make a function that raises."""

    def raise_it(*_: object) -> None:
        raise error

    return raise_it


MISBEHAVIOUR = [ValueError("boom"), SystemExit(1), GeneratorExit(), asyncio.CancelledError()]
"""What a subscriber may raise: its own mistakes, ``sys.exit()``, what became of a future."""


# ── streams ───────────────────────────────────────────────────────────────────────────────


Give: TypeAlias = Callable[..., None]


@pytest.fixture(params=["one by one", "together"])
def give(request: pytest.FixtureRequest) -> Give:
    """Give values to a stream, in each of the two ways that there are."""

    def emit(stream: Stream[Any], *values: Any) -> None:
        for value in values:
            stream.emit(value)

    def emit_all(stream: Stream[Any], *values: Any) -> None:
        stream.emit_all(values)

    return emit if request.param == "one by one" else emit_all


def test_stream_gives_values_to_all_who_are_there(give: Give) -> None:
    """An observer sees what is emitted from when it subscribes until it disposes."""
    source, _ = stream()
    first, second = Notes(), Notes()
    assert not source.observed
    give(source, "nobody")
    subscription = source.subscribe(first.observer())
    assert source.observed
    give(source, 1)
    source.subscribe(second.observer())
    give(source, 2)
    subscription.dispose()
    give(source, 3)
    assert (first.list, second.list) == ([1, 2], [2, 3])


def test_stream_gives_everything_before_it_is_halted() -> None:
    """What is not about the observer, such as Ctrl-C, is raised when all have got everything."""
    source, watch = stream()
    halting, notes = raiser(KeyboardInterrupt()), Notes()
    source.subscribe(lambda value: halting() if value == 2 else None)
    source.subscribe(notes.observer())
    with pytest.raises(KeyboardInterrupt):
        source.emit_all((1, 2, 3))
    assert notes.list == [1, 2, 3]
    assert watch.failures == []


def test_stream_gives_everything_before_it_is_halted_by_a_second_attempt() -> None:
    """Ctrl-C may come while a value is given again; the first halt is the one that is raised."""
    source: Stream[int] = Stream(HookLock(), Clock(), again=1)
    errors = [ValueError(), KeyboardInterrupt("first"), KeyboardInterrupt("second")]
    notes = Notes()

    def halting(value: int) -> None:
        if errors:
            raise errors.pop(0)

    source.subscribe(halting)
    source.subscribe(notes.observer())
    with pytest.raises(KeyboardInterrupt, match="first"):
        source.emit_all((1, 2, 3))
    assert notes.list == [1, 2, 3]


def test_each_goes_on_to_the_last() -> None:
    """The first of what calls have raised comes then."""
    seen: list[int] = []

    def give(value: int) -> None:
        seen.append(value)
        if value > 1:
            raise KeyError(value)

    with pytest.raises(KeyError, match="2"):
        each(give, (1, 2, 3))
    assert seen == [1, 2, 3]


def test_stream_disposing_twice_is_harmless(give: Give) -> None:
    """Rx may dispose more than once; the others stay subscribed."""
    source, _ = stream()
    notes = Notes()
    subscription = source.subscribe(Notes().observer())
    source.subscribe(notes.observer())
    subscription.dispose()
    subscription.dispose()
    give(source, 1)
    assert notes.list == [1]


@pytest.mark.parametrize("error", MISBEHAVIOUR, ids=repr)
def test_stream_observer_that_raises_stays_subscribed(give: Give, error: BaseException) -> None:
    """It is reported, the others get the value, and it gets the next one."""
    source, clock = stream()
    notes = Notes()
    source.subscribe(raiser(error))
    source.subscribe(notes.observer())
    give(source, 1, 2)
    assert notes.list == [1, 2]
    assert clock.failures == [error, error]


def test_stream_gives_a_value_again_to_an_observer_that_raised(give: Give) -> None:
    """So many times, to that one alone, before the next value."""
    source: Stream[int] = Stream(HookLock(), Clock(), again=2)
    seen: list[tuple[str, int]] = []
    left = [1, 1, 1, 1]

    def picky(value: int) -> None:
        seen.append(("picky", value))
        if value < 3 and left:
            left.pop()
            raise ValueError("not yet")

    source.subscribe(picky)
    source.subscribe(lambda value: seen.append(("other", value)))
    give(source, 1, 3)
    assert seen == [("picky", 1)] * 3 + [("other", 1), ("picky", 3), ("other", 3)]


def test_stream_tells_which_observer_raised(give: Give) -> None:
    """The watch can tell the observers of this stream from others."""
    source, clock = stream()
    other, _ = stream()
    source.subscribe(raiser(ValueError("boom")))
    give(source, 1)
    (observer,) = clock.failing
    assert observer in source
    assert observer not in other


def test_stream_reports_observers_that_dawdle(give: Give) -> None:
    """One that takes longer than the threshold is reported, with its own time only."""
    source, clock = stream()
    source.subscribe(lambda _: clock.spend(1.0))
    source.subscribe(lambda _: clock.spend(1.5))
    give(source, 1)
    assert clock.slowness == [1.5]


def test_stream_reports_an_observer_that_holds_the_thread_with_many_values() -> None:
    """Where it is the only one, with all that it was given in one go."""
    source, clock = stream()
    source.subscribe(lambda _: clock.spend(0.25))
    source.emit_all((1, 2, 3, 4))
    assert clock.slowness == []
    source.emit_all((1, 2, 3, 4, 5))
    assert clock.slowness == [1.25]


def test_stream_reports_the_right_one_when_observers_change() -> None:
    """Who comes in the middle of many values is timed by itself, and who is left alone too."""
    source, clock = stream()
    late: list[abc.DisposableBase] = []

    def dawdle(value: int) -> None:
        clock.spend(2.0 if value < 4 else 0.5)

    def quick(value: int) -> None:
        if value == 1:
            late.append(source.subscribe(dawdle))
        if value == 4:
            late.pop().dispose()

    lasting = source.subscribe(quick)
    slow: list[tuple[object, float]] = []
    clock.slow = lambda observer, seconds: slow.append((observer, seconds))  # type: ignore[method-assign]  # to see whom
    source.emit_all((1, 2, 3, 4, 5))
    assert [seconds for _, seconds in slow] == [2.0, 2.0]
    source.subscribe(dawdle)
    lasting.dispose()
    source.emit_all((4, 4, 4))
    assert [seconds for _, seconds in slow] == [2.0, 2.0, 1.5]
    assert len({observer for observer, _ in slow}) == 2


def test_stream_that_is_left_by_its_last_observer_while_it_emits() -> None:
    """Disposing works from any thread, at any moment."""
    subscriptions: list[abc.DisposableBase] = []

    class Leaving(Clock):
        @property
        def threshold(self) -> float:  # type: ignore[override]  # looked at on the way
            for subscription in subscriptions:
                subscription.dispose()
            return 1.0

    source: Stream[int] = Stream(HookLock(), Leaving())  # type: ignore[arg-type]  # nobody sets it
    notes = Notes()
    subscriptions.append(source.subscribe(notes.observer()))
    source.emit_all((1, 2))
    assert notes.list == []
    assert not source.observed


def test_stream_reports_dawdlers_that_raise(give: Give) -> None:
    """An observer can be late and wrong."""
    source, clock = stream()

    def late_and_wrong(_: Any) -> None:
        clock.spend(3.0)
        raise ValueError

    source.subscribe(late_and_wrong)
    give(source, 1)
    assert (clock.slowness, len(clock.failures)) == ([3.0], 1)


def test_stream_may_change_while_it_emits(give: Give) -> None:
    """An observer may unsubscribe itself or subscribe others; they get the next value."""
    source, _ = stream()
    notes, joined = Notes(), Notes()

    def once(value: int) -> None:
        notes.list.append(value)
        subscription.dispose()
        source.subscribe(joined.observer())

    subscription = source.subscribe(once)
    give(source, 1, 2)
    assert (notes.list, joined.list) == ([1], [2])


def test_stream_works_with_operators(give: Give) -> None:
    """It is an observable like others; ``take`` unsubscribes."""
    source, _ = stream()
    notes = Notes()
    source.pipe(ops.take(2), ops.map(str)).subscribe(notes.observer())
    give(source, 1, 2, 3)
    assert notes.list == ["1", "2", "completed"]
    assert not source.observed


@pytest.mark.parametrize(("error", "end"), [(None, "completed"), (OSError("x"), "error x")])
def test_stream_ends_once(give: Give, error: Exception | None, end: str) -> None:
    """Only the first end counts, nothing comes after it, and nobody stays subscribed."""
    source, _ = stream()
    notes = Notes()
    source.subscribe(notes.observer())
    source.finish(error)
    source.finish()
    source.finish(ValueError("late"))
    give(source, 1)
    assert notes.list == [end]
    assert not source.observed


def test_stream_first_end_is_the_one_that_is_told_later() -> None:
    """A second end does not change what who comes later hears."""
    source, _ = stream()
    source.finish()
    source.finish(OSError("late"))
    notes = Notes()
    source.subscribe(notes.observer())
    assert notes.list == ["completed"]


@pytest.mark.parametrize(("error", "end"), [(None, "completed"), (OSError("x"), "error x")])
def test_stream_ended_tells_who_comes_later(error: Exception | None, end: str) -> None:
    """Who subscribes after the end hears of it, the same as the others did."""
    source, _ = stream()
    source.finish(error)
    notes = Notes()
    source.subscribe(notes.observer()).dispose()
    assert notes.list == [end]


@pytest.mark.parametrize("error", MISBEHAVIOUR, ids=repr)
@pytest.mark.parametrize("end", [None, OSError("x")])
def test_stream_end_reaches_all_though_one_raises(
    error: BaseException, end: Exception | None
) -> None:
    """An observer that raises at the end is reported; the others still hear of it."""
    source, clock = stream()
    notes = Notes()
    source.subscribe(lambda _: None, raiser(error), raiser(error))
    source.subscribe(notes.observer())
    source.finish(end)
    assert notes.list == ["completed" if end is None else f"error {end}"]
    assert clock.failures == [error]


def test_stream_error_that_nobody_handles_is_no_failure_of_the_observer() -> None:
    """Rx's default raises the error itself; it is not reported as the observer's."""
    source, clock = stream()
    source.subscribe(lambda _: None)
    source.finish(OSError("x"))
    assert clock.failures == []


# ── before the first observer ─────────────────────────────────────────────────────────────


class Keep:
    """Lets a stream keep two values, and releases when the test says so."""

    def __init__(self) -> None:
        self.releases: list[Callable[[None], None]] = []

    def may_keep(self, count: int) -> bool:
        """Allow two."""
        return count <= 2

    def soon(self, release: Callable[[None], None]) -> None:
        """Note what is to be called."""
        self.releases.append(release)


def keeping() -> tuple[Stream[Any], Keep]:
    """Make a stream that keeps early values, and who lets it."""
    keep = Keep()
    return Stream(HookLock(), Clock(), keep), keep


def test_stream_keeps_what_comes_before_the_first_observer(give: Give) -> None:
    """The first observer gets it, where values are emitted and before what comes later."""
    source, keep = keeping()
    notes, late = Notes(), Notes()
    give(source, 1)
    source.subscribe(notes.observer())
    assert source.keeps
    give(source, 2)
    assert notes.list == []
    for release in keep.releases:
        release(None)
    assert notes.list == [1, 2]
    assert not source.keeps
    give(source, 3)
    source.subscribe(late.observer())
    give(source, 4)
    assert (notes.list, late.list) == ([1, 2, 3, 4], [4])
    assert len(keep.releases) == 1


def test_stream_that_nobody_observes_stops_keeping(give: Give) -> None:
    """Over the limit it lets everything go, and is a hot stream like any other."""
    source, _ = keeping()
    give(source, 0, 1, 2, 3)
    assert not source.keeps
    notes = Notes()
    source.subscribe(notes.observer())
    give(source, 3)
    assert notes.list == [3]


def test_stream_that_ends_gives_what_it_kept_first(give: Give) -> None:
    """An end overtakes nothing: neither for who is waiting nor for who subscribes afterwards."""
    source, keep = keeping()
    notes = Notes()
    give(source, 1)
    source.subscribe(notes.observer())
    source.finish()
    assert notes.list == [1, "completed"]
    for release in keep.releases:
        release(None)
    assert notes.list == [1, "completed"]

    source, _ = keeping()
    give(source, 1)
    source.finish(ValueError("over"))
    first, second = Notes(), Notes()
    source.subscribe(first.observer())
    source.subscribe(second.observer())
    assert (first.list, second.list) == ([1, "error over"], ["error over"])


# ── states ────────────────────────────────────────────────────────────────────────────────


def test_state_begins_with_the_present_value() -> None:
    """Each observer sees the value as it is, then each change."""
    source, _ = state("connecting")
    early, late = Notes(), Notes()
    source.subscribe(early.observer())
    source.emit("connected")
    source.subscribe(late.observer())
    source.emit("closed")
    assert early.list == ["connecting", "connected", "closed"]
    assert late.list == ["connected", "closed"]
    assert source.value == "closed"


def test_state_changes_for_nobody() -> None:
    """The value changes also while nobody looks."""
    source, _ = state(1)
    source.emit(2)
    assert source.value == 2


def test_state_disposed_observer_hears_no_more() -> None:
    """Disposing ends it, and disposing twice is harmless."""
    source, _ = state(1)
    notes, other = Notes(), Notes()
    subscription = source.subscribe(notes.observer())
    source.subscribe(other.observer())
    subscription.dispose()
    subscription.dispose()
    source.emit(2)
    assert (notes.list, other.list) == ([1], [1, 2])


@pytest.mark.parametrize("end", ["disposed", "finished"])
def test_state_lets_go_of_observers(end: str) -> None:
    """A stream that lives on does not keep alive who listened to it once."""
    source, _ = state(1)
    notes = Notes()
    gone = weakref.ref(notes)
    subscription = source.subscribe(notes.observer())
    if end == "disposed":
        subscription.dispose()
    else:
        source.finish()
    del notes, subscription
    gc.collect()
    assert gone() is None
    assert source.value == 1


def test_state_change_within_a_notification_comes_after_it() -> None:
    """What an observer sets off, or another thread does meanwhile, it sees in order."""
    source, _ = state(0)
    order: list[str] = []

    def observer(value: int) -> None:
        order.append(f"{value} begins")
        if value < 2:
            source.emit(value + 1)
        order.append(f"{value} ends")

    source.subscribe(observer)
    assert order == ["0 begins", "0 ends", "1 begins", "1 ends", "2 begins", "2 ends"]


def test_state_change_while_subscribing_is_seen_by_all_in_order() -> None:
    """A change that another thread makes during the first notification overtakes nothing."""
    source, _ = state("connecting")
    other, notes = Notes(), Notes()
    source.subscribe(other.observer())

    def observer(value: str) -> None:
        if value == "connecting":
            source.emit("connected")
            source.finish()
        notes.list.append(value)

    source.subscribe(observer, None, lambda: notes.list.append("completed"))
    assert notes.list == other.list == ["connecting", "connected", "completed"]


@pytest.mark.parametrize("error", MISBEHAVIOUR, ids=repr)
def test_state_observer_that_raises_stays_subscribed(error: BaseException) -> None:
    """It is reported, also for the first value, and the next change reaches it."""
    source, clock = state(1)
    seen: list[int] = []

    def wrong(value: int) -> None:
        seen.append(value)
        raise error

    notes = Notes()
    source.subscribe(wrong)
    source.subscribe(notes.observer())
    source.emit(2)
    source.finish()
    assert seen == [1, 2]
    assert notes.list == [1, 2, "completed"]
    assert clock.failures == [error, error]


@pytest.mark.parametrize("error", MISBEHAVIOUR, ids=repr)
def test_state_end_reaches_all_though_one_raises(error: BaseException) -> None:
    """An observer that raises at the end is reported; the others still hear of it."""
    source, clock = state(1)
    notes = Notes()
    source.subscribe(lambda _: None, None, raiser(error))
    source.subscribe(notes.observer())
    source.finish()
    assert notes.list == [1, "completed"]
    assert clock.failures == [error]


def test_state_reports_observers_that_dawdle() -> None:
    """One that holds up a change of state is reported, as on any stream."""
    source, clock = state(1)
    source.subscribe(lambda _: clock.spend(1.0))
    source.emit(2)
    assert clock.slowness == []
    source.subscribe(lambda _: clock.spend(1.5))
    source.emit(3)
    assert clock.slowness == [1.5]


def test_state_ends_once() -> None:
    """After the end nothing changes, and nothing is told twice."""
    source, _ = state(1)
    notes = Notes()
    source.subscribe(notes.observer())
    source.finish()
    source.finish()
    source.emit(2)
    assert notes.list == [1, "completed"]
    assert source.value == 1


def test_state_ended_tells_who_comes_later() -> None:
    """Who subscribes after the end sees the last value, then the end."""
    source, _ = state(1)
    source.emit(2)
    source.finish()
    notes = Notes()
    source.subscribe(notes.observer()).dispose()
    assert notes.list == [2, "completed"]


def test_state_of_none_is_a_value() -> None:
    """``None`` can be told apart from the end."""
    source, _ = state(1)
    notes = Notes()
    source.subscribe(notes.observer())
    source.emit(None)
    assert notes.list == [1, None]
