"""How large messages are."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["payload_size", "payload_sizes"]

_Payload = str | bytes


def payload_size(payload: _Payload) -> int:
    """Return the size of a message in bytes, as it travels.

    Raises:
        TypeError: a datatype made something that is not a message.
        UnicodeEncodeError: the text cannot be sent, since it is not valid Unicode.
    """
    if type(payload) is str:
        return len(payload) if payload.isascii() else len(payload.encode())
    if isinstance(payload, (str, bytes)):
        return len(payload.encode()) if isinstance(payload, str) else len(payload)
    raise TypeError(f"a datatype must package to str or bytes, not {type(payload).__name__}")


def payload_sizes(payloads: Sequence[_Payload]) -> int:
    """Return the size of messages in bytes, all together.

    Raises:
        TypeError, UnicodeEncodeError: as :func:`payload_size`.
    """
    if len(payloads) == 1:
        return payload_size(payloads[0])
    try:
        # Typed for text: what is anything else raises.
        if all(map(str.isascii, payloads)):  # type: ignore[arg-type]
            return sum(map(len, payloads))
    except TypeError:
        pass
    return sum(map(payload_size, payloads))
