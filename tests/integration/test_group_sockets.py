"""Groups of clients, and runtimes that are shared."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest
from helpers import HOST, LIMIT, SOON, Collector, client_of, in_state, joined, serving
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left

from rxplus import (
    ConnectionClosedError,
    HandshakeRejectedError,
    Retry,
    RxException,
    RxWSClientGroup,
    RxWSServer,
    TaggedData,
    ThreadRuntime,
    tag_filter,
    untag,
)


def group_of(server: RxWSServer, **options: Any) -> RxWSClientGroup:
    """Make a group of clients of a server."""
    return RxWSClientGroup({"host": HOST, "port": server.port}, **options)


def names_of_threads() -> list[str]:
    """Return the names of the threads that there are."""
    return [thread.name for thread in threading.enumerate()]


def test_client_group_multiple_paths() -> None:
    """Values go out on the path of their tag, and come back merged, with the path as their tag."""
    with serving() as server:
        server.subscribe(server.on_next)
        with group_of(server, buffer_while_disconnected=True) as group:
            received = Collector(group)
            for number in range(300):
                group.on_next(TaggedData(f"/{number % 3}", str(number)))
            values = received.wait_for_count(300)
            for path in range(3):
                mine = [value.data for value in values if value.tag == f"/{path}"]
                assert mine == [str(n) for n in range(path, 300, 3)]
            assert sorted(group._clients) == ["/0", "/1", "/2"]
            assert group.health().paths == {"/0": 1, "/1": 1, "/2": 1}
            assert received.threads == {group.name}


def test_group_operators() -> None:
    """A group's stream takes the operators for tags."""
    with serving() as server:
        server.subscribe(server.on_next)
        with group_of(server, buffer_while_disconnected=True) as group:
            received: Collector[str] = Collector(group.pipe(tag_filter("/a"), untag()))
            for number in range(10):
                group.on_next(TaggedData("/a" if number % 2 else "/b", str(number)))
            assert received.wait_for_count(5) == ["1", "3", "5", "7", "9"]


def test_group_datatype_by_path() -> None:
    """A group chooses the datatype by path, as a server does."""
    chosen = {"/json": "json", "/bin": "bytes"}
    with serving(chosen.__getitem__) as server:
        server.subscribe(server.on_next)
        with group_of(server, datatype=chosen.__getitem__, buffer_while_disconnected=True) as group:
            received = Collector(group)
            group.on_next(TaggedData("/json", {"a": 1}))
            group.on_next(TaggedData("/bin", b"b"))
            assert dict(received.wait_for_count(2)) == {"/json": {"a": 1}, "/bin": b"b"}
            with pytest.raises(KeyError):
                group.on_next(TaggedData("/unknown", "x"))


def test_group_listens_on_a_path_that_was_opened() -> None:
    """A path that was opened receives before anything was sent on it, query left out of the tag."""
    with serving() as server:
        peers = Collector(server.connections)
        with group_of(server) as group:
            received = Collector(group)
            client = group.open_path("/feed?symbol=X")
            assert client.wait_connected(LIMIT)
            assert group.open_path("/feed") is client
            (peer,) = peers.wait_for_count(1)
            assert peer.query == "symbol=X"
            server.on_next(TaggedData("/feed", "tick"))
            assert received.wait_for_count(1) == [TaggedData("/feed", "tick")]


def test_group_comes_back_after_a_server_restart() -> None:
    """After a restart every path of a group is connected again, and what was sent arrives."""
    with serving() as first:
        port = first.port
        group = group_of(first, retry=SOON, buffer_while_disconnected=True)
        clients = [group.open_path(f"/{number}") for number in range(5)]
        assert all(client.wait_connected(LIMIT) for client in clients)
        states = [Collector(client.connection_state) for client in clients]
    with group:
        for collector in states:
            collector.wait_for("disconnected")
        for number in range(5):
            group.on_next(TaggedData(f"/{number}", "kept"))
        echoes = Collector(group)
        with serving(port=port) as second:
            second.subscribe(second.on_next)
            for collector in states:
                collector.wait_until(lambda values: len(in_state(values, "connected")) == 2)
            for number in range(5):
                group.on_next(TaggedData(f"/{number}", "new"))
            echoes.wait_until(lambda values: [value.data for value in values].count("new") == 5)


def test_path_that_fails_leaves_the_group_and_the_others_go_on() -> None:
    """A path that the server does not have is reported and leaves; the rest is not disturbed."""
    with serving({"/good": "string"}.__getitem__) as server:
        server.subscribe(server.on_next)
        retry = Retry(fatal_statuses=frozenset({404}))
        with group_of(server, retry=retry) as group:
            errors, received = Collector(group.errors), Collector(group)
            good, bad = group.open_path("/good"), group.open_path("/bad")
            ended = Collector(bad)
            error = ended.wait_ended()
            assert isinstance(error, RxException)
            assert isinstance(error.exception, HandshakeRejectedError)
            assert error.exception.status == 404
            errors.wait_until(lambda values: any("left the group" in str(one) for one in values))
            assert list(group._clients) == ["/good"]
            assert good.wait_connected(LIMIT)
            group.on_next(TaggedData("/good", "on"))
            assert received.wait_for_count(1) == [TaggedData("/good", "on")]
            assert not received.completed


def test_path_that_was_left_can_be_opened_again() -> None:
    """Closing a path's client leaves the path; the next message opens it again."""
    with serving() as server:
        server.subscribe(server.on_next)
        with group_of(server, buffer_while_disconnected=True) as group:
            received = Collector(group)
            first = group.open_path("/a")
            assert first.wait_connected(LIMIT)
            assert first.close()
            assert group._clients == {}
            group.on_next(TaggedData("/a", "again"))
            assert received.wait_for_count(1) == [TaggedData("/a", "again")]
            assert group._clients["/a"] is not first


def test_peer_policy_ends_one_path_only() -> None:
    """A close with 1008 ends the path that got it, with on_error, and not the group."""
    with serving() as server:
        peers = Collector(server.connections)
        with group_of(server) as group:
            one, two = group.open_path("/1"), group.open_path("/2")
            assert group.wait_connected(LIMIT)
            ended, received = Collector(one), Collector(group)
            by_path = {peer.path: peer for peer in peers.wait_for_count(2)}
            by_path["/1"].close(1008, "no")
            error = ended.wait_ended()
            assert isinstance(error, RxException)
            assert isinstance(error.exception, ConnectionClosedError)
            assert two.connected
            assert not received.completed
            assert received.error is None


def test_one_runtime_for_all_is_one_thread() -> None:
    """A server, a client and a group that share a runtime cost one thread, and leave none."""
    before = len(threading.enumerate())
    runtime = ThreadRuntime("everything")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(runtime=runtime))
        server.subscribe(server.on_next)
        client = stack.enter_context(
            client_of(server, "/c", runtime=runtime, buffer_while_disconnected=True)
        )
        group = stack.enter_context(
            group_of(server, runtime=runtime, buffer_while_disconnected=True)
        )
        at_client, at_group = Collector(client), Collector(group)
        for number in range(100):
            client.on_next(str(number))
            group.on_next(TaggedData("/g", str(number)))
        assert at_client.wait_for_count(100) == [str(n) for n in range(100)]
        assert [value.data for value in at_group.wait_for_count(100)] == at_client.values
        assert len(threading.enumerate()) == before + 1
        assert at_client.threads == at_group.threads == {"everything"}
        # One of them may go; the others keep the thread.
        assert client.close()
        group.on_next(TaggedData("/g", "still"))
        at_group.wait_for(TaggedData("/g", "still"))
        assert "everything" in names_of_threads()
    assert "everything" not in names_of_threads()


def test_shared_runtime_can_be_used_again() -> None:
    """A runtime whose last component was closed starts a new thread for the next one."""
    runtime = ThreadRuntime("again")
    for _ in range(3):
        with serving(runtime=runtime) as server, joined(server, runtime=runtime) as (client, _peer):
            received = Collector(server)
            client.on_next("hello")
            received.wait_for_count(1)
        assert "again" not in names_of_threads()


def test_group_of_thirty_paths_and_a_server_are_two_threads() -> None:
    """Thirty paths cost one thread; the server in the same process has the other."""
    before = set(threading.enumerate())
    with serving() as server:
        server.subscribe(server.on_next)
        with group_of(server, buffer_while_disconnected=True) as group:
            received = Collector(group)
            for number in range(30):
                group.on_next(TaggedData(f"/{number}", "hello"))
            received.wait_for_count(30)
            assert len(set(threading.enumerate()) - before) == 2
            assert server.health().connections == group.health().connections == 30
            assert group.health().healthy
    assert set(threading.enumerate()) == before


def test_group_tells_of_states_and_errors_of_its_paths() -> None:
    """What a path cannot read, and how it stands, is heard on the group, with the path."""
    with serving("bytes") as server:
        peers = Collector(server.connections)
        with group_of(server) as group:
            errors, states = Collector(group.errors), Collector(group.connection_state)
            group.open_path("/a")
            states.wait_for(TaggedData("/a", "connected"))
            peers.wait_for_count(1)[0].on_next(b"binary")
            (error,) = errors.wait_for_count(1)
            assert "cannot unpackage a message on /a" in str(error)
        assert states.wait_ended() is None
        assert [str(status) for _, status in states.values] == ["connecting", "connected", "closed"]


def test_group_tells_of_losses_of_its_paths() -> None:
    """What a path loses is heard on the group, with the path, and counted there."""
    with socket.create_server((HOST, 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with RxWSClientGroup({"host": HOST, "port": port}, retry=SOON) as group:
        losses = Collector(group.losses)
        group.on_next(TaggedData("/a?b", "too early"))
        (loss,) = losses.wait_for_count(1)
        assert (loss.path, loss.reason, loss.count) == ("/a", "disconnected", 1)
        assert group.health().losses == {"disconnected": 1}


def test_ensure_client_from_many_threads_makes_one() -> None:
    """Eight threads that send on a new path at once share one client."""
    with serving() as server:
        received = Collector(server)
        with group_of(server, buffer_while_disconnected=True) as group:
            start = threading.Barrier(8)

            def send() -> None:
                start.wait()
                group.on_next(TaggedData("/new", "x"))

            threads = [threading.Thread(target=send) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            received.wait_for_count(8)
            assert server.health().connections_opened == 1
