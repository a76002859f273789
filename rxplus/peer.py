"""Peer: one client of a server, as a Subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex import Subject, abc

from rxplus._core.protocol.names import application_name
from rxplus._core.sizes import payload_size
from rxplus._engine.acceptor import Acceptor
from rxplus._engine.fanout import Member, Outgoing
from rxplus._engine.hub import Hub
from rxplus.config import check_close
from rxplus.handshake import Address, Headers

__all__ = ["Peer"]


class Peer(Subject[Any]):
    """A connected client: ``subscribe`` to what it sends, ``on_next`` to send to it alone.

    The stream completes when the peer leaves. Servers make peers; subscribe to
    one in a subscriber of ``RxWSServer.connections`` to miss nothing it sends.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        hub: Hub[Any],
        member: Member,
        attach: Callable[[abc.ObserverBase[Any]], abc.DisposableBase],
    ) -> None:
        super().__init__()
        self._acceptor = acceptor
        self._hub = hub
        self._member = member
        self._attach = attach

    @property
    def path(self) -> str:
        """The path it connected on, without the query."""
        return self._member.channel.path

    @property
    def query(self) -> str:
        """What followed the ``?``; empty when there was none."""
        return self._member.connection.request.query

    @property
    def headers(self) -> Headers:
        """The headers of its request."""
        return self._member.connection.request.headers

    @property
    def remote_address(self) -> Address | None:
        """Its ``(host, port)``."""
        return self._member.connection.remote_address

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on."""
        return application_name(self._member.connection.subprotocol)

    @property
    def user(self) -> str | None:
        """Who it is, as the server's authenticator says; ``None`` without one."""
        return self._member.user

    @property
    def connected(self) -> bool:
        """Whether it is still there."""
        return self._member.session.end is None

    @property
    def latency(self) -> float | None:
        """Round-trip time of the last ping, in seconds; ``None`` before one."""
        return self._member.connection.latency

    def on_next(self, value: Any) -> None:
        """Send a value to this peer alone. Any thread.

        In order with what the same thread sends to its path. For a peer that
        has left it is reported on the server's ``losses``.

        Raises:
            TypeError: the datatype cannot send it.
            ValueError: neither can it send its contents.
            BufferFullError: too much waits to be sent: see :class:`Overflow`.
            StoreError: it cannot be kept, with durable delivery.
            ComponentClosedError: the server is closed.
        """
        payload = self._member.channel.datatype.encode(value)
        size = payload_size(payload)
        if self._member.stored is None:
            self._acceptor.fanout.mailbox.put(Outgoing(self._member, payload), size)
        else:
            assert self._acceptor.post is not None
            self._acceptor.post.send(self._member, payload, size)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was sent to it before, then close its connection. Does not wait.

        Args:
            code: 1000, or an application's own 3000..4999, or another code that
                RFC 6455, section 7.4.1, lets a server send.
            reason: up to 123 bytes of UTF-8.

        Raises:
            ValueError: ``code`` may not be sent.
            TypeError: ``code`` or ``reason`` is of the wrong type.
        """
        check_close(code, reason)
        self._hub.lease.call_soon(self._acceptor.dismiss, self._member, code, reason)

    def on_completed(self) -> None:
        """Close the connection with 1000."""
        self.close()

    def on_error(self, error: Exception) -> None:
        """Close the connection with 1011: what was to be sent to it has failed."""
        self._hub.report(error, f"the source of what is sent to a peer on {self.path} failed")
        self.close(1011)

    def dispose(self) -> None:
        """Close the connection with 1000; what Rx calls it."""
        self.close()

    def __repr__(self) -> str:
        return f"<Peer {self.remote_address} {self.path}>"

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self._attach(observer)
