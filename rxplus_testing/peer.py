"""A scripted far end, without rxplus: it does what the test says, right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from rxplus_testing._line import Breaches, Closed, Line
from rxplus_testing._rxplus import ClientEndpoint, Headers, HeadersLike, Payload
from rxplus_testing.byte import ByteNetwork
from rxplus_testing.memory import MemoryNetwork
from rxplus_testing.sim import Sim

__all__ = ["Peer"]


class Peer:
    """One far end: a client after :meth:`connect`, a server after :meth:`start`.

    It answers pings and closes as long as it reads. Whatever it is told to do is
    under way when the call returns, and arrives as the simulation goes on. As a
    server it speaks to whoever connected last.

    As a context manager it stops at the end.

    Args:
        sim: the simulation.
        url: where to connect to, or to listen: ``"ws://127.0.0.1:9000/chat"``.
        network: one of the simulation's; ``None``: ``sim.net``.
        headers: sent with the request.
    """

    def __init__(
        self,
        sim: Sim,
        url: str,
        *,
        network: MemoryNetwork | ByteNetwork | None = None,
        headers: HeadersLike = (),
    ) -> None:
        self._sim = sim
        self._network: MemoryNetwork | ByteNetwork = sim.net if network is None else network
        self._endpoint = _endpoint(url, Headers(headers))
        self._lines: list[Line] = []
        self._stop_listening: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """The port that it connects to or listens on."""
        return self._endpoint.port

    # Coming and going.

    def connect(self, timeout: float = 60.0) -> Self:
        """Connect, and wait until that is done.

        Raises:
            HandshakeRejectedError: the server answered with another status.
            ConnectError: it did not answer, or left.
            OSError: nobody listens there; on a byte network.
            SimTimeout: it took longer than ``timeout`` virtual seconds.
        """
        line = self._sim.run(self._network.connect_line(self._endpoint), timeout)
        self._lines.append(line)
        return self

    def start(self) -> Self:
        """Listen, and let everybody in.

        Raises:
            OSError: the port is taken.
        """
        self._stop_listening = self._sim.run(
            self._network.listen_for_lines(self.port, self._lines.append)
        )
        return self

    def stop(self) -> None:
        """Vanish: stop listening, and drop every connection. :meth:`start` brings it back."""
        self._stop_listening()
        self._stop_listening = lambda: None
        for line in self._lines:
            if line.closed is None:
                line.abort()
        self._sim.run_until_idle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # What came.

    @property
    def received(self) -> list[Payload]:
        """The messages that came, in order, one connection after the other."""
        return [message for line in self._lines for message in line.received]

    @property
    def connections(self) -> int:
        """How many connections there were."""
        return len(self._lines)

    @property
    def closed(self) -> Closed | None:
        """Code and reason with which the last connection ended; ``None`` while it is open."""
        return self._line.closed

    # What it does.

    def send(self, *messages: Payload) -> None:
        """Send messages."""
        self._line.send(*messages)

    def send_fragments(self, *parts: Payload) -> None:
        """Send one message in several frames; on a memory network, whole."""
        self._line.send_fragments(*parts)

    def send_bad_utf8(self) -> None:
        """Send a text message that is not UTF-8."""
        self._line.breach(Breaches.BAD_UTF8)

    def send_malformed(self) -> None:
        """Send a frame of a kind that does not exist."""
        self._line.breach(Breaches.MALFORMED)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            RuntimeError: the network carries no bytes.
        """
        self._line.raw(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake."""
        self._line.close(code, reason)

    def abort(self) -> None:
        """Drop the connection; the other side finds that it was reset."""
        self._line.abort()

    def stop_reading(self) -> None:
        """Take nothing more from the network, and answer nothing."""
        self._line.stop_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._line.resume_reading()

    @property
    def _line(self) -> Line:
        if not self._lines:
            raise RuntimeError("nobody is connected: call connect(), or start() and wait")
        return self._lines[-1]


def _endpoint(url: str, headers: Headers) -> ClientEndpoint:
    parts = urlsplit(url)
    if parts.scheme != "ws" or not parts.hostname or not parts.port:
        raise ValueError(f"url must be like ws://127.0.0.1:9000/path, got {url!r}")
    query = f"?{parts.query}" if parts.query else ""
    target = f"{parts.path or '/'}{query}"
    return ClientEndpoint(host=parts.hostname, port=parts.port, target=target, headers=headers)
