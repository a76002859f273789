"""The keyword arguments of components, with their defaults, checked once for all of them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, TypedDict

from rxplus._core.protocol.names import offers
from rxplus.config import (
    TLS,
    Buffer,
    Compression,
    Handshake,
    Limits,
    Overflow,
    Retry,
    Security,
    Timeouts,
    check_compression,
    check_keepalive,
    check_retry_timeout,
)
from rxplus.delivery import Delivery, Level
from rxplus.telemetry import Telemetry
from rxplus.transport import TransportLike, WireOptions

__all__ = ["ClientKwargs", "ClientOptions", "ServerKwargs", "ServerOptions"]


class _Kwargs(TypedDict, total=False):
    delivery: Delivery | Literal["at_most_once", "buffered", "acknowledged"] | None
    buffer: Buffer | None
    limits: Limits | None
    timeouts: Timeouts | None
    subprotocols: Sequence[str]
    compression: Compression
    telemetry: Telemetry | None
    transport: TransportLike


class ClientKwargs(_Kwargs, total=False):
    """Further arguments of :class:`rxplus.RxWSClient` and :class:`rxplus.RxWSClientGroup`."""

    retry: Retry | None
    handshake: Handshake | None
    tls: TLS | ssl.SSLContext | bool | None


class ServerKwargs(_Kwargs, total=False):
    """Further arguments of :class:`rxplus.RxWSServer`."""

    security: Security | None
    tls: ssl.SSLContext | None


_KIND = "kind"
"""In the metadata of an argument that is an object, made where none is given: its class."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    ping_interval: float | None
    ping_timeout: float | None
    delivery: Delivery = field(default_factory=Delivery.at_most_once, metadata={_KIND: Delivery})
    buffer: Buffer = field(default_factory=Buffer, metadata={_KIND: Buffer})
    limits: Limits = field(default_factory=Limits, metadata={_KIND: Limits})
    timeouts: Timeouts = field(default_factory=Timeouts, metadata={_KIND: Timeouts})
    subprotocols: Sequence[str] = ()
    compression: Compression = None
    telemetry: Telemetry = field(default_factory=Telemetry, metadata={_KIND: Telemetry})
    transport: TransportLike = None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Make options from keyword arguments, of which ``None`` means the default.

        Raises:
            TypeError: an argument is not known, or of the wrong type.
            ValueError: an argument has a value that cannot be right.
        """
        known = {one.name: one for one in fields(cls)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise TypeError(f"unknown arguments {unknown}; known are {sorted(known)}")
        kept: dict[str, Any] = {
            key: value
            for key, value in given.items()
            if value is not None or _KIND not in known[key].metadata
        }
        return cls(**kept)

    def __post_init__(self) -> None:
        object.__setattr__(self, "delivery", Delivery.of(self.delivery))
        for one in fields(self):
            kind, value = one.metadata.get(_KIND, object), getattr(self, one.name)
            if not isinstance(value, kind):
                raise TypeError(f"{one.name} must be a {kind.__name__} or None, got {value!r}")
        check_keepalive(self.ping_interval, self.ping_timeout)
        check_compression(self.compression)
        _check_subprotocols(self.subprotocols)

    def _subprotocols(self, *, required: bool) -> tuple[str, ...]:
        if not self.delivery.acknowledges:
            return tuple(self.subprotocols)
        return offers(self.subprotocols, required=required)

    @property
    def wire(self) -> WireOptions:
        """What the transport is told."""
        return WireOptions(
            max_message_size=self.limits.max_message_size,
            open_timeout=self.timeouts.open,
            close_timeout=self.timeouts.close,
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            compression=self.compression,
        )


@dataclass(frozen=True, kw_only=True)
class ClientOptions(_Options):
    """What a client is told, besides where to connect to and what to send there."""

    conn_retry_timeout: float
    buffer_while_disconnected: bool
    retry: Retry = field(default_factory=Retry, metadata={_KIND: Retry})
    handshake: Handshake = field(default_factory=Handshake, metadata={_KIND: Handshake})
    tls: TLS | ssl.SSLContext | bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_retry_timeout(self.conn_retry_timeout)
        if not isinstance(self.buffer_while_disconnected, bool):
            raise TypeError(
                f"buffer_while_disconnected must be a bool, got {self.buffer_while_disconnected!r}"
            )
        if self.delivery.store is not None and self.delivery.fallback == "at_most_once":
            raise ValueError(
                "delivery of a client cannot be durable with fallback='at_most_once': what is in "
                "its store would have to be thrown away; take 'acknowledged', or no fallback"
            )
        if self.delivery.store is not None and self.buffer != Buffer():
            raise ValueError(
                f"buffer does not apply to a durable client, got {self.buffer!r}: its messages "
                "are in the store, which has limits of its own"
            )
        object.__setattr__(self, "tls", TLS.of(self.tls))

    @property
    def promised(self) -> Delivery:
        """What is promised, with ``buffer_while_disconnected`` as the plain way to say buffered."""
        if self.buffer_while_disconnected and not self.delivery.buffers:
            return Delivery.buffered()
        return self.delivery

    @property
    def offered(self) -> tuple[str, ...]:
        """The subprotocols that a server is asked for, best first."""
        required = self.delivery.fallback != "at_most_once"
        return self._subprotocols(required=required)

    @property
    def retry_policy(self) -> Retry:
        """The retry policy, with ``conn_retry_timeout`` as its first delay unless it has one."""
        if self.retry.initial is not None:
            return self.retry
        initial = self.conn_retry_timeout
        return replace(self.retry, initial=initial, maximum=max(initial, self.retry.maximum))


@dataclass(frozen=True, kw_only=True)
class ServerOptions(_Options):
    """What a server is told, besides where to listen and what to send."""

    # One slow peer is not to hold up the others, so the default differs from a client's.
    buffer: Buffer = field(
        default_factory=lambda: Buffer(max_bytes=16 * 2**20, overflow=Overflow.drop_oldest()),
        metadata={_KIND: Buffer},
    )
    security: Security = field(default_factory=Security, metadata={_KIND: Security})
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls is not None and not isinstance(self.tls, ssl.SSLContext):
            raise TypeError(f"tls must be a server-side ssl.SSLContext or None, got {self.tls!r}")
        if self.tls is not None and self.tls.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                f"tls must be a server-side ssl.SSLContext, got a client's {self.tls!r}"
            )
        if self.delivery.level is Level.BUFFERED:
            raise ValueError(
                "delivery of a server cannot be 'buffered': it has nothing to keep for peers that "
                "it does not know yet; take 'acknowledged'"
            )

    @property
    def understood(self) -> tuple[str, ...]:
        """The subprotocols that clients may ask for, best first."""
        return self._subprotocols(required=self.delivery.fallback == "error")


def _check_subprotocols(subprotocols: Any) -> None:
    if isinstance(subprotocols, str) or not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols must be a sequence of names, got {subprotocols!r}")
    for name in subprotocols:
        if not isinstance(name, str):
            raise TypeError(f"subprotocols must be names, got {name!r}")
