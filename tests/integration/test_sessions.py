"""Sessions over real sockets: connections that break in a burst, and peers that are not ours."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

import pytest
from helpers import (
    HOST,
    LIMIT,
    SOON,
    Collector,
    client_of,
    data_of,
    in_state,
    in_threads,
    repeat_until,
    scheduling,
    serving,
)
from helpers import each_transport as each_transport
from helpers import nothing_left as nothing_left
from websockets.sync.client import ClientConnection, connect

from rxplus import ConnectionStatus, Delivery, RxWSClient, RxWSServer, TaggedData

ACKNOWLEDGED = Delivery.acknowledged(ack_messages=50)


def break_connection(client: RxWSClient) -> None:
    """Drop the client's connection as a broken network does."""

    def abort() -> None:
        session = client._supervisor._session
        if session is not None:
            session.connection.abort()

    client._hub.lease.call_soon(abort)


def wait_connected(states: Collector[ConnectionStatus], times: int) -> None:
    """Wait until a client has been connected so often."""
    states.wait_until(lambda values: len(in_state(values, "connected")) >= times)


@pytest.mark.parametrize("size", [64, 16 * 1024])
def test_session_survives_broken_connections_in_a_burst(size: int) -> None:
    """Messages of both directions, and connections that break all the time: all, once, in order."""
    count = 6_000 if size == 64 else 600
    padding = "." * size
    up = [f"up {number} {padding}" for number in range(count)]
    down = [f"down {number} {padding}" for number in range(count)]
    with serving(delivery=ACKNOWLEDGED) as server:
        at_server, peers = Collector(server), Collector(server.connections)
        with client_of(server, "/a", delivery=ACKNOWLEDGED, retry=SOON) as client:
            at_client, states = Collector(client), Collector(client.connection_state)
            losses = Collector(client.losses), Collector(server.losses)
            peers.wait_for_at_least(1)

            def send_up() -> None:
                for message in up:
                    client.on_next(message)

            def send_down() -> None:
                for index, message in enumerate(down):
                    # Some to the path, some to the one who is on it.
                    if index % 2:
                        server.on_next(TaggedData("/a", message))
                    else:
                        server.peers[0].on_next(message)

            with in_threads(send_up, send_down):
                for breaks in range(10):
                    wait_connected(states, breaks + 1)
                    break_connection(client)
            assert data_of(at_server.wait_for_at_least(count)) == up
            assert at_client.wait_for_at_least(count) == down
            resumed = [one.resumed for one in in_state(states.values, "connected")]
            assert set(resumed[1:]) == {True}
            assert len(peers.values) == 1
            assert [one.values for one in losses] == [[], []]


def test_session_is_acknowledged_from_a_scheduler() -> None:
    """Subscribers on another thread acknowledge too, over a break, and closing waits for them."""
    with (
        scheduling() as scheduler,
        serving(delivery=ACKNOWLEDGED, scheduler=scheduler) as server,
    ):
        values = Collector(server)
        with client_of(server, "/a", delivery=ACKNOWLEDGED, retry=SOON) as client:
            assert client.wait_connected(LIMIT)
            for number in range(1_000):
                client.on_next(str(number))
            break_connection(client)
            assert data_of(values.wait_for_at_least(1_000)) == [str(n) for n in range(1_000)]
            continuity = client._supervisor.continuity
            assert continuity is not None
            assert client.close()
            assert continuity.idle


class Foreign:
    """A client that was written from docs/protocol.md, with another library."""

    def __init__(self, server: RxWSServer, path: str = "/a") -> None:
        self.url = f"ws://{HOST}:{server.port}{path}"
        self.session: str | None = None
        self.epoch = 0
        self.received: list[str] = []
        self.acked = 0
        self.sent: list[str] = []
        self.connection: ClientConnection
        self._open = contextlib.ExitStack()

    def connect(self) -> None:
        """Open a connection, and go on with the session."""
        # Without pings of its own: nobody waits for the thread that sends them.
        offer = connect(self.url, subprotocols=["rxplus.v1"], ping_interval=None)  # type: ignore[list-item]  # a str
        self.connection = self._open.enter_context(offer)
        assert self.connection.subprotocol == "rxplus.v1"
        self.epoch += 1
        self.control(
            type="hello",
            session=self.session,
            epoch=self.epoch,
            received=len(self.received),
            first=self.acked + 1,
            next=len(self.sent) + 1,
            expiry=60,
        )
        welcome = self.read_control("welcome")
        assert welcome["resumed"] is (self.session is not None)
        self.session = welcome["session"]
        self.control(type="seq", next=welcome["received"] + 1)
        for message in self.sent[welcome["received"] :]:
            self.connection.send(message)
        assert self.read_control("seq") == {"type": "seq", "next": len(self.received) + 1}

    def control(self, **fields: Any) -> None:
        """Send a control message."""
        self.connection.send("\0" + json.dumps(fields))

    def send(self, message: str, *, arrives: bool = True) -> None:
        """Send a message, which needs no escape; or lose it on the way."""
        self.sent.append(message)
        if arrives:
            self.connection.send(message)

    def read(self) -> dict[str, Any] | None:
        """Read one message: take it when it is data, return it when it is control."""
        text = self.connection.recv(LIMIT)
        assert isinstance(text, str)
        if not text.startswith("\0"):
            self.received.append(text)
            return None
        fields: dict[str, Any] = json.loads(text[1:])
        if fields["type"] == "ack":
            self.acked = fields["number"]
        return fields

    def read_control(self, kind: str) -> dict[str, Any]:
        """Read until a control message of a kind comes."""
        while (fields := self.read()) is None or fields["type"] != kind:
            pass
        return fields

    def drop(self) -> None:
        """Break the connection."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._open.close()


def test_session_with_a_client_that_is_not_ours() -> None:
    """What the specification says is enough to take part."""
    with serving(delivery=ACKNOWLEDGED) as server:
        values = Collector(server)
        foreign = Foreign(server)
        foreign.connect()
        foreign.send("one")
        foreign.send("two")
        foreign.control(type="sync")
        repeat_until(lambda: foreign.acked == 2, foreign.read)
        (peer,) = server.peers
        peer.on_next("for you")
        repeat_until(lambda: foreign.received, foreign.read)
        foreign.control(type="ack", number=1)
        foreign.send("three", arrives=False)
        foreign.drop()
        peer.on_next("while you were away")
        foreign.connect()
        repeat_until(lambda: len(foreign.received) == 2, foreign.read)
        assert foreign.received == ["for you", "while you were away"]
        assert data_of(values.wait_for_count(3)) == ["one", "two", "three"]
        foreign.close()


def test_session_beside_a_plain_client() -> None:
    """A client that knows nothing of sessions sees nothing of them."""
    with serving(delivery=ACKNOWLEDGED) as server:
        values, peers = Collector(server), Collector(server.connections)
        with client_of(server, "/a", delivery=ACKNOWLEDGED) as client:
            got = Collector(client)
            assert client.wait_connected(LIMIT)
            with connect(f"ws://{HOST}:{server.port}/a", ping_interval=None) as plain:
                peers.wait_for_count(2)
                assert plain.subprotocol is None
                server.on_next(TaggedData("/a", "to all"))
                assert plain.recv(LIMIT) == "to all"
                got.wait_for("to all")
                plain.send("raw")
                values.wait_for(TaggedData("/a", "raw"))
