"""Values with the path they came from or go to, and operators over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from reactivex import Observable
from reactivex import operators as ops

__all__ = ["TaggedData", "tag", "tag_filter", "untag"]


class TaggedData(NamedTuple):
    """A value and its path.

    Attributes:
        tag: the path, such as ``"/chat"``, without a query.
        data: the value.
    """

    tag: str
    data: Any


def tag(tag: str) -> Callable[[Observable[Any]], Observable[TaggedData]]:
    """Make an operator that turns each value into ``TaggedData(tag, value)``."""
    return ops.map(lambda value: TaggedData(tag, value))


def untag() -> Callable[[Observable[TaggedData]], Observable[Any]]:
    """Make an operator that turns each ``TaggedData`` into its value."""
    return ops.map(lambda tagged: tagged.data)


def tag_filter(tag: str) -> Callable[[Observable[TaggedData]], Observable[TaggedData]]:
    """Make an operator that lets only ``TaggedData`` with this tag through."""
    return ops.filter(lambda tagged: tagged.tag == tag)
