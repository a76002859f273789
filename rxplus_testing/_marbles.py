"""Marble diagrams, in the notation of ``reactivex.from_marbles``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any, TypeAlias

from reactivex.observable.marbles import parse

from rxplus_testing._events import Event

__all__ = ["Frame", "Lookup", "draw", "frame_of", "frames_in", "read"]

Lookup: TypeAlias = Mapping[str | float, Any]
"""The values that the names in a diagram stand for."""

Frame: TypeAlias = tuple[int, Any]
"""In which timespan something happened, counted from 0, and what: a notification."""

_SPECIAL = frozenset("-|#(), ")

_SLACK = 1e-6
"""Part of a timespan by which an event may be early: sums of fractions are not exact."""


def read(diagram: str, lookup: Lookup, error: Exception | None) -> list[Frame]:
    """Return what ``diagram`` says.

    Raises:
        ValueError: it says nothing that can be understood.
    """
    messages: list[Any] = parse(diagram, timespan=1, lookup=lookup, error=error, raise_stopped=True)
    return [(int(time), notification) for time, notification in messages]


def frames_in(diagram: str) -> int:
    """Return how many timespans ``diagram`` covers."""
    return len(diagram.replace(" ", ""))


def frame_of(when: float, origin: float, timespan: float) -> int:
    """Return the timespan that a time falls into."""
    return math.floor((when - origin) / timespan + _SLACK)


def draw(events: list[Event], origin: float, timespan: float, lookup: Lookup) -> str:
    """Draw ``events`` as a diagram.

    Raises:
        ValueError: they do not fit.
    """
    drawn = ""
    timed = [(frame_of(one.time, origin, timespan), one.notification) for one in events]
    for frame, group in groupby(timed, key=lambda one: one[0]):
        names = [_name(notification, lookup) for _, notification in group]
        if frame < len(drawn) or (frame == len(drawn) and _runs_on(drawn, names)):
            raise ValueError(
                f"{drawn!r} leaves no room for {', '.join(names)} in timespan {frame}: "
                f"draw with a timespan below {timespan} s, or give values shorter names"
            )
        drawn = drawn.ljust(frame, "-")
        drawn += names[0] if len(names) == 1 else f"({','.join(names)})"
    return drawn


def _runs_on(drawn: str, names: list[str]) -> bool:
    """Tell whether a name next to what is drawn would read as one name with it."""
    return drawn[-1:] not in {"", "-", ")"} and len(names) == 1 and names[0] not in {"|", "#"}


def _name(notification: Any, lookup: Lookup) -> str:
    if notification.kind != "N":
        return "#" if notification.kind == "E" else "|"
    value = notification.value
    named = (key for key, known in lookup.items() if type(known) is type(value) and known == value)
    name = str(next(named, value))
    if not name or not _SPECIAL.isdisjoint(name):
        raise ValueError(f"{name!r} cannot stand in a diagram: name it in lookup")
    return name
