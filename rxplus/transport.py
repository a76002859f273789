"""The first seam: how messages get to the other side and back.

A transport is message-level and push-shaped, because Rx is. A connection hands
each message that arrives to a :class:`Receiver` and takes messages to send
without awaiting; both happen on the loop thread. Nothing here knows of
sockets, and nothing above this seam knows of a WebSocket library.

Every method and callback of this module runs on the loop thread that opened
the connection or the listener, and nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from rxplus.handshake import Address, Headers, Request, Response

__all__ = [
    "BatchReceiver",
    "ClientEndpoint",
    "CloseInfo",
    "Connection",
    "Listener",
    "OnConnection",
    "OnRequest",
    "Payload",
    "Receiver",
    "ServerEndpoint",
    "Transport",
    "TransportLike",
    "TransportName",
    "WireOptions",
]

Payload: TypeAlias = str | bytes
"""One message: ``str`` travels as a text message, ``bytes`` as a binary one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """What both ends of a connection can be told. Durations are in seconds.

    Attributes:
        max_message_size: bytes; a larger message closes with 1009. ``None``: no limit.
        open_timeout: for the whole opening handshake, TCP and TLS included.
        close_timeout: for the closing handshake; after it the connection is aborted.
        ping_interval: between keepalive pings; ``None`` sends none.
        ping_timeout: how long a pong may take before the connection closes with
            1011; ``None`` waits for ever.
        write_high_water: bytes waiting to be written above which a connection
            calls itself not writable.
        write_low_water: bytes below which it is writable again.
        compression: ``"deflate"`` for permessage-deflate (RFC 7692), or ``None``.
    """

    max_message_size: int | None = 16 * 2**20
    open_timeout: float | None = 10.0
    close_timeout: float | None = 5.0
    ping_interval: float | None = 30.0
    ping_timeout: float | None = 30.0
    write_high_water: int = 2**18
    write_low_water: int = 2**16
    compression: Literal["deflate"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEndpoint:
    """Where to connect to, and what to say there.

    Attributes:
        host: name or address.
        port: TCP port.
        target: path and query, such as ``"/chat?room=1"``.
        tls: the context to verify the server with; ``None`` for a plain connection.
        server_hostname: the name its certificate must have; ``None``: ``host``.
        headers: sent with the request.
        origin: the ``Origin`` header; ``None`` sends none.
        subprotocols: offered, best first.
        options: see :class:`WireOptions`.
    """

    host: str
    port: int
    target: str = "/"
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    headers: Headers = field(default_factory=Headers)
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    options: WireOptions = field(default_factory=WireOptions)

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is."""
        return self.tls is not None and self.tls.verify_mode is not ssl.CERT_NONE

    @property
    def url(self) -> str:
        """The ``ws://`` or ``wss://`` URL, with IPv6 hosts in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEndpoint:
    """Where to listen.

    Attributes:
        host: interface to bind, as a name or address.
        port: TCP port; 0 takes a free one, which ``Listener.port`` then tells.
        tls: a server-side context; ``None`` for plain connections.
        subprotocols: understood, best first.
        options: see :class:`WireOptions`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    subprotocols: tuple[str, ...] = ()
    options: WireOptions = field(default_factory=WireOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseInfo:
    """How a connection ended.

    Attributes:
        code: the close code that arrived (RFC 6455, section 7.4); 1006 when the
            connection broke without a closing handshake, 1005 when the peer's
            close frame had none. When this side failed the connection (a
            message too big, no pong), the code that this side sent.
        reason: the text that came with it.
        local: whether this side began to close.
        error: what broke the connection, if something did.
    """

    code: int
    reason: str = ""
    local: bool = False
    error: BaseException | None = None


class Receiver(Protocol):
    """What a connection tells its user.

    No method of a receiver raises, and each returns soon: the loop waits.
    """

    def on_message(self, message: Payload) -> None:
        """Take one whole message."""

    def on_writable(self) -> None:
        """Hear that ``Connection.writable`` has become true again."""

    def on_closed(self, info: CloseInfo) -> None:
        """Hear that the connection has ended. Called once, and nothing after it."""


@runtime_checkable
class BatchReceiver(Receiver, Protocol):
    """A receiver that would rather have in one call what has arrived together.

    A transport may give it messages either way. It is given a batch whole: pausing or aborting
    in the middle of one keeps back only what comes after it.
    """

    def on_messages(self, messages: Sequence[Payload], *, more: bool) -> None:
        """Take whole messages.

        Args:
            messages: in order.
            more: whether something else may have arrived together with them, that is still to
                come. If not, they may be answered at once.
        """


class Connection(Protocol):
    """One open WebSocket connection."""

    @property
    def request(self) -> Request:
        """The request that opened it; on the client the one that was sent."""
        ...

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol both sides agreed on."""

    @property
    def remote_address(self) -> Address | None:
        """``(host, port)`` of the other side."""

    @property
    def local_address(self) -> Address | None:
        """``(host, port)`` of this side."""

    @property
    def writable(self) -> bool:
        """Whether it is open and fewer than ``write_high_water`` bytes wait to be written."""
        ...

    @property
    def latency(self) -> float | None:
        """Round-trip time of the last answered ping, in seconds; ``None`` before one."""

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``, which is set once and for all.

        Nothing that arrives before is lost: reading waits for this call.
        """

    def send(self, messages: Sequence[Payload]) -> None:
        """Send messages, in order, as one buffered write.

        All are taken, or none: when it raises, nothing of ``messages`` was sent.
        May be called while not ``writable``; the caller is then using memory.
        No receiver is called before it returns.

        Args:
            messages: text that is valid UTF-8, and bytes.

        Raises:
            ConnectionClosedError: the connection is closing or closed, by
                whichever side.
            TypeError: a message is neither ``str`` nor ``bytes``.
            UnicodeEncodeError: a text has code points that UTF-8 has no bytes for.
        """

    def pause_reading(self) -> None:
        """Deliver nothing until :meth:`resume_reading`; the peer gets to feel it."""

    def resume_reading(self) -> None:
        """Deliver again."""

    async def ping(self) -> float:
        """Send a ping and wait for the answer.

        Returns:
            The round-trip time in seconds.

        Raises:
            ConnectionClosedError: the connection ended first.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do the closing handshake and wait until the connection has ended.

        What was given to :meth:`send` before goes out first. Takes at most
        ``close_timeout`` seconds, then aborts. Closing twice is harmless.
        Cancelling it aborts the connection.

        Args:
            code: close code.
            reason: up to 123 bytes of UTF-8.
        """

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake."""


class Listener(Protocol):
    """A bound server socket."""

    @property
    def port(self) -> int:
        """The port it is bound to."""
        ...

    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        """Send the same messages to many connections of this listener.

        Each message is encoded once, whatever the number of connections. A
        connection that is not open is passed over.

        Args:
            connections: connections that this listener accepted.
            messages: as for :meth:`Connection.send`.

        Like that it calls no receiver before it returns.
        """

    async def close(self) -> None:
        """Stop listening, and drop handshakes under way. Open connections stay."""


OnConnection: TypeAlias = Callable[[Connection], None]
"""Takes over a connection that was opened; it must call ``Connection.start``.

Should it raise, the connection is closed with 1011.
"""

OnRequest: TypeAlias = Callable[[Request], Awaitable[Response | OnConnection]]
"""Decides over a request: a response refuses it, a function takes the connection over.

It raises nothing. Should the client leave before the connection is open, the
function is not called.
"""


class Transport(Protocol):
    """Opens connections, and listens for them."""

    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        """Open a connection.

        When it is cancelled or raises, nothing is left behind.

        Raises:
            InvalidEndpointError: the endpoint cannot be right.
            ConnectTimeoutError: ``open_timeout`` passed.
            HandshakeRejectedError: the server answered with another HTTP status than 101.
            CertificateError: the server's certificate was not accepted.
            ConnectError: anything else, such as a refused connection.
        """
        ...

    async def listen(
        self,
        endpoint: ServerEndpoint,
        on_request: OnRequest,
    ) -> Listener:
        """Listen for connections.

        Args:
            endpoint: where.
            on_request: called for each request, before it is answered.

        Raises:
            OSError: the address cannot be bound.
        """
        ...


TransportName: TypeAlias = Literal["websockets", "picows"]
"""The transports that rxplus comes with; ``"picows"`` needs ``pip install rxplus[fast]``."""

TransportLike: TypeAlias = Transport | TransportName | None
"""What components take as their transport; ``None`` is the default one, ``"websockets"``."""
