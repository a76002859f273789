"""One connection, both ways. Servers and clients share it."""

from __future__ import annotations

import asyncio
import ipaddress
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from rxplus._core.outbox import Parcel, Source, parcel_message, parcel_size
from rxplus._core.sizes import payload_size, payload_sizes
from rxplus._core.stats import Stats
from rxplus._engine.answers import Answers
from rxplus._engine.hub import Hub
from rxplus._engine.signal import Signal
from rxplus._engine.stream import each
from rxplus.datatypes import WSDatatype, unchanged_types
from rxplus.errors import ConnectionClosedError, DecodeError, UnsafePickleWarning
from rxplus.transport import CloseInfo, Connection, Payload, Receiver

__all__ = ["Outlet", "Session"]

_BATCH = 256 * 1024
"""Most bytes that are handed to a connection at once."""


class Outlet(Protocol):
    """Takes what arrives. A stream is one."""

    def emit(self, value: Any) -> None:
        """Take one value."""

    def emit_all(self, values: Sequence[Any]) -> None:
        """Take values, in order."""


class Session:
    """Pumps one connection: its receiver, and the sender of a source's messages.

    Everything here runs on the loop thread.

    Args:
        connection: the connection, not started.
        datatype: what its messages are packaged with.
        source: what is to be sent.
        hub: of the component.
        outlet: gives values to subscribers; called where they run.
        audience: the component that they subscribe to; a client's group, if it has one.
        on_end: hears once how the connection ended.
    """

    __slots__ = (
        "_audience",
        "_deliver",
        "_hub",
        "_on_end",
        "_outlet",
        "_progress",
        "_scheduled",
        "_stats",
        "_unchanged",
        "_unpackage",
        "_unsafe",
        "connection",
        "end",
        "source",
    )

    def __init__(
        self,
        connection: Connection,
        datatype: WSDatatype,
        source: Source[Payload],
        hub: Hub[Any],
        *,
        outlet: Outlet,
        audience: Hub[Any],
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        self.connection = connection
        self.source = source
        self.end: CloseInfo | None = None
        self._unpackage = datatype.unpackage
        self._unchanged = unchanged_types(datatype)
        self._unsafe = datatype.unsafe_from_strangers
        self._hub = hub
        self._stats: Stats = hub.stats
        self._outlet = outlet
        self._audience = audience
        self._deliver = hub.into(outlet.emit)
        self._on_end = on_end
        self._scheduled = False
        self._progress = Signal()

    def start(self, *, trusted: bool) -> None:
        """Begin to receive and to send.

        Args:
            trusted: whether somebody vouches for the peer.
        """
        self._stats.connections += 1
        self._stats.connections_opened += 1
        if self._unsafe and not trusted and not is_loopback(self.connection):
            self._warn_unsafe()
        self.connection.start(self.receiver)
        self.pump()

    @property
    def receiver(self) -> Receiver:
        """What the connection is to deliver to."""
        # With a scheduler reading may have to be paused after any message.
        return _AtOnce(self, self._hub.answers) if self._audience.direct else self

    # ── in: the connection's Receiver ─────────────────────────────────────────────────────

    def on_message(self, message: Payload) -> None:
        stats = self._stats
        stats.messages_in += 1
        stats.bytes_in += payload_size(message)
        try:
            value = self._unpackage(message)
        except Exception as exc:  # noqa: BLE001 - a datatype may be the user's
            self._undecodable(message, exc)
            return
        self._deliver(value)
        if self._hub.deliver.full:
            self.connection.pause_reading()

    def take_all(self, messages: Sequence[Payload]) -> None:
        """Take messages that arrived together, for subscribers on the loop thread."""
        stats = self._stats
        stats.messages_in += len(messages)
        stats.bytes_in += payload_sizes(messages)
        if self._unchanged.issuperset(map(type, messages)):
            self._outlet.emit_all(messages)
            return
        unpackage, arriving, done = self._unpackage, iter(messages), 0
        steps: list[Callable[[], None]] = []
        while done < len(messages):
            values: list[Any] = []
            steps.append(partial(self._outlet.emit_all, values))
            try:
                for message in arriving:
                    values.append(unpackage(message))  # noqa: PERF401 - kept if one fails
            except Exception as exc:  # noqa: BLE001 - as in on_message()
                steps.append(partial(self._undecodable, messages[done + len(values)], exc))
                done += 1
            done += len(values)
        each(_call, steps)

    def on_writable(self) -> None:
        self.pump()

    def on_closed(self, info: CloseInfo) -> None:
        self.end = info
        self._stats.connections -= 1
        self._progress.send()
        self._on_end(info)

    def _undecodable(self, message: Payload, exc: Exception) -> None:
        kind = "text" if isinstance(message, str) else "binary"
        error = DecodeError(f"{kind} message of {payload_size(message)} bytes: {exc}")
        error.__cause__ = exc
        path = self.connection.request.path
        self._hub.report(error, f"cannot unpackage a message on {path}", path=path)

    # ── out ───────────────────────────────────────────────────────────────────────────────

    @property
    def clear(self) -> bool:
        """Whether a message handed over now would be written at once, after nothing else."""
        return not len(self.source) and self.connection.writable

    def pump(self) -> None:
        """Send what the source has, one batch at a time, as long as it can be written."""
        if self._scheduled or self.end is not None:
            return
        waiting = len(self.source)
        if waiting and self.connection.writable:
            self._send_batch()
            waiting = len(self.source)
            if waiting:
                # In turns with reading, and with other connections.
                self._scheduled = True
                self._hub.lease.loop.call_soon(self._resume)
        if not waiting:
            self._progress.send()

    def _resume(self) -> None:
        self._scheduled = False
        self.pump()

    def _send_batch(self) -> None:
        parcels = self.source.take(_BATCH)
        if not parcels:
            return  # all that waited was too old
        try:
            self.connection.send(self.payloads(parcels))
        except ConnectionClosedError:
            # on_closed() follows, and decides what becomes of them.
            self.source.restore(parcels)
        else:
            self.count_sent(len(parcels), sum(map(parcel_size, parcels)))

    def payloads(self, parcels: list[Parcel[Payload]]) -> list[Payload]:
        """Return messages as they are given to the connection."""
        return list(map(parcel_message, parcels))

    def count_sent(self, messages: int, size: int) -> None:
        """Count what the connection took."""
        self._stats.messages_out += messages
        self._stats.bytes_out += size

    # ── end ───────────────────────────────────────────────────────────────────────────────

    async def close(self, code: int, reason: str, timeout: float) -> None:
        """Send what is queued, do the closing handshake, and abort when time is over.

        Returns when the connection has ended.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.drained()
                await self.connection.close(code, reason)
                # What arrived before the end may wait for subscribers that are behind.
                await self._ended()
        except TimeoutError:
            self.connection.abort()
            await self._ended()

    async def _ended(self) -> None:
        while self.end is None:
            await self._progress.wait()

    async def drained(self) -> None:
        """Wait until everything queued was handed to the connection, or it has ended."""
        while len(self.source) and self.end is None:
            await self._progress.wait()

    def _warn_unsafe(self) -> None:
        peer = self.connection.remote_address
        message = (
            f"{self._hub.name}: unpickling messages of {peer}, which is neither local nor "
            "authenticated, runs whatever code they name; use 'json', WSObject(key=...) or "
            "WSObject(allow=...), or authenticate peers"
        )
        try:
            warnings.warn(UnsafePickleWarning(message), stacklevel=1)
        except UnsafePickleWarning as exc:
            # Under "error" filters: nobody is above us to catch it.
            self._hub.report(exc, "unsafe datatype")


class _AtOnce:
    """Receives for a session whose subscribers run at once, and may answer."""

    __slots__ = ("_answers", "_session")

    def __init__(self, session: Session, answers: Answers) -> None:
        self._session = session
        self._answers = answers

    def on_message(self, message: Payload) -> None:
        self._session.on_message(message)

    def on_messages(self, messages: Sequence[Payload], *, more: bool) -> None:
        if more:
            # What is answered goes out with the answers to that.
            self._session.take_all(messages)
        else:
            self._answers.tell(self._session.take_all, messages)

    def on_writable(self) -> None:
        self._session.on_writable()

    def on_closed(self, info: CloseInfo) -> None:
        self._session.on_closed(info)


def is_loopback(connection: Connection) -> bool:
    """Tell whether the other side is on this machine."""
    address = connection.remote_address
    if address is None:
        return False
    try:
        return ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
    except ValueError:
        return address[0] == "localhost"


def _call(step: Callable[[], None]) -> None:
    step()
