"""Together with plain ``websockets``, and what ``health()`` tells of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import (
    LIMIT,
    Collector,
    PlainServer,
    client_of,
    data_of,
    echo,
    joined,
    repeat_until,
    serving,
)
from helpers import nothing_left as nothing_left
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.sync.client import ClientConnection, connect

from rxplus import Handshake, RxWSServer, TaggedData


def plain_client(server: RxWSServer, path: str = "/", **options: Any) -> ClientConnection:
    """Connect a client of plain ``websockets``."""
    url = f"ws://127.0.0.1:{server.port}{path}"
    # Without pings of its own: nobody waits for the thread that sends them.
    plain: dict[str, Any] = {"compression": None, "ping_interval": None, "proxy": None}
    connection: ClientConnection = connect(url, **{**plain, **options})
    return connection


def test_plain_client() -> None:
    """A plain client sends and receives text, is pinged and answered, and is closed properly."""
    with serving() as server:
        received = Collector(server)
        server.subscribe(server.on_next)
        with plain_client(server, "/a?b=c") as plain:
            for number in range(200):
                plain.send(str(number))
            assert [plain.recv(LIMIT) for _ in range(200)] == [str(n) for n in range(200)]
            assert data_of(received.wait_for_count(200)) == [str(n) for n in range(200)]
            assert {value.tag for value in received.values} == {"/a"}
            assert plain.ping(b"hello").wait(LIMIT)
            server.close()
            with pytest.raises(ConnectionClosedOK) as caught:
                plain.recv(LIMIT)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
                1001,
                "server is shutting down",
            )


@pytest.mark.parametrize(("datatype", "value"), [("bytes", b"x" * 2**20), ("json", {"a": [1]})])
def test_plain_client_with_other_datatypes(datatype: str, value: Any) -> None:
    """Bytes are binary messages and JSON is text, whole or in fragments."""
    message = value if datatype == "bytes" else json.dumps(value)
    with serving(datatype) as server:
        received = Collector(server)
        with plain_client(server, max_size=None) as plain:
            plain.send(message)
            half = len(message) // 2
            plain.send([message[:half], message[half:]])
            assert data_of(received.wait_for_count(2)) == [value, value]
            server.on_next(TaggedData("/", value))
            answer = plain.recv(LIMIT)
            assert (answer if datatype == "bytes" else json.loads(answer)) == value


def test_plain_client_that_is_closed_by_the_server() -> None:
    """A peer that is closed with a code gets it, after what was sent to it before."""
    with serving() as server:
        peers = Collector(server.connections)
        with plain_client(server) as plain:
            (peer,) = peers.wait_for_count(1)
            peer.on_next("last words")
            peer.close(1008, "policy")
            assert plain.recv(LIMIT) == "last words"
            with pytest.raises(ConnectionClosedError):
                plain.recv(LIMIT)
            assert (plain.close_code, plain.close_reason) == (1008, "policy")


def test_plain_server() -> None:
    """A client of a plain server sends, receives, and is asked for with its own headers."""
    seen: list[tuple[str, str | None]] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.path, connection.request.headers.get("X-Robot")))
        await echo(connection)

    with PlainServer(handle) as plain:
        options: dict[str, Any] = {"handshake": Handshake(headers=[("X-Robot", "r2")])}
        with client_of(plain.port, "/a?b=c", **options) as client:
            received = Collector(client)
            assert client.wait_connected(LIMIT)
            for number in range(200):
                client.on_next(str(number))
            assert received.wait_for_count(200) == [str(n) for n in range(200)]
    assert seen == [("/a?b=c", "r2")]


def test_plain_server_with_large_messages() -> None:
    """1 MiB goes to a plain server and back."""
    with (
        PlainServer(echo, max_size=None) as plain,
        client_of(plain.port, "/", "bytes") as client,
    ):
        received = Collector(client)
        assert client.wait_connected(LIMIT)
        values = [bytes([number]) * 2**20 for number in range(5)]
        for value in values:
            client.on_next(value)
        assert received.wait_for_count(5) == values


def test_compression_with_a_plain_client() -> None:
    """A server with ``deflate`` agrees on it with who offers it; one without does not."""
    text = "the same again and again " * 10_000
    for compression in ("deflate", None):
        with serving(compression=compression) as server:
            server.subscribe(server.on_next)
            with plain_client(server, compression="deflate") as plain:
                deflated = [
                    one for one in plain.protocol.extensions if isinstance(one, PerMessageDeflate)
                ]
                assert len(deflated) == (1 if compression else 0)
                plain.send(text)
                assert plain.recv(LIMIT) == text
            with plain_client(server, compression=None) as plain:
                assert plain.protocol.extensions == []
                plain.send(text)
                assert plain.recv(LIMIT) == text


def test_compression_with_a_plain_server() -> None:
    """A client with ``deflate`` offers it, and its messages get through."""
    agreed: list[bool] = []

    async def handle(connection: ServerConnection) -> None:
        agreed.append(bool(connection.protocol.extensions))
        await echo(connection)

    text = "the same again and again " * 10_000
    with PlainServer(handle, compression="deflate") as plain:
        for compression in ("deflate", None):
            with client_of(plain.port, compression=compression) as client:
                received = Collector(client)
                assert client.wait_connected(LIMIT)
                client.on_next(text)
                assert received.wait_for_count(1) == [text]
    assert agreed == [True, False]


def test_compression_on_both_sides_keeps_order_in_a_broadcast() -> None:
    """Compressed and other peers on a path get the same messages in the same order."""
    with (
        serving(compression="deflate") as server,
        joined(server, "/a", compression="deflate") as (one, _),
        joined(server, "/a") as (other, _),
    ):
        at_one, at_other = Collector(one), Collector(other)
        texts = [f"{number} " * 1_000 for number in range(200)]
        for text in texts:
            server.on_next(TaggedData("/a", text))
        assert at_one.wait_for_count(200) == texts
        assert at_other.wait_for_count(200) == texts


def test_subprotocol_with_a_plain_client() -> None:
    """The server's favourite of those offered is agreed on; without one there is none."""
    with serving(subprotocols=["v2", "v1"]) as server:
        peers = Collector(server.connections)
        for offered, agreed in ((["v1", "v2"], "v2"), (["v1"], "v1"), (["v9"], None), (None, None)):
            with plain_client(server, subprotocols=offered) as plain:
                assert plain.subprotocol == agreed
                assert peers.wait_until(bool)[-1].subprotocol == agreed
                peers.values.clear()


def test_subprotocol_with_a_plain_server() -> None:
    """A client offers its subprotocols, best first."""
    seen: list[str | None] = []

    async def handle(connection: ServerConnection) -> None:
        seen.append(connection.subprotocol)
        await connection.wait_closed()

    with (
        PlainServer(handle, subprotocols=["v1", "v2"]) as plain,
        client_of(plain.port, subprotocols=["v2"]) as client,
    ):
        assert client.wait_connected(LIMIT)
    assert seen == ["v2"]


def test_health_counts() -> None:
    """Messages and bytes that went over a socket are counted the same on both sides."""
    with serving() as server, joined(server, "/a") as (client, peer):
        at_server, at_client = Collector(server), Collector(client)
        for number in range(10):
            client.on_next("x" * number)
        at_server.wait_for_count(10)
        server.on_next(TaggedData("/a", "\u20ac"))
        at_client.wait_for_count(1)
        ours, theirs = client.health(), server.health()
        assert (ours.kind, ours.state, ours.healthy) == ("client", "connected", True)
        assert (theirs.kind, theirs.state, theirs.healthy) == ("server", "open", True)
        assert ours.connections == theirs.connections == 1
        assert ours.paths == theirs.paths == {"/a": 1}
        assert ours.queued_messages == theirs.queued_messages == 0
        assert ours.uptime > 0
        assert peer.connected
    # What is sent is counted after it is sent, so perhaps after it has arrived.
    ours, theirs = client.health(), server.health()
    assert (ours.messages_out, ours.bytes_out) == (theirs.messages_in, theirs.bytes_in) == (10, 45)
    assert (theirs.messages_out, theirs.bytes_out) == (ours.messages_in, ours.bytes_in) == (1, 3)
    assert not ours.healthy
    assert ours.state == theirs.state == "closed"
    assert ours.connections == theirs.connections == 0
    assert theirs.connections_opened == 1


def test_health_latency() -> None:
    """Once a ping was answered, client and peer know the round-trip time."""
    with (
        serving(ping_interval=0.01) as server,
        joined(server, ping_interval=0.01) as (client, peer),
    ):
        server.subscribe(server.on_next)
        echoes = Collector(client)

        def exchange() -> None:
            before = len(echoes.values)
            client.on_next("tick")
            echoes.wait_until(lambda values: len(values) > before)

        repeat_until(
            lambda: client.health().latency is not None and peer.latency is not None, exchange
        )
        latency = client.health().latency
        assert latency is not None
        assert 0 <= latency < LIMIT


def test_health_latency_without_pings() -> None:
    """Without pings nothing is known of the latency."""
    with serving() as server, joined(server, ping_interval=None) as (client, peer):
        assert client.health().latency is None
        assert peer.latency is None
