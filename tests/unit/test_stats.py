"""What components count."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from rxplus import Health
from rxplus._core.stats import Stats

TOTALS = [one.name for one in dataclasses.fields(Stats) if one.type == "int"]


def test_stats_begin_at_nothing() -> None:
    """A new component has counted nothing, and has no latency yet."""
    stats = Stats()
    assert {getattr(stats, name) for name in TOTALS} == {0}
    assert (stats.losses, stats.queued_messages, stats.latency) == (Counter(), 0, None)


@pytest.mark.parametrize("name", TOTALS)
def test_stats_add_every_total(name: str) -> None:
    """No total is forgotten when components are added up, and the other is not changed."""
    total, other = Stats(), Stats()
    setattr(total, name, 2)
    setattr(other, name, 3)
    total.add(other)
    assert {one: getattr(total, one) for one in TOTALS} == {
        one: 5 if one == name else 0 for one in TOTALS
    }
    assert getattr(other, name) == 3


def test_stats_add_losses_by_reason() -> None:
    """Losses are added reason by reason."""
    total = Stats(losses=Counter(overflow=1))
    total.add(Stats(losses=Counter(overflow=2, closed=3)))
    assert total.losses == {"overflow": 3, "closed": 3}


def test_stats_do_not_share_losses() -> None:
    """Each component counts for itself."""
    Stats().losses["overflow"] += 1
    assert Stats().losses == Counter()


def test_stats_look_when_they_are_asked() -> None:
    """Queue and latency are as they are now, not as they were."""
    waiting = [1]
    latencies: list[float] = []
    stats = Stats(queue=lambda: len(waiting), ping=lambda: latencies[-1] if latencies else None)
    assert (stats.queued_messages, stats.latency) == (1, None)
    waiting.append(2)
    latencies.append(0.25)
    assert (stats.queued_messages, stats.latency) == (2, 0.25)


def test_health_tells_all_that_is_counted() -> None:
    """Every total of a component is in its health."""
    assert {*TOTALS, "losses", "latency", "queued_messages"} <= {
        one.name for one in dataclasses.fields(Health)
    }
