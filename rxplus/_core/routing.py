"""Which connections are on which path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from rxplus.datatypes import WSDatatype

__all__ = ["Channel", "Routes", "route_of"]

M = TypeVar("M")


def route_of(target: str) -> str:
    """Return the path that a request target is routed by: without its query.

    Raises:
        TypeError: it is no str.
    """
    try:
        return target.partition("?")[0]
    except (AttributeError, TypeError) as exc:
        # Found out this way, since every message that is sent passes here.
        raise TypeError(f"a path must be a str, got {target!r}") from exc


class Channel(Generic[M]):
    """A path, its datatype, and who is connected on it.

    Args:
        datatype: what its messages are packaged with.
        path: the path, without a query.
    """

    __slots__ = ("datatype", "members", "path")

    def __init__(self, datatype: WSDatatype, path: str = "/") -> None:
        self.datatype = datatype
        self.path = path
        # A dict for its order: members are served in the order in which they came.
        self.members: dict[M, None] = {}

    def __repr__(self) -> str:
        return f"<Channel {self.path} {self.datatype!r} members={len(self.members)}>"


class Routes(Generic[M]):
    """The channels in use. Members come and go on one thread; any thread may look.

    Args:
        datatype_of: makes the datatype of a path; may raise for a path it does not know.
        lock: guards that a path gets one channel, whoever asks.
    """

    def __init__(
        self, datatype_of: Callable[[str], WSDatatype], lock: AbstractContextManager[Any]
    ) -> None:
        self._datatype_of = datatype_of
        self._lock = lock
        self._channels: dict[str, Channel[M]] = {}

    def get(self, path: str) -> Channel[M] | None:
        """Return the channel of a path, if there is one."""
        return self._channels.get(path)

    def datatype_of(self, path: str) -> WSDatatype:
        """Return the datatype of a path, whether or not anybody is on it."""
        channel = self._channels.get(path)
        return self._datatype_of(path) if channel is None else channel.datatype

    def open(self, path: str) -> Channel[M]:
        """Return the channel of a path, making it if need be."""
        channel = self._channels.get(path)
        if channel is not None:
            return channel
        # Made without the lock: it is the user's function that finds the datatype.
        made: Channel[M] = Channel(self._datatype_of(path), path)
        with self._lock:
            return self._channels.setdefault(path, made)

    def join(self, path: str, member: M) -> Channel[M]:
        """Put a member on a path."""
        channel = self.open(path)
        channel.members[member] = None
        return channel

    def leave(self, path: str, member: M) -> None:
        """Take a member off a path; one without members is forgotten."""
        with self._lock:
            channel = self._channels[path]
            del channel.members[member]
            if not channel.members:
                del self._channels[path]

    def prune(self, path: str) -> None:
        """Forget a path that was opened and that nobody is on."""
        with self._lock:
            channel = self._channels.get(path)
            if channel is not None and not channel.members:
                del self._channels[path]

    def __iter__(self) -> Iterator[Channel[M]]:
        with self._lock:
            return iter(list(self._channels.values()))

    def __len__(self) -> int:
        return len(self._channels)
