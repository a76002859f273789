"""How a connection ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rxplus_testing._rxplus import (
    Connection,
    ConnectionClosedError,
    OnConnection,
    Request,
    Response,
)
from rxplus_testing.contract._bench import (
    SHORT,
    TransportBench,
    case,
    raises,
    refuses,
    same,
)

__all__ = ["CloseCases"]


class CloseCases(TransportBench):
    """How a connection ends."""

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
            client.connection.send([self.noise(self.unbufferable), "last"])
            await client.connection.close()
            assert (await server.closed()).code == 1000
            assert [len(message) for message in server.messages] == [self.unbufferable, 4]

    @case
    async def test_close_local_close_wakes_reader(self) -> None:
        """When close() returns, on_closed has been called."""
        async with self.site() as site:
            client, _ = await site.pair()
            await client.connection.close()
            assert [info.code for info in client.infos] == [1000]

    @case
    async def test_close_peer_close_wakes_reader(self) -> None:
        """Who only waits hears that the peer closed, and can send no more."""
        async with self.site() as site:
            client, server = await site.pair()
            waiting = asyncio.ensure_future(client.closed())
            await asyncio.sleep(0)
            await server.connection.close(4000, "bye")
            info = await waiting
            assert (info.code, info.reason, info.local) == (4000, "bye", False)
            refuses(ConnectionClosedError, client.connection.send, ["late"])

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
            same(server.messages, [])

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
            client.connection.send([self.noise(self.unbufferable)])
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
    async def test_close_handler_return_1000(self) -> None:
        """A server that has said all and closes leaves its client with all, and 1000."""
        async with self.site() as site:
            closing: list[asyncio.Future[None]] = []

            def say_and_leave(connection: Connection) -> None:
                site.adopt(connection).start()
                connection.send(["hello", "bye"])
                closing.append(asyncio.ensure_future(connection.close()))

            async def accept(_request: Request) -> Response | OnConnection:
                return say_and_leave

            listener = await site.listen(accept)
            client = site.adopt(await site.transport.connect(site.endpoint(listener))).start()
            assert (await client.closed()).code == 1000
            assert client.messages == ["hello", "bye"]
            await closing[0]

    @case
    async def test_close_handler_error_1011(self) -> None:
        """A server that fails to take a connection over closes it with 1011, and goes on."""

        def fail(_connection: Connection) -> None:
            raise LookupError("secret")

        async def accept(request: Request) -> Response | OnConnection:
            return fail if request.path == "/bad" else site.accepted.put_nowait

        async with self.site() as site:
            listener = await site.listen(accept)
            bad = replace(site.endpoint(listener), target="/bad")
            client = site.adopt(await site.transport.connect(bad)).start()
            info = await client.closed()
            assert (info.code, info.local) == (1011, False)
            assert "secret" not in info.reason
            await site.connect(listener)

    @case
    async def test_close_code_that_may_not_be_sent_is_valueerror(self) -> None:
        """A code that may not be sent raises ValueError, and the connection stays open."""
        async with self.site() as site:
            client, server = await site.pair()
            for code in (0, 999, 1005, 1006, 1015, 5000):
                await raises(ValueError, client.connection.close(code))
            client.connection.send(["open"])
            same(await server.received(1), ["open"])

    @case
    async def test_close_reason_too_long_is_cut(self) -> None:
        """A reason of more than 123 bytes is cut between two characters."""
        async with self.site() as site:
            client, server = await site.pair()
            await client.connection.close(4000, "\N{EURO SIGN}" * 42)
            assert (await server.closed()).reason == "\N{EURO SIGN}" * 41

    @case
    async def test_close_reset_by_the_peer_is_1006(self) -> None:
        """A peer that resets the connection leaves it with 1006, an error, and what it sent."""
        async with self.site() as site:
            line, server = await site.line()
            line.send("before")
            await server.received(1)
            line.abort()
            info = await server.closed()
            assert (info.code, info.local) == (1006, False)
            assert info.error is not None
            same(server.messages, ["before"])

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
            same(server.messages, ["1"])

    @case
    async def test_close_partial_message_dropped_on_abort(self) -> None:
        """A message of which only a part got out before the abort is not delivered."""
        async with self.site() as site:
            client, server = await site.pair(max_message_size=None)
            client.connection.send([self.noise(self.unbufferable)])
            client.connection.abort()
            assert (await server.closed()).code == 1006
            same(server.messages, [])
