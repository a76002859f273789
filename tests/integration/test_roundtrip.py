"""Messages from one end to the other, and who they come from."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from helpers import LIMIT, Collector, client_of, data_of, joined, scheduling, serving
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left

from rxplus import Handshake, RxWSClient, RxWSServer, TaggedData, ThreadRuntime


@dataclass(frozen=True)
class Reading:
    """Something to pickle."""

    sensor: str
    values: tuple[float, ...]


def exchange(datatype: str, values: list[Any]) -> None:
    """Send values both ways and see that they arrive as they were."""
    with serving(datatype) as server:
        at_server = Collector(server)
        with joined(server, "/chat", datatype) as (client, _):
            at_client = Collector(client)
            for value in values:
                client.on_next(value)
                server.on_next(TaggedData("/chat", value))
            received = at_server.wait_for_count(len(values))
            assert received == [TaggedData("/chat", value) for value in values]
            assert at_client.wait_for_count(len(values)) == values


def test_server_client_roundtrip_string() -> None:
    """Strings arrive as they were sent, both ways, the empty and the exotic ones too."""
    exchange("string", ["hello", "", "\u00e9\u4e16\U0001f916", "\x00\x7f", "x" * 70_000])


def test_server_client_roundtrip_bytes() -> None:
    """Bytes arrive as they were sent, both ways."""
    exchange("bytes", [b"hello", b"", bytes(range(256)), b"\xff" * 70_000])


def test_server_client_roundtrip_object() -> None:
    """Python objects arrive equal to what was sent, both ways."""
    exchange("object", [{"a": [1, 2.5, None]}, Reading("lidar", (0.5, 1.5)), {1, 2}, ValueError])


def test_server_client_roundtrip_json() -> None:
    """What JSON can carry arrives equal to what was sent, both ways."""
    exchange("json", [{"a": [1, 2.5, None, True]}, [], "text", 12, None, "\u4e16"])


def test_bytes_like_values_are_copied_when_sent() -> None:
    """A buffer that its owner changes right after on_next arrives as it was."""
    with serving("bytes") as server:
        at_server = Collector(server)
        with joined(server, "/", "bytes") as (client, _):
            frame = bytearray(b"before")
            client.on_next(frame)
            client.on_next(memoryview(frame))
            frame[:] = b"after!"
            assert data_of(at_server.wait_for_count(2)) == [b"before", b"before"]


def test_order_of_ten_thousand_messages_to_the_server() -> None:
    """Messages from one thread arrive at the server in order, none twice, none missing."""
    with serving() as server:
        at_server = Collector(server)
        with joined(server) as (client, _):
            for number in range(10_000):
                client.on_next(str(number))
            assert data_of(at_server.wait_for_count(10_000)) == [str(n) for n in range(10_000)]


def test_order_of_ten_thousand_messages_to_the_client() -> None:
    """Messages from one thread arrive at the client in order, none twice, none missing."""
    with serving() as server, joined(server) as (client, _):
        at_client = Collector(client)
        for number in range(10_000):
            server.on_next(TaggedData("/", str(number)))
        assert at_client.wait_for_count(10_000) == [str(n) for n in range(10_000)]


def test_order_per_thread_from_eight_threads() -> None:
    """Messages of each of eight threads arrive in that thread's order, and none is torn."""
    with serving("json") as server:
        at_server = Collector(server)
        with joined(server, "/", "json") as (client, _):
            start = threading.Barrier(8)

            def produce(thread: int) -> None:
                start.wait()
                for number in range(1_000):
                    client.on_next([thread, number])

            threads = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            received = data_of(at_server.wait_for_count(8_000))
            for thread_number in range(8):
                mine = [number for thread, number in received if thread == thread_number]
                assert mine == list(range(1_000))


def test_large_and_small_messages_do_not_interleave() -> None:
    """Messages of 1 MiB and of a few bytes arrive whole and in order, both ways."""
    values = [b"%d" % n + b"x" * (2**20 if n % 3 == 0 else 3) for n in range(30)]
    exchange("bytes", values)


def test_broadcast_to_twenty_clients() -> None:
    """Everyone on the path gets every message in order; nobody on another path gets any."""
    runtime = ThreadRuntime("twenty")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving())
        peers = Collector(server.connections)

        def join(path: str) -> Collector[Any]:
            return Collector(stack.enter_context(client_of(server, path, runtime=runtime)))

        inside = [join("/room") for _ in range(20)]
        outside = join("/other")
        peers.wait_for_count(21)
        for number in range(100):
            server.on_next(TaggedData("/room", str(number)))
        server.on_next(TaggedData("/other", "last"))
        for collector in inside:
            assert collector.wait_for_count(100) == [str(n) for n in range(100)]
        assert outside.wait_for_count(1) == ["last"]
    assert server.health().messages_out == 2_001


def test_echo_from_a_callback() -> None:
    """A subscriber on the loop thread may send what it receives straight back."""
    with serving() as server:
        server.subscribe(server.on_next)
        with client_of(server, "/echo", buffer_while_disconnected=True) as client:
            at_client = Collector(client)
            for number in range(500):
                client.on_next(str(number))
            assert at_client.wait_for_count(500) == [str(n) for n in range(500)]


def test_peer_tells_who_it_is() -> None:
    """A peer has the path without the query, the query, the headers and its address."""
    with serving() as server:
        handshake = Handshake(headers={"X-Robot": "r2"})
        with joined(server, "/a%20b?room=1&x=", handshake=handshake) as (client, peer):
            assert client.connected
            assert (peer.path, peer.query) == ("/a%20b", "room=1&x=")
            assert peer.headers["x-robot"] == "r2"
            assert peer.remote_address is not None
            host, port = peer.remote_address
            assert host == "127.0.0.1"
            assert port not in (0, server.port)
            assert peer.connected
            assert peer.user is None
            assert server.peers == (peer,)


def test_peer_receives_alone_what_is_sent_to_it() -> None:
    """What is sent to one of two peers on a path reaches only that one, in order with the rest."""
    with (
        serving() as server,
        joined(server, "/room") as (first, first_peer),
        joined(server, "/room") as (second, _),
    ):
        at_first, at_second = Collector(first), Collector(second)
        server.on_next(TaggedData("/room", "all 1"))
        first_peer.on_next("you")
        server.on_next(TaggedData("/room", "all 2"))
        assert at_first.wait_for_count(3) == ["all 1", "you", "all 2"]
        assert at_second.wait_for_count(2) == ["all 1", "all 2"]


def test_peer_streams_only_its_own_messages_and_completes_when_it_leaves() -> None:
    """A peer's stream has what that client sent, and completes while the server goes on."""
    with serving() as server:
        streams: dict[str, Collector[Any]] = {}
        server.connections.subscribe(lambda peer: streams.update({peer.query: Collector(peer)}))
        everything = Collector(server)
        with (
            joined(server, "/room?one") as (one, peer_one),
            joined(server, "/room?two") as (two, _),
        ):
            one.on_next("from one")
            two.on_next("from two")
            assert streams["one"].wait_for_count(1) == ["from one"]
            assert streams["two"].wait_for_count(1) == ["from two"]
            one.close()
            assert streams["one"].wait_ended() is None
            assert not peer_one.connected
            two.on_next("still here")
            assert streams["two"].wait_for_count(2) == ["from two", "still here"]
        assert sorted(data_of(everything.wait_for_count(3)))[:2] == ["from one", "from two"]


def test_first_message_of_a_peer_is_not_missed() -> None:
    """Who subscribes to a peer as it joins gets its very first message."""
    with serving() as server:
        firsts: list[Collector[Any]] = []
        server.connections.subscribe(lambda peer: firsts.append(Collector(peer)))
        everything = Collector(server)
        for number in range(20):
            with client_of(server, buffer_while_disconnected=True) as client:
                client.on_next(str(number))
        everything.wait_for_count(20)
        assert [first.wait_for_count(1) for first in firsts] == [[str(n)] for n in range(20)]


def test_query_is_not_part_of_the_route() -> None:
    """Clients with different queries are on one path, and are reached without any."""
    with (
        serving() as server,
        joined(server, "/room?a=1") as (first, _),
        joined(server, "/room?a=2") as (second, _),
    ):
        received = Collector(server)
        at_first, at_second = Collector(first), Collector(second)
        assert server.health().paths == {"/room": 2}
        server.on_next(TaggedData("/room", "hello"))
        server.on_next(TaggedData("/room?whatever", "again"))
        assert at_first.wait_for_count(2) == ["hello", "again"]
        assert at_second.wait_for_count(2) == ["hello", "again"]
        first.on_next("hi")
        assert received.wait_for_count(1) == [TaggedData("/room", "hi")]


def test_datatype_by_path() -> None:
    """Each path has the datatype that the callable chose for it."""
    chosen: dict[str, str] = {"/text": "string", "/json": "json", "/bin": "bytes"}
    values: dict[str, Any] = {"/text": "t", "/json": {"a": 1}, "/bin": b"b"}
    with serving(chosen.__getitem__) as server:
        received = Collector(server)
        for path, datatype in chosen.items():
            with joined(server, path, datatype) as (client, _):
                at_client = Collector(client)
                server.on_next(TaggedData(path, values[path]))
                assert at_client.wait_for_count(1) == [values[path]]
                client.on_next(values[path])
        assert dict(received.wait_for_count(3)) == values


def test_message_for_an_empty_path_is_lost_and_says_so() -> None:
    """A broadcast to nobody is a loss, and costs no memory."""
    with serving() as server:
        losses = Collector(server.losses)
        server.on_next(TaggedData("/nobody", "hello"))
        (loss,) = losses.wait_for_count(1)
        assert (loss.path, loss.reason, loss.count) == ("/nobody", "no_peer", 1)
        assert server.health().paths == {}


@pytest.mark.parametrize("make", [serving, lambda **how: client_of(1, **how)])
def test_wrong_payload_is_refused_in_the_callers_thread(
    make: Callable[..., RxWSServer | RxWSClient],
) -> None:
    """A payload of the wrong type raises at once, and does no harm."""
    with make() as component:
        value: Any = TaggedData("/", 1) if isinstance(component, RxWSServer) else 1
        with pytest.raises(TypeError, match="WSStr expects a string payload"):
            component.on_next(value)
        assert component.health().queued_messages == 0


def test_subscribers_run_on_the_scheduler() -> None:
    """With a scheduler, every message arrives in order, on the scheduler's thread alone."""
    with scheduling() as scheduler:
        with serving(scheduler=scheduler) as server:
            received = Collector(server)
            with joined(server) as (client, _):
                for number in range(2_000):
                    client.on_next(str(number))
                assert data_of(received.wait_for_count(2_000)) == [str(n) for n in range(2_000)]
        assert received.wait_ended() is None
        (name,) = received.threads
        assert name != server.name
        # The scheduler is still the user's: closing has not ended it.
        done = threading.Event()
        scheduler.schedule(lambda *_: done.set())
        assert done.wait(LIMIT)


def test_subscriber_that_raises_stops_nothing() -> None:
    """What a subscriber raises is reported; it and the others go on receiving."""
    with serving() as server:
        errors = Collector(server.errors)

        def fail(_: TaggedData) -> None:
            raise LookupError("mine")

        server.subscribe(fail)
        received = Collector(server)
        with joined(server) as (client, _):
            client.on_next("1")
            client.on_next("2")
            assert data_of(received.wait_for_count(2)) == ["1", "2"]
        assert [str(error.exception) for error in errors.wait_for_count(2)] == ["mine", "mine"]
