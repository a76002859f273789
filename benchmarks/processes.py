"""Helpers that run in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from benchmarks.allocator import settle_allocator

__all__ = ["LIMIT", "Wire", "hear", "process", "until_closed"]

LIMIT = 120.0
"""Seconds after which a helper will not answer any more."""

Wire: TypeAlias = "Connection[Any, Any]"
"""A pipe to the process on the other side."""


@contextmanager
def process(target: Callable[..., None], *args: Any) -> Iterator[Wire]:
    """Run ``target(wire, *args)`` in a fresh process, and tell it to end by closing the wire.

    Raises:
        AssertionError: it failed.
    """
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    child = context.Process(target=_begin, args=(target, far, *args), daemon=True)
    child.start()
    far.close()
    try:
        yield near
    finally:
        near.close()
        child.join(LIMIT)
    assert child.exitcode == 0, f"{target.__name__} ended with {child.exitcode}"


def _begin(target: Callable[..., None], *args: Any) -> None:
    settle_allocator()
    target(*args)


def hear(wire: Wire, expected: str) -> None:
    """Wait until the other side says what it is to say.

    Raises:
        TimeoutError: it says nothing.
        EOFError: it has failed.
    """
    if not wire.poll(LIMIT):
        raise TimeoutError("a helper process does not answer")
    said = wire.recv()
    assert said == expected, said


def until_closed(wire: Wire) -> None:
    """Wait until the other side needs us no more."""
    try:
        wire.recv()
    except EOFError:
        return
