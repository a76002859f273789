"""Who sent how much, and what of it arrived: nothing is believed that was not counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rxplus import Event, Runtime

__all__ = ["Account", "Ledger"]


@dataclass(slots=True)
class Account:
    """The messages of one path, which carry numbers from 0.

    Attributes:
        sent: how many were given to ``on_next``.
        received: how many different ones arrived.
        repeated: how many arrived again.
        late: how many arrived after one that was sent later.
    """

    sent: int = 0
    received: int = 0
    repeated: int = 0
    late: int = 0
    _next: int = 0
    _missing: set[int] = field(default_factory=set)

    def receive(self, number: int) -> None:
        """Enter the arrival of a message."""
        if number >= self._next:
            self._missing.update(range(self._next, number))
            self._next = number + 1
        elif number in self._missing:
            self._missing.remove(number)
            self.late += 1
        else:
            self.repeated += 1
            return
        self.received += 1

    @property
    def lost(self) -> int:
        """How many have not arrived."""
        return self.sent - self.received

    @property
    def perfect(self) -> bool:
        """Whether every message arrived, once and in order."""
        return not (self.lost or self.repeated or self.late)


class Ledger:
    """The accounts of all paths. All methods may be called from any thread.

    Args:
        runtime: gives locks and events.
        names: of the accounts.
    """

    def __init__(self, runtime: Runtime, names: Iterable[str]) -> None:
        self._runtime = runtime
        self._lock = runtime.lock()
        self.accounts: Mapping[str, Account] = {name: Account() for name in names}
        self._waiting: list[tuple[dict[str, int], Event]] = []

    def number(self, name: str) -> int:
        """Return the number of the next message, and count it as sent.

        Should it then not be sent after all, it shows as lost.
        """
        with self._lock:
            account = self.accounts[name]
            account.sent += 1
            return account.sent - 1

    def receive(self, name: str, number: int) -> None:
        """Enter the arrival of a message."""
        with self._lock:
            self.accounts[name].receive(number)
            for waiting in [one for one in self._waiting if self._has(one[0])]:
                self._waiting.remove(waiting)
                waiting[1].set()

    def caught_up(self, *names: str) -> Event:
        """Return an event that is set when all that these have sent until now has arrived."""
        arrived = self._runtime.event()
        with self._lock:
            goal = {name: self.accounts[name].sent for name in names}
            if self._has(goal):
                arrived.set()
            else:
                self._waiting.append((goal, arrived))
        return arrived

    @property
    def total(self) -> Account:
        """The sum of all accounts."""
        with self._lock:
            every = self.accounts.values()
            return Account(
                sent=sum(one.sent for one in every),
                received=sum(one.received for one in every),
                repeated=sum(one.repeated for one in every),
                late=sum(one.late for one in every),
            )

    @property
    def perfect(self) -> bool:
        """Whether every message arrived, once and in order."""
        with self._lock:
            return all(one.perfect for one in self.accounts.values())

    def _has(self, goal: Mapping[str, int]) -> bool:
        return all(self.accounts[name].received >= count for name, count in goal.items())
