"""What is sent arrives: all of it, once, in order, as it was."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from rxplus_testing._line import Breaches
from rxplus_testing._rxplus import Payload
from rxplus_testing.contract._bench import KIB, MIB, TransportBench, case, refuses, same

__all__ = ["DataCases"]


class DataCases(TransportBench):
    """What is sent arrives: all of it, once, in order, as it was."""

    @case
    async def test_data_text_bytes_types_preserved(self) -> None:
        """Text arrives as str and binary as bytes, in both directions."""
        messages: list[Payload] = ["text", b"bytes", "\N{SNOWMAN}\0", b"\xff\x00", b"text"]
        async with self.site() as site:
            client, server = await site.pair()
            for sender, receiver in ((client, server), (server, client)):
                sender.connection.send(messages)
                same(await receiver.received(5), messages)
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
            same(await server.received(3), ["", b"", "end"])

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
            same(await server.received(1), ["good"])
            same(await client.received(1), ["good"])

    @case
    async def test_data_text_that_is_not_utf8_is_refused(self) -> None:
        """A text that UTF-8 has no bytes for raises ValueError; nothing of its batch is sent."""
        async with self.site() as site:
            client, server = await site.pair()
            for end in (client, server):
                refuses(ValueError, end.connection.send, ["before", "\ud800", "after"])
            client.connection.send(["good"])
            server.connection.send(["good"])
            same(await server.received(1), ["good"])
            same(await client.received(1), ["good"])

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
            same(await server.received(1000), messages)

    @case
    async def test_data_in_batches_is_the_same(self) -> None:
        """Who takes in batches gets the same: each message once, in order, and the end last."""
        messages: list[Payload] = ["text", b"bytes", "", "x" * (70 * KIB), *map(str, range(1000))]
        async with self.site() as site:
            listener = await site.listen()
            connection = await site.transport.connect(site.endpoint(listener))
            client = site.adopt(connection).start_in_batches()
            server = (await site.server_end()).start_in_batches()
            for sender, receiver in ((client, server), (server, client)):
                sender.connection.send(messages)
                await sender.connection.ping()
                sender.connection.send(["last"])
                same(await receiver.received(len(messages) + 1), [*messages, "last"])
            await client.connection.close()
            await server.closed()

    @case
    async def test_data_order_under_jitter(self) -> None:
        """Messages keep their order when they take times that vary."""
        chance = random.Random(0)  # noqa: S311 - the same in each run
        messages = [str(number) for number in range(300)]
        async with self.site() as site:
            client, server = await site.pair()
            with self.jitter():
                for at in range(0, 300, 3):
                    for end in (client, server):
                        end.connection.send(messages[at : at + 3])
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))
                same(await server.received(300), messages)
                same(await client.received(300), messages)

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
            same(await server.received(500), up)
            same(await client.received(500), down)

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
            same(await server.received(len(messages)), messages)
            same(await client.received(len(messages)), messages)

    @case
    async def test_data_message_1mib(self) -> None:
        """Large messages among small ones arrive whole and in order."""
        large = bytes(range(256)) * (MIB // 256)
        messages: list[Payload] = ["before", large, large[::-1], "after"]
        async with self.site() as site:
            client, server = await site.pair()
            client.connection.send(messages)
            server.connection.send(messages)
            same(await server.received(4), messages)
            same(await client.received(4), messages)

    @case
    async def test_data_fragments_are_one_message(self) -> None:
        """A message that comes in several frames is one message."""
        async with self.site() as site:
            line, server = await site.line()
            line.send_fragments("one ", "mess", "", "age")
            line.send_fragments(b"a", b"b")
            line.send("whole")
            same(await server.received(3), ["one message", b"ab", "whole"])

    @case
    async def test_data_bad_utf8_closes_1007(self) -> None:
        """Text that is not UTF-8 closes with 1007; what came before it arrives, nothing after."""
        async with self.site() as site:
            line, server = await site.line()
            line.send("before")
            line.breach(Breaches.BAD_UTF8)
            line.send("after")
            info = await server.closed()
            assert (info.code, info.local) == (1007, True)
            assert info.error is not None
            same(server.messages, ["before"])
            await line.until(lambda: line.closed is not None)
            assert line.closed is not None
            assert line.closed.code == 1007

    @case
    async def test_data_malformed_frame_closes_1002(self) -> None:
        """What no peer may send closes with 1002."""
        async with self.site() as site:
            line, server = await site.line()
            line.send("before")
            line.breach(Breaches.MALFORMED)
            info = await server.closed()
            assert (info.code, info.local) == (1002, True)
            assert info.error is not None
            same(server.messages, ["before"])

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
            same(server.messages, ["fits"])
            seen = await client.closed()
            assert (seen.code, seen.local) == (1009, False)

    @case
    async def test_data_max_size_boundary_ok(self) -> None:
        """A message of exactly the limit is let through; the limit counts bytes."""
        async with self.site() as site:
            client, server = await site.connect(await site.listen(max_message_size=100))
            client.connection.send([b"x" * 100, "\N{EURO SIGN}" * 33])
            same(await server.received(2), [b"x" * 100, "\N{EURO SIGN}" * 33])
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
            same(await server.received(1), [b"x"])

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
                same(await client.received(5), [*messages, "end"])

    @case
    async def test_broadcast_encodes_once(self) -> None:
        """A text is encoded once for all connections, however many there are."""
        text = _Counting("\N{EURO SIGN}")
        async with self.site() as site:
            listener = await site.listen()
            pairs = [await site.connect(listener) for _ in range(4)]
            listener.broadcast([server.connection for _, server in pairs], [text])
            for client, _ in pairs:
                same(await client.received(1), [text])
            assert text.encoded <= 1

    @case
    async def test_broadcast_bad_type_typeerror(self) -> None:
        """A broadcast with a message of another type reaches nobody."""
        bad: list[Any] = ["good", 1]
        async with self.site() as site:
            listener = await site.listen()
            client, server = await site.connect(listener)
            refuses(TypeError, listener.broadcast, [server.connection], bad)
            listener.broadcast([server.connection], ["next"])
            same(await client.received(1), ["next"])


class _Counting(str):
    """A text that counts how often it is encoded."""

    __slots__ = ("encoded",)

    def __init__(self, _text: str) -> None:
        self.encoded = 0

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        self.encoded += 1
        return super().encode(encoding, errors)
