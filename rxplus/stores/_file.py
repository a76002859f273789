"""Making and opening the file, and what is looked at before it is trusted."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

from rxplus.errors import StoreError
from rxplus.stores import _schema
from rxplus.stores._errors import damaged
from rxplus.stores._tables import NO_LIMITS, Tables
from rxplus.stores._wal import frames_read, last_commit

__all__ = ["beside", "connect", "create", "open_database"]

_BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program that is reading the file, to back it up perhaps."""

_SMALLEST = 512
"""Bytes that a database has at least: one page."""

_logger = logging.getLogger("rxplus")


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to the one at ``path``."""
    return path.with_name(path.name + suffix)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database for all threads, without transactions of its own making."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    # Damaged text is for the checksums to find.
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection


def open_database(path: Path, *, synced: bool = False) -> sqlite3.Connection:
    """Open a store's file, which is made when there is none. The caller holds its lock.

    Args:
        path: of the file.
        synced: whether each commit has waited for the disk.

    Raises:
        StoreError: it is not one, or is of a newer version.
        StoreDamagedError: it is not what it was.
        sqlite3.Error: it cannot be read.
    """
    if not path.exists():
        create(path)
    elif not path.is_file():
        raise StoreError(f"store {str(path)!r} is not a file; use another path")
    elif not os.access(path, os.W_OK):  # SQLite would say so with the first write only
        raise StoreError(f"store {str(path)!r} is read-only; make the file writable")
    elif path.stat().st_size < _SMALLEST:
        # Were SQLite to see such a file it would delete the log.
        raise damaged(path, "its end is missing; or, if it never was a store, delete it")
    version = _look(path, synced)
    connection = connect(path)
    try:
        if version < _schema.VERSION:
            _schema.upgrade(connection, version)
            _check(connection, path)
        # Messages that were sent need not be wiped: that costs more than writing them.
        connection.execute("PRAGMA secure_delete = OFF")
        _give_back_space(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _look(path: Path, synced: bool) -> int:
    """Look at a file without changing it: to open a database, and even to close it, may change it.

    Returns:
        Its version.
    """
    committed = _last_commit(path)
    connection = connect(path, read_only=True)
    try:
        version = _schema.version_of(connection, path)
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise damaged(path, found)
        if committed > frames_read(beside(path, "-shm")):
            _report_log(path, synced)
        if version == _schema.VERSION:
            _check(connection, path)
    finally:
        connection.close()
    return version


def _report_log(path: Path, synced: bool) -> None:
    """Report that the log ends before its last commit."""
    if synced:
        raise damaged(path, "its log ends before the last commit")
    # As promised: commits that nobody waits for reach the disk in any order.
    _logger.warning("store %s has lost what was written last, as when power is lost", path)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    _schema.check_tables(connection, path)
    Tables(connection, path, NO_LIMITS).check()


def _last_commit(path: Path) -> int:
    try:
        return last_commit(beside(path, "-wal"))
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def _give_back_space(connection: sqlite3.Connection) -> None:
    try:
        # As a script: execute() would stop after the first page.
        connection.executescript("PRAGMA incremental_vacuum")
    except sqlite3.OperationalError as exc:
        # On a full disk there is no room to make room; the store can be used all the same.
        _logger.warning("free space is not given back to the disk: %s", exc)


def create(path: Path) -> None:
    """Make an empty store, all at once: there is no such thing as half a file."""
    if _has_log(path):
        raise damaged(path, "its log is there, and the file is not")
    new = beside(path, ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        beside(new, suffix).unlink(missing_ok=True)
    connection = connect(new)
    try:
        _schema.create(connection)
    finally:
        connection.close()
    new.replace(path)
    _sync_folder(path.parent)


def _has_log(path: Path) -> bool:
    wal = beside(path, "-wal")
    return wal.exists() and wal.stat().st_size > 0


def _sync_folder(folder: Path) -> None:
    """Have a new name survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
