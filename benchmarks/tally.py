"""The check that every receiver makes, the same for all contenders."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Message", "Tally", "make_message"]

Message = str | bytes


class Tally:
    """Counts messages and compares each with what was sent.

    Args:
        expected: what each message must be.
        total: how many there must be.
        on_full: called with the last one.
    """

    __slots__ = ("_expected", "_left", "_on_full", "wrong")

    def __init__(self, expected: Message, total: int, on_full: Callable[[], object]) -> None:
        self._expected = expected
        self._left = total
        self._on_full = on_full
        self.wrong = 0

    def __call__(self, message: Message) -> None:
        if message != self._expected:
            self.wrong += 1
        self._left -= 1
        if not self._left:
            self._on_full()

    def check(self) -> None:
        """Refuse a result that is not the work that was to be done.

        Raises:
            AssertionError: messages were missing, too many, or wrong.
        """
        assert self._left == 0, f"{self._left} messages are missing"
        assert self.wrong == 0, f"{self.wrong} messages are not what was sent"


def make_message(size: int, *, binary: bool = False) -> Message:
    """Make a message of a size in bytes."""
    text = ("The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]
    return text.encode() if binary else text
