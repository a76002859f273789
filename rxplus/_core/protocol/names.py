"""The names under which the session protocol is agreed on, beside an application's own."""

from __future__ import annotations

from collections.abc import Sequence

from rxplus.handshake import Request

__all__ = ["NAME", "application_name", "asks", "offers", "speaks"]

NAME = "rxplus.v1"


def offers(subprotocols: Sequence[str], *, required: bool) -> tuple[str, ...]:
    """Return the WebSocket subprotocols to offer, or to understand, best first.

    Args:
        subprotocols: the application's own.
        required: whether to do without the session protocol is no choice.
    """
    ours = tuple(f"{NAME}+{name}" for name in subprotocols) or (NAME,)
    return ours if required else (*ours, *subprotocols)


def speaks(subprotocol: str | None) -> bool:
    """Tell whether a subprotocol that was agreed on includes the session protocol."""
    return subprotocol is not None and subprotocol.partition("+")[0] == NAME


def asks(request: Request) -> bool:
    """Tell whether a client offers the session protocol."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    return any(speaks(name.strip()) for name in offered.split(","))


def application_name(subprotocol: str | None) -> str | None:
    """Return what remains of it for the application."""
    if subprotocol is None or not speaks(subprotocol):
        return subprotocol
    return subprotocol.partition("+")[2] or None
