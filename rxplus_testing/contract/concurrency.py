"""Several tasks, other threads, and calls from within callbacks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from rxplus_testing._rxplus import Payload
from rxplus_testing.contract._bench import TransportBench, case, raises, same

__all__ = ["ConcurrencyCases"]


class ConcurrencyCases(TransportBench):
    """Several tasks, other threads, and calls from within callbacks."""

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
    async def test_concurrency_batch_is_in_order(self) -> None:
        """The messages of a batch arrive in its order, whatever their kinds and sizes."""
        batch: list[Payload] = []
        for number in range(100):
            batch += [str(number), b"%d" % number, "x" * number * 100, b"y" * number * 1000]
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.send(batch)
            server.connection.send(batch)
            same(await server.received(len(batch)), batch)
            same(await client.received(len(batch)), batch)

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
            same(await server.received(1), ["own"])

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
    async def test_concurrency_cancel_loses_nothing(self) -> None:
        """Cancelling a ping leaves the connection as it was."""
        async with self.site() as site:
            client, server = await site.pair()
            ping = asyncio.ensure_future(client.connection.ping())
            await asyncio.sleep(0)
            ping.cancel()
            await raises(asyncio.CancelledError, ping)
            client.connection.send(["after"])
            same(await server.received(1), ["after"])
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

    @case
    async def test_concurrency_sending_tells_nobody(self) -> None:
        """No receiver is called before send or broadcast returns: it might send as well."""
        sending = False
        told: list[bool] = []
        async with self.site() as site:
            listener = await site.listen()
            client, server = await site.connect(listener)
            client.hook = server.hook = lambda _message: told.append(sending)
            sending = True
            client.connection.send(["up"])
            listener.broadcast([server.connection], ["down"])
            sending = False
            same(await server.received(1), ["up"])
            same(await client.received(1), ["down"])
            assert told == [False, False]
