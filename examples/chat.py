"""A chat: each path is a room, and whoever connects to a path hears what is said there.

It shows a server that sends what arrives on a path back to everyone on it, and
clients that are streams: composed with operators, and waited for with a limit.

Run it with ``python examples/chat.py``; it ends by itself.
"""

from __future__ import annotations

from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import TimeoutScheduler
from reactivex.subject import ReplaySubject

from rxplus import RxWSClient, RxWSServer

Line = dict[str, str]
"""What travels: ``{"from": "alice", "text": "hello"}``."""

NEVER_CAME: Observable[Any] = reactivex.throw(TimeoutError("nobody says anything"))


def serve() -> RxWSServer:
    """Start a server on a free port that repeats what is said to everyone in the room."""
    server = RxWSServer({"host": "127.0.0.1", "port": 0}, "json")
    # What arrives is tagged with its path, and what is sent goes to the path of its tag.
    server.subscribe(server.on_next)
    return server


class Guest:
    """Somebody in a room."""

    def __init__(self, name: str, room: str, port: int) -> None:
        self.name = name
        self.client = RxWSClient({"host": "127.0.0.1", "port": port, "path": room}, "json")
        # Remembers what was heard, for whoever subscribes later.
        self.heard: ReplaySubject[Line] = ReplaySubject()
        self.client.subscribe(self.heard)

    def say(self, text: str) -> None:
        """Say something to everyone in the room, oneself included."""
        self.client.on_next({"from": self.name, "text": text})

    def transcript(self, lines: int) -> Observable[list[str]]:
        """Give the first ``lines`` that were heard; it is an error when they do not come."""
        return self.heard.pipe(
            ops.map(_written),
            ops.take(lines),
            ops.to_list(),
            ops.timeout(10.0, NEVER_CAME, TimeoutScheduler.singleton()),
        )


def _written(line: Line) -> str:
    return f"{line['from']}: {line['text']}"


def main() -> dict[str, list[str]]:
    """Let three guests talk in two rooms.

    Returns:
        What each of them heard.
    """
    with serve() as server:
        alice = Guest("alice", "/python", server.port)
        bob = Guest("bob", "/python", server.port)
        carol = Guest("carol", "/gardening", server.port)
        with alice.client, bob.client, carol.client:
            for guest in (alice, bob, carol):
                # What is said before they are in the room, they do not hear.
                if not guest.client.wait_connected(10.0):
                    raise TimeoutError(f"{guest.name} cannot connect")
            alice.say("anyone here?")
            alice.transcript(1).run()
            bob.transcript(1).run()
            bob.say("hello alice!")
            carol.say("my tomatoes are red")
            heard = reactivex.zip(alice.transcript(2), bob.transcript(2), carol.transcript(1)).run()
    return dict(zip(("alice", "bob", "carol"), heard, strict=True))


if __name__ == "__main__":
    for name, lines in main().items():
        print(f"{name} heard:", *lines, sep="\n    ")
