"""OpenTelemetry logs, metrics and traces. Silent until a provider is configured.

Only the OpenTelemetry API is needed; :mod:`rxplus.otel` sets up an SDK in one call.

========================== ================ ============== =========================
metric                     instrument       unit           further attribute
========================== ================ ============== =========================
rxplus.connections         up-down counter  {connection}
rxplus.connections.opened  counter          {connection}
rxplus.messages            counter          {message}      rxplus.direction: in, out
rxplus.io                  counter          By             rxplus.direction: in, out
rxplus.queue.messages      up-down counter  {message}
rxplus.losses              counter          {message}      rxplus.loss.reason
rxplus.reconnects          counter          {reconnect}
rxplus.handshake.failures  counter          {failure}
rxplus.errors              counter          {error}
rxplus.latency             gauge            s
========================== ================ ============== =========================

Everything carries ``rxplus.component.kind`` (``server``, ``client``, ``group``) and
``rxplus.component.name``. Components of one kind and name are summed up; of latencies
the highest is shown. Past 1,000 kinds and names per meter provider, metrics have
``otel.metric.overflow`` in place of the name.

Events and attributes of logs and spans are put below ``rxplus.`` unless their name has
a dot, or OpenTelemetry has a name for them:

========================== ========================== ==============================
given as                   exported as                what
========================== ========================== ==============================
path                       url.path                   of the connection
host, port                 server.address, .port      connected to, or listening on
peer                       network.peer.address,      the other side, as text or as a
                           .port                      socket's (host, port)
status                     http.response.status_code  of a refused handshake
exception                  exception.type, .message,  logs only
                           .stacktrace
anything else              rxplus.<name>
========================== ========================== ==============================

A log record goes to the logger provider, or, while there is none, to the standard
library's logger ``rxplus.<kind>``, with the same attributes in ``record.rxplus`` and the
event in its ``event.name``. It never goes to both: who bridges the standard library's
logging into OpenTelemetry would get each record twice.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import traceback
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider

from rxplus._core.stats import Stats
from rxplus._meters import KIND, NAME, SCOPE, Meters, meters_of, version
from rxplus.errors import TransportError

__all__ = ["Probe", "Telemetry"]

_std = logging.getLogger("rxplus")
_std.addHandler(logging.NullHandler())

_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
}


class Telemetry:
    """Where a component's logs, traces and metrics go.

    A provider that raises harms nothing; the standard library's logger ``rxplus`` is told.

    Args:
        tracer_provider: for spans; ``None`` is the global one, also one set later.
        meter_provider: for metrics, likewise.
        logger_provider: for logs, likewise.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._logger_provider = logger_provider
        self._logger: Logger | None = None
        self._name: str | None = None

    def under(self, name: str) -> Telemetry:
        """Return the same, but with every component shown under ``name``, as parts of one."""
        shared = copy.copy(self)
        shared._name = name
        return shared

    def probe(self, kind: str, name: str, stats: Stats) -> Probe:
        """Begin to watch a component. May be called from any thread.

        Args:
            kind: ``"server"``, ``"client"`` or ``"group"``.
            name: of the component.
            stats: read whenever metrics are collected, on the thread that collects.
        """
        try:
            meters = meters_of(self._meter_provider)
        except Exception:  # noqa: BLE001 - no provider may harm what it watches
            _complain("meter")
            meters = Meters()
        return Probe(self, kind, self._name or name, stats, meters)

    def logger(self) -> Logger | None:
        """Return the configured logger; ``None`` while there is none."""
        if self._logger is None:
            provider = self._logger_provider
            provider = get_logger_provider() if provider is None else provider
            logger = provider.get_logger(SCOPE, version())
            # The API's own loggers do nothing, or stand in for one that may come.
            if type(logger).__module__.startswith("opentelemetry._logs"):
                return None
            self._logger = logger
        return self._logger

    @functools.cached_property
    def tracer(self) -> Tracer:
        """The tracer, which does nothing while none is configured."""
        return trace.get_tracer(SCOPE, version(), self._tracer_provider)


class Probe:
    """What one component reports through. Any thread may call any method."""

    def __init__(
        self, telemetry: Telemetry, kind: str, name: str, stats: Stats, meters: Meters
    ) -> None:
        name = _text(name)
        self._telemetry = telemetry
        self._attributes: dict[str, _Value] = {KIND: kind, NAME: name}
        self._std = _std.getChild(kind)
        self._member = meters.join(kind, name, stats)

    def debug(
        self, event: str, message: str, *, exception: BaseException | None = None, **attributes: Any
    ) -> None:
        """Log what only a developer of the component wants to know."""
        self._log(logging.DEBUG, event, message, exception, attributes)

    def info(
        self, event: str, message: str, *, exception: BaseException | None = None, **attributes: Any
    ) -> None:
        """Log what is as it should be."""
        self._log(logging.INFO, event, message, exception, attributes)

    def warning(
        self, event: str, message: str, *, exception: BaseException | None = None, **attributes: Any
    ) -> None:
        """Log a failure that the component survives."""
        self._log(logging.WARNING, event, message, exception, attributes)

    def error(
        self, event: str, message: str, *, exception: BaseException | None = None, **attributes: Any
    ) -> None:
        """Log a failure that ends the component, or that nobody else is told of."""
        self._log(logging.ERROR, event, message, exception, attributes)

    def span(self, name: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Span:
        """Start a span, without making it current. The caller ends it."""
        try:
            given = self._attributes | _exportable(attributes)
            return self._telemetry.tracer.start_span(name, kind=kind, attributes=given)
        except Exception:  # noqa: BLE001 - no provider may harm what it watches
            _complain("tracer")
            return trace.INVALID_SPAN

    def close(self) -> None:
        """Stop watching. What was counted stays in the totals. Doing it twice is harmless.

        A probe that is garbage-collected leaves the totals that were last collected.
        """
        self._member.leave()

    def _log(
        self,
        level: int,
        event: str,
        message: str,
        exception: BaseException | None,
        attributes: Mapping[str, Any],
    ) -> None:
        event = _named(event)
        try:
            logger = self._telemetry.logger()
            if logger is not None:
                severity = _SEVERITIES[level]
                if logger.enabled(severity_number=severity, event_name=event):
                    given = self._attributes | _exportable(attributes) | _described(exception)
                    _emit(logger, severity, event, message, given)
                return
        except Exception:  # noqa: BLE001 - no provider may harm what it watches
            _complain("logger")
        # A logging handler may not, either.
        with contextlib.suppress(Exception):
            if self._std.isEnabledFor(level):
                given = {"event.name": event} | self._attributes | _exportable(attributes)
                extra = {"rxplus": given}
                traced = exception if _is_traced(exception) else None
                self._std.log(level, message, exc_info=traced, extra=extra, stacklevel=3)


def _emit(
    logger: Logger,
    severity: SeverityNumber,
    event: str,
    message: str,
    attributes: Mapping[str, _Value],
) -> None:
    logger.emit(
        severity_number=severity,
        severity_text=severity.name,
        event_name=event,
        body=_text(message),
        attributes=attributes,
    )


def _complain(what: str) -> None:
    with contextlib.suppress(Exception):
        _std.warning("the %s provider raised", what, exc_info=True)


# ── attributes ────────────────────────────────────────────────────────────────────────────

_Plain: TypeAlias = str | bool | int | float
_Value: TypeAlias = _Plain | tuple[_Plain, ...]

_CONVENTIONS = {
    "host": "server.address",
    "path": "url.path",
    "peer": "network.peer.address",
    "port": "server.port",
    "status": "http.response.status_code",
}


def _exportable(attributes: Mapping[str, Any]) -> dict[str, _Value]:
    given = {_named(key): _value(value) for key, value in attributes.items() if value is not None}
    peer = attributes.get("peer")
    if isinstance(peer, tuple):  # (host, port, ...), as sockets have it
        given["network.peer.address"], given["network.peer.port"] = map(_plain, peer[:2])
    return given


def _described(exception: BaseException | None) -> dict[str, _Value]:
    """Describe an exception.

    ``emit(exception=...)`` would do so, too, but a record that waits for its export would
    keep the frames of the traceback, and with them the component, alive.
    """
    if exception is None:
        return {}
    kind = type(exception)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    told: dict[str, _Value] = {
        "exception.type": f"{module}{kind.__qualname__}",
        "exception.message": _plain(exception),
    }
    if _is_traced(exception):
        told["exception.stacktrace"] = _text("".join(traceback.format_exception(exception)))
    return told


def _is_traced(exception: BaseException | None) -> bool:
    """Tell whether its traceback says more than its message: not for what the network did."""
    return not isinstance(exception, TransportError)


def _named(key: str) -> str:
    return key if "." in key else _CONVENTIONS.get(key, f"rxplus.{key}")


def _value(value: Any) -> _Value:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else _plain(value)


def _plain(value: Any) -> _Plain:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (bool, float)):
        return value
    # Exporters have 64 bits, and lose an integer that needs more.
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    try:
        # The console exporter loses a span that has bytes; python -bb forbids their str().
        return _text(repr(value) if isinstance(value, bytes) else str(value))
    except Exception:  # noqa: BLE001 - __str__ is the user's code
        return f"<{type(value).__qualname__}>"


def _text(value: str) -> str:
    """Replace lone surrogates: exporters lose what has one, for a body the whole batch."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
