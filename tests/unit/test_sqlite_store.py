"""The embedded store, beyond what every store does: limits, errors, versions, the disk."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rxplus import StoreDamagedError, StoreError, StoreFullError, StoreLockedError
from rxplus.stores import SQLiteStore, _schema
from rxplus.stores._file import connect
from rxplus.stores._lock import FileLock
from rxplus.stores._tables import RESERVE, Tables


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to keep a store."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """A store."""
    with SQLiteStore(path) as store:
        yield store


def fill_disk(store: SQLiteStore) -> Callable[[], object]:
    """Leave the file no room to grow; return what makes room again."""
    connection = store._connection  # a disk cannot be filled from here
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: connection.execute("PRAGMA max_page_count = 1000000")


# Arguments.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_messages": 0}, ValueError, "max_messages must be at least 1, got 0"),
        ({"max_messages": True}, TypeError, "max_messages must be an int, got True"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes must be an int, got 1.5"),
        ({"max_age": 0}, ValueError, "max_age must be more than 0 and finite, got 0"),
        ({"max_age": float("nan")}, ValueError, "max_age must be more than 0"),
        ({"max_age": "1"}, TypeError, "max_age must be a number or None, got '1'"),
        ({"synchronous": "off"}, ValueError, "synchronous must be 'normal' or 'full', got 'off'"),
    ],
)
def test_options_are_checked(
    path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An option that cannot be right is refused by name, and no file is made."""
    with pytest.raises(error, match=message):
        SQLiteStore(path, **options)
    assert not path.exists()


def test_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that SQLite has another meaning for is the name of a file, in today's folder."""
    monkeypatch.chdir(tmp_path)
    with SQLiteStore(":memory:") as store:
        assert store.path == tmp_path / ":memory:"
        assert store.path.is_file()
        assert repr(store) == f"<SQLiteStore {str(store.path)!r}>"


def test_payload_of_another_type_is_refused(store: SQLiteStore) -> None:
    """What is neither text nor bytes, or no text that can be sent, changes nothing."""
    with pytest.raises(TypeError, match="payload must be str or bytes, got 5"):
        store.append("s", ["a", 5])  # type: ignore[list-item]  # on purpose
    with pytest.raises(UnicodeEncodeError):
        store.append("s", ["a", "\ud800"])
    assert store.streams() == []


# Limits.


def test_limit_in_bytes(path: Path) -> None:
    """Bytes are those of the payloads; a single message of any size fits an empty store."""
    with SQLiteStore(path, max_bytes=10) as store:
        store.append("s", ["ä" * 5])
        with pytest.raises(StoreFullError, match=r"holds 1 messages of 10 bytes.*max_bytes=10"):
            store.append("t", [b"x"])
        store.acknowledge("s", 1)
        with pytest.raises(StoreFullError):
            store.append("t", [b"123456", b"789012"])
        store.append("t", [b"x" * 1000])
        store.drop("t")
        store.append("t", [b"123456"])


def test_limits_hold_after_a_restart(path: Path) -> None:
    """What was there before counts."""
    with SQLiteStore(path) as store:
        store.append("s", ["a", "b"])
        store.append("t", ["c"])
    with SQLiteStore(path, max_messages=3) as store, pytest.raises(StoreFullError):
        store.append("s", ["d"])


def test_file_does_not_grow_for_ever(path: Path) -> None:
    """Messages through a store leave a small file, and a small log."""
    with SQLiteStore(path) as store:
        messages = [b"x" * 16] * 2_000
        for _ in range(50):
            store.append("s", messages)
            store.acknowledge("s", store.last("s"))
        assert store.last("s") == 100_000
        largest = path.stat().st_size + path.with_name("store.db-wal").stat().st_size
        assert largest < 10_000_000
    with SQLiteStore(path):
        pass
    assert path.stat().st_size < 100_000
    assert not path.with_name("store.db-wal").exists()


# One at a time.


def test_second_store_is_refused(store: SQLiteStore, path: Path) -> None:
    """A file that is open is refused, also in the same process, with the holder's number."""
    with pytest.raises(StoreLockedError, match=f"in use by process {os.getpid()}"):
        SQLiteStore(path)
    store.close()
    SQLiteStore(path).close()


def test_reading_the_file_does_not_unlock_it(store: SQLiteStore, path: Path) -> None:
    """Some other code of this process may open and close the files: the lock stays."""
    path.read_bytes()
    path.with_name("store.db.lock").read_bytes()
    with pytest.raises(StoreLockedError):
        SQLiteStore(path)


def test_lock_is_let_go_of_once(path: Path) -> None:
    """Letting go twice is harmless, as is a fork in the middle of opening."""
    lock = FileLock(path)
    lock.forget()  # what a child does, here without a connection to keep
    lock.release()
    FileLock(path).release()


def test_store_left_open_warns(path: Path) -> None:
    """A store that is garbage collected open says so, and lets go of the file."""
    store = SQLiteStore(path)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del store
        gc.collect()
    SQLiteStore(path).close()


def test_close_within_a_transaction_is_refused(store: SQLiteStore) -> None:
    """Closing in the middle of one's own transaction is a mistake, and is not done."""
    with store.transaction():
        with pytest.raises(StoreError, match="cannot be closed within its own transaction"):
            store.close()
        store.append("s", ["a"])
    assert store.last("s") == 1


# Where it cannot be.


def test_folder_missing(tmp_path: Path) -> None:
    """A folder that does not exist is named."""
    with pytest.raises(StoreError, match=r"No such file or directory: .*/nowhere/store.db.lock"):
        SQLiteStore(tmp_path / "nowhere" / "store.db")


def test_log_that_was_not_begun(path: Path) -> None:
    """A log without a whole header is one that was being made."""
    SQLiteStore(path).close()
    path.with_name("store.db-wal").write_bytes(b"7")
    with SQLiteStore(path) as store:
        assert store.streams() == []


def test_path_is_a_folder(path: Path) -> None:
    """A folder is no file."""
    path.mkdir()
    with pytest.raises(StoreError, match="is not a file"):
        SQLiteStore(path)


def test_database_of_another_program(path: Path) -> None:
    """A database that is not ours is refused and not touched."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE messages (mine)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program; use another path"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_database_that_another_program_writes(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that holds SQLite's own lock is named as what stopped it."""
    store._connection.execute("PRAGMA busy_timeout = 0")  # so that the test need not wait
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program is writing to it"):
        store.append("s", ["a"])
    other.execute("ROLLBACK")
    other.close()
    assert store.append("s", ["a"]) == 1


# Versions.


def test_newer_version_is_refused(path: Path) -> None:
    """A file of a later format is refused and not touched."""
    SQLiteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="has format 99, and this version of rxplus knows formats"):
        SQLiteStore(path)
    SQLITE = sqlite3.connect(path)
    assert SQLITE.execute("PRAGMA user_version").fetchone() == (99,)
    SQLITE.close()


def test_older_version_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening an older file takes each step up to today's format, in order, and keeps the rest."""
    with SQLiteStore(path) as store:
        store.append("s", ["a"])
    steps = {
        1: lambda db: db.execute("CREATE TABLE two (x)"),
        2: lambda db: db.execute("CREATE TABLE three AS SELECT * FROM two"),
    }
    tables = ("CREATE TABLE two (x)", "CREATE TABLE three(x)")
    monkeypatch.setattr(_schema, "VERSION", 3)
    monkeypatch.setattr(_schema, "MIGRATIONS", steps)
    monkeypatch.setattr(_schema, "TABLES", (*_schema.TABLES, *tables))
    for number in (2, 3):
        with SQLiteStore(path) as store:
            assert store.append("s", ["b"]) == number
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()


def test_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stays what it was when a step fails, and can be used by what could use it before."""
    SQLiteStore(path).close()
    steps = {1: lambda db: db.execute("DROP TABLE messages"), 2: lambda db: db.execute("rubbish")}
    with monkeypatch.context() as patch:
        patch.setattr(_schema, "VERSION", 3)
        patch.setattr(_schema, "MIGRATIONS", steps)
        with pytest.raises(StoreError, match="syntax error"):
            SQLiteStore(path)
    SQLiteStore(path).close()


def test_version_that_never_was_is_refused(path: Path) -> None:
    """A number that no version has had is damage."""
    SQLiteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    with pytest.raises(StoreDamagedError, match="it has format 0, which there is not"):
        SQLiteStore(path)


def test_file_is_made_all_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If making it fails there is no file, and what was left is no hindrance."""

    def create(_connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("no")

    with monkeypatch.context() as patch:
        patch.setattr(_schema, "create", create)
        with pytest.raises(StoreError, match="no"):
            SQLiteStore(path)
    assert not path.exists()
    path.with_name("store.db.new").write_bytes(b"half")
    SQLiteStore(path).close()


# A full disk.


def test_full_disk_refuses_and_recovers(store: SQLiteStore) -> None:
    """What does not fit on the disk is refused as a whole; with room again it goes on."""
    store.append("s", ["before"])
    make_room = fill_disk(store)
    with pytest.raises(StoreFullError, match="the disk is full"):
        store.append("s", [b"x" * 100_000, "tail"])
    with pytest.raises(StoreFullError):
        store.append("new", [b"x" * 100_000])
    assert [one.payload for one in store.pending("s")] == ["before"]
    assert store.streams() == ["s"]
    make_room()
    assert store.append("s", [b"x" * 100_000]) == 2


def test_full_disk_does_not_keep_a_store_from_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without room to give space back, that is left for another time, and said."""
    with SQLiteStore(path) as store:
        store.append("s", [b"x" * 1_000_000])
        store.acknowledge("s", 1)

    def read_only(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        connection.execute("PRAGMA query_only = ON")
        return connection

    monkeypatch.setattr("rxplus.stores._file.connect", read_only)
    with caplog.at_level(logging.WARNING, "rxplus"), SQLiteStore(path) as store:
        assert store.last("s") == 1
    assert "free space is not given back" in caplog.text


def test_full_disk_within_a_transaction(store: SQLiteStore) -> None:
    """A disk that gets full undoes the whole block, and the block says so if nobody else does."""
    make_room = fill_disk(store)
    undone = "an earlier failure has undone the transaction"
    with pytest.raises(StoreFullError, match=undone), store.transaction():
        store.save("k", b"v")
        with pytest.raises(StoreFullError):
            store.append("s", [b"x" * 100_000])
    assert store.load("k") is None
    with pytest.raises(StoreFullError, match=undone), store.transaction():
        with pytest.raises(StoreFullError):
            store.append("s", [b"x" * 100_000])
        store.save("k", b"v")
    make_room()
    assert store.load("k") is None
    assert store.append("s", ["a"]) == 1


def test_failure_within_a_transaction_that_is_not_a_full_disk(store: SQLiteStore) -> None:
    """What does not heal is not said to be a lack of room."""
    undone = "has undone the transaction"
    with pytest.raises(StoreError, match=undone) as told, store.transaction():
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="read-only"):
            store.save("k", b"v")
        store._connection.execute("PRAGMA query_only = OFF")
    assert not isinstance(told.value, StoreFullError)
    store.save("k", b"v")


def test_acknowledgement_waits_for_room(
    store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot be written holds all the same, and is written when there is room."""
    store.append("s", ["a", "b", "c"])
    store._connection.execute("PRAGMA query_only = ON")
    with caplog.at_level(logging.WARNING, "rxplus"):
        store.acknowledge("s", 2)
        store.acknowledge("s", 1)
    assert "acknowledgements are not written yet" in caplog.text
    assert [one.number for one in store.pending("s")] == [3]
    with pytest.raises(StoreError, match="it is read-only"):
        store.append("s", ["d"])
    store._connection.execute("PRAGMA query_only = OFF")
    store.append("s", ["d"])
    rows = store._connection.execute("SELECT count(*) FROM messages").fetchone()
    assert rows == (2,)


def test_acknowledgement_goes_before_a_block(store: SQLiteStore) -> None:
    """One that has waited is not about the stream that a block makes anew."""
    store.append("s", ["a", "b"])
    store._connection.execute("PRAGMA query_only = ON")
    store.acknowledge("s", 2)
    store._connection.execute("PRAGMA query_only = OFF")
    with store.transaction():
        store.drop("s")
        store.append("s", ["new"])
    store.save("k", b"v")
    assert [one.payload for one in store.pending("s")] == ["new"]


def test_messages_leave_room_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a disk is kept for what empties a store; space within the file counts."""
    room = shutil.disk_usage(path.parent)._replace(free=RESERVE + 2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    with SQLiteStore(path) as store:
        store.append("s", [b"x" * 900_000])
        room = room._replace(free=RESERVE)
        with pytest.raises(StoreFullError, match=r"the disk is full but for 1048576 bytes"):
            store.append("s", [b"x" * 400_000])
        store.save("k", b"v")
        store.acknowledge("s", 1)
        assert store.append("s", [b"x" * 400_000]) == 2


def test_room_that_is_left_on_the_disk_undoes_a_transaction_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk that has none at all: or what else is in the block would be done without it."""
    room = shutil.disk_usage(path.parent)._replace(free=RESERVE)
    undone = "an earlier failure has undone the transaction"
    with SQLiteStore(path) as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
        with pytest.raises(StoreFullError, match=undone), store.transaction():
            with pytest.raises(StoreFullError, match="the disk is full but for 1048576 bytes"):
                store.append("s", ["a"])
            store.save("k", b"v")
        assert store.load("k") is None
        monkeypatch.undo()
        assert store.append("s", ["a"]) == 1


def test_room_within_the_limits_is_for_the_block_to_look_at(path: Path) -> None:
    """A refusal by the store's own limits has changed nothing, and the block goes on."""
    with SQLiteStore(path, max_messages=1) as store:
        store.append("s", ["a"])
        with store.transaction():
            with pytest.raises(StoreFullError, match="over its limits"):
                store.append("s", ["b"])
            store.save("k", b"v")
        assert store.load("k") == b"v"


# More streams than ids.


def test_streams_use_ids_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ids have run out those of dropped streams are used again, and then there are no more."""
    monkeypatch.setattr("rxplus.stores._tables._MAX_STREAMS", 3)
    with SQLiteStore(path) as store:
        for name in "abc":
            store.append(name, [name])
        with pytest.raises(StoreFullError, match="has 3 streams; drop some"):
            store.append("d", ["d"])
        store.drop("b")
        store.append("d", ["d"])
        assert [store.pending(name)[0].payload for name in "acd"] == ["a", "c", "d"]


# Commits that are shared.


def test_callers_at_the_same_time_share_a_commit(store: SQLiteStore) -> None:
    """What waits while a transaction is open is committed together, each with its own outcome."""
    commits: list[str] = []
    threads, results = [], dict[int, object]()
    store._connection.set_trace_callback(lambda sql: commits.append(sql))

    def append(n: int) -> None:
        try:
            results[n] = store.append("s", [5] if n == 3 else [str(n)])  # type: ignore[list-item]
        except TypeError as exc:
            results[n] = exc

    with store.transaction():
        for n in range(6):
            threads.append(threading.Thread(target=append, args=(n,)))
            threads[-1].start()
        while len(store._committer._jobs) < 5:
            threads[3].join(0.001)
        store.acknowledge("s", 0)
    for thread in threads:
        thread.join()
    store._connection.set_trace_callback(None)
    assert commits.count("COMMIT") == 2
    assert isinstance(results.pop(3), TypeError)
    assert sorted(results.values()) == [1, 2, 3, 4, 5]  # type: ignore[type-var]  # numbers


def test_callers_that_share_a_commit_fail_alone(store: SQLiteStore, path: Path) -> None:
    """One whose message does not fit does not spoil the others' commit."""
    threads, results = [], dict[str, object]()
    make_room = fill_disk(store)

    def append(name: str, payload: str) -> None:
        try:
            results[name] = store.append(name, [payload])
        except StoreFullError as exc:
            results[name] = exc

    with store.transaction():
        for name, payload in (("a", "small"), ("b", "x" * 100_000), ("c", "small")):
            threads.append(threading.Thread(target=append, args=(name, payload)))
            threads[-1].start()
        while len(store._committer._jobs) < 3:
            threads[0].join(0.001)
    for thread in threads:
        thread.join()
    assert (results["a"], results["c"]) == (1, 1)
    assert isinstance(results["b"], StoreFullError)
    make_room()


def test_acknowledgement_does_not_wait_for_another_thread(store: SQLiteStore) -> None:
    """While another thread writes, an acknowledgement is left for it to take along."""
    store.append("s", ["a", "b"])
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            inside.set()
            assert done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    store.acknowledge("s", 1)
    done.set()
    thread.join()
    assert store._connection.execute("SELECT count(*) FROM messages").fetchone() == (1,)


def test_full_sync_only_for_what_must_be_safe(path: Path) -> None:
    """With synchronous="full" a message waits for the disk, and an acknowledgement does not."""
    with SQLiteStore(path, synchronous="full") as store:

        def mode() -> object:
            return store._connection.execute("PRAGMA synchronous").fetchone()[0]

        store.append("s", ["a"])
        assert mode() == 2
        store.acknowledge("s", 1)
        assert mode() == 1
        with store.transaction():
            assert mode() == 2


def test_finalizer_in_the_middle_of_a_call(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the garbage collector calls while a thread has its turn is a part of that turn."""
    seen: list[object] = []

    def interfering(name: str) -> None:
        original = getattr(Tables, name)

        def interfere(*args: object) -> object:
            monkeypatch.undo()
            store.save("k", b"%d" % len(seen))
            store.acknowledge("s", 99)
            seen.append(store.load("k"))
            return original(*args)

        monkeypatch.setattr(Tables, name, interfere)

    store.append("s", ["a"])
    interfering("stream")  # while it reads
    assert store.last("s") == 1
    interfering("append")  # while it writes
    assert store.append("s", ["b"]) == 2
    assert seen == [b"0", b"1"]
    assert [one.payload for one in store.pending("s")] == ["b"]


def test_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal comes with opening, not with the first write; root may write everything."""
    path = tmp_path / "store.db"
    SQLiteStore(path).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="is read-only; make the file writable"):
        SQLiteStore(path)


def test_store_of_another_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forked child is told to open its own."""
    with SQLiteStore(tmp_path / "store.db") as store:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            with pytest.raises(StoreError, match="was opened before a fork"):
                store.last("s")
        assert store.last("s") == 0
