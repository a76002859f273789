"""The one-call set-up, with the real SDK and its exporters."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from rxplus._core.stats import Stats
from rxplus.otel import OtelSetup, setup


class Collector(ThreadingHTTPServer):
    """An OTLP collector that keeps the bodies it is sent, by path."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Write nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Provide a collector on a free port of this machine."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _report(otel: OtelSetup) -> None:
    """Have a component report one of each."""
    probe = otel.telemetry.probe("client", "c", Stats(errors=7))
    probe.warning("error", "connection lost", path="/p", odd=object(), huge=2**70, raw=b"\xff")
    probe.span("rxplus.connect", path="/p", raw=b"\xff").end()
    probe.close()


def _values(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


def _printed(output: str) -> list[dict[str, Any]]:
    """Split what consists of one JSON object after the other."""
    values: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    while output := output.lstrip():
        value, end = decoder.raw_decode(output)
        values.append(value)
        output = output[end:]
    return values


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs and spans are printed at once, metrics at the latest on shutdown."""
    with setup("console", service_name="robot") as otel:
        _report(otel)
        log, span = _printed(capsys.readouterr().out)
    assert (log["body"], log["event_name"]) == ("connection lost", "rxplus.error")
    assert log["attributes"]["url.path"] == "/p"
    assert log["resource"]["attributes"]["service.name"] == "robot"
    assert (span["name"], span["attributes"]["url.path"]) == ("rxplus.connect", "/p")
    (metrics,) = _printed(capsys.readouterr().out)
    scope = metrics["resource_metrics"][0]["scope_metrics"][0]
    (errors,) = [metric for metric in scope["metrics"] if metric["name"] == "rxplus.errors"]
    assert errors["data"]["data_points"][0]["value"] == 7


def test_otlp(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """Logs, spans and metrics reach an OTLP collector, at the latest on shutdown."""
    with setup("otlp", service_name="robot", endpoint=f"{collector.url}/otlp/") as otel:
        _report(otel)
    received = collector.received
    assert set(received) == {"/otlp/v1/logs", "/otlp/v1/traces", "/otlp/v1/metrics"}

    (logs,) = ExportLogsServiceRequest.FromString(received["/otlp/v1/logs"]).resource_logs
    (record,) = logs.scope_logs[0].log_records
    assert _values(logs.resource.attributes)["service.name"] == "robot"
    assert (record.body.string_value, record.event_name) == ("connection lost", "rxplus.error")
    attributes = _values(record.attributes)
    assert attributes["url.path"] == "/p"
    assert attributes["rxplus.huge"] == str(2**70)
    assert attributes["rxplus.raw"] == "b'\\xff'"

    request = ExportTraceServiceRequest.FromString(received["/otlp/v1/traces"])
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, _values(span.attributes)["url.path"]) == ("rxplus.connect", "/p")

    scope = (
        ExportMetricsServiceRequest.FromString(received["/otlp/v1/metrics"])
        .resource_metrics[0]
        .scope_metrics[0]
    )
    (errors,) = [metric for metric in scope.metrics if metric.name == "rxplus.errors"]
    assert errors.sum.is_monotonic
    assert errors.sum.data_points[0].as_int == 7
    assert caplog.messages == []


def test_otlp_endpoint_from_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no endpoint given, OpenTelemetry's own variable decides."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with setup("otlp") as otel:
        _report(otel)
    assert set(collector.received) == {"/v1/logs", "/v1/traces", "/v1/metrics"}


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [(None, "", "rxplus"), (None, "env", "env"), ("given", "env", "given")],
)
def test_service_name(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    variable: str,
    expected: str,
) -> None:
    """The service name is the one given, else OTEL_SERVICE_NAME, else rxplus."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", variable)
    with setup(service_name=given) as otel:
        otel.telemetry.probe("client", "c", Stats()).info("e", "m")
        (log,) = _printed(capsys.readouterr().out)
    assert log["resource"]["attributes"]["service.name"] == expected


def test_shutdown_twice(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A second shutdown exports nothing, and warns of nothing."""
    caplog.set_level(logging.DEBUG)
    otel = setup("console")
    _report(otel)
    otel.shutdown()
    assert "rxplus.errors" in capsys.readouterr().out
    otel.shutdown()
    assert capsys.readouterr().out == ""
    assert caplog.messages == []


def test_shutdown_survives_a_failing_provider(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One provider that fails to shut down does not keep the others from doing so."""
    failing = _FailingTracers(shutdown_on_exit=False)
    monkeypatch.setattr("rxplus.otel.TracerProvider", lambda **_: failing)
    otel = setup("console")
    probe = otel.telemetry.probe("client", "c", Stats())
    with pytest.raises(OSError, match="disk full"):
        otel.shutdown()
    assert "rxplus.errors" in capsys.readouterr().out
    probe.info("e", "too late")
    assert "too late" not in capsys.readouterr().out


class _FailingTracers(TracerProvider):
    def shutdown(self) -> None:
        raise OSError("disk full")


def test_unknown_exporter() -> None:
    """An exporter that does not exist is named."""
    with pytest.raises(ValueError, match="exporter must be 'console' or 'otlp', got 'jaeger'"):
        setup("jaeger")  # type: ignore[arg-type] # what is tested


def test_endpoint_for_console() -> None:
    """An endpoint that would be ignored is refused."""
    with pytest.raises(ValueError, match="got 'http://x' for 'console'"):
        setup("console", endpoint="http://x")


def test_without_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, importing says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    monkeypatch.delitem(sys.modules, "rxplus.otel")
    with pytest.raises(ImportError, match=r'pip install "rxplus\[otel\]"'):
        importlib.import_module("rxplus.otel")


def test_without_otlp_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the SDK alone, asking for OTLP says what to install."""
    module = "opentelemetry.exporter.otlp.proto.http._log_exporter"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "rxplus\[otel\]"'):
        setup("otlp")


def test_set_global() -> None:
    """As the global providers they also get what was made before, and flush at exit."""
    script = """
        from rxplus._core.stats import Stats
        from rxplus.otel import setup
        from rxplus.telemetry import Telemetry

        early = Telemetry().probe("client", "early", Stats(errors=5))
        otel = setup("console", set_global=True)
        given = otel.telemetry.probe("client", "given", Stats(errors=6))
        early.info("e", "by the global provider")
        early.span("s").end()
    """
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    log, span, metrics = _printed(done.stdout)
    assert (log["body"], span["name"]) == ("by the global provider", "s")
    scope = metrics["resource_metrics"][0]["scope_metrics"][0]
    (errors,) = [metric for metric in scope["metrics"] if metric["name"] == "rxplus.errors"]
    assert [point["value"] for point in errors["data"]["data_points"]] == [5, 6]
