"""Where things stand: readable, and the same in each run of the same seed."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any

__all__ = [
    "caller_code",
    "caller_name",
    "caller_site",
    "describe_task",
    "describe_thread",
    "short_path",
]

_PACKAGE = str(PurePath(__file__).parent)
_ASYNCIO = str(PurePath(asyncio.__file__).parent)
_HERE = (_PACKAGE, _ASYNCIO)
_SILENT = (*_HERE, str(PurePath(threading.__file__)))
_DEPTH = 6


def short_path(filename: str) -> str:
    """Return the last two parts of ``filename``, enough to find it by."""
    return "/".join(PurePath(filename).parts[-2:])


def caller_site() -> str:
    """Return ``file:line function`` of the nearest caller outside this package."""
    frame = _caller()
    return "?" if frame is None else _site(frame.f_code, frame.f_lineno)


def caller_code() -> CodeType | None:
    """Return the code of the nearest caller outside this package."""
    frame = _caller()
    return None if frame is None else frame.f_code


def caller_name() -> str:
    """Return the qualified name of the nearest caller outside this package."""
    code = caller_code()
    return "?" if code is None else code.co_qualname


def _caller() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame


def describe_task(task: asyncio.Task[Any]) -> str:
    """Return the name of ``task`` and the chain of awaits that it is in."""
    chain = _await_chain(task.get_coro())
    return f"{task.get_name()}: {' > '.join(chain) or 'not started'}"


def _site(code: CodeType, line: int) -> str:
    return f"{short_path(code.co_filename)}:{line} {code.co_name}"


def _await_chain(awaited: Any) -> list[str]:
    """Follow ``cr_await`` and its kin inwards; asyncio's own frames say nothing."""
    chain: list[str] = []
    while awaited is not None:
        frame = _attribute(awaited, "frame")
        if frame is not None and not frame.f_code.co_filename.startswith(_ASYNCIO):
            chain.append(_site(frame.f_code, frame.f_lineno))
        awaited = _attribute(awaited, "await") or getattr(awaited, "gi_yieldfrom", None)
    return chain


def _attribute(awaited: Any, name: str) -> Any:
    for prefix in ("cr", "gi", "ag"):
        value = getattr(awaited, f"{prefix}_{name}", None)
        if value is not None:
            return value
    return None


def describe_thread(ident: int | None) -> str:
    """Return the calls that a thread is in, outermost first, without those that say nothing."""
    chain: list[str] = []
    frame = sys._current_frames().get(ident or 0)
    while frame is not None and len(chain) < _DEPTH:
        if not frame.f_code.co_filename.startswith(_SILENT):
            chain.append(_site(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return " > ".join(reversed(chain)) or "its start"
