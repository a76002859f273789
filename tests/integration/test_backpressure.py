"""Peers that do not read, and buffers that are full."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    PlainServer,
    RawPeer,
    client_of,
    count_losses,
    data_of,
    in_threads,
    joined,
    listening,
    scheduling,
    serving,
)
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left

from rxplus import (
    Buffer,
    BufferFullError,
    ComponentClosedError,
    Limits,
    Overflow,
    Peer,
    RxWSServer,
    TaggedData,
    Timeouts,
)

SIZE = 2**16

MESSAGE = bytes(SIZE)

MOST = 4 * SIZE
"""Bytes that may wait."""

MORE_THAN_SOCKETS_HOLD = 400
"""Messages of that size that no pair of socket buffers takes in."""


def buffer(overflow: Overflow) -> Buffer:
    """Return a small buffer."""
    return Buffer(max_messages=64, max_bytes=MOST, overflow=overflow)


@contextlib.contextmanager
def slow_and_fast(
    overflow: Overflow,
) -> Iterator[tuple[RxWSServer, RawPeer, Peer, Collector[bytes]]]:
    """Have a server with two clients on a path, one of which does not read."""
    options: dict[str, Any] = {"buffer": buffer(overflow), "timeouts": Timeouts(close=0.05)}
    with serving("bytes", **options) as server:
        peers = Collector(server.connections)
        with RawPeer(server, "/a", receive_buffer=4096) as slow:
            slow.open()
            (slow_peer,) = peers.wait_for_count(1)
            with joined(server, "/a", "bytes") as (client, _):
                yield server, slow, slow_peer, Collector(client)


def test_slow_peer_drop_oldest() -> None:
    """A peer that does not read loses the oldest, within its limit; the fast one nothing."""
    with slow_and_fast(Overflow.drop_oldest()) as (server, slow, _, received):
        losses = Collector(server.losses)
        for number in range(MORE_THAN_SOCKETS_HOLD):
            server.on_next(TaggedData("/a", b"%06d" % number + MESSAGE[6:]))
            # In step with the fast one, so that only the slow one falls behind.
            received.wait_for_count(number + 1)
            assert server.health().queued_bytes <= MOST
        assert server.health().queued_bytes > 0
        numbers = [int(value[:6]) for value in received.values]
        assert numbers == list(range(MORE_THAN_SOCKETS_HOLD))
        dropped = count_losses(losses.values)["overflow"]
        assert dropped > 0

        # What it gets in the end has a gap, ends with the newest, and adds up.
        got: list[int] = []
        while not got or got[-1] != MORE_THAN_SOCKETS_HOLD - 1:
            got.append(int(slow.frame().data[:6]))
        assert got == sorted(got)
        assert len(got) + dropped == MORE_THAN_SOCKETS_HOLD


def test_slow_peer_latest() -> None:
    """Under ``latest`` a peer that does not read has one message waiting: the newest."""
    with slow_and_fast(Overflow.latest()) as (server, slow, _, received):
        losses = Collector(server.losses)
        for number in range(MORE_THAN_SOCKETS_HOLD):
            server.on_next(TaggedData("/a", b"%06d" % number + MESSAGE[6:]))
            received.wait_for_count(number + 1)
            assert server.health().queued_bytes <= SIZE
        got: list[int] = []
        while not got or got[-1] != MORE_THAN_SOCKETS_HOLD - 1:
            got.append(int(slow.frame().data[:6]))
        conflated = count_losses(losses.values)["conflated"]
        assert len(got) + conflated == MORE_THAN_SOCKETS_HOLD


def test_slow_peer_disconnect() -> None:
    """A peer that does not read is dropped when its buffer is full; the fast one loses nothing."""
    with slow_and_fast(Overflow.disconnect()) as (server, slow, slow_peer, received):
        losses, left = Collector(server.losses), Collector(slow_peer)
        for number in range(MORE_THAN_SOCKETS_HOLD):
            server.on_next(TaggedData("/a", MESSAGE))
            received.wait_for_count(number + 1)
            assert server.health().queued_bytes <= MOST
        assert left.wait_ended() is None
        assert not slow_peer.connected
        assert server.health().paths == {"/a": 1}
        assert count_losses(losses.values)["overflow"] > 0
        slow.read_to_end()


@pytest.mark.parametrize("overflow", [Overflow.error(), Overflow.block(0.01)])
def test_slow_peer_pushes_back(overflow: Overflow) -> None:
    """Under ``error`` and ``block`` the sender is told; what was accepted reaches both."""
    with slow_and_fast(overflow) as (server, slow, _, received):
        losses = Collector(server.losses)
        accepted = 0
        with pytest.raises(BufferFullError, match="wait to be sent"):
            for _ in range(MORE_THAN_SOCKETS_HOLD):
                server.on_next(TaggedData("/a", MESSAGE))
                accepted += 1
        # What waits for the slow one and what waits for all are limited each; one batch more
        # may be on its way from one to the other.
        assert server.health().queued_bytes <= 2 * MOST + 2**18

        # Once the slow one reads, it goes on.
        for _ in range(accepted):
            assert len(slow.frame().data) == SIZE
        received.wait_for_count(accepted)
        server.on_next(TaggedData("/a", b"goes on"))
        received.wait_for(b"goes on")
        assert bytes(slow.frame().data) == b"goes on"
        assert losses.values == []


def test_sender_that_is_blocked_goes_on_when_the_slow_peer_leaves() -> None:
    """``block`` holds the sender up only as long as the slow peer is there."""
    with slow_and_fast(Overflow.block(None)) as (server, slow, slow_peer, received):
        left, some = Collector(slow_peer), threading.Event()

        def produce() -> None:
            for number in range(MORE_THAN_SOCKETS_HOLD):
                server.on_next(TaggedData("/a", MESSAGE))
                if number == 10:
                    some.set()

        with in_threads(produce):
            assert some.wait(LIMIT)
            slow.reset()
            assert left.wait_ended() is None
        received.wait_for_count(MORE_THAN_SOCKETS_HOLD)


def test_sender_that_is_blocked_is_told_of_the_close() -> None:
    """Closing a server while a sender waits for room ends the wait; nothing is unaccounted for."""
    with slow_and_fast(Overflow.block(None)) as (server, _, _peer, received):
        losses = Collector(server.losses)
        raised: list[ComponentClosedError] = []
        accepted = [0]

        def produce() -> None:
            while not raised:
                try:
                    server.on_next(TaggedData("/a", MESSAGE))
                    accepted[0] += 1
                except ComponentClosedError as exc:
                    raised.append(exc)

        with in_threads(produce):
            received.wait_until(bool)
            server.close(0.05)
        assert len(raised) == 1
        assert losses.wait_ended() is None
    sent = server.health().messages_out
    lost = count_losses(losses.values)
    # Each accepted message was for two; one that did not get to the members at all counts once.
    unheard = lost.get("closed", 0) + lost.get("no_peer", 0)
    assert sent + lost.get("disconnected", 0) + 2 * unheard == 2 * accepted[0]


def test_callback_on_the_loop_thread_does_not_block() -> None:
    """A callback that finds the buffer full gets an error: waiting there would be for ever."""
    with slow_and_fast(Overflow.block(None)) as (server, _, _peer, received):
        outcome: list[Exception] = []
        done = threading.Event()

        def flood(_: Any) -> None:
            try:
                for _number in range(MORE_THAN_SOCKETS_HOLD):
                    server.on_next(TaggedData("/a", MESSAGE))
            except BufferFullError as exc:
                outcome.append(exc)
            done.set()

        server.connections.subscribe(flood)
        with joined(server, "/b", "bytes"):
            assert done.wait(LIMIT)
        assert "cannot wait" in str(outcome[0])
        received.wait_until(lambda values: len(values) >= 4)


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [(Overflow.drop_oldest(), range(90, 100)), (Overflow.drop_newest(), range(10))],
)
def test_client_buffer_drops_while_disconnected(overflow: Overflow, kept: range) -> None:
    """A client that buffers has a limit too: it says what it drops, and sends the rest."""
    with socket.create_server((HOST, 0)) as placeholder:
        port = placeholder.getsockname()[1]
        small, timeouts = Buffer(max_messages=10, overflow=overflow), Timeouts(open=0.02)
        client = client_of(
            port, retry=SOON, buffer_while_disconnected=True, buffer=small, timeouts=timeouts
        )
        losses = Collector(client.losses)
        for number in range(100):
            client.on_next(str(number))
        losses.wait_until(lambda values: sum(loss.count for loss in values) == 90)
        assert count_losses(losses.values) == {"overflow": 90}
    with client:
        server, received = listening(port)
        with server:
            assert data_of(received.wait_for_count(10)) == [str(n) for n in kept]


@pytest.mark.parametrize("overflow", [Overflow.error(), Overflow.block(0.01)])
def test_client_of_a_server_that_does_not_read(overflow: Overflow) -> None:
    """A server that does not read makes on_next raise, within the client's limit."""
    release = threading.Event()

    async def deaf(connection: Any) -> None:
        connection.transport.pause_reading()
        await asyncio.to_thread(release.wait, LIMIT)
        connection.transport.resume_reading()
        async for _ in connection:
            pass

    with (
        PlainServer(deaf, max_size=None) as plain,
        client_of(plain.port, "/", "bytes", buffer=buffer(overflow)) as client,
    ):
        assert client.wait_connected(LIMIT)
        with pytest.raises(BufferFullError):
            for _ in range(MORE_THAN_SOCKETS_HOLD):
                client.on_next(MESSAGE)
                assert client.health().queued_bytes <= MOST
        release.set()
        repeat = 0
        while True:
            try:
                client.on_next(b"goes on")
                break
            except BufferFullError:
                repeat += 1
                assert repeat < 10**6


def test_subscriber_that_is_slow_on_a_scheduler_pushes_back_on_the_peer() -> None:
    """With a scheduler, no more than the limit waits for the subscriber; the peer has to wait."""
    gate = threading.Event()
    with (
        scheduling() as scheduler,
        serving("bytes", scheduler=scheduler, limits=Limits(max_undelivered=10)) as server,
    ):

        def hold(_: TaggedData) -> None:
            gate.wait(LIMIT)

        server.subscribe(hold)
        received = Collector(server)
        # Larger than what the sockets and the client's buffer hold together: it must block.
        small = Buffer(max_bytes=MOST, overflow=Overflow.error())
        with joined(server, "/", "bytes", buffer=small) as (client, _):
            accepted = 0
            with pytest.raises(BufferFullError):
                for _number in range(10 * MORE_THAN_SOCKETS_HOLD):
                    client.on_next(MESSAGE)
                    accepted += 1
            assert server.health().messages_in < accepted
            gate.set()
            received.wait_for_count(accepted)


def test_client_that_is_paused_by_its_subscriber_can_be_closed() -> None:
    """A client whose subscriber is stuck on a scheduler closes all the same, within its time."""
    gate, stuck = threading.Event(), threading.Event()
    with scheduling() as scheduler, serving() as server:
        options: dict[str, Any] = {"scheduler": scheduler, "limits": Limits(max_undelivered=1)}
        with joined(server, timeouts=Timeouts(close=0.1), **options) as (client, _):

            def hold(_: str) -> None:
                stuck.set()
                gate.wait(LIMIT)

            client.subscribe(hold)
            received = Collector(client)
            for number in range(100):
                server.on_next(TaggedData("/", str(number)))
            assert stuck.wait(LIMIT)
            assert client.close()
            gate.set()
            assert received.wait_ended() is None
