"""What every transport must do, as tests that any transport can be put through.

Subclass :class:`TransportContract`, say how to make the transport, and let a test runner find
the class::

    class TestMyTransport(TransportContract):
        def make_transport(self) -> Transport:
            return MyTransport()

Nothing here needs pytest. A case that has to misbehave below the level of messages (malformed
frames, half a handshake) is not here: it belongs to the tests of the transport itself.
"""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from rxplus_testing._rxplus import (
    ClientEndpoint,
    CloseInfo,
    ConnectError,
    Connection,
    ConnectionClosedError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    Headers,
    Listener,
    OnConnection,
    Payload,
    Request,
    Response,
    ServerEndpoint,
    Transport,
    WireOptions,
)

__all__ = ["End", "Site", "TransportBench", "TransportContract", "case", "raises", "refuses"]

KIB = 2**10
MIB = 2**20

SHORT = 0.02
"""Seconds for a timeout that a case wants to pass."""

UNBUFFERABLE = 32 * MIB
"""Bytes that no pair of socket buffers holds."""

NOISE = random.Random(0).randbytes(MIB)  # noqa: S311 - the same in each run
"""What does not get smaller by compression."""

DEBUG_ONLY = "Error on transport creation for incoming connection"
"""What asyncio tells of failed TLS handshakes, in debug mode only."""


class End:
    """One end of a connection, with what it was told.

    Attributes:
        connection: the connection, which delivers once :meth:`start` was called.
        messages: what came, in order.
        infos: what ``on_closed`` was called with; at most one.
        writables: how often ``on_writable`` was called.
        hook: called with each message, after it was taken down.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: list[Payload] = []
        self.infos: list[CloseInfo] = []
        self.writables = 0
        self.hook: Callable[[Payload], None] = lambda _message: None
        self._news = asyncio.Event()

    def start(self) -> End:
        """Let the connection deliver to this end."""
        self.connection.start(self)
        return self

    def on_message(self, message: Payload) -> None:
        """Take down a message."""
        assert not self.infos, "a message after on_closed"
        self.messages.append(message)
        self._news.set()
        self.hook(message)

    def on_writable(self) -> None:
        """Take down that the write buffer has drained."""
        assert not self.infos, "on_writable after on_closed"
        assert self.connection.writable, "on_writable of a connection that is not"
        self.writables += 1
        self._news.set()

    def on_closed(self, info: CloseInfo) -> None:
        """Take down the end."""
        self.infos.append(info)
        self._news.set()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until what came makes ``predicate`` true."""
        while not predicate():
            self._news.clear()
            await self._news.wait()

    async def received(self, count: int) -> list[Payload]:
        """Wait for ``count`` messages in all; return what came."""
        await self.until(lambda: len(self.messages) >= count or bool(self.infos))
        assert len(self.messages) >= count, f"closed after {self.messages}: {self.infos}"
        return self.messages

    async def closed(self) -> CloseInfo:
        """Wait for the end."""
        await self.until(lambda: bool(self.infos))
        return self.infos[0]


class Site:
    """A transport and what a case opened with it.

    Args:
        transport: the transport.
        server: the endpoint to listen on.
        client: the endpoint to connect with; its port is the listener's.
    """

    def __init__(self, transport: Transport, server: ServerEndpoint, client: ClientEndpoint):
        self.transport = transport
        self.server = server
        self.client = client
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.requests: list[Request] = []
        self._ends: list[End] = []
        self._listeners: list[Listener] = []

    async def accept(self, request: Request) -> Response | OnConnection:
        """Let everybody in; what an ``on_request`` may do."""
        self.requests.append(request)
        return self.accepted.put_nowait

    async def listen(
        self,
        on_request: Callable[[Request], Awaitable[Response | OnConnection]] | None = None,
        *,
        port: int = 0,
        subprotocols: tuple[str, ...] = (),
        **options: Any,
    ) -> Listener:
        """Listen; ``options`` are those of :class:`rxplus.WireOptions`."""
        endpoint = replace(
            self.server,
            port=port,
            subprotocols=subprotocols,
            options=replace(self.server.options, **options),
        )
        listener = await self.transport.listen(endpoint, on_request or self.accept)
        self._listeners.append(listener)
        return listener

    def endpoint(self, listener: Listener, **options: Any) -> ClientEndpoint:
        """Return how to connect to ``listener``."""
        return replace(
            self.client, port=listener.port, options=replace(self.client.options, **options)
        )

    async def connect(self, listener: Listener, **options: Any) -> tuple[End, End]:
        """Connect; return the client's and the server's end, both started."""
        client = self.adopt(await self.transport.connect(self.endpoint(listener, **options)))
        return client.start(), (await self.server_end()).start()

    async def pair(self, **options: Any) -> tuple[End, End]:
        """Listen and connect, with the same options on both sides."""
        return await self.connect(await self.listen(**options), **options)

    async def server_end(self) -> End:
        """Return the server's end of the next connection, not started."""
        return self.adopt(await self.accepted.get())

    def adopt(self, connection: Connection) -> End:
        """Have a connection dropped when the case ends."""
        end = End(connection)
        self._ends.append(end)
        return end

    async def close(self) -> None:
        """Drop everything that is still open."""
        for listener in self._listeners:
            await listener.close()
        while not self.accepted.empty():
            self.adopt(self.accepted.get_nowait()).start()
        for end in self._ends:
            if not end.infos:
                end.connection.abort()
        for end in self._ends:
            await end.closed()
            assert len(end.infos) == 1, "on_closed was called more than once"


def case(method: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Make a test of a coroutine method of a :class:`TransportBench`."""

    def test(self: TransportBench) -> None:
        self.run(method(self))

    # Not functools.wraps: its __wrapped__ lets test runners find the coroutine function.
    test.__name__ = method.__name__
    test.__qualname__ = method.__qualname__
    test.__doc__ = method.__doc__
    return test


async def raises(expected: type[BaseException], awaitable: Awaitable[object]) -> Any:
    """Await something that must raise; return what it raised."""
    try:
        await awaitable
    except expected as exc:
        return exc
    raise AssertionError(f"{expected.__name__} was not raised")


def refuses(expected: type[BaseException], function: Callable[..., object], *args: Any) -> Any:
    """Call something that must raise; return what it raised."""
    try:
        function(*args)
    except expected as exc:
        return exc
    raise AssertionError(f"{expected.__name__} was not raised")


class TransportBench:
    """Runs :func:`case` methods of its subclasses, each on a loop of its own.

    Attributes:
        host: where to listen and connect.
        time_limit: seconds that a case may take.
        options: of both sides, unless a case says otherwise.
        server_tls: context to listen with.
        client_tls: context to connect with.
    """

    host = "127.0.0.1"
    time_limit = 20.0
    options = WireOptions()
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None

    def make_transport(self) -> Transport:
        """Return the transport to try."""
        raise NotImplementedError

    def run(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run one case to its end. Override it to run cases on another loop.

        Raises:
            AssertionError: the case failed, or left a task or an unhandled exception.
        """
        asyncio.run(self.watched(coro))
        gc.collect()

    async def watched(self, coro: Coroutine[Any, Any, None]) -> None:
        """Await a case, within the time limit; fail if it leaves something behind."""
        unhandled: list[dict[str, Any]] = []

        def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            unhandled.append(context)

        asyncio.get_running_loop().set_exception_handler(note)
        async with asyncio.timeout(self.time_limit):
            await coro
            # A task that is done in effect may need a turn of the loop to be done.
            for _ in range(10):
                await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        gc.collect()
        told = [context for context in unhandled if context["message"] != DEBUG_ONLY]
        assert not told, f"unhandled: {told}"

    @asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """Make a transport; drop at the end what was opened with it."""
        site = Site(
            self.make_transport(),
            ServerEndpoint(host=self.host, port=0, tls=self.server_tls, options=self.options),
            ClientEndpoint(host=self.host, port=0, tls=self.client_tls, options=self.options),
        )
        try:
            yield site
        finally:
            await site.close()


class TransportContract(TransportBench):
    """The cases. Subclass it with a ``make_transport``."""

    # Connect

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
            assert await server.received(1) == ["still here"]

    # Data

    @case
    async def test_data_text_bytes_types_preserved(self) -> None:
        """Text arrives as str and binary as bytes, in both directions."""
        messages: list[Payload] = ["text", b"bytes", "\N{SNOWMAN}\0", b"\xff\x00", b"text"]
        async with self.site() as site:
            client, server = await site.pair()
            for sender, receiver in ((client, server), (server, client)):
                sender.connection.send(messages)
                assert await receiver.received(5) == messages
                assert [type(message) for message in receiver.messages] == [
                    type(message) for message in messages
                ]

    @case
    async def test_data_empty_message_delivered(self) -> None:
        """Empty messages are messages; an empty batch is nothing."""
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.send([])
            client.connection.send(["", b"", "end"])
            assert await server.received(3) == ["", b"", "end"]

    @case
    async def test_data_bad_type_typeerror(self) -> None:
        """A batch with a message of another type raises TypeError and is not sent in part."""
        bad: list[Any] = [None, 1, ["list"]]
        async with self.site() as site:
            client, server = await site.pair()
            for one in bad:
                for end in (client, server):
                    refuses(TypeError, end.connection.send, ["before", one, "after"])
            client.connection.send(["good"])
            server.connection.send(["good"])
            assert await server.received(1) == ["good"]
            assert await client.received(1) == ["good"]

    @case
    async def test_data_order_1000(self) -> None:
        """A thousand messages arrive in order, however they were batched."""
        messages = [str(number) for number in range(1000)]
        async with self.site() as site:
            client, server = await site.pair()
            at = 0
            for size in (1, 2, 97, 400, 500):
                client.connection.send(messages[at : at + size])
                at += size
                await asyncio.sleep(0)
            assert await server.received(1000) == messages

    @case
    async def test_data_full_duplex(self) -> None:
        """Both directions at once do not disturb each other."""
        async with self.site() as site:
            client, server = await site.pair()
            up = [f"up {number}" * 50 for number in range(500)]
            down = [f"down {number}" * 50 for number in range(500)]
            for at in range(0, 500, 50):
                client.connection.send(up[at : at + 50])
                server.connection.send(down[at : at + 50])
                await asyncio.sleep(0)
            assert await server.received(500) == up
            assert await client.received(500) == down

    @case
    async def test_data_every_frame_length(self) -> None:
        """Messages around each size where a frame or a buffer changes its form arrive whole."""
        sizes = [125, 126, 127, 2**16 - 1, 2**16, 2**16 + 1]
        messages: list[Payload] = []
        for size in sizes:
            messages += [bytes(range(256)) * (size // 256) + b"x" * (size % 256), "y" * size]
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.send(messages)
            server.connection.send(messages)
            assert await server.received(len(messages)) == messages
            assert await client.received(len(messages)) == messages

    @case
    async def test_data_message_1mib(self) -> None:
        """Large messages among small ones arrive whole and in order."""
        large = bytes(range(256)) * (MIB // 256)
        messages: list[Payload] = ["before", large, large[::-1], "after"]
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.send(messages)
            server.connection.send(messages)
            assert await server.received(4) == messages
            assert await client.received(4) == messages

    @case
    async def test_data_over_max_size_1009(self) -> None:
        """A message over the limit closes with 1009 on both sides; what came before arrives."""
        async with self.site() as site:
            listener = await site.listen(max_message_size=100)
            client, server = await site.connect(listener)
            client.connection.send(["fits", b"x" * 101])
            info = await server.closed()
            assert (info.code, info.local) == (1009, True)
            assert info.error is not None
            assert server.messages == ["fits"]
            seen = await client.closed()
            assert (seen.code, seen.local) == (1009, False)

    @case
    async def test_data_max_size_boundary_ok(self) -> None:
        """A message of exactly the limit is let through; the limit counts bytes."""
        async with self.site() as site:
            client, server = await site.connect(await site.listen(max_message_size=100))
            client.connection.send([b"x" * 100, "\N{EURO SIGN}" * 33])
            assert await server.received(2) == [b"x" * 100, "\N{EURO SIGN}" * 33]
            client.connection.send(["\N{EURO SIGN}" * 34])
            assert (await server.closed()).code == 1009

    @case
    async def test_data_mutable_buffer_is_refused(self) -> None:
        """A buffer that could change while it waits is a TypeError, not a race."""
        async with self.site() as site:
            client, server = await site.pair()
            buffers: list[Any] = [bytearray(b"x"), memoryview(b"x")]
            for buffer in buffers:
                refuses(TypeError, client.connection.send, [buffer])
            client.connection.send([b"x"])
            assert await server.received(1) == [b"x"]

    # Concurrency

    @case
    async def test_concurrency_sends_are_whole(self) -> None:
        """Batches of several tasks do not mix."""
        async with self.site() as site:
            client, server = await site.pair()

            async def produce(name: str) -> None:
                for _ in range(20):
                    client.connection.send([name] * 10)
                    await asyncio.sleep(0)

            await asyncio.gather(*(produce(name) for name in "abc"))
            await server.received(600)
            batches = [server.messages[at : at + 10] for at in range(0, 600, 10)]
            assert all(len(set(batch)) == 1 for batch in batches)

    @case
    async def test_concurrency_foreign_thread_use_raises(self) -> None:
        """A call from another thread raises RuntimeError and does nothing."""
        async with self.site() as site:
            client, server = await site.pair()
            calls: list[Callable[[], object]] = [
                lambda: client.connection.send(["foreign"]),
                client.connection.abort,
                client.connection.pause_reading,
                client.connection.resume_reading,
            ]
            for call in calls:
                assert isinstance(self._raised_elsewhere(call), RuntimeError)
            client.connection.send(["own"])
            assert await server.received(1) == ["own"]

    def _raised_elsewhere(self, call: Callable[[], object]) -> BaseException | None:
        """Make a call on another thread; return what it raised."""
        raised: list[BaseException | None] = [None]

        def attempt() -> None:
            try:
                call()
            except RuntimeError as exc:
                raised.append(exc)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        return raised[-1]

    @case
    async def test_concurrency_cancelled_ping_loses_nothing(self) -> None:
        """Cancelling a ping leaves the connection as it was."""
        async with self.site() as site:
            client, server = await site.pair()
            ping = asyncio.ensure_future(client.connection.ping())
            await asyncio.sleep(0)
            ping.cancel()
            await raises(asyncio.CancelledError, ping)
            client.connection.send(["after"])
            assert await server.received(1) == ["after"]
            assert await client.connection.ping() >= 0

    @case
    async def test_concurrency_callbacks_may_call_back(self) -> None:
        """A receiver may send, pause, resume and close from within on_message."""
        async with self.site() as site:
            client, server = await site.pair()
            closing: list[asyncio.Future[None]] = []

            def answer(message: Payload) -> None:
                server.connection.pause_reading()
                server.connection.send([message])
                server.connection.resume_reading()
                if message == "3":
                    closing.append(asyncio.ensure_future(server.connection.close(4000)))

            server.hook = answer
            client.connection.send(["1", "2", "3"])
            assert (await client.closed()).code == 4000
            assert client.messages == ["1", "2", "3"]
            await closing[0]

    # Backpressure

    async def _choke(self, site: Site) -> tuple[End, End]:
        """Return a pair whose server does not read and whose client is over its high mark.

        On the way there the client may have been over it before: a socket may take what was
        written in between.
        """
        client, server = await site.pair()
        server.connection.pause_reading()
        sent = 0
        while client.connection.writable:
            client.connection.send([NOISE])
            sent += MIB
            assert sent < UNBUFFERABLE, "still writable"
            await asyncio.sleep(0)
        return client, server

    @case
    async def test_backpressure_slow_reader_raises_high_mark(self) -> None:
        """A peer that does not read makes the sender unwritable, and receives nothing."""
        async with self.site() as site:
            client, server = await self._choke(site)
            assert not client.connection.writable
            assert server.messages == []

    @case
    async def test_backpressure_drained_is_signalled(self) -> None:
        """When the peer reads on, on_writable is called and everything arrives."""
        async with self.site() as site:
            client, server = await self._choke(site)
            client.connection.send(["last"])
            before = client.writables
            server.connection.resume_reading()
            await client.until(lambda: client.writables > before)
            assert client.connection.writable
            await server.until(lambda: server.messages[-1:] == ["last"])
            assert set(server.messages[:-1]) == {NOISE}

    @case
    async def test_backpressure_pending_send_fails_on_abort(self) -> None:
        """Aborting with a full write buffer ends at once, without on_writable."""
        async with self.site() as site:
            client, _ = await self._choke(site)
            before = client.writables
            client.connection.abort()
            refuses(ConnectionClosedError, client.connection.send, ["late"])
            assert not client.connection.writable
            assert (await client.closed()).code == 1006
            assert client.writables == before

    @case
    async def test_backpressure_pause_reading_stops_delivery(self) -> None:
        """Pausing from within a callback holds even what was already parsed, in order."""
        messages = [str(number) for number in range(10)]
        async with self.site() as site:
            client, server = await site.pair()

            def pause_at_three(message: Payload) -> None:
                if message == "3":
                    server.connection.pause_reading()

            server.hook = pause_at_three
            client.connection.send(messages)
            await server.received(4)
            # An answer to the client and back: more would have come by then.
            server.connection.send(["tick"])
            await client.received(1)
            assert server.messages == messages[:4]
            server.connection.resume_reading()
            assert server.messages == messages[:4], "delivered within resume_reading()"
            assert await server.received(10) == messages

    @case
    async def test_backpressure_pause_during_resume(self) -> None:
        """A receiver that pauses at every message gets one per resume."""
        messages = [str(number) for number in range(5)]
        async with self.site() as site:
            client, server = await site.pair()
            server.hook = lambda _message: server.connection.pause_reading()
            client.connection.send(messages)
            for number in range(5):
                await server.received(number + 1)
                assert server.messages == messages[: number + 1]
                server.connection.resume_reading()

    @case
    async def test_backpressure_pause_and_resume_are_idempotent(self) -> None:
        """Pausing or resuming twice is as good as once, and resuming needs no pause before."""
        async with self.site() as site:
            client, server = await site.pair()
            server.connection.resume_reading()
            client.connection.send(["1"])
            await server.received(1)
            server.connection.pause_reading()
            server.connection.pause_reading()
            server.connection.resume_reading()
            server.connection.resume_reading()
            client.connection.send(["2"])
            assert await server.received(2) == ["1", "2"]

    @case
    async def test_backpressure_nothing_is_delivered_before_start(self) -> None:
        """What comes before start() waits for it, and then comes in order."""
        async with self.site() as site:
            listener = await site.listen()
            client = site.adopt(await site.transport.connect(site.endpoint(listener)))
            server = (await site.server_end()).start()
            server.connection.send(["1", "2"])
            server.connection.send(["3"])
            client.connection.send(["up"])
            await server.received(1)
            assert client.messages == []
            client.start()
            assert await client.received(3) == ["1", "2", "3"]

    @case
    async def test_backpressure_end_before_start_is_told(self) -> None:
        """A connection that ended before start() delivers what it got, and then its end."""
        async with self.site() as site:
            listener = await site.listen()
            client = site.adopt(await site.transport.connect(site.endpoint(listener)))
            server = (await site.server_end()).start()
            server.connection.send(["parting", "words"])
            closing = asyncio.ensure_future(server.connection.close(4001))
            await asyncio.sleep(0)
            client.start()
            assert (await client.closed()).code == 4001
            assert client.messages == ["parting", "words"]
            await closing

    @case
    async def test_backpressure_kept_messages_come_before_the_end(self) -> None:
        """What was held back by a pause is delivered before on_closed."""
        messages = [str(number) for number in range(10)]
        async with self.site() as site:
            client, server = await site.pair()

            def pause_at_three(message: Payload) -> None:
                if message == "3":
                    server.connection.pause_reading()

            server.hook = pause_at_three
            client.connection.send(messages)
            closing = asyncio.ensure_future(client.connection.close(4002))
            await server.received(4)
            server.connection.resume_reading()
            assert (await server.closed()).code == 4002
            assert server.messages == messages
            await closing

    @case
    async def test_backpressure_abort_drops_kept_messages(self) -> None:
        """After abort() nothing is delivered but the end, also of a paused connection."""
        async with self.site() as site:
            client, server = await site.pair()
            server.hook = lambda _message: server.connection.pause_reading()
            client.connection.send(["1", "2", "3"])
            await server.received(1)
            server.connection.abort()
            assert (await server.closed()).code == 1006
            assert server.messages == ["1"]

    # Broadcast

    @case
    async def test_broadcast_reaches_open_connections(self) -> None:
        """A broadcast reaches each open connection once, and passes over closed ones."""
        messages: list[Payload] = ["text", b"bytes", "x" * 70 * KIB, ""]
        async with self.site() as site:
            listener = await site.listen()
            pairs = [await site.connect(listener) for _ in range(4)]
            gone_client, gone_server = pairs.pop()
            gone_client.connection.abort()
            await gone_server.closed()
            servers = [server.connection for _, server in pairs]
            listener.broadcast([gone_server.connection, *servers], messages)
            listener.broadcast(iter(servers), ["end"])
            for client, _ in pairs:
                assert await client.received(5) == [*messages, "end"]

    @case
    async def test_broadcast_bad_type_typeerror(self) -> None:
        """A broadcast with a message of another type reaches nobody."""
        bad: list[Any] = ["good", 1]
        async with self.site() as site:
            listener = await site.listen()
            client, server = await site.connect(listener)
            refuses(TypeError, listener.broadcast, [server.connection], bad)
            listener.broadcast([server.connection], ["next"])
            assert await client.received(1) == ["next"]

    # Close

    @case
    async def test_close_code_and_reason_both_sides(self) -> None:
        """Either side may close; both hear code and reason, and who began."""
        async with self.site() as site:
            listener = await site.listen()
            for closer_at in (0, 1):
                ends = await site.connect(listener)
                closer, other = ends[closer_at], ends[1 - closer_at]
                await closer.connection.close(4010, "na\xefve")
                for end, local in ((closer, True), (other, False)):
                    info = await end.closed()
                    assert (info.code, info.reason) == (4010, "na\xefve")
                    assert info.local is local
                    assert info.error is None

    @case
    async def test_close_app_codes_pass(self) -> None:
        """Every code that may be sent arrives as it was sent."""
        async with self.site() as site:
            listener = await site.listen()
            for code in (1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000, 4999):
                client, server = await site.connect(listener)
                await server.connection.close(code)
                assert (await client.closed()).code == code
                assert (await server.closed()).code == code

    @case
    async def test_close_queued_before_close_delivered(self) -> None:
        """What was sent before close() arrives, also when it is more than buffers hold."""
        async with self.site() as site:
            client, server = await site.pair(max_message_size=None)
            client.connection.send([NOISE * (UNBUFFERABLE // MIB), "last"])
            await client.connection.close()
            assert (await server.closed()).code == 1000
            assert [len(message) for message in server.messages] == [UNBUFFERABLE, 4]

    @case
    async def test_close_local_close_tells_receiver(self) -> None:
        """When close() returns, on_closed has been called."""
        async with self.site() as site:
            client, _ = await site.pair()
            await client.connection.close()
            assert [info.code for info in client.infos] == [1000]

    @case
    async def test_close_send_after_close_raises(self) -> None:
        """Sending raises ConnectionClosedError from the moment close() was called."""
        async with self.site() as site:
            client, server = await site.pair()
            closing = asyncio.ensure_future(client.connection.close())
            await asyncio.sleep(0)
            refuses(ConnectionClosedError, client.connection.send, ["late"])
            assert not client.connection.writable
            await closing
            await server.closed()
            for end in (client, server):
                exc = refuses(ConnectionClosedError, end.connection.send, ["late"])
                assert exc.code == 1000
                assert not end.connection.writable
            assert server.messages == []

    @case
    async def test_close_idempotent(self) -> None:
        """Closing twice, at once or later, and aborting afterwards changes nothing."""
        async with self.site() as site:
            client, _ = await site.pair()
            await asyncio.gather(*(client.connection.close(4000 + n) for n in range(3)))
            await client.connection.close(4005)
            client.connection.abort()
            await asyncio.sleep(0)
            assert [info.code for info in client.infos] == [4000]

    @case
    async def test_close_simultaneous_close_ends(self) -> None:
        """Both sides closing at once ends both, each with the code of the other."""
        async with self.site() as site:
            client, server = await site.pair()
            await asyncio.gather(client.connection.close(4001), server.connection.close(4002))
            assert (await client.closed()).code == 4002
            assert (await server.closed()).code == 4001
            assert client.infos[0].local
            assert server.infos[0].local

    @case
    async def test_close_timeout_bounds_silent_peer(self) -> None:
        """A peer that does not answer the close is dropped after close_timeout."""
        async with self.site() as site:
            client, server = await site.connect(await site.listen(), close_timeout=SHORT)
            server.connection.pause_reading()
            await client.connection.close(4000)
            info = await client.closed()
            assert (info.code, info.local) == (1006, True)
            assert isinstance(info.error, TimeoutError)

    @case
    async def test_close_timeout_bounds_full_buffer(self) -> None:
        """A peer that does not read cannot hold up a close beyond close_timeout."""
        async with self.site() as site:
            client, server = await site.connect(await site.listen(), close_timeout=SHORT)
            server.connection.pause_reading()
            client.connection.send([NOISE * (UNBUFFERABLE // MIB)])
            await client.connection.close()
            assert (await client.closed()).code == 1006

    @case
    async def test_close_cancelled_close_still_closes(self) -> None:
        """Cancelling close() aborts the connection."""
        async with self.site() as site:
            client, server = await site.connect(await site.listen(), close_timeout=None)
            server.connection.pause_reading()
            closing = asyncio.ensure_future(client.connection.close())
            await asyncio.sleep(0)
            closing.cancel()
            await raises(asyncio.CancelledError, closing)
            info = await client.closed()
            assert (info.code, info.local) == (1006, True)

    @case
    async def test_close_while_paused_ends(self) -> None:
        """A connection whose receiver paused it can be closed all the same."""
        async with self.site() as site:
            client, server = await site.pair()
            server.connection.pause_reading()
            await server.connection.close(4003)
            assert (await server.closed()).code == 4003
            assert (await client.closed()).code == 4003

    @case
    async def test_close_abort_is_1006(self) -> None:
        """An abort is 1006 on both sides, and only the one that aborted is said to be local."""
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.abort()
            refuses(ConnectionClosedError, client.connection.send, ["late"])
            info = await client.closed()
            assert (info.code, info.local, info.error) == (1006, True, None)
            seen = await server.closed()
            assert (seen.code, seen.local) == (1006, False)
            assert seen.error is not None
            client.connection.abort()
            await client.connection.close()
            assert len(client.infos) == 1

    @case
    async def test_close_abort_within_callback_is_last(self) -> None:
        """After abort() from within on_message no further message is delivered."""
        async with self.site() as site:
            client, server = await site.pair()
            server.hook = lambda _message: server.connection.abort()
            client.connection.send(["1", "2", "3"])
            await server.closed()
            assert server.messages == ["1"]

    @case
    async def test_close_partial_message_dropped_on_abort(self) -> None:
        """A message of which only a part got out before the abort is not delivered."""
        async with self.site() as site:
            client, server = await site.pair(max_message_size=None)
            client.connection.send([NOISE * (UNBUFFERABLE // MIB)])
            client.connection.abort()
            assert (await server.closed()).code == 1006
            assert server.messages == []

    # Liveness and the server

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
            assert await server.received(1) == ["alive"]

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
            assert await server.received(1) == ["back"]

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
