"""What components are told: frozen values, validated when they are made.

All durations are in seconds, all sizes in bytes.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from rxplus._checks import (
    check_callable,
    check_count,
    check_duration,
    check_instance,
    check_number,
)
from rxplus.handshake import Headers, HeadersLike, Request, Response

__all__ = [
    "Authenticator",
    "Buffer",
    "Compression",
    "ConnCfgLike",
    "ConnConfig",
    "Handshake",
    "Limits",
    "OnFull",
    "Overflow",
    "Retry",
    "Security",
    "TLS",
    "Timeouts",
]

Compression: TypeAlias = Literal["deflate"] | None


# ── what has no value of its own ──────────────────────────────────────────────────────────────


def check_keepalive(ping_interval: float | None, ping_timeout: float | None) -> None:
    """Refuse keepalive durations that cannot be right. ``None`` turns one off."""
    check_duration("ping_interval", ping_interval)
    check_duration("ping_timeout", ping_timeout)
    if ping_interval == 0:
        raise ValueError(f"ping_interval must be more than 0, or None, got {ping_interval!r}")


def check_retry_timeout(conn_retry_timeout: float) -> None:
    """Refuse a delay before a retry that cannot be right."""
    check_duration("conn_retry_timeout", conn_retry_timeout, optional=False)


def check_timeout(timeout: float | None) -> None:
    """Refuse a time for closing that cannot be right."""
    check_duration("timeout", timeout)


def check_close(code: int, reason: str) -> None:
    """Refuse a close code that may not be sent (RFC 6455, section 7.4), and no text as a reason."""
    check_count("code", code)
    if code not in _SENDABLE_CODES:
        raise ValueError(f"code must be 1000 or another close code that may be sent, got {code!r}")
    check_instance("reason", reason, str, "a str")


_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


def check_compression(compression: Any) -> None:
    """Refuse a compression that is not known."""
    if compression not in (None, "deflate"):
        raise ValueError(f"compression must be None or 'deflate', got {compression!r}")


# ── where to ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ConnConfig:
    """Where a server listens, or a client connects to.

    Args:
        host: name or address; ``"::"`` or ``"0.0.0.0"`` listens everywhere.
        port: 0..65535, also as a numeric string; 0 lets a server take a free port.
        path: begins with ``/`` and may have a query; servers have none.
    """

    host: str
    port: int
    path: str = "/"

    def __post_init__(self) -> None:
        _check_host(self.host)
        object.__setattr__(self, "port", _port(self.port))
        _check_path(self.path)

    @classmethod
    def of(cls, conn_cfg: ConnCfgLike, *, path: bool) -> ConnConfig:
        """Make one from what users write.

        Args:
            conn_cfg: a mapping, or the value itself.
            path: whether there must be a path.

        Raises:
            ValueError: a key is missing, unknown, or has a value that cannot be right.
            TypeError: a value is of the wrong type.
        """
        if isinstance(conn_cfg, cls):
            return conn_cfg
        check_instance("conn_cfg", conn_cfg, Mapping, "a mapping or a ConnConfig")
        assert isinstance(conn_cfg, Mapping)
        validate_conn_cfg(conn_cfg, ["host", "port", "path"] if path else ["host", "port"])
        unknown = [key for key in conn_cfg if key not in ("host", "port", "path")]
        if unknown:
            raise ValueError(f"conn_cfg has unknown keys: {unknown}; it takes host, port and path")
        return cls(**conn_cfg)

    @classmethod
    def from_url(cls, url: str) -> ConnConfig:
        """Make one from ``ws://host:port/path?query``; for ``wss`` give ``tls=True`` as well.

        Raises:
            ValueError: it is not such a URL, or has a user or a fragment.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise ValueError(f"url cannot be read, got {url!r}: {exc}") from exc
        if parts.scheme not in ("ws", "wss") or not host or "@" in parts.netloc or parts.fragment:
            raise ValueError(f"url must be ws://host[:port][/path][?query], got {url!r}")
        query = f"?{parts.query}" if parts.query else ""
        if port is None:
            port = 443 if parts.scheme == "wss" else 80
        return cls(host, port, (parts.path or "/") + query)


ConnCfgLike: TypeAlias = Mapping[str, Any] | ConnConfig


def validate_conn_cfg(conn_cfg: Mapping[str, Any], required_keys: Collection[str]) -> None:
    """Refuse a mapping without the keys that are needed.

    Raises:
        ValueError: names the missing keys.
    """
    missing = [key for key in required_keys if key not in conn_cfg]
    if missing:
        raise ValueError(f"conn_cfg missing required keys: {missing}")


def _check_host(host: Any) -> None:
    if not isinstance(host, str):
        raise TypeError(f"conn_cfg host must be a str, got {host!r}")
    unfit = not host.isprintable() or any(char in host for char in "/?#@[] ")
    # RFC 1035, section 2.3.4; a longer label is a bare UnicodeError of the resolver's.
    unfit = unfit or any(len(label) > 63 for label in host.split("."))
    if not host or unfit or (":" in host and not _is_ipv6(host)):
        raise ValueError(f"conn_cfg host must be a host name or an address, got {host!r}")


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(port: Any) -> int:
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int):
        kind = ValueError if isinstance(port, str) else TypeError
        raise kind(f"conn_cfg port must be an int or a numeric string, got {port!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"conn_cfg port must be in 0..65535, got {port!r}")
    return port


def _check_path(path: Any) -> None:
    if not isinstance(path, str):
        raise TypeError(f"conn_cfg path must be a str, got {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"conn_cfg path must begin with '/', got {path!r}")
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError(f"conn_cfg path must be percent-encoded, without a fragment, got {path!r}")


# ── when it goes wrong ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a client reconnects: exponential backoff with jitter, capped.

    Args:
        initial: delay before the first retry; ``None`` takes the client's ``conn_retry_timeout``.
        factor: what each delay is multiplied by to get the next.
        maximum: cap of the delay.
        jitter: 0..1, the share of a delay that is drawn at random, so that
            clients which lost the same server do not all return at once.
        limit: retries that may fail in a row before the client gives up with
            ``on_error``; 0 never reconnects, ``None`` never gives up.
        stable_after: how long a connection must last for the next failure to
            count as the first again.
        fatal_codes: close codes from the server that end the client.
        fatal_statuses: HTTP statuses at the handshake that end the client.
    """

    initial: float | None = None
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.5
    limit: int | None = None
    stable_after: float = 5.0
    fatal_codes: frozenset[int] = frozenset({1008, 1010})
    fatal_statuses: frozenset[int] = frozenset({401, 403})

    def __post_init__(self) -> None:
        check_duration("Retry.initial", self.initial)
        check_number("Retry.factor", self.factor, least=1.0)
        check_duration("Retry.maximum", self.maximum, optional=False)
        if check_number("Retry.jitter", self.jitter) > 1.0:
            raise ValueError(f"Retry.jitter must be in 0..1, got {self.jitter!r}")
        check_count("Retry.limit", self.limit, least=0, optional=True)
        check_duration("Retry.stable_after", self.stable_after, optional=False)
        for key in ("fatal_codes", "fatal_statuses"):
            codes = getattr(self, key)
            check_instance(f"Retry.{key}", codes, Iterable, "a set of ints")
            object.__setattr__(self, key, frozenset(codes))
            for code in getattr(self, key):
                check_count(f"Retry.{key} item", code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long things may take.

    Args:
        open: a whole opening handshake, TCP and TLS included; ``None`` waits for ever.
        close: a graceful shutdown: sending what is queued and the closing handshakes.
        exit: the same when the interpreter exits with the component still open.
    """

    open: float | None = 10.0
    close: float = 5.0
    exit: float = 2.0

    def __post_init__(self) -> None:
        check_duration("Timeouts.open", self.open)
        check_duration("Timeouts.close", self.close, optional=False)
        check_duration("Timeouts.exit", self.exit, optional=False)


# ── how much ──────────────────────────────────────────────────────────────────────────────


class OnFull(Enum):
    """What happens to a message for which a buffer has no room."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST = "latest"
    ERROR = "error"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class Overflow:
    """The policy of a full buffer. Use the class methods to make one.

    ``block`` and ``error`` push back on whoever calls ``on_next``; the others
    decide over messages, and every message they drop is reported on ``losses``.
    """

    on_full: OnFull
    timeout: float | None = None
    key: Callable[[str | bytes], Hashable] | None = None

    def __post_init__(self) -> None:
        check_instance("Overflow.on_full", self.on_full, OnFull, "an OnFull")
        check_duration("Overflow.timeout", self.timeout)
        check_callable("Overflow.key", self.key)

    @classmethod
    def block(cls, timeout: float | None = 10.0) -> Overflow:
        """Have ``on_next`` wait for room, at most ``timeout`` seconds, then raise.

        On the loop thread, where waiting would be for ever, it raises at once.
        """
        return cls(OnFull.BLOCK, timeout)

    @classmethod
    def drop_oldest(cls) -> Overflow:
        """Drop from the front."""
        return cls(OnFull.DROP_OLDEST)

    @classmethod
    def drop_newest(cls) -> Overflow:
        """Drop the message that came last."""
        return cls(OnFull.DROP_NEWEST)

    @classmethod
    def latest(cls, key: Callable[[str | bytes], Hashable] | None = None) -> Overflow:
        """Keep only the newest waiting message per key, also while there is room.

        Args:
            key: called with each message as it is sent; ``None`` keeps one
                message in all (for a server: per path or peer).
        """
        return cls(OnFull.LATEST, key=key)

    @classmethod
    def error(cls) -> Overflow:
        """Have ``on_next`` raise :class:`BufferFullError`."""
        return cls(OnFull.ERROR)

    @classmethod
    def disconnect(cls) -> Overflow:
        """Drop all that waits, and the connection that was too slow to take it."""
        return cls(OnFull.DISCONNECT)

    @classmethod
    def of(cls, value: Overflow | str) -> Overflow:
        """Make one from what users write: a value, or the name of a policy."""
        if isinstance(value, cls):
            return value
        names = [policy.value for policy in OnFull]
        if value not in names:
            raise ValueError(f"overflow must be an Overflow or one of {names}, got {value!r}")
        made: Overflow = getattr(cls, str(value))()
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """How much may wait to be sent, and what to do when it is more.

    Args:
        max_messages: most messages that wait.
        max_bytes: most bytes that wait; a single message may be larger than that.
        overflow: an :class:`Overflow`, or its name.
        max_age: seconds that a message may wait; what has waited for longer is not sent, and
            reported as ``expired``. ``None``: any time.
    """

    max_messages: int = 65_536
    max_bytes: int = 64 * 2**20
    overflow: Overflow = field(default_factory=Overflow.block)
    max_age: float | None = None

    def __post_init__(self) -> None:
        check_duration("Buffer.max_age", self.max_age)
        check_count("Buffer.max_messages", self.max_messages)
        check_count("Buffer.max_bytes", self.max_bytes)
        object.__setattr__(self, "overflow", Overflow.of(self.overflow))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What peers may use up; ``None`` is no limit.

    Args:
        max_message_size: of one message that arrives; a larger one closes with 1009.
        max_connections: of a server at one time; one more gets HTTP 503.
        max_connections_per_address: of a server from one address; one more gets HTTP 429.
        max_undelivered: messages that may wait for a subscriber's scheduler
            before reading stops.
        slow_callback: a subscriber that holds the loop for longer is reported in the log; with
            one message, or, if it is the only one, with all that were read together.
    """

    max_message_size: int | None = 16 * 2**20
    max_connections: int | None = 20_000
    max_connections_per_address: int | None = None
    max_undelivered: int = 65_536
    slow_callback: float | None = 0.25

    def __post_init__(self) -> None:
        check_count("Limits.max_message_size", self.max_message_size, optional=True)
        check_count("Limits.max_connections", self.max_connections, optional=True)
        per_address = self.max_connections_per_address
        check_count("Limits.max_connections_per_address", per_address, optional=True)
        check_count("Limits.max_undelivered", self.max_undelivered)
        check_duration("Limits.slow_callback", self.slow_callback)


# ── who ───────────────────────────────────────────────────────────────────────────────────

Authenticator: TypeAlias = Callable[
    [Request], "str | bool | Response | Awaitable[str | bool | Response | None] | None"
]
"""Decides who a request is from, on the loop thread; may be a coroutine function.

It returns the user's name or ``True`` to let the request in, ``None`` or
``False`` to answer 401, or a response of its own. Anything else, an empty name
included, is a mistake and lets nobody in: the answer is 500, as when it raises.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Whom a server lets in.

    Args:
        origins: acceptable ``Origin`` headers, as strings or compiled patterns
            that must match in full; ``None`` in it accepts requests without one,
            which is what everything but a browser sends. ``None``: no check.
        authenticate: see :data:`Authenticator`, and :func:`rxplus.basic_auth`.
        health_path: where a plain HTTP request gets 200; ``None``: nowhere.
    """

    origins: tuple[str | re.Pattern[str] | None, ...] | None = None
    authenticate: Authenticator | None = None
    health_path: str | None = "/healthz"

    def __post_init__(self) -> None:
        if self.origins is not None:
            object.__setattr__(self, "origins", _origins(self.origins))
        check_callable("Security.authenticate", self.authenticate)
        if self.health_path is not None:
            check_instance("Security.health_path", self.health_path, str, "a str or None")
            if not self.health_path.startswith("/"):
                raise ValueError(
                    f"Security.health_path must begin with '/', got {self.health_path!r}"
                )


def _origins(origins: Any) -> tuple[str | re.Pattern[str] | None, ...]:
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise TypeError(f"Security.origins must be a sequence, got {origins!r}")
    checked = tuple(origins)
    for origin in checked:
        text = origin.pattern if isinstance(origin, re.Pattern) else origin
        check_instance("Security.origins item", text, (str, type(None)), "a str, pattern or None")
    return checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What a client says when it connects.

    Args:
        headers: sent with the request; a callable is asked afresh for each attempt.
        token: sent as ``Authorization: Bearer``; a callable is asked afresh for each attempt.
        basic_auth: ``(user, password)``, sent as ``Authorization: Basic``.
        origin: the ``Origin`` header.

    Callables run on the loop thread and may be coroutine functions.
    """

    # Not shown, either: it may hold a secret.
    headers: HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]] = field(
        default_factory=Headers, repr=False
    )
    token: str | Callable[[], str | Awaitable[str]] | None = field(default=None, repr=False)
    basic_auth: tuple[str, str] | None = field(default=None, repr=False)
    origin: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.headers):
            object.__setattr__(self, "headers", Headers(self.headers))
        if self.token is not None and self.basic_auth is not None:
            raise ValueError("Handshake takes token or basic_auth, not both")
        # What is secret is not shown.
        if not (self.token is None or isinstance(self.token, str) or callable(self.token)):
            raise TypeError(
                f"Handshake.token must be a str or callable, got a {type(self.token).__name__}"
            )
        if self.basic_auth is not None:
            _check_credentials(self.basic_auth)
        if self.origin is not None:
            check_instance("Handshake.origin", self.origin, str, "a str or None")


def _check_credentials(credentials: Any) -> None:
    pair = isinstance(credentials, tuple) and len(credentials) == 2
    if not pair or not all(isinstance(part, str) for part in credentials):
        raise TypeError("Handshake.basic_auth must be a tuple (user, password) of str")
    if ":" in credentials[0]:
        raise ValueError(f"Handshake.basic_auth user must not have a ':', got {credentials[0]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """TLS of a client.

    Args:
        context: with what to verify the server; ``None``: the system's certificates.
        server_hostname: the name its certificate must have; ``None``: the host connected to.
    """

    context: ssl.SSLContext | None = None
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        if self.context is not None:
            check_instance("TLS.context", self.context, ssl.SSLContext, "an ssl.SSLContext or None")
            if self.context.protocol is ssl.PROTOCOL_TLS_SERVER:
                raise ValueError(f"TLS.context must be a client's, got {self.context!r}")
        if self.server_hostname is not None:
            check_instance("TLS.server_hostname", self.server_hostname, str, "a str or None")

    @classmethod
    def of(cls, value: TLS | ssl.SSLContext | bool | None) -> TLS | None:
        """Make one from what users write; ``None`` and ``False`` are no TLS."""
        if value is None or value is False:
            return None
        if value is True:
            return cls(context=ssl.create_default_context())
        if isinstance(value, ssl.SSLContext):
            return cls(context=value)
        check_instance("tls", value, cls, "an ssl.SSLContext, a TLS, True or None")
        return cls(
            context=value.context or ssl.create_default_context(),
            server_hostname=value.server_hostname,
        )
