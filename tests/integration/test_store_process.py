"""The embedded store and real processes: killed, forked, refused, out of room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from rxplus import StoreLockedError
from rxplus.stores import SQLiteStore

LIMIT = 60
"""Seconds after which a process that hangs fails the test."""

APPEND = """
import os, sys, threading
from rxplus.stores import SQLiteStore

path, size, threads, synchronous = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
store = SQLiteStore(path, max_messages=10**9, max_bytes=10**12, synchronous=synchronous)

def append(name):
    number = store.last(name)
    while True:
        number += 1
        assert store.append(name, [b"%d" % number + b"." * size]) == number
        os.write(1, b"%s %d\\n" % (name.encode(), number))
        if number % 50 == 0:
            store.save("acknowledged/" + name, b"%d" % (number - 40))
            store.acknowledge(name, number - 40)

for n in range(threads):
    threading.Thread(target=append, args=(f"t{n}",)).start()
"""
"""Appends for ever, and says which numbers are safe."""


@contextmanager
def started(code: str, *args: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that runs ``code``, and kill it at the end, or when it takes too long."""
    command = [sys.executable, "-c", code, *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        watchdog = threading.Timer(LIMIT, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()
            assert process.stdout is not None
            process.stdout.read()  # closing the pipe first would be an error to the process


def run(code: str, *args: object) -> str:
    """Run a process to its end; return what it printed."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    # Not measured: a process that gives up its rights cannot write what coverage found.
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def kill_after(lines: int, code: str, *args: object) -> list[str]:
    """Kill a process when it has printed some lines; return all that it has printed."""
    with started(code, *args) as process:
        assert process.stdout is not None
        read = b"".join(process.stdout.readline() for _ in range(lines))
        process.kill()
        read += process.stdout.read()
        assert process.wait() == -signal.SIGKILL
    return [line.decode() for line in read.splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.parametrize(
    ("synchronous", "size", "threads"),
    [
        pytest.param(*case, marks=pytest.mark.once if number else ())
        for number, case in enumerate(product(("normal", "full"), (64, 16_384), (4, 1)))
    ],
)
def test_kill_keeps_everything_that_was_appended(
    tmp_path: Path, size: int, threads: int, synchronous: str
) -> None:
    """What append() has returned for is there after SIGKILL, in order, and nothing else is."""
    path = tmp_path / "store.db"
    for round_ in range(3):
        printed = kill_after(37 + 61 * round_, APPEND, path, size, threads, synchronous)
        safe: dict[str, int] = {}
        for line in printed:
            name, number = line.split()
            safe[name] = int(number)
        with SQLiteStore(path) as store:
            for name in store.streams():
                last = store.last(name)
                # One more may have been written, and not printed yet.
                assert safe.get(name, 0) <= last
                stored = store.pending(name, limit=10**6)
                forgotten = last - len(stored)
                assert [one.number for one in stored] == list(range(forgotten + 1, last + 1))
                saved = int(store.load(f"acknowledged/{name}") or b"0")
                assert forgotten in (saved, max(saved - 50, 0))
                for one in stored:
                    assert one.payload == b"%d" % one.number + b"." * size
            assert safe.keys() <= set(store.streams())


def test_store_of_a_running_process_is_refused(tmp_path: Path) -> None:
    """Another process that has the file open is named; once it is killed the file is free."""
    path = tmp_path / "store.db"
    with started(APPEND, path, 64, 1, "normal") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        with pytest.raises(StoreLockedError, match=f"in use by process {process.pid}"):
            SQLiteStore(path)
    with SQLiteStore(path) as store:
        assert store.last("t0") >= 1


FORK = """
import os, sys
from rxplus import StoreError
from rxplus.stores import SQLiteStore

path = sys.argv[1]
store = SQLiteStore(path)
store.append("s", ["before"])
child_may_end, parent_is_done = os.pipe(), os.pipe()
pid = os.fork()
if not pid:
    for use in (lambda: store.append("s", ["child"]), lambda: store.pending("s")):
        try:
            use()
        except StoreError as exc:
            assert "opened before a fork" in str(exc), exc
        else:
            raise AssertionError("the child could use the parent's store")
    store.close()
    os.read(child_may_end[0], 1)
    sys.exit(0)  # with finalizers, which must not touch the file

store.append("s", ["after"])
store.close()
with SQLiteStore(path) as other:  # the child does not hold the lock
    other.append("s", ["other"])
again = SQLiteStore(path)
again.append("s", ["in the log"])
os.write(child_may_end[1], b".")
assert os.waitpid(pid, 0)[1] == 0
log = path + "-wal"
assert os.path.getsize(log) > 0, "the child has removed the log"
assert again.append("s", ["last"]) == 5
print(*(one.payload for one in again.pending("s")), sep=",")
again.close()
"""


def test_forked_child_leaves_the_store_alone(tmp_path: Path) -> None:
    """A child can neither use nor harm the store of its parent, nor does it keep it locked."""
    assert run(FORK, tmp_path / "store.db") == "before,after,other,in the log,last\n"


FORK_THAT_STARTS_LATE = """
import os, sys

child_may_run = os.pipe()
# Before the store's own: what runs first in a child waits.
os.register_at_fork(after_in_child=lambda: os.read(child_may_run[0], 1))
from rxplus.stores import SQLiteStore

store = SQLiteStore(sys.argv[1])
pid = os.fork()
if not pid:
    sys.exit(0)
try:
    store.close()
    again = SQLiteStore(sys.argv[1])
finally:
    os.write(child_may_run[1], b".")
assert os.waitpid(pid, 0)[1] == 0
print(again.append("s", ["held by nobody"]))
again.close()
"""


def test_forked_child_that_has_not_run_yet_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A parent that closes its store can open it again at once, however slow its child is."""
    assert run(FORK_THAT_STARTS_LATE, tmp_path / "store.db") == "1\n"


FORK_AND_DIE = """
import os, signal, sys
from rxplus.stores import SQLiteStore

store = SQLiteStore(sys.argv[1])
store.append("s", ["a"])
here, there = os.pipe()
pid = os.fork()
if not pid:
    os.write(there, b".")  # after what Python does in a child first
    os.close(1)
    signal.pause()
os.read(here, 1)
os.write(1, b"%d\\n" % pid)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_forked_child_that_outlives_its_parent(tmp_path: Path) -> None:
    """A child that goes on when its parent was killed does not keep the file from the next one."""
    path = tmp_path / "store.db"
    with started(FORK_AND_DIE, path) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait(LIMIT)
        try:
            with SQLiteStore(path) as store:
                assert store.append("s", ["b"]) == 2
        finally:
            os.kill(child, signal.SIGKILL)
    with SQLiteStore(path) as store:
        assert store.last("s") == 2


FILE_LIMIT = """
import resource, sys
from rxplus import StoreError, StoreFullError
from rxplus.stores import SQLiteStore

store = SQLiteStore(sys.argv[1])
store.append("s", ["before"])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
number = 1
try:
    while True:
        assert store.append("s", [b"." * 10_000]) == number + 1
        number += 1
except StoreError as exc:
    assert "a limit on the size of files" in str(exc), exc
assert number > 5
assert store.last("s") == number == len(store.pending("s"))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.append("s", ["there is room again"]) == number + 1
store.close()
with SQLiteStore(sys.argv[1]) as store:
    assert len(store.pending("s")) == number + 1
print("ok")
"""


def test_limit_on_file_size(tmp_path: Path) -> None:
    """A write that the system refuses half-way leaves nothing half-written."""
    assert run(FILE_LIMIT, tmp_path / "store.db") == "ok\n"


FULL_DISK = """
import os, sys
from pathlib import Path
from rxplus import StoreError, StoreFullError
from rxplus.stores import SQLiteStore

folder = Path(sys.argv[1])
store = SQLiteStore(folder / "store.db")
store.append("s", [b"1." + b"." * 20_000])
ballast = open(folder / "ballast", "wb", buffering=0)
try:
    while True:
        ballast.write(bytes(4096))
except OSError:
    pass
try:
    store.append("s", ["x"])
except StoreFullError as exc:
    assert "the disk is full but for 0 bytes" in str(exc), exc
import rxplus.stores._tables
rxplus.stores._tables.RESERVE = -10**9  # as if another program had been faster
number, refused = 1, 0
while refused < 10:
    try:
        store.append("s", [b"%d." % (number + 1) + b"." * 20_000])
        number += 1
    except StoreFullError as exc:
        assert "the disk is full" in str(exc), exc
        refused += 1
assert len(store.pending("s")) == store.last("s") == number
os.write(1, b"%d\\n" % number)
os.kill(os.getpid(), 9)
"""

FULL_DISK_AGAIN = """
import sys
from pathlib import Path
from rxplus.stores import SQLiteStore

folder, number = Path(sys.argv[1]), int(sys.argv[2])
with SQLiteStore(folder / "store.db") as store:  # opens, although the disk is still full
    assert store.last("s") == number
    store.acknowledge("s", number - 1)  # holds, written or not
    assert [one.number for one in store.pending("s")] == [number]
    (folder / "ballast").unlink()
    assert store.append("s", ["there is room again"]) == number + 1
with SQLiteStore(folder / "store.db") as store:
    first, last = store.pending("s")
    assert first.payload.startswith(b"%d." % number)
    assert last.payload == "there is room again"
print("ok")
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets only root mount disks; see test_limit_on_file_size")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(small_disk: Path) -> None:
    """A full disk refuses messages, loses none, also when killed, and recovers with room."""
    with started(FULL_DISK, small_disk) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        process.wait(LIMIT)
    assert run(FULL_DISK_AGAIN, small_disk, number) == "ok\n"


READ_ONLY = """
import os, sys
from rxplus import StoreError
from rxplus.stores import SQLiteStore

os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # nobody
try:
    SQLiteStore("store.db")
except StoreError as exc:
    print(exc)
"""


def test_file_that_may_not_be_written(tmp_path: Path) -> None:
    """A file or a folder without permission to write is refused, with what to do."""
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    path = tmp_path / "store.db"
    SQLiteStore(path).close()
    lock = tmp_path / "store.db.lock"
    try:
        path.chmod(0o444)
        lock.chmod(0o444)
        tmp_path.chmod(0o555)
        assert "Permission denied" in run(READ_ONLY, tmp_path)
        lock.chmod(0o666)
        assert "is read-only; make the file writable" in run(READ_ONLY, tmp_path)
        path.chmod(0o666)
        assert "make the file and its folder writable" in run(READ_ONLY, tmp_path)
    finally:
        tmp_path.chmod(0o755)
