"""Pings, and listeners that come and go."""

from __future__ import annotations

import asyncio

from rxplus_testing._rxplus import (
    ConnectError,
    ConnectionClosedError,
    OnConnection,
    Request,
    Response,
)
from rxplus_testing.contract._bench import SHORT, TransportBench, case, raises, same

__all__ = ["LivenessCases"]


class LivenessCases(TransportBench):
    """Pings, and listeners that come and go."""

    @case
    async def test_liveness_keepalive_timeout_sends_1011(self) -> None:
        """A peer that answers no ping is given up with 1011."""
        async with self.site() as site:
            client, server = await site.connect(
                await site.listen(), ping_interval=SHORT, ping_timeout=SHORT, close_timeout=SHORT
            )
            server.connection.pause_reading()
            info = await client.closed()
            assert (info.code, info.local) == (1011, True)
            assert isinstance(info.error, TimeoutError)

    @case
    async def test_liveness_keepalive_keeps_an_answering_peer(self) -> None:
        """A peer that answers stays connected over many keepalive pings."""
        async with self.site() as site:
            client, server = await site.connect(
                await site.listen(), ping_interval=SHORT / 10, ping_timeout=10.0
            )
            seen: set[float | None] = set()
            while len(seen) < 3:
                seen.add(client.connection.latency)
                await asyncio.sleep(SHORT / 10)
            client.connection.send(["alive"])
            same(await server.received(1), ["alive"])

    @case
    async def test_liveness_latency_reported(self) -> None:
        """The latency is None before a ping was answered, and then what it took."""
        async with self.site() as site:
            client, server = await site.pair()
            for end in (client, server):
                assert end.connection.latency is None
                took = await end.connection.ping()
                assert took >= 0.0
                assert end.connection.latency == took

    @case
    async def test_liveness_ping_of_a_closed_connection_raises(self) -> None:
        """A ping that cannot be answered any more raises ConnectionClosedError."""
        async with self.site() as site:
            client, server = await site.pair()
            server.connection.pause_reading()
            ping = asyncio.ensure_future(client.connection.ping())
            await asyncio.sleep(0)
            client.connection.abort()
            await raises(ConnectionClosedError, ping)
            await raises(ConnectionClosedError, client.connection.ping())

    @case
    async def test_server_stop_sends_1001(self) -> None:
        """A server that stops can tell each of its clients so, and ends with them."""
        async with self.site() as site:
            listener = await site.listen()
            pairs = [await site.connect(listener) for _ in range(3)]
            await listener.close()
            await asyncio.gather(*(server.connection.close(1001, "stop") for _, server in pairs))
            for client, server in pairs:
                seen = await client.closed()
                assert (seen.code, seen.reason, seen.local) == (1001, "stop", False)
                assert (await server.closed()).local

    @case
    async def test_server_restart_same_port(self) -> None:
        """A port can be listened on again at once after its listener and connections closed."""
        async with self.site() as site:
            listener = await site.listen()
            client, server = await site.connect(listener)
            await listener.close()
            await server.connection.close(1001)
            await client.closed()
            again = await site.listen(port=listener.port)
            assert again.port == listener.port
            client, server = await site.connect(again)
            client.connection.send(["back"])
            same(await server.received(1), ["back"])

    @case
    async def test_server_stop_during_handshake(self) -> None:
        """Closing a listener drops a handshake under way, and the client is told."""
        asked = asyncio.Event()

        async def hang(_request: Request) -> Response | OnConnection:
            asked.set()
            never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            return await never

        async with self.site() as site:
            listener = await site.listen(hang)
            connecting = asyncio.ensure_future(site.transport.connect(site.endpoint(listener)))
            await asked.wait()
            await listener.close()
            await raises(ConnectError, connecting)
            await listener.close()

    @case
    async def test_server_nothing_left_running(self) -> None:
        """After listeners and connections closed no task is left, at once."""
        async with self.site() as site:
            before = asyncio.all_tasks()
            listener = await site.listen()
            pairs = [await site.connect(listener) for _ in range(5)]
            await listener.close()
            await asyncio.gather(*(server.connection.close() for _, server in pairs))
            await asyncio.gather(*(client.closed() for client, _ in pairs))
            assert asyncio.all_tasks() <= before
