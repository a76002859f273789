"""Helpers for sessions: a peer that speaks the protocol by hand."""

from __future__ import annotations

from typing import Any

from world import World

from rxplus import ClientEndpoint, CloseInfo, Connection, Headers, Payload, RxWSServer
from rxplus._core.protocol.control import Control, Hello, decode, encode

__all__ = ["Hand", "hello"]


def hello(session: str | None = None, **fields: Any) -> Hello:
    """Make the first message of a client, by default of one that is new."""
    given = {"epoch": 1, "received": 0, "first": 1, "next": 1, "expiry": 60.0, **fields}
    return Hello(session, **given)


class Hand:
    """A client whose every message is said by the test, and what it has heard."""

    def __init__(
        self,
        world: World,
        server: RxWSServer | int,
        *,
        path: str = "/a",
        subprotocols: tuple[str, ...] = ("rxplus.v1",),
        headers: dict[str, str] | None = None,
    ) -> None:
        port = server if isinstance(server, int) else server.port
        self.world = world
        self.heard: list[Payload] = []
        self.end: CloseInfo | None = None
        self.connection: Connection = world.sim.run(
            world.sim.transport.connect(
                ClientEndpoint(
                    host="127.0.0.1",
                    port=port,
                    target=path,
                    subprotocols=subprotocols,
                    headers=Headers(headers or {}),
                )
            )
        )
        world.on_loop(lambda: self.connection.start(self))
        world.settle()

    def on_message(self, message: Payload) -> None:
        """Hear a message."""
        self.heard.append(message)

    def on_writable(self) -> None:
        """Nothing waits here."""

    def on_closed(self, info: CloseInfo) -> None:
        """Hear of the end."""
        self.end = info

    def say(self, *messages: Control | str | bytes) -> None:
        """Say something, and wait for what comes of it."""
        texts = [one if isinstance(one, (str, bytes)) else encode(one) for one in messages]
        self.world.on_loop(lambda: self.connection.send(texts))
        self.world.settle()

    def controls(self) -> list[Control | None]:
        """Return the control messages that were heard since the last call."""
        heard, self.heard = self.heard, []
        return [decode(one) for one in heard if isinstance(one, str) and one[:1] == "\0"]

    def drop(self) -> None:
        """Break the connection."""
        self.world.on_loop(self.connection.abort)
        self.world.settle()
