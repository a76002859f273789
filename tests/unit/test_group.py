"""RxWSClientGroup: one client per path, one stream."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest
from reactivex import operators as ops
from world import Nowhere, World, tagged

from rxplus import (
    ComponentClosedError,
    ConnConfig,
    HandshakeRejectedError,
    Limits,
    Loss,
    LossReason,
    Request,
    Retry,
    RxException,
    RxWSClientGroup,
    Security,
    TaggedData,
    tag,
    tag_filter,
    untag,
)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"port": 1}, r"conn_cfg missing required keys: \['host'\]"),
        ({"host": "h"}, r"conn_cfg missing required keys: \['port'\]"),
        ({"host": "h", "port": 1, "path": "/a"}, "no path, got '/a'"),
        (ConnConfig("h", 1, "/a"), "no path, got '/a'"),
        (None, "conn_cfg must be a mapping or a ConnConfig, got None"),
        ("ws://h/path", "conn_cfg must be a mapping or a ConnConfig, got 'ws://h/path'"),
    ],
)
def test_group_refuses_wrong_conn_cfg(config: Any, message: str) -> None:
    """A configuration that cannot be right is refused at once."""
    with pytest.raises((TypeError, ValueError), match=message):
        RxWSClientGroup(config)


def test_group_refuses_wrong_client_options_at_once(world: World) -> None:
    """What is wrong for every path is refused when the group is made, not on first use."""
    with pytest.raises(ValueError, match="conn_retry_timeout"):
        world.group(1, conn_retry_timeout=-1.0)


def test_group_reads_certificates_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All paths share one TLS context: to make one reads every certificate of the system."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def counted() -> ssl.SSLContext:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    with world.group(1, tls=True) as group:
        group.open_path("/a")
        group.open_path("/b")
    assert len(made) == 1


def test_group_merges_and_tags(world: World) -> None:
    """What arrives on each path comes out once, with the path as its tag."""
    server = world.server()
    group = world.group(server)
    values = world.sim.record(group)
    for path in ("/a", "/b?x=1"):
        group.open_path(path)
    assert group.wait_connected(5)
    for path in ("/a", "/b"):
        server.on_next(TaggedData(path, f"for {path}"))
    world.settle()
    assert sorted(values.values) == [*tagged("/a", "for /a"), *tagged("/b", "for /b")]
    group.close()
    server.close()


def test_group_keeps_what_comes_before_somebody_subscribes(world: World) -> None:
    """What its clients receive waits for the first subscriber, within the group's limit."""
    server = world.server(datatype="bytes")
    server.connections.subscribe(lambda peer: peer.on_next(b"welcome"))
    group = world.group(server, datatype="bytes")
    group.open_path("/a")
    world.settle()
    values = world.sim.record(group)
    world.settle()
    assert values.values == tagged("/a", b"welcome")

    deaf = world.group(server, datatype="bytes")
    deaf.open_path("/b")
    world.settle()
    server.on_next(TaggedData("/b", bytes(2**20)))
    world.settle()
    too_late = world.sim.record(deaf)
    world.settle()
    assert too_late.values == []
    for part in (group, deaf, server):
        part.close()


def test_group_sends_on_the_path_of_the_tag(world: World) -> None:
    """Values go to the path that is their tag; a new path is opened for the first."""
    server = world.server()
    group = world.group(server, buffer_while_disconnected=True)
    values = world.sim.record(server)
    group.on_next(TaggedData("/a", "1"))
    group.on_next(TaggedData("/b", "2"))
    group.on_next(TaggedData("/a", "3"))
    world.settle()
    assert [value for value in values.values if value.tag == "/a"] == tagged("/a", "1", "3")
    assert set(group._clients) == {"/a", "/b"}
    group.close()
    server.close()


def test_group_chooses_the_datatype_by_path(world: World) -> None:
    """The datatype may be a function of the path, on both sides."""

    def choose(path: str) -> str:
        return "json" if path == "/json" else "bytes"

    server = world.server(datatype=choose)
    group = world.group(server, datatype=choose, buffer_while_disconnected=True)
    values = world.sim.record(server)
    group.on_next(TaggedData("/json", {"x": 1}))
    group.on_next(TaggedData("/raw", b"y"))
    world.settle()
    assert sorted(values.values) == [TaggedData("/json", {"x": 1}), TaggedData("/raw", b"y")]
    group.close()
    server.close()


def test_group_refuses_wrong_values(world: World) -> None:
    """Misuse raises at once, in the caller's thread."""
    group = world.group(1)
    with pytest.raises(TypeError, match="TaggedData, got int"):
        group.on_next(1)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ValueError, match="path must begin with '/'"):
        group.on_next(TaggedData("a", "x"))
    assert not group._clients
    group.close()


def test_client_group_ensure_client_thread_safety() -> None:
    """Threads that ask for a path's client at the same time get one and the same."""
    group = RxWSClientGroup({"host": "h", "port": 1}, transport=Nowhere())
    barrier = threading.Barrier(8)
    found: list[Any] = []

    def ask() -> None:
        barrier.wait(10)
        for number in range(20):
            found.append((number, group._ensure_client(f"/p{number}")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 160
    assert len({(number, id(client)) for number, client in found}) == 20
    assert group.close()


def test_group_goes_on_when_a_path_fails(world: World) -> None:
    """A path that cannot be opened leaves the group, reported; the others stay."""

    def choose(path: str) -> str:
        return {"/a": "string", "/b": "string"}[path]

    server = world.server()
    group = world.group(server)
    group.open_path("/a")
    assert group.wait_connected(5)
    values, errors = world.sim.record(group), world.sim.record(group.errors)
    world.sim.net.reject_next(403)
    group.open_path("/forbidden")
    world.settle(1)
    assert set(group._clients) == {"/a"}
    causes = [error.exception for error in errors.values]
    assert any(isinstance(cause, HandshakeRejectedError) for cause in causes)
    assert "path /forbidden left the group" in str(errors.values[-1])
    server.on_next(TaggedData("/a", "still here"))
    world.settle()
    assert values.values == tagged("/a", "still here")
    assert not values.ended
    group.close()
    server.close()


def test_group_goes_on_when_a_path_is_closed(world: World) -> None:
    """Closing one path's client leaves that path only; it can be opened again."""
    server = world.server()
    group = world.group(server)
    values = world.sim.record(group)
    first = group.open_path("/a")
    group.open_path("/b")
    assert group.wait_connected(5)
    first.close()
    assert set(group._clients) == {"/b"}
    again = group.open_path("/a")
    assert again is not first
    assert group.wait_connected(5)
    server.on_next(TaggedData("/a", "x"))
    world.settle()
    assert values.values == tagged("/a", "x")
    group.close()
    server.close()


def test_group_does_not_hammer_a_server_that_refuses(world: World) -> None:
    """A path that failed for good rests; what is sent on it meanwhile is reported as lost."""
    asked: list[str] = []

    def refuse(request: Request) -> bool:
        asked.append(request.path)
        return False

    server = world.server(security=Security(authenticate=refuse))
    group = world.group(server, retry=Retry(maximum=10.0))
    losses = world.sim.record(group.losses)
    for number in range(100):
        group.on_next(TaggedData("/a", str(number)))
        world.settle()  # ten seconds in all
    assert len(asked) == 1
    assert sum(loss.count for loss in losses.values) == 100
    with pytest.raises(TypeError, match="expects a string"):
        group.on_next(TaggedData("/a", 1))
    world.settle(10.0)
    group.on_next(TaggedData("/a", "again"))
    world.settle()
    assert len(asked) == 2
    group.open_path("/a")
    world.settle()
    assert len(asked) == 3
    group.close()
    with pytest.raises(ComponentClosedError):
        group.on_next(TaggedData("/a", "too late"))
    server.close()


def test_group_reopens_a_path_that_ended_in_this_moment(world: World) -> None:
    """A message for a client that is just ending opens the path again instead of raising."""
    server = world.server()
    group = world.group(server, buffer_while_disconnected=True)
    client = group.open_path("/a")
    assert group.wait_connected(5)
    values = world.sim.record(server)
    client._hub.begin_close(1.0)
    group.on_next(TaggedData("/a", "not lost"))
    world.settle(1)
    assert values.values == tagged("/a", "not lost")
    group.close()
    server.close()


def test_group_tells_losses_errors_and_states_of_all_paths(world: World) -> None:
    """What a client reports comes out of its group, with the path."""
    group = world.group(4321)
    losses, states = world.sim.record(group.losses), world.sim.record(group.connection_state)
    errors = world.sim.record(group.errors)
    group.on_next(TaggedData("/a", "x"))
    world.settle()
    assert losses.values == [Loss("/a", LossReason.DISCONNECTED, 1)]
    assert states.values[:2] == tagged("/a", "connecting", "disconnected")
    assert isinstance(errors.values[0], RxException)
    group.close()
    assert states.values[-1] == TaggedData("/a", "closed")
    assert states.completed
    assert losses.completed


def test_group_close_ends_every_client_and_completes_once(world: World) -> None:
    """Closing the group closes all paths and completes its stream once."""
    server = world.server()
    group = world.group(server)
    values = world.sim.record(group)
    clients = [group.open_path(f"/p{number}") for number in range(30)]
    assert group.wait_connected(5)
    assert group.close()
    assert values.completed
    assert group._clients == {}
    assert all(client.health().state == "closed" for client in clients)
    with pytest.raises(ComponentClosedError):
        group.open_path("/late")
    with pytest.raises(ComponentClosedError):
        group.on_next(TaggedData("/p1", "late"))
    server.close()


def test_group_close_from_a_callback(world: World) -> None:
    """Closing from a subscriber returns at once and still closes everything."""
    server = world.server()
    group = world.group(server)
    group.open_path("/a")
    group.open_path("/b")
    assert group.wait_connected(5)
    results: list[bool] = []
    group.subscribe(lambda _: results.append(group.close()))
    values = world.sim.record(group)
    server.on_next(TaggedData("/a", "stop"))
    world.settle(1)
    assert results == [False]
    assert values.completed
    assert group.close()
    server.close()


def test_group_without_paths_closes(world: World) -> None:
    """A group that was never used closes as well as any."""
    group = world.group(1)
    assert group.wait_connected(1)
    assert group.close()


def test_group_sums_what_its_clients_count(world: World) -> None:
    """health() of a group covers all its paths, also those that have left."""
    server = world.server()
    group = world.group(server)
    for path in ("/a", "/b"):
        group.open_path(path)
    assert group.wait_connected(5)
    for path in ("/a", "/b", "/b"):
        group.on_next(TaggedData(path, "xx"))
    world.settle()
    group.open_path("/a").close()
    health = group.health()
    assert (health.messages_out, health.bytes_out, health.connections) == (3, 6, 1)
    assert health.paths == {"/b": 1}
    assert health.healthy
    group.close()
    server.close()


def test_group_stops_reading_when_its_scheduler_falls_behind(world: World) -> None:
    """Values that wait for the user's scheduler are bounded: reading stops, and goes on."""
    server = world.server()
    group = world.group(server, scheduler=world.sim.scheduler, limits=Limits(max_undelivered=5))
    group.open_path("/a")
    assert group.wait_connected(5)
    values = world.sim.record(group)
    for number in range(50):
        server.on_next(TaggedData("/a", str(number)))
    world.settle(1)
    assert values.values == tagged("/a", *(str(number) for number in range(50)))
    group.close()
    server.close()


def test_group_is_an_observer_of_pipelines(world: World) -> None:
    """A tagged stream can be subscribed to a group, and its operators used on the way."""
    server = world.server()
    group = world.group(server)
    group.open_path("/a")
    assert group.wait_connected(5)
    upper = world.sim.record(group.pipe(tag_filter("/a"), untag(), ops.map(str.upper)))
    server.pipe(tag_filter("/a"), untag(), tag("/a")).subscribe(server.on_next)
    group.on_next(TaggedData("/a", "echo"))
    world.settle()
    assert upper.values == ["ECHO"]
    group.close()
    assert upper.completed
    server.close()
