"""Which requests a server lets in."""

from __future__ import annotations

import base64
import re

from rxplus.config import Limits, Security
from rxplus.handshake import Headers, Request, Response

__all__ = ["Admission", "parse_basic"]

UNAUTHORIZED = Response(status=401, body="Not authorized.\n")

_PLAIN_HTTP = Response(
    status=426,
    body="This is a WebSocket server: connect with a WebSocket client.\n",
    headers=Headers([("Upgrade", "websocket"), ("Connection", "Upgrade")]),
)
_HEALTHY = Response(status=200, body="ok\n")
_FULL = Response(
    status=503, body="Too many connections.\n", headers=Headers([("Retry-After", "5")])
)
_FULL_FOR_ADDRESS = Response(
    status=429,
    body="Too many connections from this address.\n",
    headers=Headers([("Retry-After", "5")]),
)
_NO_PATH = Response(status=400, body="The request target must be a path.\n")
_WRONG_ORIGIN = Response(status=403, body="This origin is not allowed.\n")


class Admission:
    """The checks that need nothing but the request and two counts.

    Args:
        limits: how many connections there may be.
        security: origins and the health path.
    """

    def __init__(self, limits: Limits, security: Security) -> None:
        self._limits = limits
        self._security = security

    def refuse(self, request: Request, *, total: int, from_address: int) -> Response | None:
        """Return the answer to a request that is not let in, else ``None``.

        Args:
            request: the request.
            total: connections the server has.
            from_address: those of them that come from the request's address.
        """
        if not request.path.startswith("/"):
            # The absolute form is for proxies (RFC 9112, section 3.2.2), and nothing else is one.
            return _NO_PATH
        if not request.is_upgrade:
            return _HEALTHY if request.path == self._security.health_path else _PLAIN_HTTP
        full = self.full(total=total, from_address=from_address)
        if full is None and not self._origin_allowed(request.headers.get("Origin")):
            return _WRONG_ORIGIN
        return full

    def full(self, *, total: int, from_address: int) -> Response | None:
        """Return the answer when there are as many connections as may be, else ``None``."""
        limits = self._limits
        if limits.max_connections is not None and total >= limits.max_connections:
            return _FULL
        most = limits.max_connections_per_address
        if most is not None and from_address >= most:
            return _FULL_FOR_ADDRESS
        return None

    def _origin_allowed(self, origin: str | None) -> bool:
        allowed = self._security.origins
        return allowed is None or any(_matches(one, origin) for one in allowed)


def _matches(allowed: str | re.Pattern[str] | None, origin: str | None) -> bool:
    if isinstance(allowed, re.Pattern):
        return origin is not None and allowed.fullmatch(origin) is not None
    return allowed == origin


def parse_basic(authorization: str) -> tuple[str, str] | None:
    """Read an ``Authorization: Basic`` header (RFC 7617).

    Returns:
        User and password, or ``None`` when the header is something else.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # not ASCII, not base64, or not UTF-8
        return None
    return (user, password) if colon else None
