"""What can go wrong, as values, and the rules that say when it does.

A network has an ordered list of rules. At each point where something could go
wrong it asks them in order, and the first that applies decides. Nothing here
drops, duplicates or reorders within a stream, because TCP does not: a fault
delays what is sent, or ends the connection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar

__all__ = [
    "AcceptThenClose",
    "Bandwidth",
    "ClockStep",
    "ConnectFault",
    "Cut",
    "Direction",
    "FailSend",
    "Fault",
    "Faults",
    "Hang",
    "Hold",
    "Latency",
    "Outage",
    "PortBusy",
    "RefuseConnection",
    "RejectHandshake",
    "Reset",
    "Rule",
    "Slices",
    "SlowClose",
    "check_duration",
]

F = TypeVar("F")

Direction: TypeAlias = Literal["up", "down"]
"""``"up"`` is from the client to the server, ``"down"`` the other way."""


# What befalls an attempt to connect, or to listen.


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseConnection:
    """The connection is refused, as if nobody listened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectHandshake:
    """The opening request is answered with an HTTP status; the server never sees it."""

    status: int = 503
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """The connection is accepted, and the opening request never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptThenClose:
    """The connection opens and is closed at once; the server never sees it."""

    code: int = 1011
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Open connections break at once, and as long as it lasts new ones are refused.

    For its clients a server that crashes and comes back looks like this.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBusy:
    """Listening fails, as if another process had the port."""


# What befalls connections that are open.


@dataclass(frozen=True, slots=True, kw_only=True)
class FailSend:
    """``Connection.send`` raises, nothing of it is sent, and the connection breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Open connections break at once: each side finds that the other reset it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A new connection breaks after so many bytes in one direction.

    Attributes:
        after: bytes; of whole messages on a memory network, which loses the one
            in which the cut falls.
        direction: in which they are counted.
    """

    after: int
    direction: Direction = "down"

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"after must not be negative, got {self.after!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """The wall clock is set forward, or back, by so many seconds. It is no fault of a network."""

    seconds: float


# How links are. Durations are in seconds.


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What is sent takes ``seconds``, and up to ``jitter`` seconds more, drawn for each piece."""

    seconds: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_duration("latency", self.seconds)
        check_duration("jitter", self.jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Each direction of a connection carries so many bytes a second."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_second < math.inf:
            raise ValueError(f"bytes_per_second must be positive, got {self.bytes_per_second!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing arrives as long as it lasts; what was sent meanwhile arrives after it.

    One way or both, it is also what a partition of the network looks like to
    TCP, which sends again until something answers.
    """

    direction: Direction | Literal["both"] = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose:
    """The end of a connection takes so many seconds longer to arrive than what came before."""

    seconds: float

    def __post_init__(self) -> None:
        check_duration("seconds", self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Bytes arrive in pieces of at most ``size``, wherever a frame may be. Byte network only."""

    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size!r}")


ConnectFault: TypeAlias = RefuseConnection | RejectHandshake | Hang | AcceptThenClose | Outage
"""What can befall an attempt to connect."""

Fault: TypeAlias = (
    ConnectFault
    | PortBusy
    | FailSend
    | Reset
    | Cut
    | Latency
    | Bandwidth
    | Hold
    | SlowClose
    | Slices
)
"""Any fault."""


class Rule:
    """A fault that is in force, until it is used up or removed; ``with`` removes it.

    Attributes:
        fault: what happens.
        port: the server port that it happens on; ``None``: on each.
        left: how often it will still happen; ``None``: without limit.
    """

    def __init__(self, faults: Faults, fault: Fault, port: int | None, times: int | None) -> None:
        self.fault = fault
        self.port = port
        self.left = times
        self._faults = faults

    def remove(self) -> None:
        """Put the rule out of force. Doing it twice is harmless."""
        self._faults.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        port = "any port" if self.port is None else f"port {self.port}"
        left = "" if self.left is None else f", {self.left} more"
        return f"<Rule {self.fault!r} on {port}{left}>"


class Faults:
    """The rules in force, in the order in which they were added.

    Args:
        on_change: called when a rule has come or gone.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._rules: list[Rule] = []
        self._on_change = on_change

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(self._rules)

    def add(self, fault: Fault, *, port: int | None, times: int | None) -> Rule:
        """Put a fault in force, after those that are."""
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, got {times!r}")
        rule = Rule(self, fault, port, times)
        self._rules.append(rule)
        self._on_change()
        return rule

    def remove(self, rule: Rule) -> None:
        """Put ``rule`` out of force."""
        if rule in self._rules:
            self._rules.remove(rule)
            self._on_change()

    def each(self, kind: type[F], port: int | None) -> Iterator[F]:
        """Iterate over the faults of a kind that are in force on ``port``."""
        for rule in self._rules:
            if isinstance(rule.fault, kind) and rule.port in (None, port):
                yield rule.fault

    def first(self, kind: type[F], port: int | None) -> F | None:
        """Return the first fault of a kind that is in force on ``port``."""
        # An idle network asks this for every message.
        return next(self.each(kind, port), None) if self._rules else None

    def take(self, kind: Any, port: int) -> Any:
        """Return the first fault of a kind or union of kinds, and count it as used."""
        for rule in self._rules:
            if isinstance(rule.fault, kind) and rule.port in (None, port):
                self._use(rule)
                return rule.fault
        return None

    def _use(self, rule: Rule) -> None:
        if rule.left is None:
            return
        rule.left -= 1
        if rule.left == 0:
            self.remove(rule)


def check_duration(name: str, seconds: float) -> None:
    """Raise ``ValueError`` for what is no number of seconds."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {seconds!r}")
