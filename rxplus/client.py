"""RxWSClient: one WebSocket connection, kept up, as a Subject."""

from __future__ import annotations

import base64
import inspect
import ssl
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Unpack

from reactivex import Observable, abc

from rxplus._core.lifecycle import ConnectionStatus
from rxplus._core.routing import route_of
from rxplus._core.sizes import payload_size
from rxplus._engine.hub import Hub
from rxplus._engine.supervisor import Supervisor
from rxplus._engine.thread_runtime import ThreadRuntime
from rxplus.component import Component
from rxplus.config import TLS, ConnCfgLike, ConnConfig, Handshake
from rxplus.datatypes import DatatypeLike, wsdt_factory
from rxplus.errors import InvalidEndpointError, WouldDeadlockError
from rxplus.handshake import Headers
from rxplus.options import ClientKwargs, ClientOptions
from rxplus.runtime import Runtime
from rxplus.transport import ClientEndpoint
from rxplus.transports.named import transport_of

__all__ = ["RxWSClient"]

_numbers = count(1)


class RxWSClient(Component[Any]):
    """A WebSocket client: ``subscribe`` to receive, ``on_next`` to send.

    It connects in the background, at once and again whenever the connection is
    lost, and can be used from the moment it is made. The stream ends when the
    client is closed, or with ``on_error`` when connecting cannot succeed.

    Args:
        conn_cfg: ``{"host": ..., "port": ..., "path": "/chat?room=1"}`` or a
            :class:`ConnConfig`; or a function that returns one, asked afresh for
            each attempt, on the loop thread.
        datatype: ``"string"``, ``"bytes"``, ``"object"``, ``"json"``, or a :class:`WSDatatype`.
        conn_retry_timeout: seconds before the first retry; see :class:`Retry`.
        ping_interval: seconds between keepalive pings; ``None``: none.
        ping_timeout: seconds within which a ping must be answered; ``None``: no limit.
        name: in logs and errors; made up when ``None``.
        buffer_while_disconnected: whether messages wait for a connection rather
            than being lost while there is none.
        scheduler: where subscribers run; ``None`` is the loop thread.
        runtime: where the client runs; ``None`` gives it a thread of its own.
        **options: ``delivery`` (:class:`Delivery`), ``retry`` (:class:`Retry`),
            ``buffer`` (:class:`Buffer`),
            ``limits`` (:class:`Limits`), ``timeouts`` (:class:`Timeouts`),
            ``handshake`` (:class:`Handshake`), ``subprotocols`` (names, best first),
            ``tls`` (``True``, an :class:`ssl.SSLContext` or :class:`TLS`),
            ``compression`` (``"deflate"``), ``telemetry`` (:class:`Telemetry`),
            ``transport`` (``"picows"`` or a :class:`Transport`).

    Raises:
        ValueError: an argument has a value that cannot be right.
        TypeError: an argument is of the wrong type.
        ImportError: the transport that was named is not installed.
    """

    def __init__(
        self,
        conn_cfg: ConnCfgLike | Callable[[], ConnCfgLike],
        datatype: DatatypeLike = "string",
        conn_retry_timeout: float = 0.5,
        ping_interval: float | None = 30.0,
        ping_timeout: float | None = 30.0,
        name: str | None = None,
        buffer_while_disconnected: bool = False,
        *,
        scheduler: abc.SchedulerBase | None = None,
        runtime: Runtime | None = None,
        **options: Unpack[ClientKwargs],
    ) -> None:
        given = ClientOptions.of(
            conn_retry_timeout=conn_retry_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            buffer_while_disconnected=buffer_while_disconnected,
            **options,
        )
        transport = transport_of(given.transport)
        path = "/"
        if not callable(conn_cfg):
            conn_cfg = ConnConfig.of(conn_cfg, path=True)
            path = route_of(conn_cfg.path)
        self._datatype = wsdt_factory(datatype)
        name = name or f"RxWSClient-{next(_numbers)}"
        hub: Hub[Any] = Hub(
            "client",
            name,
            runtime=runtime or ThreadRuntime(name),
            timeouts=given.timeouts,
            limits=given.limits,
            scheduler=scheduler,
            telemetry=given.telemetry,
            redeliver=given.delivery.redeliver,
        )
        super().__init__(hub)
        try:
            self._supervisor = Supervisor(
                hub,
                transport,
                _endpoint_source(conn_cfg, given),
                path=path,
                datatype=self._datatype,
                retry=given.retry_policy,
                buffer=given.buffer,
                delivery=given.promised,
            )
        except BaseException:  # its store cannot be read
            self._close(0.0, None)
            raise
        self._put = self._supervisor.put
        self._encode = self._datatype.encode
        hub.stats.queue = self._supervisor.queued_messages
        hub.stats.ping = self._supervisor.latency
        hub.run(self._supervisor)
        self._begin()

    def _begin(self) -> None:
        self._hub.lease.call_soon(self._supervisor.start)

    def on_next(self, value: Any) -> None:
        """Send a value. Any thread.

        Without a connection it waits, or is reported on ``losses``: see
        ``buffer_while_disconnected``.

        Raises:
            TypeError: the datatype cannot send it.
            ValueError: neither can it send its contents.
            BufferFullError: too much waits to be sent: see :class:`Overflow`.
            StoreError: it cannot be kept, with durable delivery.
            ComponentClosedError: the client is closed.
        """
        payload = self._encode(value)
        self._put(payload, payload_size(payload))

    @property
    def connection_state(self) -> Observable[ConnectionStatus]:
        """The present state first, then each change, once and in order."""
        return self._supervisor.state

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._supervisor.connected

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait for a connection.

        Args:
            timeout: seconds; ``None`` waits for ever.

        Returns:
            Whether there is one. False also, at once, when the client is closed.

        Raises:
            WouldDeadlockError: called on the loop thread without a connection.
        """
        if not self.connected and self._hub.lease.in_loop():
            raise WouldDeadlockError(f"{self.name}: the loop thread cannot wait for a connection")
        self._supervisor.settled.wait(timeout)
        return self.connected

    def _state(self) -> str:
        state = super()._state()
        return str(self._supervisor.state.value) if state == "open" else state

    def _is_healthy(self) -> bool:
        return self.connected

    def _queued_bytes(self) -> int:
        return self._supervisor.queued_bytes()

    def _paths(self) -> dict[str, int]:
        return {self._supervisor.path: self._hub.stats.connections}


def _endpoint_source(
    conn_cfg: ConnConfig | Callable[[], ConnCfgLike], options: ClientOptions
) -> Callable[[], Awaitable[ClientEndpoint]]:
    """Make the function that finds out, for each attempt, where to connect and how."""
    tls = options.tls
    assert tls is None or isinstance(tls, TLS)
    context: ssl.SSLContext | None = tls.context if tls else None
    handshake = options.handshake

    async def endpoint() -> ClientEndpoint:
        given: Any = await _fresh(conn_cfg)
        try:
            config = ConnConfig.of(given, path=True)
        except (TypeError, ValueError) as exc:
            raise InvalidEndpointError(f"conn_cfg function returned {given!r}: {exc}") from exc
        return ClientEndpoint(
            host=config.host,
            port=config.port,
            target=config.path,
            tls=context,
            server_hostname=tls.server_hostname if tls else None,
            headers=await _headers(handshake),
            origin=handshake.origin,
            subprotocols=options.offered,
            options=options.wire,
        )

    return endpoint


async def _headers(handshake: Handshake) -> Headers:
    headers = Headers(await _fresh(handshake.headers)).raw_items()
    authorization = None
    if handshake.basic_auth is not None:
        credentials = ":".join(handshake.basic_auth).encode()
        authorization = f"Basic {base64.b64encode(credentials).decode()}"
    elif handshake.token is not None:
        token = await _fresh(handshake.token)
        if not isinstance(token, str):
            raise TypeError(f"Handshake.token returned a {type(token).__name__}, not a str")
        authorization = f"Bearer {token}"
    return Headers([*headers, ("Authorization", authorization)] if authorization else headers)


async def _fresh(value: Any) -> Any:
    """Ask for a value that may be given as a function, or a coroutine function."""
    found = value() if callable(value) else value
    return (await found) if inspect.isawaitable(found) else found
