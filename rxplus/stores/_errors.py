"""SQLite's errors, in terms of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rxplus.errors import StoreDamagedError, StoreError, StoreFullError

__all__ = ["DiskFullError", "damaged", "is_full", "translated"]

_PRIMARY = 0xFF
"""The bits of an extended result code that say what it is a kind of."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

_WHAT = {
    sqlite3.SQLITE_BUSY: "another program is writing to it",
    sqlite3.SQLITE_LOCKED: "another program is writing to it",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; make the file and its folder writable",
    sqlite3.SQLITE_IOERR: "the disk, a quota or a limit on the size of files stopped it",
}


class DiskFullError(StoreFullError):
    """There is no room on the disk, limits of the store apart."""


def damaged(path: Path, what: str) -> StoreDamagedError:
    """Make the error that says what is wrong with a file, and what to do."""
    return StoreDamagedError(
        f"store {str(path)!r} is damaged: {what}. It has been left as it is. "
        "rxplus.stores.salvage(path, into) reads what can be read into a new file"
    )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as errors of the store at ``path``."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _translate(exc, path) from exc
    except UnicodeDecodeError as exc:  # SQLite quotes what it has found, and that is no text
        raise damaged(path, str(exc.object)) from exc


def is_full(exc: Exception | None) -> bool:
    """Tell whether the disk had no room."""
    return isinstance(exc, DiskFullError) or _code(exc) == sqlite3.SQLITE_FULL


def _code(exc: Exception | None) -> int:
    # Errors that the sqlite3 module makes itself have none.
    code: int = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & _PRIMARY


def _translate(exc: sqlite3.Error, path: Path) -> StoreError:
    code, name = _code(exc), getattr(exc, "sqlite_errorname", type(exc).__name__)
    if is_full(exc):
        return DiskFullError(f"store {str(path)!r} has no room: the disk is full ({exc})")
    if code in _DAMAGED:
        return damaged(path, str(exc))
    return StoreError(f"store {str(path)!r} failed: {_WHAT.get(code, exc)} ({name})")
