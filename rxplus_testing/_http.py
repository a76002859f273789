"""The opening handshake as bytes (RFC 6455, section 4)."""

from __future__ import annotations

import base64
import hashlib
import http

from rxplus_testing._rxplus import Headers, HeadersLike, Request

__all__ = ["END_OF_HEAD", "parse_head", "request_of", "response", "switching", "upgrade"]

END_OF_HEAD = b"\r\n\r\n"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = base64.b64encode(bytes(16)).decode()


def parse_head(head: bytes) -> tuple[str, Headers]:
    """Return the first line and the headers of a request or response."""
    start, *lines = head.partition(END_OF_HEAD)[0].decode("latin-1").split("\r\n")
    parts = (line.partition(":") for line in lines)
    return start, Headers((name, value.strip()) for name, _, value in parts)


def request_of(start: str, headers: Headers) -> Request:
    """Return the request that a head makes."""
    target = start.partition(" ")[2].rpartition(" ")[0]
    path, _, query = target.partition("?")
    return Request(path=path, query=query, headers=headers)


def upgrade(host: str, target: str, headers: HeadersLike = ()) -> bytes:
    """Return a request to open a connection. Its key is always the same."""
    return _head(
        f"GET {target} HTTP/1.1",
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", _KEY),
        ("Sec-WebSocket-Version", "13"),
        *Headers(headers).raw_items(),
    )


def switching(request: Headers, subprotocol: str | None = None) -> bytes:
    """Return the answer that opens a connection."""
    chosen = [("Sec-WebSocket-Protocol", subprotocol)] if subprotocol else []
    return _head(
        "HTTP/1.1 101 Switching Protocols",
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", _accept_key(request["Sec-WebSocket-Key"])),
        *chosen,
    )


def response(status: int, body: str) -> bytes:
    """Return the answer that does not."""
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    data = body.encode()
    head = _head(
        f"HTTP/1.1 {status} {phrase}",
        ("Connection", "close"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(data))),
    )
    return head + data


def _head(start: str, *headers: tuple[str, str]) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - the RFC's
