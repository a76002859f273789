"""Connecting."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.client import connect
from websockets.datastructures import Headers as LibraryHeaders
from websockets.exceptions import (
    InvalidHandshake,
    InvalidHeaderValue,
    InvalidStatus,
    InvalidURI,
)
from websockets.headers import validate_subprotocols
from websockets.typing import Origin, Subprotocol

from rxplus.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    InvalidEndpointError,
)
from rxplus.transports.websockets.library import limits, logger, tls_timeouts

if TYPE_CHECKING:
    from rxplus.transport import ClientEndpoint
    from rxplus.transports.websockets.wire import ClientWire

__all__ = ["attempt", "check", "translated"]

_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"/[^\x00-\x20\x7f#]*")


class _Connect(connect):
    """The library's, without following redirects: they could lead a token to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def attempt(endpoint: ClientEndpoint, wire: type[ClientWire]) -> connect:
    options = endpoint.options
    tls: dict[str, Any] = {}
    if endpoint.tls is not None:
        tls = {
            "ssl": endpoint.tls,
            "server_hostname": endpoint.server_hostname or endpoint.host,
            **tls_timeouts(options),
        }
    return _Connect(
        endpoint.url,
        create_connection=wire,
        # Taken from the endpoint, not parsed back from the URL, which cannot hold every
        # address (fe80::1%eth0).
        host=endpoint.host,
        port=endpoint.port,
        origin=cast("Origin | None", endpoint.origin),
        subprotocols=cast("tuple[Subprotocol, ...]", endpoint.subprotocols) or None,
        compression=options.compression,
        additional_headers=endpoint.headers.raw_items(),
        user_agent_header="rxplus",
        proxy=None,
        open_timeout=options.open_timeout,
        logger=logger,
        **limits(options),
        max_size=options.max_message_size,
        **tls,
    )


def check(endpoint: ClientEndpoint) -> None:
    """Refuse what would make a request that means something else, or none at all."""
    headers = endpoint.headers.raw_items()
    if endpoint.origin is not None:
        headers = (*headers, ("Origin", endpoint.origin))
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise InvalidEndpointError(f"{name!r} is not a header name")
        try:
            LibraryHeaders([(name, value)])
        except InvalidHeaderValue as exc:
            raise InvalidEndpointError(f"header {name} has an invalid value") from exc
    if not _TARGET.fullmatch(endpoint.target):
        raise InvalidEndpointError(f"{endpoint.target!r} is not a path and query")
    try:
        validate_subprotocols(cast("tuple[Subprotocol, ...]", endpoint.subprotocols))
    except (TypeError, ValueError) as exc:
        raise InvalidEndpointError(f"invalid subprotocols: {exc}") from exc


def translated(exc: Exception, endpoint: ClientEndpoint) -> ConnectError:
    """Return our exception for the library's; the caller raises it ``from`` that one."""
    # Not the URL, whose query may hold a token.
    where = f"{endpoint.host}:{endpoint.port}"
    if isinstance(exc, InvalidStatus):
        body = bytes(exc.response.body).decode("utf-8", "replace")
        return HandshakeRejectedError(exc.response.status_code, body)
    if isinstance(exc, TimeoutError):
        return ConnectTimeoutError(f"connecting to {where}: {exc}")
    certificate_error = _certificate_error(exc)
    if certificate_error is not None:
        return CertificateError(f"connecting to {where}: {certificate_error}")
    if isinstance(exc, InvalidURI | ValueError | TypeError):
        return InvalidEndpointError(f"connecting to {where}: {exc}")
    cause = f" ({exc.__cause__})" if isinstance(exc, InvalidHandshake) and exc.__cause__ else ""
    # asyncio has none for a server that hangs up in the middle of TLS.
    text = str(exc) or type(exc).__name__
    return ConnectError(f"connecting to {where}: {text}{cause}")


def _certificate_error(exc: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None
