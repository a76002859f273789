"""How components end: gracefully, once, from wherever they are told to."""

from __future__ import annotations

import contextlib
import gc
import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import (
    HOST,
    LIMIT,
    Collector,
    RawPeer,
    client_of,
    data_of,
    in_threads,
    joined,
    serving,
)
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left
from reactivex import abc

from rxplus import (
    ComponentClosedError,
    RxException,
    RxWSClient,
    RxWSClientGroup,
    RxWSServer,
    TaggedData,
    ThreadRuntime,
    Timeouts,
    WouldDeadlockError,
)


def thread_of(component: RxWSServer | RxWSClient | RxWSClientGroup) -> threading.Thread:
    """Return the thread that a component runs on, which has its name."""
    (found,) = [one for one in threading.enumerate() if one.name == component.name]
    return found


def test_graceful_shutdown_server() -> None:
    """A server that completes sends what is queued, closes with 1001, and leaves nothing."""
    server = serving()
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        ended = Collector(server)
        (client, peer) = stack.enter_context(joined(server, "/a"))
        states, received = Collector(client.connection_state), Collector(client)
        peer_ended, thread = Collector(peer), thread_of(server)
        for number in range(1_000):
            server.on_next(TaggedData("/a", str(number)))
        server.on_completed()
        assert not thread.is_alive()
        assert ended.wait_ended() is None
        assert peer_ended.wait_ended() is None
        assert received.wait_for_count(1_000) == [str(n) for n in range(1_000)]
        states.wait_for("disconnected")
        assert states.values[1].code == 1001
        with pytest.raises(ComponentClosedError):
            server.on_next(TaggedData("/a", "late"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, server.port))
        assert server.health().state == "closed"


def test_graceful_shutdown_client() -> None:
    """A client that completes sends what is queued, closes with 1000, and leaves nothing."""
    with serving() as server:
        received, errors = Collector(server), Collector(server.errors)
        with joined(server, "/a") as (client, peer):
            ended, peer_ended, thread = Collector(client), Collector(peer), thread_of(client)
            states = Collector(client.connection_state)
            for number in range(1_000):
                client.on_next(str(number))
            client.on_completed()
            assert not thread.is_alive()
            assert ended.wait_ended() is None
            assert states.wait_ended() is None
            assert states.values[-1] == "closed"
            assert peer_ended.wait_ended() is None
            assert data_of(received.wait_for_count(1_000)) == [str(n) for n in range(1_000)]
            with pytest.raises(ComponentClosedError):
                client.on_next("late")
        assert errors.values == []


def test_graceful_shutdown_group() -> None:
    """A group that completes sends what is queued on every path, and leaves nothing."""
    with serving() as server:
        received = Collector(server)
        group = RxWSClientGroup({"host": HOST, "port": server.port}, buffer_while_disconnected=True)
        with group:
            ended = Collector(group)
            for number in range(300):
                group.on_next(TaggedData(f"/{number % 3}", str(number)))
            thread = thread_of(group)
            group.on_completed()
            assert not thread.is_alive()
            assert ended.wait_ended() is None
            with pytest.raises(ComponentClosedError):
                group.on_next(TaggedData("/0", "late"))
        values = received.wait_for_count(300)
        for path in range(3):
            mine = [value.data for value in values if value.tag == f"/{path}"]
            assert mine == [str(n) for n in range(path, 300, 3)]


def test_closing_again_and_from_many_threads_is_one_shutdown() -> None:
    """Eight threads that close at once all return when everything has been let go of."""
    with serving() as server, joined(server) as (client, _):
        ended = Collector(client)
        completions: list[None] = []
        client.subscribe(on_completed=lambda: completions.append(None))
        thread = thread_of(client)

        def close() -> None:
            assert client.close()
            assert not thread.is_alive()

        with in_threads(*[close] * 8):
            pass
        assert client.close()
        assert ended.wait_ended() is None
        assert completions == [None]


def test_close_client_from_its_callback() -> None:
    """A client may be closed by its own subscriber, on the loop thread."""
    with serving() as server, joined(server) as (client, _):
        answers: list[bool] = []
        client.subscribe(lambda _: answers.append(client.close()))
        ended = Collector(client)
        server.on_next(TaggedData("/", "go"))
        assert ended.wait_ended() is None
        assert answers == [False]
        assert client.close()


def test_close_server_from_its_callback() -> None:
    """A server may be closed by its own subscriber; its peers still get a proper close."""
    with serving() as server:
        server.subscribe(lambda _: server.on_completed())
        ended = Collector(server)
        with joined(server) as (client, _):
            states = Collector(client.connection_state)
            client.on_next("go")
            assert ended.wait_ended() is None
            assert server.close()
            states.wait_for("disconnected")
            assert states.values[1].code == 1001


def test_close_group_from_its_callback() -> None:
    """A group may be closed by its own subscriber."""
    with serving() as server:
        server.subscribe(server.on_next)
        with RxWSClientGroup({"host": HOST, "port": server.port}) as group:
            group.subscribe(lambda _: group.dispose())
            ended = Collector(group)
            assert group.open_path("/a").wait_connected(LIMIT)
            assert group.open_path("/b").wait_connected(LIMIT)
            group.on_next(TaggedData("/a", "go"))
            assert ended.wait_ended() is None
            assert group.close()
            assert group._clients == {}


def test_close_peer_from_its_callback() -> None:
    """A peer may be closed by a subscriber of its own stream; what it was sent before arrives."""
    with serving() as server:

        def answer_and_close(peer: Any) -> None:
            def on_message(_: str) -> None:
                peer.on_next("bye")
                peer.close(4000, "done")

            peer.subscribe(on_message)

        server.connections.subscribe(answer_and_close)
        with joined(server) as (client, peer):
            states, received = Collector(client.connection_state), Collector(client)
            client.on_next("go")
            assert Collector(peer).wait_ended() is None
            states.wait_for("disconnected")
            assert received.wait_for_count(1) == ["bye"]
            assert (states.values[1].code, states.values[1].reason) == (4000, "done")


@pytest.mark.parametrize("shared", [False, True])
def test_close_server_from_its_clients_callback(shared: bool) -> None:
    """Closing a server from a client's callback is bounded, though that client cannot answer."""
    runtime = ThreadRuntime("both") if shared else None
    with serving(timeouts=Timeouts(close=0.1), runtime=runtime) as server:
        ended = Collector(server)
        with joined(server, runtime=runtime) as (client, _):
            answers: list[bool] = []
            client.subscribe(lambda _: answers.append(server.close()))
            server.on_next(TaggedData("/", "go"))
            assert ended.wait_ended() is None
            assert server.close()
        assert answers == [not shared]


def test_close_from_connection_state_and_connections() -> None:
    """A client may be closed as soon as it is connected, a server as soon as somebody joins."""
    with serving() as server:
        server.connections.subscribe(lambda _: server.dispose())
        with client_of(server) as client:
            client.connection_state.subscribe(
                lambda state: client.dispose() if state == "connected" else None
            )
            assert Collector(client).wait_ended() is None
        assert Collector(server).wait_ended() is None


@pytest.mark.parametrize("side", ["client", "server"])
def test_on_next_racing_on_completed(side: str) -> None:
    """Each message is delivered or reported as lost, or its sender is told that it is too late."""
    for _ in range(5):
        accepted = [0] * 4
        with (
            serving(timeouts=Timeouts(close=LIMIT)) as server,
            joined(server, "/a", timeouts=Timeouts(close=LIMIT)) as (client, _peer),
        ):
            component: Any = client if side == "client" else server
            received = Collector(server if side == "client" else client)
            losses = Collector(component.losses)
            racing = threading.Barrier(5)

            def produce(
                number: int,
                component: Any = component,
                racing: threading.Barrier = racing,
                accepted: list[int] = accepted,
            ) -> None:
                value = "x" if side == "client" else TaggedData("/a", "x")
                for count in itertools.count():
                    if count == 20:
                        racing.wait()
                    try:
                        component.on_next(value)
                    except ComponentClosedError:
                        return
                    accepted[number] += 1

            producers: list[Callable[[], None]] = [
                lambda number=number: produce(number)  # type: ignore[misc]  # bound early
                for number in range(4)
            ]
            with in_threads(*producers):
                racing.wait()
                component.on_completed()
            assert losses.wait_ended() is None
            lost = sum(loss.count for loss in losses.values)
            due = sum(accepted) - lost
            received.wait_for_at_least(due)
        assert len(received.values) + lost == sum(accepted)


def test_nothing_is_emitted_after_completion() -> None:
    """Every stream ends exactly once, and gives nothing after that, to anybody."""

    class Log(abc.ObserverBase[Any]):
        """Takes down every call; unlike Rx's own observers it hides nothing."""

        def __init__(self) -> None:
            self.calls: list[str] = []

        def on_next(self, value: Any) -> None:
            self.calls.append("next")

        def on_error(self, error: Exception) -> None:
            self.calls.append("error")

        def on_completed(self) -> None:
            self.calls.append("completed")

    server = serving()
    client = client_of(server, buffer_while_disconnected=True)
    logs: list[Log] = []
    for stream in (
        *(server, server.errors, server.losses, server.connections),
        *(client, client.errors, client.losses, client.connection_state),
    ):
        log = Log()
        logs.append(log)
        stream._subscribe_core(log)
    server.subscribe(server.on_next)
    with server, client:
        echoes = Collector(client)
        client.on_next("hello")
        echoes.wait_for_count(1)
        for _ in range(100):
            client.on_next("more")
    for log in logs:
        assert log.calls.count("completed") == 1
        assert log.calls[-1] == "completed"
        assert "error" not in log.calls


def test_subscribing_after_the_end_completes_at_once() -> None:
    """Who subscribes to a component that has ended is told that it has."""
    with serving() as server, joined(server) as (client, _):
        pass
    for stream in (server, server.connections, server.errors, client, client.losses):
        assert Collector(stream).wait_ended() is None
    states = Collector(client.connection_state)
    assert states.wait_ended() is None
    assert states.values == ["closed"]


def test_bind_failure_is_seen_at_once() -> None:
    """A port that is taken raises from the constructor, OSError inside, and leaves nothing."""
    with serving() as server:
        with pytest.raises(RxException) as caught:
            serving(port=server.port, name="second")
        assert isinstance(caught.value.exception, OSError)
        assert isinstance(caught.value.__cause__, OSError)
        assert f"cannot listen on {HOST} port {server.port}" in str(caught.value)
        assert "second" not in {thread.name for thread in threading.enumerate()}


def test_host_that_does_not_exist_is_seen_at_once() -> None:
    """An address that is not this machine's raises from the constructor, OSError inside."""
    with pytest.raises(RxException) as caught:
        RxWSServer({"host": "192.0.2.1", "port": 0})
    assert isinstance(caught.value.exception, OSError)


def test_server_cannot_be_made_on_its_own_loop() -> None:
    """Making a server waits for the loop thread, and says so when it is called there."""
    runtime = ThreadRuntime("shared")
    with serving(runtime=runtime) as server:
        raised: list[Exception] = []
        done = threading.Event()

        def make(_: TaggedData) -> None:
            try:
                serving(runtime=runtime)
            except WouldDeadlockError as exc:
                raised.append(exc)
            done.set()

        server.subscribe(make)
        with joined(server, runtime=runtime) as (client, _):
            client.on_next("go")
            assert done.wait(LIMIT)
        assert len(raised) == 1


def test_close_while_connecting() -> None:
    """A client that is closed in the middle of a handshake lets go of it at once."""
    with socket.create_server((HOST, 0)) as hole:
        client = client_of(hole.getsockname()[1], buffer_while_disconnected=True)
        losses, thread = Collector(client.losses), thread_of(client)
        taken, _ = hole.accept()
        client.on_next("never")
        assert client.close(0.0)
        assert not thread.is_alive()
        taken.close()
        assert [(loss.reason, loss.count) for loss in losses.wait_for_count(1)] == [("closed", 1)]


def test_close_with_a_peer_that_does_not_answer() -> None:
    """A peer that does not answer the close is cut off when the time is over."""
    with serving(timeouts=Timeouts(close=0.05)) as server, RawPeer(server) as raw:
        peers = Collector(server.connections)
        raw.open()
        peers.wait_until(lambda values: len(values) == 1 or server.peers)
        assert server.close()
        assert raw.close_code() == 1001
        assert raw.read_to_end() == b""


def test_close_with_a_timeout_says_what_was_lost() -> None:
    """What a peer that does not read did not get by the deadline is reported as lost."""
    with serving("bytes") as server, RawPeer(server, receive_buffer=4096) as raw:
        losses, peers = Collector(server.losses), Collector(server.connections)
        raw.open()
        peers.wait_until(lambda values: values or server.peers)
        for _ in range(200):
            server.on_next(TaggedData("/", bytes(100_000)))
        assert server.close(0.05)
        lost = sum(loss.count for loss in losses.values)
        assert lost > 0
        assert lost + server.health().messages_out == 200


def test_on_error_ends_the_stream_with_the_error() -> None:
    """The failure of what feeds a client ends that client's stream with it."""
    with serving() as server, joined(server) as (client, _):
        ended = Collector(client)
        error = LookupError("source")
        client.on_error(error)
        assert ended.wait_ended() is error
        with pytest.raises(ComponentClosedError):
            client.on_next("late")


def test_open_component_that_is_collected_warns() -> None:
    """A component that is dropped open gives a ResourceWarning, and its thread goes away."""
    with serving() as server:
        left = Collector(server.connections)
        client: RxWSClient | None = client_of(server, name="dropped")
        assert client is not None
        (peer,) = left.wait_for_count(1)
        assert client.wait_connected(LIMIT)
        thread = thread_of(client)
        with pytest.warns(ResourceWarning, match="unclosed <RxWSClient dropped connected>"):
            client = None
            gc.collect()
        thread.join(LIMIT)
        assert not thread.is_alive()
        assert Collector(peer).wait_ended() is None


@pytest.mark.parametrize("kind", ["server", "group"])
def test_open_server_or_group_that_is_collected_warns(kind: str) -> None:
    """The same goes for servers and for groups with open paths."""
    with serving() as other:
        kept: list[Any] = [serving(name="dropped")]
        if kind == "group":
            kept.pop().close()
            group = RxWSClientGroup({"host": HOST, "port": other.port}, name="dropped")
            assert group.open_path("/a").wait_connected(LIMIT)
            kept.append(group)
            del group
        thread = thread_of(kept[0])
        with pytest.warns(ResourceWarning, match=r"unclosed <RxWS\w+ dropped"):
            kept.clear()
            gc.collect()
        thread.join(LIMIT)
        assert not thread.is_alive()


def test_thirty_clients_and_a_server_leave_nothing() -> None:
    """Thirty clients with threads of their own and a server are all gone once they are closed."""
    before = set(threading.enumerate())
    server = serving()
    peers = Collector(server.connections)
    clients = [client_of(server, f"/{number}") for number in range(30)]
    peers.wait_for_count(30)
    assert len(set(threading.enumerate()) - before) == 31
    for component in (*clients, server):
        assert component.close()
    assert set(threading.enumerate()) == before
    assert server.health().connections == 0
