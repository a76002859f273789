"""A program whose steps are written down in test_statements.py: it uses what Pythons do apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def numbers(count: int) -> Iterator[int]:
    """Yield, so that the frame goes on several times."""
    for number in range(count):
        yield number % 10


def twice(value: int) -> int:
    """Be called from a comprehension."""
    return value * 2


def work(lock: Any, event: Any) -> int:
    """Use loops, comprehensions, calls over several lines, and try."""
    total = 0
    with lock:
        for number in numbers(3):
            total += sum(
                twice(one)
                for one in (
                    number,
                    total,
                )
            )
    try:
        values = [twice(one) for one in range(3)]
        many = {
            one: twice(
                one,
            )
            for one in values
        }
        if event.wait(
            0.5,
        ):
            raise ValueError
    finally:
        total += len(many)  # pyright: ignore[reportPossiblyUnboundVariable]  # never in the tests
    match total:
        case 0:
            return 0
        case _:
            return total + 1
