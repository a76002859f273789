"""Messages that a sender has given up, since they waited for too long."""

from __future__ import annotations

from dataclasses import dataclass

from rxplus._core.protocol.numbers import Span

__all__ = ["GivenUp"]


@dataclass(slots=True, kw_only=True)
class GivenUp:
    """Which messages those are, of a numbering that only goes up.

    Until the peer acknowledges them, which says that it knows, all that is said of this side's
    numbers is as if they could still be sent.

    Attributes:
        given_up: number of the last message that was given up.
        given_up_after: the same of the message before the first of those.
    """

    given_up: int = 0
    given_up_after: int = 0

    def give_up(self, expired: int, arrived: int) -> tuple[int, list[Span]]:
        """Give up, as a connection opens, what is too old and has not arrived.

        Args:
            expired: number of the last message that is too old.
            arrived: number of the last message that has arrived.

        Returns:
            The number before that of the first message to be sent, and what is to be reported.
        """
        last = max(expired, self.given_up)
        if last <= arrived:
            return arrived, []
        # Some may be reported already, and the peer may have lost some that it had.
        spans = [
            Span.of(arrived + 1, self.given_up_after),
            Span.of(max(arrived, self.given_up) + 1, last),
        ]
        self.given_up_after, self.given_up = arrived, last
        return last, [span for span in spans if span is not None]
