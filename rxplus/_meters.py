"""The metrics that :mod:`rxplus.telemetry` documents, exported from :class:`Stats`.

All instruments are observable: they read when metrics are collected, and nothing is done
for them while messages flow.
"""

from __future__ import annotations

import functools
import importlib.metadata
import operator
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    NoOpMeterProvider,
    Observation,
    get_meter_provider,
)

from rxplus._core.stats import Stats

__all__ = ["KIND", "NAME", "SCOPE", "Member", "Meters", "meters_of", "version"]

SCOPE = "rxplus"
KIND = "rxplus.component.kind"
NAME = "rxplus.component.name"

_DIRECTION = "rxplus.direction"
_MAX_SERIES = 1000


@functools.cache
def version() -> str:
    """Return the version of rxplus, for the instrumentation scope."""
    try:
        return importlib.metadata.version("rxplus")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return ""


# ── the instruments ───────────────────────────────────────────────────────────────────────

_Read = Callable[[Stats], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Metric:
    """One instrument.

    ``read`` tells the values for each value of the attribute ``label``; where there is
    no ``label`` that is ``""``.
    """

    name: str
    create: str
    unit: str
    description: str
    read: _Read
    label: str | None = None
    merge: Callable[[float, float], float] = operator.add


def _one(name: str) -> _Read:
    return lambda stats: {"": getattr(stats, name)}


def _both(name: str) -> _Read:
    return lambda stats: {way: getattr(stats, f"{name}_{way}") for way in ("in", "out")}


def _losses(stats: Stats) -> Mapping[str, float]:
    # A copy, which is made in one step: the loop thread may be counting.
    return dict(stats.losses)


def _latency(stats: Stats) -> Mapping[str, float]:
    latency = stats.latency
    return {} if latency is None else {"": latency}


_COUNTER = "create_observable_counter"
_UP_DOWN = "create_observable_up_down_counter"
_GAUGE = "create_observable_gauge"

_METRICS = (
    _Metric("connections", _UP_DOWN, "{connection}", "Open now", _one("connections")),
    _Metric(
        "connections.opened", _COUNTER, "{connection}", "Opened so far", _one("connections_opened")
    ),
    _Metric("messages", _COUNTER, "{message}", "Received and sent", _both("messages"), _DIRECTION),
    _Metric("io", _COUNTER, "By", "Payload received and sent", _both("bytes"), _DIRECTION),
    _Metric("queue.messages", _UP_DOWN, "{message}", "Waiting to be sent", _one("queued_messages")),
    _Metric(
        "losses", _COUNTER, "{message}", "Will not be delivered", _losses, "rxplus.loss.reason"
    ),
    _Metric("reconnects", _COUNTER, "{reconnect}", "Attempts to reconnect", _one("reconnects")),
    _Metric("handshake.failures", _COUNTER, "{failure}", "Not opened", _one("handshake_failures")),
    _Metric("errors", _COUNTER, "{error}", "Failures survived", _one("errors")),
    _Metric("latency", _GAUGE, "s", "Last round-trip time", _latency, merge=max),
)


# ── what they read ────────────────────────────────────────────────────────────────────────


class Member:
    """One component's place in the metrics, for as long as the component holds it.

    Nothing else does: ``stats`` may refer to the component, which could then never be
    garbage-collected.
    """

    def __init__(self, stats: Stats, series: _Series) -> None:
        self.stats = stats
        self._series = series
        self._ref = series.add(self)

    def leave(self) -> None:
        """Leave, and let the totals stay. Doing it twice is harmless."""
        self._series.remove(self._ref)


class _Ref(weakref.ref[Member]):
    """A component, and the totals last read from it, which outlive it."""

    __slots__ = ("totals",)

    totals: dict[str, Mapping[str, float]]

    def __new__(cls, member: Member, gone: Callable[[_Ref], None]) -> _Ref:  # noqa: PYI034 - weakref.ref's own type
        ref = super().__new__(cls, member, gone)
        ref.totals = {}
        return ref

    def read(self, metric: _Metric) -> Mapping[str, float]:
        member = self()
        if member is None:
            return self.totals.get(metric.name, {})
        values = metric.read(member.stats)
        if metric.create == _COUNTER:
            self.totals[metric.name] = values
        return values


class _Series:
    """The components of one kind and name."""

    def __init__(self, attributes: Mapping[str, str | bool]) -> None:
        self._attributes = attributes
        # Never held while a component or a provider is called, which have their own locks.
        # Reentrant, because garbage collection may run any code inside.
        self._lock = threading.RLock()
        self._refs: set[_Ref] = set()
        # Garbage collection adds here, at any moment, so without a lock.
        self._gone: deque[_Ref] = deque()
        self._totals: dict[str, Counter[str]] = {
            metric.name: Counter() for metric in _METRICS if metric.create == _COUNTER
        }

    def add(self, member: Member) -> _Ref:
        ref = _Ref(member, self._gone.append)
        with self._lock:
            self._settle()
            self._refs.add(ref)
        return ref

    def remove(self, ref: _Ref) -> None:
        for metric in _METRICS:
            if metric.create == _COUNTER:
                ref.read(metric)
        self._gone.append(ref)
        with self._lock:
            self._settle()

    def observe(self, metric: _Metric) -> Iterator[Observation]:
        with self._lock:
            self._settle()
            refs = list(self._refs)
            points: dict[str, float] = dict(self._totals.get(metric.name, ()))
        if metric.create == _UP_DOWN:
            points[""] = 0  # also when all have gone
        for ref in refs:
            for label, value in ref.read(metric).items():
                points[label] = metric.merge(points[label], value) if label in points else value
        for label, value in points.items():
            further = {metric.label: label} if metric.label else {}
            yield Observation(value, {**self._attributes, **further})

    def _settle(self) -> None:
        while self._gone:
            ref = self._gone.popleft()
            if ref in self._refs:
                self._refs.remove(ref)
                for name, values in ref.totals.items():
                    self._totals[name].update(values)


class Meters:
    """What one meter provider exports. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._series: dict[tuple[str, str | None], _Series] = {}

    def instrument(self, provider: MeterProvider) -> None:
        """Have ``provider`` read from here."""
        meter = provider.get_meter(SCOPE, version())
        for metric in _METRICS:
            create = getattr(meter, metric.create)
            observe = functools.partial(self.observe, metric)
            create(f"rxplus.{metric.name}", [observe], metric.unit, metric.description)

    def join(self, kind: str, name: str, stats: Stats) -> Member:
        """Count a component in, until it leaves or is garbage-collected."""
        with self._lock:
            return Member(stats, self._series_of(kind, name))

    def observe(self, metric: _Metric, _options: CallbackOptions) -> list[Observation]:
        """Tell the values of one instrument."""
        with self._lock:
            series = list(self._series.values())
        return [observation for one in series for observation in one.observe(metric)]

    def _series_of(self, kind: str, name: str | None) -> _Series:
        if (kind, name) not in self._series and len(self._series) >= _MAX_SERIES:
            name = None
        key = kind, name
        if key not in self._series:
            further = {"otel.metric.overflow": True} if name is None else {NAME: name}
            self._series[key] = _Series({KIND: kind, **further})
        return self._series[key]


# ── one set of instruments per provider ───────────────────────────────────────────────────

# A second set would be a duplicate, and an SDK does not call the callbacks of one.
_registry: weakref.WeakKeyDictionary[MeterProvider, Meters] = weakref.WeakKeyDictionary()
# Reentrant, because making a provider may run any code.
_registry_lock = threading.RLock()


def meters_of(provider: MeterProvider | None) -> Meters:
    """Return what ``provider`` exports; ``None`` is the global one.

    Raises:
        Exception: whatever the provider raises.
    """
    with _registry_lock:
        current = get_meter_provider()
        provider = current if provider is None else provider
        if provider not in _registry:
            adopted = _stand_in_meters() if provider is current else None
            _registry[provider] = adopted or Meters()
            if adopted is None:
                _registry[provider].instrument(provider)
        return _registry[provider]


def _stand_in_meters() -> Meters | None:
    """Return what the API's stand-in for the global provider exports.

    When a global provider is set, the stand-in passes its instruments on to it.
    """
    for provider, meters in _registry.items():
        ours = type(provider).__module__.startswith("opentelemetry.metrics")
        if ours and not isinstance(provider, NoOpMeterProvider):
            return meters
    return None
