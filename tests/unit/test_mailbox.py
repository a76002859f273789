"""From any thread to the loop: bounded, in order, one wake-up per burst, and none lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Self

import pytest
from doubles import Busy, HookEvent, ManualRuntime
from interrupting import Interrupted

from rxplus import (
    Buffer,
    BufferFullError,
    ComponentClosedError,
    Lease,
    LossReason,
    Overflow,
    Runtime,
)
from rxplus._core import outbox
from rxplus._engine import mailbox
from rxplus._engine.answers import Answers
from rxplus._engine.mailbox import Mailbox
from rxplus_testing import Sim


class Watched(Mailbox[str]):
    """A mailbox that lets another thread run when a put looks whether the loop is woken.

    A message that came the short way has been left by then, and no lock is held.
    """

    meanwhile: Callable[[], object] | None = None
    before_reset: Callable[[], object] | None = None

    @property
    def _woken(self) -> bool:
        others, self.meanwhile = self.meanwhile, None
        if others is not None:
            others()
        woken: bool = vars(self).get("woken", False)
        return woken

    @_woken.setter
    def _woken(self, woken: bool) -> None:
        others, self.before_reset = self.before_reset, None
        if others is not None and not woken:
            others()
        vars(self)["woken"] = woken


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
        max_age: float | None = None,
        kind: type[Mailbox[str]] = Mailbox,
    ) -> None:
        self.heard: list[str] = []
        self.box = kind(
            runtime,
            Answers(lease),
            Buffer(
                max_messages=max_messages,
                max_bytes=max_bytes,
                max_age=max_age,
                overflow=Overflow.of(overflow),
            ),
            name="RxTest-1",
            payload=lambda item: item,
            on_ready=lambda: self.heard.append("ready"),
            on_lost=lambda: self.heard.append("lost"),
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


# ── the short way ─────────────────────────────────────────────────────────────────────────


ROOMY: dict[str, Any] = {"max_messages": 1000, "max_bytes": 100_000}
"""Limits with which messages of up to 100 bytes come the short way, once there was one."""


def watched(overflow: Overflow | str = "error") -> tuple[Office, Watched, ManualRuntime]:
    """Make an office whose mailbox is known to have room, and whose loop is woken."""
    office, runtime = manual(overflow, kind=Watched, **ROOMY)
    office.fill("a")
    assert isinstance(office.box, Watched)
    return office, office.box, runtime


def test_mailbox_takes_small_messages_without_its_lock() -> None:
    """Who stops in the middle of something else keeps nobody from sending."""
    office, _, runtime = watched()
    with runtime.locks[0]:
        office.fill("bc")
        assert (len(office.box), office.box.waiting, office.box.bytes) == (3, 3, 30)
        with pytest.raises(Busy):
            office.box.put("large", 101)
    assert office.take() == "abc"


def test_mailbox_keeps_order_between_both_ways() -> None:
    """A large message overtakes no small one, nor the reverse, nor what is put back."""
    office, box, _ = watched()
    box.put("B", 101)
    office.fill("c")
    box.put("D", 5000)
    office.fill("ef")
    assert box.take(150) == [("a", 10), ("B", 101), ("c", 10)]
    box.restore([("B", 101), ("c", 10)])
    office.fill("g")
    assert box.bytes == 101 + 10 + 5000 + 3 * 10
    assert office.take() == "BcDefg"
    office.fill("h")
    assert box.clear() == ["h"]
    assert (len(box), box.bytes) == (0, 0)


@pytest.mark.parametrize("size", [1, 100, 101])
def test_mailbox_limits_hold_on_both_ways(size: int) -> None:
    """There is room for exactly as many messages, and bytes, as may be."""
    office, box, _ = watched()
    fit = min(999, (100_000 - 10) // size)
    for _ in range(fit):
        box.put("x", size)
    with pytest.raises(BufferFullError, match=rf"{fit + 1} messages \({fit * size + 10} bytes\)"):
        box.put("y", size)
    box.take(0)
    if size < 100:
        office.fill("z")
        with pytest.raises(BufferFullError):
            office.fill("!")
    assert office.take() == "x" * fit + "z" * (size < 100)


def test_mailbox_limit_holds_while_the_outbox_changes() -> None:
    """What is moved out of the way makes no room for as much again."""
    office, box, _ = watched()
    office.fill("x" * 800)
    size = Size(101, lambda: office.fill("y" * 400))
    box.put("L", size)
    with pytest.raises(BufferFullError):
        size.others.pop()()
    assert len(box) == 1000


def test_mailbox_limit_holds_for_threads_that_find_the_same_place() -> None:
    """Sixty threads look at the same moment whether there is room, and then leave a message."""
    office, box, _ = watched()
    leave, threads = box._leave, 60

    def crowded(parcel: tuple[str, int]) -> None:
        nonlocal threads
        if len(box._pile) >= box._space - 1 and threads:
            threads -= 1
            office.fill("y")
        leave(parcel)

    box._leave = crowded
    with pytest.raises(BufferFullError):
        office.fill("x" * 1000)
    assert (threads, len(box)) == (0, 1000)


def test_mailbox_wakes_the_loop_for_what_comes_as_it_takes() -> None:
    """A message that is left while the loop wakes is taken with the others, or wakes it again."""
    office, box, runtime = watched()
    box.meanwhile = runtime.lease.run
    office.fill("b")
    assert office.heard == ["ready"]
    assert office.take() == "ab"
    assert runtime.lease.run() == 1
    box.meanwhile = lambda: [runtime.lease.run(), office.take()]
    office.fill("c")
    office.fill("d")
    runtime.lease.run()
    assert office.take() == "d"


@pytest.mark.parametrize("again", [False, True])
def test_mailbox_sealed_while_a_message_comes_refuses_it(again: bool) -> None:
    """Sealed before the message was left: an error, and the message counts for nothing."""
    office, box, runtime = watched()
    leave = box._leave

    def late(parcel: tuple[str, int]) -> None:
        box.seal()
        leave(parcel)
        if again:
            box.seal()

    box._leave = late
    with pytest.raises(ComponentClosedError, match=r"^RxTest-1 is closed$"):
        office.fill("b")
    assert (len(box), box.waiting, box.bytes) == (1, 1, 10)
    assert office.take() == "a"
    runtime.lease.run()
    assert box.clear() == []


@pytest.mark.parametrize("woken", [True, False])
def test_mailbox_sealed_after_a_message_was_left_has_it(woken: bool) -> None:
    """Sealed in the middle of a put, after the message was left: it is taken, no error."""
    office, box, runtime = watched()
    if not woken:
        runtime.lease.run()
        office.heard.clear()
    box.meanwhile = box.seal
    office.fill("b")
    runtime.lease.run()
    assert office.heard[:1] == ["ready"]
    assert (len(box), box.bytes) == (2, 20)
    assert office.take() == "ab"


@pytest.mark.parametrize("forced", [True, False])
def test_mailbox_sealed_before_the_lock_is_taken_refuses(forced: bool) -> None:
    """A put that waits for the lock while the mailbox is sealed is too late."""
    office, box, runtime = watched()
    runtime.locks[0].before_enter = box.seal
    with pytest.raises(ComponentClosedError):
        box.force("b", 101) if forced else box.put("b", 101)
    assert office.take() == "a"


def test_mailbox_sealed_as_messages_come_loses_none() -> None:
    """One that was left just before the loop counts as not woken is among those moved."""
    office, box, _ = watched()
    box.before_reset = lambda: office.fill("b")
    box.seal()
    assert office.take() == "ab"


def test_mailbox_takes_no_message_for_another_that_is_equal() -> None:
    """One came in time and one too late: each thread hears of its own."""
    office, box, _ = watched()
    leave = box._leave

    def sealed_and_late() -> None:
        box.seal()
        leave(("b", 10))  # of a thread that had found it open

    box.meanwhile = sealed_and_late
    office.fill("b")
    assert office.take() == "ab"


@pytest.mark.parametrize("size", [10, 101])
@pytest.mark.parametrize("woken", [True, False])
@pytest.mark.parametrize("put", [Mailbox.put, Mailbox.force])
def test_mailbox_wakes_the_loop_though_a_put_was_interrupted(
    put: Callable[[Mailbox[str], str, int], None], size: int, woken: bool
) -> None:
    """Ctrl-C before any statement: the loop hears of what is there; nothing is stuck or doubled."""
    for statements in count(1):
        office, _, runtime = watched()
        if not woken:
            runtime.lease.run()
            office.heard.clear()
        interrupted = Interrupted(statements, mailbox, outbox)
        with suppress(KeyboardInterrupt), interrupted:
            put(office.box, "b", size)
        runtime.lease.run()
        assert office.heard[:1] == ["ready"] or len(office.box) == 1, statements
        office.heard.clear()
        office.fill("c")
        runtime.lease.run()
        assert office.heard == ["ready"], statements
        assert office.take() in ("abc", "ac")
        assert (len(office.box), office.box.bytes) == (0, 0)
        if not interrupted.came:
            assert statements > 5
            return


def test_mailbox_wakes_the_loop_though_a_look_for_room_was_interrupted() -> None:
    """Ctrl-C while what is too old makes room, of which the loop is to hear."""
    for statements in count(1):
        office, runtime = manual(max_messages=1, max_age=1.0)
        office.fill("a")
        runtime.lease.run()
        runtime.time += 2.0
        interrupted = Interrupted(statements, mailbox, outbox)
        with suppress(KeyboardInterrupt), interrupted:
            office.box.look_for_room(10, wait=False)
        runtime.lease.run()
        office.heard.clear()
        office.fill("b")
        runtime.lease.run()
        assert office.heard[-1:] == ["ready"], statements
        assert office.take() == "b"
        if not interrupted.came:
            assert statements > 5
            return


def test_mailbox_sealed_twice_since_once_was_interrupted() -> None:
    """Ctrl-C before any statement: the next time it is sealed, and what was there is kept."""
    for statements in count(1):
        office, runtime = manual()
        office.fill("a")
        runtime.lease.run()
        office.heard.clear()
        interrupted = Interrupted(statements, mailbox, outbox)
        with suppress(KeyboardInterrupt), interrupted:
            office.box.seal()
        office.box.seal()
        with pytest.raises(ComponentClosedError):
            office.fill("b")
        runtime.lease.run()
        assert office.heard[:1] == ["ready"], statements
        assert office.take() == "a", statements
        if not interrupted.came:
            assert statements > 5
            return


# ── order and size ────────────────────────────────────────────────────────────────────────


def test_mailbox_keeps_order_and_counts() -> None:
    """What is put comes out in order; number and size are those of what waits."""
    office, _ = manual(max_messages=9)
    office.fill("abc")
    assert (len(office.box), office.box.bytes) == (3, 30)
    assert office.box.take(20) == [("a", 10), ("b", 10)]
    assert (len(office.box), office.box.bytes) == (1, 10)


def test_mailbox_gives_no_more_at_once_than_asked_for() -> None:
    """Nor of what came the short way: it is the caller who knows what others can wait for."""
    office, _ = manual(**ROOMY)
    office.fill("a")
    office.take()
    office.fill("bcdef")
    assert [office.box.take(most) for most in (20, 0)] == [[("b", 10), ("c", 10)], [("d", 10)]]
    assert office.take() == "ef"


def test_mailbox_gives_what_came_the_short_way_as_it_is() -> None:
    """A few messages need not pass the outbox, and count as any others before and after."""
    office, _ = manual(**ROOMY)
    office.fill("a")
    office.take()
    office.fill("bcd")
    taken = office.box.take(500)
    assert (taken, len(office.box), office.box.bytes) == ([(item, 10) for item in "bcd"], 0, 0)
    office.fill("e")
    office.box.restore(taken)
    assert (len(office.box), office.box.bytes) == (4, 40)
    assert office.take() == "bcde"


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
    assert office.heard[:2] == ["lost", "ready"]
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
    assert office.heard == ["lost", "ready"]


@pytest.mark.parametrize("by_put", [True, False])
def test_mailbox_tells_of_what_expired_for_a_message_that_is_refused(by_put: bool) -> None:
    """What is too old is dropped, and yet there is no room: the loop hears of it at once."""
    office, runtime = manual("error", max_age=1.0)
    office.box.put("a", 10)
    runtime.time += 0.9
    office.box.put("b", 80)
    runtime.lease.run()
    office.heard.clear()
    runtime.time += 0.6
    with pytest.raises(BufferFullError):
        if by_put:
            office.box.put("c", 95)
        else:
            office.box.look_for_room(95, wait=False)
    runtime.lease.run()
    assert office.heard == ["lost", "ready"]
    assert office.box.take_losses() == {LossReason.EXPIRED: 1}
    assert office.take() == "b"


def test_mailbox_disconnect_tells_the_loop() -> None:
    """A consumer that is too slow is to be disconnected, on the loop thread."""
    office, runtime = manual("disconnect")
    office.fill("abc")
    assert "overrun" not in office.heard
    runtime.lease.run()
    assert office.heard == ["lost", "ready", "overrun"]


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
