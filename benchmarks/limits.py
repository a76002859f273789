"""What the system has to allow for thousands of connections."""

from __future__ import annotations

import resource

__all__ = ["raise_open_files"]


def raise_open_files() -> None:
    """Allow this process, and those it starts, as many open files as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
