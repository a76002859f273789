"""``rxplus demo``: live readings over real WebSockets, and a server that restarts midway."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rxplus import Retry
from rxplus.demo.ledger import Ledger
from rxplus.demo.paths import FEED, UPWARD
from rxplus.demo.reporter import Reporter
from rxplus.demo.seams import Seams
from rxplus.demo.sources import Sources
from rxplus.demo.station import Station

__all__ = ["LEAST_SECONDS", "Demo", "Seams", "run"]

LEAST_SECONDS = 2.0
"""Shorter, there would be no time to restart and to see it."""

_BEFORE_RESTART = 0.4
"""The share of the whole time at which the server goes down."""

_DOWN = 0.15
"""The share for which it stays down."""

_RETRY = 0.6
"""The delay before connecting again, as a share of the time it stays down."""

_LOOKS = 3
"""How often, while it is down, the number of waiting messages is shown."""

_PATIENCE = 5.0
"""Seconds within which what is under way must arrive; what has not by then is called lost."""


def run(*, seconds: float = 10.0, follow: bool = False, seams: Seams | None = None) -> int:
    """Run the demo. Ctrl-C ends it early, with the summary.

    Args:
        seconds: how long to send readings, at least :data:`LEAST_SECONDS`.
        follow: whether to go on until Ctrl-C.
        seams: what it stands on; ``None`` is the real world.

    Returns:
        An exit code: 0 when every message arrived once and in order, else 1.
    """
    with Demo(seams or Seams(), seconds=seconds) as demo:
        try:
            demo.play(follow=follow)
        except KeyboardInterrupt:
            demo.note("Ctrl-C: no more readings")
        return 0 if demo.finish() else 1


class Demo:
    """One run: a server, a client and a group, and the accounts of what they send.

    Args:
        seams: see :class:`Seams`.
        seconds: how long to send readings.
    """

    def __init__(self, seams: Seams, *, seconds: float) -> None:
        if seconds < LEAST_SECONDS:
            raise ValueError(f"seconds must be at least {LEAST_SECONDS:g}, got {seconds!r}")
        self._seams = seams
        self._seconds = seconds
        self._stop = seams.clients.event()
        self._reporter = Reporter(seams.clients, seams.stream, on_gone=self._stop.set)
        self.ledger = Ledger(seams.clients, (*UPWARD, FEED))
        self.station = Station(seams, self.ledger, self._reporter)
        self._sources: Sources | None = None
        self._restarts = 0

    def play(self, *, follow: bool = False) -> None:
        """Send readings, restart the server midway, and go on till the end."""
        sources = self._begin()
        self._let_pass(self._seconds * _BEFORE_RESTART)
        if self._stop.is_set():
            return  # nobody is left to see the rest
        down = self._seconds * _DOWN
        self._restart(sources, down)
        if follow:
            self.note("going on until Ctrl-C")
            self._stop.wait()
        else:
            self._let_pass(self._seconds * (1 - _BEFORE_RESTART) - down)

    def finish(self) -> bool:
        """Send no more, wait for what is under way, and print the summary.

        Returns:
            Whether every message arrived, once and in order.
        """
        if self._sources is None:
            self.note("nothing was sent")
            return True
        self._sources.stop()
        if not self.station.is_open:
            self.station.open()
        self.ledger.caught_up(*UPWARD).wait(_PATIENCE)
        self.station.stop_feed()
        self.ledger.caught_up(FEED).wait(_PATIENCE)
        self.close()
        return self._summarise()

    def note(self, text: str) -> None:
        """Print a line about the demo itself."""
        self._reporter.line("demo", text)

    def close(self) -> None:
        """Let go of everything: who sends first, then who receives. Twice is harmless."""
        if self._sources is not None:
            self._sources.release()
        self.station.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> Sources:
        self.station.open()
        self.note(f"server listens on ws://127.0.0.1:{self.station.port}")
        self.note(f"readings: {self._seams.machine.about}")
        down = self._seconds * _DOWN
        # So that somebody who watches sees it fail once or twice, and then succeed soon.
        # Not longer than they are waited for at the end.
        delay = min(_RETRY * down, _PATIENCE / 2)
        retry = Retry(initial=delay, maximum=delay, stable_after=down)
        sources = self._sources = Sources(
            self._seams, self.ledger, self._reporter, self.station.port, retry
        )
        if not sources.wait_connected(_PATIENCE):
            self.note("not all paths are connected yet; readings wait for them")
        sources.start()
        return sources

    def _restart(self, sources: Sources, down: float) -> None:
        self.note("the server restarts: it closes ...")
        self.station.close()
        self._restarts += 1
        for _ in range(_LOOKS):
            self._let_pass(down / _LOOKS)
            self.note(f"... while readings go on: {sources.waiting} messages wait")
        self.station.open()
        self.note(f"the server is back on port {self.station.port}")
        if self.ledger.caught_up(*UPWARD).wait(_PATIENCE):
            self.note("every message that waited has arrived")

    def _let_pass(self, seconds: float) -> None:
        # Not a sleep: Ctrl-C interrupts it, and a closed output ends it.
        self._stop.wait(seconds)

    def _summarise(self) -> bool:
        total = self.ledger.total
        self._reporter.summary(self.ledger.accounts, total)
        if self.ledger.perfect:
            through = f", through {self._restarts} restart of the server" if self._restarts else ""
            self._reporter.verdict(
                f"All {total.sent} messages arrived, once and in order{through}: 0 lost."
            )
            return True
        self._reporter.verdict(
            f"NOT as it should be: of {total.sent} messages {total.lost} are lost, "
            f"{total.repeated} came again and {total.late} late."
        )
        return False
