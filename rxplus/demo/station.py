"""The server's side of the demo: it checks what arrives, and sends a dashboard back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxplus import Loss, RxException, RxWSServer, TaggedData
from rxplus.demo.ledger import Ledger
from rxplus.demo.paths import DASHBOARD, FEED
from rxplus.demo.reporter import Reporter
from rxplus.demo.seams import Seams, on_loop

__all__ = ["Station", "averages"]

FRAME_PERIOD = 0.5
"""Seconds that one frame of the dashboard sums up."""


class Station:
    """A server that can be closed and started again on the same port.

    Closing it loses nothing that the clients' ``on_next`` took. That is no luck:
    the server sends its close frame and then reads on, for as long as
    ``Timeouts.close`` allows, until each client's own close frame arrives
    (RFC 6455, section 5.5.1), which comes after everything that this client had
    written. What a client had not written by then stays in its buffer, as
    ``buffer_while_disconnected`` asks, and goes to the next server. A server
    that is killed does none of this: what is under way then is lost, and
    numbers, as the ledger's, are how to notice.

    Args:
        seams: see :class:`Seams`.
        ledger: where to enter what is sent and received.
        reporter: where to print.
    """

    def __init__(self, seams: Seams, ledger: Ledger, reporter: Reporter) -> None:
        self._seams = seams
        self._ledger = ledger
        self._reporter = reporter
        # A scheduler needs a loop also while there is no server on it.
        self._lease = seams.server.acquire()
        self._scheduler = seams.scheduler(self._lease.loop)
        self._server: RxWSServer | None = None
        self._feed: abc.DisposableBase = Disposable()
        self.port = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a server now."""
        return self._server is not None

    def open(self) -> None:
        """Start a server: on a free port the first time, then on the same one.

        Raises:
            RxException: it cannot listen there.
        """
        self.close()
        server = self._server = RxWSServer(
            {"host": "127.0.0.1", "port": self.port},
            "json",
            name="server",
            runtime=self._seams.server,
            transport=self._seams.transport,
        )
        self.port = server.port
        server.errors.subscribe(self._report)
        server.losses.subscribe(self._report)
        server.subscribe(self._enter)
        self._feed = self._frames(server).subscribe(
            lambda values: self._send(server, values), on_error=self._report
        )

    def stop_feed(self) -> None:
        """Send no more frames; returns when none is under way any more."""
        on_loop(self._seams.server, self._lease, self._feed.dispose)

    def close(self) -> None:
        """Close the server, gracefully; :meth:`open` may follow."""
        if self._server is None:
            return
        # Otherwise it would send through a server that takes no more.
        self.stop_feed()
        self._server.close()
        self._server = None

    def release(self) -> None:
        """Let go of everything."""
        self.close()
        self._lease.release()
        self._lease.join()

    def _enter(self, message: TaggedData) -> None:
        self._ledger.receive(message.tag, message.data["n"])

    def _frames(self, server: RxWSServer) -> Observable[dict[str, float]]:
        """Sum up what arrives, for as long as somebody looks at the dashboard."""
        return server.pipe(
            ops.buffer_with_time(FRAME_PERIOD, scheduler=self._scheduler),
            ops.filter(lambda some: bool(some) and _is_watched(server)),
            ops.map(averages),
        )

    def _send(self, server: RxWSServer, values: Mapping[str, float]) -> None:
        frame = {"n": self._ledger.number(FEED), "values": values}
        server.on_next(TaggedData(DASHBOARD, frame))

    def _report(self, what: Exception | Loss) -> None:
        text = str(what.exception) if isinstance(what, RxException) else str(what)
        self._reporter.line("server", f"reports: {text}")


def _is_watched(server: RxWSServer) -> bool:
    return any(peer.path == DASHBOARD for peer in server.peers)


def averages(messages: Sequence[TaggedData]) -> dict[str, float]:
    """Return the mean of the readings of each path."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for path, message in messages:
        values[path].append(message["value"])
    return {path: round(fmean(some), 3) for path, some in values.items()}
