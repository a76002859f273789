"""Which connections are on which path."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from rxplus import WSDatatype, WSJson, WSStr
from rxplus._core.routing import Channel, Routes, route_of


def routes_of_strings() -> Routes[str]:
    """Make routes whose members are strings."""
    return Routes(lambda path: WSStr(), threading.Lock())


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a?x=1", "/a"),
        ("/a?x=1?y", "/a"),
        ("/?", "/"),
        ("/a/", "/a/"),
    ],
)
def test_route_of_is_the_path_without_the_query(target: str, path: str) -> None:
    """``/a?x=1`` and ``/a`` are one place; a slash at the end makes another."""
    assert route_of(target) == path


@pytest.mark.parametrize("target", [None, 5, b"/a", ["/a"]])
def test_route_of_refuses_what_is_no_text(target: Any) -> None:
    """A tag that is no str is misuse, and the error says which."""
    with pytest.raises(TypeError, match=f"a path must be a str, got {re.escape(repr(target))}"):
        route_of(target)


def test_routes_join_and_leave() -> None:
    """Members are found on their path, in the order in which they came."""
    routes = routes_of_strings()
    channel = routes.join("/a", "one")
    assert routes.join("/a", "two") is channel
    routes.join("/b", "three")
    assert routes.get("/a") is channel
    assert (channel.path, list(channel.members)) == ("/a", ["one", "two"])
    assert [one.path for one in routes] == ["/a", "/b"]
    routes.leave("/a", "one")
    assert list(channel.members) == ["two"]


def test_routes_forget_a_path_without_members() -> None:
    """A path with nobody on it costs no memory; the next to come gets a fresh one."""
    routes = routes_of_strings()
    first = routes.join("/a", "one")
    routes.leave("/a", "one")
    assert (len(routes), routes.get("/a"), list(routes)) == (0, None, [])
    assert routes.join("/a", "one") is not first


def test_routes_open_makes_one_channel() -> None:
    """Whoever asks for a path first makes its channel, and all get the same."""
    routes = routes_of_strings()
    channel = routes.open("/a")
    assert routes.open("/a") is channel
    assert routes.join("/a", "one") is channel
    assert len(routes) == 1


def test_routes_open_races_to_one_channel() -> None:
    """When another thread opens the path in between, both get the same channel."""
    others: list[Channel[str]] = []

    def datatype_of(path: str) -> WSDatatype:
        if not others:  # The other thread comes just now, and is done before this one.
            others.append(Channel(WSStr()))
            others[0] = routes.open(path)
        return WSStr()

    routes: Routes[str] = Routes(datatype_of, threading.Lock())
    assert routes.open("/a") is others[0]
    assert len(routes) == 1


def test_routes_ask_for_a_datatype_without_holding_the_lock() -> None:
    """The user's function may look at the server that asks it."""
    seen: list[int] = []

    def datatype_of(path: str) -> WSDatatype:
        assert not lock.locked()
        seen.append(len(list(routes)))
        return WSStr()

    lock = threading.Lock()
    routes: Routes[str] = Routes(datatype_of, lock)
    routes.open("/a")
    assert seen == [0]


def test_routes_datatype_of_a_path() -> None:
    """A path has one datatype while anybody is on it; asking makes no channel."""
    made: list[str] = []

    def datatype_of(path: str) -> WSDatatype:
        made.append(path)
        return WSJson()

    routes: Routes[str] = Routes(datatype_of, threading.Lock())
    assert isinstance(routes.datatype_of("/a"), WSJson)
    assert len(routes) == 0
    channel = routes.join("/a", "one")
    assert routes.datatype_of("/a") is channel.datatype
    assert made == ["/a", "/a"]


def test_routes_unknown_path() -> None:
    """What the user's function raises comes out, and leaves nothing behind."""

    def datatype_of(path: str) -> WSDatatype:
        raise LookupError(path)

    routes: Routes[str] = Routes(datatype_of, threading.Lock())
    for ask in (routes.open, routes.datatype_of):
        with pytest.raises(LookupError, match="/nowhere"):
            ask("/nowhere")
    assert len(routes) == 0


def test_routes_may_change_while_they_are_looked_at() -> None:
    """A look at the paths is a snapshot."""
    routes = routes_of_strings()
    routes.join("/a", "one")
    routes.join("/b", "two")
    for channel in routes:
        routes.leave(channel.path, next(iter(channel.members)))
    assert len(routes) == 0


def test_channel_shows_path_datatype_and_size() -> None:
    """A channel can be read in a log; the plan's constructor needs the datatype only."""
    channel: Channel[str] = Channel(datatype=WSStr())
    channel.members["one"] = None
    assert repr(channel) == "<Channel / WSStr() members=1>"
