"""Callers that write at the same time share a commit.

Whoever has the lock commits for everybody who waits for it. So there is no thread behind this,
and the more callers there are, the fewer commits each of them needs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from rxplus.errors import StoreError, StoreFullError
from rxplus.stores._tables import Tables

__all__ = ["Committer"]

T = TypeVar("T")

_MAX_JOBS = 256
"""That share a commit: bounds what is undone when one of them fails."""

_logger = logging.getLogger("rxplus")


class _Job:
    """A call that waits for its commit."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: Exception | None = None
        self.done = False

    def try_work(self) -> None:
        """Work within a transaction that goes on when there is no room for this job."""
        try:
            self.result, self.error = self.work(), None
        except StoreFullError as exc:
            self.error = exc


class Committer:
    """Gives threads their turn at the tables.

    Args:
        tables: what they change.
        set_quiet: told whether the next commit is one that should not wait for the disk.
    """

    def __init__(self, tables: Tables, set_quiet: Callable[[bool], None]) -> None:
        self._tables = tables
        self._set_quiet = set_quiet
        # Held only for statements, never while waiting for another thread.
        self._lock = threading.Lock()
        # The thread that has it. What that thread calls meanwhile (the body of its transaction;
        # a finalizer that the garbage collector runs) is a part of what it is doing.
        self._owner: int | None = None
        self._jobs: deque[_Job] = deque()
        # Acknowledgements on their way in, and those that are to be committed, by stream.
        self._acknowledged: deque[tuple[str, int]] = deque()
        self._due: dict[str, int] = {}

    @property
    def in_transaction(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    def run(self, work: Callable[[], T]) -> T:
        """Have ``work`` done in a transaction, and return when it is safe."""
        if self.in_transaction:
            return self._within(work)
        job = _Job(work)
        self._jobs.append(job)
        with self._turn():
            while not job.done:
                self._commit()
        self._sweep()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def read(self, work: Callable[[], T]) -> T:
        """Do ``work`` that changes nothing."""
        if self.in_transaction:
            return self._within(work)
        with self._turn():
            self._absorb()
            self._tables.refresh()
            result = work()
        self._sweep()
        return result

    def acknowledge(self, stream: str, up_to: int) -> None:
        """Have messages forgotten, without waiting for another thread."""
        if self.in_transaction:
            self._within(lambda: self._tables.acknowledge(stream, up_to))
            return
        self._acknowledged.append((stream, up_to))
        self._sweep()

    def acknowledged(self, stream: str) -> int:
        """Return up to where a stream is to be forgotten, the tables apart."""
        return self._due.get(stream, 0)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one transaction of what this thread does."""
        if self.in_transaction:
            yield
            return
        with self._turn():
            self._absorb()
            self._set_quiet(False)
            with self._tables.transaction():
                # First, or they would be about the streams that the block leaves behind.
                self._forget()
                yield
            self._due.clear()
        self._sweep()

    def close(self, close: Callable[[], object]) -> None:
        """Commit what is on its way, and let ``close`` have the last turn."""
        if self.in_transaction:
            raise StoreError("a store cannot be closed within its own transaction")
        with self._turn():
            self._commit()
            close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _within(self, work: Callable[[], T]) -> T:
        """Work in the transaction that this thread is in."""
        with self._tables.joined():
            return work()

    def _sweep(self) -> None:
        """Commit what nobody waits for, unless another thread is about to."""
        while self._acknowledged and self._lock.acquire(blocking=False):
            self._owner = threading.get_ident()
            try:
                self._commit()
            finally:
                self._owner = None
                self._lock.release()

    def _commit(self) -> None:
        """Commit everything that waits, together, or each alone if that fails."""
        self._absorb()
        # They stay in the queue until they are done: Ctrl-C must not lose those of other threads.
        jobs = [job for job in islice(self._jobs, _MAX_JOBS) if not job.done]
        self._set_quiet(not jobs)
        try:
            with self._tables.transaction():
                self._forget()
                for job in jobs:
                    job.try_work()
            self._due.clear()
            for job in jobs:
                job.done = True
        except Exception:  # noqa: BLE001 - whose fault it is turns out when each works alone
            self._commit_apart(jobs)
        while self._jobs and self._jobs[0].done:
            self._jobs.popleft()

    def _commit_apart(self, jobs: list[_Job]) -> None:
        try:
            with self._tables.transaction():
                self._forget()
            self._due.clear()
        except Exception as exc:  # noqa: BLE001 - nobody waits for them
            # Nothing is lost by it: such a message would be sent once more, and dropped there.
            _logger.warning("acknowledgements are not written yet: %s", exc)
        for job in jobs:
            try:
                with self._tables.transaction():
                    job.result, job.error = job.work(), None
            except Exception as exc:  # noqa: BLE001 - raised where it was called
                job.error = exc
            job.done = True

    def _absorb(self) -> None:
        while self._acknowledged:
            stream, up_to = self._acknowledged.popleft()
            self._due[stream] = max(up_to, self._due.get(stream, 0))

    def _forget(self) -> None:
        for stream, up_to in self._due.items():
            self._tables.acknowledge(stream, up_to)
