"""Configuration values: what users may write, and what is refused, by key and value."""

from __future__ import annotations

import dataclasses
import math
import re
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxplus import (
    TLS,
    Buffer,
    ConnConfig,
    Handshake,
    Headers,
    Limits,
    Overflow,
    Retry,
    Security,
    Timeouts,
)
from rxplus.config import (
    OnFull,
    check_compression,
    check_keepalive,
    check_retry_timeout,
    validate_conn_cfg,
)

# ── where to ──────────────────────────────────────────────────────────────────────────────


def test_conn_config_of_takes_a_mapping() -> None:
    """The plan's dictionary becomes the typed value."""
    config = ConnConfig.of({"host": "example.org", "port": 80, "path": "/chat?a=1"}, path=True)
    assert config == ConnConfig("example.org", 80, "/chat?a=1")


def test_conn_config_of_passes_its_own_kind_through() -> None:
    """The typed value is taken as it is."""
    config = ConnConfig("h", 1)
    assert ConnConfig.of(config, path=True) is config


def test_conn_config_of_needs_no_path_without_being_asked() -> None:
    """Servers and groups take a mapping without a path."""
    assert ConnConfig.of({"host": "h", "port": 1}, path=False).path == "/"


def test_conn_config_is_frozen() -> None:
    """What was checked cannot be changed afterwards."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ConnConfig("h", 1).port = -1  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("given_keys", "path", "missing"),
    [
        (["port", "path"], True, "['host']"),
        (["host", "path"], True, "['port']"),
        (["host", "port"], True, "['path']"),
        (["port"], False, "['host']"),
        ([], True, "['host', 'port', 'path']"),
    ],
)
def test_conn_config_names_missing_keys(given_keys: list[str], path: bool, missing: str) -> None:
    """The message that the public contract promises, word for word."""
    values = {"host": "h", "port": 1, "path": "/"}
    with pytest.raises(ValueError, match=r"^conn_cfg missing required keys: ") as caught:
        ConnConfig.of({key: values[key] for key in given_keys}, path=path)
    assert str(caught.value) == f"conn_cfg missing required keys: {missing}"


def test_validate_conn_cfg_accepts_what_has_all_keys() -> None:
    """Only keys that are asked for are missed."""
    validate_conn_cfg({"host": "h", "more": 1}, ["host"])


def test_conn_config_names_unknown_keys() -> None:
    """A misspelt key is not passed over."""
    with pytest.raises(ValueError, match=r"unknown keys: \['prot'\]"):
        ConnConfig.of({"host": "h", "port": 1, "prot": 2}, path=False)


@pytest.mark.parametrize("wrong", ["ws://h", 5, None, [("host", "h")]])
def test_conn_config_refuses_what_is_no_mapping(wrong: Any) -> None:
    """Anything but a mapping or the value itself is of the wrong type."""
    with pytest.raises(TypeError, match="conn_cfg must be a mapping") as caught:
        ConnConfig.of(wrong, path=False)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "::1", "fe80::1%eth0", "0.0.0.0", "bücher.example"])
def test_conn_config_takes_names_and_addresses(host: str) -> None:
    """Names, IPv4 and IPv6 addresses, zones included, are hosts."""
    assert ConnConfig(host, 1).host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        " h",
        "h/x",
        "http://h",
        "h?",
        "h#",
        "u@h",
        "[::1]",
        "h\n",
        "h\0",
        "h:80",
        "::g",
        "a" * 64 + ".example",
    ],
)
def test_conn_config_refuses_wrong_hosts(host: str) -> None:
    """A host that could never be connected to is refused at once, and shown."""
    with pytest.raises(ValueError, match="conn_cfg host") as caught:
        ConnConfig(host, 80)
    assert repr(host) in str(caught.value)


@pytest.mark.parametrize("port", [0, 65535, "0", "8080", "00080"])
def test_conn_config_takes_ports_as_numbers_and_digits(port: Any) -> None:
    """Ports may come from a command line or the environment."""
    assert ConnConfig("h", port).port == int(port)


@pytest.mark.parametrize("port", [-1, 65536, "65536", "", "http", "-1", "8 0", "٣", "1.0"])
def test_conn_config_refuses_ports_out_of_range(port: Any) -> None:
    """A port that does not exist is a wrong value."""
    with pytest.raises(ValueError, match="conn_cfg port") as caught:
        ConnConfig("h", port)
    assert str(port) in str(caught.value)


@pytest.mark.parametrize("port", [None, 80.0, True, b"80"])
def test_conn_config_refuses_ports_of_the_wrong_type(port: Any) -> None:
    """A port is an int or a numeric string; a bool is neither."""
    with pytest.raises(TypeError, match="conn_cfg port") as caught:
        ConnConfig("h", port)
    assert repr(port) in str(caught.value)


@pytest.mark.parametrize("path", ["", "chat", "?a", "/a b", "/a#b", "/ä", "/a\r\nX: y"])
def test_conn_config_refuses_wrong_paths(path: str) -> None:
    """A path begins with a slash and is as it travels in a request."""
    with pytest.raises(ValueError, match="conn_cfg path") as caught:
        ConnConfig("h", 1, path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "config"),
    [("host", ConnConfig), ("path", ConnConfig)],
)
def test_conn_config_refuses_other_types(key: str, config: type[ConnConfig]) -> None:
    """Host and path are strings."""
    values: dict[str, Any] = {"host": "h", "port": 1, "path": "/", key: b"/x"}
    with pytest.raises(TypeError, match=f"conn_cfg {key} must be a str, got b'/x'"):
        config(**values)


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("ws://h", ConnConfig("h", 80, "/")),
        ("wss://h", ConnConfig("h", 443, "/")),
        ("ws://h:8080/a/b?x=1&y=2", ConnConfig("h", 8080, "/a/b?x=1&y=2")),
        ("ws://h?x=1", ConnConfig("h", 80, "/?x=1")),
        ("ws://[::1]:9/", ConnConfig("::1", 9, "/")),
        ("ws://h:0/", ConnConfig("h", 0, "/")),
    ],
)
def test_conn_config_from_url(url: str, config: ConnConfig) -> None:
    """A URL says the same as host, port and path; port 0 is not the default port."""
    assert ConnConfig.from_url(url) == config


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "h:80",
        "ws:///path",
        "",
        "ws://h:99999/",
        "ws://h:port/",
        "ws://[::1/",
        "ws://user:secret@h/",
        "ws://h/#part",
    ],
)
def test_conn_config_from_url_refuses_what_it_would_drop(url: str) -> None:
    """Other schemes, ports that are none, and parts that would be ignored are errors."""
    with pytest.raises(ValueError, match="url") as caught:
        ConnConfig.from_url(url)
    assert repr(url) in str(caught.value)


@given(
    host=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
    port=st.integers(0, 65535),
    path=st.from_regex(r"/[a-z0-9/%]{0,20}(\?[a-z=&]{1,9})?", fullmatch=True),
)
def test_conn_config_from_url_reads_what_was_written(host: str, port: int, path: str) -> None:
    """Host, port and target come back out of the URL that they make."""
    assert ConnConfig.from_url(f"ws://{host}:{port}{path}") == ConnConfig(host, port, path)


# ── numbers, in all values ────────────────────────────────────────────────────────────────

Make = Callable[[Any], object]

DURATIONS: dict[str, Make] = {
    "ping_interval": lambda value: check_keepalive(value, 1.0),
    "ping_timeout": lambda value: check_keepalive(1.0, value),
    "conn_retry_timeout": check_retry_timeout,
    "Retry.initial": lambda value: Retry(initial=value),
    "Retry.maximum": lambda value: Retry(maximum=value),
    "Retry.stable_after": lambda value: Retry(stable_after=value),
    "Timeouts.open": lambda value: Timeouts(open=value),
    "Timeouts.close": lambda value: Timeouts(close=value),
    "Timeouts.exit": lambda value: Timeouts(exit=value),
    "Overflow.timeout": Overflow.block,
    "Limits.slow_callback": lambda value: Limits(slow_callback=value),
    "Buffer.max_age": lambda value: Buffer(max_age=value),
}
OPTIONAL_DURATIONS = {
    "Buffer.max_age",
    "ping_interval",
    "ping_timeout",
    "Retry.initial",
    "Timeouts.open",
    "Overflow.timeout",
    "Limits.slow_callback",
}


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
def test_durations_refuse_wrong_values(key: str, value: float) -> None:
    """Negative, NaN and infinite durations are wrong values, by key and value."""
    with pytest.raises(ValueError, match=re.escape(f"{key} must be")) as caught:
        DURATIONS[key](value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", ["1", True, [], 1j])
def test_durations_refuse_wrong_types(key: str, value: Any) -> None:
    """A duration is an int or a float."""
    with pytest.raises(TypeError, match=re.escape(f"{key} must be a number")) as caught:
        DURATIONS[key](value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("key", DURATIONS)
def test_durations_take_ints_and_floats(key: str) -> None:
    """Half a second and three seconds are durations."""
    DURATIONS[key](0.5)
    DURATIONS[key](3)


@pytest.mark.parametrize("key", DURATIONS)
def test_durations_take_none_where_there_need_be_none(key: str) -> None:
    """``None`` is for durations that are optional, and for no other."""
    if key in OPTIONAL_DURATIONS:
        DURATIONS[key](None)
    else:
        with pytest.raises(TypeError, match=re.escape(key)):
            DURATIONS[key](None)


@pytest.mark.parametrize("key", sorted(set(DURATIONS) - {"ping_interval"}))
def test_durations_take_zero(key: str) -> None:
    """No time at all is a duration."""
    DURATIONS[key](0)


def test_ping_interval_refuses_zero() -> None:
    """Pings without a pause are refused; ``None`` is how to have none."""
    with pytest.raises(ValueError, match="ping_interval must be more than 0, or None, got 0"):
        check_keepalive(0, 1.0)


COUNTS: dict[str, Make] = {
    "Buffer.max_messages": lambda value: Buffer(max_messages=value),
    "Buffer.max_bytes": lambda value: Buffer(max_bytes=value),
    "Limits.max_message_size": lambda value: Limits(max_message_size=value),
    "Limits.max_connections": lambda value: Limits(max_connections=value),
    "Limits.max_connections_per_address": lambda value: Limits(max_connections_per_address=value),
    "Limits.max_undelivered": lambda value: Limits(max_undelivered=value),
    "Retry.limit": lambda value: Retry(limit=value),
}
OPTIONAL_COUNTS = {
    "Limits.max_message_size",
    "Limits.max_connections",
    "Limits.max_connections_per_address",
    "Retry.limit",
}


@pytest.mark.parametrize("key", COUNTS)
def test_counts_refuse_wrong_values(key: str) -> None:
    """A limit of less than one, or of minus one retry, is a wrong value."""
    least = 0 if key == "Retry.limit" else 1
    COUNTS[key](least)
    with pytest.raises(ValueError, match=re.escape(f"{key} must be at least {least}, got ")):
        COUNTS[key](least - 1)


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", [1.0, "1", True])
def test_counts_refuse_wrong_types(key: str, value: Any) -> None:
    """A count is an int."""
    with pytest.raises(TypeError, match=re.escape(f"{key} must be an int, got {value!r}")):
        COUNTS[key](value)


@pytest.mark.parametrize("key", COUNTS)
def test_counts_take_none_for_no_limit(key: str) -> None:
    """``None`` is no limit, but buffers always have one."""
    if key in OPTIONAL_COUNTS:
        COUNTS[key](None)
    else:
        with pytest.raises(TypeError, match=re.escape(key)):
            COUNTS[key](None)


# ── retry ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("factor", [0.5, 0, -2.0, math.nan])
def test_retry_factor_never_shrinks_delays(factor: float) -> None:
    """Delays that get shorter are no backoff."""
    with pytest.raises(ValueError, match=r"Retry\.factor must be at least 1"):
        Retry(factor=factor)


def test_retry_factor_may_be_one() -> None:
    """A factor of one is a constant delay."""
    assert Retry(factor=1).factor == 1


@pytest.mark.parametrize("jitter", [-0.1, 1.1, math.nan])
def test_retry_jitter_is_a_share(jitter: float) -> None:
    """Jitter is a share of the delay."""
    with pytest.raises(ValueError, match=r"Retry\.jitter"):
        Retry(jitter=jitter)
    assert [Retry(jitter=edge).jitter for edge in (0, 1)] == [0, 1]


@pytest.mark.parametrize("key", ["fatal_codes", "fatal_statuses"])
def test_retry_codes_are_copied(key: str) -> None:
    """Codes may come in any collection, and are not changed from outside afterwards."""
    codes = [4000, 4001]
    made = getattr(Retry(**{key: codes}), key)  # type: ignore[arg-type]  # either key takes them
    codes.clear()
    assert made == frozenset({4000, 4001})


@pytest.mark.parametrize("key", ["fatal_codes", "fatal_statuses"])
@pytest.mark.parametrize("value", [1008, "1008", ["1008"], [None], None])
def test_retry_refuses_codes_that_are_none(key: str, value: Any) -> None:
    """A code that could never match is refused, by key, rather than passed over."""
    with pytest.raises(TypeError, match=re.escape(f"Retry.{key}")):
        Retry(**{key: value})


# ── buffers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", OnFull)
def test_overflow_of_takes_names(policy: OnFull) -> None:
    """Each policy has a name, which stands for it with its defaults."""
    assert Overflow.of(policy.value).on_full is policy
    assert Overflow.of(policy.value) == getattr(Overflow, policy.value)()


def test_overflow_of_passes_its_own_kind_through() -> None:
    """A policy is taken as it is."""
    policy = Overflow.latest(len)
    assert Overflow.of(policy) is policy
    assert (policy.on_full, policy.key) == (OnFull.LATEST, len)


@pytest.mark.parametrize("wrong", ["dorp", "of", "BLOCK", 5, None, OnFull.BLOCK])
def test_overflow_of_refuses_unknown_names(wrong: Any) -> None:
    """A name that is no policy is refused, with those that are."""
    with pytest.raises(ValueError, match="overflow must be an Overflow or one of") as caught:
        Overflow.of(wrong)
    assert repr(wrong) in str(caught.value)
    assert "drop_oldest" in str(caught.value)


def test_overflow_refuses_a_policy_that_is_none() -> None:
    """A name where a policy is due would lose every message later: it is refused now."""
    with pytest.raises(TypeError, match=r"Overflow\.on_full must be an OnFull, got 'block'"):
        Overflow("block")  # type: ignore[arg-type]  # the point of the test


def test_overflow_latest_refuses_a_key_that_is_none() -> None:
    """A key is a function."""
    with pytest.raises(TypeError, match=r"Overflow\.key must be callable, got 'symbol'"):
        Overflow.latest("symbol")  # type: ignore[arg-type]  # the point of the test


def test_overflow_block_waits_ten_seconds_by_default() -> None:
    """``block`` does not wait for ever unless it is asked to."""
    assert Overflow.block().timeout == 10.0
    assert Overflow.block(None).timeout is None


def test_buffer_takes_the_name_of_a_policy() -> None:
    """The short form in a buffer means the policy."""
    assert Buffer(overflow="latest").overflow == Overflow.latest()  # type: ignore[arg-type]  # as users may write it
    assert Buffer().overflow == Overflow.block()


# ── who ───────────────────────────────────────────────────────────────────────────────────


def test_security_origins_are_kept() -> None:
    """Strings, patterns and ``None`` are origins, in any sequence."""
    pattern = re.compile("https://.*")
    origins: Any = ["https://a", pattern, None]
    assert Security(origins=origins).origins == ("https://a", pattern, None)
    assert Security().origins is None


@pytest.mark.parametrize(
    "origins", ["https://a", 5, [5], [b"https://a"], [re.compile(b"x")], re.compile("x")]
)
def test_security_refuses_origins_that_are_none(origins: Any) -> None:
    """A string alone, or what cannot match, would shut out or break every request."""
    with pytest.raises(TypeError, match=r"Security\.origins"):
        Security(origins=origins)


def test_security_refuses_an_authenticator_that_cannot_be_called() -> None:
    """An authenticator is a function."""
    with pytest.raises(TypeError, match=r"Security\.authenticate must be callable, got 'ada'"):
        Security(authenticate="ada")  # type: ignore[arg-type]  # the point of the test


def test_security_health_path() -> None:
    """The health path is a path, or none."""
    assert Security().health_path == "/healthz"
    assert Security(health_path=None).health_path is None
    with pytest.raises(ValueError, match=r"Security\.health_path must begin with '/', got 'up'"):
        Security(health_path="up")
    with pytest.raises(TypeError, match=r"Security\.health_path must be a str or None, got b'/up'"):
        Security(health_path=b"/up")  # type: ignore[arg-type]  # the point of the test


def test_handshake_makes_headers() -> None:
    """Headers may be written as a mapping or as pairs; a function is kept to be asked."""

    def fresh() -> dict[str, str]:
        return {}

    assert Handshake(headers={"A": "1"}).headers == Headers([("A", "1")])
    assert Handshake().headers == Headers()
    assert Handshake(headers=fresh).headers is fresh


def test_handshake_keeps_repeated_headers() -> None:
    """Headers given as such go out as they were given, names and repetitions included."""
    headers = Handshake(headers=Headers([("X-A", "1"), ("X-A", "2")])).headers
    assert isinstance(headers, Headers)
    assert headers.raw_items() == (("X-A", "1"), ("X-A", "2"))


def test_handshake_takes_one_kind_of_credentials() -> None:
    """Token and password together cannot both be sent."""
    Handshake(token=lambda: "fresh")
    Handshake(token="t", origin="https://a")
    Handshake(basic_auth=("user", "pass:word"))
    with pytest.raises(ValueError, match="token or basic_auth, not both"):
        Handshake(token="t", basic_auth=("user", "password"))


@pytest.mark.parametrize(
    "credentials", ["user:password", "ab", ("user",), ("u", "p", "x"), ("user", 5), ["u", "p"]]
)
def test_handshake_refuses_credentials_that_are_none(credentials: Any) -> None:
    """Credentials are a user and a password; they are not shown."""
    with pytest.raises(TypeError, match=r"Handshake\.basic_auth must be a tuple") as caught:
        Handshake(basic_auth=credentials)
    assert "password'" not in str(caught.value)


def test_handshake_refuses_a_user_with_a_colon() -> None:
    """RFC 7617 has no way to send one: the server would read another user."""
    with pytest.raises(ValueError, match=r"Handshake\.basic_auth user must not have a ':'"):
        Handshake(basic_auth=("a:b", "password"))


def test_handshake_refuses_other_types() -> None:
    """Token and origin are strings, and a token is not shown."""
    with pytest.raises(TypeError, match=r"Handshake\.token must be .*, got a bytes$"):
        Handshake(token=b"secret")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError, match=r"Handshake\.origin must be a str or None, got 5"):
        Handshake(origin=5)  # type: ignore[arg-type]  # the point of the test


def test_handshake_does_not_show_secrets() -> None:
    """What is printed into a log holds neither token nor password."""
    assert "s3cret" not in repr(Handshake(token="s3cret"))
    assert "s3cret" not in repr(Handshake(basic_auth=("user", "s3cret")))
    assert "s3cret" not in repr(Handshake(headers={"Authorization": "s3cret"}))


# ── TLS ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [None, False])
def test_tls_of_nothing_is_a_plain_connection(value: Any) -> None:
    """``None`` and ``False`` are no TLS."""
    assert TLS.of(value) is None


def test_tls_of_true_verifies() -> None:
    """``True`` verifies certificate and host name, with the system's certificates."""
    tls = TLS.of(True)
    assert tls is not None
    assert tls.context is not None
    assert tls.context.verify_mode is ssl.CERT_REQUIRED
    assert tls.context.check_hostname


def test_tls_of_a_context() -> None:
    """A context is used as it is."""
    context = ssl.create_default_context()
    assert TLS.of(context) == TLS(context=context)


def test_tls_of_a_value_without_context_verifies() -> None:
    """A host name alone does not switch verification off."""
    tls = TLS.of(TLS(server_hostname="example.org"))
    assert tls is not None
    assert tls.server_hostname == "example.org"
    assert tls.context is not None
    assert tls.context.verify_mode is ssl.CERT_REQUIRED
    given_context = ssl.create_default_context()
    again = TLS.of(TLS(context=given_context))
    assert again is not None
    assert again.context is given_context


@pytest.mark.parametrize("value", ["yes", 0, 1])
def test_tls_of_refuses_other_types(value: Any) -> None:
    """What is not TLS is refused, by value."""
    with pytest.raises(TypeError, match=f"tls must be .*, got {value!r}"):
        TLS.of(value)


def test_tls_refuses_wrong_parts() -> None:
    """Context and host name are checked when the value is made."""
    with pytest.raises(TypeError, match=r"TLS\.context must be an ssl.SSLContext or None"):
        TLS(context="pem")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError, match=r"TLS\.server_hostname must be a str or None, got b'h'"):
        TLS(server_hostname=b"h")  # type: ignore[arg-type]  # the point of the test


def test_tls_refuses_a_servers_context() -> None:
    """A context for servers would fail at each attempt to connect: it is refused now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match=r"TLS\.context must be a client's"):
        TLS.of(context)


@pytest.mark.parametrize("value", ["gzip", True, 1, []])
def test_compression_refuses_what_is_not_known(value: Any) -> None:
    """There is one compression, and there is none."""
    check_compression(None)
    check_compression("deflate")
    with pytest.raises(ValueError, match="compression must be None or 'deflate'"):
        check_compression(value)
