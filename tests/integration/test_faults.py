"""Peers that break the rules, and what the others notice of it: nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    PlainServer,
    RawPeer,
    client_of,
    data_of,
    in_state,
    joined,
    serving,
)
from helpers import nothing_left as nothing_left
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

from rxplus import DecodeError, Limits, RxException, RxWSServer, TaggedData, Timeouts


@contextlib.contextmanager
def undisturbed(server: RxWSServer) -> Iterator[None]:
    """Have a client that sends and receives as before, whatever the test does meanwhile."""
    with joined(server, "/good") as (client, peer):
        peer.subscribe(peer.on_next)
        echoes = Collector(client)
        client.on_next("before")
        assert echoes.wait_for_count(1) == ["before"]
        yield
        client.on_next("after")
        assert echoes.wait_for_count(2) == ["before", "after"]
        assert peer.connected
        assert client.health().reconnects == 0


MALFORMED = {
    "reserved opcode": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "reserved bit": (b"\xc1\x80\x00\x00\x00\x00", 1002),
    "not masked": (b"\x81\x05hello", 1002),
    "fragmented ping": (b"\x09\x80\x00\x00\x00\x00", 1002),
    "long ping": (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126), 1002),
    "continuation of nothing": (b"\x80\x80\x00\x00\x00\x00", 1002),
    "text within a fragmented text": (b"\x01\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00", 1002),
    "close of one byte": (b"\x88\x81\x00\x00\x00\x00\x03", 1002),
    "close with a code that does not exist": (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),
    "bad UTF-8": (b"\x81\x82\x00\x00\x00\x00\xc3\x28", 1007),
    "surrogate in UTF-8": (b"\x81\x83\x00\x00\x00\x00\xed\xa0\x80", 1007),
    "endless message": (b"\x82\xff\x00\x00\x7f\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_frame(case: str) -> None:
    """A frame that breaks the rules closes its own connection, with the code that says why."""
    data, code = MALFORMED[case]
    with serving() as server, undisturbed(server):
        received, errors, peers = (
            Collector(server),
            Collector(server.errors),
            Collector(server.connections),
        )
        with RawPeer(server, "/bad") as raw:
            raw.open()
            (peer,) = peers.wait_for_count(1)
            ended = Collector(peer)
            raw.send(data)
            assert raw.close_code() == code
            raw.close()
            assert ended.wait_ended() is None
        (error,) = errors.wait_for_count(1)
        assert f"connection closed with code {code}" in str(error)
        assert [value for value in received.values if value.tag == "/bad"] == []


def test_bad_utf8_spread_over_fragments() -> None:
    """Text that is valid only as a whole is accepted; text that is not is 1007."""
    with serving() as server, undisturbed(server), RawPeer(server, "/bad") as raw:
        received = Collector(server)
        raw.open()
        euro = "\u20ac".encode()
        raw.send(Frame(Opcode.TEXT, euro[:1], fin=False))
        raw.send(Frame(Opcode.PING, b"in between"))
        raw.send(Frame(Opcode.CONT, euro[1:2], fin=False))
        raw.send(Frame(Opcode.CONT, euro[2:]))
        assert raw.frame().opcode is Opcode.PONG
        received.wait_for(TaggedData("/bad", "\u20ac"))
        raw.send(Frame(Opcode.TEXT, euro[:1], fin=False))
        raw.send(Frame(Opcode.CONT, b"x"))
        assert raw.close_code() == 1007


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x00" * 10_000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["TLS", "zeros", "SSH", "long header", "many headers", "POST"],
)
def test_garbage_instead_of_a_request(noise: bytes) -> None:
    """What is no request is not let in, and ends; nobody else is disturbed."""
    with serving(timeouts=Timeouts(open=0.2)) as server, undisturbed(server):
        with RawPeer(server) as raw:
            with contextlib.suppress(ConnectionError):
                raw.send(noise)
            answer = raw.read_to_end()
            assert b" 101 " not in answer
        assert server.health().connections == 1


def test_half_open_connections_are_dropped_in_time() -> None:
    """Connections that never send a request are dropped after the time for opening."""
    with serving(timeouts=Timeouts(open=0.05)) as server, undisturbed(server):
        with contextlib.ExitStack() as stack:
            raws = [stack.enter_context(RawPeer(server)) for _ in range(50)]
            for number, raw in enumerate(raws):
                # Some have begun.
                raw.send(b"GET / HTTP/1.1\r\n"[: number % 17])
            for raw in raws:
                assert raw.read_to_end() == b""
        assert server.health().connections_opened == 1


def test_half_open_connections_do_not_hold_up_the_shutdown() -> None:
    """A server closes at once, though clients are in the middle of their requests."""
    with serving(timeouts=Timeouts(open=None)) as server, contextlib.ExitStack() as stack:
        raws = [stack.enter_context(RawPeer(server)) for _ in range(10)]
        with joined(server) as (client, _):
            assert client.close()
        assert server.close()
        for raw in raws:
            assert raw.read_to_end() == b""


def test_message_over_the_limit_closes_that_client_only() -> None:
    """A message that is too large closes its sender with 1009; the limit itself is allowed."""
    with serving("bytes", limits=Limits(max_message_size=1000)) as server:
        received, errors = Collector(server), Collector(server.errors)
        with (
            joined(server, "/bad", "bytes", retry=SOON) as (bad, bad_peer),
            joined(server, "/good", "bytes") as (good, _),
        ):
            states, left = Collector(bad.connection_state), Collector(bad_peer)
            bad.on_next(bytes(1000))
            bad.on_next(bytes(1001))
            assert left.wait_ended() is None
            states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
            (gone,) = in_state(states.values, "disconnected")
            assert gone.code == 1009
            good.on_next(b"fine")
            assert data_of(received.wait_for_count(2)) == [bytes(1000), b"fine"]
            assert good.health().reconnects == 0
        (error,) = errors.wait_for_count(1)
        assert "1009" in str(error)


def test_message_over_the_clients_limit() -> None:
    """A server whose message is too large for a client loses that connection, with 1009."""
    with serving("bytes") as server:
        limits = Limits(max_message_size=1000)
        with joined(server, "/", "bytes", retry=SOON, limits=limits) as (client, peer):
            received, left = Collector(client), Collector(peer)
            states = Collector(client.connection_state)
            peer.on_next(bytes(1000))
            peer.on_next(bytes(1001))
            assert left.wait_ended() is None
            states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
            assert received.wait_for_count(1) == [bytes(1000)]


def test_message_of_the_wrong_kind_is_reported_and_the_connection_stays() -> None:
    """A frame that the datatype refuses is an error on ``errors``; the next one is delivered."""
    with serving("json") as server, RawPeer(server, "/a") as raw:
        received, errors = Collector(server), Collector(server.errors)
        raw.open()
        raw.send(Frame(Opcode.BINARY, b"{}"))
        raw.send(Frame(Opcode.TEXT, b"{not json"))
        raw.send(Frame(Opcode.TEXT, b'{"fine": 1}'))
        assert received.wait_for_count(1) == [TaggedData("/a", {"fine": 1})]
        causes = [error.exception for error in errors.wait_for_count(2)]
        assert all(isinstance(cause, DecodeError) for cause in causes)
        assert server.health().connections == 1


def test_peer_that_vanishes() -> None:
    """A client that resets its connection is reported, and its stream completes."""
    with serving() as server, undisturbed(server):
        peers, errors = Collector(server.connections), Collector(server.errors)
        raw = RawPeer(server, "/bad")
        raw.open()
        (peer,) = peers.wait_for_count(1)
        ended = Collector(peer)
        raw.reset()
        assert ended.wait_ended() is None
        (error,) = errors.wait_for_count(1)
        assert "1006" in str(error)


def test_peer_that_does_not_answer_pings_is_dropped() -> None:
    """A client that answers no ping is taken for gone; one that does stays."""
    timeouts = Timeouts(close=0.05)
    with (
        serving(ping_interval=0.02, ping_timeout=1.0, timeouts=timeouts) as server,
        undisturbed(server),
    ):
        peers = Collector(server.connections)
        with RawPeer(server, "/bad") as raw:
            raw.open()
            (peer,) = peers.wait_for_count(1)
            assert Collector(peer).wait_ended() is None
            assert raw.frame().opcode is Opcode.PING
            assert raw.close_code() == 1011


def test_server_that_answers_nonsense() -> None:
    """A server that is no WebSocket server is an error that is told, and tried again."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(LIMIT)
        port = listener.getsockname()[1]
        with client_of(port, retry=SOON) as client:
            errors = Collector(client.errors)
            for answer in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 99):
                taken, _ = listener.accept()
                with taken:
                    taken.settimeout(LIMIT)
                    assert taken.recv(2**16).startswith(b"GET / HTTP/1.1\r\n")
                    taken.sendall(answer)
            errors.wait_until(lambda values: len(values) >= 4)
            assert all("cannot connect" in str(error) for error in errors.values)


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x83\x00", 1002), (b"\x81\x02\xc3\x28", 1007), (b"\x81\x85\x00\x00\x00\x00hello", 1002)],
    ids=["reserved opcode", "bad UTF-8", "masked"],
)
def test_server_that_breaks_the_rules(frame: bytes, code: int) -> None:
    """A server's malformed frame ends the connection with the right code; it is opened again."""
    said: list[int | None] = []

    async def break_the_rules(connection: ServerConnection) -> None:
        if not said:
            said.append(None)
            await connection.recv()
            connection.transport.write(frame)
        await connection.wait_closed()
        if said == [None]:
            said[0] = connection.close_code

    with PlainServer(break_the_rules) as plain, client_of(plain.port, retry=SOON) as client:
        states, errors = Collector(client.connection_state), Collector(client.errors)
        assert client.wait_connected(LIMIT)
        client.on_next("go")
        states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
        (gone,) = in_state(states.values, "disconnected")
        assert gone.code == code
        (error,) = errors.wait_for_count(1)
        assert isinstance(error, RxException)
    assert said == [code]


def test_peers_that_come_and_go_leave_nothing() -> None:
    """After a hundred short connections of all kinds the server remembers none of them."""
    with serving() as server, undisturbed(server):
        peers = Collector(server.connections)
        for number in range(100):
            with RawPeer(server, f"/{number}") as raw:
                raw.open()
                peers.wait_for_count(number + 1)
                if number % 3 == 0:
                    raw.reset()
                elif number % 3 == 1:
                    raw.send(Frame(Opcode.CLOSE, b"\x03\xe8"))
                    assert raw.close_code() == 1000
        for peer in peers.values:
            assert Collector(peer).wait_ended() is None
        health = server.health()
        assert health.connections == 1
        assert health.connections_opened == 101
        assert health.paths == {"/good": 1}
