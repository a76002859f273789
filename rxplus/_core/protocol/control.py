"""The control messages of the session protocol, and how they look on the wire.

A control message is a text message: ``ESCAPE``, then a JSON object with a ``type``. A data
message is sent as it is, unless it is a text that begins with ``ESCAPE``: then one more is put
before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from rxplus.errors import ProtocolViolationError

__all__ = [
    "ESCAPE",
    "Ack",
    "Away",
    "Control",
    "Hello",
    "Seq",
    "Sync",
    "Welcome",
    "decode",
    "encode",
    "escaped",
]

ESCAPE = "\0"
"""The first character of a control message."""

MAX_NUMBER = 2**53 - 1
"""The largest number that every JSON reader keeps exact (RFC 8259, section 6)."""

_MAX_TOKEN = 128


class Hello(NamedTuple):
    """What a client says first on each connection."""

    session: str | None
    """The session to go on with; ``None`` asks for a new one."""
    epoch: int
    """Goes up with each connection of a session, so that a late one is known for what it is."""
    received: int
    """Number of the last message that has arrived."""
    first: int
    """Number of the first message that can still be sent again."""
    next: int
    """Number of the next new message."""
    expiry: float
    """Seconds that the session should outlive a connection."""


class Welcome(NamedTuple):
    """A server's answer to :class:`Hello`."""

    session: str
    """The session that goes on, or a new one."""
    resumed: bool
    """Whether it goes on."""
    received: int
    """Number of the last message that has arrived; 0 in a new session."""
    expiry: float
    """Seconds that the session does outlive a connection."""


class Seq(NamedTuple):
    """Said once on each connection, by each side, before its first message."""

    next: int
    """Number of the message that follows first."""


class Ack(NamedTuple):
    """Messages have been dealt with."""

    number: int
    """Of the last one: all before it have been as well."""


class Sync(NamedTuple):
    """Asks for an :class:`Ack` at once."""


class Away(NamedTuple):
    """Said by a server that is about to go."""

    after: float
    """Seconds after which this client should come back."""


Control: TypeAlias = Hello | Welcome | Seq | Ack | Sync | Away

_NAMES: dict[type[Control], str] = {
    Hello: "hello",
    Welcome: "welcome",
    Seq: "seq",
    Ack: "ack",
    Sync: "sync",
    Away: "away",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}


def encode(control: Control) -> str:
    """Write a control message."""
    fields = {"type": _NAMES[type(control)], **control._asdict()}
    return ESCAPE + json.dumps(fields, separators=(",", ":"))


def decode(message: str) -> Control | None:
    """Read a control message.

    Returns:
        The message; ``None`` when it is of a type that this version does not know, which is to
        be passed over, as are fields that it does not know.

    Raises:
        ProtocolViolationError: it is not such a message, or a field is missing or wrong.
    """
    try:
        fields = json.loads(message[len(ESCAPE) :])
        name = fields["type"]
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ProtocolViolationError(f"not a control message: {message[:80]!r}") from exc
    kind = _TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    return kind(*(_field(kind, key, fields) for key in kind._fields))


def escaped(payload: str | bytes) -> str | bytes:
    """Return a data message as it is sent."""
    if isinstance(payload, str) and payload.startswith(ESCAPE):
        return ESCAPE + payload
    return payload


def _field(kind: type[Control], key: str, fields: dict[str, Any]) -> Any:
    value = fields.get(key)
    if key == "session" and kind is Hello and value is None:
        return None
    if not _CHECKS.get(key, _is_number)(value):
        raise ProtocolViolationError(f"{_NAMES[kind]}: {key} cannot be {value!r:.80}")
    return value


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TOKEN


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "session": _is_token,
    "resumed": _is_bool,
    "expiry": _is_duration,
    "after": _is_duration,
}
