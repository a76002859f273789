"""Transports by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from rxplus.transport import Transport, TransportLike, TransportName

__all__ = ["DEFAULT", "transport_of"]

DEFAULT: TransportName = "websockets"


def transport_of(transport: TransportLike) -> Transport:
    """Return a transport that was given, or named; ``None`` names the default one.

    Raises:
        ValueError: there is none of this name.
        ImportError: it needs a package that is not installed.
        TypeError: it is neither a transport nor a name.
    """
    if transport is None:
        transport = DEFAULT
    if isinstance(transport, str):
        make = _MAKERS.get(transport)
        if make is None:
            known = sorted(get_args(TransportName))
            raise ValueError(f"transport must be one of {known}, or an object; got {transport!r}")
        return make()
    if isinstance(transport, type) or not hasattr(transport, "connect"):
        raise TypeError(f"transport must be a Transport, a name or None, got {transport!r}")
    return transport


def _websockets() -> Transport:
    from rxplus.transports.websockets import WebSocketsTransport

    return WebSocketsTransport()


def _picows() -> Transport:
    try:
        from rxplus.transports.picows import PicowsTransport
    except ImportError as exc:
        raise ImportError(
            f"transport 'picows' cannot be imported ({exc}): pip install rxplus[fast]"
        ) from exc
    return PicowsTransport()


_MAKERS: dict[str, Callable[[], Transport]] = {"websockets": _websockets, "picows": _picows}
