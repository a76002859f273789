"""Reading what can be read from a damaged file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rxplus.errors import StoreError
from rxplus.store import Stored
from rxplus.stores._errors import translated
from rxplus.stores._file import beside, connect, create, open_database
from rxplus.stores._lock import FileLock
from rxplus.stores._tables import NO_LIMITS, NUMBER_BITS, Stream, Tables, decode, value_checksum

__all__ = ["Salvaged", "salvage"]

_NUMBER = 2**NUMBER_BITS - 1
_END = 2**63 - 1

_MESSAGES = "SELECT id, at, is_text, checksum, payload FROM messages"
_STREAMS = "SELECT id, name, acknowledged, last, bytes, checksum FROM streams"
_VALUES = 'SELECT key, checksum, value FROM "values"'


class Salvaged(NamedTuple):
    """What :func:`salvage` found."""

    messages: int
    """That could be read, and are in the new file."""
    missing: int
    """That were in the damaged file and could not be read, as far as it tells."""
    renumbered: list[str]
    """Streams with messages missing. What is left of them has new numbers, after all old ones:
    to the receiver it belongs to a new session, which may get again what it has had."""
    values: int
    """That could be read, and are in the new file."""


def salvage(path: str | os.PathLike[str], into: str | os.PathLike[str]) -> Salvaged:
    """Read what can be read of a damaged store into a new file. The damaged one stays as it is.

    A stream that is complete is copied as it is: delivery goes on as if nothing had happened.
    Each message and each value is checked on its own; what has changed is left out. Call it from
    any thread; it works on a copy beside ``into``, which needs the space for it.

    Args:
        path: of the damaged file.
        into: path of the new file.

    Raises:
        StoreLockedError: the damaged store is in use.
        StoreError: there is no file at ``path``; there is one at ``into``; or the new file cannot
            be written.
    """
    damaged, fresh = Path(path).absolute(), Path(into).absolute()
    if not damaged.is_file():
        raise StoreError(f"store {str(damaged)!r} does not exist")
    if fresh.exists():
        raise StoreError(f"{str(fresh)!r} exists; salvage into a new file")
    lock = FileLock(damaged)
    try:
        with tempfile.TemporaryDirectory(dir=fresh.parent) as folder, translated(fresh):
            return _copy(_Wreck(damaged, Path(folder)), fresh)
    finally:
        lock.release()


def _copy(wreck: _Wreck, fresh: Path) -> Salvaged:
    create(fresh)
    connection = open_database(fresh)
    try:
        tables = Tables(connection, fresh, NO_LIMITS)
        with tables.transaction():
            kept, missing, renumbered = 0, 0, []
            for stream, found in wreck.streams():
                lost = stream.last - stream.acknowledged - len(found)
                if lost or stream not in wreck.named:
                    renumbered.append(stream.name)
                    found = _renumber(stream, found)  # noqa: PLW2901 - it is the same messages
                tables.put(stream, found)
                kept, missing = kept + len(found), missing + lost
            for key, value in wreck.values.items():
                tables.save(key, value)
        tables.check()
    finally:
        connection.close()
    return Salvaged(kept, missing, renumbered, len(wreck.values))


def _renumber(stream: Stream, messages: list[Stored]) -> list[Stored]:
    """Give messages the numbers that come next, so that none means two messages."""
    stream.acknowledged = stream.last
    stream.last += len(messages)
    stream.bytes = sum(
        len(one.payload.encode() if isinstance(one.payload, str) else one.payload)
        for one in messages
    )
    return [
        one._replace(number=number) for number, one in enumerate(messages, stream.acknowledged + 1)
    ]


class _Wreck:
    """What can be read of a damaged file.

    Attributes:
        named: the streams whose rows could be read.
        values: all values that could.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        copy = folder / "copy"
        for suffix in ("", "-wal"):
            if beside(path, suffix).exists():
                shutil.copyfile(beside(path, suffix), beside(copy, suffix))
        self._connection = connect(copy)
        try:
            self.named = self._read_streams()
            self._messages = self._read_messages()
            self.values = self._read_values()
        finally:
            self._connection.close()

    def streams(self) -> Iterator[tuple[Stream, list[Stored]]]:
        """Return each stream with its messages; one whose row is lost has a name made up."""
        for stream in [*self.named, *self._nameless()]:
            # Its row may be older than its messages.
            stream.last = max(stream.last, self._highest(stream.id))
            first = stream.message_id(stream.acknowledged + 1)
            last = stream.message_id(stream.last)
            messages = [
                one._replace(number=one.number & _NUMBER)
                for number, one in sorted(self._messages.items())
                if first <= number <= last
            ]
            yield stream, messages

    def _highest(self, stream_id: int) -> int:
        ids = [one & _NUMBER for one in self._messages if one >> NUMBER_BITS == stream_id]
        return max(ids, default=0)

    def _nameless(self) -> Iterator[Stream]:
        known = {stream.id for stream in self.named}
        numbers: dict[int, list[int]] = {}
        for message_id in self._messages:
            numbers.setdefault(message_id >> NUMBER_BITS, []).append(message_id & _NUMBER)
        for stream_id in sorted(numbers.keys() - known):
            found = numbers[stream_id]
            name = f"salvaged-{stream_id}"
            yield Stream(stream_id, name, min(found) - 1, max(found))

    def _read_streams(self) -> list[Stream]:
        found = [(Stream(*fields), checksum) for *fields, checksum in self._rows(_STREAMS)]
        return [stream for stream, checksum in found if stream.checksum() == checksum]

    def _read_values(self) -> dict[str, bytes]:
        return {
            key: value
            for key, checksum, value in self._rows(_VALUES)
            if isinstance(value, bytes) and value_checksum(str(key), value) == checksum
        }

    def _read_messages(self) -> dict[int, Stored]:
        rows: dict[Any, tuple[Any, ...]] = {}
        self._read_up(rows)
        self._read_down(rows)
        found = [decode(row) for row in rows.values()]
        return {stored.number: stored for stored in found if stored is not None}

    def _rows(self, select: str) -> list[tuple[Any, ...]]:
        """Read a small table from both its ends."""
        rows: dict[Any, tuple[Any, ...]] = {}
        if not self._read_on(f"{select} ORDER BY 1", (), rows):
            self._read_on(f"{select} ORDER BY 1 DESC", (), rows)
        return list(rows.values())

    def _read_up(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        """Read messages from the first on, leaping over what cannot be read."""
        position, leap = -1, 1
        while position < _END and not self._read_on(
            f"{_MESSAGES} WHERE id > ? ORDER BY id", (position,), rows
        ):
            reached = max(rows, default=position)
            leap = 1 if reached > position else leap * 2
            position = max(reached, position) + leap

    def _read_down(self, rows: dict[Any, tuple[Any, ...]]) -> None:
        """Read back from the last one, for what lies before a place that was leapt over."""
        position, leap = _END, 1
        seen: dict[Any, tuple[Any, ...]] = {}
        while position > 0 and not self._read_on(
            f"{_MESSAGES} WHERE id < ? ORDER BY id DESC", (position,), seen
        ):
            reached = min(seen, default=position)
            leap = 1 if reached < position else leap * 2
            position = min(reached, position) - leap
        rows |= seen

    def _read_on(
        self, select: str, arguments: tuple[int, ...], rows: dict[Any, tuple[Any, ...]]
    ) -> bool:
        """Read rows, under their first columns, to the end or up to a damaged place."""
        try:
            for row in self._connection.execute(select, arguments):
                rows[row[0]] = row
        except sqlite3.DatabaseError:
            return False
        return True
