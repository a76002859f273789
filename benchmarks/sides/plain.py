"""Plain ``websockets``, asyncio API: server and client on one event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve

__all__ = [
    "HOST",
    "MAX_SIZE",
    "ClientConnection",
    "Handler",
    "ServerConnection",
    "connecting",
    "pair",
    "port_of",
    "serving",
    "sink",
]

HOST = "127.0.0.1"

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]

MAX_SIZE = 16 * 2**20
"""As rxplus has it."""


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    """Serve on a free port, without compression: rxplus has none unless asked."""
    async with serve(handler, HOST, 0, compression=None, max_size=MAX_SIZE) as server:
        yield server


def connecting(port: int, path: str = "/") -> connect:
    """Connect, without compression."""
    uri = f"ws://{HOST}:{port}{path}"
    return connect(uri, compression=None, max_size=MAX_SIZE, proxy=None)


@asynccontextmanager
async def pair(handler: Handler) -> AsyncIterator[ClientConnection]:
    """Serve, and connect one client."""
    async with serving(handler) as server, connecting(port_of(server)) as client:
        yield client


def port_of(server: Server) -> int:
    """Return the port that a server listens on."""
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


def sink(take: Callable[[str | bytes], object]) -> Handler:
    """Make a handler that takes all messages, the way the library's documentation shows."""

    async def handler(connection: ServerConnection) -> None:
        async for message in connection:
            take(message)

    return handler
