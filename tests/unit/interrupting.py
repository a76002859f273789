"""Ctrl-C where a test wants it."""

from __future__ import annotations

import linecache
import re
from types import CodeType, ModuleType
from typing import Self

from rxplus_testing._statements import watch

__all__ = ["Interrupted"]

_LOCKED = re.compile(r"with self\._(phase_)?lock:")


class Interrupted:
    """Raises ``KeyboardInterrupt`` before a statement of some modules.

    Args:
        statements: how many statements come first.
        modules: whose.
    """

    def __init__(self, statements: int, *modules: ModuleType) -> None:
        self._left = statements
        self.paths = tuple(str(module.__file__) for module in modules)
        self.came = False

    def __enter__(self) -> Self:
        self._watch = watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()

    def reached(self, code: CodeType, line: int, *, entered: bool) -> None:
        """Hear what is about to be executed."""
        # Leaving a block is no statement: signals are looked at after calls, and the lock's own
        # is in C.
        if not _LOCKED.search(linecache.getline(code.co_filename, line)):
            self._left -= 1
            if self._left == 0:
                self.came = True
                raise KeyboardInterrupt
