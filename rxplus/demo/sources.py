"""The clients' side of the demo: readings of this machine as streams, sent as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import reactivex
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable

from rxplus import (
    ConnectError,
    ConnectionStatus,
    Loss,
    Retry,
    RxException,
    RxWSClient,
    RxWSClientGroup,
    tag,
)
from rxplus.demo.ledger import Ledger
from rxplus.demo.paths import CPU, DASHBOARD, FEED, GROUP, MEMORY, NETWORK
from rxplus.demo.readings import Machine, busy_percent
from rxplus.demo.reporter import Reporter
from rxplus.demo.seams import Seams, on_loop

__all__ = ["Sources", "readings"]

PERIOD = 0.1
"""Seconds between two readings."""


class Sources:
    """A client and a group that send readings and keep them while there is no server.

    Args:
        seams: see :class:`Seams`.
        ledger: where to enter what is sent and received.
        reporter: where to print.
        port: of the server.
        retry: when to connect again.
    """

    def __init__(
        self, seams: Seams, ledger: Ledger, reporter: Reporter, port: int, retry: Retry
    ) -> None:
        self._seams = seams
        self._ledger = ledger
        self._reporter = reporter
        self._lease = seams.clients.acquire()
        self._sending = CompositeDisposable()
        address = {"host": "127.0.0.1", "port": port}
        options: dict[str, Any] = {
            "buffer_while_disconnected": True,
            "retry": retry,
            "runtime": seams.clients,
            "transport": seams.transport,
        }
        self._client = RxWSClient({**address, "path": DASHBOARD}, "json", name="client", **options)
        self._group = RxWSClientGroup(address, "json", name="group", **options)
        self._listen()
        for path in GROUP:
            self._group.open_path(path)

    def wait_connected(self, timeout: float) -> bool:
        """Wait until every path has a connection."""
        return self._client.wait_connected(timeout) and self._group.wait_connected(timeout)

    def start(self) -> None:
        """Begin to send."""
        scheduler = self._seams.scheduler(self._lease.loop)
        ticks = reactivex.interval(PERIOD, scheduler=scheduler).pipe(ops.share())
        streams = readings(self._seams.machine, ticks, self._seams.clients.now)
        from_group = reactivex.merge(
            *(streams[path].pipe(self._numbered(path), tag(path)) for path in GROUP)
        )
        from_client = streams[DASHBOARD].pipe(self._numbered(DASHBOARD))
        self._sending = CompositeDisposable(
            self._feed(from_group, self._group), self._feed(from_client, self._client)
        )

    def stop(self) -> None:
        """Send no more; returns when nothing more will be handed to ``on_next``."""
        on_loop(self._seams.clients, self._lease, self._sending.dispose)

    @property
    def waiting(self) -> int:
        """How many messages wait to be sent."""
        parts = (self._client, self._group)
        return sum(one.health().queued_messages for one in parts)

    def release(self) -> None:
        """Let go of everything."""
        self.stop()
        self._client.close()
        self._group.close()
        self._lease.release()
        self._lease.join()

    def _listen(self) -> None:
        self._client.connection_state.subscribe(lambda state: self._state(DASHBOARD, state))
        self._group.connection_state.subscribe(lambda tagged: self._state(*tagged))
        self._client.subscribe(self._show, on_error=self._report)
        self._group.subscribe(on_error=self._report)
        for one in (self._client, self._group):
            one.errors.subscribe(self._report)
            one.losses.subscribe(self._report)

    def _numbered(self, path: str) -> Callable[[Observable[float]], Observable[dict[str, Any]]]:
        return ops.map(lambda value: {"n": self._ledger.number(path), "value": round(value, 3)})

    def _feed(self, stream: Observable[Any], to: abc.ObserverBase[Any]) -> abc.DisposableBase:
        # Not `subscribe(to)`: a reading that fails is no reason to close the connection.
        return stream.subscribe(to.on_next, on_error=self._report)

    def _state(self, path: str, status: ConnectionStatus) -> None:
        self._reporter.state(path, status)

    def _show(self, frame: Mapping[str, Any]) -> None:
        self._ledger.receive(FEED, frame["n"])
        self._reporter.dashboard(frame["values"])

    def _report(self, what: Exception | Loss) -> None:
        error = what.exception if isinstance(what, RxException) else what
        # That a connection failed is told as a change of state already.
        if not isinstance(error, ConnectError):
            self._reporter.line("clients", f"report: {error}")


class _Sample(NamedTuple):
    at: float
    bytes: float


def readings(
    machine: Machine, ticks: Observable[Any], now: Callable[[], float]
) -> dict[str, Observable[float]]:
    """Make a stream of readings for each path, one reading a tick.

    Args:
        machine: what to read.
        ticks: when.
        now: tells the time in seconds.
    """
    return {
        CPU: ticks.pipe(
            ops.map(lambda _: machine.cpu()),
            ops.pairwise(),
            ops.starmap(busy_percent),
        ),
        MEMORY: ticks.pipe(ops.map(lambda _: machine.memory())),
        NETWORK: ticks.pipe(
            ops.map(lambda _: _Sample(now(), machine.network())),
            ops.pairwise(),
            ops.starmap(_per_second),
        ),
        DASHBOARD: ticks.pipe(ops.map(lambda _: machine.load())),
    }


def _per_second(before: _Sample, after: _Sample) -> float:
    passed = after.at - before.at
    # An interface that goes away takes its counters with it.
    return max(0.0, after.bytes - before.bytes) / passed if passed > 0 else 0.0
