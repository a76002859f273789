"""Set OpenTelemetry up in one call. Needs the extra ``rxplus[otel]``.

::

    with setup("otlp", service_name="robot") as otel:
        server = RxWSServer({"host": "localhost", "port": 8888}, telemetry=otel.telemetry)

An application that configures OpenTelemetry itself does not need this: rxplus uses the
global providers, or those given to :class:`rxplus.telemetry.Telemetry`.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Literal, NamedTuple, Self

from opentelemetry._logs import set_logger_provider
from opentelemetry.metrics import set_meter_provider
from opentelemetry.trace import set_tracer_provider

from rxplus.telemetry import Telemetry

_HINT = 'rxplus.otel needs the OpenTelemetry SDK and OTLP exporter: pip install "rxplus[otel]"'

try:
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
    from opentelemetry.sdk._logs.export import (
        BatchLogRecordProcessor,
        ConsoleLogRecordExporter,
        SimpleLogRecordProcessor,
    )
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        MetricExporter,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )
except ImportError as exc:
    raise ImportError(_HINT) from exc

__all__ = ["OtelSetup", "setup"]


class OtelSetup:
    """Providers that :func:`setup` made. A context manager that shuts them down.

    Attributes:
        telemetry: give it to components.
    """

    def __init__(
        self, tracers: TracerProvider, meters: MeterProvider, loggers: LoggerProvider
    ) -> None:
        self.telemetry = Telemetry(
            tracer_provider=tracers, meter_provider=meters, logger_provider=loggers
        )
        self._providers = ExitStack()
        for provider in (loggers, tracers, meters):
            self._providers.callback(provider.shutdown)

    def shutdown(self) -> None:
        """Export what is left, and stop. Doing it twice is harmless.

        Close the components first, so that their last words are exported. Blocks while the
        exporters try, each within its timeout. It is done at exit, too.
        """
        self._providers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


def setup(
    exporter: Literal["console", "otlp"] = "console",
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    set_global: bool = False,
) -> OtelSetup:
    """Make providers that export logs, traces and metrics.

    Args:
        exporter: ``"console"`` writes JSON to standard output, logs and spans at once,
            metrics every minute; ``"otlp"`` sends all in batches by OTLP over HTTP.
        service_name: ``None`` is ``OTEL_SERVICE_NAME``, or ``"rxplus"``.
        endpoint: base URL of the OTLP collector; ``None`` is what the ``OTEL_EXPORTER_OTLP_*``
            variables say, or ``"http://localhost:4318"``.
        set_global: make them the global providers, too, which OpenTelemetry allows once.

    Raises:
        ValueError: the exporter is unknown, or has no endpoint.
        ImportError: the OTLP exporter is not installed.
    """
    if exporter == "console":
        if endpoint is not None:
            raise ValueError(f"endpoint is for 'otlp' only, got {endpoint!r} for 'console'")
        pipes = _console()
    elif exporter == "otlp":
        pipes = _otlp(endpoint)
    else:
        raise ValueError(f"exporter must be 'console' or 'otlp', got {exporter!r}")
    name = service_name or os.environ.get("OTEL_SERVICE_NAME") or "rxplus"
    return _assemble(pipes, Resource.create({"service.name": name}), set_global=set_global)


class _Pipes(NamedTuple):
    spans: SpanProcessor
    metrics: MetricExporter
    logs: LogRecordProcessor


def _console() -> _Pipes:
    # Now, not as a default of the SDK: standard output may have been redirected since.
    out = sys.stdout
    return _Pipes(
        SimpleSpanProcessor(ConsoleSpanExporter(out=out)),
        ConsoleMetricExporter(out=out),
        SimpleLogRecordProcessor(ConsoleLogRecordExporter(out=out)),
    )


def _otlp(endpoint: str | None) -> _Pipes:
    try:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as exc:
        raise ImportError(_HINT) from exc

    def url(signal: str) -> str | None:
        return endpoint and f"{endpoint.rstrip('/')}/v1/{signal}"

    return _Pipes(
        BatchSpanProcessor(OTLPSpanExporter(url("traces"))),
        OTLPMetricExporter(url("metrics")),
        BatchLogRecordProcessor(OTLPLogExporter(url("logs"))),
    )


def _assemble(pipes: _Pipes, resource: Resource, *, set_global: bool) -> OtelSetup:
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(pipes.spans)
    meters = MeterProvider([PeriodicExportingMetricReader(pipes.metrics)], resource=resource)
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(pipes.logs)
    if set_global:
        set_tracer_provider(tracers)
        set_meter_provider(meters)
        set_logger_provider(loggers)
    return OtelSetup(tracers, meters, loggers)
