"""Values of the opening handshake: headers, requests, responses, and the endpoint's URL."""

from __future__ import annotations

import ssl

import pytest

from rxplus import ClientEndpoint, Headers, Request, Response


def test_headers_are_found_in_any_case() -> None:
    """HTTP does not distinguish ``Host`` from ``HOST``."""
    headers = Headers({"Content-Type": "text/plain"})
    assert headers["content-type"] == headers["CONTENT-TYPE"] == "text/plain"
    assert "CONTENT-type" in headers
    assert headers.get("Host") is None


def test_headers_missing() -> None:
    """A missing header is a ``KeyError`` with the name that was asked for."""
    with pytest.raises(KeyError, match="X-Missing"):
        Headers()["X-Missing"]
    assert Headers().get_all("X-Missing") == []


def test_headers_join_repeated_names() -> None:
    """As a mapping, a repeated header is one value, joined in order."""
    headers = Headers([("A", "1"), ("B", "x"), ("a", "2")])
    assert headers["A"] == "1, 2"
    assert headers.get_all("a") == ["1", "2"]
    assert list(headers) == ["a", "b"]
    assert len(headers) == 2
    assert dict(headers) == {"a": "1, 2", "b": "x"}


def test_headers_keep_what_they_were_given() -> None:
    """On the wire names are as they were written, and repeated."""
    pairs = [("Cookie", "a=1"), ("cookie", "b=2")]
    assert Headers(pairs).raw_items() == tuple(pairs)
    assert Headers(iter(pairs)).raw_items() == tuple(pairs)
    assert repr(Headers(pairs)) == f"Headers({pairs!r})"


def test_headers_of_headers_are_the_same() -> None:
    """Copying headers joins and renames nothing."""
    headers = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert Headers(headers).raw_items() == headers.raw_items()


def test_headers_are_not_changed_from_outside() -> None:
    """What they were made from may be used again."""
    source = {"A": "1"}
    headers = Headers(source)
    source["A"] = "2"
    assert headers["A"] == "1"


def test_headers_equal_what_says_the_same() -> None:
    """Case of a name makes no difference, values and names do."""
    assert Headers({"A": "1"}) == Headers([("a", "1")])
    assert Headers({"A": "1"}) != Headers({"A": "2"})
    assert not Headers()


@pytest.mark.parametrize(
    ("headers", "upgrade"),
    [
        ({"Upgrade": "websocket"}, True),
        ({"upgrade": "WebSocket"}, True),
        ({"Upgrade": "h2c, websocket"}, True),
        ({"Upgrade": "h2c"}, False),
        ({"Connection": "Upgrade"}, False),
        ({}, False),
    ],
)
def test_request_is_upgrade(headers: dict[str, str], upgrade: bool) -> None:
    """A browser that wants a page can be told from a WebSocket client."""
    assert Request(path="/", headers=Headers(headers)).is_upgrade is upgrade


def test_request_and_response_have_plain_defaults() -> None:
    """Only path and status must be given."""
    request, response = Request(path="/a"), Response(status=404)
    assert (request.query, len(request.headers), request.remote_address) == ("", 0, None)
    assert not request.secure
    assert (response.body, len(response.headers)) == ("", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("example.org", "ws://example.org:80/a?b=c"),
        ("127.0.0.1", "ws://127.0.0.1:80/a?b=c"),
        ("::1", "ws://[::1]:80/a?b=c"),
    ],
)
def test_client_endpoint_url(host: str, url: str) -> None:
    """The URL of an endpoint, with IPv6 addresses in brackets."""
    assert ClientEndpoint(host=host, port=80, target="/a?b=c").url == url


def test_client_endpoint_url_with_tls() -> None:
    """TLS makes it ``wss``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert ClientEndpoint(host="h", port=443, tls=context).url == "wss://h:443/"
