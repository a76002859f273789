"""What components do in moments that seldom come."""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace
from typing import Any, cast

import pytest
from world import World, tagged

from rxplus import (
    Buffer,
    Connection,
    Lease,
    Loss,
    LossReason,
    Overflow,
    Runtime,
    RxWSClient,
    RxWSServer,
    WSStr,
)
from rxplus._core.sizes import payload_size, payload_sizes
from rxplus._engine.session import is_loopback
from rxplus._engine.supervisor import Supervisor
from rxplus._meters import version

PATH = {"host": "127.0.0.1", "port": 1, "path": "/a"}


# ── a server that closes ──────────────────────────────────────────────────────────────────


def test_server_close_gives_up_a_dismissal_that_cannot_be_sent(world: World) -> None:
    """A peer is to be closed after what was sent to it; a server that closes does not wait."""
    full = Buffer(max_messages=2, overflow=Overflow.block(0.0))
    server = world.server(datatype="bytes", buffer=full)
    client = world.connected(server, datatype="bytes")
    world.on_loop(client._supervisor.pause_reading)
    (peer,) = server.peers
    for _ in range(8):
        for value in tagged("/a", bytes(2**18)):
            try:
                server.on_next(value)
            except Exception:
                break
        world.settle()
    peer.close()
    world.settle()
    server.close(0.05)
    assert not peer.connected
    client.close()


def test_server_whose_datatype_fails_at_the_second_look(world: World) -> None:
    """A path that was known when it was asked for, and is not when the connection is open."""
    answers = iter(["string"])
    server = world.server(datatype=lambda _: next(answers))
    errors = world.sim.record(server.errors)
    client = world.client(server)
    world.settle()
    assert [error.note for error in errors.values] == ["no datatype for /a"]
    assert server.peers == ()
    client.close()
    server.close()


def test_server_keeps_what_a_breaking_connection_did_not_take(world: World) -> None:
    """What waits for a peer, and cannot be sent when it may be, is reported as lost."""
    server = world.server(datatype="bytes")
    client = world.connected(server, datatype="bytes")
    losses = world.sim.record(server.losses)
    world.on_loop(client._supervisor.pause_reading)
    for value in tagged("/a", *[bytes(2**18)] * 8):
        server.on_next(value)
        world.settle()
    waiting = server.health().queued_messages
    assert waiting > 0
    world.sim.net.fail_next_send()
    world.on_loop(client._supervisor.resume_reading)
    world.settle()
    assert losses.values[0] == Loss("/a", LossReason.DISCONNECTED, waiting)
    client.close()
    server.close()


def test_server_on_a_loop_that_has_ended_is_refused(world: World) -> None:
    """A constructor that nobody will answer raises instead of waiting for ever."""
    taken: list[Lease] = []

    class Ended:
        """The simulation's runtime, after its loop."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.sim.runtime, name)

        def acquire(self) -> Lease:
            taken.append(world.sim.runtime.acquire())
            refusing = SimpleNamespace(
                call_soon=lambda *_: False,
                in_loop=lambda: False,
                join=lambda _=None: True,
                release=taken[0].release,
                loop=taken[0].loop,
            )
            return cast("Lease", refusing)

    with pytest.raises(RuntimeError, match="its loop has ended"):
        world.server(runtime=cast("Runtime", Ended()))
    taken[0].release()


# ── a client between connections ──────────────────────────────────────────────────────────


def test_client_that_was_never_started_closes(world: World) -> None:
    """There is nothing to wait for."""

    class Unstarted(RxWSClient):
        def _begin(self) -> None:
            pass

    client = Unstarted(PATH, **world.parts)
    ended = world.sim.record(client)
    assert client.close()
    assert ended.completed


def test_client_without_a_connection_can_be_paused(world: World) -> None:
    """Subscribers that are behind need not be so because of this connection."""
    client = world.client(1)
    world.on_loop(client._supervisor.pause_reading)
    world.on_loop(client._supervisor.resume_reading)
    client.close()


def test_client_without_a_connection_cannot_be_disconnected(world: World) -> None:
    """The policy ``disconnect`` drops what waits, and there is no more to do."""
    full = Buffer(max_messages=2, overflow=Overflow.disconnect())
    client = world.client(1, buffer_while_disconnected=True, buffer=full)
    losses = world.sim.record(client.losses)
    for number in range(3):
        client.on_next(str(number))
    world.settle()
    assert losses.values == [Loss("/a", LossReason.OVERFLOW, 3)]
    client.close()


def test_client_ends_on_a_defect_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, instead of standing there for ever."""

    async def fail(_: Supervisor) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr(Supervisor, "_stay_connected", fail)
    client = world.client(1)
    ended = world.sim.record(client)
    world.settle()
    assert "internal error" in str(ended.error)
    assert client.close()


# ── small things ──────────────────────────────────────────────────────────────────────────


def test_datatype_that_makes_no_message_is_refused(world: World) -> None:
    """What is neither text nor bytes cannot be sent; the caller is told."""

    class Wrong(WSStr):
        def package(self, value: Any) -> Any:
            return 5

    client = world.client(1, datatype=Wrong())
    with pytest.raises(TypeError, match="must package to str or bytes, not int"):
        client.on_next("x")
    client.close()


def test_payload_size_of_kinds_of_text() -> None:
    """A str of a class of its own counts as it travels, too."""

    class Text(str):
        __slots__ = ()

    assert payload_size(Text("\u20ac")) == len("\u20ac".encode())


@pytest.mark.parametrize(
    "payloads", [[], ["\u20ac"], ["a", "bc"], ["a", "\u20ac"], ["a", b"bc"], [b"\xff"]]
)
def test_payload_sizes_are_those_of_each(payloads: list[str | bytes]) -> None:
    """Also where the short way is not for all of them."""
    assert payload_sizes(payloads) == sum(map(payload_size, payloads))


def test_payload_sizes_refuse_what_is_no_message() -> None:
    """As the size of one does."""
    with pytest.raises(TypeError, match="must package to str or bytes, not int"):
        payload_sizes(["a", 1])  # type: ignore[list-item]  # on purpose


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (None, False),
        (("127.0.0.1", 1), True),
        (("::1%lo", 1), True),
        (("192.0.2.1", 1), False),
        (("localhost", 1), True),
        (("example.org", 1), False),
    ],
)
def test_loopback_is_told_from_the_address(address: tuple[str, int] | None, loopback: bool) -> None:
    """Addresses of this machine are; a name is only when it is the usual one."""
    connection = cast("Connection", SimpleNamespace(remote_address=address))
    assert is_loopback(connection) is loopback


def test_version_of_a_source_tree_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an installed distribution telemetry has no version, and works."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version.__wrapped__() == ""


def test_server_is_made_of_what_it_is_told(world: World) -> None:
    """A component's repr names its class, its name and its state."""
    with world.server(name="shown") as server:
        assert isinstance(server, RxWSServer)
        assert repr(server) == "<RxWSServer shown open>"
