"""The embedded store: one SQLite file."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from rxplus.errors import StoreError
from rxplus.store import Stored
from rxplus.stores._commit import Committer
from rxplus.stores._errors import translated
from rxplus.stores._file import open_database
from rxplus.stores._lock import FileLock
from rxplus.stores._tables import Limits, Tables, encode
from rxplus.transport import Payload

__all__ = ["SQLiteStore"]

MIB = 2**20


class SQLiteStore:
    """A :class:`rxplus.Store` in a file, for one process at a time.

    What was written is safe from a crash of the process when a call returns. Losing power is
    another matter, see ``synchronous``. All methods may be called from any thread; calls that
    several threads make at the same time share a commit.

    Args:
        path: of the file, which is made when there is none. Its folder must exist, and be on
            a local disk. Files with the same name and ``-wal``, ``-shm`` and ``.lock`` behind it
            belong to it.
        max_messages: that may wait, in all streams together.
        max_bytes: of payload that may wait, in all streams together. A single message of any
            size fits an empty store.
        max_age: seconds after which a message is :meth:`expired`; ``None`` for never. Durable
            delivery gives such messages up when a connection opens.
        synchronous: what a loss of power (or of the operating system) may take with it.
            ``"normal"``: what was written last, a few seconds or so. ``"full"``: nothing that a
            call has returned for, except acknowledgements, whose messages would be sent again;
            each commit waits for the disk. Neither can damage the file.
        clock: seconds since the epoch.

    Raises:
        StoreLockedError: another process, or another store of this one, has it open.
        StoreDamagedError: the file is not what it was. It is left as it is; see
            :func:`rxplus.stores.salvage`.
        StoreError: it cannot be opened or made, is another program's, or is of a newer version.
        ValueError: an argument cannot be right.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_messages: int = 100_000,
        max_bytes: int = 256 * MIB,
        max_age: float | None = None,
        synchronous: Literal["normal", "full"] = "normal",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._closed = True  # until it is open
        _at_least_one("max_messages", max_messages)
        _at_least_one("max_bytes", max_bytes)
        _check_age(max_age)
        if synchronous not in ("normal", "full"):
            raise ValueError(f"synchronous must be 'normal' or 'full', got {synchronous!r}")
        # Absolute: SQLite has a meaning of its own for names such as ":memory:".
        self._path = Path(path).absolute()
        self._max_age = max_age
        self._full = synchronous == "full"
        self._clock = clock
        self._quiet: bool | None = None
        self._lock = FileLock(self._path)
        try:
            self._open(Limits(max_messages, max_bytes))
        except BaseException:
            self._lock.release()
            raise
        self._closed = False

    def _open(self, limits: Limits) -> None:
        with translated(self._path):
            self._connection = open_database(self._path, synced=self._full)
        self._lock.guard(self._connection)
        self._tables = Tables(self._connection, self._path, limits)
        self._committer = Committer(self._tables, self._set_quiet)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def append(self, stream: str, payloads: Sequence[Payload]) -> int:
        """See :meth:`rxplus.Store.append`.

        Raises:
            StoreFullError: they do not fit within the limits, or on the disk.
            TypeError: a payload is neither text nor bytes.
            UnicodeEncodeError: a payload is text that UTF-8 has no bytes for.
        """
        rows = [encode(payload) for payload in payloads]
        at = float(self._clock())
        with self._usable():
            return self._committer.run(lambda: self._tables.append(stream, rows, at))

    def pending(self, stream: str, after: int = 0, limit: int = 1000) -> list[Stored]:
        """See :meth:`rxplus.Store.pending`.

        Raises:
            StoreDamagedError: a message has changed or vanished.
        """

        def read() -> list[Stored]:
            start = max(after, self._committer.acknowledged(stream))
            return self._tables.pending(stream, start, limit)

        with self._usable():
            return self._committer.read(read)

    def acknowledge(self, stream: str, up_to: int) -> None:
        """See :meth:`rxplus.Store.acknowledge`.

        It waits neither for another thread nor for the disk. If another thread is writing, that
        one takes it along. If the disk is full, it is written as soon as there is room.
        """
        with self._usable():
            self._committer.acknowledge(stream, up_to)

    def last(self, stream: str) -> int:
        """See :meth:`rxplus.Store.last`."""

        def read() -> int:
            found = self._tables.stream(stream)
            return 0 if found is None else found.last

        with self._usable():
            return self._committer.read(read)

    def expired(self, stream: str) -> int:
        """See :meth:`rxplus.Store.expired`."""

        def read() -> int:
            start = self._committer.acknowledged(stream)
            return self._tables.last_before(stream, start, since)

        since = -math.inf if self._max_age is None else self._clock() - self._max_age

        with self._usable():
            return self._committer.read(read)

    def streams(self) -> list[str]:
        """See :meth:`rxplus.Store.streams`."""
        with self._usable():
            return self._committer.read(self._tables.streams)

    def drop(self, stream: str) -> None:
        """See :meth:`rxplus.Store.drop`."""
        with self._usable():
            self._committer.run(lambda: self._tables.drop(stream))

    def load(self, key: str) -> bytes | None:
        """See :meth:`rxplus.Store.load`.

        Raises:
            StoreDamagedError: the value has changed.
        """
        with self._usable():
            return self._committer.read(lambda: self._tables.load(key))

    def save(self, key: str, value: bytes | None) -> None:
        """See :meth:`rxplus.Store.save`."""
        with self._usable():
            self._committer.run(lambda: self._tables.save(key, value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`rxplus.Store.transaction`."""
        with self._usable(), self._committer.transaction():
            yield

    @property
    def in_transaction(self) -> bool:
        """See :attr:`rxplus.Store.in_transaction`."""
        return self._committer.in_transaction

    def close(self) -> None:
        """See :meth:`rxplus.Store.close`.

        Raises:
            StoreError: it is called within a transaction of its own thread.
        """
        if self._closed or self._lock.pid != os.getpid():
            return
        with translated(self._path):
            self._committer.close(self._connection.close)
        self._closed = True
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._path)!r}>"

    def __del__(self) -> None:
        if not self._closed and self._lock.pid == os.getpid():
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=1)
            self.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        if self._closed:
            raise StoreError(f"store {str(self._path)!r} is closed")
        if self._lock.pid != os.getpid():
            raise StoreError(
                f"store {str(self._path)!r} was opened before a fork; open it after the fork, in "
                "one process"
            )
        with translated(self._path):
            yield

    def _set_quiet(self, quiet: bool) -> None:
        """Have the next commit wait for the disk or not, also not to copy the log back."""
        if quiet != self._quiet:
            synchronous = "FULL" if self._full and not quiet else "NORMAL"
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {0 if quiet else 1000}")
            self._quiet = quiet


def _at_least_one(key: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{key} must be at least 1, got {value!r}")


def _check_age(max_age: float | None) -> None:
    if max_age is None:
        return
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)):
        raise TypeError(f"max_age must be a number or None, got {max_age!r}")
    if not 0 < max_age < math.inf:
        raise ValueError(f"max_age must be more than 0 and finite, got {max_age!r}")
