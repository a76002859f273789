"""The states of a client's connection, and which may follow which."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["ConnectionState", "ConnectionStatus", "IllegalTransitionError", "Lifecycle"]


class ConnectionState(StrEnum):
    """Where a client stands. Each compares equal to its name as a string."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


_NEXT: dict[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.CONNECTING: frozenset(
        {ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED}
    ),
    ConnectionState.CONNECTED: frozenset({ConnectionState.DISCONNECTED, ConnectionState.CLOSED}),
    ConnectionState.DISCONNECTED: frozenset({ConnectionState.RECONNECTING, ConnectionState.CLOSED}),
    ConnectionState.RECONNECTING: frozenset(
        {ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED}
    ),
    ConnectionState.CLOSED: frozenset(),
}


class ConnectionStatus(str):
    """One change of state: equal to the state, and to its name, with the circumstances.

    Attributes:
        state: the :class:`ConnectionState`.
        attempt: which attempt to connect this belongs to, from 1; it starts
            again after a connection has been stable for a while.
        code: the close code of the connection that ended, if one did.
        reason: why, for people.
        resumed: for a client with sessions that is connected again, whether its session
            goes on; ``False`` means that it was lost. ``None`` in all other cases.
    """

    __slots__ = ("attempt", "code", "reason", "resumed", "state")

    state: ConnectionState
    attempt: int
    code: int | None
    reason: str
    resumed: bool | None

    def __new__(
        cls,
        state: ConnectionState,
        *,
        attempt: int = 1,
        code: int | None = None,
        reason: str = "",
        resumed: bool | None = None,
    ) -> Self:
        # From a name too: copying and unpickling a str call it that way.
        state = ConnectionState(state)
        self = super().__new__(cls, state.value)
        self.state = state
        self.attempt = attempt
        self.code = code
        self.reason = reason
        self.resumed = resumed
        return self

    # As a str does it; said here because type checkers take two kinds of str with
    # values of their own for things that are never equal.
    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    __hash__ = str.__hash__

    def __repr__(self) -> str:
        code = f", code={self.code}" if self.code is not None else ""
        reason = f", reason={self.reason!r}" if self.reason else ""
        resumed = f", resumed={self.resumed}" if self.resumed is not None else ""
        return f"<{self.state} attempt={self.attempt}{code}{reason}{resumed}>"


class IllegalTransitionError(AssertionError):
    """A state was to follow one that it may not follow: a defect in rxplus."""


class Lifecycle:
    """Holds the status; the only place that assigns it."""

    def __init__(self) -> None:
        self.status = ConnectionStatus(ConnectionState.CONNECTING)

    def to(
        self,
        state: ConnectionState,
        *,
        attempt: int,
        code: int | None = None,
        reason: str = "",
        resumed: bool | None = None,
    ) -> ConnectionStatus:
        """Go to ``state``.

        Raises:
            IllegalTransitionError: it may not follow the present one; nothing is changed.
        """
        if state not in _NEXT[self.status.state]:
            raise IllegalTransitionError(f"{self.status.state} -> {state}")
        self.status = ConnectionStatus(
            state, attempt=attempt, code=code, reason=reason, resumed=resumed
        )
        return self.status
