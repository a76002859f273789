"""What travels between two ends of a link in the memory network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rxplus_testing._rxplus import Payload, Request

__all__ = [
    "Accept",
    "FRAMES",
    "Ask",
    "Breach",
    "Close",
    "Eof",
    "Item",
    "Message",
    "Ping",
    "Pong",
    "Reject",
    "to_close",
    "to_messages",
]

_SHOWN = 60
"""Characters of a payload that are shown in logs."""

_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
_MAX_REASON = 123


@dataclass(frozen=True, slots=True)
class Ask:
    """A client's opening request."""

    request: Request
    offered: tuple[str, ...] = ()

    def __str__(self) -> str:
        query = f"?{self.request.query}" if self.request.query else ""
        return f"open {self.request.path}{query}"


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer that opens the connection."""

    subprotocol: str | None = None

    def __str__(self) -> str:
        return f"accept {self.subprotocol or ''}".rstrip()


@dataclass(frozen=True, slots=True)
class Reject:
    """The answer that does not: an HTTP response."""

    status: int
    body: str = ""

    def __str__(self) -> str:
        return f"reject {self.status}"


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message, and its size in bytes."""

    payload: Payload
    size: int

    def __str__(self) -> str:
        kind = "text" if isinstance(self.payload, str) else "binary"
        shown = repr(self.payload[:_SHOWN])
        more = f"... {self.size} bytes" if len(self.payload) > _SHOWN else ""
        return f"{kind} {shown}{more}"


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping, numbered."""

    serial: int

    def __str__(self) -> str:
        return f"ping {self.serial}"


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the ping of the same number."""

    serial: int

    def __str__(self) -> str:
        return f"pong {self.serial}"


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        return f"close {self.code} {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class Breach:
    """What no peer may send, and the code that it has to be answered with."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f"breach {self.code} {self.reason}"


@dataclass(frozen=True, slots=True)
class Eof:
    """The end of the stream without a close frame, and why."""

    error: Exception

    def __str__(self) -> str:
        return f"eof ({self.error})"


FRAMES = (Message, Ping, Pong, Close)
"""What is a WebSocket frame, rather than a part of the handshake or of TCP."""

Item: TypeAlias = Ask | Accept | Reject | Message | Ping | Pong | Close | Breach | Eof
"""Anything that a link carries."""


def to_close(code: int, reason: str) -> Close:
    """Make a close frame, of as much of the reason as it has room for.

    Raises:
        ValueError: the code may not be sent (RFC 6455, section 7.4).
    """
    if code not in _SENDABLE_CODES:
        raise ValueError(f"{code} cannot be sent as a close code")
    return Close(code, reason.encode()[:_MAX_REASON].decode(errors="ignore"))


def to_messages(payloads: Sequence[Payload]) -> list[Message]:
    """Check all payloads, and turn them into messages.

    Raises:
        TypeError: one is neither ``bytes`` nor ``str``.
        UnicodeEncodeError: one is a ``str`` that UTF-8 has no bytes for.
    """
    if isinstance(payloads, (str, bytes)):
        raise TypeError("send() takes a sequence of messages, not one message")
    return [Message(payload, _size(payload)) for payload in payloads]


def _size(payload: object) -> int:
    if isinstance(payload, bytes):
        return len(payload)
    if not isinstance(payload, str):
        raise TypeError(f"a message must be str or bytes, not {type(payload).__name__}")
    return len(payload) if payload.isascii() else len(payload.encode())
