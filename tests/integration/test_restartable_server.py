"""A real server that goes down and comes back: what ``rx_server`` gives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from helpers import HOST, SOON, client_of, nothing_left

from rxplus import RxException, Security, TaggedData
from rxplus_testing import Recorder, RestartableServer, expect
from rxplus_testing._servers import _Gate

__all__ = ["nothing_left"]

MakeServer = Callable[..., RestartableServer]


def test_rx_server_restarts_on_the_same_port(rx_server: MakeServer) -> None:
    """A client finds it again, and what peers send is recorded over the restart."""
    server = rx_server()
    with client_of(server.port, "/a", retry=SOON) as client:
        states = Recorder(client.connection_state)
        expect(states).values("connecting", "connected")
        client.on_next("before")
        expect(server.received).next(TaggedData("/a", "before"))
        server.restart()
        expect(states).next("disconnected")
        expect(states).next(where=lambda state: state == "reconnecting")
        expect(server.joined).next()
        expect(server.joined).next()
        assert client.wait_connected(10)
        client.on_next("after")
        expect(server.received).next(TaggedData("/a", "after"))
        states.dispose()


def test_rx_server_loses_no_first_message(rx_server: MakeServer) -> None:
    """Whoever comes back at once is heard, whatever is said first."""
    server = rx_server()
    with client_of(server.port, "/a", retry=SOON, buffer_while_disconnected=True) as client:
        for number in range(10):
            expect(server.joined).next()
            server.stop()
            client.on_next(str(number))
            server.start()
            expect(server.received).next(TaggedData("/a", str(number)))


def test_rx_server_refuses_whom_its_authenticator_refuses(rx_server: MakeServer) -> None:
    """The authenticator that was given has the last word, be it a function or a coroutine."""
    server = rx_server(security=Security(authenticate=lambda _: False))
    with client_of(server.port) as client:
        states = Recorder(client.connection_state)
        expect(states).values("connecting", "disconnected", "closed")
        states.dispose()


def test_rx_server_down_refuses_and_keeps_its_port(rx_server: MakeServer) -> None:
    """While it is down nobody answers, and it says so; starting and stopping twice is harmless."""
    server = rx_server()
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port), 10)
    with pytest.raises(RuntimeError, match=rf"port {server.port} is down: call start\(\)"):
        server.send("/", "hello")
    server.start()
    assert server.url == f"ws://{HOST}:{server.port}"


def test_rx_server_takes_the_options_of_a_server(rx_server: MakeServer) -> None:
    """Datatype and options are those of RxWSServer, an authenticator included."""
    asked: list[str] = []

    async def authenticate(request: Any) -> bool:
        asked.append(request.path)
        return True

    server = rx_server("json", security=Security(authenticate=authenticate))
    with client_of(server.port, "/a", "json") as client:
        seen = Recorder(client)
        assert client.wait_connected(10)
        server.send("/a", {"n": 1})
        expect(seen).next({"n": 1})
        assert (asked, server.conn_cfg("/a")["path"]) == (["/a"], "/a")
        seen.dispose()


def test_rx_server_that_cannot_start_leaves_nothing() -> None:
    """Options that are wrong are refused, and the port is given back."""
    with pytest.raises(TypeError):
        RestartableServer(no_such_option=1)


def test_rx_server_port_taken_meanwhile_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a port cannot be kept, somebody else may have it at a restart."""
    monkeypatch.setattr("sys.platform", "elsewhere")
    with RestartableServer() as server:
        server.stop()
        with socket.create_server((HOST, server.port)), pytest.raises(RxException):
            server.start()
        server.start()


def test_rx_server_lets_nobody_in_before_it_is_heard() -> None:
    """Whoever comes before the recorders listen waits for them; those after do not."""
    gate = _Gate(Security())
    admit: Any = gate.security.authenticate

    async def come_early_and_late() -> list[bool]:
        early = asyncio.ensure_future(admit(None))
        await asyncio.sleep(0)
        assert not early.done()
        await asyncio.to_thread(gate.open)
        return [await early, await admit(None)]

    assert asyncio.run(come_early_and_late()) == [True, True]
