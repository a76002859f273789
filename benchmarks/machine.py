"""Where it was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

__all__ = ["describe"]


def describe() -> str:
    """Return processor, system, Python and versions of what is compared, as one line."""
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("rxplus", "websockets", "websocket-client", "reactivex")
    ]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()}"
    return ", ".join([f"{os.cpu_count()} x {_processor()}", system, python, *versions])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
