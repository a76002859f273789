"""Both stores do what every store must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rxplus import Store, StoreError
from rxplus.stores import SQLiteStore
from rxplus_testing import MemoryStore
from rxplus_testing.contract import refuses
from rxplus_testing.store_contract import StoreContract, in_threads


class TestSQLiteStore(StoreContract):
    """The embedded store, in a file of its own for each test."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        """Give each test a file."""
        self.path = tmp_path / "store.db"

    def open(self) -> Store:
        """Open the file."""
        return SQLiteStore(self.path)

    def open_limited(self, max_messages: int) -> Store:
        """Open it with a limit."""
        return SQLiteStore(self.path, max_messages=max_messages)

    def open_aging(self, max_age: float, clock: Callable[[], float]) -> Store:
        """Open it with a limit of age."""
        return SQLiteStore(self.path, max_age=max_age, clock=clock)


class TestFullSyncSQLiteStore(TestSQLiteStore):
    """The same when each commit waits for the disk."""

    def open(self) -> Store:
        """Open the file."""
        return SQLiteStore(self.path, synchronous="full")


class TestMemoryStore(StoreContract):
    """The store for tests."""

    @pytest.fixture(autouse=True)
    def place(self) -> None:
        """Give each test a store."""
        self.store = MemoryStore()

    def open(self) -> Store:
        """Open the same store again."""
        self.store = self.store.reopen()
        return self.store

    def open_limited(self, max_messages: int) -> Store:
        """Open one with a limit."""
        return MemoryStore(max_messages=max_messages)

    def open_aging(self, max_age: float, clock: Callable[[], float]) -> Store:
        """Open one with a limit of age."""
        return MemoryStore(max_age=max_age, clock=clock)


def test_contract_needs_a_store() -> None:
    """A contract that was not told how to open a store says so; limits need not be there."""
    refuses(NotImplementedError, StoreContract().open)
    assert StoreContract().open_limited(1) is None
    StoreContract().test_full_store_refuses_all_or_nothing()
    StoreContract().test_full_store_within_a_transaction()
    assert StoreContract().open_aging(1.0, lambda: 0.0) is None
    StoreContract().test_expired_tells_and_keeps()
    StoreContract().test_expired_when_a_clock_goes_back()


def test_contract_raises_what_a_thread_raised() -> None:
    """A failure in a thread fails the case."""
    with pytest.raises(ValueError, match="in a thread"):
        in_threads(lambda _: (_ for _ in ()).throw(ValueError("in a thread")))


def test_memory_store_fails_as_told() -> None:
    """Everything that writes raises the failure that a test has set; reading goes on."""
    store = MemoryStore(clock=lambda: 5.0)
    store.append("s", ["a"])
    store.failure = StoreError("broken")
    with pytest.raises(StoreError, match="broken"):
        store.append("s", ["b"])
    with pytest.raises(StoreError, match="broken"):
        store.save("k", b"v")
    assert [one.at for one in store.pending("s")] == [5.0]
    store.failure = None
    assert store.append("s", ["b"]) == 2
