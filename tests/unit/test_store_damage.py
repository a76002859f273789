"""A damaged store: nothing wrong is ever given back, the file is kept, and what can be is saved."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rxplus import Payload, StoreDamagedError, StoreError, StoreLockedError
from rxplus.stores import Salvaged, SQLiteStore, salvage

STREAMS = {"a": 60, "b": 3, "long": 8}
KEYS = ["session/a", "session/b"]

Seen = dict[str, object]


def payload(stream: str, number: int) -> Payload:
    """Return what a test's message holds."""
    text = f"{stream}/{number}/" + "x" * (9000 if stream == "long" else 40)
    return text if number % 2 else text.encode()


def real_payloads() -> set[Payload]:
    """Return everything that was ever put in."""
    return {payload(stream, n) for stream, last in STREAMS.items() for n in range(1, last + 1)}


def fill(store: SQLiteStore) -> None:
    """Put in what the tests look for."""
    for stream, last in STREAMS.items():
        for number in range(1, last + 1):
            store.append(stream, [payload(stream, number)])
    store.acknowledge("a", 10)
    store.append("done", ["x"])
    store.acknowledge("done", 1)
    for key in KEYS:
        store.save(key, key.encode() * 5)


def look(store: SQLiteStore) -> Seen:
    """Return everything that is in a store, but for the times."""
    seen: Seen = {key: store.load(key) for key in KEYS}
    for stream in store.streams():
        messages = [(one.number, one.payload) for one in store.pending(stream)]
        seen[stream] = (store.last(stream), messages)
    return seen


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that was closed."""
    folder = tmp_path_factory.mktemp("clean")
    with SQLiteStore(folder / "store.db") as store:
        fill(store)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store as a killed process leaves it: with a log."""
    folder = tmp_path_factory.mktemp("killed")
    with SQLiteStore(folder / "open.db") as store:
        fill(store)
        for suffix in ("", "-wal"):
            shutil.copyfile(folder / f"open.db{suffix}", folder / f"store.db{suffix}")
    return folder


@pytest.fixture(scope="module")
def whole(clean: Path) -> Seen:
    """What is in both."""
    with SQLiteStore(clean / "store.db") as store:
        return look(store)


class Wreck:
    """A copy of a store that is damaged again and again."""

    def __init__(self, origin: Path, folder: Path, whole: Seen) -> None:
        self.path = folder / "store.db"
        self.whole = whole
        self._origin = {
            name: (origin / name).read_bytes()
            for name in ("store.db", "store.db-wal")
            if (origin / name).exists()
        }
        self.refused = 0

    def prepared(self) -> Wreck:
        """Make the folder."""
        self.path.parent.mkdir()
        return self

    def size(self, name: str) -> int:
        """Return the size of a file."""
        return len(self._origin[name])

    def damage(self, name: str, change: Callable[[bytearray], object]) -> None:
        """Change one file of a fresh copy."""
        shutil.rmtree(self.path.parent)
        self.path.parent.mkdir()
        for each, content in self._origin.items():
            data = bytearray(content)
            if each == name:
                change(data)
            (self.path.parent / each).write_bytes(data)

    def contents(self) -> dict[str, bytes]:
        """Return the files that hold the data."""
        return {name: (self.path.parent / name).read_bytes() for name in self._origin}

    def read(self) -> Seen | None:
        """Return what the store gives back; ``None`` if it says that it is damaged."""
        before = self.contents()
        try:
            store = SQLiteStore(self.path, synchronous="full")
        except StoreError as exc:
            assert self.contents() == before
            self.refused += str(self.path) in str(exc)
            return None
        with store:
            try:
                return look(store)
            except StoreDamagedError:
                self.refused += 1
                return None

    def check(self) -> None:
        """Check that the store gives back what it was given, or says that it is damaged."""
        assert self.read() in (None, self.whole)


def flip(at: int, bit: int) -> Callable[[bytearray], object]:
    """Return what flips one bit."""

    def change(data: bytearray) -> None:
        data[at] ^= 1 << bit

    return change


def wipe(at: int, length: int) -> Callable[[bytearray], object]:
    """Return what overwrites a stretch with zeros."""

    def change(data: bytearray) -> None:
        data[at : at + length] = bytes(len(data[at : at + length]))

    return change


def cut(at: int) -> Callable[[bytearray], object]:
    """Return what cuts off the end."""

    def change(data: bytearray) -> None:
        del data[at:]

    return change


@pytest.fixture
def wreck(clean: Path, tmp_path: Path, whole: Seen) -> Wreck:
    """The store that was closed."""
    return Wreck(clean, tmp_path / "wreck", whole).prepared()


@pytest.fixture
def killed_wreck(killed: Path, tmp_path: Path, whole: Seen) -> Wreck:
    """The store that was killed."""
    return Wreck(killed, tmp_path / "wreck", whole).prepared()


def test_undamaged_copies_are_read(wreck: Wreck, killed: Path, tmp_path: Path) -> None:
    """The tests below begin with files that are all right."""
    wreck.damage("", cut(0))
    assert wreck.read() == wreck.whole
    other = Wreck(killed, tmp_path / "other", wreck.whole).prepared()
    other.damage("", cut(0))
    assert other.read() == wreck.whole


def test_flipped_bits_are_noticed(wreck: Wreck) -> None:
    """One bit anywhere in the file, every 509th byte: the same contents, or an error."""
    rng = random.Random(1)
    for at in range(0, wreck.size("store.db"), 509):
        wreck.damage("store.db", flip(at, rng.randrange(8)))
        wreck.check()
    assert wreck.refused


def test_flipped_bits_of_the_header_are_noticed(wreck: Wreck) -> None:
    """Each byte of the file's header, and of the first page's."""
    for at in range(110):
        wreck.damage("store.db", flip(at, at % 8))
        wreck.check()
    assert wreck.refused


def test_wiped_stretches_are_noticed(wreck: Wreck) -> None:
    """Zeros where there was something, at random places and lengths."""
    rng = random.Random(2)
    for _ in range(80):
        at = rng.randrange(wreck.size("store.db"))
        wreck.damage("store.db", wipe(at, rng.choice([1, 16, 512, 4096])))
        wreck.check()
    assert wreck.refused


def test_truncated_files_are_noticed(wreck: Wreck) -> None:
    """A file that has lost its end is refused, wherever it ends."""
    rng = random.Random(3)
    size = wreck.size("store.db")
    for at in [0, 1, 100, 511, *range(512, size, 4096), *(rng.randrange(size) for _ in range(50))]:
        wreck.damage("store.db", cut(at))
        assert wreck.read() is None


def test_mixed_up_pages_are_noticed(wreck: Wreck) -> None:
    """A page that has become a copy of another one."""
    rng = random.Random(4)
    pages = wreck.size("store.db") // 4096
    for _ in range(100):
        here, there = rng.sample(range(pages), 2)

        def change(data: bytearray, here: int = here, there: int = there) -> None:
            data[here * 4096 : here * 4096 + 4096] = data[there * 4096 : there * 4096 + 4096]

        wreck.damage("store.db", change)
        wreck.check()
    assert wreck.refused


def test_damaged_log_is_noticed(killed_wreck: Wreck) -> None:
    """A bit in the log, of which SQLite would drop the rest without a word.

    Only its last commit may go: it looks like one that was being written when power was lost.
    """
    wreck, rng = killed_wreck, random.Random(5)
    frame = 4096 + 24
    size = wreck.size("store.db-wal")
    last_commit = size - 2 * frame
    for at in [*range(60), *(rng.randrange(size) for _ in range(100))]:
        wreck.damage("store.db-wal", flip(at, rng.randrange(8)))
        if at < last_commit:
            wreck.check()
        else:
            wreck.read()
    assert wreck.refused


def test_log_that_was_not_waited_for(killed_wreck: Wreck, caplog: pytest.LogCaptureFixture) -> None:
    """Without waiting for the disk a loss of power may take what was written last: it is said."""
    wreck = killed_wreck
    wreck.damage("store.db-wal", flip(wreck.size("store.db-wal") - 40 * (4096 + 24), 0))
    with caplog.at_level("WARNING", "rxplus"), SQLiteStore(wreck.path) as store:
        assert store.last("a") > 0
    assert "has lost what was written last" in caplog.text


def test_log_that_ends_in_the_middle_of_a_frame(killed_wreck: Wreck) -> None:
    """A process that was killed while it wrote has left half a commit, and no damage."""
    wreck = killed_wreck
    for missing in (1, 100, 4096, 4096 + 23, 4096 + 24):
        wreck.damage("store.db-wal", cut(wreck.size("store.db-wal") - missing))
        seen = wreck.read()
        assert seen is not None
        assert seen["a"] == wreck.whole["a"]


def test_log_without_its_file_is_refused(killed_wreck: Wreck) -> None:
    """A file that is missing, or empty, while its log is there is not begun anew."""
    killed_wreck.damage("store.db", cut(0))
    assert killed_wreck.read() is None
    killed_wreck.path.unlink()
    with pytest.raises(StoreDamagedError, match="its log is there, and the file is not"):
        SQLiteStore(killed_wreck.path)
    assert not killed_wreck.path.exists()


def test_not_a_database_is_refused(tmp_path: Path) -> None:
    """Some other file is refused, with the way out, and not touched."""
    path = tmp_path / "store.db"
    path.write_bytes(b"hello" * 1000)
    with pytest.raises(StoreDamagedError, match=r"store.db' is damaged: file is not a data"):
        SQLiteStore(path)
    assert path.read_bytes() == b"hello" * 1000


def test_damage_that_cannot_be_told_is_refused(wreck: Wreck) -> None:
    """A report of SQLite's that is no text is a report of damage all the same."""

    def change(data: bytearray) -> None:
        data[data.index(b"sqlite_autoindex_streams") + 2] = 0xEC

    wreck.damage("store.db", change)
    with pytest.raises(StoreDamagedError, match="orphan index"):
        SQLiteStore(wreck.path)


def change_rows(path: Path, *statements: str) -> None:
    """Change a store as damage might, where SQLite finds nothing wrong with it."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM messages WHERE id % 7 = 0", "messages of stream 'a' have vanished"),
        ("UPDATE streams SET last = last + 1", "the row of stream '.+' has changed"),
        ("UPDATE streams SET name = 'c' WHERE name = 'b'", "the row of stream 'c' has changed"),
        ("DELETE FROM streams WHERE name = 'b'", "it has 3 messages of no stream"),
        ("INSERT INTO messages SELECT 7, at, 1, 0, '' FROM messages LIMIT 1", "1 messages of no"),
        ("""UPDATE "values" SET value = x'00' WHERE key = 'session/a'""", "value of 'session/a'"),
        ("""UPDATE "values" SET value = 5""", "the value of 'session/.' has changed"),
        ("CREATE TABLE more (x)", "the tables are not those of a store"),
    ],
)
def test_changed_rows_are_refused(wreck: Wreck, statement: str, message: str) -> None:
    """What SQLite takes for a good file is compared with what must be in it."""
    wreck.damage("", cut(0))
    change_rows(wreck.path, statement)
    with pytest.raises(StoreDamagedError, match=message):
        SQLiteStore(wreck.path)


@pytest.mark.parametrize(
    "change",
    [
        "is_text = 1 - is_text",
        "is_text = 2",
        "payload = x'00'",
        "payload = CAST(payload AS TEXT)",
        "at = at + 1",
        "at = 'never'",
        "checksum = checksum + 1",
    ],
)
def test_changed_message_is_not_given_back(wreck: Wreck, change: str) -> None:
    """A message that has changed is noticed when it is read; those before it can be."""
    wreck.damage("", cut(0))
    where = "WHERE id = (SELECT id FROM streams WHERE name = 'a') * 17592186044416 + 15"
    size = "UPDATE streams SET bytes = bytes"
    change_rows(wreck.path, f"UPDATE messages SET {change} {where}", size)
    try:
        store = SQLiteStore(wreck.path)
    except StoreDamagedError:
        assert "x'00'" in change  # its size does not fit either
        return
    with store:
        assert [one.number for one in store.pending("a", limit=4)] == [11, 12, 13, 14]
        with pytest.raises(StoreDamagedError, match="message 15 of 'a' has changed"):
            store.pending("a")


def test_vanished_message_is_noticed_while_open(wreck: Wreck) -> None:
    """Messages that vanish under a store's eyes are noticed as well."""
    wreck.damage("", cut(0))
    with SQLiteStore(wreck.path) as store:
        change_rows(wreck.path, "DELETE FROM messages")
        with pytest.raises(StoreDamagedError, match="50 messages of 'a' have vanished"):
            store.pending("a")


# Salvage.


def test_salvage_of_a_good_file_copies_it(killed_wreck: Wreck) -> None:
    """Everything is there, under its numbers, from the log as well; the original is kept."""
    wreck = killed_wreck
    wreck.damage("", cut(0))
    before, into = wreck.contents(), wreck.path.with_name("new.db")
    found = salvage(wreck.path, into)
    assert found == Salvaged(messages=61, missing=0, renumbered=[], values=2)
    assert wreck.contents() == before
    with SQLiteStore(into) as store:
        assert look(store) == wreck.whole
        assert store.append("done", ["next"]) == 2


def test_salvage_leaves_out_what_has_changed(wreck: Wreck) -> None:
    """A stream with a message missing gets new numbers; others are as they were."""
    wreck.damage("", cut(0))
    where = "WHERE id = (SELECT id FROM streams WHERE name = 'a') * 17592186044416 + 15"
    change_rows(
        wreck.path,
        f"UPDATE messages SET at = 0.5 {where}",
        """UPDATE "values" SET value = x'00' WHERE key = 'session/b'""",
    )
    into = wreck.path.with_name("new.db")
    found = salvage(wreck.path, into)
    assert found == Salvaged(messages=60, missing=1, renumbered=["a"], values=1)
    with SQLiteStore(into) as store:
        stored = store.pending("a")
        kept = [payload("a", n) for n in range(11, 61) if n != 15]
        assert [one.payload for one in stored] == kept
        assert [one.number for one in stored] == list(range(61, 110))
        assert look(store) | {"a": 0, KEYS[1]: 0} == wreck.whole | {"a": 0, KEYS[1]: 0}
        assert store.load(KEYS[1]) is None


def test_salvage_without_names(wreck: Wreck) -> None:
    """Messages whose stream's row is lost are kept under a name made up."""
    wreck.damage("", cut(0))
    change_rows(wreck.path, "DELETE FROM streams WHERE name = 'b'")
    into = wreck.path.with_name("new.db")
    found = salvage(wreck.path, into)
    assert (found.messages, found.missing, len(found.renumbered)) == (61, 0, 1)
    with SQLiteStore(into) as store:
        (name,) = found.renumbered
        assert [one.payload for one in store.pending(name)] == [payload("b", n) for n in (1, 2, 3)]


def test_salvage_of_an_old_row(wreck: Wreck) -> None:
    """A stream whose row is older than its messages keeps them all."""
    into = wreck.path.with_name("new.db")
    wreck.damage("", cut(0))
    old = wreck.path.with_name("old.db")
    with SQLiteStore(old) as store:
        store.append("a", ["x"])
        row = store._connection.execute("SELECT * FROM streams").fetchone()
    columns = ("acknowledged", "last", "bytes", "checksum")
    sets = ", ".join(f"{key} = {value}" for key, value in zip(columns, row[2:], strict=True))
    change_rows(wreck.path, f"UPDATE streams SET {sets} WHERE name = 'a'")
    found = salvage(wreck.path, into)
    assert (found.messages, found.missing, found.renumbered) == (61, 10, ["a"])


def test_salvage_reads_on_behind_damage(wreck: Wreck) -> None:
    """A page that cannot be read costs the messages in it, not those behind it."""
    pages = wreck.size("store.db") // 4096
    real, saved = real_payloads(), []
    for page in range(2, pages):
        wreck.damage("store.db", wipe(page * 4096, 4096))
        into = wreck.path.with_name("new.db")
        found = salvage(wreck.path, into)
        with SQLiteStore(into) as store:
            kept = {one.payload for name in store.streams() for one in store.pending(name)}
        assert kept <= real
        saved.append(found.messages)
    assert max(saved) == 61
    assert sorted(saved)[len(saved) // 2] >= 58


def test_salvage_never_invents(wreck: Wreck) -> None:
    """Whatever is damaged, each message that is salvaged is one that was there."""
    rng = random.Random(6)
    real = real_payloads()
    for _ in range(25):
        wreck.damage("store.db", wipe(rng.randrange(wreck.size("store.db")), 300))
        into = wreck.path.with_name("new.db")
        found = salvage(wreck.path, into)
        with SQLiteStore(into) as store:
            kept = [one.payload for name in store.streams() for one in store.pending(name)]
        assert len(kept) == found.messages
        assert set(kept) <= real


def test_salvage_refuses(wreck: Wreck) -> None:
    """A store that is in use, a file that is not there, and one that would be overwritten."""
    wreck.damage("", cut(0))
    into = wreck.path.with_name("new.db")
    with pytest.raises(StoreError, match="does not exist"):
        salvage(into, wreck.path)
    with pytest.raises(StoreError, match="exists; salvage into a new file"):
        salvage(wreck.path, wreck.path)
    with SQLiteStore(wreck.path), pytest.raises(StoreLockedError):
        salvage(wreck.path, into)
    assert not into.exists()
