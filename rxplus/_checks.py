"""Checks of what users give, each of which names the key and the value."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["check_callable", "check_count", "check_duration", "check_instance", "check_number"]


def check_number(key: str, value: Any, *, least: float = 0.0, above: bool = False) -> float:
    """Refuse what is no number, is NaN, or is below ``least``, or not ``above`` it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{key} must be a number, got {value!r}")
    if math.isnan(value) or value < least or (above and value == least):
        bound = "more than" if above else "at least"
        raise ValueError(f"{key} must be {bound} {least:g}, got {value!r}")
    return float(value)


def check_duration(key: str, value: Any, *, optional: bool = True) -> None:
    """Refuse what is no finite number of seconds; ``None`` passes where there need not be one."""
    if value is None and optional:
        return
    if check_number(key, value) == math.inf:
        raise ValueError(f"{key} must be finite, got {value!r}")


def check_count(key: str, value: Any, *, least: int = 1, optional: bool = False) -> None:
    """Refuse what is no whole number of at least ``least``."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{key} must be at least {least}, got {value!r}")


def check_instance(key: str, value: Any, wanted: type | tuple[type, ...], what: str) -> None:
    """Refuse what is not of a type."""
    if not isinstance(value, wanted):
        raise TypeError(f"{key} must be {what}, got {value!r}")


def check_callable(key: str, value: Any) -> None:
    """Refuse what cannot be called; ``None`` passes."""
    if value is not None and not callable(value):
        raise TypeError(f"{key} must be callable, got {value!r}")
