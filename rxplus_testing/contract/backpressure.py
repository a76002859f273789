"""Who reads slowly, or not at all."""

from __future__ import annotations

import asyncio

from rxplus_testing._rxplus import ConnectionClosedError, Payload
from rxplus_testing.contract._bench import (
    SHORT,
    End,
    Site,
    TransportBench,
    case,
    refuses,
    same,
)

__all__ = ["BackpressureCases"]


class BackpressureCases(TransportBench):
    """Who reads slowly, or not at all."""

    async def _choke(self, site: Site) -> tuple[End, End]:
        """Return a pair whose server does not read and whose client is over its high mark.

        On the way there the client may have been over it before: a socket may take what was
        written in between.
        """
        client, server = await site.pair()
        server.connection.pause_reading()
        await self._fill(client)
        return client, server

    async def _fill(self, client: End) -> int:
        """Send until the client stays over its high mark; return how many bytes that took."""
        chunk, sent = self.noise(self.unbufferable // 32), 0
        while client.connection.writable:
            client.connection.send([chunk])
            sent += len(chunk)
            assert sent < self.unbufferable, "still writable"
            await asyncio.sleep(0)
            if not client.connection.writable:
                # What is under way may still be taken.
                await asyncio.sleep(SHORT)
        return sent

    @case
    async def test_backpressure_slow_reader_raises_high_mark(self) -> None:
        """A peer that does not read makes the sender unwritable, and receives nothing."""
        async with self.site() as site:
            client, server = await self._choke(site)
            assert not client.connection.writable
            same(server.messages, [])

    @case
    async def test_backpressure_receive_is_bounded(self) -> None:
        """Who does not read, or has not started to, does not take all there is into memory."""
        async with self.site() as site:
            listener = await site.listen()
            client = site.adopt(await site.transport.connect(site.endpoint(listener))).start()
            server = await site.server_end()
            assert await self._fill(client) <= self.unbufferable
            server.hook = lambda _message: server.connection.pause_reading()
            server.start()
            await server.received(1)
            await self._fill(client)
            assert len(server.messages) == 1

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
            assert set(server.messages[:-1]) == {self.noise(self.unbufferable // 32)}

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
            same(server.messages, messages[:4])
            server.connection.resume_reading()
            same(server.messages, messages[:4], "delivered within resume_reading()")
            same(await server.received(10), messages)

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
                same(server.messages, messages[: number + 1])
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
            same(await server.received(2), ["1", "2"])

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
            same(client.messages, [])
            client.start()
            same(await client.received(3), ["1", "2", "3"])

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
            same(server.messages, messages)
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
            same(server.messages, ["1"])
