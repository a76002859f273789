"""What is kept of a session so that it outlives the process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rxplus._core.protocol.given_up import GivenUp
from rxplus.errors import StoreDamagedError

__all__ = ["Record"]


@dataclass(slots=True, kw_only=True)
class Record(GivenUp):
    """A session, without its messages.

    Attributes:
        token: names it; ``None`` while there is none.
        epoch: of the last connection.
        base: number, in the store's stream, of the message before the session's first.
        given_up: as in :class:`GivenUp`, a number in the stream; so is the other.
        path: of a server's peer.
        user: of a server's peer.
    """

    token: str | None = None
    epoch: int = 0
    base: int = 0
    path: str = ""
    user: str | None = None

    def encode(self) -> bytes:
        """Write it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> Record:
        """Read it; ``None`` makes a new one.

        Raises:
            StoreDamagedError: it is something else.
        """
        if value is None:
            return cls()
        try:
            return cls(**json.loads(value))
        except (ValueError, TypeError) as exc:
            raise StoreDamagedError(f"a session cannot be read from the store: {exc}") from exc
