"""All that the demo prints, through one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TextIO

from rxplus import ConnectionStatus, Runtime
from rxplus.demo.ledger import Account

__all__ = ["Reporter"]

_LONGEST_REASON = 65


class Reporter:
    """Writes lines, whole ones, from any thread.

    Args:
        runtime: gives the lock, and the time that each line begins with.
        stream: where to; ``None`` is the standard output.
        on_gone: called when nobody reads any more, as after ``| head``.
    """

    def __init__(
        self, runtime: Runtime, stream: TextIO | None, on_gone: Callable[[], None]
    ) -> None:
        self._now = runtime.now
        self._started = runtime.now()
        self._lock = runtime.lock()
        self._stream = stream
        self._on_gone = on_gone
        self.gone = False

    def line(self, who: str, text: str) -> None:
        """Write one line: when, who, what."""
        self._write(f"{self._now() - self._started:7.2f}s  {who:<11} {text}")

    def state(self, path: str, status: ConnectionStatus) -> None:
        """Write that the state of a connection has changed."""
        parts = [f"{status:<12} attempt {status.attempt}"]
        if status.code is not None:
            parts.append(f"code {status.code}")
        if status.reason:
            parts.append(_shortened(status.reason))
        self.line(path, "  ".join(parts))

    def dashboard(self, frame: Mapping[str, float]) -> None:
        """Write what the server made of the last readings."""
        shown = [
            f"cpu {frame.get('/cpu', 0.0):5.1f} %",
            f"memory {frame.get('/memory', 0.0):5.1f} %",
            f"network {frame.get('/network', 0.0) / 1000:8.1f} kB/s",
            f"load {frame.get('/dashboard', 0.0):5.2f}",
        ]
        self.line("dashboard", "   ".join(shown))

    def summary(self, accounts: Mapping[str, Account], total: Account) -> None:
        """Write the table of what was sent and what arrived."""
        heads = ("sent", "received", "lost", "repeated", "late")
        width = max(map(len, accounts)) + 2
        self._write("")
        self._write("messages".ljust(width) + "".join(f"{head:>10}" for head in heads))
        for name, one in (*accounts.items(), ("total", total)):
            counts = (one.sent, one.received, one.lost, one.repeated, one.late)
            self._write(name.ljust(width) + "".join(f"{count:>10}" for count in counts))
        self._write("")

    def verdict(self, text: str) -> None:
        """Write the last line."""
        self._write(text)

    def _write(self, text: str) -> None:
        with self._lock:
            if self.gone:
                return
            try:
                # One write, so that what others print cannot come between text and newline.
                print(f"{text}\n", end="", file=self._stream, flush=True)
            except BrokenPipeError:
                self.gone = True
        if self.gone:
            self._on_gone()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."
