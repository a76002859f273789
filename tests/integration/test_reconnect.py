"""Connections that end, and what a client does then."""

from __future__ import annotations

import itertools
import socket
import threading
from typing import Any

import pytest
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    PlainServer,
    attempts_of,
    client_of,
    count_losses,
    data_of,
    in_state,
    in_threads,
    joined,
    listening,
    serving,
)
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left
from websockets.asyncio.server import ServerConnection
from websockets.frames import Close, Frame, Opcode

from rxplus import (
    ConnectError,
    ConnectionClosedError,
    ConnectTimeoutError,
    Handshake,
    Retry,
    RxException,
    RxWSClient,
    TaggedData,
    Timeouts,
)


def wrapped(error: object) -> Exception:
    """Return the exception in an RxException."""
    assert isinstance(error, RxException)
    assert isinstance(error.exception, Exception)
    return error.exception


def test_client_reconnect_after_server_restart() -> None:
    """After the server came back on its port, the client is connected again, both ways."""
    with serving() as first:
        port = first.port
        client = client_of(port, "/a", retry=SOON)
        states = Collector(client.connection_state)
        states.wait_for("connected")
    at_client = Collector(client)
    states.wait_for("reconnecting")
    second, received = listening(port)
    with second, client:
        states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
        client.on_next("up")
        assert received.wait_for_count(1) == [TaggedData("/a", "up")]
        # Once its message is here, the server knows the client.
        second.on_next(TaggedData("/a", "down"))
        assert at_client.wait_for_count(1) == ["down"]
        assert client.health().reconnects >= 1
    assert states.wait_ended() is None
    names = [str(status) for status in states.values]
    assert names[:4] == ["connecting", "connected", "disconnected", "reconnecting"]
    assert names[-2:] == ["connected", "closed"]


def test_what_was_buffered_arrives_in_order_after_a_restart() -> None:
    """With buffering, everything sent while the server was away arrives later, in order."""
    with serving() as first:
        port = first.port
        client = client_of(port, retry=SOON, buffer_while_disconnected=True)
        states, losses = Collector(client.connection_state), Collector(client.losses)
        states.wait_for("connected")
    with client:
        states.wait_for("disconnected")
        for number in range(1_000):
            client.on_next(str(number))
        assert client.health().queued_messages == 1_000
        second, received = listening(port)
        with second:
            states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
            for number in range(1_000, 2_000):
                client.on_next(str(number))
            assert data_of(received.wait_for_count(2_000)) == [str(n) for n in range(2_000)]
        assert client.health().queued_messages == 0
    assert losses.wait_ended() is None
    assert losses.values == []


def test_buffered_from_the_start() -> None:
    """With buffering, what is sent before there ever was a server arrives once there is one."""
    with socket.create_server((HOST, 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with client_of(port, retry=SOON, buffer_while_disconnected=True) as client:
        for number in range(100):
            client.on_next(str(number))
        server, received = listening(port)
        with server:
            assert data_of(received.wait_for_count(100)) == [str(n) for n in range(100)]


@pytest.mark.parametrize("buffering", [False, True])
def test_every_message_is_received_or_lost_over_restarts(buffering: bool) -> None:
    """While servers come and go gracefully, what was sent was received or reported as lost."""
    received: list[str] = []
    stop = threading.Event()
    sent = itertools.count()
    server, at_server = listening(0)
    port = server.port
    client = client_of(port, retry=SOON, buffer_while_disconnected=buffering)
    losses = Collector(client.losses)

    def produce() -> None:
        while not stop.is_set():
            client.on_next(str(next(sent)))
            # Some way behind at the most, as a device with a clock would be.
            stop.wait(0.0002)

    with client:
        assert client.wait_connected(LIMIT)
        with in_threads(produce):
            for _ in range(4):
                at_server.wait_until(lambda values: len(values) >= 50)
                server.close()
                assert at_server.wait_ended() is None
                received += data_of(at_server.values)
                server, at_server = listening(port)
            at_server.wait_until(lambda values: len(values) >= 50)
            stop.set()
    server.close()
    assert at_server.wait_ended() is None
    received += data_of(at_server.values)
    assert losses.wait_ended() is None

    total, lost = next(sent), sum(loss.count for loss in losses.values)
    assert [int(number) for number in received] == sorted({int(number) for number in received})
    assert client.health().messages_out + lost == total
    assert len(received) + lost == total
    if buffering:
        assert lost == 0


def test_messages_without_a_connection_are_lost_and_say_so() -> None:
    """Without buffering, a message for nobody is a loss right away, with path and reason."""
    with socket.create_server((HOST, 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with client_of(port, "/a?b", retry=SOON) as client:
        losses = Collector(client.losses)
        client.on_next("1")
        client.on_next("2")
        losses.wait_until(lambda values: sum(loss.count for loss in values) == 2)
        assert count_losses(losses.values) == {"disconnected": 2}
        assert {loss.path for loss in losses.values} == {"/a"}
        assert client.health().losses == {"disconnected": 2}


def test_server_that_accepts_and_closes_is_not_hammered() -> None:
    """Connections that do not last count as failures: attempts go up to the limit."""

    async def close_at_once(connection: ServerConnection) -> None:
        await connection.close(1013)

    retry = Retry(initial=0.001, factor=2.0, maximum=0.02, stable_after=60.0, limit=6)
    with PlainServer(close_at_once) as plain, client_of(plain.port, retry=retry) as client:
        states, ended = Collector(client.connection_state), Collector(client)
        error = wrapped(ended.wait_ended())
    assert isinstance(error, ConnectionClosedError)
    assert error.code == 1013
    assert plain.accepted == 7
    # The subscription may have begun with any of the states; the rest follows.
    expected = [("connecting", 1), ("connected", 1), ("disconnected", 1)]
    for attempt in range(2, 8):
        expected += [(state, attempt) for state in ("reconnecting", "connected", "disconnected")]
    assert states.wait_ended() is None
    seen = [(state, attempt) for state, attempt in attempts_of(states.values) if state != "closed"]
    # A connection's end is told with the number of the attempt that made it, or the next one's.
    assert [state for state, _ in seen] == [state for state, _ in expected][-len(seen) :]
    made = [attempt for state, attempt in seen if state == "connected"]
    assert made == list(range(8 - len(made), 8))


def test_stable_connection_makes_the_next_failure_the_first() -> None:
    """After a connection that lasted, attempts are counted from the beginning again."""
    retry = Retry(initial=0.001, maximum=0.01, stable_after=0.0, limit=1)

    async def close_after_a_message(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.close(1012)

    with PlainServer(close_after_a_message) as plain, client_of(plain.port, retry=retry) as client:
        states = Collector(client.connection_state)
        states.wait_until(lambda values: len(in_state(values, "connected")) >= 5)
        assert {status.attempt for status in states.values} == {1}


@pytest.mark.parametrize("code", [1008, 1010])
def test_close_code_that_ends_the_client(code: int) -> None:
    """A server that refuses the client for good ends its stream with on_error, without a retry."""

    async def refuse(connection: ServerConnection) -> None:
        # Not by close(), which does not take 1010: it is a client's to send.
        connection.transport.write(
            Frame(Opcode.CLOSE, Close(code, "go away").serialize()).serialize(mask=False)
        )
        await connection.wait_closed()

    with PlainServer(refuse) as plain, client_of(plain.port, retry=SOON) as client:
        error = wrapped(Collector(client).wait_ended())
        assert isinstance(error, ConnectionClosedError)
        assert (error.code, error.reason) == (code, "go away")
        assert client.close()
        assert not client.connected
        assert plain.accepted == 1


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4000])
def test_close_code_after_which_the_client_comes_back(code: int) -> None:
    """A server that goes away for now finds the client connected again."""
    closes = itertools.count()

    async def close_once(connection: ServerConnection) -> None:
        if next(closes) == 0:
            await connection.close(code, "not now")
            return
        async for message in connection:
            await connection.send(message)

    with PlainServer(close_once) as plain, client_of(plain.port, retry=SOON) as client:
        states, received = Collector(client.connection_state), Collector(client)
        errors = Collector(client.errors)
        states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
        client.on_next("probe")
        assert received.wait_for_count(1) == ["probe"]
        assert plain.accepted == 2
        gone = in_state(states.values, "disconnected")
        assert [(status.code, status.reason) for status in gone] == [(code, "not now")]
        assert len(errors.values) == (1 if code == 1011 else 0)


def test_connection_that_breaks_is_reported_and_opened_again() -> None:
    """A connection that is cut without a closing handshake is 1006, and an error that is told."""
    cuts = itertools.count()

    async def cut_once(connection: ServerConnection) -> None:
        if next(cuts) == 0:
            await connection.recv()
            connection.transport.abort()
        await connection.wait_closed()

    with PlainServer(cut_once) as plain, client_of(plain.port, retry=SOON) as client:
        errors, states = Collector(client.errors), Collector(client.connection_state)
        assert client.wait_connected(LIMIT)
        client.on_next("cut")
        states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
        error = wrapped(errors.wait_for_count(1)[0])
        assert isinstance(error, ConnectionClosedError)
        assert error.code == 1006
        (gone,) = in_state(states.values, "disconnected")
        assert gone.code == 1006


def test_black_hole_is_a_connect_timeout() -> None:
    """A server that accepts TCP and says nothing is given up after the time for opening."""
    with socket.create_server((HOST, 0)) as hole:
        port = hole.getsockname()[1]
        timeouts, retry = Timeouts(open=0.02), Retry(initial=0.001, maximum=0.01, limit=2)
        with client_of(port, retry=retry, timeouts=timeouts) as client:
            errors, states = Collector(client.errors), Collector(client.connection_state)
            error = wrapped(Collector(client).wait_ended())
            assert isinstance(error, ConnectTimeoutError)
            assert isinstance(error, TimeoutError)
            assert errors.wait_ended() is None
            assert {type(wrapped(one)) for one in errors.values} == {ConnectTimeoutError}
            assert "connected" not in states.values
            assert client.health().handshake_failures == 3


def test_nobody_listens() -> None:
    """A refused connection is an error that is told, and tried again up to the limit."""
    with socket.create_server((HOST, 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with client_of(port, retry=Retry(initial=0.001, limit=3)) as client:
        states = Collector(client.connection_state)
        error = wrapped(Collector(client).wait_ended())
        assert isinstance(error, ConnectError)
        assert not client.wait_connected(LIMIT)
        assert states.wait_ended() is None
        attempts = [status.attempt for status in in_state(states.values, "reconnecting")]
        assert attempts == list(range(5 - len(attempts), 5))
        assert states.values[-1] == "closed"


def test_no_retry_after_limit_zero() -> None:
    """With a limit of 0 the first end is the last."""
    with serving() as server, client_of(server, retry=Retry(limit=0)) as client:
        ended = Collector(client)
        assert client.wait_connected(LIMIT)
        server.close()
        assert isinstance(wrapped(ended.wait_ended()), ConnectionClosedError)


def test_address_token_and_headers_are_asked_for_afresh() -> None:
    """A client follows its server to another port, with a new token and new headers."""
    numbers = itertools.count(1)
    with serving() as first, serving() as second:
        ports = iter([first.port, second.port])

        def where() -> dict[str, Any]:
            return {"host": HOST, "port": next(ports), "path": "/a"}

        async def token() -> str:
            return f"token-{next(numbers)}"

        peers = [Collector(first.connections), Collector(second.connections)]
        handshake = Handshake(token=token, headers=lambda: {"X-Count": f"{next(numbers)}"})
        with RxWSClient(where, retry=SOON, handshake=handshake):
            (peer,) = peers[0].wait_for_count(1)
            peer.close(1012)
            (again,) = peers[1].wait_for_count(1)
        seen = [(one.headers["X-Count"], one.headers["Authorization"]) for one in (peer, again)]
        assert seen == [("1", "Bearer token-2"), ("3", "Bearer token-4")]


def test_address_that_cannot_be_right_ends_the_client() -> None:
    """A function that returns nonsense is a failure that does not heal."""
    with RxWSClient(lambda: {"host": HOST}, retry=SOON) as client:
        error = wrapped(Collector(client).wait_ended())
        assert "missing required keys: ['port', 'path']" in str(error)


def test_peer_closed_by_the_server_comes_back() -> None:
    """What was queued for a peer reaches it before the close that the server asked for."""
    with serving() as server, joined(server, "/a", retry=SOON) as (client, peer):
        states, received = Collector(client.connection_state), Collector(client)
        for number in range(500):
            peer.on_next(str(number))
        peer.close(4001, "enough")
        received.wait_for_count(500)
        states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
        (gone,) = in_state(states.values, "disconnected")
        assert (gone.code, gone.reason) == (4001, "enough")
