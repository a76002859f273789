"""Logs, metrics and spans, as an application's OpenTelemetry SDK receives them."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import textwrap
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NoReturn

import pytest
from opentelemetry import trace
from opentelemetry._logs import LoggerProvider as LoggerProviderAPI
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.metrics import CallbackOptions
from opentelemetry.metrics import MeterProvider as MeterProviderAPI
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from rxplus import ConnectError, _meters
from rxplus._core.stats import Stats
from rxplus.telemetry import Telemetry

Points = dict[frozenset[tuple[str, Any]], float]

LEVELS = [
    pytest.param("debug", SeverityNumber.DEBUG, logging.DEBUG, id="debug"),
    pytest.param("info", SeverityNumber.INFO, logging.INFO, id="info"),
    pytest.param("warning", SeverityNumber.WARN, logging.WARNING, id="warning"),
    pytest.param("error", SeverityNumber.ERROR, logging.ERROR, id="error"),
]


class Sdk:
    """An SDK that keeps in memory what it is given."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call] # the SDK's
        self.processor = SimpleLogRecordProcessor(self.exporter)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(self.processor)
        self.telemetry = self.make_telemetry()

    def make_telemetry(self) -> Telemetry:
        """Give these providers to components."""
        return Telemetry(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
        )

    def metrics(self) -> dict[str, Metric]:
        """Collect, by name."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert [scope.scope.name for scope in scopes] == ["rxplus"]
        return {metric.name: metric for metric in scopes[0].metrics}

    def points(self, name: str) -> Points:
        """Collect one metric: value by attributes."""
        metric = self.metrics().get(name)
        points = metric.data.data_points if metric else ()
        return {_key(**(point.attributes or {})): _number(point) for point in points}

    def record(self) -> ReadableLogRecord:
        """Return the only log record."""
        (record,) = self.exporter.get_finished_logs()
        return record

    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes of the only log record, without the component's."""
        attributes = dict(self.record().log_record.attributes or {})
        del attributes["rxplus.component.kind"], attributes["rxplus.component.name"]
        return attributes


def _number(point: Any) -> float:
    value: float = point.value
    return value


def _key(**attributes: Any) -> frozenset[tuple[str, Any]]:
    return frozenset(attributes.items())


def _component(kind: str, name: str, **further: Any) -> frozenset[tuple[str, Any]]:
    component = {"rxplus.component.kind": kind, "rxplus.component.name": name}
    return _key(**component, **further)


class _Heard(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    """Provide an SDK, and require that it had nothing to complain of."""
    heard = _Heard(logging.WARNING)
    logging.getLogger("opentelemetry").addHandler(heard)
    yield Sdk()
    logging.getLogger("opentelemetry").removeHandler(heard)
    assert heard.messages == []


# ── metrics ───────────────────────────────────────────────────────────────────────────────

STATS = Stats(
    connections=2,
    connections_opened=5,
    messages_in=10,
    bytes_in=1000,
    messages_out=20,
    bytes_out=2000,
    reconnects=3,
    handshake_failures=4,
    errors=6,
    losses=Counter(overflow=7, closed=8),
    queue=lambda: 9,
    ping=lambda: 0.25,
)
IN, OUT = {"rxplus.direction": "in"}, {"rxplus.direction": "out"}


@pytest.mark.parametrize(
    ("name", "unit", "monotonic", "values"),
    [
        ("rxplus.connections", "{connection}", False, [({}, 2)]),
        ("rxplus.connections.opened", "{connection}", True, [({}, 5)]),
        ("rxplus.messages", "{message}", True, [(IN, 10), (OUT, 20)]),
        ("rxplus.io", "By", True, [(IN, 1000), (OUT, 2000)]),
        ("rxplus.queue.messages", "{message}", False, [({}, 9)]),
        (
            "rxplus.losses",
            "{message}",
            True,
            [({"rxplus.loss.reason": "overflow"}, 7), ({"rxplus.loss.reason": "closed"}, 8)],
        ),
        ("rxplus.reconnects", "{reconnect}", True, [({}, 3)]),
        ("rxplus.handshake.failures", "{failure}", True, [({}, 4)]),
        ("rxplus.errors", "{error}", True, [({}, 6)]),
        ("rxplus.latency", "s", None, [({}, 0.25)]),
    ],
)
def test_metric_reads_stats(
    sdk: Sdk,
    name: str,
    unit: str,
    monotonic: bool | None,
    values: list[tuple[dict[str, str], float]],
) -> None:
    """Each metric has the documented name, unit, instrument, attributes and value."""
    probe = sdk.telemetry.probe("server", "s", STATS)
    assert sdk.points(name) == {
        _component("server", "s", **further): value for further, value in values
    }
    metric = sdk.metrics()[name]
    assert metric.unit == unit
    assert getattr(metric.data, "is_monotonic", None) is monotonic
    probe.close()


def test_metrics_are_those_documented(sdk: Sdk) -> None:
    """The table in the module's docstring names exactly what is exported."""
    probe = sdk.telemetry.probe("server", "s", STATS)
    table = (sys.modules["rxplus.telemetry"].__doc__ or "").split("\n\n")[2]
    documented = {line.split()[0] for line in table.splitlines() if line.startswith("rxplus.")}
    assert set(sdk.metrics()) == documented
    probe.close()


def test_every_count_is_exported(sdk: Sdk) -> None:
    """Every field of Stats shows in the metrics of a component, open or closed."""
    probe = sdk.telemetry.probe("server", "s", STATS)
    exported = {point for name in sdk.metrics() for point in sdk.points(name).values()}
    assert exported == {2, 5, 10, 1000, 20, 2000, 3, 4, 6, 7, 8, 9, 0.25}
    probe.close()
    exported = {point for name in sdk.metrics() for point in sdk.points(name).values()}
    assert exported == {0, 5, 10, 1000, 20, 2000, 3, 4, 6, 7, 8}


def test_latency_unknown_is_not_exported(sdk: Sdk) -> None:
    """There is no latency until one has been measured."""
    probe = sdk.telemetry.probe("client", "c", Stats())
    assert "rxplus.latency" not in sdk.metrics()
    assert "rxplus.errors" in sdk.metrics()
    probe.close()


def test_components_share_instruments(sdk: Sdk) -> None:
    """Components of one provider, whatever their Telemetry, are series of one metric."""
    server = sdk.telemetry.probe("server", "s", Stats(errors=1))
    client = sdk.make_telemetry().probe("client", "c", Stats(errors=2))
    assert sdk.points("rxplus.errors") == {
        _component("server", "s"): 1,
        _component("client", "c"): 2,
    }
    server.close()
    client.close()


def test_components_of_one_name_are_summed(sdk: Sdk) -> None:
    """Counts of components with one kind and name add up; of latencies the highest shows."""
    probes = [
        sdk.telemetry.probe("client", "c", Stats(errors=1, ping=lambda: 0.5)),
        sdk.telemetry.probe("client", "c", Stats(errors=1, ping=lambda: 0.1)),
    ]
    assert sdk.points("rxplus.errors") == {_component("client", "c"): 2}
    assert sdk.points("rxplus.latency") == {_component("client", "c"): 0.5}
    for probe in probes:
        probe.close()


def test_providers_are_separate() -> None:
    """A component is exported to its own provider only."""
    one, other = Sdk(), Sdk()
    probe = one.telemetry.probe("client", "c", Stats(errors=1))
    assert one.points("rxplus.errors") == {_component("client", "c"): 1}
    assert other.points("rxplus.errors") == {}
    probe.close()


def test_close_keeps_totals(sdk: Sdk) -> None:
    """When a component closes, its totals stay, and what it has now goes to zero."""
    stats = Stats(messages_in=10, losses=Counter(closed=1), connections=1, queue=lambda: 1)
    probe = sdk.telemetry.probe("client", "c", stats)
    assert sdk.points("rxplus.connections") == {_component("client", "c"): 1}
    stats.messages_in += 1
    probe.close()
    probe.close()
    for _ in range(2):
        messages = sdk.points("rxplus.messages")
        assert messages[_component("client", "c", **IN)] == 11
        reason = {"rxplus.loss.reason": "closed"}
        assert sdk.points("rxplus.losses") == {_component("client", "c", **reason): 1}
        assert sdk.points("rxplus.connections") == {_component("client", "c"): 0}
        assert sdk.points("rxplus.queue.messages") == {_component("client", "c"): 0}


def test_successor_continues_totals(sdk: Sdk) -> None:
    """A component that takes the name of a closed one counts on from its totals."""
    sdk.telemetry.probe("client", "c", Stats(errors=3)).close()
    probe = sdk.telemetry.probe("client", "c", Stats(errors=1))
    assert sdk.points("rxplus.errors") == {_component("client", "c"): 4}
    probe.close()


class _Component:
    """Refers to itself through its probe and its counts, as a real one does."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.stats = Stats(errors=3, connections=1, queue=self.queued)
        self.probe = telemetry.probe("client", "c", self.stats)

    def queued(self) -> int:
        return 1


def test_garbage_collected_component_keeps_totals(sdk: Sdk) -> None:
    """A component that is dropped without close() leaves the totals last collected."""
    component = _Component(sdk.telemetry)
    assert sdk.points("rxplus.connections") == {_component("client", "c"): 1}
    del component
    gc.collect()
    assert sdk.points("rxplus.errors") == {_component("client", "c"): 3}
    assert sdk.points("rxplus.connections") == {_component("client", "c"): 0}
    assert sdk.points("rxplus.queue.messages") == {_component("client", "c"): 0}


class _OnRead(Stats):
    """Counts that do something when the errors are read."""

    on_read: Callable[[], object] = staticmethod(lambda: None)

    def __getattribute__(self, name: str) -> Any:
        if name == "errors":
            self.on_read()
        return super().__getattribute__(name)


def test_component_garbage_collected_meanwhile(sdk: Sdk) -> None:
    """Totals stay when a component is dropped while another of its name is read."""
    stats = [_OnRead(errors=1), _OnRead(errors=1)]
    probes = [sdk.telemetry.probe("client", "c", one) for one in stats]
    expected = {_component("client", "c"): 2}
    assert sdk.points("rxplus.errors") == expected
    # Which of them is read first is not known.
    stats[0].on_read = lambda: probes.pop(1) if len(probes) == 2 else None
    stats[1].on_read = lambda: probes.pop(0) if len(probes) == 2 else None
    assert sdk.points("rxplus.errors") == expected
    assert len(probes) == 1
    assert sdk.points("rxplus.errors") == expected


@pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
def test_component_is_not_kept_alive(sdk: Sdk, close: bool) -> None:
    """Neither metrics nor logs keep a component from being garbage-collected."""
    component = _Component(sdk.telemetry)
    component.probe.error("e", "m")
    assert sdk.points("rxplus.connections") == {_component("client", "c"): 1}
    kept = weakref.ref(component)
    if close:
        component.probe.close()
    del component
    gc.collect()
    assert kept() is None


def test_names_past_the_limit_overflow(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many names share one series for each kind; those that are known keep theirs."""
    monkeypatch.setattr(_meters, "_MAX_SERIES", 2)
    for name in ("a", "b", "c", "d", "a"):
        sdk.telemetry.probe("client", name, Stats(errors=1)).close()
    assert sdk.points("rxplus.errors") == {
        _component("client", "a"): 2,
        _component("client", "b"): 1,
        _key(**{"rxplus.component.kind": "client", "otel.metric.overflow": True}): 2,
    }


def test_provider_is_not_kept_alive() -> None:
    """Having been given a component does not keep a meter provider from being collected."""
    sdk = Sdk()
    probe = sdk.telemetry.probe("client", "c", Stats())
    provider = weakref.ref(sdk.meters)
    del sdk, probe
    gc.collect()
    assert provider() is None


class _EagerMeter:
    """Collects while an instrument is being made, as a reader of another thread may."""

    def __getattr__(self, create: str) -> Callable[..., None]:
        def collect(_name: str, callbacks: list[Any], _unit: str, _description: str) -> None:
            thread = threading.Thread(target=callbacks[0], args=[CallbackOptions()], daemon=True)
            thread.start()
            thread.join(10.0)
            assert not thread.is_alive(), "collecting waits for whoever makes a component"

        return collect


class _EagerProvider(MeterProviderAPI):
    def get_meter(self, *_: Any, **__: Any) -> Any:
        return _EagerMeter()


def test_collection_never_waits_for_instruments(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics can be collected while instruments are made: no lock is held across both."""
    Telemetry(meter_provider=_EagerProvider()).probe("client", "c", Stats()).close()
    assert caplog.messages == []


def test_collection_holds_no_lock(sdk: Sdk) -> None:
    """While a component is read, others come and go, on any thread."""
    finished: list[bool] = []

    def queue() -> int:
        thread = threading.Thread(target=come_and_go, daemon=True)
        thread.start()
        thread.join(10.0)
        finished.append(not thread.is_alive())
        return 1

    def come_and_go() -> None:
        sdk.telemetry.probe("client", "other", Stats()).close()
        probe.close()

    probe = sdk.telemetry.probe("client", "c", Stats(queue=queue))
    assert sdk.points("rxplus.queue.messages")[_component("client", "c")] == 1
    assert finished == [True]


# ── logs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "severity", "_level"), LEVELS)
def test_log_record(sdk: Sdk, method: str, severity: SeverityNumber, _level: int) -> None:
    """A record has event name, severity, body, scope, and the component's attributes."""
    getattr(sdk.telemetry.probe("client", "c", Stats()), method)("state", "100 % up", attempt=3)
    record = sdk.record().log_record
    assert record.event_name == "rxplus.state"
    assert (record.severity_number, record.severity_text) == (severity, severity.name)
    assert record.body == "100 % up"
    assert dict(record.attributes or {}) == {
        "rxplus.component.kind": "client",
        "rxplus.component.name": "c",
        "rxplus.attempt": 3,
    }
    scope = sdk.record().instrumentation_scope
    assert scope is not None
    assert scope.name == "rxplus"


class _Colour(Enum):
    RED = "red"


class _Mute:
    def __str__(self) -> NoReturn:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("given", "exported"),
    [
        ("text", "text"),
        ("\u00e9", "\u00e9"),
        ("lone \ud800", "lone ?"),
        (True, True),
        (1.5, 1.5),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (_Colour.RED, "red"),
        (b"\x00", "b'\\x00'"),
        (("::1", 80), ("::1", 80)),
        ([None, b"x"], ("None", "b'x'")),
        ({1}, "{1}"),
        (_Mute(), "<_Mute>"),
    ],
)
def test_log_attribute_values(sdk: Sdk, given: object, exported: object) -> None:
    """What OpenTelemetry can carry arrives as it is, anything else as text."""
    sdk.telemetry.probe("client", "c", Stats()).info("e", "m", value=given)
    assert sdk.attributes() == {"rxplus.value": exported}
    assert type(sdk.attributes()["rxplus.value"]) is type(exported)


def test_log_attribute_none_is_left_out(sdk: Sdk) -> None:
    """An attribute that is None is not exported."""
    sdk.telemetry.probe("client", "c", Stats()).info("e", "m", code=None)
    assert sdk.attributes() == {}


def test_log_attribute_names(sdk: Sdk) -> None:
    """Names that OpenTelemetry has are used, dotted ones kept, others put below rxplus."""
    given: dict[str, Any] = {
        "host": "h",
        "port": 1,
        "path": "/p",
        "peer": "::1",
        "status": 401,
        "a.b": 1,
        "c": 2,
    }
    sdk.telemetry.probe("client", "c", Stats()).info("other.event", "m", **given)
    assert sdk.record().log_record.event_name == "other.event"
    assert sdk.attributes() == {
        "server.address": "h",
        "server.port": 1,
        "url.path": "/p",
        "network.peer.address": "::1",
        "http.response.status_code": 401,
        "a.b": 1,
        "rxplus.c": 2,
    }


@pytest.mark.parametrize("peer", [("::1", 80), ("::1", 80, 0, 0)])
def test_log_attribute_peer(sdk: Sdk, peer: tuple[object, ...]) -> None:
    """The address of a socket is taken apart."""
    sdk.telemetry.probe("client", "c", Stats()).info("e", "m", peer=peer)
    assert sdk.attributes() == {"network.peer.address": "::1", "network.peer.port": 80}


def test_lone_surrogates_are_replaced(sdk: Sdk) -> None:
    """Text that has no UTF-8, for which an exporter would drop a batch, is made exportable."""
    probe = sdk.telemetry.probe("client", "name \ud800", Stats(errors=1))
    probe.info("e", "body \ud800")
    record = sdk.record().log_record
    assert record.body == "body ?"
    assert (record.attributes or {})["rxplus.component.name"] == "name ?"
    assert sdk.points("rxplus.errors") == {_component("client", "name ?"): 1}


class _CustomError(Exception):
    pass


@pytest.mark.parametrize(
    ("kind", "name"), [(ValueError, "ValueError"), (_CustomError, f"{__name__}._CustomError")]
)
def test_log_exception(sdk: Sdk, kind: type[Exception], name: str) -> None:
    """An exception is described by its type, message and traceback, and not kept alive."""
    try:
        raise kind("b\u00f6se")
    except kind as exc:
        sdk.telemetry.probe("client", "c", Stats()).error("e", "m", exception=exc)
    attributes = sdk.attributes()
    assert attributes["exception.type"] == name
    assert attributes["exception.message"] == "b\u00f6se"
    assert attributes["exception.stacktrace"].startswith("Traceback (most recent call last)")
    assert "test_log_exception" in attributes["exception.stacktrace"]
    assert sdk.record().log_record.exception is None


def test_log_of_what_the_network_did_has_no_traceback(
    sdk: Sdk, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused connection, tried again and again, is a line each time and not a page."""
    error = ConnectError("nobody listens")
    sdk.telemetry.probe("client", "c", Stats()).warning("e", "m", exception=error)
    assert sdk.attributes()["exception.message"] == "nobody listens"
    assert "exception.stacktrace" not in sdk.attributes()
    Telemetry().probe("client", "c", Stats()).warning("e", "m", exception=error)
    (record,) = caplog.records
    assert record.exc_info is None


@pytest.mark.parametrize(("method", "_severity", "level"), LEVELS)
@pytest.mark.parametrize("provider", [None, NoOpLoggerProvider()], ids=["global", "no-op"])
def test_log_without_provider(
    caplog: pytest.LogCaptureFixture,
    method: str,
    _severity: SeverityNumber,
    level: int,
    provider: LoggerProviderAPI | None,
) -> None:
    """With no provider, the standard library's logger gets message, attributes, exception."""
    caplog.set_level(logging.DEBUG, "rxplus")
    probe = Telemetry(logger_provider=provider).probe("client", "c", Stats())
    error = ValueError("bad")
    getattr(probe, method)("state", "100 % up", path="/p", code=None, exception=error)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("rxplus.client", level)
    assert record.getMessage() == "100 % up"
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.funcName == "test_log_without_provider"
    assert vars(record)["rxplus"] == {
        "event.name": "rxplus.state",
        "rxplus.component.kind": "client",
        "rxplus.component.name": "c",
        "url.path": "/p",
    }


def test_log_goes_to_one_place(sdk: Sdk, caplog: pytest.LogCaptureFixture) -> None:
    """With a provider, the standard library's logger gets nothing."""
    caplog.set_level(logging.DEBUG, "rxplus")
    sdk.telemetry.probe("client", "c", Stats()).error("e", "m")
    assert sdk.record().log_record.body == "m"
    assert caplog.messages == []


def test_log_filtered_by_provider(
    sdk: Sdk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the provider does not want goes nowhere, and its attributes are not looked at."""
    caplog.set_level(logging.DEBUG, "rxplus")
    monkeypatch.setattr(sdk.processor, "enabled", _only_errors)
    looked_at: list[object] = []
    probe = sdk.telemetry.probe("client", "c", Stats())
    probe.info("e", "m", value=_Watched(looked_at))
    assert (caplog.messages, sdk.exporter.get_finished_logs(), looked_at) == ([], (), [])
    probe.error("e", "m", value=_Watched(looked_at))
    assert sdk.record().log_record.severity_number is SeverityNumber.ERROR
    assert len(looked_at) == 1


def _only_errors(*, severity_number: SeverityNumber, **_: object) -> bool:
    return severity_number is SeverityNumber.ERROR


class _Watched:
    def __init__(self, looked_at: list[object]) -> None:
        self._looked_at = looked_at

    def __str__(self) -> str:
        self._looked_at.append(self)
        return "watched"


def test_log_disabled_is_cheap(caplog: pytest.LogCaptureFixture) -> None:
    """With no provider and the level off, attributes are not even looked at."""
    looked_at: list[object] = []
    probe = Telemetry().probe("client", "c", Stats())
    caplog.set_level(logging.INFO, "rxplus")
    probe.debug("e", "m", value=_Watched(looked_at))
    assert looked_at == []
    probe.info("e", "m", value=_Watched(looked_at))
    assert len(looked_at) == 1


# ── spans ─────────────────────────────────────────────────────────────────────────────────


def test_span(sdk: Sdk) -> None:
    """A span has name, kind and attributes, is not current, and ends when it is told to."""
    probe = sdk.telemetry.probe("client", "c", Stats())
    span = probe.span("rxplus.connect", kind=SpanKind.CLIENT, path="/p", error=None)
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert sdk.spans.get_finished_spans() == ()
    span.end()
    (finished,) = sdk.spans.get_finished_spans()
    assert (finished.name, finished.kind) == ("rxplus.connect", SpanKind.CLIENT)
    assert dict(finished.attributes or {}) == {
        "rxplus.component.kind": "client",
        "rxplus.component.name": "c",
        "url.path": "/p",
    }


def test_span_without_provider() -> None:
    """With no provider a span records nothing."""
    span = Telemetry().probe("client", "c", Stats()).span("rxplus.connect")
    assert not span.is_recording()
    span.end()


# ── what must not hurt ────────────────────────────────────────────────────────────────────


class _Broken:
    """A provider of anything, all of which raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"broken: {name}")


class _NotWeak(MeterProviderAPI):
    """A provider that cannot be the key of a weak dictionary."""

    __hash__ = None  # type: ignore[assignment] # that is the point

    def get_meter(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError


def test_broken_providers_are_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """Providers that raise stop nothing; logs go to the standard library instead."""
    broken: Any = _Broken()
    telemetry = Telemetry(tracer_provider=broken, meter_provider=broken, logger_provider=broken)
    for _ in range(2):
        probe = telemetry.probe("client", "c", Stats())
        probe.error("e", "told anyway")
        assert probe.span("rxplus.connect") is trace.INVALID_SPAN
        probe.close()
    told = [record.getMessage() for record in caplog.records]
    assert told.count("told anyway") == 2
    assert set(told) == {
        "told anyway",
        "the meter provider raised",
        "the logger provider raised",
        "the tracer provider raised",
    }


def test_odd_meter_provider_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """A meter provider that cannot be registered costs the metrics and nothing else."""
    Telemetry(meter_provider=_NotWeak()).probe("client", "c", Stats()).close()
    assert caplog.messages == ["the meter provider raised"]


def test_broken_exporter_is_harmless(
    sdk: Sdk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log processor that raises does not reach the component."""

    def raising(_: object) -> NoReturn:
        raise RuntimeError("disk full")

    monkeypatch.setattr(sdk.processor, "on_emit", raising)
    sdk.telemetry.probe("client", "c", Stats()).error("e", "told anyway")
    assert caplog.messages == ["the logger provider raised", "told anyway"]


def test_broken_logging_handler_is_harmless() -> None:
    """A handler of the standard library that raises does not reach the component."""
    handled: list[str] = []

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            handled.append(record.getMessage())
            raise RuntimeError("disk full")

    handler = Raising()
    logging.getLogger("rxplus").addHandler(handler)
    try:
        Telemetry().probe("client", "c", Stats()).error("e", "m")
    finally:
        logging.getLogger("rxplus").removeHandler(handler)
    assert handled == ["m"]


# ── global providers, which can be set once in a process ──────────────────────────────────


def _run(script: str) -> str:
    """Run a script in its own process, and require that it writes nothing to stderr."""
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_silent_when_nothing_is_configured() -> None:
    """With nothing configured nothing is written anywhere, and no SDK is imported."""
    script = """
        import sys
        from rxplus._core.stats import Stats
        from rxplus.telemetry import Telemetry

        probe = Telemetry().probe("client", "c", Stats())
        probe.error("e", "m", exception=ValueError("bad"))
        probe.span("s").end()
        probe.close()
        assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
    """
    assert _run(script) == ""


GLOBALS = """
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from rxplus._core.stats import Stats
    from rxplus.telemetry import Telemetry

    asked = []

    class AskedMeterProvider(MeterProvider):
        def get_meter(self, name, *further):
            asked.append(name)
            return super().get_meter(name, *further)

    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    logs = InMemoryLogRecordExporter()
    meters, tracers, loggers = AskedMeterProvider([reader]), TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))

    def set_providers():
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(meters)
        _logs.set_logger_provider(loggers)

    def errors():
        (resource,) = reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        (points,) = [m.data.data_points for m in scope.metrics if m.name == "rxplus.errors"]
        return sorted((p.attributes["rxplus.component.name"], p.value) for p in points)
"""


def test_global_providers_set_later() -> None:
    """Components made before the global providers are exported, and share instruments."""
    script = """
    none = Telemetry(meter_provider=NoOpMeterProvider()).probe("client", "none", Stats(errors=9))
    early = Telemetry().probe("client", "early", Stats(errors=1))
    early.info("e", "lost")
    early.span("lost").end()
    set_providers()
    late = Telemetry().probe("client", "late", Stats(errors=2))
    given = Telemetry(meter_provider=meters).probe("client", "given", Stats(errors=3))
    print(errors())
    print(asked.count("rxplus"))
    early.info("e", "kept")
    early.span("kept").end()
    print([record.log_record.body for record in logs.get_finished_logs()])
    print([span.name for span in spans.get_finished_spans()])
    """
    assert _run(textwrap.dedent(GLOBALS) + textwrap.dedent(script)).splitlines() == [
        "[('early', 1), ('given', 3), ('late', 2)]",
        "1",
        "['kept']",
        "['kept']",
    ]


def test_global_providers_set_earlier() -> None:
    """Components made after the global providers are exported; it matters not how named."""
    script = """
    given = Telemetry(meter_provider=meters).probe("client", "given", Stats(errors=3))
    set_providers()
    late = Telemetry().probe("client", "late", Stats(errors=2))
    print(errors())
    """
    printed = _run(textwrap.dedent(GLOBALS) + textwrap.dedent(script))
    assert printed.splitlines() == ["[('given', 3), ('late', 2)]"]
