"""Libraries for threads: ``websockets.sync`` on both sides, and the client ``websocket-client``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import websocket
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from benchmarks.sides.plain import HOST, MAX_SIZE

__all__ = ["Handler", "pair", "serving", "sink", "websocket_client_pair"]

Handler = Callable[[ServerConnection], None]


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """Serve on a free port, with a thread for each connection."""
    with serve(handler, HOST, 0, compression=None, max_size=MAX_SIZE) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def pair(handler: Handler) -> Iterator[ClientConnection]:
    """Serve, and connect one client of ``websockets.sync``."""
    with serving(handler) as port:
        uri = f"ws://{HOST}:{port}/"
        with connect(uri, compression=None, max_size=MAX_SIZE, proxy=None) as client:
            yield client


@contextmanager
def websocket_client_pair(handler: Handler) -> Iterator[websocket.WebSocket]:
    """Serve with ``websockets.sync``, and connect one client of ``websocket-client``."""
    with serving(handler) as port:
        client = websocket.create_connection(f"ws://{HOST}:{port}/")
        try:
            yield client
        finally:
            client.close()


def sink(take: Callable[[str | bytes], object]) -> Handler:
    """Make a handler that takes all messages."""

    def handler(connection: ServerConnection) -> None:
        for message in connection:
            take(message)

    return handler
