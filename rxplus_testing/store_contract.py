"""What every store must do, as tests that any store can be put through.

Subclass :class:`StoreContract`, say how to open the store, and let a test runner find the class::

    class TestMyStore(StoreContract):
        def open(self) -> Store:
            return MyStore(self.table)

Nothing here needs pytest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rxplus_testing._rxplus import Payload, Store, StoreError, StoreFullError
from rxplus_testing.contract import refuses

__all__ = ["StoreContract"]

PAYLOADS: list[Payload] = [
    "",
    b"",
    "text",
    b"text",
    "\0",
    b"\0",
    "ä€😀",
    bytes(range(256)),
    "x" * 99_999,
]

THREADS = 8


class Interrupted(Exception):  # noqa: N818 - what a case raises to leave a transaction
    """Leaves a transaction in the middle."""


def interrupt() -> None:
    """Leave a transaction in the middle."""
    raise Interrupted


class StoreContract:
    """Cases that need a fresh store each: ``open()`` is about a place of its own in each test."""

    def open(self) -> Store:
        """Open the store. Called again after ``close()``, it opens the same contents."""
        raise NotImplementedError

    def open_limited(self, max_messages: int) -> Store | None:
        """Open one with this limit; ``None`` if such a store has none."""
        return None

    def open_aging(self, max_age: float, clock: Callable[[], float]) -> Store | None:
        """Open one whose messages expire, by this clock; ``None`` if such a store has no limit."""
        return None

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Open the store for a while."""
        store = self.open()
        try:
            yield store
        finally:
            store.close()

    def numbers(self, store: Store, stream: str = "s") -> list[int]:
        """Return the numbers of what is pending."""
        return [one.number for one in store.pending(stream)]

    # Streams.

    def test_append_numbers_go_up_by_one(self) -> None:
        """The first message of a stream is 1, and append returns the number of its first."""
        with self.opened() as store:
            assert store.append("s", ["a", "b"]) == 1
            assert store.append("s", ["c"]) == 3
            assert store.append("other", ["x"]) == 1
            assert [(one.number, one.payload) for one in store.pending("s")] == [
                (1, "a"),
                (2, "b"),
                (3, "c"),
            ]

    def test_append_of_nothing_makes_the_stream(self) -> None:
        """The number of a first that is not there is that of the next message."""
        with self.opened() as store:
            assert store.append("s", []) == 1
            assert store.streams() == ["s"]
            assert store.append("s", ["a"]) == 1
            assert store.append("s", []) == 2
            assert store.last("s") == 1

    def test_append_keeps_payloads(self) -> None:
        """Text stays text and bytes stay bytes, whatever is in them."""
        with self.opened() as store:
            store.append("s", PAYLOADS)
        with self.opened() as store:
            kept = [one.payload for one in store.pending("s")]
            assert kept == PAYLOADS
            assert [type(one) for one in kept] == [type(one) for one in PAYLOADS]

    def test_append_says_when(self) -> None:
        """The time of a message does not change."""
        with self.opened() as store:
            store.append("s", ["a"])
            (before,) = store.pending("s")
            assert before.at > 0.0
        with self.opened() as store:
            assert store.pending("s") == [before]

    def test_pending_after_and_limit(self) -> None:
        """Messages are read in order, a piece at a time."""
        with self.opened() as store:
            store.append("s", [str(n) for n in range(1, 11)])
            assert [one.payload for one in store.pending("s", after=3, limit=4)] == [*"4567"]
            assert self.numbers(store) == list(range(1, 11))
            assert store.pending("s", after=10) == []
            assert store.pending("s", after=99) == []
            assert store.pending("s", limit=0) == []

    def test_pending_of_an_unknown_stream_is_empty(self) -> None:
        """A stream that does not exist has nothing pending, and is not made by asking."""
        with self.opened() as store:
            assert store.pending("s") == []
            assert store.last("s") == 0
            store.acknowledge("s", 5)
            assert store.streams() == []

    def test_acknowledge_forgets(self) -> None:
        """What is acknowledged is gone, itself included, and stays so."""
        with self.opened() as store:
            store.append("s", ["a", "b", "c"])
            store.acknowledge("s", 2)
            assert self.numbers(store) == [3]
            store.acknowledge("s", 2)
            store.acknowledge("s", 1)
            assert self.numbers(store) == [3]
        with self.opened() as store:
            assert self.numbers(store) == [3]

    def test_acknowledge_is_about_one_stream(self) -> None:
        """Another stream keeps its messages of the same numbers."""
        with self.opened() as store:
            store.append("s", ["a", "b"])
            store.append("t", ["a", "b"])
            store.acknowledge("s", 2)
            assert self.numbers(store, "s") == []
            assert self.numbers(store, "t") == [1, 2]

    def test_acknowledge_of_more_than_there_is(self) -> None:
        """A number beyond the last forgets everything, and does not use up numbers."""
        with self.opened() as store:
            store.append("s", ["a"])
            store.acknowledge("s", 99)
            assert self.numbers(store) == []
            assert store.append("s", ["b"]) == 2
            assert self.numbers(store) == [2]

    def test_numbers_are_never_used_twice(self) -> None:
        """Numbers go on after everything was acknowledged, and after a restart."""
        with self.opened() as store:
            store.append("s", ["a", "b"])
            store.acknowledge("s", 2)
        with self.opened() as store:
            assert store.last("s") == 2
            assert store.append("s", ["c"]) == 3
            store.acknowledge("s", 3)
            assert store.append("s", ["d"]) == store.last("s") == 4

    def test_streams_names_all(self) -> None:
        """A stream exists from its first message on, also when all were acknowledged."""
        with self.opened() as store:
            store.append("s", ["a"])
            store.append("ä/€", ["b"])
            store.acknowledge("s", 1)
            assert sorted(store.streams()) == ["s", "ä/€"]
        with self.opened() as store:
            assert sorted(store.streams()) == ["s", "ä/€"]

    def test_drop_forgets_a_stream(self) -> None:
        """Messages, numbering and name are gone; other streams are not touched."""
        with self.opened() as store:
            store.append("s", ["a", "b"])
            store.append("t", ["c"])
            store.drop("s")
            store.drop("never there")
            assert store.streams() == ["t"]
            assert self.numbers(store) == []
            assert store.append("s", ["d"]) == 1
            assert [one.payload for one in store.pending("s")] == ["d"]
            assert self.numbers(store, "t") == [1]

    def test_many_streams(self) -> None:
        """Streams that come and go do not mix."""
        with self.opened() as store:
            for n in range(50):
                store.append(f"s{n}", [str(n)])
                if n % 2:
                    store.drop(f"s{n - 1}")
            kept = [f"s{n}" for n in range(50) if n % 2]
            assert sorted(store.streams()) == sorted(kept)
            assert [store.pending(name)[0].payload for name in kept] == [one[1:] for one in kept]

    # Age.

    def test_expired_without_a_limit(self) -> None:
        """Without a limit nothing is ever too old."""
        with self.opened() as store:
            store.append("s", ["a"])
            assert store.expired("s") == 0
            assert store.expired("never there") == 0

    def test_expired_tells_and_keeps(self) -> None:
        """Messages that are too old are named, a stream at a time, until they are acknowledged."""
        now = [100.0]
        store = self.open_aging(25.0, lambda: now[0])
        if store is None:
            return
        store.append("s", ["100", "100"])
        now[0] = 110.0
        store.append("t", ["110"])
        now[0] = 120.0
        store.append("s", ["120"])
        assert (store.expired("s"), store.expired("t")) == (0, 0)
        now[0] = 126.0
        assert (store.expired("s"), store.expired("t")) == (2, 0)
        assert self.numbers(store) == [1, 2, 3]
        store.acknowledge("s", 1)
        assert store.expired("s") == 2
        store.acknowledge("s", 2)
        assert store.expired("s") == 0
        now[0] = 146.0
        assert (store.expired("s"), store.expired("t")) == (3, 1)
        store.acknowledge("s", 3)
        assert store.expired("s") == 0
        assert store.expired("never there") == 0
        store.close()

    def test_expired_when_a_clock_goes_back(self) -> None:
        """Only messages before the first young one expire: those that go, go in order."""
        now = [500.0]
        store = self.open_aging(50.0, lambda: now[0])
        if store is None:
            return
        store.append("s", ["500"])
        now[0] = 100.0
        store.append("s", ["100"])
        now[0] = 520.0
        assert store.expired("s") == 0
        store.acknowledge("s", 1)
        assert store.expired("s") == 2
        store.close()

    # Values.

    def test_save_keeps_values(self) -> None:
        """A value is replaced, forgotten by None, and there again after a restart."""
        with self.opened() as store:
            assert store.load("k") is None
            store.save("k", b"one")
            store.save("k", b"two")
            store.save("empty", b"")
            store.save("gone", b"x")
            store.save("gone", None)
            store.save("never there", None)
        with self.opened() as store:
            assert store.load("k") == b"two"
            assert store.load("empty") == b""
            assert store.load("gone") is None

    # Transactions.

    def test_transaction_is_one(self) -> None:
        """All calls of a block are kept, and seen within it."""
        with self.opened() as store, store.transaction():
            store.append("s", ["a", "b"])
            store.acknowledge("s", 1)
            store.save("k", b"v")
            assert self.numbers(store) == [2]
            assert store.load("k") == b"v"
            assert store.last("s") == 2
            assert store.streams() == ["s"]
        with self.opened() as store:
            assert self.numbers(store) == [2]
            assert store.load("k") == b"v"

    def test_transaction_is_known_to_its_thread(self) -> None:
        """Each thread hears of its own, until that ends."""
        with self.opened() as store:
            assert not store.in_transaction
            with store.transaction():
                assert store.in_transaction
                with store.transaction():
                    pass
                assert store.in_transaction
                elsewhere: list[bool] = []
                other = threading.Thread(target=lambda: elsewhere.append(store.in_transaction))
                other.start()
                other.join()
                assert elsewhere == [False]
            assert not store.in_transaction

    def test_transaction_that_raises_is_undone(self) -> None:
        """Nothing of a block that raises is kept, numbers included."""
        with self.opened() as store:
            store.append("s", ["a", "b"])
            store.append("t", ["x"])
            store.save("k", b"before")
            try:
                with store.transaction():
                    store.append("s", ["c"])
                    store.acknowledge("s", 2)
                    store.append("new", ["y"])
                    store.drop("t")
                    store.save("k", b"after")
                    interrupt()
            except Interrupted:
                pass
            self.check_undone(store)
        with self.opened() as store:
            self.check_undone(store)
            assert store.append("s", ["c"]) == 3

    def check_undone(self, store: Store) -> None:
        """Check that what was there before the block is there."""
        assert self.numbers(store) == [1, 2]
        assert store.last("s") == 2
        assert sorted(store.streams()) == ["s", "t"]
        assert self.numbers(store, "t") == [1]
        assert store.load("k") == b"before"

    def test_transaction_nested(self) -> None:
        """The outermost block counts: it undoes what an inner one has done."""
        with self.opened() as store:
            with store.transaction():
                with store.transaction():
                    store.append("s", ["a"])
                store.append("s", ["b"])
            assert self.numbers(store) == [1, 2]
            try:
                with store.transaction():
                    with store.transaction():
                        store.append("s", ["c"])
                    interrupt()
            except Interrupted:
                pass
            assert self.numbers(store) == [1, 2]

    # Threads.

    def test_threads_append_to_one_stream(self) -> None:
        """No number is given twice or left out, and each thread's messages stay in order."""

        def work(store: Store, name: str) -> None:
            for n in range(50):
                number = store.append("s", [f"{name}/{n}"])
                (stored,) = store.pending("s", after=number - 1, limit=1)
                assert stored.payload == f"{name}/{n}"

        with self.opened() as store:
            in_threads(lambda name: work(store, name))
            stored = store.pending("s")
            assert [one.number for one in stored] == list(range(1, THREADS * 50 + 1))
            for thread in range(THREADS):
                mine = [str(one.payload) for one in stored]
                mine = [one for one in mine if one.startswith(f"{thread}/")]
                assert mine == [f"{thread}/{n}" for n in range(50)]

    def test_threads_wait_for_a_transaction(self) -> None:
        """A value that is read and written within a transaction is changed by one at a time."""

        def work(store: Store) -> None:
            for _ in range(25):
                with store.transaction():
                    store.save("n", b"%d" % (int(store.load("n") or b"0") + 1))

        with self.opened() as store:
            in_threads(lambda _: work(store))
            assert store.load("n") == b"%d" % (THREADS * 25)

    def test_threads_acknowledge_while_others_append(self) -> None:
        """Appending and acknowledging at the same time loses nothing."""
        with self.opened() as store:

            def work(name: str) -> None:
                for _ in range(50):
                    store.acknowledge(name, store.append(name, ["a", "b"]))

            in_threads(work)
            for thread in range(THREADS):
                assert self.numbers(store, str(thread)) == [100]

    # The end, and no room.

    def test_close_twice_is_harmless(self) -> None:
        """Closing is idempotent, and any other use afterwards raises StoreError."""
        store = self.open()
        store.close()
        store.close()
        refuses(StoreError, store.append, "s", ["a"])
        refuses(StoreError, store.pending, "s")
        refuses(StoreError, store.acknowledge, "s", 1)
        refuses(StoreError, store.last, "s")
        refuses(StoreError, store.expired, "s")
        refuses(StoreError, store.streams)
        refuses(StoreError, store.drop, "s")
        refuses(StoreError, store.load, "k")
        refuses(StoreError, store.save, "k", b"v")
        refuses(StoreError, store.transaction().__enter__)

    def test_full_store_refuses_all_or_nothing(self) -> None:
        """What does not fit is refused as a whole; there is room again after an acknowledgement."""
        store = self.open_limited(3)
        if store is None:
            return
        store.append("s", ["a", "b"])
        refuses(StoreFullError, store.append, "s", ["c", "d"])
        refuses(StoreFullError, store.append, "new", ["c", "d"])
        assert self.numbers(store) == [1, 2]
        assert store.streams() == ["s"]
        assert store.append("s", ["c"]) == 3
        store.save("k", b"values take no room")
        assert store.append("t", []) == 1
        store.acknowledge("s", 2)
        assert store.append("s", ["d", "e"]) == 4
        store.close()

    def test_full_store_within_a_transaction(self) -> None:
        """A call that was refused has changed nothing, and the block may go on."""
        store = self.open_limited(3)
        if store is None:
            return
        with store.transaction():
            store.append("s", ["a"])
            refuses(StoreFullError, store.append, "s", ["b", "c", "d"])
            store.append("s", ["b"])
        assert [one.payload for one in store.pending("s")] == ["a", "b"]
        store.close()


def in_threads(work: Callable[[str], object]) -> None:
    """Call ``work`` in several threads at once, each with a name of its own."""
    failures: list[BaseException] = []
    start = threading.Barrier(THREADS)

    def run(name: str) -> None:
        try:
            start.wait()
            work(name)
        except BaseException as exc:  # noqa: BLE001 - raised again below
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(str(n),)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
