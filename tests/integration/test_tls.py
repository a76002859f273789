"""wss on both sides, with verification on."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    RawPeer,
    client_of,
    data_of,
    in_state,
    joined,
    serving,
)
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left

from rxplus import (
    TLS,
    CertificateError,
    ConnectError,
    Retry,
    RxException,
    RxWSClientGroup,
    TaggedData,
)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority of the tests' own."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    """What a server proves with that it is 127.0.0.1, and robot.example too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST, "robot.example").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(ca: trustme.CA) -> ssl.SSLContext:
    """What a client verifies that with."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def failure(error: object) -> BaseException:
    """Return the exception in an RxException."""
    assert isinstance(error, RxException)
    return error.exception


def test_wss_roundtrip(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Messages, large ones too, arrive in order both ways over TLS; the peer's address is known."""
    values = [bytes([number]) * (2**20 if number % 10 == 0 else 10) for number in range(40)]
    with serving("bytes", tls=server_tls) as server:
        at_server = Collector(server)
        with joined(server, "/a", "bytes", tls=client_tls) as (client, peer):
            at_client = Collector(client)
            for value in values:
                client.on_next(value)
                server.on_next(TaggedData("/a", value))
            assert data_of(at_server.wait_for_count(40)) == values
            assert at_client.wait_for_count(40) == values
            assert peer.remote_address is not None


def test_wss_server_hostname(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The certificate is compared with server_hostname when it is given."""
    with serving(tls=server_tls) as server:
        robot = TLS(context=client_tls, server_hostname="robot.example")
        with joined(server, tls=robot) as (client, _):
            assert client.connected
        other = TLS(context=client_tls, server_hostname="other.example")
        with client_of(server, tls=other, retry=SOON) as client:
            assert isinstance(failure(Collector(client).wait_ended()), CertificateError)


@pytest.mark.parametrize("tls", [True, TLS()])
def test_wss_unknown_authority(server_tls: ssl.SSLContext, tls: TLS | bool) -> None:
    """A certificate that nobody vouches for ends the client at the first attempt."""
    with serving(tls=server_tls) as server:
        errors = Collector(server.errors)
        with client_of(server, tls=tls, retry=SOON) as client:
            states = Collector(client.connection_state)
            error = failure(Collector(client).wait_ended())
            assert isinstance(error, CertificateError)
            assert "certificate verify failed" in str(error)
            assert states.wait_ended() is None
            assert "reconnecting" not in states.values
        assert errors.values == []
        assert server.health().connections_opened == 0


def test_wss_true_trusts_the_system(
    ca: trustme.CA,
    server_tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``tls=True`` verifies with the certificates that the system trusts."""
    trusted = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with serving(tls=server_tls) as server, joined(server, tls=True) as (client, _):
        assert client.connected


def test_wss_group(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """All paths of a group use the group's TLS."""
    with serving(tls=server_tls) as server:
        server.subscribe(server.on_next)
        with RxWSClientGroup(
            {"host": HOST, "port": server.port}, buffer_while_disconnected=True, tls=client_tls
        ) as group:
            received = Collector(group)
            for number in range(30):
                group.on_next(TaggedData(f"/{number % 3}", str(number)))
            assert sorted(int(data) for data in data_of(received.wait_for_count(30))) == list(
                range(30)
            )


def test_wss_client_of_another_authority_does_not_disturb(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Clients that break off the TLS handshake, or do not begin it, leave the others alone."""
    with serving(tls=server_tls) as server:
        received = Collector(server)
        with joined(server, tls=client_tls) as (client, _):
            for _attempt in range(5):
                with client_of(server, tls=True) as stranger:
                    failure(Collector(stranger).wait_ended())
            with RawPeer(server) as raw:
                raw.request()
                raw.read_to_end()
            client.on_next("still here")
            assert data_of(received.wait_for_count(1)) == ["still here"]


def test_plain_client_of_a_wss_server(server_tls: ssl.SSLContext) -> None:
    """A client that forgot TLS cannot connect, and tries again up to its limit."""
    with (
        serving(tls=server_tls) as server,
        client_of(server, retry=Retry(initial=0.001, limit=1)) as client,
    ):
        assert isinstance(failure(Collector(client).wait_ended()), ConnectError)


def test_wss_reconnect_and_close(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """A wss client comes back after a restart, and gets the close code over TLS too."""
    with serving(tls=server_tls) as first:
        port = first.port
        client = client_of(port, tls=client_tls, retry=SOON)
        states = Collector(client.connection_state)
        assert client.wait_connected(LIMIT)
    with client:
        states.wait_for("disconnected")
        (gone,) = in_state(states.values, "disconnected")[:1]
        assert gone.code == 1001
        with serving(port=port, tls=server_tls):
            states.wait_until(lambda values: len(in_state(values, "connected")) == 2)
