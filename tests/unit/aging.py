"""What arrived, and what both sides say was too old, add up to what was sent."""

from __future__ import annotations

from collections.abc import Iterable

from rxplus import Loss, LossReason

__all__ = ["check_aging"]


def check_aging(
    sent: list[str], received: list[str], told: Iterable[Loss], missed: Iterable[Loss]
) -> None:
    """Check one direction of a session that was never lost.

    Args:
        sent: all messages.
        received: those that arrived.
        told: what the sender has reported.
        missed: what the receiver has reported.
    """
    told = list(told)
    given_up = _numbers(told, LossReason.EXPIRED)
    assert received == [one for number, one in enumerate(sent, 1) if number not in given_up]
    assert _numbers(missed, LossReason.WITHDRAWN) == given_up
    assert {one.reason for one in told} <= {LossReason.EXPIRED, LossReason.WITHDRAWN}


def _numbers(losses: Iterable[Loss], reason: LossReason) -> set[int]:
    """Return what is reported as lost."""
    found: set[int] = set()
    for one in losses:
        if one.reason is reason:
            assert one.first is not None
            assert one.last is not None
            assert one.count == one.last - one.first + 1
            found |= set(range(one.first, one.last + 1))
    return found
