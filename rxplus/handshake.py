"""What the two sides exchange in the opening handshake, as values (RFC 6455, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Address", "Headers", "HeadersLike", "Request", "Response"]

Address: TypeAlias = tuple[str, int]
"""``(host, port)`` of one end of a connection."""


class Headers(Mapping[str, str]):
    """HTTP headers: immutable, case-insensitive, with repeated names kept.

    ``headers["Name"]`` is the value, or all values joined by ``", "`` (RFC 9110,
    section 5.2) when the name occurs more than once.
    """

    __slots__ = ("_items",)

    def __init__(self, items: HeadersLike = ()) -> None:
        if isinstance(items, Headers):
            # As they were given: as a mapping it has each name once, in lower case.
            items = items.raw_items()
        pairs = items.items() if isinstance(items, Mapping) else items
        self._items = tuple((str(name), str(value)) for name, value in pairs)

    def get_all(self, name: str) -> list[str]:
        """Return every value of ``name``, in order; empty when there is none."""
        wanted = name.lower()
        return [value for key, value in self._items if key.lower() == wanted]

    def raw_items(self) -> tuple[tuple[str, str], ...]:
        """Return the ``(name, value)`` pairs as they were given."""
        return self._items

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._items))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._items})

    def __repr__(self) -> str:
        return f"Headers({list(self._items)!r})"


HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""What can be made into :class:`Headers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A client's request to open a connection.

    Attributes:
        path: the path, percent-encoded as sent, without the query.
        query: what followed the ``?``; empty when there was none.
        headers: the request's headers.
        remote_address: the client's ``(host, port)``; ``None`` when the transport has none.
        secure: whether it came over TLS.
    """

    path: str
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    remote_address: Address | None = None
    secure: bool = False

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a WebSocket rather than for a page."""
        return "websocket" in self.headers.get("Upgrade", "").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP answer that is given instead of opening a WebSocket.

    Attributes:
        status: HTTP status code.
        body: plain text.
        headers: further headers.
    """

    status: int
    body: str = ""
    headers: Headers = field(default_factory=Headers)
