"""From any thread to the loop: bounded, in order, one wake-up per burst, and none lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from doubles import Busy, HookEvent, ManualRuntime

from rxplus import (
    Buffer,
    BufferFullError,
    ComponentClosedError,
    Lease,
    LossReason,
    Overflow,
    Runtime,
)
from rxplus._engine.mailbox import Mailbox
from rxplus_testing import Sim


class Office:
    """A mailbox, and what its loop hears."""

    def __init__(
        self,
        overflow: Overflow | str = "block",
        *,
        runtime: Runtime,
        lease: Lease,
        max_messages: int = 2,
        max_bytes: int = 100,
        kind: type[Mailbox[str]] = Mailbox,
    ) -> None:
        self.heard: list[str] = []
        self.box = kind(
            runtime,
            lease,
            Buffer(max_messages=max_messages, max_bytes=max_bytes, overflow=Overflow.of(overflow)),
            name="RxTest-1",
            payload=lambda item: item,
            on_ready=lambda: self.heard.append("ready"),
            on_overrun=lambda: self.heard.append("overrun"),
        )

    def fill(self, items: str) -> None:
        """Put each letter as a message of ten bytes."""
        for item in items:
            self.box.put(item, 10)

    def take(self) -> str:
        """Take everything, as one string."""
        return "".join(item for item, _ in self.box.take(10**6))


def manual(overflow: Overflow | str = "block", **options: Any) -> tuple[Office, ManualRuntime]:
    """Make an office whose loop runs when the test says so."""
    runtime = ManualRuntime()
    return Office(overflow, runtime=runtime, lease=runtime.lease, **options), runtime


@pytest.fixture
def lease(sim: Sim) -> Iterator[Lease]:
    """A hold on the simulation's loop."""
    lease = sim.runtime.acquire()
    yield lease
    lease.release()


# ── waking ────────────────────────────────────────────────────────────────────────────────


def test_mailbox_wakes_the_loop_once_per_burst() -> None:
    """However many messages come before the loop looks, it is called once."""
    office, runtime = manual(max_messages=1000, max_bytes=10_000)
    office.fill("a" * 100)
    assert office.heard == []
    assert runtime.lease.run() == 1
    assert office.heard == ["ready"]
    office.fill("b")
    assert runtime.lease.run() == 1
    assert office.heard == ["ready", "ready"]


def test_mailbox_wakes_the_loop_for_what_comes_while_it_takes() -> None:
    """A message that comes after the loop has looked wakes it again."""
    office, runtime = manual()
    office.fill("a")
    runtime.lease.run()
    office.take()
    office.fill("b")
    assert runtime.lease.run() == 1
    assert office.take() == "b"


def test_mailbox_loses_no_wake_up_to_a_put_under_way() -> None:
    """A loop that wakes in the very middle of a put is woken again by the next one.

    The loop's turn is put in after the put has seen that the loop is woken
    already, and before it is done.
    """
    turns: list[int] = []

    class Preempted(Mailbox[str]):
        """A mailbox in whose put the loop gets a turn."""

        @property
        def _woken(self) -> bool:
            woken: bool = vars(self).get("woken", False)
            if woken and runtime.lease.calls:
                try:
                    turns.append(runtime.lease.run())
                except Busy:
                    turns.append(0)  # It waits until the put is done.
            return woken

        @_woken.setter
        def _woken(self, woken: bool) -> None:
            vars(self)["woken"] = woken

    office, runtime = manual(max_messages=9, kind=Preempted)
    office.fill("ab")
    assert turns, "the loop had no turn in the middle of the second put"
    runtime.lease.run()
    office.take()
    office.heard.clear()
    office.fill("c")
    runtime.lease.run()
    assert office.heard == ["ready"]


# ── order and size ────────────────────────────────────────────────────────────────────────


def test_mailbox_keeps_order_and_counts() -> None:
    """What is put comes out in order; number and size are those of what waits."""
    office, _ = manual(max_messages=9)
    office.fill("abc")
    assert (len(office.box), office.box.bytes) == (3, 30)
    assert office.box.take(20) == [("a", 10), ("b", 10)]
    assert (len(office.box), office.box.bytes) == (1, 10)


def test_mailbox_restore_puts_back_in_front() -> None:
    """What a broken connection did not take is the next to go."""
    office, _ = manual(max_messages=9)
    office.fill("ab")
    taken = office.box.take(10**6)
    office.fill("c")
    office.box.restore(taken)
    assert office.take() == "abc"


def test_mailbox_clear_returns_what_waited() -> None:
    """Who gives up on the messages learns which they were."""
    office, _ = manual()
    office.fill("ab")
    assert office.box.clear() == ["a", "b"]
    assert (len(office.box), office.box.bytes, office.box.clear()) == (0, 0, [])


# ── policies ──────────────────────────────────────────────────────────────────────────────


def test_mailbox_error_raises_at_once() -> None:
    """Under ``error`` the caller hears by name and number that there is no room."""
    office, _ = manual("error")
    office.fill("ab")
    with pytest.raises(BufferFullError) as caught:
        office.fill("c")
    assert str(caught.value) == "RxTest-1: 2 messages (20 bytes) wait to be sent"
    assert office.take() == "ab"


@pytest.mark.parametrize(
    ("policy", "left", "losses"),
    [
        ("drop_oldest", "bc", {LossReason.OVERFLOW: 1}),
        ("drop_newest", "ab", {LossReason.OVERFLOW: 1}),
        ("latest", "c", {LossReason.CONFLATED: 2}),
        (Overflow.latest(lambda item: item), "bc", {LossReason.OVERFLOW: 1}),
        ("disconnect", "", {LossReason.OVERFLOW: 3}),
    ],
)
def test_mailbox_tells_the_loop_of_losses(
    policy: Overflow | str, left: str, losses: dict[LossReason, int]
) -> None:
    """The loop is woken to hear what the policy dropped, and hears it once."""
    office, runtime = manual(policy)
    office.fill("abc")
    assert runtime.lease.run() > 0
    assert office.heard[0] == "ready"
    assert office.box.take_losses() == losses
    assert office.box.take_losses() == {}
    assert office.take() == left


def test_mailbox_wakes_the_loop_to_hear_of_a_loss_alone() -> None:
    """A message that was dropped at once is something to hear of too."""
    office, runtime = manual("drop_newest")
    office.fill("ab")
    runtime.lease.run()
    office.heard.clear()
    office.fill("c")
    runtime.lease.run()
    assert office.heard == ["ready"]


def test_mailbox_disconnect_tells_the_loop() -> None:
    """A consumer that is too slow is to be disconnected, on the loop thread."""
    office, runtime = manual("disconnect")
    office.fill("abc")
    assert "overrun" not in office.heard
    runtime.lease.run()
    assert office.heard == ["ready", "overrun"]


# ── waiting for room ──────────────────────────────────────────────────────────────────────


def test_mailbox_block_waits_for_room(sim: Sim, lease: Lease) -> None:
    """``on_next`` goes on as soon as something was taken."""
    office = Office(Overflow.block(10.0), runtime=sim.runtime, lease=lease)
    office.fill("ab")
    sim.at(3.0, lambda: office.box.take(0))
    office.fill("c")
    assert sim.now == 3.0
    assert office.take() == "bc"


def test_mailbox_block_waits_for_enough_room(sim: Sim, lease: Lease) -> None:
    """Room for less than the message is no room: it waits on."""
    office = Office(Overflow.block(10.0), runtime=sim.runtime, lease=lease)
    office.box.put("a", 40)
    office.box.put("b", 60)
    sim.at(1.0, lambda: office.box.take(0))
    sim.at(2.0, lambda: office.box.take(0))
    office.box.put("c", 90)
    assert sim.now == 2.0


def test_mailbox_block_gives_up_in_time(sim: Sim, lease: Lease) -> None:
    """When the time is over the message was not taken, and the caller hears it."""
    office = Office(Overflow.block(2.0), runtime=sim.runtime, lease=lease)
    office.fill("ab")
    with pytest.raises(BufferFullError) as caught:
        office.fill("c")
    assert sim.now == 2.0
    said = "RxTest-1: 2 messages (20 bytes) still wait to be sent after 2.0 s"
    assert str(caught.value) == said
    assert office.take() == "ab"


def test_mailbox_block_time_is_for_all_waits_together() -> None:
    """Being woken for nothing does not start the time again."""
    office, runtime = manual(Overflow.block(2.0))
    office.fill("ab")
    (room,) = runtime.events

    def woken_for_nothing() -> None:
        runtime.time += 1.5
        room.set()
        room.before_wait = lambda: setattr(runtime, "time", 2.0)

    room.before_wait = woken_for_nothing
    with pytest.raises(BufferFullError):
        office.fill("c")
    assert room.waits == [2.0, 0.5]


def test_mailbox_block_without_time_raises_at_once() -> None:
    """A timeout of zero is no wait at all, also when something wakes it."""
    office, runtime = manual(Overflow.block(0))
    office.fill("ab")
    with pytest.raises(BufferFullError, match=r"after 0 s"):
        office.fill("c")
    assert runtime.events[0].waits == []


def test_mailbox_block_for_ever(sim: Sim, lease: Lease) -> None:
    """``None`` waits as long as it takes."""
    office = Office(Overflow.block(None), runtime=sim.runtime, lease=lease)
    office.fill("ab")
    sim.at(10_000.0, office.box.clear)
    office.fill("c")
    assert sim.now == 10_000.0
    assert office.take() == "c"


def test_mailbox_block_raises_on_the_loop_thread(sim: Sim, lease: Lease) -> None:
    """A callback that waited for the loop would wait for itself."""
    office = Office(Overflow.block(None), runtime=sim.runtime, lease=lease)
    office.fill("ab")
    raised: list[BufferFullError] = []

    def callback() -> None:
        with pytest.raises(BufferFullError, match="callback on the loop thread") as caught:
            office.fill("c")
        raised.append(caught.value)

    sim.loop.call_soon(callback)
    sim.run_until_idle()
    assert "RxTest-1: 2 messages (20 bytes)" in str(raised[0])
    assert office.take() == "ab"


def test_mailbox_block_holds_no_lock_while_it_waits() -> None:
    """The loop can take while a thread waits for it to."""
    office, runtime = manual(Overflow.block(1.0))
    office.fill("ab")
    (room,) = runtime.events
    room.before_wait = lambda: office.box.take(0)
    office.fill("c")
    assert office.take() == "bc"


# ── the end ───────────────────────────────────────────────────────────────────────────────


def test_mailbox_sealed_takes_nothing() -> None:
    """Use after close is an error, by name; what waits can still be taken."""
    office, _ = manual()
    office.fill("a")
    office.box.seal()
    with pytest.raises(ComponentClosedError, match=r"^RxTest-1 is closed$"):
        office.fill("b")
    assert office.take() == "a"


def test_mailbox_seal_ends_the_wait_for_room(sim: Sim, lease: Lease) -> None:
    """A thread that waits for room does not outlive the component."""
    office = Office(Overflow.block(None), runtime=sim.runtime, lease=lease)
    office.fill("ab")
    sim.at(5.0, office.box.seal)
    with pytest.raises(ComponentClosedError):
        office.fill("c")
    assert sim.now == 5.0


def test_mailbox_seal_ends_every_wait_for_room() -> None:
    """One thread that finds it sealed does not undo the wake-up of another.

    Thread A has found no room and is about to wait. Before it does, B finds no
    room either, the mailbox is sealed, and B looks again and leaves.
    """
    office, runtime = manual(Overflow.block(None))
    office.fill("ab")
    room: HookEvent = runtime.events[0]

    def b_comes_and_goes() -> None:
        runtime.lease.before_in_loop = office.box.seal
        with pytest.raises(ComponentClosedError):
            office.fill("B")

    room.before_wait = b_comes_and_goes
    with pytest.raises(ComponentClosedError):
        office.fill("A")
    assert room.waits == [None]


class Size(int):
    """A size that lets another thread run while it is added up."""

    def __new__(cls, value: int, other: Callable[[], object]) -> Self:
        """Make one; ``other`` is what the other thread does, once."""
        self = super().__new__(cls, value)
        self.others = [other]
        return self

    others: list[Callable[[], object]]

    def __radd__(self, value: int) -> int:
        """Add, after the other thread had its turn, if it need not wait for one."""
        for other in self.others[:]:
            try:
                other()
                self.others.remove(other)
            except Busy:
                pass  # It comes when the lock is free.
        return value + int(self)


def test_mailbox_seal_in_the_middle_of_a_put_is_seen() -> None:
    """Sealing waits for a put under way, and its wake-up is not undone by it."""
    office, runtime = manual(Overflow.block(None))
    office.fill("a")
    size = Size(95, office.box.seal)
    runtime.events[0].before_wait = lambda: [seal() for seal in size.others]
    with pytest.raises(ComponentClosedError):
        office.box.put("b", size)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda box: box.take(0),
        lambda box: box.restore([("r", 7)]),
        lambda box: box.clear(),
        lambda box: box.put("p", 3),
    ],
)
def test_mailbox_adds_up_whatever_happens_meanwhile(
    meanwhile: Callable[[Mailbox[str]], object],
) -> None:
    """Number and size agree, though another thread comes in the middle of a put."""
    office, _ = manual(max_messages=9)
    office.fill("ab")
    size = Size(5, lambda: meanwhile(office.box))
    office.box.put("c", size)
    while size.others:
        size.others.pop()()
    expected = office.box.bytes
    assert expected == sum(size for _, size in office.box.take(10**6))
    assert (len(office.box), office.box.bytes) == (0, 0)


@pytest.mark.parametrize("make_room", [lambda box: box.take(0), lambda box: box.clear()])
def test_mailbox_room_between_looking_and_waiting_is_seen(
    make_room: Callable[[Mailbox[str]], object],
) -> None:
    """Room that is made after a thread has looked, and before it waits, ends its wait."""
    office, runtime = manual(Overflow.block(None))
    office.fill("ab")
    runtime.events[0].before_wait = lambda: make_room(office.box)
    office.fill("c")
    assert office.take().endswith("c")
