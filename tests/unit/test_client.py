"""RxWSClient: connecting, sending, losing, reconnecting, ending."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

import pytest
from reactivex import abc
from reactivex.internal.exceptions import DisposedException
from reactivex.scheduler import ImmediateScheduler
from world import World, tagged

from rxplus import (
    Buffer,
    BufferFullError,
    CertificateError,
    ComponentClosedError,
    ConnConfig,
    ConnectionState,
    ConnectTimeoutError,
    DecodeError,
    Handshake,
    HandshakeRejectedError,
    Limits,
    Loss,
    LossReason,
    Overflow,
    Retry,
    RxException,
    RxWSClient,
    RxWSServer,
    Timeouts,
    UnsafePickleWarning,
    WouldDeadlockError,
    WSStr,
)
from rxplus._core.retry import heals
from rxplus.datatypes import DatatypeLike

PORT = 4321
"""Nobody listens there unless a test says so."""


# ── making one ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"port": 1, "path": "/"}, r"conn_cfg missing required keys: \['host'\]"),
        ({"host": "h", "path": "/"}, r"conn_cfg missing required keys: \['port'\]"),
        ({"host": "h", "port": 1}, r"conn_cfg missing required keys: \['path'\]"),
        ({}, r"conn_cfg missing required keys: \['host', 'port', 'path'\]"),
        ({"host": "h", "port": 1, "path": "/", "prot": 2}, r"unknown keys: \['prot'\]"),
        ({"host": "h", "port": 70000, "path": "/"}, "port .* 70000"),
        ({"host": "h", "port": 1, "path": "chat"}, "path .* 'chat'"),
    ],
)
def test_client_refuses_wrong_conn_cfg(config: dict[str, Any], message: str) -> None:
    """A configuration that cannot be right is refused at once, by key and value."""
    with pytest.raises(ValueError, match=message):
        RxWSClient(config)


def test_client_refuses_unknown_arguments() -> None:
    """A misspelt argument is refused, and named."""
    with pytest.raises(TypeError, match="retries"):
        RxWSClient(
            {"host": "h", "port": 1, "path": "/"},
            retries=Retry(),  # type: ignore[call-arg]  # the point of the test
        )


def test_client_takes_the_plans_positional_arguments(world: World) -> None:
    """The order of the constructor's first seven arguments is part of the contract."""
    server = world.server(datatype="bytes")
    config = {"host": "127.0.0.1", "port": str(server.port), "path": "/a"}
    client = RxWSClient(config, "bytes", 0.2, 10.0, 5.0, "me", True, **world.parts)
    assert client.name == "me"
    assert client.wait_connected(5)
    client.close()
    server.close()


def test_client_needs_no_server_to_be_made(world: World) -> None:
    """Making a client does not wait for a connection, and closing it needs none."""
    client = world.client(PORT)
    assert not client.connected
    assert client.close()


# ── sending and receiving ─────────────────────────────────────────────────────────────────


def test_client_sends_and_receives_in_order(world: World) -> None:
    """What is sent arrives once, in order, on both sides."""
    server = world.server()
    client = world.connected(server)
    at_server, at_client = world.sim.record(server), world.sim.record(client)
    for number in range(100):
        client.on_next(f"up {number}")
        server.on_next(tagged("/a", f"down {number}")[0])
    world.settle()
    assert at_server.values == tagged("/a", *(f"up {n}" for n in range(100)))
    assert at_client.values == [f"down {n}" for n in range(100)]
    client.close()
    server.close()


def test_client_refuses_a_wrong_payload_in_the_callers_thread(world: World) -> None:
    """A payload that the datatype cannot send raises where it was sent from."""
    client = world.client(PORT)
    with pytest.raises(TypeError, match="WSStr expects a string payload"):
        client.on_next(b"bytes")
    with pytest.raises(UnicodeEncodeError):
        client.on_next("\ud800")
    client.close()


def test_client_reports_a_message_it_cannot_unpackage_and_goes_on(world: World) -> None:
    """A message of the wrong kind is an event on errors; the next one arrives."""
    server = world.server(datatype=lambda path: "bytes")
    client = world.connected(server)
    values, errors = world.sim.record(client), world.sim.record(client.errors)
    server.on_next(tagged("/a", b"binary")[0])
    world.settle()
    assert values.values == []
    assert [type(error.exception) for error in errors.values] == [DecodeError]
    assert client.connected
    client.close()
    server.close()


class _Shouting(WSStr):
    def unpackage(self, frame: str | bytes) -> str:
        return super().unpackage(frame).upper()


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("string", ["a", "c"]), (_Shouting, ["A", "C"]), ("bytes", [b"b"])],
)
def test_client_unpackages_what_arrives_together(
    world: World, datatype: DatatypeLike, values: list[Any]
) -> None:
    """As one by one: only what the datatype would leave as it is goes a shorter way."""
    server = world.server()
    client = world.connected(server, datatype=datatype)
    seen, errors = world.sim.record(client), world.sim.record(client.errors)
    session: Any = client._supervisor._session
    receiver = session.receiver
    world.on_loop(lambda: receiver.on_messages(["a", b"b", "c"], more=False))
    assert seen.values == values
    assert len(errors.values) == 3 - len(values)
    same: list[str | bytes] = [b"b", b"c"] if datatype == "bytes" else ["a", "c"]
    world.on_loop(lambda: receiver.on_messages(same, more=False))
    assert len(seen.values) == len(values) + 2
    assert seen.values[-2:] == (same if datatype == "bytes" else values)
    client.close()
    server.close()


def test_client_survives_a_raising_subscriber(world: World) -> None:
    """A subscriber that raises is reported, stays subscribed, and harms nobody else."""
    server = world.server()
    client = world.connected(server)
    seen: list[str] = []

    def picky(value: str) -> None:
        seen.append(value)
        if value == "bad":
            raise ValueError("no such thing")

    client.subscribe(picky)
    other, errors = world.sim.record(client), world.sim.record(client.errors)
    for value in ("bad", "good"):
        server.on_next(tagged("/a", value)[0])
    world.settle()
    assert seen == other.values == ["bad", "good"]
    (error,) = errors.values
    assert isinstance(error, RxException)
    assert isinstance(error.exception, ValueError)
    assert "picky" in error.note
    client.close()
    server.close()


def test_client_runs_subscribers_on_the_given_scheduler(world: World) -> None:
    """With a scheduler of the user's, values come there, all and in order."""
    server = world.server()
    client = world.connected(server, scheduler=world.sim.scheduler)
    values = world.sim.record(client)
    for number in range(10):
        server.on_next(tagged("/a", str(number))[0])
    world.settle()
    assert values.values == [str(number) for number in range(10)]
    client.close()
    world.settle()
    assert values.completed
    server.close()


def test_client_survives_a_scheduler_that_takes_no_more_work(world: World) -> None:
    """A scheduler that was disposed of is reported once; the connection and the stream go on."""

    class Disposed(ImmediateScheduler):
        """Refuses everything."""

        def schedule(
            self, action: abc.ScheduledAction[Any], state: Any = None
        ) -> abc.DisposableBase:
            raise DisposedException

    server = world.server()
    client = world.client(server, scheduler=Disposed())
    values, errors = world.sim.record(client), world.sim.record(client.errors)
    assert client.wait_connected(10)
    for text in ("1", "2"):
        server.on_next(tagged("/a", text)[0])
    world.settle()
    client.close()
    assert values.values == ["1", "2"]
    assert values.completed
    assert [type(error.exception) for error in errors.values] == [DisposedException]
    server.close()


# ── pickle ────────────────────────────────────────────────────────────────────────────────


def test_client_warns_of_pickle_from_a_stranger(world: World) -> None:
    """Unpickling what a server elsewhere sends is warned of, unless TLS says who it is."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    warned: list[bool] = []
    for server_side, client_side in ((None, None), (server_tls, unverified), (server_tls, True)):
        with (
            RxWSServer({"host": "10.0.0.1", "port": 0}, tls=server_side, **world.parts) as server,
            warnings.catch_warnings(record=True, action="always") as caught,
        ):
            where = {"host": "10.0.0.1", "port": server.port, "path": "/"}
            with RxWSClient(where, "object", tls=client_side, **world.parts) as client:
                assert client.wait_connected(10)
        warned.append([one.category for one in caught] == [UnsafePickleWarning])
    assert warned == [True, True, False]


# ── without a connection ──────────────────────────────────────────────────────────────────


def test_client_buffering_disabled(world: World) -> None:
    """Without buffering a message sent while disconnected is lost, and reported so."""
    client = world.client(PORT)
    losses = world.sim.record(client.losses)
    client.on_next("one")
    client.on_next("two")
    world.settle()
    assert losses.values == [Loss("/a", LossReason.DISCONNECTED, 2)]
    server = world.server(PORT)
    at_server = world.sim.record(server)
    assert client.wait_connected(60)
    world.settle()
    assert at_server.values == []
    client.close()
    server.close()


def test_client_buffering_enabled(world: World) -> None:
    """With buffering a message sent while disconnected arrives after the reconnect."""
    client = world.client(PORT, buffer_while_disconnected=True)
    losses = world.sim.record(client.losses)
    client.on_next("one")
    world.settle(3)
    client.on_next("two")
    server = world.server(PORT)
    at_server = world.sim.record(server)
    assert client.wait_connected(60)
    world.settle()
    assert at_server.values == tagged("/a", "one", "two")
    assert losses.values == []
    client.close()
    server.close()


def test_client_keeps_a_message_whose_sending_failed(world: World) -> None:
    """With buffering a message that the connection did not take is sent first on the next."""
    server = world.server()
    client = world.connected(server, buffer_while_disconnected=True)
    at_server = world.sim.record(server)
    world.sim.net.fail_next_send()
    client.on_next("first")
    world.settle()
    client.on_next("second")
    assert client.wait_connected(10)
    world.settle()
    assert at_server.values == tagged("/a", "first", "second")
    client.close()
    server.close()


def test_client_reports_a_message_whose_sending_failed(world: World) -> None:
    """Without buffering a message that the connection did not take is reported as lost."""
    server = world.server()
    client = world.connected(server)
    losses = world.sim.record(client.losses)
    world.sim.net.fail_next_send()
    client.on_next("gone")
    world.settle()
    assert losses.values == [Loss("/a", LossReason.DISCONNECTED, 1)]
    client.close()
    server.close()


# ── a full buffer ─────────────────────────────────────────────────────────────────────────


def full(world: World, overflow: Overflow, messages: int = 3) -> RxWSClient:
    """Make a client with nowhere to send to and a buffer that is just full."""
    buffer = Buffer(max_messages=messages, overflow=overflow)
    client = world.client(PORT, buffer_while_disconnected=True, buffer=buffer)
    for number in range(messages):
        client.on_next(str(number))
    return client


def arrived(world: World, client: RxWSClient) -> list[str]:
    """Start a server and return what the client had buffered for it."""
    with world.server(PORT) as server:
        at_server = world.sim.record(server)
        assert client.wait_connected(60)
        world.settle()
        client.close()
        return [value.data for value in at_server.values]


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [(Overflow.drop_oldest(), ["1", "2", "new"]), (Overflow.drop_newest(), ["0", "1", "2"])],
)
def test_client_drops_and_reports(world: World, overflow: Overflow, kept: list[str]) -> None:
    """A policy that drops keeps the limit and reports what it dropped."""
    client = full(world, overflow)
    losses = world.sim.record(client.losses)
    client.on_next("new")
    world.settle()
    assert losses.values == [Loss("/a", LossReason.OVERFLOW, 1)]
    assert arrived(world, client) == kept


def test_client_keeps_the_latest_per_key(world: World) -> None:
    """Under `latest` a newer message takes the place of the waiting one with its key."""
    buffer = Buffer(overflow=Overflow.latest(key=lambda message: message[0]))
    client = world.client(PORT, buffer_while_disconnected=True, buffer=buffer)
    losses = world.sim.record(client.losses)
    for value in ("a1", "b1", "a2"):
        client.on_next(value)
    world.settle()
    assert losses.values == [Loss("/a", LossReason.CONFLATED, 1)]
    assert arrived(world, client) == ["b1", "a2"]


def test_client_raises_when_full(world: World) -> None:
    """Under `error` a message too many raises in the sender's thread and changes nothing."""
    client = full(world, Overflow.error())
    with pytest.raises(BufferFullError, match="3 messages"):
        client.on_next("new")
    assert arrived(world, client) == ["0", "1", "2"]


def test_client_blocks_until_the_time_is_over(world: World) -> None:
    """Under `block` the sender waits for room, and gets an error when there is none in time."""
    client = full(world, Overflow.block(timeout=2.0))
    started = world.sim.now
    with pytest.raises(BufferFullError, match=r"after 2\.0 s"):
        client.on_next("new")
    assert world.sim.now - started == pytest.approx(2.0)
    client.close()


def test_client_blocks_until_there_is_room(world: World) -> None:
    """Under `block` the sender goes on as soon as messages have left."""
    client = full(world, Overflow.block(timeout=60.0))
    server = world.server(PORT)
    at_server = world.sim.record(server)
    client.on_next("new")
    world.settle()
    assert [value.data for value in at_server.values] == ["0", "1", "2", "new"]
    client.close()
    server.close()


def test_client_does_not_block_the_loop(world: World) -> None:
    """On the loop thread, where waiting would be for ever, a full buffer raises at once."""
    client = full(world, Overflow.block(timeout=60.0))
    raised: list[Exception] = []

    def send() -> None:
        try:
            client.on_next("new")
        except BufferFullError as exc:
            raised.append(exc)

    world.on_loop(send)
    assert len(raised) == 1
    client.close()


def test_client_closing_wakes_a_blocked_sender(world: World) -> None:
    """Who waits for room in a client that is closed gets an error, not silence."""
    client = full(world, Overflow.block(timeout=None))
    world.sim.at(world.sim.now + 1.0, lambda: client._hub.begin_close(0.0))
    with pytest.raises(ComponentClosedError):
        client.on_next("new")
    client.close()


def test_client_disconnects_from_a_slow_server(world: World) -> None:
    """Under `disconnect` a full buffer costs what waits, and the connection."""
    server = world.server()
    buffer = Buffer(max_messages=3, overflow=Overflow.disconnect())
    client = world.connected(server, buffer=buffer)
    losses, states = world.sim.record(client.losses), world.sim.record(client.connection_state)
    for number in range(4):
        client.on_next(str(number))
    world.sim.run_until_idle()
    assert losses.values == [Loss("/a", LossReason.OVERFLOW, 4)]
    assert "disconnected" in states.values
    client.close()
    server.close()


# ── states and reconnecting ───────────────────────────────────────────────────────────────


def test_client_tells_each_state_once_and_in_order(world: World) -> None:
    """connection_state starts with the present state and tells each change once."""
    server = world.server(PORT)
    client = world.client(PORT)
    states = world.sim.record(client.connection_state)
    assert client.wait_connected(5)
    server.close()
    world.settle(1)
    server = world.server(PORT)
    assert client.wait_connected(30)
    client.close()
    server.close()
    expected = ["connecting", "connected", "disconnected", "reconnecting"]
    assert states.values[:4] == expected
    assert states.values[-2:] == ["connected", "closed"]
    assert states.completed
    assert states.values[2].code == 1001


def test_client_state_compares_with_enum_and_string(world: World) -> None:
    """A status is equal to the state's enum member and to its name."""
    client = world.client(PORT)
    (status,) = world.sim.record(client.connection_state).values
    assert status == "connecting"
    assert status == ConnectionState.CONNECTING
    assert status.state is ConnectionState.CONNECTING
    assert status.attempt == 1
    client.close()


def test_client_late_subscriber_sees_the_present_state(world: World) -> None:
    """Who subscribes late sees the present state, and after the end `closed` and completion."""
    server = world.server()
    client = world.connected(server)
    assert world.sim.record(client.connection_state).values == ["connected"]
    client.close()
    late = world.sim.record(client.connection_state)
    assert late.values == ["closed"]
    assert late.completed
    server.close()


def test_client_backs_off_exponentially(world: World) -> None:
    """Each failed attempt waits longer than the one before, up to the cap."""
    retry = Retry(initial=1.0, factor=2.0, maximum=5.0, jitter=0.0)
    client = world.client(PORT, retry=retry)
    states = world.sim.record(client.connection_state)
    world.settle(30)
    client.close()
    times = [
        time
        for time, state in zip(states.times, states.values, strict=True)
        if state == "reconnecting"
    ]
    failed = [
        time
        for time, state in zip(states.times, states.values, strict=True)
        if state == "disconnected"
    ]
    delays = [round(again - before, 6) for before, again in zip(failed, times, strict=False)]
    assert delays[:5] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_client_does_not_hammer_a_server_that_accepts_and_closes(world: World) -> None:
    """A connection that does not last counts as a failure, so that the delays grow."""
    server = world.server(PORT)
    world.sim.net.accept_then_close(1001, times=100)
    client = world.client(PORT, retry=Retry(initial=1.0, jitter=0.0, maximum=60.0))
    states = world.sim.record(client.connection_state)
    world.settle(60)
    attempts = sum(state == "connected" for state in states.values)
    assert 4 <= attempts <= 7
    assert max(status.attempt for status in states.values) >= attempts
    client.close()
    server.close()


def test_client_counts_anew_after_a_stable_connection(world: World) -> None:
    """The end of a connection that lasted is the first failure again."""
    server = world.server(PORT)
    world.sim.net.accept_then_close(1001, times=3)
    client = world.client(PORT, retry=Retry(initial=0.1, jitter=0.0, stable_after=5.0))
    states = world.sim.record(client.connection_state)
    world.settle(10)
    assert states.values[-1] == "connected"
    assert states.values[-1].attempt == 4
    world.sim.net.sever()
    world.settle(1)
    assert states.values[-1] == "connected"
    assert states.values[-1].attempt == 1
    client.close()
    server.close()


def test_client_gives_up_after_the_limit(world: World) -> None:
    """A client that may retry twice ends with on_error after the third failure."""
    client = world.client(PORT, retry=Retry(initial=0.1, limit=2))
    values, states = world.sim.record(client), world.sim.record(client.connection_state)
    world.settle(30)
    assert isinstance(values.error, RxException)
    assert "gave up" in str(values.error)
    assert sum(state == "disconnected" for state in states.values) == 3
    assert states.values[-1] == "closed"
    with pytest.raises(ComponentClosedError):
        client.on_next("too late")
    assert client.close()


@pytest.mark.parametrize("status", [401, 403])
def test_client_stops_when_it_is_not_welcome(world: World, status: int) -> None:
    """A refusal that will not change ends the client with on_error, at once."""
    server = world.server()
    world.sim.net.reject_next(status)
    client = world.client(server)
    values = world.sim.record(client)
    world.settle(5)
    assert isinstance(values.error, RxException)
    assert isinstance(values.error.exception, HandshakeRejectedError)
    assert not client.wait_connected(1)
    server.close()


def test_client_retries_other_refusals(world: World) -> None:
    """A refusal that may pass, such as 503, is retried."""
    server = world.server()
    world.sim.net.reject_next(503)
    client = world.client(server)
    assert client.wait_connected(10)
    client.close()
    server.close()


@pytest.mark.parametrize(("code", "stops"), [(1008, True), (1012, False), (1013, False)])
def test_client_obeys_close_codes(world: World, code: int, stops: bool) -> None:
    """1008 ends the client; a restart or 'try again later' does not."""
    server = world.server()
    world.sim.net.accept_then_close(code)
    client = world.client(server)
    values = world.sim.record(client)
    world.settle(20)
    assert (values.error is not None) is stops
    assert client.connected is not stops
    client.close()
    server.close()


def test_client_times_out_connecting(world: World) -> None:
    """A server that never answers the handshake costs one connect timeout, then a retry."""
    server = world.server()
    world.sim.net.hang_next_connect()
    client = world.client(server, timeouts=Timeouts(open=3.0))
    errors = world.sim.record(client.errors)
    assert client.wait_connected(30)
    assert world.sim.now > 3.0
    assert [type(error.exception) for error in errors.values] == [ConnectTimeoutError]
    client.close()
    server.close()


def test_client_asks_for_url_headers_and_token_afresh(world: World) -> None:
    """Functions are asked again at each attempt, coroutine functions too."""
    asked: list[str] = []

    def where() -> ConnConfig:
        asked.append("where")
        return ConnConfig("127.0.0.1", PORT, "/a")

    def headers() -> dict[str, str]:
        asked.append("headers")
        return {"X-Try": str(len(asked))}

    async def token() -> str:
        asked.append("token")
        return f"token-{len(asked)}"

    handshake = Handshake(headers=headers, token=token)
    retry = Retry(initial=0.5, jitter=0.0)
    client = RxWSClient(where, handshake=handshake, retry=retry, **world.parts)
    world.settle(0.4)
    assert asked == ["where", "headers", "token"]
    server = world.server(PORT)
    peers = world.sim.record(server.connections)
    assert client.wait_connected(10)
    (peer,) = peers.values
    assert peer.headers["X-Try"] == "5"
    assert peer.headers["Authorization"] == "Bearer token-6"
    client.close()
    server.close()


def test_client_survives_a_token_function_that_raises(world: World) -> None:
    """A token that cannot be had now is a failed attempt, not the end."""
    asked: list[None] = []

    def token() -> str:
        asked.append(None)
        if len(asked) == 1:
            raise RuntimeError("token server is down")
        return "secret"

    server = world.server()
    client = world.client(server, handshake=Handshake(token=token))
    errors = world.sim.record(client.errors)
    assert client.wait_connected(10)
    assert "token server is down" in str(errors.values[0])
    client.close()
    server.close()


def test_client_sends_no_token_that_is_none(world: World) -> None:
    """A token function without a token is a failed attempt: "Bearer None" is never sent."""
    tokens: Any = iter([None, "secret"])
    server = world.server()
    peers = world.sim.record(server.connections)
    client = world.client(server, handshake=Handshake(token=lambda: next(tokens)))
    errors = world.sim.record(client.errors)
    assert client.wait_connected(10)
    assert "Handshake.token returned a NoneType" in str(errors.values[0])
    assert [peer.headers["Authorization"] for peer in peers.values] == ["Bearer secret"]
    client.close()
    server.close()


def test_client_ends_when_its_configuration_function_is_wrong(world: World) -> None:
    """A function that returns an address which cannot be right ends the client."""
    client = RxWSClient(lambda: {"host": "h", "port": 1, "path": "nope"}, **world.parts)
    values = world.sim.record(client)
    world.settle(1)
    assert "path must begin with '/'" in str(values.error)
    client.close()


# ── ending ────────────────────────────────────────────────────────────────────────────────


def test_client_on_completed_stops_loop(world: World) -> None:
    """on_completed lets go of the loop: nothing runs on, nothing reconnects."""
    server = world.server()
    client = world.connected(server)
    values = world.sim.record(client)
    client.on_completed()
    assert values.completed
    assert client._hub.is_closed
    assert not client._hub.lease.call_soon(lambda: None)
    server.close()


def test_client_sends_what_is_queued_before_it_closes(world: World) -> None:
    """Closing sends what was accepted before, and says goodbye with 1000."""
    server = world.server()
    client = world.connected(server)
    at_server = world.sim.record(server)
    peers = server.peers
    for number in range(50):
        client.on_next(str(number))
    assert client.close()
    world.settle()
    assert at_server.values == tagged("/a", *map(str, range(50)))
    assert peers[0]._member.session.end is not None
    assert peers[0]._member.session.end.code == 1000
    server.close()


def test_client_waits_for_the_first_connection_to_send_what_is_buffered(world: World) -> None:
    """Closing a client that is still connecting sends its buffer first, within the deadline."""
    server = world.server()
    at_server = world.sim.record(server)
    client = world.client(server, buffer_while_disconnected=True)
    client.on_next("just in time")
    client.close()
    world.settle()
    assert at_server.values == tagged("/a", "just in time")
    server.close()


def test_client_reports_what_it_could_not_send_before_closing(world: World) -> None:
    """What is still queued at the deadline is reported as lost; closing takes no longer."""
    client = world.client(PORT, buffer_while_disconnected=True)
    losses = world.sim.record(client.losses)
    client.on_next("one")
    client.on_next("two")
    started = world.sim.now
    client.close(timeout=3.0)
    assert losses.values == [Loss("/a", LossReason.CLOSED, 2)]
    assert losses.completed
    assert world.sim.now - started == pytest.approx(3.0, abs=0.1)


def test_client_can_be_closed_from_a_callback(world: World) -> None:
    """Closing from a subscriber returns at once and still closes everything."""
    server = world.server()
    client = world.connected(server)
    results: list[bool] = []
    client.subscribe(lambda _: results.append(client.close()))
    values = world.sim.record(client)
    server.on_next(tagged("/a", "stop")[0])
    world.settle()
    assert results == [False]
    assert values.values == ["stop"]
    assert values.completed
    assert client.close()
    server.close()


def test_client_closes_once_however_often_it_is_asked(world: World) -> None:
    """close, dispose, on_completed and the end of a with-block complete the stream once."""
    server = world.server()
    completions: list[None] = []
    with world.connected(server) as client:
        client.subscribe(on_completed=lambda: completions.append(None))
        client.close()
        client.dispose()
        client.on_completed()
        client.on_error(RuntimeError("too late"))
    assert completions == [None]
    server.close()


def test_client_ends_with_the_error_of_its_source(world: World) -> None:
    """on_error ends the client's stream with that error, after closing properly."""
    server = world.server()
    client = world.connected(server)
    values = world.sim.record(client)
    error = RuntimeError("source failed")
    client.on_error(error)
    assert values.error is error
    server.close()


def test_client_refuses_use_after_close(world: World) -> None:
    """Sending on a closed client raises in the caller's thread."""
    client = world.client(PORT, name="gone")
    client.close()
    with pytest.raises(ComponentClosedError, match="gone is closed"):
        client.on_next("x")


def test_client_emits_nothing_after_completion(world: World) -> None:
    """Messages that are on their way when the client closes do not come after completion."""
    server = world.server()
    client = world.connected(server)
    events: list[str] = []
    client.subscribe(events.append, on_completed=lambda: events.append("<end>"))
    for number in range(10):
        server.on_next(tagged("/a", str(number))[0])
    client.close()
    world.settle()
    assert events[-1] == "<end>"
    assert events.count("<end>") == 1
    server.close()


def test_client_wait_connected_on_the_loop_is_refused(world: World) -> None:
    """Waiting on the loop thread for what only that thread can do raises at once."""
    client = world.client(PORT)
    raised: list[Exception] = []

    def wait() -> None:
        try:
            client.wait_connected(1)
        except WouldDeadlockError as exc:
            raised.append(exc)

    world.on_loop(wait)
    assert len(raised) == 1
    client.close()


def test_client_keepalive_finds_a_silent_server(world: World) -> None:
    """A server that no longer answers pings is given up, and looked for again."""
    server = world.server()
    client = world.connected(server, ping_interval=1.0, ping_timeout=1.0)
    states = world.sim.record(client.connection_state)
    world.sim.net.hold()
    world.settle(20)
    assert states.values[:2] == ["connected", "disconnected"]
    world.sim.net.release()
    client.close()
    server.close()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_client_reports_a_subscriber_that_holds_the_loop(
    world: World, caplog: pytest.LogCaptureFixture, elsewhere: bool
) -> None:
    """A slow subscriber is named in the log; on a scheduler of its own it may take its time."""
    server = world.server()
    scheduler = world.sim.scheduler if elsewhere else None
    client = world.connected(server, limits=Limits(slow_callback=0.5), scheduler=scheduler)

    def dawdle(_: str) -> None:
        world.sim.loop.skip_to(world.sim.now + 1.0)

    client.subscribe(dawdle)
    server.on_next(tagged("/a", "x")[0])
    world.settle(3)
    assert ("dawdle" in caplog.text) is not elsewhere
    client.close()
    server.close()


def test_client_health_tells_state_and_counts(world: World) -> None:
    """health() is one consistent look at state, traffic and queue."""
    server = world.server()
    client = world.connected(server, ping_interval=1.0)
    client.on_next("hello")
    world.settle(2)
    health = client.health()
    assert health.healthy
    assert (health.kind, health.state) == ("client", "connected")
    assert (health.messages_out, health.bytes_out, health.connections) == (1, 5, 1)
    assert health.latency == pytest.approx(0.002)
    assert health.paths == {"/a": 1}
    client.close()
    assert client.health().state == "closed"
    assert not client.health().healthy
    server.close()


def test_certificate_error_is_final() -> None:
    """A certificate that is not accepted will not be accepted at the next attempt either."""
    assert not heals(CertificateError("self-signed"), Retry(initial=1.0))


def test_client_that_gives_up_while_closing_does_not_wait_any_longer(world: World) -> None:
    """Closing does not wait for a connection that will not come any more."""
    server = world.server()
    world.sim.net.reject_next(401)
    client = world.client(server, buffer_while_disconnected=True)
    losses = world.sim.record(client.losses)
    client.on_next("nowhere to go")
    started = world.sim.now
    assert client.close(timeout=50.0)
    assert world.sim.now - started < 1.0
    assert losses.values == [Loss("/a", LossReason.CLOSED, 1)]
    server.close()


def test_client_keeps_what_comes_before_somebody_subscribes(world: World) -> None:
    """A greeting is not missed, though the client connects before its user can subscribe."""
    server = world.server()
    server.connections.subscribe(lambda peer: peer.on_next("welcome"))
    client = world.connected(server)
    world.settle()
    values = world.sim.record(client)
    server.on_next(tagged("/a", "more")[0])
    world.settle()
    assert values.values == ["welcome", "more"]
    client.close()
    server.close()


def test_client_survives_a_subscriber_that_exits(world: World) -> None:
    """sys.exit() in a subscriber is reported like any other failure of it."""
    server = world.server()
    client = world.connected(server)

    def leave(_: str) -> None:
        raise SystemExit(1)

    client.subscribe(leave)
    values, errors = world.sim.record(client), world.sim.record(client.errors)
    for number in range(3):
        server.on_next(tagged("/a", str(number))[0])
    world.settle()
    assert values.values == ["0", "1", "2"]
    assert len(errors.values) == 3
    client.close()
    server.close()


def test_client_does_not_send_what_waited_too_long(world: World) -> None:
    """After an outage only what is young enough goes out; the rest is reported."""
    world.sim.net.refuse()
    client = world.client(
        PORT,
        buffer_while_disconnected=True,
        buffer=Buffer(max_age=5.0),
        retry=Retry(initial=1.0, maximum=1.0),
    )
    losses = world.sim.record(client.losses)
    client.on_next("old")
    world.settle(20)
    server = world.server(PORT)
    values = world.sim.record(server)
    client.on_next("young")
    world.sim.net.restore()
    world.settle(2)
    assert values.values == tagged("/a", "young")
    assert losses.values == [Loss("/a", LossReason.EXPIRED, 1)]
    client.close()
    server.close()


def test_client_that_has_only_old_messages_sends_none(world: World) -> None:
    """Also when nothing is left that could be sent."""
    client = world.client(PORT, delivery="acknowledged", buffer=Buffer(max_age=5.0))
    plain = world.client(PORT, buffer_while_disconnected=True, buffer=Buffer(max_age=5.0))
    losses = [world.sim.record(one.losses) for one in (client, plain)]
    for one in (client, plain):
        one.on_next("old")
    world.settle(20)
    server = world.server(PORT, delivery="acknowledged")
    values = world.sim.record(server)
    world.settle(60)
    assert values.values == []
    assert [one.values for one in losses] == [[Loss("/a", LossReason.EXPIRED, 1)]] * 2
    client.close()
    plain.close()
    server.close()
