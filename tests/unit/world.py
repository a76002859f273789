"""Components in a simulated world: no socket, no thread, no time passing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rxplus import (
    ClientEndpoint,
    ConnectError,
    Connection,
    Listener,
    OnRequest,
    Payload,
    RxWSClient,
    RxWSClientGroup,
    RxWSServer,
    ServerEndpoint,
    TaggedData,
)
from rxplus_testing import Sim


class Nowhere:
    """A transport for tests that need real threads and no network: it leads nowhere."""

    async def connect(self, endpoint: ClientEndpoint) -> Connection:
        """Refuse."""
        raise ConnectError("nowhere")

    async def listen(self, endpoint: ServerEndpoint, on_request: OnRequest) -> Listener:
        """Listen where nobody can come."""
        return _DeafListener()


class _DeafListener:
    port = 1

    def broadcast(self, connections: Iterable[Connection], messages: Sequence[Payload]) -> None:
        """Do nothing: there are no connections."""

    async def close(self) -> None:
        """Do nothing."""


class World:
    """A simulation, with short ways to make components in it."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.parts: dict[str, Any] = {"runtime": sim.runtime, "transport": sim.transport}

    def server(self, port: int = 0, **options: Any) -> RxWSServer:
        """Make a server, by default on a free port."""
        return RxWSServer({"host": "127.0.0.1", "port": port}, **{**self.parts, **options})

    def client(self, server: RxWSServer | int, path: str = "/a", **options: Any) -> RxWSClient:
        """Make a client of a server, or of whatever will listen on a port."""
        port = server if isinstance(server, int) else server.port
        config = {"host": "127.0.0.1", "port": port, "path": path}
        return RxWSClient(config, **{**self.parts, **options})

    def connected(self, server: RxWSServer, path: str = "/a", **options: Any) -> RxWSClient:
        """Make a client and wait until it is connected."""
        client = self.client(server, path, **options)
        assert client.wait_connected(10)
        return client

    def group(self, server: RxWSServer | int, **options: Any) -> RxWSClientGroup:
        """Make a group of clients."""
        port = server if isinstance(server, int) else server.port
        return RxWSClientGroup({"host": "127.0.0.1", "port": port}, **{**self.parts, **options})

    def on_loop(self, action: Callable[[], object]) -> None:
        """Do something on the loop thread, as a subscriber would."""
        self.sim.loop.call_soon(action)
        self.sim.run_until_idle()

    def settle(self, seconds: float = 0.1) -> None:
        """Let what is under way arrive."""
        self.sim.advance(seconds)


def tagged(path: str, *values: Any) -> list[TaggedData]:
    """Make tagged values of one path."""
    return [TaggedData(path, value) for value in values]
