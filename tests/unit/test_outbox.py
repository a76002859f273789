"""The bounded buffer: order, limits, and a loss reported for each message that is dropped."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rxplus import Buffer, LossReason, Overflow
from rxplus._core.outbox import Outbox, Put, make_outbox

OVERFLOW, CONFLATED = LossReason.OVERFLOW, LossReason.CONFLATED


class Message(NamedTuple):
    """A message of the model: told apart by its number, conflated by its key."""

    number: int
    key: str


def box(
    overflow: Overflow | str = "error", max_messages: int = 3, max_bytes: int = 100
) -> tuple[Outbox[str], Counter[LossReason]]:
    """Make an outbox, and the counter of what it loses."""
    losses: Counter[LossReason] = Counter()

    def lost(count: int, reason: LossReason) -> None:
        losses[reason] += count

    buffer = Buffer(max_messages=max_messages, max_bytes=max_bytes, overflow=Overflow.of(overflow))
    return make_outbox(buffer, lost, lambda item: item, lambda: 0.0), losses


def fill(outbox: Outbox[str], items: str, size: int = 10) -> list[Put]:
    """Put each letter as a message of ``size`` bytes."""
    return [outbox.put(item, size) for item in items]


def content(outbox: Outbox[str]) -> str:
    """Take everything out, as one string."""
    return "".join(item for item, _ in outbox.clear())


# ── one case at a time ────────────────────────────────────────────────────────────────────

POLICIES = ["block", "error", "drop_oldest", "drop_newest", "disconnect"]


@pytest.mark.parametrize("policy", POLICIES)
def test_outbox_first_in_first_out(policy: str) -> None:
    """Within its limits an outbox keeps everything, in order, whatever the policy."""
    outbox, losses = box(policy)
    assert fill(outbox, "abc") == [Put.TAKEN] * 3
    assert (len(outbox), outbox.bytes) == (3, 30)
    assert content(outbox) == "abc"
    assert (len(outbox), outbox.bytes, losses) == (0, 0, {})


@pytest.mark.parametrize("policy", ["block", "error"])
def test_outbox_full_leaves_the_decision_to_the_caller(policy: str) -> None:
    """Under a policy that pushes back, a full outbox changes nothing."""
    outbox, losses = box(policy)
    fill(outbox, "abc")
    assert outbox.put("d", 1) is Put.FULL
    assert (content(outbox), losses) == ("abc", {})


def test_outbox_drop_oldest() -> None:
    """The newest message gets the place of the oldest, or of as many as it needs."""
    outbox, losses = box("drop_oldest")
    assert fill(outbox, "abcd") == [Put.TAKEN] * 4
    assert (len(outbox), losses) == (3, {OVERFLOW: 1})
    assert outbox.put("E", 90) is Put.TAKEN
    assert (outbox.bytes, losses) == (100, {OVERFLOW: 3})
    assert content(outbox) == "dE"


def test_outbox_drop_newest() -> None:
    """What comes too late is dropped; one that still fits is taken after it."""
    outbox, losses = box("drop_newest", max_bytes=25)
    assert fill(outbox, "abc") == [Put.TAKEN] * 3
    assert losses == {OVERFLOW: 1}
    assert outbox.put("d", 5) is Put.TAKEN
    assert content(outbox) == "abd"


def test_outbox_disconnect() -> None:
    """Everything is dropped, the message that was one too many included."""
    outbox, losses = box("disconnect")
    assert fill(outbox, "abcd") == [Put.TAKEN] * 3 + [Put.OVERRUN]
    assert (len(outbox), outbox.bytes, losses) == (0, 0, {OVERFLOW: 4})
    assert outbox.put("e", 10) is Put.TAKEN


@pytest.mark.parametrize("policy", [*POLICIES, "latest"])
def test_outbox_empty_takes_a_message_of_any_size(policy: str) -> None:
    """The limit bounds what waits, not what can be sent."""
    outbox, losses = box(policy)
    assert outbox.has_room(10**9)
    assert outbox.put("a", 10**9) is Put.TAKEN
    assert (content(outbox), losses) == ("a", {})


@pytest.mark.parametrize(
    ("waiting", "size", "room"),
    [("ab", 80, True), ("ab", 81, False), ("abc", 0, False), ("", 101, True)],
)
def test_outbox_has_room_up_to_its_limits(waiting: str, size: int, room: bool) -> None:
    """Both limits may be reached, and neither passed; ``put`` agrees."""
    outbox, _ = box("error")
    fill(outbox, waiting)
    assert outbox.has_room(size) is room
    assert (outbox.put("x", size) is Put.TAKEN) is room


def test_outbox_force_knows_no_limits() -> None:
    """What was accepted elsewhere already is added all the same."""
    outbox, losses = box("error")
    fill(outbox, "abc")
    outbox.force("d", 1000)
    assert (outbox.bytes, content(outbox), losses) == (1030, "abcd", {})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("waiting", "size", "room"),
    [("", 0, 3), ("", 33, 3), ("a", 30, 2), ("a", 46, 1), ("abc", 1, 0)],
)
def test_outbox_knows_how_many_it_has_room_for(
    waiting: str, size: int, room: int, policy: str
) -> None:
    """As many as both limits allow, if all are of that size."""
    outbox, _ = box(policy)
    fill(outbox, waiting)
    assert outbox.room_for(size) == room


@pytest.mark.parametrize("max_age", [None, 10.0])
def test_outbox_that_looks_at_messages_has_no_room_for_more_at_once(max_age: float | None) -> None:
    """Its key and its clock are asked for each one."""
    overflow = Overflow.latest() if max_age is None else Overflow.error()
    buffer = Buffer(overflow=overflow, max_age=max_age)
    outbox: Outbox[str] = make_outbox(buffer, lambda *_: None, lambda item: item, lambda: 0.0)
    assert outbox.room_for(10) == 0


def test_outbox_absorbs_a_pile() -> None:
    """All of it, in order, behind what there is; with what is added to it meanwhile."""
    outbox, _ = box()
    fill(outbox, "a")
    pile = deque([("b", 5), ("c", 7)])
    outbox.absorb(pile)
    assert (len(pile), len(outbox), outbox.bytes) == (0, 3, 22)
    outbox.absorb(pile)
    assert (outbox.bytes, content(outbox), outbox.bytes) == (22, "abc", 0)


@pytest.mark.parametrize(
    ("max_bytes", "taken"),
    [(0, "a"), (9, "a"), (10, "a"), (19, "a"), (20, "ab"), (29, "ab"), (30, "abc"), (99, "abc")],
)
@pytest.mark.parametrize("policy", ["error", Overflow.latest(lambda item: item)])
def test_outbox_take_fills_a_batch(max_bytes: int, taken: str, policy: Overflow | str) -> None:
    """At least one message is taken, and more as long as they fit."""
    outbox, _ = box(policy)
    fill(outbox, "abc")
    assert "".join(item for item, _ in outbox.take(max_bytes)) == taken
    assert outbox.bytes == 30 - 10 * len(taken)
    assert content(outbox) == "abc"[len(taken) :]


def test_outbox_take_nothing_from_nothing() -> None:
    """An empty outbox gives an empty batch."""
    for policy in (*POLICIES, "latest"):
        assert box(policy)[0].take(0) == []


def test_outbox_restore_puts_back_in_front() -> None:
    """What could not be sent comes out first again, and is not dropped for being too much."""
    outbox, losses = box("drop_oldest")
    fill(outbox, "abc")
    taken = outbox.take(20)
    fill(outbox, "de")
    outbox.restore(taken)
    assert (len(outbox), outbox.bytes, losses) == (5, 50, {})
    assert content(outbox) == "abcde"


def test_latest_keeps_one_message_per_key() -> None:
    """A newer message replaces the waiting one, and goes out in its own turn."""
    outbox, losses = box(Overflow.latest(lambda item: item[:1]))
    outbox.put("a1", 10)
    outbox.put("b1", 10)
    outbox.put("a2", 30)
    assert (len(outbox), outbox.bytes, losses) == (2, 40, {CONFLATED: 1})
    assert content(outbox) == "b1a2"


def test_latest_without_a_key_keeps_one_message() -> None:
    """With no key there is one message in all, also while there is room for more."""
    outbox, losses = box("latest")
    fill(outbox, "abc")
    assert (content(outbox), losses) == ("c", {CONFLATED: 2})


def test_latest_drops_the_oldest_key() -> None:
    """Too many keys are too many messages."""
    outbox, losses = box(Overflow.latest(lambda item: item))
    fill(outbox, "abcd")
    assert (content(outbox), losses) == ("bcd", {OVERFLOW: 1})


def test_latest_counts_a_replaced_message_once() -> None:
    """A message that makes room for its successor is not an overflow as well."""
    outbox, losses = box(Overflow.latest(lambda item: item), max_messages=1)
    fill(outbox, "aaa")
    assert (content(outbox), losses) == ("a", {CONFLATED: 2})


def test_latest_restore_does_not_bring_back_what_is_stale() -> None:
    """Of what could not be sent, a message with a newer one waiting is not sent again."""
    outbox, losses = box(Overflow.latest(lambda item: item[:1]))
    for item in ("a1", "b1", "c1"):
        outbox.put(item, 10)
    taken = outbox.take(30)
    outbox.put("b2", 10)
    outbox.restore(taken)
    assert (outbox.bytes, losses) == (30, {CONFLATED: 1})
    assert content(outbox) == "a1c1b2"


def test_latest_restore_without_news_loses_nothing() -> None:
    """Putting back what was just taken changes nothing."""
    outbox, losses = box(Overflow.latest(lambda item: item))
    fill(outbox, "abc")
    outbox.restore(outbox.take(20))
    assert (content(outbox), losses) == ("abc", {})


def test_latest_key_looks_at_the_message() -> None:
    """The user's key sees what is sent, not how it is wrapped."""
    lost: list[tuple[int, LossReason]] = []
    buffer = Buffer(overflow=Overflow.latest(lambda payload: payload[:1]))
    outbox: Outbox[tuple[int, str]] = make_outbox(
        buffer,
        lambda count, reason: lost.append((count, reason)),
        lambda item: item[1],
        lambda: 0.0,
    )
    outbox.put((1, "a1"), 2)
    outbox.put((2, "a2"), 2)
    assert outbox.clear() == [((2, "a2"), 2)]
    assert lost == [(1, CONFLATED)]


@pytest.mark.parametrize("key", [lambda item: [item], lambda item: 1 / 0])
def test_latest_key_that_raises_changes_nothing(key: Callable[[str | bytes], Any]) -> None:
    """A message whose key cannot be found is refused; those that wait stay."""

    def key_of(item: str | bytes) -> Any:
        return item if item == "a" else key(item)

    outbox, losses = box(Overflow.latest(key_of))
    fill(outbox, "a")
    with pytest.raises((TypeError, ZeroDivisionError)):
        outbox.put("b", 1)
    assert (outbox.bytes, content(outbox), losses) == (10, "a", {})


def test_disconnect_and_drops_are_silent_when_nothing_is_lost() -> None:
    """No loss is reported with a count of nothing."""
    reported: list[int] = []
    for policy in (*POLICIES, "latest"):
        buffer = Buffer(max_messages=1, overflow=Overflow.of(policy))
        outbox: Outbox[str] = make_outbox(
            buffer, lambda count, reason: reported.append(count), lambda item: item, lambda: 0.0
        )
        for _ in range(3):
            outbox.put("a", 1)
        outbox.restore(outbox.take(10))
    assert reported
    assert all(count > 0 for count in reported)


# ── age ───────────────────────────────────────────────────────────────────────────────────


class Aging:
    """An outbox whose messages may wait for ten seconds, and a clock."""

    def __init__(self, overflow: Overflow | str = "error", max_messages: int = 3) -> None:
        self.time = 0.0
        self.losses: Counter[LossReason] = Counter()
        buffer = Buffer(max_messages=max_messages, overflow=Overflow.of(overflow), max_age=10.0)
        self.outbox: Outbox[str] = make_outbox(
            buffer, self.lose, lambda item: item, lambda: self.time
        )

    def lose(self, count: int, reason: LossReason) -> None:
        """Count a loss."""
        self.losses[reason] += count

    def put(self, items: str) -> list[Put]:
        """Put each letter, a second apart."""
        verdicts = []
        for item in items:
            verdicts.append(self.outbox.put(item, 10))
            self.time += 1
        return verdicts


def test_age_forgets_what_waited_too_long() -> None:
    """What is too old is not taken, and told of; what is young enough is."""
    aging = Aging()
    aging.put("abc")
    aging.time = 11.5
    assert aging.outbox.take(15) == [("c", 10)]
    assert aging.losses == {LossReason.EXPIRED: 2}
    assert (len(aging.outbox), aging.outbox.bytes) == (0, 0)


def test_age_may_leave_nothing() -> None:
    """When all is too old there is nothing to take."""
    aging = Aging()
    aging.put("abc")
    aging.time = 100.0
    assert aging.outbox.take(100) == []
    assert aging.losses == {LossReason.EXPIRED: 3}
    assert aging.outbox.take(100) == []


def test_age_makes_room() -> None:
    """A full outbox looks for what is too old before it does what the policy says."""
    aging = Aging()
    assert aging.put("abc") == [Put.TAKEN] * 3
    assert aging.put("d") == [Put.FULL]
    aging.time = 10.5
    assert aging.put("d") == [Put.TAKEN]
    assert content(aging.outbox) == "bcd"
    assert aging.losses == {LossReason.EXPIRED: 1}


def test_age_goes_on_after_a_restore() -> None:
    """What could not be sent is no younger for it."""
    aging = Aging()
    aging.put("abc")
    aging.outbox.restore(aging.outbox.take(20))
    assert aging.outbox.has_room(10) is False
    aging.time = 12.5
    assert aging.outbox.take(100) == []
    aging.outbox.force("d", 1)
    assert aging.outbox.clear() == [("d", 1)]


@pytest.mark.parametrize(
    ("policy", "left", "losses"),
    [
        ("drop_oldest", "bcd", {LossReason.OVERFLOW: 1}),
        ("drop_newest", "abc", {LossReason.OVERFLOW: 1}),
        ("latest", "d", {LossReason.CONFLATED: 3}),
        ("disconnect", "", {LossReason.OVERFLOW: 4}),
    ],
)
def test_age_goes_with_every_policy(policy: str, left: str, losses: dict[LossReason, int]) -> None:
    """What is young enough is treated as ever."""
    aging = Aging(policy)
    aging.put("abcd")
    assert content(aging.outbox) == left
    assert aging.losses == losses


def test_age_and_the_key_of_latest() -> None:
    """The user's key still sees the message."""
    aging = Aging(Overflow.latest(lambda payload: payload[:1]))
    for item in ("a1", "b1", "a2"):
        aging.outbox.put(item, 2)
    assert [item for item, _ in aging.outbox.clear()] == ["b1", "a2"]


# ── every case: a model ───────────────────────────────────────────────────────────────────

MAX_MESSAGES, MAX_BYTES = 4, 20

Stamped: TypeAlias = tuple[Message, int]
SIZES = st.integers(0, 25)
KEYS = st.sampled_from("abcdef")


class OutboxModel(RuleBasedStateMachine):
    """What comes out and what was lost is what was put; order and limits hold.

    A plain list that does, message by message, what the policy's description
    says, is compared with the outbox after each step.
    """

    def __init__(self, policy: str, max_age: float | None) -> None:
        super().__init__()
        self.policy = policy
        overflow = (
            Overflow.latest(lambda payload: payload)
            if self.policy == "latest"
            else Overflow.of(self.policy)
        )
        buffer = Buffer(
            max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES, overflow=overflow, max_age=max_age
        )
        self.lost: Counter[LossReason] = Counter()
        self.outbox: Outbox[Message] = make_outbox(
            buffer, self.on_lost, lambda item: item.key, lambda: 0.0
        )
        self.waiting: list[Stamped] = []
        self.expected_losses: Counter[LossReason] = Counter()
        self.accepted = 0
        self.delivered: list[Message] = []
        self.in_hand: list[Stamped] = []
        self.number = 0

    def on_lost(self, count: int, reason: LossReason) -> None:
        """Count what the outbox says it lost."""
        self.lost[reason] += count

    def drop(self, count: int, reason: LossReason) -> None:
        """Lose messages from the front of the model."""
        del self.waiting[:count]
        self.expected_losses[reason] += count

    def fits(self, size: int) -> bool:
        """Tell whether there is room, by the model."""
        used = sum(size for _, size in self.waiting)
        return not self.waiting or (len(self.waiting) < MAX_MESSAGES and used + size <= MAX_BYTES)

    @rule(size=SIZES, key=KEYS)
    def put(self, size: int, key: str) -> None:
        """Put a message, and do by hand what the policy says."""
        self.number += 1
        message = Message(self.number, key)
        before = len(self.outbox), self.outbox.bytes
        verdict = self.outbox.put(message, size)
        assert verdict is self.model_put(message, size)
        if verdict is not Put.FULL:
            self.accepted += 1
        if len(self.outbox) > max(1, before[0]) or self.outbox.bytes > before[1]:
            # What is put back may be too much, and one message may be of any size.
            assert len(self.outbox) <= MAX_MESSAGES
            assert len(self.outbox) == 1 or self.outbox.bytes <= MAX_BYTES

    def model_put(self, message: Message, size: int) -> Put:
        """Put a message into the model."""
        if self.policy == "latest":
            fresh = [one for one in self.waiting if one[0].key != message.key]
            self.expected_losses[CONFLATED] += len(self.waiting) - len(fresh)
            self.waiting = fresh
        if not self.fits(size):
            if self.policy in ("block", "error"):
                return Put.FULL
            if self.policy == "drop_newest":
                self.expected_losses[OVERFLOW] += 1
                return Put.TAKEN
            if self.policy == "disconnect":
                self.drop(len(self.waiting), OVERFLOW)
                self.expected_losses[OVERFLOW] += 1
                return Put.OVERRUN
            while not self.fits(size):
                self.drop(1, OVERFLOW)
        self.waiting.append((message, size))
        return Put.TAKEN

    @precondition(lambda self: not self.in_hand)
    @rule(max_bytes=st.integers(0, 30))
    def take(self, max_bytes: int) -> None:
        """Take a batch: as many from the front as fit, at least one."""
        self.in_hand = self.outbox.take(max_bytes)
        count, used = min(1, len(self.waiting)), sum(size for _, size in self.waiting[:1])
        while count < len(self.waiting) and used + self.waiting[count][1] <= max_bytes:
            used += self.waiting[count][1]
            count += 1
        assert self.in_hand == self.waiting[:count]
        del self.waiting[:count]

    @precondition(lambda self: self.in_hand)
    @rule()
    def deliver(self) -> None:
        """The batch was sent."""
        self.delivered += [message for message, _ in self.in_hand]
        self.in_hand = []

    @precondition(lambda self: self.in_hand)
    @rule()
    def restore(self) -> None:
        """The batch could not be sent, and goes back."""
        self.outbox.restore(self.in_hand)
        back = self.in_hand
        if self.policy == "latest":
            newer = {message.key for message, _ in self.waiting}
            back = [one for one in back if one[0].key not in newer]
            self.expected_losses[CONFLATED] += len(self.in_hand) - len(back)
        self.waiting = back + self.waiting
        self.in_hand = []

    @precondition(lambda self: not self.in_hand)
    @rule()
    def clear(self) -> None:
        """Everything is taken out at once."""
        everything = self.outbox.clear()
        assert everything == self.waiting
        self.delivered += [message for message, _ in everything]
        self.waiting = []

    @invariant()
    def same_as_the_model(self) -> None:
        """Count and size are those of what waits, and so are the losses."""
        assert len(self.outbox) == len(self.waiting)
        assert self.outbox.bytes == sum(size for _, size in self.waiting)
        assert +self.lost == +self.expected_losses

    @invariant()
    def nothing_vanishes(self) -> None:
        """Put = came out + still there + lost."""
        there = len(self.waiting) + len(self.in_hand) + len(self.delivered)
        assert self.accepted == there + self.lost.total()

    @invariant()
    def order_is_kept(self) -> None:
        """Messages come out in the order in which they were put."""
        numbers = [message.number for message in self.delivered]
        assert numbers == sorted(numbers)

    def teardown(self) -> None:
        """What is left comes out as the model says."""
        assert self.outbox.clear() == self.waiting


@pytest.mark.parametrize("max_age", [None, 1.0])
@pytest.mark.parametrize("policy", [*POLICIES, "latest"])
def test_outbox_is_the_model(policy: str, max_age: float | None) -> None:
    """Whatever is done to it, an outbox does what its policy says, and no more."""
    few = settings(max_examples=60, stateful_step_count=25)
    model: Any = partial(OutboxModel, policy, max_age)
    run_state_machine_as_test(model, settings=few)


@given(puts=st.lists(st.tuples(SIZES, KEYS)), max_bytes=st.integers(0, 30))
def test_outbox_batches_are_the_whole(puts: list[tuple[int, str]], max_bytes: int) -> None:
    """However it is cut into batches, the same comes out in the same order."""
    buffer = Buffer(max_messages=1000, max_bytes=10**6)
    outbox: Outbox[str] = make_outbox(
        buffer, lambda count, reason: None, lambda item: item, lambda: 0.0
    )
    for size, key in puts:
        outbox.put(key, size)
    out: list[str] = []
    while len(outbox):
        batch = outbox.take(max_bytes)
        assert batch
        assert len(batch) == 1 or sum(size for _, size in batch) <= max_bytes
        out += [item for item, _ in batch]
    assert out == [key for _, key in puts]
