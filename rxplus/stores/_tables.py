"""What is in the tables, and the statements that change it. One caller at a time."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rxplus.errors import StoreError, StoreFullError
from rxplus.store import Stored
from rxplus.stores._errors import DiskFullError, damaged, is_full
from rxplus.transport import Payload

__all__ = [
    "NO_LIMITS",
    "NUMBER_BITS",
    "RESERVE",
    "Limits",
    "Row",
    "Stream",
    "Tables",
    "decode",
    "encode",
    "message_checksum",
    "value_checksum",
]

NUMBER_BITS = 44
"""Of a message's id. 2**44 messages are 18 years of 30,000 a second."""

RESERVE = 2**20
"""Bytes of the disk that messages leave free."""

_MAX_STREAMS = 2 ** (63 - NUMBER_BITS) - 1
_ID_AT_TYPE = struct.Struct(">qd?")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store may hold, all streams together."""

    max_messages: int
    max_bytes: int


NO_LIMITS = Limits(2**63 - 1, 2**63 - 1)


@dataclass(slots=True)
class Stream:
    """A stream's row.

    Attributes:
        acknowledged: number of the last message that was forgotten.
        last: number of the last message that was appended.
        bytes: size of the payloads in between.
    """

    id: int
    name: str
    acknowledged: int = 0
    last: int = 0
    bytes: int = 0

    def checksum(self) -> int:
        """Sum up everything, to notice a change on the disk."""
        return zlib.crc32(
            repr((self.id, self.name, self.acknowledged, self.last, self.bytes)).encode()
        )

    def message_id(self, number: int) -> int:
        """Return the id of a message."""
        return self.id << NUMBER_BITS | number


@dataclass(frozen=True, slots=True)
class Row:
    """A payload as it is kept."""

    is_text: bool
    data: bytes


def encode(payload: Payload) -> Row:
    """Prepare a payload.

    Raises:
        TypeError: it is neither text nor bytes.
        UnicodeEncodeError: it is text that UTF-8 has no bytes for.
    """
    if isinstance(payload, str):
        return Row(True, payload.encode())
    if isinstance(payload, bytes):
        return Row(False, payload)
    raise TypeError(f"payload must be str or bytes, got {payload!r}")


def decode(message: tuple[Any, ...]) -> Stored | None:
    """Return what a row of the table holds, under its id; ``None`` if the row has changed."""
    message_id, at, is_text, checksum, data = message
    intact = isinstance(at, float) and isinstance(data, bytes) and is_text in (0, 1)
    if not intact or message_checksum(message_id, at, bool(is_text), data) != checksum:
        return None
    return Stored(message_id, data.decode() if is_text else data, at)


def message_checksum(message_id: int, at: float, is_text: bool, data: bytes) -> int:
    """Sum up a row, to notice a change on the disk."""
    return zlib.crc32(data, zlib.crc32(_ID_AT_TYPE.pack(message_id, at, is_text)))


def value_checksum(key: str, value: bytes) -> int:
    """Sum up a value, likewise."""
    return zlib.crc32(value, zlib.crc32(key.encode()))


class Tables:
    """The statements, with the rows of the streams kept at hand.

    Args:
        connection: without transactions of its own (``isolation_level=None``).
        path: of the file, for errors.
        limits: bounds of everything together.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, limits: Limits) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._connection = connection
        self._path = path
        self._limits = limits
        # A copy of the table, and the totals over it. Stale after a rollback.
        self._streams: dict[str, Stream] = {}
        self._messages = 0
        self._bytes = 0
        self._stale = True
        self._open = False
        self._undone_by: Exception | None = None
        # Streams that have to be written before the commit.
        self._changed: dict[str, Stream] = {}

    # Transactions.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, or roll back and raise."""
        self.refresh()
        self._undone_by = None
        self._execute("BEGIN IMMEDIATE")
        self._open = True
        try:
            yield
            self._check_open()
            self._write_streams()
            self._execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._open = False

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be a part of the transaction that is open, or one of its own.

        A failure of SQLite undoes all of it: some leave half a statement behind. So does a disk
        that is too full, before SQLite would find that it is.
        """
        if not self._open:
            with self.transaction():
                yield
            return
        self._check_open()
        try:
            yield
        except (sqlite3.Error, DiskFullError) as exc:
            self._undone_by = exc
            self._roll_back()
            raise

    def _check_open(self) -> None:
        if not self._connection.in_transaction:
            # A full disk stays one, also for who hears of it only now.
            kind = StoreFullError if is_full(self._undone_by) else StoreError
            raise kind(
                f"store {str(self._path)!r}: an earlier failure has undone the transaction "
                f"({self._undone_by})"
            )

    def _roll_back(self) -> None:
        self._stale = True
        if self._connection.in_transaction:  # SQLite has not done so itself
            self._execute("ROLLBACK")

    def refresh(self) -> None:
        """Read the streams again if they are not what is on the disk."""
        if not self._stale:
            return
        self._changed.clear()
        self._streams = {stream.name: stream for stream in self._read_streams()}
        self._messages = sum(one.last - one.acknowledged for one in self._streams.values())
        self._bytes = sum(one.bytes for one in self._streams.values())
        self._stale = False

    def _read_streams(self) -> Iterator[Stream]:
        rows = self._execute("SELECT id, name, acknowledged, last, bytes, checksum FROM streams")
        for *fields, checksum in rows:
            stream = Stream(*fields)
            if stream.checksum() != checksum:
                raise damaged(self._path, f"the row of stream {stream.name!r} has changed")
            yield stream

    def _write_streams(self) -> None:
        self._executemany(
            "UPDATE streams SET acknowledged = ?, last = ?, bytes = ?, checksum = ? WHERE id = ?",
            [
                (one.acknowledged, one.last, one.bytes, one.checksum(), one.id)
                for one in self._changed.values()
            ],
        )
        self._changed.clear()

    # Streams.

    def streams(self) -> list[str]:
        """Return all names."""
        return list(self._streams)

    def stream(self, name: str) -> Stream | None:
        """Return a stream's row."""
        return self._streams.get(name)

    def append(self, name: str, rows: Sequence[Row], at: float) -> int:
        """Add messages; return the number of the first.

        Raises:
            StoreFullError: they do not fit. Nothing has been changed.
        """
        size = sum(len(row.data) for row in rows)
        self._check_room(len(rows), size)
        stream = self._streams.get(name) or self._add(name)
        first = stream.last + 1
        start = stream.message_id(first)
        self._insert((n, at, row) for n, row in enumerate(rows, start))
        self._count(stream, len(rows), size)
        stream.last += len(rows)
        return first

    def _check_room(self, count: int, size: int) -> None:
        """Refuse what does not fit. One message always fits an empty store, as any buffer."""
        messages, limits = self._messages, self._limits
        over = messages + count > limits.max_messages or self._bytes + size > limits.max_bytes
        # Nothing at all always fits: it makes a stream.
        if over and count and (messages or count > 1):
            raise StoreFullError(
                f"store {str(self._path)!r} has no room: it holds {messages} messages of "
                f"{self._bytes} bytes, and {count} of {size} more would be over its limits "
                f"(max_messages={limits.max_messages}, max_bytes={limits.max_bytes})"
            )
        if count:
            self._check_disk(size)

    def _check_disk(self, size: int) -> None:
        """Refuse to fill the disk: what empties a store has to be written as well."""
        wanted = RESERVE + 2 * size  # once in the log, and once in the file
        free = shutil.disk_usage(self._path.parent).free
        if free < wanted and free + self._reusable() < wanted:
            raise DiskFullError(
                f"store {str(self._path)!r} has no room: the disk is full but for {free} bytes, "
                f"and {RESERVE} are kept for acknowledgements"
            )

    def _reusable(self) -> int:
        """Return how many bytes of the file can be used again."""
        (pages,) = self._execute("PRAGMA freelist_count").fetchone()
        (page_size,) = self._execute("PRAGMA page_size").fetchone()
        return int(pages * page_size)

    def _add(self, name: str) -> Stream:
        taken = {stream.id for stream in self._streams.values()}
        free = max(taken, default=0) + 1
        if free > _MAX_STREAMS:
            free = next((n for n in range(1, _MAX_STREAMS + 1) if n not in taken), 0)
        if not free:
            raise StoreFullError(f"store {str(self._path)!r} has {len(taken)} streams; drop some")
        return self.put(Stream(free, name), [])

    def put(self, stream: Stream, messages: Sequence[Stored]) -> Stream:
        """Add a stream that is not there, with the messages that its row tells of."""
        self._execute(
            "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?)",
            (
                stream.id,
                stream.name,
                stream.acknowledged,
                stream.last,
                stream.bytes,
                stream.checksum(),
            ),
        )
        self._insert(
            (stream.message_id(one.number), one.at, encode(one.payload)) for one in messages
        )
        self._streams[stream.name] = stream
        self._messages += stream.last - stream.acknowledged
        self._bytes += stream.bytes
        return stream

    def _insert(self, messages: Iterable[tuple[int, float, Row]]) -> None:
        self._executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
            (
                (one, at, row.is_text, message_checksum(one, at, row.is_text, row.data), row.data)
                for one, at, row in messages
            ),
        )

    def _count(self, stream: Stream, messages: int, size: int) -> None:
        stream.bytes += size
        self._messages += messages
        self._bytes += size
        self._changed[stream.name] = stream

    def pending(self, name: str, after: int, limit: int) -> list[Stored]:
        """Read messages."""
        stream = self._streams.get(name)
        if stream is None:
            return []
        after = max(after, stream.acknowledged)
        found = self._execute(
            "SELECT id, at, is_text, checksum, payload FROM messages "
            "WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (stream.message_id(after), stream.message_id(stream.last), limit),
        ).fetchall()
        wanted = max(0, min(limit, stream.last - after))
        if len(found) != wanted:
            raise damaged(self._path, f"{wanted - len(found)} messages of {name!r} have vanished")
        return [self._checked(stream, n, row) for n, row in enumerate(found, after + 1)]

    def _checked(self, stream: Stream, number: int, row: tuple[Any, ...]) -> Stored:
        stored = decode(row)
        if stored is None or stored.number != stream.message_id(number):
            raise damaged(self._path, f"message {number} of {stream.name!r} has changed")
        return stored._replace(number=number)

    def acknowledge(self, name: str, up_to: int) -> None:
        """Forget messages."""
        stream = self._streams.get(name)
        if stream is None or up_to <= stream.acknowledged:
            return
        up_to = min(up_to, stream.last)
        span = (stream.message_id(stream.acknowledged), stream.message_id(up_to))
        size = self._size(span)
        self._execute("DELETE FROM messages WHERE id > ? AND id <= ?", span)
        self._count(stream, stream.acknowledged - up_to, -size)
        stream.acknowledged = up_to

    def _size(self, span: tuple[int, int]) -> int:
        # length() of a blob reads no more of it than the head.
        (size,) = self._execute(
            "SELECT ifnull(sum(length(payload)), 0) FROM messages WHERE id > ? AND id <= ?", span
        ).fetchone()
        return int(size)

    def drop(self, name: str) -> None:
        """Forget a stream."""
        stream = self._streams.get(name)
        if stream is not None:
            self.acknowledge(name, stream.last)
            self._execute("DELETE FROM streams WHERE id = ?", (stream.id,))
            del self._streams[name]
            self._changed.pop(name, None)

    def last_before(self, name: str, after: int, at: float) -> int:
        """Return the number of the last message before the first that is not older than ``at``.

        Of those above ``after``; 0 if there is none.
        """
        stream = self._streams.get(name)
        if stream is None:
            return 0
        start = max(after, stream.acknowledged)
        found = self._execute(
            "SELECT id FROM messages WHERE id > ? AND id <= ? AND at >= ? ORDER BY id LIMIT 1",
            (stream.message_id(start), stream.message_id(stream.last), at),
        ).fetchone()
        last = stream.last if found is None else int(found[0]) - stream.message_id(0) - 1
        return last if last > start else 0

    # Values.

    def load(self, key: str) -> bytes | None:
        """Read a value."""
        found = self._execute(
            'SELECT checksum, value FROM "values" WHERE key = ?', (key,)
        ).fetchone()
        if found is None:
            return None
        checksum, value = found
        if not isinstance(value, bytes) or value_checksum(key, value) != checksum:
            raise damaged(self._path, f"the value of {key!r} has changed")
        return value

    def save(self, key: str, value: bytes | None) -> None:
        """Write or forget a value."""
        if value is None:
            self._execute('DELETE FROM "values" WHERE key = ?', (key,))
        else:
            self._execute(
                'INSERT OR REPLACE INTO "values" VALUES (?, ?, ?)',
                (key, value_checksum(key, value), value),
            )

    # The whole.

    def check(self) -> None:
        """Refuse tables that do not fit together.

        Raises:
            StoreDamagedError: messages have vanished, or turned up, or a value has changed.
        """
        self.refresh()
        for stream in self._streams.values():
            self._check_stream(stream)
        (found,) = self._execute("SELECT count(*) FROM messages").fetchone()
        if found != self._messages:
            raise damaged(self._path, f"it has {found - self._messages} messages of no stream")
        for (key,) in self._execute('SELECT key FROM "values"').fetchall():
            self.load(key)

    def _check_stream(self, stream: Stream) -> None:
        span = (stream.message_id(stream.acknowledged), stream.message_id(stream.last))
        (found,) = self._execute(
            "SELECT count(*) FROM messages WHERE id > ? AND id <= ?", span
        ).fetchone()
        if found != stream.last - stream.acknowledged or self._size(span) != stream.bytes:
            raise damaged(self._path, f"messages of stream {stream.name!r} have vanished")
