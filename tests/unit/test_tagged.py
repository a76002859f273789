"""Operators over values with a path."""

from __future__ import annotations

from typing import Any

import reactivex as rx

from rxplus import TaggedData, tag, tag_filter, untag


def collected(observable: rx.Observable[Any]) -> list[Any]:
    """Return everything that an observable of the present emits."""
    values: list[Any] = []
    observable.subscribe(values.append)
    return values


def test_tagged_data_is_a_pair() -> None:
    """It has names, unpacks, and compares as what it holds."""
    value = TaggedData("/a", 5)
    path, data = value
    assert (path, data) == (value.tag, value.data) == ("/a", 5)
    assert value == TaggedData(data=5, tag="/a")


def test_tag_gives_each_value_a_path() -> None:
    """Values become tagged ones, in order."""
    values = collected(rx.of(1, 2).pipe(tag("/a")))
    assert values == [TaggedData("/a", 1), TaggedData("/a", 2)]
    assert all(type(value) is TaggedData for value in values)


def test_untag_takes_the_path_off() -> None:
    """Tagged values become their data; tag and untag cancel out."""
    assert collected(rx.of(TaggedData("/a", 1), TaggedData("/b", None)).pipe(untag())) == [1, None]
    assert collected(rx.of(1, 2).pipe(tag("/a"), untag())) == [1, 2]


def test_tag_filter_lets_one_path_through() -> None:
    """Only values with exactly this tag pass, still tagged."""
    values = rx.of(TaggedData("/a", 1), TaggedData("/ab", 2), TaggedData("/a", 3))
    assert collected(values.pipe(tag_filter("/a"))) == [TaggedData("/a", 1), TaggedData("/a", 3)]
    assert collected(values.pipe(tag_filter("/"))) == []
