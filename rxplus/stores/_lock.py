"""A lock between processes that is gone as soon as its holder is."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
import weakref
from pathlib import Path

from rxplus.errors import StoreError, StoreLockedError

if sys.platform == "win32":  # pragma: no cover - not tried: the tests run on Linux
    import msvcrt

    def _take(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _give_back(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(fd: int) -> None:
        # flock, not lockf: it also keeps out a second opening in this process, and does not end
        # when some other code of this process closes the same file.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _give_back(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


__all__ = ["FileLock"]


class FileLock:
    """An exclusive lock on a file beside ``path``, held from when it is made.

    The operating system lets go of it when the process ends, in whatever way. The file stays:
    removing it would let two processes lock two files of the same name.

    A child that was forked does not hold it.

    Raises:
        StoreLockedError: it is held, by another process or by this one.
        StoreError: the file beside ``path`` cannot be made.
    """

    __slots__ = ("__weakref__", "_fd", "_guarded", "pid")

    def __init__(self, path: Path) -> None:
        beside = path.with_name(path.name + ".lock")
        try:
            self._fd: int | None = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise StoreError(
                f"store {str(path)!r} cannot be opened: {exc.strerror}: {str(beside)!r}"
            ) from exc
        try:
            _take(self._fd)
        except OSError as exc:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace") or "unknown"
            self._close()
            raise StoreLockedError(
                f"store {str(path)!r} is in use by process {holder}; "
                "close it there, or use another file"
            ) from exc
        self.pid = os.getpid()
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, str(self.pid).encode(), 0)
        self._guarded: sqlite3.Connection | None = None
        _held.add(self)

    def guard(self, connection: sqlite3.Connection) -> None:
        """Have a connection left alone by forked children, also when they end."""
        self._guarded = connection

    def release(self) -> None:
        """Let go. Doing it twice is harmless."""
        if self._fd is not None:
            # Closing is not enough: a child just forked has the file open until it first runs.
            _give_back(self._fd)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def forget(self) -> None:  # pragma: no cover - in forked children, which are not measured
        """Let go in a child that was forked, in which SQLite must not even close the file.

        Closing would write the log back, and remove it, under the eyes of the parent. An extra
        reference keeps the connection from being closed, to the end of the interpreter.
        """
        self._close()  # without giving back what is the parent's
        if self._guarded is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._guarded))


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_all() -> None:  # pragma: no cover - in forked children, which are not measured
    for lock in _held:
        lock.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_forget_all)
