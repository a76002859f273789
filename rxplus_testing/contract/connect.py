"""Opening a connection, and failing to."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rxplus_testing._rxplus import (
    ConnectError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    Headers,
    OnConnection,
    Request,
    Response,
)
from rxplus_testing.contract._bench import SHORT, TransportBench, case, raises, same

__all__ = ["ConnectCases"]


class ConnectCases(TransportBench):
    """Opening a connection, and failing to."""

    @case
    async def test_connect_refused_when_nobody_listens(self) -> None:
        """A port that nobody listens on is a plain ConnectError."""
        async with self.site() as site:
            listener = await site.listen()
            await listener.close()
            exc = await raises(ConnectError, site.transport.connect(site.endpoint(listener)))
            assert not isinstance(exc, HandshakeRejectedError | ConnectTimeoutError)

    @case
    async def test_connect_succeeds_when_bound(self) -> None:
        """Both sides get an open connection that knows both addresses."""
        async with self.site() as site:
            client, server = await site.pair()
            assert client.connection.writable
            assert server.connection.writable
            assert client.connection.remote_address == server.connection.local_address
            assert client.connection.local_address == server.connection.remote_address

    @case
    async def test_connect_port_in_use_is_oserror(self) -> None:
        """Listening where somebody listens raises OSError, and leaves the first alone."""
        async with self.site() as site:
            listener = await site.listen()
            await raises(OSError, site.listen(port=listener.port))
            await site.connect(listener)

    @case
    async def test_connect_reject_status_surfaces(self) -> None:
        """The client hears the status and the body that the server refused with."""

        async def refuse(_request: Request) -> Response | OnConnection:
            return Response(status=403, body="members only")

        async with self.site() as site:
            listener = await site.listen(refuse)
            connecting = site.transport.connect(site.endpoint(listener))
            exc = await raises(HandshakeRejectedError, connecting)
            assert (exc.status, exc.body) == (403, "members only")

    @case
    async def test_connect_failing_on_request_is_500(self) -> None:
        """An on_request that raises refuses with 500, and nothing else happens."""

        async def fail(_request: Request) -> Response | OnConnection:
            raise LookupError("secret")

        async with self.site() as site:
            listener = await site.listen(fail)
            connecting = site.transport.connect(site.endpoint(listener))
            exc = await raises(HandshakeRejectedError, connecting)
            assert exc.status == 500
            assert "secret" not in exc.body

    @case
    async def test_connect_handshake_timeout(self) -> None:
        """A server that does not answer is a ConnectTimeoutError, which is a TimeoutError."""

        async def hang(_request: Request) -> Response | OnConnection:
            never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            return await never

        async with self.site() as site:
            listener = await site.listen(hang)
            connecting = site.transport.connect(site.endpoint(listener, open_timeout=SHORT))
            exc = await raises(ConnectTimeoutError, connecting)
            assert isinstance(exc, TimeoutError)

    @case
    async def test_connect_cancel_leaves_nothing(self) -> None:
        """A connect that is cancelled half-way opens no connection on either side."""
        asked, answer = asyncio.Event(), asyncio.Event()

        async with self.site() as site:

            async def hold(_request: Request) -> Response | OnConnection:
                asked.set()
                await answer.wait()
                return site.accepted.put_nowait

            listener = await site.listen(hold)
            connecting = asyncio.ensure_future(site.transport.connect(site.endpoint(listener)))
            await asked.wait()
            connecting.cancel()
            await raises(asyncio.CancelledError, connecting)
            answer.set()
            await listener.close()
            assert site.accepted.empty()

    @case
    async def test_connect_path_query_headers_reach_server(self) -> None:
        """The server sees the path without the query, the query, and every header."""
        async with self.site() as site:
            listener = await site.listen()
            endpoint = replace(
                site.endpoint(listener),
                target="/a%20b/c?x=1&y=%2F",
                origin="https://example.org",
                headers=Headers([("X-Many", "one"), ("X-Many", "two"), ("Authorization", "A b")]),
            )
            client = site.adopt(await site.transport.connect(endpoint)).start()
            server = (await site.server_end()).start()
            for request in (server.connection.request, client.connection.request):
                assert (request.path, request.query) == ("/a%20b/c", "x=1&y=%2F")
                assert request.headers.get_all("x-many") == ["one", "two"]
                assert request.headers["authorization"] == "A b"
                assert request.headers["origin"] == "https://example.org"
                assert request.is_upgrade
                assert request.secure == (self.client_tls is not None)
                assert request.remote_address == client.connection.local_address
            assert site.requests == [server.connection.request]

    @case
    async def test_connect_subprotocol_choice(self) -> None:
        """The server's preference decides; without a common one there is none, and no error."""
        async with self.site() as site:
            listener = await site.listen(subprotocols=("best", "good"))
            offers = {("good", "best"): "best", ("good",): "good", ("odd",): None, (): None}
            for offered, chosen in offers.items():
                endpoint = replace(site.endpoint(listener), subprotocols=offered)
                client = site.adopt(await site.transport.connect(endpoint)).start()
                server = (await site.server_end()).start()
                assert client.connection.subprotocol == chosen
                assert server.connection.subprotocol == chosen

    @case
    async def test_connect_ephemeral_port_reported(self) -> None:
        """Port 0 gives each listener a port of its own, which it tells."""
        async with self.site() as site:
            ports = {(await site.listen()).port for _ in range(3)}
            assert len(ports) == 3
            assert all(0 < port < 2**16 for port in ports)

    @case
    async def test_connect_refused_after_stop(self) -> None:
        """A listener that was closed accepts nobody; connections that it accepted live on."""
        async with self.site() as site:
            listener = await site.listen()
            client, server = await site.connect(listener)
            await listener.close()
            await raises(ConnectError, site.transport.connect(site.endpoint(listener)))
            client.connection.send(["still here"])
            same(await server.received(1), ["still here"])
