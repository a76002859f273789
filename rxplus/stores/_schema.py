"""The tables, their versions, and how an older file becomes one of today."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from rxplus.errors import StoreError
from rxplus.stores._errors import damaged

__all__ = [
    "APPLICATION_ID",
    "MIGRATIONS",
    "TABLES",
    "VERSION",
    "check_tables",
    "create",
    "upgrade",
    "version_of",
]

APPLICATION_ID = 0x72787073
"""``rxps``: tells our files from those of others (``PRAGMA application_id``)."""

VERSION = 1
"""Of the tables (``PRAGMA user_version``)."""

TABLES = (
    # id: the stream's, in the bits above _tables.NUMBER_BITS, and the number in it. So messages
    # lie in the order in which they are read, and need no index beside the table.
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        is_text INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        payload BLOB NOT NULL
    )""",
    # The messages after acknowledged, up to last, are there, all of them: a message that has
    # vanished is noticed.
    """CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        acknowledged INTEGER NOT NULL,
        last INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    )""",
    """CREATE TABLE "values" (
        key TEXT PRIMARY KEY,
        checksum INTEGER NOT NULL,
        value BLOB NOT NULL
    ) WITHOUT ROWID""",
)

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Mapping[int, Migration] = {}
"""Makes a file of version n one of version n + 1, within a transaction."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    # Space that is free can be given back to the disk. Must come before the first table.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN")
    for table in TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file.

    Raises:
        StoreError: it is not a store, or a newer one than this code knows.
        StoreDamagedError: there is no such version.
    """
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"{str(path)!r} is a database of another program; use another path")
    version = _pragma(connection, "user_version")
    if version > VERSION:
        raise StoreError(
            f"store {str(path)!r} has format {version}, and this version of rxplus knows formats "
            f"up to {VERSION}; use the newer rxplus that wrote it"
        )
    if version < 1:
        raise damaged(path, f"it has format {version}, which there is not")
    return version


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring an older file up to the newest version, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file in which the definition of a table has changed."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
    if sorted(sql for (sql,) in found) != sorted(TABLES):
        raise damaged(path, "the tables are not those of a store")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
