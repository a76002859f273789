"""The transport in memory: the contract of every transport, and the faults of its network."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from benches import LoopFactory, MemoryBench
from hypothesis import given, settings
from hypothesis import strategies as st

from rxplus import (
    ClientEndpoint,
    CloseInfo,
    ConnectError,
    Connection,
    ConnectionClosedError,
    ConnectTimeoutError,
    HandshakeRejectedError,
    Headers,
    InvalidEndpointError,
    Listener,
    OnConnection,
    Payload,
    Request,
    Response,
    ServerEndpoint,
    WireOptions,
)
from rxplus_testing import (
    AcceptThenClose,
    Hang,
    LeakError,
    MemoryTransport,
    RefuseConnection,
    RejectHandshake,
    Sim,
)
from rxplus_testing.contract import TransportContract


class TestContractOnVirtualLoop(MemoryBench, TransportContract):
    """The memory transport does what every transport must do, in virtual time."""


class TestContractOnRealLoop(MemoryBench, TransportContract):
    """The same on asyncio's own loop, which has no part in the network's order."""

    latency = 0.0
    loop_factory: LoopFactory | None = None


class End:
    """One end of a connection: it writes down what it hears, and when."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.connection = connection
        self.events: list[tuple[float, object]] = []
        self._world = world

    @property
    def messages(self) -> list[object]:
        """What arrived."""
        return [event for _, event in self.events if isinstance(event, (str, bytes))]

    @property
    def times(self) -> list[float]:
        """When it heard what it heard."""
        return [time for time, _ in self.events]

    @property
    def info(self) -> CloseInfo | None:
        """How it ended; ``None`` while it is open."""
        ends = [event for _, event in self.events if isinstance(event, CloseInfo)]
        assert len(ends) <= 1
        return ends[0] if ends else None

    @property
    def code(self) -> int | None:
        """The close code; ``None`` while it is open."""
        return None if self.info is None else self.info.code

    def send(self, *messages: Payload) -> None:
        """Send, on the loop."""
        self._world.do(self.connection.send, messages)

    def pause(self) -> None:
        """Stop reading."""
        self._world.do(self.connection.pause_reading)

    def resume(self) -> None:
        """Read again."""
        self._world.do(self.connection.resume_reading)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, and wait for it."""
        self._world.sim.run(self.connection.close(code, reason))

    def on_message(self, message: Payload) -> None:
        """Write it down."""
        self.events.append((self._world.sim.now, message))

    def on_writable(self) -> None:
        """Write it down."""
        self.events.append((self._world.sim.now, "writable!"))

    def on_closed(self, info: CloseInfo) -> None:
        """Write it down."""
        self.events.append((self._world.sim.now, info))


class World:
    """A simulation with short ways to listen and connect."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.net = sim.net
        self.servers: list[End] = []
        self.clients: list[End] = []
        self.listeners: list[Listener] = []

    async def accept(self, request: Request) -> Response | OnConnection:
        """Let everybody in."""
        return self.take

    def take(self, connection: Connection) -> None:
        """Start a server's end."""
        end = End(self, connection)
        self.servers.append(end)
        connection.start(end)

    def listen(self, port: int = 9000, **options: Any) -> Listener:
        """Listen."""
        endpoint = ServerEndpoint(host="localhost", port=port, options=WireOptions(**options))
        listener = self.sim.run(self.sim.transport.listen(endpoint, self.accept))
        self.listeners.append(listener)
        return listener

    def connect(self, port: int = 9000, target: str = "/", **options: Any) -> End:
        """Connect, and start the client's end."""
        endpoint = ClientEndpoint(
            host="localhost", port=port, target=target, options=WireOptions(**options)
        )
        return self.connect_to(endpoint)

    def connect_to(self, endpoint: ClientEndpoint) -> End:
        """Connect, and start the client's end."""
        connection = self.sim.run(self.sim.transport.connect(endpoint))
        end = End(self, connection)
        self.clients.append(end)
        self.do(connection.start, end)
        return end

    def pair(self, **options: Any) -> tuple[End, End]:
        """Listen and connect with the same options; return the client's and the server's end."""
        self.listen(**options)
        client = self.connect(**options)
        return client, self.servers[-1]

    def do(self, function: Any, *args: Any) -> None:
        """Call ``function`` on the loop, let nothing else happen, and raise what it raised."""

        async def call() -> None:
            function(*args)

        self.sim.run(call())

    def shut_down(self) -> None:
        """Close what is open."""
        self.net.release()
        for listener in self.listeners:
            self.sim.run(listener.close())
        for end in [*self.clients, *self.servers]:
            self.do(end.connection.abort)


@pytest.fixture
def world() -> Iterator[World]:
    """A world that leaves nothing behind."""
    with Sim() as sim:
        world = World(sim)
        yield world
        world.shut_down()


# Time.


def test_latency_of_a_message_is_one_way(world: World) -> None:
    """A message takes the latency that holds when it is sent."""
    client, server = world.pair()
    start = world.sim.now
    world.net.latency = 0.5
    assert world.net.latency == 0.5
    client.send("slow")
    world.sim.advance(1.0)
    assert server.messages == ["slow"]
    assert server.times == pytest.approx([start + 0.5])


def test_latency_of_a_port_is_its_own(world: World) -> None:
    """One server can be far away and another near."""
    world.listen(9000)
    world.listen(9001)
    far, near = world.connect(9000), world.connect(9001)
    world.net.set_latency(2.0, port=9000)
    world.net.set_latency(1.0)
    start = world.sim.now
    far.send("far")
    near.send("near")
    world.sim.advance(3.0)
    assert [end.messages for end in world.servers] == [["far"], ["near"]]
    assert world.servers[0].times == pytest.approx([start + 2.0])
    assert world.servers[1].times == pytest.approx([start + 1.0])


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_latency_refuses_what_is_no_duration(world: World, seconds: float) -> None:
    """Messages neither arrive before they are sent nor never."""
    with pytest.raises(ValueError, match="latency"):
        world.net.latency = seconds


def test_latency_that_falls_keeps_the_order(world: World) -> None:
    """A message sent later on a faster network does not overtake."""
    client, server = world.pair()
    world.net.latency = 1.0
    client.send("first")
    world.net.latency = 0.0
    client.send("second")
    world.sim.advance(0.5)
    assert server.messages == []
    world.sim.advance(1.0)
    assert server.messages == ["first", "second"]


def test_latency_of_a_connection_is_the_round_trip(world: World) -> None:
    """A ping measures there and back."""
    client, _ = world.pair()
    world.net.latency = 0.25
    assert world.sim.run(client.connection.ping()) == pytest.approx(0.5)
    assert client.connection.latency == pytest.approx(0.5)


def test_hold_delays_and_release_delivers_in_order(world: World) -> None:
    """While held, nothing arrives and nothing is lost."""
    client, server = world.pair()
    client.send("on its way")
    world.net.hold()
    client.send("held")
    world.sim.advance(5.0)
    assert server.messages == []
    world.net.release()
    world.sim.run_until_idle()
    assert server.messages == ["on its way", "held"]


class InBatches(End):
    """Takes in one call what has arrived together."""

    def on_messages(self, messages: Sequence[Payload], *, more: bool) -> None:
        """Write them down as one."""
        self.events.append((self._world.sim.now, (*messages, more)))


def test_messages_that_arrive_together_come_in_one_call(world: World) -> None:
    """To those who ask for it, and a single one as well; not one that is too large."""
    world.listen(max_message_size=4)
    client = world.connect()
    server = world.servers[-1]
    server.__class__ = InBatches  # it was started: what it is asked for is looked at as it goes
    client.send("a", b"b", "c")
    world.sim.advance(1.0)
    client.send("d")
    world.sim.advance(1.0)
    server.pause()
    client.send("e")
    world.sim.advance(1.0)
    client.send("f", "large", "never")
    world.sim.advance(1.0)
    server.resume()
    world.sim.advance(1.0)
    told = [event for _, event in server.events[:3]]
    assert told == [("a", b"b", "c", False), ("d", False), ("e", "f", True)]
    assert server.code == 1009


def test_hold_from_within_a_delivery_holds_the_rest(world: World) -> None:
    """A hold works at once, also between two messages that are due together."""
    client, server = world.pair()

    def hold(message: Payload) -> None:
        world.net.hold()

    server.on_message = hold  # type: ignore[method-assign]  # a hook
    client.send("first", "second")
    world.sim.advance(1.0)
    del server.on_message
    world.net.release()
    world.sim.run_until_idle()
    assert server.messages == ["second"]


def test_hold_of_a_port_leaves_others_alone(world: World) -> None:
    """Holding one server's port does not stop another's."""
    world.listen(9000)
    world.listen(9001)
    clients = world.connect(9000), world.connect(9001)
    world.net.hold(port=9000)
    for client in clients:
        client.send("hello")
    world.sim.advance(1.0)
    assert [end.messages for end in world.servers] == [[], ["hello"]]
    world.net.release(port=9000)
    world.sim.run_until_idle()
    assert world.servers[0].messages == ["hello"]


def test_keepalive_leaves_the_simulation_idle(world: World) -> None:
    """Pings wait for the time to pass; they are not something to run now."""
    world.pair(ping_interval=10.0, ping_timeout=5.0)
    world.net.traffic.clear()
    world.sim.run_until_idle()
    assert len(world.net.traffic) == 0
    world.sim.advance(10.0)
    assert world.net.traffic.snapshot().count("ping 1") == 2


def test_keepalive_runs_from_ping_to_ping(world: World) -> None:
    """The interval does not grow by the round trip."""
    world.listen(ping_interval=None)
    world.connect(ping_interval=10.0)
    start = world.sim.now
    world.net.traffic.clear()
    world.sim.advance(35.0)
    pings = [entry.time for entry in world.net.traffic if "ping" in str(entry)]
    assert pings == pytest.approx([start - 0.001 + 10 * number for number in (1, 2, 3)], abs=0.01)
    assert pings[1] - pings[0] == pytest.approx(10.0)


def test_keepalive_without_timeout_pings_on(world: World) -> None:
    """Without a timeout no pong is waited for, and the connection stays."""
    world.listen(ping_interval=None)
    client = world.connect(ping_interval=10.0, ping_timeout=None)
    world.net.hold()
    world.net.traffic.clear()
    world.sim.advance(45.0)
    assert len(world.net.traffic) == 4
    assert client.info is None


def test_keepalive_gives_up_after_interval_timeout_and_close(world: World) -> None:
    """A silent network is noticed after the three limits, on each side by itself."""
    client, server = world.pair(ping_interval=10.0, ping_timeout=5.0, close_timeout=2.0)
    world.net.hold()
    world.sim.advance(17.1)
    for end in (client, server):
        assert end.info is not None
        assert (end.info.code, end.info.local) == (1011, True)
        assert isinstance(end.info.error, TimeoutError)


def test_keepalive_waits_while_this_side_does_not_read(world: World) -> None:
    """Who has paused reading cannot see the pong, and does not blame the peer."""
    world.listen(ping_interval=None)
    client = world.connect(ping_interval=10.0, ping_timeout=5.0)
    client.pause()
    world.sim.advance(60.0)
    assert client.info is None
    client.resume()
    world.sim.advance(60.0)
    assert client.info is None


def test_keepalive_waits_while_the_peer_takes_what_came_before(world: World) -> None:
    """A ping that waits behind messages is not overdue as long as those move."""
    world.listen(ping_interval=None)
    client = world.connect(ping_interval=10.0, ping_timeout=5.0)
    server = world.servers[0]
    world.net.latency = 1.0
    server.pause()
    client.send("before the ping")
    world.sim.at(14.5, server.resume)
    world.sim.advance(60.0)
    assert client.info is None


def test_keepalive_counts_only_what_moves_after_the_ping(world: World) -> None:
    """Messages taken before the ping do not excuse a peer that reads nothing more."""
    world.listen(ping_interval=None)
    client = world.connect(ping_interval=10.0, ping_timeout=5.0, close_timeout=2.0)
    server = world.servers[0]
    client.send("taken")
    world.sim.at(9.0, server.pause)
    world.sim.advance(17.1)
    assert client.code == 1011


# Handshake.


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"port": 0},
        {"port": 2**16},
        {"target": "no-slash"},
        {"target": "/with space"},
        {"target": "/frag#ment"},
        {"headers": Headers({"bad name": "x"})},
        {"headers": Headers({"X-Name": "a\r\nInjected: b"})},
        {"origin": "https://a\nb"},
        {"subprotocols": ("a b",)},
    ],
)
def test_connect_refuses_endpoint_that_cannot_be(world: World, wrong: dict[str, Any]) -> None:
    """What no server could be asked is InvalidEndpointError, before anything is sent."""
    endpoint = ClientEndpoint(**{"host": "h", "port": 9000, **wrong})
    with pytest.raises(InvalidEndpointError):
        world.connect_to(endpoint)
    assert len(world.net.traffic) == 0


def test_connect_sends_what_a_client_sends(world: World) -> None:
    """The server sees the headers that a WebSocket handshake has, and the client's own."""
    world.listen()
    endpoint = ClientEndpoint(
        host="::1",
        port=9000,
        origin="https://o",
        headers=Headers({"Authorization": "Bearer x"}),
        subprotocols=("a", "b"),
    )
    world.connect_to(endpoint)
    request = world.servers[0].connection.request
    assert request.is_upgrade
    assert request.headers["host"] == "[::1]:9000"
    assert request.headers["origin"] == "https://o"
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["sec-websocket-protocol"] == "a, b"


def test_connect_leaves_default_port_out_of_host(world: World) -> None:
    """The Host header names the port only when it is not the scheme's own."""
    world.listen(80)
    client = world.connect(80)
    assert client.connection.request.headers["host"] == "localhost"


def test_connect_from_another_host(world: World) -> None:
    """Each transport can have an address of its own."""
    world.listen()
    transport = MemoryTransport(world.net, host="10.0.0.7")
    connection = world.sim.run(transport.connect(ClientEndpoint(host="h", port=9000)))
    assert connection.local_address is not None
    assert connection.local_address[0] == "10.0.0.7"
    assert connection.remote_address == ("h", 9000)
    assert world.servers[0].connection.remote_address == connection.local_address
    world.do(connection.abort)


def test_connect_tls_on_one_side_only(world: World) -> None:
    """A plain client of a TLS server, and the other way round, cannot connect."""
    context = ssl.create_default_context()
    world.listen(9000)
    tls = ServerEndpoint(host="h", port=9001, tls=context)
    world.listeners.append(world.sim.run(world.sim.transport.listen(tls, world.accept)))
    with pytest.raises(ConnectError, match="TLS"):
        world.connect_to(ClientEndpoint(host="h", port=9000, tls=context))
    with pytest.raises(ConnectError, match="TLS"):
        world.connect(9001)
    client = world.connect_to(ClientEndpoint(host="h", port=9001, tls=context))
    assert client.connection.request.secure
    assert world.servers[0].connection.request.secure


def test_connect_server_gives_up_on_slow_decision(world: World) -> None:
    """A server drops a handshake that its own open_timeout does not allow."""

    async def ponder(request: Request) -> Response | OnConnection:
        await asyncio.sleep(60)
        return world.take

    endpoint = ServerEndpoint(host="h", port=9000, options=WireOptions(open_timeout=1.0))
    world.listeners.append(world.sim.run(world.sim.transport.listen(endpoint, ponder)))
    with pytest.raises(ConnectError, match="dropped the handshake") as caught:
        world.connect()
    assert not isinstance(caught.value, ConnectTimeoutError)
    assert world.sim.now == pytest.approx(1.002)


def test_connect_server_gives_up_on_decision_that_hides_its_end(world: World) -> None:
    """An on_request that turns the cancellation into an error does not get an answer out."""

    async def ponder(request: Request) -> Response | OnConnection:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("hidden") from None
        return world.take

    endpoint = ServerEndpoint(host="h", port=9000, options=WireOptions(open_timeout=1.0))
    world.listeners.append(world.sim.run(world.sim.transport.listen(endpoint, ponder)))
    with pytest.raises(ConnectError) as caught:
        world.connect()
    assert not isinstance(caught.value, HandshakeRejectedError)


def test_connect_failing_takeover_is_1011(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """When the server cannot take a connection over, the client is told 1011."""

    def fail(connection: Connection) -> None:
        world.take(connection)
        raise ValueError("no")

    async def accept(request: Request) -> Response | OnConnection:
        return fail

    endpoint = ServerEndpoint(host="h", port=9000)
    world.listeners.append(world.sim.run(world.sim.transport.listen(endpoint, accept)))
    with caplog.at_level(logging.ERROR, "rxplus_testing"):
        client = world.connect()
        world.sim.advance(1.0)
    assert client.code == 1011
    assert world.servers[0].code == 1011
    assert "could not take over" in caplog.text


def test_connect_cancelled_when_answered_leaves_nothing(world: World) -> None:
    """A connect that is cancelled in the moment of success drops the connection."""
    world.listen()
    endpoint = ClientEndpoint(host="h", port=9000)
    task = world.sim.loop.create_task(world.sim.transport.connect(endpoint))
    world.sim.run_until(lambda: "accept" in world.net.traffic.snapshot())
    world.sim.loop.call_at(world.sim.now + 0.001, task.cancel)
    world.sim.advance(1.0)
    assert task.cancelled()
    assert world.servers[0].code == 1006


@pytest.mark.parametrize("answer", ["accept", "reject"])
def test_connect_cancelled_just_before_the_answer(world: World, answer: str) -> None:
    """An answer that arrives in the same turn as the cancellation leaves nothing either."""
    world.listen()
    if answer == "reject":
        world.net.reject_next(401)
    sim = world.sim
    task = sim.loop.create_task(sim.transport.connect(ClientEndpoint(host="h", port=9000)))
    sim.loop.call_at(0.002, task.cancel)
    sim.advance(1.0)
    assert f"0.001000 :9000 -> c1 {answer}" in world.net.traffic.snapshot()
    assert task.cancelled()
    assert [end.code for end in world.servers] == ([1006] if answer == "accept" else [])


def test_connect_cancelled_when_rejected_leaves_nothing(world: World) -> None:
    """The same when the answer was a refusal."""
    world.net.reject_next(401)
    endpoint = ClientEndpoint(host="h", port=9000)
    task = world.sim.loop.create_task(world.sim.transport.connect(endpoint))
    world.sim.run_until(lambda: "reject" in world.net.traffic.snapshot())
    world.sim.loop.call_at(world.sim.now + 0.001, task.cancel)
    world.sim.advance(1.0)
    assert task.cancelled()


def test_connect_severed_half_way(world: World) -> None:
    """A break during the handshake is a ConnectError, and the server opens nothing."""
    asked = world.sim.loop.create_future()
    answer = world.sim.loop.create_future()

    async def wait(request: Request) -> Response | OnConnection:
        asked.set_result(None)
        await answer
        return world.take

    endpoint = ServerEndpoint(host="h", port=9000)
    world.listeners.append(world.sim.run(world.sim.transport.listen(endpoint, wait)))
    connecting = world.sim.loop.create_task(
        world.sim.transport.connect(ClientEndpoint(host="h", port=9000))
    )
    world.sim.run_until(asked.done)
    world.net.sever()
    with pytest.raises(ConnectError, match="the network broke"):
        world.sim.run(asyncio.wait_for(connecting, None))
    answer.set_result(None)
    world.sim.advance(1.0)
    assert world.servers == []


def test_listen_port_of_zero_skips_ports_in_use(world: World) -> None:
    """Each listener on port 0 gets a port that nobody has."""
    taken = world.listen(40_000)
    assert world.listen(0).port == taken.port + 1
    assert world.net.ports == (40_000, 40_001)


def test_listener_closed_within_its_own_handshake(world: World) -> None:
    """An on_request that closes its listener neither waits for itself nor is dropped."""

    async def last_one(request: Request) -> Response | OnConnection:
        await world.listeners[0].close()
        return world.take

    endpoint = ServerEndpoint(host="h", port=9000)
    world.listeners.append(world.sim.run(world.sim.transport.listen(endpoint, last_one)))
    world.connect()
    assert len(world.servers) == 1
    with pytest.raises(ConnectError):
        world.connect()


# Connections.


def test_connection_started_twice_raises(world: World) -> None:
    """The receiver is set once and for all."""
    client, _ = world.pair()
    with pytest.raises(RuntimeError, match="started before"):
        world.do(client.connection.start, client)


def test_connection_used_off_the_loop_raises(world: World) -> None:
    """The test's own lines are another thread: using a connection there would be a race."""
    client, _ = world.pair()
    with pytest.raises(RuntimeError):
        client.connection.send(["x"])

    async def elsewhere() -> None:
        client.connection.abort()

    with pytest.raises(RuntimeError, match="own loop thread"):
        asyncio.run(elsewhere())
    assert client.info is None


def test_connection_send_of_one_message_is_typeerror(world: World) -> None:
    """A string is a sequence of strings, but never meant as one here."""
    client, _ = world.pair()
    with pytest.raises(TypeError, match="sequence of messages"):
        world.do(client.connection.send, "oops")


def test_connection_send_of_surrogates_is_refused(world: World) -> None:
    """Text that is not valid UTF-8 is refused, with all that came with it."""
    client, server = world.pair()
    with pytest.raises(UnicodeEncodeError):
        client.send("fine", "\ud800")
    world.sim.advance(1.0)
    assert server.messages == []


def test_connection_writable_counts_bytes_not_read(world: World) -> None:
    """A receiver that pauses makes its peer unwritable above the high mark, until the low."""
    world.listen()
    client = world.connect(write_high_water=100, write_low_water=50)
    server = world.servers[0]
    server.pause()
    client.send("x" * 60, "y" * 40)
    world.sim.advance(1.0)
    assert client.connection.writable
    client.send("z")
    assert not client.connection.writable
    server.resume()
    world.sim.run_until_idle()
    assert client.connection.writable
    assert [event for _, event in client.events] == ["writable!"]


def test_connection_writable_again_at_the_low_mark(world: World) -> None:
    """A peer that takes part of what waits makes the connection writable at the low mark."""
    world.listen()
    client = world.connect(write_high_water=100, write_low_water=60)
    server = world.servers[0]

    def take_one(message: Payload) -> None:
        server.connection.pause_reading()

    server.on_message = take_one  # type: ignore[method-assign]  # a hook
    client.send(b"x" * 60, b"y" * 60)
    world.sim.advance(1.0)
    assert client.connection.writable


def test_connection_not_writable_again_by_the_time_it_would_be_told(world: World) -> None:
    """on_writable is not called when the buffer has filled up again before."""
    world.listen()
    client = world.connect(write_high_water=10, write_low_water=5)
    server = world.servers[0]

    def refill(message: Payload) -> None:
        if message == b"x" * 11:
            client.connection.send([b"y" * 12])
            server.connection.pause_reading()

    server.on_message = refill  # type: ignore[method-assign]  # a hook
    client.send(b"x" * 11)
    world.sim.advance(1.0)
    assert not client.connection.writable
    assert client.events == []


def test_connection_failing_receiver_is_reported() -> None:
    """A receiver must not raise: when it does, the rest arrives, and the test fails."""
    world = World(Sim())
    client, server = world.pair()

    def fail(message: Payload) -> None:
        if message == "1":
            raise ValueError("a receiver's bug")
        End.on_message(server, message)

    server.on_message = fail  # type: ignore[method-assign]  # a hook
    client.send("1", "2")
    world.sim.advance(1.0)
    assert server.messages == ["2"]
    world.shut_down()
    with pytest.raises(LeakError, match=r"raised\n[\s\S]*a receiver's bug"):
        world.sim.close()


def test_connection_ping_of_a_closing_peer_raises(world: World) -> None:
    """A peer that is closing answers no pings any more."""
    client, server = world.pair()
    ping = world.sim.loop.create_task(client.connection.ping())
    closing = world.sim.loop.create_task(server.connection.close())
    world.sim.advance(1.0)
    assert closing.done()
    error = ping.exception()
    assert isinstance(error, ConnectionClosedError)
    assert "pong" not in world.net.traffic.snapshot()


def test_connection_too_big_a_message_is_the_last(world: World) -> None:
    """What came with a message over the limit, but after it, is not delivered."""
    world.listen(max_message_size=3)
    client = world.connect()
    client.send("one", "four", "two")
    world.sim.advance(1.0)
    assert world.servers[0].messages == ["one"]
    assert (client.code, world.servers[0].code) == (1009, 1009)


def test_connection_too_big_a_message_while_closing(world: World) -> None:
    """A message over the limit that comes after the close frame went out changes nothing."""
    world.listen()
    client = world.connect(max_message_size=3)
    world.servers[0].send("four", "3")
    client.close(4000)
    assert (client.messages, client.code) == (["3"], 4000)


def test_connection_close_code_that_may_not_be_sent(world: World) -> None:
    """1006 is for connections that end without a close frame."""
    client, _ = world.pair()
    with pytest.raises(ValueError, match="1006 cannot be sent"):
        client.close(1006)
    assert client.info is None


def test_connection_closed_leaves_no_timer(world: World) -> None:
    """Of a connection that has ended nothing is left to happen."""
    client, server = world.pair()
    client.close()
    assert server.code == 1000
    assert world.sim.loop.next_due() is None


def test_connection_close_cuts_a_long_reason_between_characters(world: World) -> None:
    """A reason that is too long for a close frame does not prevent the close."""
    client, server = world.pair()
    client.close(4000, "-" + "\N{EURO SIGN}" * 50)
    assert server.info is not None
    assert server.info.reason == "-" + "\N{EURO SIGN}" * 40


def test_connection_close_without_limit_waits(world: World) -> None:
    """With no close_timeout a close takes as long as the peer does."""
    world.listen()
    client = world.connect(close_timeout=None)
    server = world.servers[0]
    server.pause()
    closing = world.sim.loop.create_task(client.connection.close())
    world.sim.advance(29.0)
    assert not closing.done()
    server.resume()
    world.sim.advance(1.0)
    assert closing.done()
    assert (client.code, server.code) == (1000, 1000)


def test_connection_close_while_paused_drops_what_it_may_not_deliver(world: World) -> None:
    """Closing reads on to notice the end, but what was unread stays undelivered."""
    client, server = world.pair()
    server.pause()
    client.send("unread")
    world.sim.advance(1.0)
    server.close(4000)
    assert server.messages == []
    assert (server.code, client.code) == (4000, 4000)


def test_connection_that_ended_before_start_tells_it(world: World) -> None:
    """Who starts a connection that was aborted meanwhile hears of the end, once."""
    world.listen()
    connection = world.sim.run(world.sim.transport.connect(ClientEndpoint(host="h", port=9000)))
    world.do(connection.abort)
    end = End(world, connection)
    world.do(connection.start, end)
    world.sim.advance(1.0)
    assert end.code == 1006
    assert "closed" in repr(connection)


def test_connection_broadcast_takes_its_own_connections(world: World) -> None:
    """What is not a connection of this network is a mistake."""
    listener = world.listen()
    with pytest.raises(TypeError, match="not a connection"):
        world.do(listener.broadcast, ["x"], ["message"])


# Faults.


def test_refuse_and_restore(world: World) -> None:
    """A port can refuse though somebody listens, until it is restored."""
    world.listen()
    world.net.refuse(9000)
    with pytest.raises(ConnectError, match="nobody listens"):
        world.connect()
    world.net.refuse()
    world.net.restore(9001)
    assert len(world.net.faults) == 2
    world.net.restore(9000)
    assert [rule.port for rule in world.net.faults] == [None]
    world.net.restore()
    world.connect()


def test_rule_as_context_ends_with_the_block(world: World) -> None:
    """A fault used in a with statement is gone after it; removing it again is harmless."""
    world.listen()
    with world.net.refuse(9000) as rule:
        assert repr(rule) == "<Rule RefuseConnection() on port 9000>"
        with pytest.raises(ConnectError):
            world.connect()
    rule.remove()
    assert world.net.faults == ()
    world.connect()


def test_rules_are_asked_in_order(world: World) -> None:
    """The first fault that applies decides, and is used up before the next one's turn."""
    world.listen()
    world.net.reject_next(503, port=9000)
    world.net.reject_next(401, "who?", port=9001)
    world.net.reject_next(404, times=2)
    assert "any port, 2 more" in repr(world.net.faults[-1])
    statuses = []
    for _ in range(3):
        with pytest.raises(HandshakeRejectedError) as caught:
            world.connect()
        statuses.append(caught.value.status)
    assert statuses == [503, 404, 404]
    world.connect()
    with pytest.raises(HandshakeRejectedError) as caught:
        world.connect(9001)
    assert (caught.value.status, caught.value.body) == (401, "who?")


def test_rule_that_never_happens_is_refused(world: World) -> None:
    """A fault happens at least once."""
    with pytest.raises(ValueError, match="times"):
        world.net.inject(Hang(), times=0)


def test_faults_are_values(world: World) -> None:
    """Faults compare by what they are, so plans of them can be kept and printed."""
    world.net.inject(RejectHandshake(status=401))
    assert world.net.faults[0].fault == RejectHandshake(status=401)
    assert RefuseConnection() == RefuseConnection()
    assert repr(AcceptThenClose(code=1013)) == "AcceptThenClose(code=1013, reason='')"


def test_hang_next_connect_times_out(world: World) -> None:
    """A handshake that is never answered ends with the client's open_timeout."""
    world.listen()
    world.net.hang_next_connect()
    with pytest.raises(ConnectTimeoutError):
        world.connect(open_timeout=3.0)
    assert world.sim.now == pytest.approx(3.0)
    world.sim.advance(1.0)
    assert world.net.describe_open() == ["listener on port 9000"]
    world.connect()


def test_accept_then_close_opens_and_closes(world: World) -> None:
    """The client connects and is closed at once; the server sees nothing, as it need not be."""
    world.net.accept_then_close(1013, times=2, reason="busy")
    for _ in range(2):
        client = world.connect(9000)
        world.sim.advance(1.0)
        assert client.info == CloseInfo(code=1013, reason="busy")
    assert world.servers == []
    with pytest.raises(ConnectError):
        world.connect(9000)


def test_jitter_keeps_the_order(world: World) -> None:
    """Each message takes its own time, and none overtakes another."""
    client, server = world.pair()
    with world.net.jitter(0.1, 1.0):
        for number in range(20):
            client.send(str(number))
        world.sim.advance(2.0)
    assert server.messages == [str(number) for number in range(20)]
    assert server.times == sorted(server.times)
    assert server.times[-1] > server.times[0]


def test_bandwidth_spaces_messages(world: World) -> None:
    """A message takes as long as its bytes need, after the one before."""
    client, server = world.pair()
    start = world.sim.now
    with world.net.limit(100):
        client.send("x" * 50, "y" * 150)
        world.sim.advance(5.0)
    assert server.times == pytest.approx([start + 0.501, start + 2.001])


@pytest.mark.parametrize("direction", ["up", "down"])
def test_partition_one_way(world: World, direction: Any) -> None:
    """What goes the other way arrives, and the rest when the partition heals."""
    client, server = world.pair()
    with world.net.partition(direction):
        client.send("up")
        server.send("down")
        world.sim.advance(1.0)
        assert bool(server.messages) is (direction == "down")
        assert bool(client.messages) is (direction == "up")
    world.sim.advance(1.0)
    assert (server.messages, client.messages) == (["up"], ["down"])


def test_cut_breaks_after_so_many_bytes(world: World) -> None:
    """What is before the cut arrives, and both sides find the connection broken."""
    world.net.cut_next(10, "up")
    client, server = world.pair()
    client.send("12345", "67890", "1")
    world.sim.advance(1.0)
    assert server.messages == ["12345", "67890"]
    assert (client.code, server.code) == (1006, 1006)


def test_slow_close_delays_the_end_alone(world: World) -> None:
    """Messages arrive as ever, and the close later."""
    client, server = world.pair()
    with world.net.slow_close(2.0):
        client.send("quick")
        world.sim.loop.create_task(client.connection.close())
        world.sim.advance(1.0)
        assert (server.messages, server.code) == (["quick"], None)
        world.sim.advance(4.0)
        assert (client.code, server.code) == (1000, 1000)


def test_busy_port_and_outage(world: World) -> None:
    """Listening fails as long as it is busy; connecting, as long as the outage lasts."""
    with world.net.busy(9000), pytest.raises(OSError, match="in use"):
        world.listen()
    client, _ = world.pair()
    with world.net.outage(9000):
        world.sim.advance(1.0)
        assert client.code == 1006
        with pytest.raises(ConnectError):
            world.connect()
    world.connect()


def test_breach_is_logged(world: World) -> None:
    """What a scripted peer does wrong has a line, too."""
    world.listen()
    endpoint = ClientEndpoint(host="h", port=9000)
    line = world.sim.run(world.net.connect_line(endpoint))
    line.breach((1002, "nonsense"))
    world.sim.run(line.until(lambda: line.closed is not None))
    assert "c1 -> :9000 breach 1002 nonsense" in world.net.snapshot()


def test_sever_all_is_1006_on_both_sides(world: World) -> None:
    """What is on its way is lost, and each side hears of the break."""
    client, server = world.pair()
    client.send("lost")
    world.net.sever()
    world.sim.run_until_idle()
    for end in (client, server):
        assert end.info is not None
        assert (end.info.code, end.info.local) == (1006, False)
        assert isinstance(end.info.error, ConnectionResetError)
    assert server.messages == []


def test_sever_of_a_path_or_port_leaves_others_alone(world: World) -> None:
    """Only the connections that match break."""
    world.listen(9000)
    world.listen(9001)
    ends = [world.connect(9000, "/a?x=1"), world.connect(9000, "/b"), world.connect(9001, "/a")]
    world.net.sever(path="/a", port=9000)
    world.sim.run_until_idle()
    assert [end.code for end in ends] == [1006, None, None]
    world.net.sever(port=9000)
    world.sim.run_until_idle()
    assert [end.code for end in ends] == [1006, 1006, None]


def test_sever_while_paused_delivers_what_had_arrived(world: World) -> None:
    """A receiver that resumes gets what it had, then the end; sending fails at once."""
    client, server = world.pair()
    server.pause()
    client.send("arrived")
    world.sim.advance(1.0)
    world.net.sever()
    world.sim.run_until_idle()
    assert server.info is None
    assert not server.connection.writable
    with pytest.raises(ConnectionClosedError):
        server.send("too late")
    server.resume()
    world.sim.run_until_idle()
    assert (server.messages, server.code) == (["arrived"], 1006)


def test_sever_and_abort_while_paused(world: World) -> None:
    """A side that has not read of the break can still abort, and hears of the end once."""
    _, server = world.pair()
    server.pause()
    world.net.sever()
    world.sim.run_until_idle()
    world.net.sever()
    world.do(server.connection.abort)
    world.sim.run_until_idle()
    assert (server.messages, server.code) == ([], 1006)


def test_crash_and_restart(world: World) -> None:
    """A crashed server is gone with its connections, and can be started again on the port."""
    client, _ = world.pair()
    world.net.crash(9000)
    world.sim.run_until_idle()
    assert client.code == 1006
    with pytest.raises(ConnectError):
        world.connect()
    world.listen(9000)
    world.connect()
    assert len(world.servers) == 2
    world.sim.run(world.listeners[0].close())
    world.connect()


def test_fail_next_send_raises_and_breaks(world: World) -> None:
    """The send raises, nothing of it arrives, and the connection ends with 1006."""
    client, server = world.pair()
    world.net.fail_next_send(port=9000)

    def send_twice() -> None:
        with pytest.raises(ConnectionClosedError):
            client.connection.send(["lost", "too"])
        with pytest.raises(ConnectionClosedError):
            client.connection.send(["still broken"])

    world.do(send_twice)
    world.sim.advance(1.0)
    assert (client.code, server.code) == (1006, 1006)
    assert server.messages == []
    world.connect().send("healed")


def test_faults_of_connecting_and_sending_do_not_mix(world: World) -> None:
    """A fault waits for its own occasion, whatever comes first."""
    client, server = world.pair()
    world.net.fail_next_send()
    world.net.reject_next(401)
    with pytest.raises(HandshakeRejectedError):
        world.connect()
    world.net.reject_next(402)
    with pytest.raises(ConnectionClosedError):
        client.send("lost")
    world.sim.advance(1.0)
    assert server.code == 1006
    with pytest.raises(HandshakeRejectedError):
        world.connect()
    assert world.net.faults == ()


def test_fail_next_send_passes_over_other_rules(world: World) -> None:
    """A send is not hit by faults that befall attempts to connect."""
    client, server = world.pair()
    with world.net.refuse():
        client.send("fine")
    world.sim.advance(1.0)
    assert server.messages == ["fine"]


def test_fail_next_send_within_a_broadcast_passes_over(world: World) -> None:
    """A broadcast goes on with the others when one connection fails."""
    listener = world.listen()
    clients = [world.connect() for _ in range(3)]
    world.net.fail_next_send()
    connections = [server.connection for server in world.servers]
    world.do(listener.broadcast, connections, ["news"])
    world.sim.advance(1.0)
    assert [client.messages for client in clients] == [[], ["news"], ["news"]]
    assert clients[0].code == 1006


# The log.


def test_traffic_tells_the_whole_story(world: World) -> None:
    """The log has a line for each thing sent: when, which way, what."""
    client, _ = world.pair(ping_interval=None)
    client.send("hello", b"\x00", "x" * 100)
    world.sim.run(client.connection.ping())
    client.close(4000, "bye")
    world.net.reject_next(401)
    with pytest.raises(HandshakeRejectedError):
        world.connect(target="/a?b=1")
    with pytest.raises(ConnectError):
        world.connect(1)
    assert world.net.traffic.snapshot().splitlines() == [
        "0.000000 c1 -> :9000 open /",
        "0.001000 :9000 -> c1 accept",
        "0.002000 c1 -> :9000 text 'hello'",
        "0.002000 c1 -> :9000 binary b'\\x00'",
        f"0.002000 c1 -> :9000 text '{'x' * 60}'... 100 bytes",
        "0.002000 c1 -> :9000 ping 1",
        "0.003000 :9000 -> c1 pong 1",
        "0.004000 c1 -> :9000 close 4000 bye",
        "0.005000 :9000 -> c1 close 4000 bye",
        "0.006000 c2 -> :9000 open /a?b=1",
        "0.007000 :9000 -> c2 reject 401",
        "0.008000 c3 -> :1 open /",
        "0.009000 :1 -> c3 eof (nobody listens on port 1)",
    ]
    assert repr(world.net.traffic).startswith("<Traffic, 13 entries>\n0.000000 c1 -> :9000 open")


def test_network_knows_what_is_open(world: World) -> None:
    """Listeners and both ends of connections are told by name."""
    client, server = world.pair()
    assert world.net.describe_open() == [
        "listener on port 9000",
        "connection c1 to port 9000: client / is open",
        "connection c1 to port 9000: server / is open",
    ]
    assert repr(client.connection) == "<MemoryConnection / from 50001 to 9000, open>"
    client.close()
    assert world.net.describe_open() == ["listener on port 9000"]
    assert server.code == 1000


# Whatever happens in between.

_STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 5)),
    st.tuples(st.just("latency"), st.sampled_from([0.0, 0.001, 0.5])),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.0005, 1.0])),
    st.tuples(st.sampled_from(["hold", "release", "pause", "resume"]), st.none()),
)


def _play(seed: int, steps: list[tuple[str, Any]]) -> tuple[int, list[object], str]:
    """Play ``steps``; return how much was sent, what arrived, and the log."""
    with Sim(seed) as sim:
        world = World(sim)
        client, server = world.pair(ping_interval=None)
        sent = 0
        for what, value in steps:
            if what == "send":
                client.send(*(str(number) for number in range(sent, sent + value)))
                sent += value
            elif what == "latency":
                world.net.latency = value
            elif what == "advance":
                sim.advance(value)
            else:
                actions: dict[str, Callable[[], object]] = {
                    "hold": world.net.hold,
                    "release": world.net.release,
                    "pause": server.pause,
                    "resume": server.resume,
                }
                actions[what]()
        world.net.release()
        server.resume()
        sim.advance(10.0)
        world.shut_down()
        return sent, server.messages, world.net.traffic.snapshot()


@settings(deadline=None, max_examples=50)
@given(steps=st.lists(_STEPS, max_size=20))
def test_network_keeps_order_and_loses_nothing(steps: list[tuple[str, Any]]) -> None:
    """Whatever the network and the reader do, all arrives in order, and twice the same way."""
    sent, arrived, log = _play(1, steps)
    assert arrived == [str(number) for number in range(sent)]
    assert _play(1, steps) == (sent, arrived, log)
