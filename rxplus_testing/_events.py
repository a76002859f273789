"""What observables do, and how that reads: short, and with what matters left in."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Event", "describe_difference", "describe_notification", "short"]

_LIMIT = 160
"""Characters of a value that are shown."""

_BEFORE = 20
"""Elements shown before the place where two values differ."""


class Event(NamedTuple):
    """What an observable did, and when.

    Attributes:
        time: seconds.
        notification: ``OnNext``, ``OnError`` or ``OnCompleted`` of :mod:`reactivex.notification`.
    """

    time: float
    notification: Any

    def __str__(self) -> str:
        return f"{self.time:.6f} {describe_notification(self.notification).removeprefix('next ')}"


def short(value: object) -> str:
    """Return ``repr(value)``, with its middle left out when it is long."""
    if isinstance(value, (str, bytes)) and len(value) > _LIMIT:
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{repr(value[:_LIMIT])[:_LIMIT]}... ({len(value)} {unit})"
    text = repr(value)
    if len(text) <= _LIMIT:
        return text
    return f"{text[: _LIMIT // 2]} ... {text[-_LIMIT // 2 :]} ({len(text)} characters)"


def describe_notification(notification: Any) -> str:
    """Return what happened, in words: ``next 'a'``, ``error ValueError('no')``, ``completed``."""
    if notification.kind == "N":
        return f"next {short(notification.value)}"
    if notification.kind == "E":
        return f"error {short(notification.exception)}"
    return "completed"


def describe_difference(expected: object, got: object) -> str | None:
    """Tell where two values differ, when a glance at them would not."""
    if type(expected) is not type(got):
        return None
    if isinstance(expected, (str, bytes, list, tuple)):
        assert isinstance(got, (str, bytes, list, tuple))
        return _first_difference(expected, got) if len(repr(expected)) > _BEFORE else None
    left, right = _fields(expected), _fields(got)
    if left is None or right is None:
        return None
    keys = [key for key in {**left, **right} if left.get(key, _NONE) != right.get(key, _NONE)]
    return "\n".join(
        f"{key}: {short(left.get(key, _NONE))} became {short(right.get(key, _NONE))}"
        for key in keys
    )


class _Missing:
    def __repr__(self) -> str:
        return "(nothing)"


_NONE = _Missing()


def _fields(value: object) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _first_difference(expected: Sequence[Any], got: Sequence[Any]) -> str:
    pairs = itertools.zip_longest(expected, got, fillvalue=_NONE)
    index = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
    start = max(0, index - _BEFORE)
    return (
        f"they differ from index {index} on: "
        f"{short(expected[start : index + _BEFORE])} became {short(got[start : index + _BEFORE])}"
    )
