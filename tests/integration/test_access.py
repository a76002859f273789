"""Who is let in, and what happens to those who are not."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    RawPeer,
    client_of,
    joined,
    serving,
)
from helpers import nothing_left as nothing_left

from rxplus import (
    Handshake,
    HandshakeRejectedError,
    Limits,
    Request,
    Response,
    Retry,
    RxException,
    RxWSServer,
    Security,
    TaggedData,
    ThreadRuntime,
    basic_auth,
    bearer_auth,
)


def rejection(error: object) -> HandshakeRejectedError:
    """Return the refusal in an RxException."""
    assert isinstance(error, RxException)
    assert isinstance(error.exception, HandshakeRejectedError)
    return error.exception


def hook(request: Request) -> str | bool | Response | None:
    """Let in by name, anonymously, not at all, or not at all in its own words."""
    if request.path == "/teapot":
        return Response(status=418, body="I am a teapot")
    answers: dict[str, str | bool | None] = {"/name": "ann", "/any": True, "/false": False}
    return answers.get(request.path)


async def async_hook(request: Request) -> str | bool | Response | None:
    """Do the same after a while."""
    await asyncio.sleep(0)
    return hook(request)


@pytest.mark.parametrize("authenticate", [hook, async_hook])
def test_authentication_hook(authenticate: Callable[[Request], Any]) -> None:
    """A hook, sync or async, names a peer, lets it in without a name, or refuses it its way."""
    with serving(security=Security(authenticate=authenticate)) as server:
        with joined(server, "/name?q") as (_, peer):
            assert peer.user == "ann"
        with joined(server, "/any") as (_, peer):
            assert peer.user == ""
        for path, status in (("/false", 401), ("/none", 401), ("/teapot", 418)):
            retry = Retry(limit=0)
            with client_of(server, path, retry=retry) as client:
                assert rejection(Collector(client).wait_ended()).status == status
        assert server.health().handshake_failures == 3


def test_authentication_hook_that_raises() -> None:
    """A hook that raises refuses with 500 and is reported; the server goes on."""

    def fail(request: Request) -> bool:
        if request.path == "/bad":
            raise LookupError("no database")
        return True

    with serving(security=Security(authenticate=fail)) as server:
        errors = Collector(server.errors)
        with client_of(server, "/bad", retry=Retry(limit=0)) as client:
            assert rejection(Collector(client).wait_ended()).status == 500
        (error,) = errors.wait_for_count(1)
        assert str(error.exception) == "no database"
        with joined(server, "/good") as (client, _):
            assert client.connected


def test_basic_auth() -> None:
    """The right password lets in, under the user's name."""
    with serving(security=Security(authenticate=basic_auth({"ann": "s3:cret\u00e9"}))) as server:
        handshake = Handshake(basic_auth=("ann", "s3:cret\u00e9"))
        with joined(server, handshake=handshake) as (_, peer):
            assert peer.user == "ann"


@pytest.mark.parametrize("credentials", [("ann", "wrong"), ("bob", "secret"), ("", ""), None])
def test_basic_auth_refused(credentials: tuple[str, str] | None) -> None:
    """Wrong credentials, or none, are 401, and end the client at the first attempt."""
    with serving(security=Security(authenticate=basic_auth({"ann": "secret"}))) as server:
        handshake = Handshake(basic_auth=credentials)
        with client_of(server, retry=SOON, handshake=handshake) as client:
            states = Collector(client.connection_state)
            refusal = rejection(Collector(client).wait_ended())
            assert refusal.status == 401
            assert "Not authorized" in refusal.body
            assert states.wait_ended() is None
            assert "reconnecting" not in states.values
            assert not client.wait_connected(LIMIT)
        assert server.health().handshake_failures == 1


def test_bearer_token_is_asked_for_at_each_attempt() -> None:
    """A token that is refused is not used again: the next attempt asks for a new one."""
    asked: list[str] = []

    def token() -> str:
        asked.append(f"token-{len(asked) + 1}")
        return asked[-1]

    def check(given: str) -> str | None:
        return "ann" if given == "token-3" else None

    with serving(security=Security(authenticate=bearer_auth(check))) as server:
        retry = Retry(initial=0.001, fatal_statuses=frozenset())
        with joined(server, retry=retry, handshake=Handshake(token=token)) as (client, peer):
            assert peer.user == "ann"
            assert client.health().handshake_failures == 2
        assert asked == ["token-1", "token-2", "token-3"]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("https://app.example", True),
        ("https://7.app.example", True),
        ("https://evil.example", False),
        ("https://7.app.example.evil", False),
        (None, False),
    ],
)
def test_origins(origin: str | None, welcome: bool) -> None:
    """Only origins on the list get in; the others get 403."""
    origins = ("https://app.example", re.compile(r"https://\d+\.app\.example"))
    with serving(security=Security(origins=origins)) as server:
        handshake = Handshake(origin=origin)
        if welcome:
            with joined(server, handshake=handshake) as (_, peer):
                assert peer.headers["Origin"] == origin
            return
        with client_of(server, handshake=handshake) as client:
            assert rejection(Collector(client).wait_ended()).status == 403


@pytest.mark.parametrize(
    ("limits", "status"),
    [(Limits(max_connections=1), 503), (Limits(max_connections_per_address=1), 429)],
)
def test_connection_limit(limits: Limits, status: int) -> None:
    """One connection too many is refused, not for good, and gets in when another has left."""
    with (
        serving(limits=limits) as server,
        joined(server) as (first, first_peer),
        client_of(server, retry=SOON) as second,
    ):
        errors, first_left = Collector(second.errors), Collector(first_peer)
        errors.wait_until(bool)
        assert rejection(errors.values[0]).status == status
        assert not second.connected
        assert server.health().connections == 1
        assert first.close()
        assert first_left.wait_ended() is None
        assert second.wait_connected(LIMIT)


@pytest.mark.parametrize(
    "limits", [Limits(max_connections=3), Limits(max_connections_per_address=3)]
)
def test_connection_limit_under_a_stampede(limits: Limits) -> None:
    """Of many that are being checked at once, no more than the limit get in."""
    checked, gate = threading.Semaphore(0), asyncio.Event()

    async def hold(_: Request) -> bool:
        checked.release()
        await gate.wait()
        return True

    security = Security(authenticate=hold)
    with contextlib.ExitStack() as stack:
        runtime = ThreadRuntime("stampede")
        server = stack.enter_context(serving(limits=limits, security=security, runtime=runtime))
        peers = Collector(server.connections)
        raws = [stack.enter_context(RawPeer(server)) for _ in range(12)]
        for raw in raws:
            raw.request()
        for _ in raws:
            assert checked.acquire(timeout=LIMIT)
        lease = runtime.acquire()
        lease.call_soon(gate.set)
        lease.release()
        # Those who are one too many are told so, or hung up on.
        answers = [raw.answer() for raw in raws]
        assert len(peers.wait_until(lambda values: len(values) >= 3)) == 3
        assert server.health().connections_opened == 3
        assert answers.count("HTTP/1.1 101 Switching Protocols") >= 3


def choose(path: str) -> str:
    """Know one path only."""
    if path != "/known":
        raise LookupError(path)
    return "string"


def test_unknown_path_is_404() -> None:
    """A path for which the datatype callable raises is answered with 404, and reported."""
    with serving(choose) as server:
        errors = Collector(server.errors)
        with client_of(server, "/unknown", retry=Retry(limit=0)) as client:
            assert rejection(Collector(client).wait_ended()).status == 404
        (error,) = errors.wait_for_count(1)
        assert isinstance(error.exception, LookupError)
        with joined(server, "/known") as (client, peer):
            left = Collector(peer)
            assert client.connected
        left.wait_ended()
        assert server.health().paths == {}
        with pytest.raises(LookupError):
            server.on_next(TaggedData("/unknown", "x"))


def get(server: RxWSServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Make a plain HTTP request; return status, headers and body."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=LIMIT)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def test_plain_http_request_is_426() -> None:
    """A browser that is pointed at the server is told what this is."""
    with serving() as server:
        status, headers, body = get(server, "/")
        assert status == 426
        assert headers["Upgrade"] == "websocket"
        assert "WebSocket" in body
        assert server.health().handshake_failures == 0


def test_health_path() -> None:
    """The health path answers 200 to plain HTTP, wherever it was put, and is no connection."""
    with serving() as server, serving(security=Security(health_path="/alive")) as other:
        assert get(server, "/healthz?verbose")[::2] == (200, "ok\n")
        assert get(other, "/alive")[::2] == (200, "ok\n")
        assert get(other, "/healthz")[0] == 426
        assert server.health().connections_opened == 0


def test_no_health_path() -> None:
    """Without a health path there is none."""
    with serving(security=Security(health_path=None)) as server:
        assert get(server, "/healthz")[0] == 426


def test_pickle_from_a_stranger_needs_no_warning_on_loopback() -> None:
    """Pickle between processes of one machine is no reason to warn."""
    with serving("object") as server, joined(server, "/", "object"):
        assert server.health().errors == 0
