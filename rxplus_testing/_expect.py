"""Step by step: what an observable is to do next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NoReturn, TypeVar, overload

from rxplus_testing._events import Event, describe_difference, describe_notification, short
from rxplus_testing._marbles import Frame, Lookup, draw, frame_of, frames_in, read
from rxplus_testing._recorder import Recorder

__all__ = ["Expectation", "expect"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

_SHOWN = 20
"""Recorded events that a failure shows."""


class _Anything:
    def __repr__(self) -> str:
        return "of any value"


_ANYTHING: Final = _Anything()


def expect(recorder: Recorder[T]) -> Expectation[T]:
    """Say what a recorder is to see next.

    Each step takes the events that it speaks of, in order, so that the next
    step speaks of those after them. In a simulation a step lets virtual time
    pass until its event comes; otherwise it waits, woken by the event.
    """
    return Expectation(recorder)


class Expectation(Generic[T]):
    """What a recorder is to see next. Made by :func:`expect`.

    ``within`` is always in seconds from the call: virtual ones in a simulation
    (60 unless given), real ones otherwise (10). What has come already is in
    time. Each method raises ``AssertionError`` when it comes differently.
    """

    def __init__(self, recorder: Recorder[T]) -> None:
        self._recorder = recorder
        self._timeline = recorder.timeline

    def next(
        self,
        value: object = _ANYTHING,
        *,
        where: Callable[[T], object] | None = None,
        within: float | None = None,
    ) -> T:
        """Expect a value, and return it.

        Args:
            value: it must be equal to this; any value when left out.
            where: it must satisfy this as well.
            within: seconds.
        """
        __tracebackhide__ = True
        condition = f" that satisfies {_name(where)}" if where else ""
        wanted = f"next {short(value)}{condition}"
        event = self._await(wanted, within)
        if event.notification.kind != "N":
            self._fail(wanted, event)
        got: T = event.notification.value
        if value is not _ANYTHING and value != got:
            self._fail(wanted, event, describe_difference(value, got))
        if where is not None and not where(got):
            self._fail(wanted, event)
        self._recorder.check_off(1)
        return got

    def values(self, *values: object, within: float | None = None) -> None:
        """Expect these values, one after the other, all of them within one time."""
        __tracebackhide__ = True
        end = self._timeline.now + self._limit(within)
        for value in values:
            self.next(value, within=max(0.0, end - self._timeline.now))

    def nothing(self, during: float = 0.0) -> None:
        """Expect no event for some time, nor any that was there before.

        Args:
            during: seconds to let pass.
        """
        __tracebackhide__ = True
        if self._timeline.watch(self._recorder.has_unchecked, during):
            self._fail(f"nothing during {during} s", self._recorder.unchecked[0])

    @overload
    def error(self, *, match: str | None = None, within: float | None = None) -> Exception: ...

    @overload
    def error(
        self, kind: type[E], *, match: str | None = None, within: float | None = None
    ) -> E: ...

    def error(
        self,
        kind: type[Exception] = Exception,
        *,
        match: str | None = None,
        within: float | None = None,
    ) -> Exception:
        """Expect the stream to fail, and return what it failed with.

        Args:
            kind: the class that the error is of.
            match: a regular expression that is found in its text.
            within: seconds.
        """
        __tracebackhide__ = True
        wanted = f"error {kind.__name__}" + (f" matching {match!r}" if match else "")
        event = self._await(wanted, within)
        if event.notification.kind != "E" or not isinstance(event.notification.exception, kind):
            self._fail(wanted, event)
        error: Exception = event.notification.exception
        if match is not None and not re.search(match, str(error)):
            self._fail(wanted, event)
        self._recorder.check_off(1)
        return error

    def completed(self, *, within: float | None = None) -> None:
        """Expect the stream to complete."""
        __tracebackhide__ = True
        event = self._await("completed", within)
        if event.notification.kind != "C":
            self._fail("completed", event)
        self._recorder.check_off(1)

    def marbles(
        self,
        diagram: str,
        timespan: float = 1.0,
        lookup: Lookup | None = None,
        error: type[Exception] | Exception | None = None,
        *,
        since: float | None = None,
    ) -> None:
        """Expect what a marble diagram shows, in the notation of ``reactivex.from_marbles``.

        Lets time pass to the end of the diagram. An event belongs to the
        character in whose timespan it comes: ``-a`` is from one to just below
        two timespans after the start. Events after the diagram are left to
        later steps. In a simulation only.

        Args:
            diagram: ``-`` lets a timespan pass, ``|`` completes, ``#`` fails,
                ``(a,b)`` are events of one timespan, all else is a value;
                numbers are numbers.
            timespan: seconds that a character stands for.
            lookup: the values that names stand for.
            error: what ``#`` stands for: a class, or an error with the same
                class and text; ``None``: any.
            since: the virtual time at which the diagram starts; ``None``: when
                the recorder was made.
        """
        __tracebackhide__ = True
        if not self._timeline.virtual:
            raise TypeError("marble diagrams are about virtual time: record with Sim.record")
        frames = frames_in(diagram)
        wanted = read(diagram, lookup or {}, error if isinstance(error, Exception) else None)
        origin = self._recorder.started_at if since is None else since
        rest = origin + frames * timespan - self._timeline.now
        self._timeline.watch(lambda: False, max(0.0, rest))
        events = self._recorder.unchecked
        got = [(frame_of(event.time, origin, timespan), event.notification) for event in events]
        got = [(frame, value) for frame, value in got if frame < frames]
        if len(got) != len(wanted) or not all(map(_is_same, wanted, got, [error] * len(got))):
            self._fail_marbles(diagram, timespan, lookup or {}, origin, (wanted, got))
        self._recorder.check_off(len(got))

    def _limit(self, within: float | None) -> float:
        return self._timeline.patience if within is None else within

    def _await(self, wanted: str, within: float | None) -> Event:
        """Return the next event, which stays unchecked."""
        __tracebackhide__ = True
        limit = self._limit(within)
        if not self._timeline.watch(self._recorder.has_unchecked, limit):
            self._raise(f"expected {wanted} within {limit} s\nbut nothing came")
        return self._recorder.unchecked[0]

    def _fail(self, wanted: str, event: Event, difference: str | None = None) -> NoReturn:
        __tracebackhide__ = True
        came = f"but {describe_notification(event.notification)} came, at t={event.time:.6f}"
        self._raise("\n".join(filter(None, [f"expected {wanted}", came, difference])))

    def _fail_marbles(
        self,
        diagram: str,
        timespan: float,
        lookup: Lookup,
        origin: float,
        frames: tuple[list[Frame], list[Frame]],
    ) -> NoReturn:
        __tracebackhide__ = True
        wanted, got = frames
        try:
            drawn = draw([Event(frame, value) for frame, value in got], 0.0, 1.0, lookup).ljust(
                frames_in(diagram), "-"
            )
        except ValueError as error:
            drawn = f"(cannot be drawn: {error})"
        lines = [
            f"expected {diagram.replace(' ', '')}",
            f"got      {drawn}",
            f"a character is {timespan} s, from t={origin:.6f} on",
            "timespan  expected / got",
            *_side_by_side(wanted, got),
        ]
        self._raise("\n".join(lines))

    def _raise(self, text: str) -> NoReturn:
        __tracebackhide__ = True
        lines = [text, *self._history(), self._timeline.describe()]
        raise AssertionError("\n".join(lines).rstrip())

    def _history(self) -> Iterator[str]:
        events, unchecked = self._recorder.events, len(self._recorder.unchecked)
        yield f"recorded ({len(events)}, of which {unchecked} not yet expected, marked >):"
        if not events:
            yield "  nothing"
        first = max(0, len(events) - max(_SHOWN, unchecked))
        if first:
            yield f"  ... {first} before"
        for index, event in enumerate(events[first : first + _SHOWN], first):
            mark = " " if index < len(events) - unchecked else ">"
            yield f"{mark} {event}"
        if first + _SHOWN < len(events):
            yield f"  ... {len(events) - first - _SHOWN} more"


def _name(condition: Callable[..., object]) -> str:
    return getattr(condition, "__name__", repr(condition))


def _is_same(wanted: Frame, got: Frame, error: type[Exception] | Exception | None) -> bool:
    if wanted[0] != got[0] or wanted[1].kind != got[1].kind:
        return False
    expected: Any = wanted[1]
    actual: Any = got[1]
    if actual.kind == "N":
        return bool(expected.value == actual.value)
    if actual.kind == "C" or error is None:
        return True
    return _is_error(actual.exception, error)


def _is_error(got: Exception, wanted: type[Exception] | Exception) -> bool:
    if isinstance(wanted, type):
        return isinstance(got, wanted)
    return type(got) is type(wanted) and str(got) == str(wanted)


def _side_by_side(wanted: list[Frame], got: list[Frame]) -> Iterator[str]:
    for frame in sorted({frame for frame, _ in (*wanted, *got)}):
        sides = [
            ", ".join(describe_notification(value) for at, value in side if at == frame)
            for side in (wanted, got)
        ]
        mark = " " if sides[0] == sides[1] else ">"
        yield f"{mark} {frame:6}  {sides[0] or '-'} / {sides[1] or '-'}"
