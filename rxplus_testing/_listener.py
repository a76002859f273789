"""The server's half: what answers an opening request in the memory network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rxplus_testing._connection import MemoryConnection
from rxplus_testing._faults import (
    AcceptThenClose,
    ConnectFault,
    Hang,
    Outage,
    RefuseConnection,
    RejectHandshake,
)
from rxplus_testing._link import Terminal
from rxplus_testing._rxplus import (
    CloseInfo,
    Connection,
    ConnectionClosedError,
    OnConnection,
    OnRequest,
    Payload,
    Response,
    ServerEndpoint,
    WireOptions,
)
from rxplus_testing._wire import Accept, Ask, Eof, Item, Reject, to_messages

__all__ = ["Doorman", "Host", "MemoryListener"]

logger = logging.getLogger("rxplus_testing")


class Host(Protocol):
    """Who answers on a port."""

    endpoint: ServerEndpoint

    def shake_hands(self, doorman: Doorman, ask: Ask) -> None:
        """Begin to answer ``ask``."""


class MemoryListener:
    """A :class:`rxplus.Listener` on a port of the memory network."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: ServerEndpoint,
        port: int,
        on_request: OnRequest,
        on_close: Callable[[MemoryListener], None],
    ) -> None:
        self.endpoint = endpoint
        self._loop = loop
        self._port = port
        self._on_request = on_request
        self._on_close = on_close
        # A dict keeps the order, a set would not.
        self._handshakes: dict[asyncio.Task[None], None] = {}

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return self._port

    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        """Send the same messages to many connections; those not open are passed over."""
        frames = to_messages(messages)
        for connection in connections:
            if not isinstance(connection, MemoryConnection):
                raise TypeError(f"not a connection of this listener: {connection!r}")
            try:
                connection.write(frames)
            except ConnectionClosedError:
                continue

    async def close(self) -> None:
        """Stop listening, and drop handshakes under way."""
        self._on_close(self)
        current = asyncio.current_task()
        others = [task for task in self._handshakes if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def shake_hands(self, doorman: Doorman, ask: Ask) -> None:
        """Begin to answer ``ask``."""
        task = self._loop.create_task(
            self._answer(doorman, ask), name=f"handshake c{doorman.terminal.link.number}"
        )
        self._handshakes[task] = None
        task.add_done_callback(self._handshakes.pop)

    async def _answer(self, doorman: Doorman, ask: Ask) -> None:
        try:
            decision = await self._decide(ask)
        except BaseException as error:
            doorman.hang_up(ConnectionResetError("the server dropped the handshake"))
            if not isinstance(error, TimeoutError):
                raise
            return
        if isinstance(decision, Response):
            doorman.reject(decision.status, decision.body)
            return
        connection = doorman.accept(ask, self.endpoint)
        if connection is not None:
            _hand_over(connection, decision)

    async def _decide(self, ask: Ask) -> Response | OnConnection:
        """Ask the user.

        Raises:
            TimeoutError: ``open_timeout`` passed.
        """
        async with asyncio.timeout(self.endpoint.options.open_timeout) as timeout:
            try:
                return await self._on_request(ask.request)
            except Exception:
                # As websockets does it: log, and answer with 500.
                logger.exception("on_request failed for %s", ask.request.path)
        if timeout.expired():
            raise TimeoutError
        return Response(status=500, body="Failed to open a WebSocket connection.\n")


class Doorman:
    """The server's end of a link until the connection is open."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        terminal: Terminal,
        find_fault: Callable[[int], ConnectFault | None],
        find_listener: Callable[[int], Host | None],
    ) -> None:
        self.terminal = terminal
        self._loop = loop
        self._find_fault = find_fault
        self._find_listener = find_listener
        terminal.attach(self)

    def arrive(self, item: Item) -> None:
        """Take the client's request, or hear that it has gone."""
        if isinstance(item, Ask):
            self._answer(item)
        else:
            self.terminal.detach()

    def arrived(self) -> None:
        """Each item was taken as it came."""

    def broken(self, error: Exception) -> None:
        """Hear that the link was cut."""
        self.terminal.detach()

    def acknowledged(self, size: int) -> None:
        """Hear that messages were taken; none have been sent yet."""

    def reject(self, status: int, body: str) -> None:
        """Answer with an HTTP response, and leave."""
        self.terminal.put(Reject(status, body))
        self.terminal.detach()

    def hang_up(self, error: Exception) -> None:
        """Leave without an answer."""
        self.terminal.put(Eof(error))
        self.terminal.detach()

    def accept(self, ask: Ask, endpoint: ServerEndpoint) -> MemoryConnection | None:
        """Open the connection; ``None`` when the client has gone."""
        if not self.terminal.occupied:
            return None
        return self._open(ask, _choose(ask.offered, endpoint), endpoint.options, "server")

    def _answer(self, ask: Ask) -> None:
        port = self.terminal.local[1]
        match self._find_fault(port):
            case RejectHandshake(status=status, body=body):
                self.reject(status, body)
            case AcceptThenClose(code=code, reason=reason):
                self._accept_then_close(ask, code, reason)
            case Hang():
                pass
            case RefuseConnection() | Outage():
                self._refuse(port)
            case _:
                self._pass_on(ask, self._find_listener(port), port)

    def _pass_on(self, ask: Ask, listener: Host | None, port: int) -> None:
        if listener is None:
            self._refuse(port)
        elif (listener.endpoint.tls is not None) is not ask.request.secure:
            self.hang_up(ConnectionResetError("one side speaks TLS, the other does not"))
        else:
            listener.shake_hands(self, ask)

    def _refuse(self, port: int) -> None:
        self.hang_up(ConnectionRefusedError(f"nobody listens on port {port}"))

    def _accept_then_close(self, ask: Ask, code: int, reason: str) -> None:
        # The client is to take it for the server that it wants.
        subprotocol = next(iter(ask.offered), None)
        connection = self._open(ask, subprotocol, WireOptions(), None)
        connection.start(_Deaf())
        connection.begin_close(code, reason)

    def _open(
        self, ask: Ask, subprotocol: str | None, options: WireOptions, who: str | None
    ) -> MemoryConnection:
        self.terminal.put(Accept(subprotocol))
        connection = MemoryConnection(self._loop, self.terminal, ask.request, subprotocol, options)
        self.terminal.attach(connection, who and f"{who} {ask.request.path}")
        return connection


def _hand_over(connection: MemoryConnection, on_connection: OnConnection) -> None:
    try:
        on_connection(connection)
    except Exception as error:
        logger.exception("the server could not take over %s", connection.request.path)
        connection.fail(1011, "internal error", error)


class _Deaf:
    """A receiver that takes no notice."""

    def on_message(self, message: Payload) -> None: ...

    def on_writable(self) -> None: ...

    def on_closed(self, info: CloseInfo) -> None: ...


def _choose(offered: tuple[str, ...], endpoint: ServerEndpoint) -> str | None:
    """Return the server's favourite among those offered."""
    return next((name for name in endpoint.subprotocols if name in offered), None)
