"""What the cases of the contract stand on: two ends, what they heard, and a loop to run on."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

from rxplus_testing._byte_line import connect_line
from rxplus_testing._line import Line
from rxplus_testing._rxplus import (
    ClientEndpoint,
    CloseInfo,
    Connection,
    Listener,
    OnConnection,
    Payload,
    Request,
    Response,
    ServerEndpoint,
    Transport,
    WireOptions,
)
from rxplus_testing._teardown import Collector

__all__ = [
    "KIB",
    "MIB",
    "SHORT",
    "End",
    "Site",
    "TransportBench",
    "case",
    "raises",
    "refuses",
    "same",
]

KIB = 2**10
MIB = 2**20

SHORT = 0.02
"""Seconds for a timeout that a case wants to pass."""

_NOISE = random.Random(0).randbytes(MIB)  # noqa: S311 - the same in each run
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

    def start_in_batches(self) -> End:
        """Let the connection deliver to this end what has arrived together in one call."""
        self.connection.start(_InBatches(self))
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


class _InBatches:
    """An end's :class:`rxplus.BatchReceiver`."""

    def __init__(self, end: End) -> None:
        self.on_message = end.on_message
        self.on_writable = end.on_writable
        self.on_closed = end.on_closed

    def on_messages(self, messages: Sequence[Payload], *, more: bool) -> None:
        """Take down messages."""
        for message in messages:
            self.on_message(message)


class Site:
    """A transport and what a case opened with it.

    Args:
        bench: whose case it is.
        transport: the transport.
        server: the endpoint to listen on.
        client: the endpoint to connect with; its port is the listener's.
    """

    def __init__(
        self,
        bench: TransportBench,
        transport: Transport,
        server: ServerEndpoint,
        client: ClientEndpoint,
    ):
        self._bench = bench
        self.transport = transport
        self.server = server
        self.client = client
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.requests: list[Request] = []
        self._ends: list[End] = []
        self._lines: list[Line] = []
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
        self._bench.narrow(connection)
        end = End(connection)
        self._ends.append(end)
        return end

    async def line(self, **options: Any) -> tuple[Line, End]:
        """Listen, and connect a client that can misbehave; return it and the server's end."""
        line = await self._bench.line(self.endpoint(await self.listen(**options)))
        self._lines.append(line)
        return line, (await self.server_end()).start()

    async def close(self) -> None:
        """Drop everything that is still open."""
        for line in self._lines:
            line.abort()
        for listener in self._listeners:
            await listener.close()
        while not self.accepted.empty():
            self.adopt(self.accepted.get_nowait()).start()
        for end in self._ends:
            if not end.infos:
                end.connection.abort()
        for line in self._lines:
            await line.until(lambda: line.closed is not None)  # noqa: B023 - awaited at once
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
    except Exception as exc:
        raise AssertionError(f"{expected.__name__} was not raised, but {exc!r}") from exc
    raise AssertionError(f"{expected.__name__} was not raised")


def same(came: Sequence[object], expected: Sequence[object], why: str = "") -> None:
    """Compare what came with what was to come.

    Not a plain ``assert``: a test runner that shows where two lists of large messages differ
    can take minutes over it.
    """
    if came == expected:
        return
    at = next((n for n, (a, b) in enumerate(zip(came, expected, strict=False)) if a != b), None)
    if at is None:
        found = f"{len(came)} came of {len(expected)}, the same as far as they go"
    else:
        found = f"number {at} is {_short(came[at])}, not {_short(expected[at])}"
    raise AssertionError(f"{why}: {found}" if why else found)


def _short(message: object) -> str:
    text = repr(message)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text)} characters)"


def refuses(expected: type[BaseException], function: Callable[..., object], *args: Any) -> Any:
    """Call something that must raise; return what it raised."""
    try:
        function(*args)
    except expected as exc:
        return exc
    except Exception as exc:
        raise AssertionError(f"{expected.__name__} was not raised, but {exc!r}") from exc
    raise AssertionError(f"{expected.__name__} was not raised")


class TransportBench:
    """Runs :func:`case` methods of its subclasses, each on a loop of its own.

    Attributes:
        host: where to listen and connect.
        time_limit: seconds that a case may take.
        options: of both sides, unless a case says otherwise.
        loop_factory: makes the loop of each case; ``None``: asyncio's own. A function needs
            ``staticmethod`` around it.
        server_tls: context to listen with.
        client_tls: context to connect with.
        unbufferable: bytes that no buffers between the two ends hold. It can be less where
            :meth:`narrow` makes them small, and then the cases that fill them are quicker.
    """

    host = "127.0.0.1"
    time_limit = 20.0
    options = WireOptions()
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    unbufferable = 32 * MIB

    def make_transport(self) -> Transport:
        """Return the transport to try."""
        raise NotImplementedError

    def narrow(self, connection: Connection) -> None:
        """Make the buffers of a connection small. Override it where that is possible."""

    def jitter(self) -> AbstractContextManager[object]:
        """Let what is sent take a time that varies. Override it where that is possible."""
        return nullcontext()

    async def line(self, endpoint: ClientEndpoint) -> Line:
        """Connect a client that can misbehave.

        Override it for a transport that does not speak WebSocket over TCP.
        """
        return await connect_line(endpoint)

    def noise(self, size: int) -> bytes:
        """Return bytes that do not get smaller by compression."""
        return _NOISE[:size] if size <= MIB else _NOISE * (size // MIB)

    def run(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run one case to its end.

        Raises:
            AssertionError: the case failed, or left a task or an unhandled exception.
        """
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            runner.run(self.watched(coro))

    async def watched(self, coro: Coroutine[Any, Any, None]) -> None:
        """Await a case, within the time limit; fail if it leaves something behind."""
        unhandled: list[dict[str, Any]] = []

        def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            unhandled.append(context)

        collector = Collector()
        asyncio.get_running_loop().set_exception_handler(note)
        try:
            await self._limited(coro)
            # A task that is done in effect may need a turn of the loop to be done.
            for _ in range(10):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left: {left}"
        finally:
            # What failed unheard says so when it is collected.
            collector.collect()
        told = [context for context in unhandled if context["message"] != DEBUG_ONLY]
        assert not told, f"unhandled: {told}"

    async def _limited(self, coro: Coroutine[Any, Any, None]) -> None:
        limit = asyncio.timeout(self.time_limit)
        try:
            async with limit:
                await coro
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise AssertionError(f"the case still waits after {self.time_limit} s") from exc

    @asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """Make a transport; drop at the end what was opened with it."""
        site = Site(
            self,
            self.make_transport(),
            ServerEndpoint(host=self.host, port=0, tls=self.server_tls, options=self.options),
            ClientEndpoint(host=self.host, port=0, tls=self.client_tls, options=self.options),
        )
        try:
            yield site
        finally:
            await site.close()
