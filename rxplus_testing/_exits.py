"""What components want done when the interpreter exits, or a simulation ends."""

from __future__ import annotations

from collections.abc import Callable

from rxplus_testing._rxplus import BeginExit

__all__ = ["Exits"]


class Exits:
    """The functions that :meth:`rxplus.Runtime.at_exit` was given and that nobody took back."""

    def __init__(self) -> None:
        self._begins: dict[object, BeginExit] = {}

    def add(self, begin: BeginExit) -> Callable[[], None]:
        """Keep ``begin``, and return what takes it back."""
        ticket = object()
        self._begins[ticket] = begin

        def take_back() -> None:
            self._begins.pop(ticket, None)

        return take_back

    def run(self) -> None:
        """Call them all, and then wait for what each has begun, in virtual time."""
        waits = [begin() for begin in list(self._begins.values())]
        for wait in waits:
            wait()
