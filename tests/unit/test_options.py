"""Keyword arguments of components: defaults, checks, and what the transport is told."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any

import pytest

from rxplus import (
    TLS,
    Buffer,
    Delivery,
    Handshake,
    Level,
    Limits,
    Overflow,
    Retry,
    Security,
    Telemetry,
    Timeouts,
    WebSocketsTransport,
)
from rxplus.options import ClientKwargs, ClientOptions, ServerKwargs, ServerOptions
from rxplus_testing import MemoryStore

CLIENT: dict[str, Any] = {
    "ping_interval": 30.0,
    "ping_timeout": 20.0,
    "conn_retry_timeout": 0.5,
    "buffer_while_disconnected": False,
}
SERVER: dict[str, Any] = {"ping_interval": 30.0, "ping_timeout": 20.0}


def client(**given: Any) -> ClientOptions:
    """Make a client's options."""
    return ClientOptions.of(**{**CLIENT, **given})


def server(**given: Any) -> ServerOptions:
    """Make a server's options."""
    return ServerOptions.of(**{**SERVER, **given})


GROUPED: dict[str, type] = {
    "buffer": Buffer,
    "limits": Limits,
    "timeouts": Timeouts,
    "telemetry": Telemetry,
    "retry": Retry,
    "handshake": Handshake,
}


@pytest.mark.parametrize("key", GROUPED)
def test_client_options_none_means_the_default(key: str) -> None:
    """``None`` and leaving an argument out are the same."""
    assert isinstance(getattr(client(**{key: None}), key), GROUPED[key])
    assert isinstance(getattr(client(), key), GROUPED[key])


@pytest.mark.parametrize("key", GROUPED)
def test_client_options_refuse_other_types(key: str) -> None:
    """A dictionary where a value is due is refused, by name."""
    with pytest.raises(TypeError, match=rf"{key} must be a {GROUPED[key].__name__} or None, got"):
        client(**{key: {"limit": 1}})


def test_client_options_keep_what_is_given() -> None:
    """Values that are given are used as they are."""
    given = {
        "buffer": Buffer(max_messages=1),
        "retry": Retry(limit=1),
        "transport": WebSocketsTransport(),
        "subprotocols": ["a", "b"],
        "compression": "deflate",
    }
    options = client(**given)
    assert {key: getattr(options, key) for key in given} == given


def test_server_options_none_means_the_default() -> None:
    """A server's ``security`` and its own buffer policy come back with ``None``."""
    options = server(security=None, buffer=None)
    assert options.security == Security()
    assert options.buffer.overflow == Overflow.drop_oldest()


def test_server_options_do_not_let_one_slow_peer_block() -> None:
    """A server's default drops, a client's blocks."""
    assert server().buffer.overflow == Overflow.drop_oldest()
    assert server().buffer.max_bytes < client().buffer.max_bytes
    assert client().buffer.overflow == Overflow.block()


def test_server_options_refuse_other_types() -> None:
    """Security is a value of its own."""
    with pytest.raises(TypeError, match="security must be a Security or None, got 'open'"):
        server(security="open")


@pytest.mark.parametrize("make", [client, server])
def test_options_name_unknown_arguments(make: Any) -> None:
    """A misspelt argument is refused, with those that are known."""
    with pytest.raises(TypeError, match=r"unknown arguments \['bufer', 'limit'\]") as caught:
        make(limit=1, bufer=None)
    assert "'buffer'" in str(caught.value)


@pytest.mark.parametrize("make", [client, server])
@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("ping_interval", -1, ValueError),
        ("ping_interval", 0, ValueError),
        ("ping_timeout", float("nan"), ValueError),
        ("ping_timeout", "30", TypeError),
        ("compression", "gzip", ValueError),
        ("delivery", "exactly_once", ValueError),
        ("delivery", "durable", ValueError),
        ("delivery", 5, ValueError),
        ("subprotocols", "chat", TypeError),
        ("subprotocols", None, TypeError),
        ("subprotocols", 5, TypeError),
        ("subprotocols", ["chat", 5], TypeError),
        ("subprotocols", (name for name in ["chat"]), TypeError),
    ],
)
def test_options_refuse_wrong_values(
    make: Any, key: str, value: Any, error: type[Exception]
) -> None:
    """Each argument is checked when the component is made, and named."""
    with pytest.raises(error, match=key):
        make(**{key: value})


@pytest.mark.parametrize("make", [client, server])
def test_options_ping_none_turns_it_off(make: Any) -> None:
    """``None`` is a keepalive setting, not a default."""
    options = make(ping_interval=None, ping_timeout=None)
    assert (options.ping_interval, options.ping_timeout) == (None, None)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("conn_retry_timeout", -1, ValueError),
        ("conn_retry_timeout", None, TypeError),
        ("buffer_while_disconnected", "no", TypeError),
        ("tls", "yes", TypeError),
    ],
)
def test_client_options_refuse_wrong_values(key: str, value: Any, error: type[Exception]) -> None:
    """What only a client has is checked too."""
    with pytest.raises(error, match=key):
        client(**{key: value})


def test_client_options_tls() -> None:
    """What users write for TLS is made into one value."""
    context = ssl.create_default_context()
    assert client(tls=context).tls == TLS(context=context)
    assert client(tls=None).tls is None


def test_server_options_tls() -> None:
    """A server needs a server's context: one for clients would fail at each handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert server(tls=context).tls is context
    assert server(tls=None).tls is None
    with pytest.raises(TypeError, match=r"tls must be a server-side ssl\.SSLContext"):
        server(tls=True)
    with pytest.raises(ValueError, match=r"tls must be a server-side ssl\.SSLContext"):
        server(tls=ssl.create_default_context())


@pytest.mark.parametrize("make", [client, server])
def test_options_wire_tells_the_transport(make: Any) -> None:
    """Limits, timeouts and keepalive reach the transport."""
    wire = make(
        limits=Limits(max_message_size=7),
        timeouts=Timeouts(open=1.0, close=2.0),
        ping_interval=3.0,
        ping_timeout=4.0,
        compression="deflate",
    ).wire
    assert wire.max_message_size == 7
    assert (wire.open_timeout, wire.close_timeout) == (1.0, 2.0)
    assert (wire.ping_interval, wire.ping_timeout) == (3.0, 4.0)
    assert wire.compression == "deflate"


def test_options_wire_does_not_compress_by_default() -> None:
    """Compression is off unless it is asked for."""
    assert client().wire.compression is None


def test_retry_policy_takes_conn_retry_timeout() -> None:
    """The plain way to set the delay stays."""
    policy = client(conn_retry_timeout=0.25, retry=Retry(limit=3)).retry_policy
    assert (policy.initial, policy.maximum, policy.limit) == (0.25, 30.0, 3)


def test_retry_policy_a_long_conn_retry_timeout_lifts_the_cap() -> None:
    """A delay of a minute is kept, though the default cap is half of it."""
    policy = client(conn_retry_timeout=60).retry_policy
    assert (policy.initial, policy.maximum) == (60, 60)


def test_retry_policy_own_initial_delay_wins() -> None:
    """A policy that says how to begin is used as it is."""
    retry = Retry(initial=1.0, maximum=2.0)
    assert client(conn_retry_timeout=60, retry=retry).retry_policy is retry


def test_kwargs_are_the_options() -> None:
    """What type checkers let through is what components take, and the reverse."""
    takes = {one.name for one in dataclasses.fields(ClientOptions)}
    assert set(ClientKwargs.__annotations__) == takes - set(CLIENT)
    takes = {one.name for one in dataclasses.fields(ServerOptions)}
    assert set(ServerKwargs.__annotations__) == takes - set(SERVER)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"level": "acknowledged"}, TypeError, "Delivery.level"),
        ({"level": Level.DURABLE}, ValueError, "Delivery.store is for durable"),
        ({"store": MemoryStore()}, ValueError, "Delivery.store is for durable"),
        ({"max_age": -1.0}, ValueError, "Delivery.max_age must be"),
        (
            {"level": Level.DURABLE, "store": MemoryStore(), "max_age": 1.0},
            ValueError,
            "Delivery.max_age is not for durable, got 1.0; give it to the store",
        ),
        ({"max_messages": 0}, ValueError, "Delivery.max_messages"),
        ({"max_bytes": 1.5}, TypeError, "Delivery.max_bytes"),
        ({"ack_messages": True}, TypeError, "Delivery.ack_messages"),
        ({"ack_bytes": 0}, ValueError, "Delivery.ack_bytes"),
        ({"ack_delay": -1}, ValueError, "Delivery.ack_delay"),
        ({"expiry": None}, TypeError, "Delivery.expiry"),
        ({"redeliver": -1}, ValueError, "Delivery.redeliver"),
        ({"resend_lost": 1}, TypeError, "Delivery.resend_lost"),
        ({"fallback": "buffered"}, ValueError, "Delivery.fallback"),
    ],
)
def test_delivery_refuses_wrong_values(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    """What cannot be right is refused by name and value."""
    with pytest.raises(error, match=message):
        Delivery(**given)


def test_delivery_levels() -> None:
    """Each level is a value, by its class method or its name."""
    assert client(delivery="acknowledged").delivery == Delivery.acknowledged()
    assert client(delivery="at_most_once").promised == Delivery.at_most_once()
    assert client(delivery="buffered").promised == Delivery.buffered()
    assert client(buffer_while_disconnected=True).promised == Delivery.buffered()
    both = client(delivery="acknowledged", buffer_while_disconnected=True)
    assert both.promised == Delivery.acknowledged()
    store = MemoryStore()
    assert Delivery.durable(store).store is store
    assert Delivery.of(Delivery.durable(store)) == Delivery.durable(store)


def test_delivery_that_makes_no_sense_on_a_side() -> None:
    """A server has nothing to buffer for strangers; a durable client cannot do with less."""
    with pytest.raises(ValueError, match="cannot be 'buffered'"):
        server(delivery="buffered")
    with pytest.raises(ValueError, match="durable with fallback"):
        client(delivery=Delivery.durable(MemoryStore(), fallback="at_most_once"))
    with pytest.raises(ValueError, match="buffer does not apply to a durable client"):
        client(delivery=Delivery.durable(MemoryStore()), buffer=Buffer(max_messages=1))
    client(delivery=Delivery.durable(MemoryStore()), buffer=Buffer())


@pytest.mark.parametrize(
    ("delivery", "subprotocols", "offered", "understood"),
    [
        (Delivery.at_most_once(), ["a"], ("a",), ("a",)),
        (Delivery.acknowledged(), [], ("rxplus.v1",), ("rxplus.v1",)),
        (
            Delivery.acknowledged(),
            ["a", "b"],
            ("rxplus.v1+a", "rxplus.v1+b"),
            ("rxplus.v1+a", "rxplus.v1+b", "a", "b"),
        ),
        (
            Delivery.acknowledged(fallback="at_most_once"),
            ["a"],
            ("rxplus.v1+a", "a"),
            ("rxplus.v1+a", "a"),
        ),
        (Delivery.acknowledged(fallback="error"), ["a"], ("rxplus.v1+a",), ("rxplus.v1+a",)),
    ],
)
def test_delivery_decides_over_subprotocols(
    delivery: Delivery, subprotocols: list[str], offered: Any, understood: Any
) -> None:
    """The session protocol is offered beside the application's own, as the fallback says."""
    assert client(delivery=delivery, subprotocols=subprotocols).offered == offered
    assert server(delivery=delivery, subprotocols=subprotocols).understood == understood
