"""What can go wrong, as values, and the rules that say when it does.

A network has an ordered list of rules. At each point where something could go
wrong it asks them in order, and the first that applies decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

__all__ = [
    "AcceptThenClose",
    "ConnectFault",
    "FailSend",
    "Fault",
    "Faults",
    "Hang",
    "RefuseConnection",
    "RejectHandshake",
    "Rule",
]


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
class FailSend:
    """``Connection.send`` raises, nothing of it is sent, and the connection breaks."""


ConnectFault: TypeAlias = RefuseConnection | RejectHandshake | Hang | AcceptThenClose
"""What can befall an attempt to connect."""

Fault: TypeAlias = ConnectFault | FailSend
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
    """The rules in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

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
        return rule

    def remove(self, rule: Rule) -> None:
        """Put ``rule`` out of force."""
        if rule in self._rules:
            self._rules.remove(rule)

    def take_connect_fault(self, port: int) -> ConnectFault | None:
        """Return what befalls an attempt to connect to ``port``, and count it as used."""
        for rule in self._on(port):
            if not isinstance(rule.fault, FailSend):
                self._use(rule)
                return rule.fault
        return None

    def take_send_fault(self, port: int) -> FailSend | None:
        """Return what befalls a send on a connection to ``port``, and count it as used."""
        for rule in self._on(port):
            if isinstance(rule.fault, FailSend):
                self._use(rule)
                return rule.fault
        return None

    def _on(self, port: int) -> list[Rule]:
        return [rule for rule in self._rules if rule.port is None or rule.port == port]

    def _use(self, rule: Rule) -> None:
        if rule.left is None:
            return
        rule.left -= 1
        if rule.left == 0:
            self.remove(rule)
