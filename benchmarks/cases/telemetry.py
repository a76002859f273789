"""What telemetry costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.clock import Stopwatch
from benchmarks.model import Benchmark, Config, Contender, Figures
from benchmarks.sides import ours
from benchmarks.tally import Tally, make_message
from rxplus import Telemetry

__all__ = ["BENCHMARKS"]

_COUNT = 20_000
_COLLECTIONS = 20


def _off() -> tuple[Telemetry, Callable[[], object]]:
    return Telemetry(), lambda: None


def _on() -> tuple[Telemetry, Callable[[], object]]:
    """Configure everything, and have metrics collected far more often than anybody would."""
    reader = InMemoryMetricReader()
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(_exporter()))
    telemetry = Telemetry(
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider([reader]),
        logger_provider=logger_provider,
    )
    return telemetry, reader.collect


def _exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # it has no annotations


def _upstream(
    make: Callable[[], tuple[Telemetry, Callable[[], object]]], config: Config
) -> Figures:
    message = make_message(64)
    share = config.count(_COUNT // _COLLECTIONS)
    done = threading.Event()
    tally = Tally(message, share * _COLLECTIONS, done.set)
    telemetry, collect = make()
    runtime = ours.runtime_of(config)
    with (
        ours.server(config, runtime, telemetry=telemetry) as server,
        ours.client(config, server, runtime, telemetry=telemetry) as client,
    ):
        server.subscribe(lambda tagged: tally(tagged.data))
        with Stopwatch() as watch:
            for _ in range(_COLLECTIONS):
                for _ in range(share):
                    client.on_next(message)
                collect()
            assert done.wait(ours.LIMIT)
    tally.check()
    return watch.rate(share * _COLLECTIONS)


BENCHMARKS = (
    Benchmark(
        name="telemetry",
        title=f"client to server, 64 B text; metrics collected {_COLLECTIONS} times",
        contenders=(
            Contender("telemetry off", partial(_upstream, _off)),
            Contender("telemetry on", partial(_upstream, _on)),
        ),
        rounds=5,
        group="telemetry",
    ),
)
