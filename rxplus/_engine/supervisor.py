"""A client's connection: connect, run a session, back off, connect again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from opentelemetry.trace import SpanKind, Status, StatusCode

from rxplus._core.lifecycle import ConnectionState, ConnectionStatus, Lifecycle
from rxplus._core.losses import LossReason
from rxplus._core.protocol.names import NAME, speaks
from rxplus._core.retry import Attempts, heals, is_failure, tolerates
from rxplus._core.routing import route_of
from rxplus._engine.client_session import Continuity
from rxplus._engine.hub import Hub
from rxplus._engine.mailbox import Mailbox
from rxplus._engine.session import Session
from rxplus._engine.signal import Signal
from rxplus._engine.stream import StateStream
from rxplus.config import Buffer, Retry
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ConnectionClosedError, DeliveryUnsupportedError, RxException
from rxplus.transport import ClientEndpoint, CloseInfo, Connection, Payload, Transport

__all__ = ["Supervisor"]


class _Outcome(NamedTuple):
    """How an attempt, or the connection it led to, ended."""

    error: Exception
    worth_retrying: bool


class _Outbox(Protocol):
    """What waits to be sent, in memory or in a store."""

    def put(self, payload: Payload, size: int, /) -> None: ...

    def seal(self) -> None: ...

    @property
    def waiting(self) -> int: ...

    @property
    def bytes(self) -> int: ...


class Supervisor:
    """Keeps one client connected.

    Made in any thread; everything but the mailbox and ``settled`` is then used
    on the loop thread only.

    Args:
        hub: of the client.
        transport: opens connections.
        endpoint: asked afresh for each attempt where to connect to.
        path: for reports, until the first endpoint tells.
        datatype: what messages are packaged with.
        retry: when to connect again.
        buffer: limits of what waits to be sent.
        delivery: what is promised about messages.
    """

    def __init__(
        self,
        hub: Hub[Any],
        transport: Transport,
        endpoint: Callable[[], Awaitable[ClientEndpoint]],
        *,
        path: str,
        datatype: WSDatatype,
        retry: Retry,
        buffer: Buffer,
        delivery: Delivery,
    ) -> None:
        self._hub = hub
        self._audience = hub
        self._transport = transport
        self._endpoint = endpoint
        self.path = path
        self._where = path
        self._datatype = datatype
        self._retry = retry
        self._delivery = delivery
        self._attempts = Attempts(retry, hub.runtime.random)
        self._lifecycle = Lifecycle()
        self.state: StateStream[ConnectionStatus] = StateStream(
            hub.runtime.lock(), hub, self._lifecycle.status
        )
        self.settled = hub.runtime.event()
        """Set while connected, and for good once closed: for threads that wait."""
        self.mailbox: Mailbox[Payload] = Mailbox(
            hub.runtime,
            hub.answers,
            buffer,
            name=hub.name,
            payload=lambda payload: payload,
            on_ready=self._on_mail,
            on_lost=self._report_losses,
            on_overrun=self._on_overrun,
        )
        self.continuity: Continuity | None = None
        """What makes connections one session, if that was asked for."""
        if delivery.acknowledges:
            self.continuity = Continuity(hub, delivery, self.mailbox, path, self._on_mail)
        stored = self.continuity.stored if self.continuity is not None else None
        self._outbox: _Outbox = self.mailbox if stored is None else stored
        self.put = self._outbox.put
        """Takes a message to send. Any thread."""
        self._session: Session | None = None
        self._opened_at = 0.0
        self._trusted = False
        self._away: float | None = None  # when a server that said goodbye wants us back
        self._ended: asyncio.Future[tuple[CloseInfo, Exception | None]] | None = None
        self._changed = Signal()  # a session began, or none will any more
        self._task: asyncio.Task[None] | None = None
        hub.seal = self._outbox.seal
        hub.on_room = self.resume_reading

    def latency(self) -> float | None:
        """The round-trip time that the present connection last measured. Any thread."""
        session = self._session
        return None if session is None else session.connection.latency

    def queued_messages(self) -> int:
        """How many messages wait to be sent; with a store, or to be acknowledged. Any thread."""
        return self._outbox.waiting

    def queued_bytes(self) -> int:
        """The size of those messages that are in memory. Any thread."""
        return self._outbox.bytes

    def serve(self, audience: Hub[Any]) -> None:
        """Say whose subscribers are to be done with a message before it is acknowledged."""
        self._audience = audience

    def guarded(self, give: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what gives values to the audience, for as long as they are its to deal with."""
        return give if self.continuity is None else self.continuity.guarded(give)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now. Any thread."""
        return self._lifecycle.status.state is ConnectionState.CONNECTED

    # ── engine ────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to connect."""
        self._task = self._hub.lease.loop.create_task(self._run(), name=f"{self._hub.name} run")

    async def shutdown(self, timeout: float) -> None:
        loop = self._hub.lease.loop
        deadline = loop.time() + timeout
        with suppress(TimeoutError):  # What is left is reported below.
            async with asyncio.timeout_at(deadline):
                await self._flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._session is not None:
            code = 1000 if self.continuity is None else self.continuity.goodbye
            await self._session.close(code, "", max(0.0, deadline - loop.time()))
        self._report_losses()
        if self.continuity is not None:
            self.continuity.close()
        self._discard(LossReason.CLOSED)
        self._go(ConnectionState.CLOSED)
        self._hub.deliver(self.state.finish, None)

    @property
    def _idle(self) -> bool:
        return self.continuity.idle if self.continuity is not None else not len(self.mailbox)

    async def _flush(self) -> None:
        """Wait until every message is sent, or none can be sent any more."""
        while not self._idle and self._task is not None and not self._task.done():
            if self._session is not None:
                await self._session.drained()
            else:  # What does not buffer has nothing left as soon as there is no session.
                await self._changed.wait()

    # ── mailbox and subscribers ───────────────────────────────────────────────────────────

    def _on_mail(self) -> None:
        if self._session is not None:
            self._session.pump()
        elif not self._delivery.buffers:
            self._discard(LossReason.DISCONNECTED)

    def _on_overrun(self) -> None:
        if self._session is not None:
            self._session.connection.abort()

    def pause_reading(self) -> None:
        """Read nothing until subscribers have caught up."""
        if self._session is not None:
            self._session.connection.pause_reading()

    def resume_reading(self) -> None:
        """Read on, now that subscribers have caught up."""
        if self._session is not None:
            self._session.connection.resume_reading()

    def _report_losses(self) -> None:
        losses = self.mailbox.take_losses()
        if losses:
            self._hub.lost(self.path, losses)

    def _discard(self, reason: LossReason) -> None:
        count = len(self.mailbox.clear())
        if count:
            self._hub.lost(self.path, {reason: count})

    # ── the loop of attempts ──────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        try:
            outcome = await self._stay_connected()
        except Exception as exc:  # noqa: BLE001 - a defect must end the client, not leave it hanging
            self._give_up(exc, "internal error")
        else:
            why = "gave up" if outcome.worth_retrying else "trying again would not help"
            self._give_up(outcome.error, why)

    def _give_up(self, error: Exception, why: str) -> None:
        self._hub.begin_close(0.0, RxException(error, self._hub.name, why))
        self._changed.send()

    async def _stay_connected(self) -> _Outcome:
        """Connect again and again; return when that is over."""
        while True:
            outcome = await self._attempt()
            if not outcome.worth_retrying or self._attempts.exhausted:
                return outcome
            away, self._away = self._away, None
            await asyncio.sleep(self._attempts.delay() if away is None else away)
            self._hub.stats.reconnects += 1
            self._go(ConnectionState.RECONNECTING)

    async def _attempt(self) -> _Outcome:
        """Connect, and stay connected for as long as it goes."""
        try:
            connection = await self._connect()
        except Exception as exc:  # noqa: BLE001 - finding the endpoint may run the user's code
            return self._failed(exc)
        if self._refuses(connection):
            connection.abort()
            return self._unsupported(connection)
        self._ended = self._hub.lease.loop.create_future()
        self._open(connection)
        return self._outcome(*await self._ended)

    async def _connect(self) -> Connection:
        span = self._hub.probe.span(
            "rxplus.connect", kind=SpanKind.CLIENT, attempt=self._attempts.number
        )
        try:
            endpoint = await self._endpoint()
            self.path = route_of(endpoint.target)
            self._where = f"{endpoint.host}:{endpoint.port}{self.path}"
            span.set_attribute("server.address", endpoint.host)
            span.set_attribute("server.port", endpoint.port)
            span.set_attribute("url.path", self.path)
            self._trusted = endpoint.verified
            return await self._transport.connect(endpoint)
        except BaseException as exc:
            span.set_status(Status(StatusCode.ERROR, str(exc)))
            raise
        finally:
            span.end()

    def _refuses(self, connection: Connection) -> bool:
        """Tell whether a server cannot do what was asked for, and nothing less will do."""
        able = self.continuity is None or speaks(connection.subprotocol)
        return not able and self._delivery.fallback != "at_most_once"

    def _unsupported(self, connection: Connection) -> _Outcome:
        error = DeliveryUnsupportedError(
            f"the server at {connection.remote_address} does not speak {NAME}, which delivery "
            f"{self._delivery.level} needs; give it a delivery as well, or say "
            "fallback='at_most_once'"
        )
        self._go(ConnectionState.DISCONNECTED, reason=str(error))
        return _Outcome(error, worth_retrying=False)

    def _open(self, connection: Connection) -> None:
        self._opened_at = self._hub.runtime.now()
        if self.continuity is not None and speaks(connection.subprotocol):
            self._session = self.continuity.session(
                connection,
                self._datatype,
                self.path,
                audience=self._audience,
                on_open=self._on_open,
                on_away=self._on_away,
                on_end=self._on_end,
            )
        else:
            self._session = self._plain_session(connection)
            self._on_open(None)
        self._session.start(trusted=self._trusted)
        self._changed.send()

    def _plain_session(self, connection: Connection) -> Session:
        if self.continuity is not None:
            self.continuity.give_up(LossReason.SESSION_LOST)
        return Session(
            connection,
            self._datatype,
            self.mailbox,
            self._hub,
            outlet=self._hub.messages,
            audience=self._audience,
            on_end=self._on_end,
        )

    def _on_open(self, resumed: bool | None) -> None:
        self._go(ConnectionState.CONNECTED, resumed=resumed)

    def _on_away(self, after: float) -> None:
        self._away = after

    def _on_end(self, info: CloseInfo) -> None:
        self._session = None
        assert self._ended is not None
        if self._ended.cancelled():
            return  # shutdown() has taken over.
        verdict = None if self.continuity is None else self.continuity.disconnect(info)
        self._ended.set_result((info, verdict))
        reason = info.reason or (str(info.error) if info.error else "")
        self._go(ConnectionState.DISCONNECTED, code=info.code, reason=reason)
        self._attempts.ended(self._hub.runtime.now() - self._opened_at)
        if not self._delivery.buffers:
            self._discard(LossReason.DISCONNECTED)

    def _failed(self, error: Exception) -> _Outcome:
        self._hub.stats.handshake_failures += 1
        self._go(ConnectionState.DISCONNECTED, reason=str(error))
        self._attempts.failed()
        self._hub.report(error, f"cannot connect to {self._where}", path=self.path)
        return _Outcome(error, heals(error, self._retry))

    def _outcome(self, info: CloseInfo, verdict: Exception | None) -> _Outcome:
        if verdict is not None:
            return _Outcome(verdict, worth_retrying=False)
        error = ConnectionClosedError(info.code, info.reason)
        error.__cause__ = info.error
        if is_failure(info):
            self._hub.report(error, f"connection on {self.path} ended", path=self.path)
        return _Outcome(error, tolerates(info, self._retry))

    def _go(
        self,
        state: ConnectionState,
        *,
        code: int | None = None,
        reason: str = "",
        resumed: bool | None = None,
    ) -> None:
        status = self._lifecycle.to(
            state, attempt=self._attempts.number, code=code, reason=reason, resumed=resumed
        )
        self._hub.probe.info(
            "connection_state",
            f"{self._hub.name} {status}",
            path=self.path,
            state=state.value,
            attempt=status.attempt,
            code=code,
            reason=reason or None,
            resumed=resumed,
        )
        if state in (ConnectionState.CONNECTED, ConnectionState.CLOSED):
            self.settled.set()
        else:
            self.settled.clear()
        self._hub.deliver(self.state.emit, status)
