"""The session protocol by itself: control messages, both halves of a session, both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxplus._core.outbox import Outbox
from rxplus._core.protocol.control import (
    Ack,
    Away,
    Control,
    Hello,
    Seq,
    Sync,
    Welcome,
    decode,
    encode,
    escaped,
)
from rxplus._core.protocol.conversation import (
    ClientConversation,
    Conversation,
    Effect,
    ServerConversation,
)
from rxplus._core.protocol.numbers import Span
from rxplus._core.protocol.receipt import Receipt
from rxplus._core.protocol.replay import Replay
from rxplus.config import Buffer
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError

# ── control messages ──────────────────────────────────────────────────────────────────────

ON_THE_WIRE: list[tuple[Control, str]] = [
    (
        Hello(None, 1, 0, 1, 1, 120.0),
        '\0{"type":"hello","session":null,"epoch":1,"received":0,"first":1,"next":1,"expiry":120.0}',
    ),
    (
        Welcome("token", resumed=True, received=7, expiry=60.0),
        '\0{"type":"welcome","session":"token","resumed":true,"received":7,"expiry":60.0}',
    ),
    (Seq(8), '\0{"type":"seq","next":8}'),
    (Ack(7), '\0{"type":"ack","number":7}'),
    (Sync(), '\0{"type":"sync"}'),
    (Away(2.5), '\0{"type":"away","after":2.5}'),
]


@pytest.mark.parametrize(("control", "text"), ON_THE_WIRE)
def test_control_is_written_as_specified(control: Control, text: str) -> None:
    """Each control message has the layout of docs/protocol.md, and is read back from it."""
    assert encode(control) == text
    assert decode(text) == control


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\0", "not a control message"),
        ("\0{", "not a control message"),
        ("\0[1]", "not a control message"),
        ('\0{"number":1}', "not a control message"),
        ("\0" + "[" * 100_000, "not a control message"),
        ('\0{"type":"ack"}', "ack: number cannot be None"),
        ('\0{"type":"ack","number":-1}', "ack: number cannot be -1"),
        ('\0{"type":"ack","number":true}', "ack: number cannot be True"),
        ('\0{"type":"ack","number":1.0}', r"ack: number cannot be 1\.0"),
        ('\0{"type":"ack","number":9007199254740992}', "ack: number cannot be 9007199254740992"),
        ('\0{"type":"away","after":NaN}', "away: after cannot be nan"),
        ('\0{"type":"away","after":-1}', "away: after cannot be -1"),
        ('\0{"type":"away","after":"1"}', "away: after cannot be '1'"),
        (
            '\0{"type":"welcome","session":null,"resumed":true,"received":7,"expiry":60}',
            "welcome: session cannot be None",
        ),
        (
            '\0{"type":"welcome","session":"","resumed":true,"received":7,"expiry":60}',
            "welcome: session cannot be ''",
        ),
        (
            '\0{"type":"welcome","session":"t","resumed":1,"received":7,"expiry":60}',
            "welcome: resumed cannot be 1",
        ),
        (f'\0{{"type":"hello","session":"{"t" * 129}"}}', "hello: session cannot be 'ttt"),
    ],
)
def test_control_that_is_wrong_is_refused(text: str, message: str) -> None:
    """What cannot be read, or lacks a field, or has one that cannot be right, is refused."""
    with pytest.raises(ProtocolViolationError, match=message):
        decode(text)


@pytest.mark.parametrize("text", ['\0{"type":"later"}', '\0{"type":7}', '\0{"type":null}'])
def test_control_of_an_unknown_type_is_passed_over(text: str) -> None:
    """A later minor revision may add types."""
    assert decode(text) is None


def test_control_with_an_unknown_field_is_read() -> None:
    """A later minor revision may add fields."""
    assert decode('\0{"type":"ack","number":7,"more":[1]}') == Ack(7)


@pytest.mark.parametrize(
    ("payload", "sent"),
    [("text", "text"), ("", ""), ("\0text", "\0\0text"), (b"\0bytes", b"\0bytes"), ("a\0", "a\0")],
)
def test_data_is_escaped_only_when_it_looks_like_control(
    payload: str | bytes, sent: str | bytes
) -> None:
    """Data travels as it is, but for a text that begins with the escape."""
    assert escaped(payload) == sent


# ── the receiving half ────────────────────────────────────────────────────────────────────


def is_due(receipt: Receipt) -> bool:
    """Tell whether what has been processed should be acknowledged at once."""
    return receipt.processed >= receipt.due_at


def arrive(receipt: Receipt, size: int) -> int:
    """Have one message arrive; return its number, or 0 if it has arrived before."""
    return 0 if receipt.accept(1, size) else receipt.received


def test_receipt_numbers_what_arrives() -> None:
    """The first message has the number that was said, each further one the next."""
    receipt = Receipt(Delivery.acknowledged())
    assert receipt.sequence(1) is None
    assert [arrive(receipt, 4) for _ in range(3)] == [1, 2, 3]


def test_receipt_drops_what_has_arrived_before() -> None:
    """After a reconnect messages up to the last that arrived are dropped by number."""
    receipt = Receipt(Delivery.acknowledged(), received=5)
    assert receipt.sequence(4) is None
    assert [arrive(receipt, 4) for _ in range(4)] == [0, 0, 6, 7]


def test_receipt_numbers_messages_that_arrive_together() -> None:
    """Those in front may have arrived before: all, some or none of them."""
    receipt = Receipt(Delivery.acknowledged(ack_bytes=10), received=5)
    receipt.sequence(1)
    assert (receipt.accept(3, 3), receipt.received) == (3, 5)
    assert (receipt.accept(4, 4), receipt.received) == (2, 7)
    assert (receipt.accept(2, 2), receipt.received, receipt.due_at) == (0, 9, 261)
    assert (receipt.accept(1, 1), receipt.received, receipt.due_at) == (0, 10, 10)


def test_receipt_tells_what_was_withdrawn() -> None:
    """Numbers that are passed over were given up by the sender."""
    receipt = Receipt(Delivery.acknowledged(), received=5)
    assert receipt.sequence(9) == Span(6, 8)
    assert arrive(receipt, 4) == 9


def test_receipt_refuses_a_message_without_a_number() -> None:
    """The number has to be said first, on each connection anew, and once."""
    receipt = Receipt(Delivery.acknowledged())
    with pytest.raises(ProtocolViolationError, match="before the number"):
        arrive(receipt, 4)
    receipt.sequence(1)
    with pytest.raises(ProtocolViolationError, match="said twice"):
        receipt.sequence(1)
    receipt.disconnect()
    with pytest.raises(ProtocolViolationError, match="before the number"):
        arrive(receipt, 4)


def test_receipt_is_due_by_count() -> None:
    """So many processed messages are acknowledged at once, together."""
    receipt = Receipt(Delivery.acknowledged(ack_messages=3))
    receipt.sequence(1)
    for number in (1, 2):
        receipt.processed = arrive(receipt, 1)
        assert (receipt.processed, is_due(receipt), receipt.owes) == (number, False, True)
    receipt.processed = arrive(receipt, 1)
    assert is_due(receipt)
    assert receipt.acknowledge() == 3
    assert (is_due(receipt), receipt.owes) == (False, False)


def test_receipt_is_due_by_size() -> None:
    """So many bytes are acknowledged at once, but nothing that is not processed."""
    receipt = Receipt(Delivery.acknowledged(ack_bytes=10))
    receipt.sequence(1)
    arrive(receipt, 10)
    assert not is_due(receipt)
    receipt.processed = 1
    assert is_due(receipt)
    assert receipt.acknowledge() == 1
    assert not is_due(receipt)


def test_receipt_acknowledges_again_on_a_new_connection() -> None:
    """The last acknowledgement may have been lost with the connection."""
    receipt = Receipt(Delivery.acknowledged())
    receipt.sequence(1)
    receipt.processed = arrive(receipt, 1)
    receipt.acknowledge()
    receipt.disconnect()
    receipt.sequence(2)
    assert receipt.owes
    assert receipt.acknowledge() == 1


# ── the sending half ──────────────────────────────────────────────────────────────────────


def outbox(*payloads: str | bytes) -> Outbox[str | bytes]:
    """Make a source of messages."""
    made: Outbox[str | bytes] = Outbox(Buffer(), lambda count, reason: None)
    for payload in payloads:
        made.put(payload, len(payload))
    return made


def make_replay(
    source: Outbox[str | bytes],
    delivery: Delivery,
    *,
    now: Callable[[], float] = lambda: 0.0,
    on_expired: Callable[[Span], None] = lambda span: None,
) -> Replay:
    """Make a sending half."""
    return Replay(source, delivery, now=now, on_expired=on_expired)


def replay(*payloads: str, **options: Any) -> Replay:
    """Make a sending half that has these to send."""
    return make_replay(outbox(*payloads), Delivery.acknowledged(**options))


def payloads(parcels: list[tuple[str | bytes, int]]) -> list[str | bytes]:
    """Return the messages without their sizes."""
    return [payload for payload, _ in parcels]


def test_replay_sends_nothing_before_it_may() -> None:
    """Only a session that is open sends."""
    half = replay("a")
    assert len(half) == 0
    assert half.resume(0) == 1
    assert len(half) == 1
    half.disconnect()
    assert len(half) == 0


def test_replay_sends_again_what_has_not_arrived() -> None:
    """After a reconnect it goes on right after the last message that arrived."""
    half = replay("a", "b", "c", "d")
    half.resume(0)
    half.take(3)
    half.acknowledge(1)
    half.disconnect()
    assert half.resume(2) == 3
    assert (half.acked, half.sent) == (1, 3)
    assert payloads(half.take(100)) == ["c"]
    assert payloads(half.take(100)) == ["d"]


class Aging:
    """A sending half whose messages may be on their way for 10 s."""

    def __init__(self, *payloads: str) -> None:
        self.now = 0.0
        self.expired: list[Span] = []
        self.source = outbox(*payloads)
        self.half = make_replay(
            self.source,
            Delivery.acknowledged(max_age=10.0),
            now=lambda: self.now,
            on_expired=self.expired.append,
        )
        self.half.resume(0)

    def take(self, at: float, size: int) -> None:
        """Have some taken."""
        self.now = at
        self.half.take(size)


def test_replay_gives_up_what_is_too_old() -> None:
    """When a connection opens, from the front, and reports each once."""
    aging = Aging("a", "b", "c", "d", "e")
    aging.take(0.0, 2)
    aging.take(5.0, 2)
    aging.now = 100.0
    assert aging.expired == []  # the peer could not be told
    aging.now = 12.0
    assert aging.half.resume(1) == 3
    assert payloads(aging.half.take(100)) == ["c", "d"]
    assert (aging.half.acked, aging.half.sent) == (0, 4)
    assert aging.half.resume(1) == 3
    assert aging.expired == [Span(2, 2)]
    aging.now = 16.0
    assert aging.half.resume(1) == 5
    assert aging.expired == [Span(2, 2), Span(3, 4)]
    aging.half.acknowledge(4)
    assert payloads(aging.half.take(100)) == ["e"]
    aging.half.acknowledge(5)
    assert aging.half.idle


def test_replay_keeps_what_has_arrived_however_old() -> None:
    """And goes on behind it, also if a part of it turns out not to have been kept."""
    aging = Aging("a", "b", "c")
    aging.take(0.0, 3)
    aging.now = 20.0
    assert aging.half.resume(2) == 4
    assert aging.expired == [Span(3, 3)]
    assert aging.half.resume(1) == 4
    assert aging.expired == [Span(3, 3), Span(2, 2)]
    assert aging.half.resume(3) == 4
    assert aging.half.resume(1) == 4
    assert len(aging.expired) == 2


@pytest.mark.parametrize("resend", [False, True])
def test_replay_gives_up_what_is_too_old_as_a_session_ends(resend: bool) -> None:
    """It is not sent in the next one; the rest is, or it is lost."""
    aging = Aging("a", "b", "c")
    aging.take(0.0, 1)
    aging.take(5.0, 1)
    aging.now = 12.0
    assert aging.half.restart(resend=resend) == (None if resend else Span(2, 2))
    assert aging.expired == [Span(1, 1)]
    assert payloads(aging.source.take(100)) == (["b", "c"] if resend else ["c"])
    aging.now = 100.0
    assert aging.half.resume(0) == 1
    assert aging.expired == [Span(1, 1)]


def test_replay_sends_again_in_batches() -> None:
    """A batch has the size that was asked for, but for a first message that is larger."""
    half = replay("aaa", "b", "c")
    half.resume(0)
    half.take(100)
    half.resume(0)
    assert payloads(half.take(2)) == ["aaa"]
    assert payloads(half.take(2)) == ["b", "c"]
    assert len(half) == 0


def test_replay_forgets_what_is_acknowledged() -> None:
    """Memory is held for what is on its way, and no more; old acknowledgements do no harm."""
    half = replay("a", "bb", "ccc")
    half.resume(0)
    half.take(100)
    half.acknowledge(2)
    assert (half.bytes, half.acked, half.sent) == (3, 2, 3)
    half.acknowledge(1)
    assert half.acked == 2


@pytest.mark.parametrize("resumed", [False, True])
def test_replay_refuses_an_ack_of_what_was_not_sent(resumed: bool) -> None:
    """A peer can only have dealt with what was sent on this connection, or before."""
    half = replay("a", "b")
    half.resume(0)
    half.take(100)
    if resumed:
        half.resume(1)
    with pytest.raises(ProtocolViolationError, match="was not sent"):
        half.acknowledge(2 if resumed else 3)


@pytest.mark.parametrize("limits", [{"max_messages": 2}, {"max_bytes": 2}])
def test_replay_waits_while_too_much_is_on_its_way(limits: dict[str, int]) -> None:
    """With as much unacknowledged as may be, new messages wait; acknowledging makes room."""
    half = replay("a", "b", "c", **limits)
    half.resume(0)
    for _ in range(2):
        half.take(1)
    assert len(half) == 0
    half.acknowledge(1)
    assert len(half) == 1


def test_replay_tells_what_a_lost_session_leaves() -> None:
    """What was sent and not acknowledged is lost, by number; what was not sent goes on."""
    half = replay("a", "b", "c")
    half.resume(0)
    half.take(2)
    half.acknowledge(1)
    assert half.restart(resend=False) == Span(2, 2)
    half.resume(0)
    assert (half.acked, half.sent) == (0, 0)
    assert payloads(half.take(100)) == ["c"]


def test_replay_sends_a_lost_session_again_when_asked() -> None:
    """Or all of it goes out in the next session, in order."""
    half = replay("a", "b", "c")
    half.resume(0)
    half.take(2)
    half.acknowledge(1)
    assert half.restart(resend=True) is None
    half.resume(0)
    assert payloads(half.take(100)) == ["b", "c"]
    assert half.restart(resend=True) is None
    half.acknowledge(0)


def test_replay_that_has_nothing_loses_nothing() -> None:
    """A session without messages can be lost without a loss."""
    half = replay()
    assert half.restart(resend=False) is None
    assert half.restart(resend=True) is None
    half.restore([])


# ── both sides ────────────────────────────────────────────────────────────────────────────


class Side:
    """A side of a session, with a subscriber that is done at once, and what it has seen."""

    def __init__(self, conversation: Conversation, source: Outbox[str | bytes]) -> None:
        self.conversation = conversation
        self.source = source
        self.seen: list[str | bytes] = []
        self.lost: list[Span] = []
        self.opened = 0

    @property
    def clear(self) -> bool:
        """Whether everything has been sent and acknowledged."""
        outgoing = self.conversation.outgoing
        return not len(self.source) and outgoing.acked == outgoing.sent

    def take(self, message: str) -> list[str]:
        """Take one message; return what it makes this side send."""
        if message.startswith("\0") and not message.startswith("\0\0"):
            control = decode(message)
            assert control is not None
            return self.apply(self.conversation.receive(control))
        receipt = self.conversation.incoming
        number = arrive(receipt, len(message))
        if not number:
            return []
        self.seen.append(message.removeprefix("\0"))
        receipt.processed = number
        return [encode(Ack(receipt.acknowledge()))] if is_due(receipt) else []

    def apply(self, effect: Effect) -> list[str]:
        """Note what follows from a control message."""
        if effect.lost:
            self.lost.append(effect.lost)
        assert effect.withdrawn is None
        self.opened += effect.opened
        return [encode(control) for control in effect.reply]

    def pump(self) -> list[str]:
        """Return what may be sent now."""
        messages: list[str] = []
        while len(self.conversation.outgoing):
            for payload, _ in self.conversation.outgoing.take(8):
                messages.append(str(escaped(payload)))
        return messages


class Pair:
    """A client and a server, joined by a link that delivers as far as it is told."""

    def __init__(self, **options: Any) -> None:
        self.delivery = Delivery.acknowledged(**options)
        source = outbox()
        replay = make_replay(source, self.delivery)
        self.client = Side(ClientConversation(replay, self.delivery), source)
        self.sessions = 0
        self.server = self.new_server()
        self.up: list[str] = []
        self.down: list[str] = []
        self.linked = False

    def new_server(self) -> Side:
        """Make the server's side of a new session."""
        self.sessions += 1
        source = outbox()
        token = f"session {self.sessions}"
        replay = make_replay(source, self.delivery)
        conversation = ServerConversation(replay, self.delivery, token=token)
        return Side(conversation, source)

    def connect(self) -> None:
        """Open a connection."""
        assert isinstance(self.client.conversation, ClientConversation)
        self.linked = True
        self.up.append(encode(self.client.conversation.connect()))

    def cut(self) -> None:
        """Lose the connection, and all that is on its way."""
        self.linked = False
        self.up.clear()
        self.down.clear()
        self.client.conversation.disconnect()
        self.server.conversation.disconnect()

    def step_up(self) -> None:
        """Deliver one message to the server."""
        message = self.up.pop(0)
        control = decode(message) if message[:1] == "\0" != message[1:2] else None
        if isinstance(control, Hello):
            assert isinstance(self.server.conversation, ServerConversation)
            self.server.conversation.connect()
            if control.session is not None:
                assert self.server.conversation.supersedes(control)
                assert self.server.conversation.fits(control)
        self.down += self.server.take(message)
        self.pump()

    def step_down(self) -> None:
        """Deliver one message to the client."""
        self.up += self.client.take(self.down.pop(0))
        self.pump()

    def pump(self) -> None:
        """Have both sides send what they may."""
        if self.linked:
            self.up += self.client.pump()
            self.down += self.server.pump()

    def settle(self) -> None:
        """Deliver everything."""
        while self.up or self.down:
            while self.up:
                self.step_up()
            while self.down:
                self.step_down()


def send(side: Side, *messages: str) -> None:
    """Have a side send."""
    for message in messages:
        side.source.put(message, len(message))


def test_conversation_opens() -> None:
    """A new session begins with hello, welcome, and the number of each side's first message."""
    pair = Pair()
    pair.connect()
    assert decode(pair.up[0]) == Hello(None, 1, 0, 1, 1, 120.0)
    pair.step_up()
    assert [decode(text) for text in pair.down] == [
        Welcome("session 1", resumed=False, received=0, expiry=120.0),
        Seq(1),
    ]
    pair.step_down()
    assert [decode(text) for text in pair.up] == [Seq(1)]
    pair.settle()
    assert (pair.client.opened, pair.server.opened) == (1, 1)


def test_conversation_resumes_a_quiet_session() -> None:
    """A session in which nothing was sent yet goes on as well, any number of times."""
    pair = Pair()
    for epoch in range(1, 6):
        pair.connect()
        hello = decode(pair.up[0])
        assert isinstance(hello, Hello)
        assert hello.epoch == epoch
        pair.settle()
        assert pair.client.conversation.token == "session 1"
        pair.cut()
    assert pair.client.lost == []


def test_conversation_takes_the_smaller_expiry() -> None:
    """A session expires after the time that both sides can live with."""
    pair = Pair(expiry=60.0)
    server = pair.server.conversation
    server.receive  # noqa: B018 - named for readers
    assert isinstance(server, ServerConversation)
    server.connect()
    effect = server.receive(Hello(None, 1, 0, 1, 1, 30.0))
    assert isinstance(effect.reply[0], Welcome)
    assert effect.reply[0].expiry == 30.0


@pytest.mark.parametrize(
    ("hello", "fits"),
    [
        (Hello("session 1", 2, 2, 2, 4, 1.0), True),
        (Hello("session 1", 2, 2, 4, 4, 1.0), True),  # all acknowledged
        (Hello("session 1", 2, 2, 5, 6, 1.0), False),  # it cannot send 4 again
        (Hello("session 1", 2, 2, 1, 3, 1.0), False),  # it has not sent 3
        (Hello("session 1", 2, 1, 2, 4, 1.0), True),
        (Hello("session 1", 2, 0, 2, 4, 1.0), False),  # we cannot send 1 again
        (Hello("session 1", 2, 4, 2, 4, 1.0), False),  # we have not sent 4
    ],
)
def test_conversation_goes_on_only_when_all_that_is_missing_can_be_sent(
    hello: Hello, fits: bool
) -> None:
    """Never in part: a session goes on whole, or it is lost."""
    pair = Pair()
    pair.connect()
    pair.settle()
    send(pair.client, "a", "b", "c")
    send(pair.server, "x", "y", "z")
    pair.pump()
    pair.settle()
    pair.server.conversation.outgoing.acknowledge(1)
    assert isinstance(pair.server.conversation, ServerConversation)
    assert pair.server.conversation.fits(hello) is fits


def test_conversation_knows_a_late_connection() -> None:
    """A connection that was overtaken by a newer one does not take the session back."""
    pair = Pair()
    for _ in range(2):
        pair.connect()
        pair.settle()
        pair.cut()
    server = pair.server.conversation
    assert isinstance(server, ServerConversation)
    assert not server.supersedes(Hello("session 1", 1, 0, 1, 1, 1.0))
    assert not server.supersedes(Hello("session 1", 2, 0, 1, 1, 1.0))
    assert server.supersedes(Hello("session 1", 3, 0, 1, 1, 1.0))


def test_conversation_syncs() -> None:
    """Asked for it, a side acknowledges at once."""
    pair = Pair()
    pair.connect()
    pair.settle()
    send(pair.client, "a")
    pair.pump()
    pair.settle()
    effect = pair.server.conversation.receive(Sync())
    assert effect.reply == (Ack(1),)
    pair.client.conversation.receive(Ack(1))
    assert pair.client.conversation.outgoing.acked == 1


def test_conversation_hears_that_the_server_goes() -> None:
    """A client learns when to come back."""
    pair = Pair()
    pair.connect()
    pair.settle()
    assert pair.client.conversation.receive(Away(3.0)).away == 3.0


def test_conversation_tells_what_is_lost() -> None:
    """A server that does not know the session begins a new one; the client knows what is lost."""
    pair = Pair()
    pair.connect()
    pair.settle()
    send(pair.client, "a", "b")
    pair.pump()
    pair.up.clear()
    pair.cut()
    send(pair.client, "c")
    pair.server = pair.new_server()
    conversation = pair.client.conversation
    assert isinstance(conversation, ClientConversation)
    hello = conversation.connect()
    assert isinstance(pair.server.conversation, ServerConversation)
    pair.server.conversation.connect()
    welcome, _ = pair.server.conversation.receive(hello).reply
    assert welcome == Welcome("session 2", resumed=False, received=0, expiry=120.0)
    effect = conversation.receive(welcome)
    assert effect.lost == Span(1, 2)
    assert payloads(conversation.outgoing.take(100)) == ["c"]


@pytest.mark.parametrize(
    ("welcome", "message"),
    [
        (Welcome("another", resumed=True, received=0, expiry=1.0), "another session"),
        (Welcome("session 1", resumed=True, received=2, expiry=1.0), "not within 0..1"),
    ],
)
def test_conversation_refuses_a_welcome_that_cannot_be(welcome: Welcome, message: str) -> None:
    """A server cannot have received what was not sent, nor resume what was not asked for."""
    pair = Pair()
    pair.connect()
    pair.settle()
    send(pair.client, "a")
    pair.pump()
    pair.cut()
    assert isinstance(pair.client.conversation, ClientConversation)
    pair.client.conversation.connect()
    with pytest.raises(ProtocolViolationError, match=message):
        pair.client.conversation.receive(welcome)


HELLO = Hello(None, 9, 0, 1, 1, 1.0)
WELCOME = Welcome("session 1", resumed=True, received=0, expiry=1.0)


@pytest.mark.parametrize(
    ("side", "stage", "legal"),
    [
        ("client", "away", set()),
        ("client", "greeting", {"welcome"}),
        ("client", "open", {"seq", "ack", "sync", "away"}),
        ("server", "away", set()),
        ("server", "greeting", {"hello"}),
        ("server", "open", {"seq", "ack", "sync"}),
    ],
)
@pytest.mark.parametrize("control", [HELLO, WELCOME, Seq(1), Ack(0), Sync(), Away(1.0)])
def test_conversation_takes_each_message_only_when_it_may_come(
    side: str, stage: str, legal: set[str], control: Control
) -> None:
    """The table of docs/protocol.md: anything else is a violation, and changes nothing."""
    pair = Pair()
    chosen: Conversation = (
        pair.client.conversation if side == "client" else pair.server.conversation
    )
    assert isinstance(pair.client.conversation, ClientConversation)
    assert isinstance(pair.server.conversation, ServerConversation)
    if stage != "away":
        hello = pair.client.conversation.connect()
        pair.server.conversation.connect()
        if stage == "open":
            welcome = pair.server.conversation.receive(hello).reply[0]
            pair.client.conversation.receive(welcome)
        else:
            pair.client.conversation.token = "session 1"
    before = chosen.stage
    if type(control).__name__.lower() in legal:
        chosen.receive(control)
    else:
        with pytest.raises(ProtocolViolationError, match=f"not while {stage}"):
            chosen.receive(control)
        assert chosen.stage is before


ACTIONS = st.lists(
    st.sampled_from(
        ["client sends", "server sends", "step_up", "step_down", "cut", "connect", "forget"]
    ),
    max_size=120,
)


class Chaos(Pair):
    """A pair that anything may happen to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent: dict[str, list[str]] = {"client": [], "server": []}
        self.seen_before: list[str | bytes] = []
        self.sent_before = 0

    def do(self, action: str) -> None:
        """Do something, if it can be done now."""
        possible = {
            "step_up": self.up,
            "step_down": self.down,
            "cut": self.linked,
            "connect": not self.linked,
            "forget": not self.linked,
        }
        if action.endswith("sends"):
            self.send(action.split()[0])
        elif possible[action]:
            getattr(self, action)()

    def send(self, name: str) -> None:
        """Have a side send a message that is like no other."""
        message = f"{chr(0) * (len(self.sent[name]) % 3)}{len(self.sent[name])}"
        self.sent[name].append(message)
        send(self.client if name == "client" else self.server, message)
        self.pump()

    def forget(self) -> None:
        """Lose the server's memory: all of it."""
        self.seen_before += self.server.seen
        self.sent["server"].clear()
        self.client.seen.clear()
        self.server = self.new_server()

    def finish(self) -> None:
        """Let everything arrive, and be acknowledged."""
        self.do("connect")
        self.settle()
        while not (self.client.clear and self.server.clear):
            self.up.append(encode(Sync()))
            self.down.append(encode(Sync()))
            self.settle()


@given(ACTIONS, st.integers(1, 4), st.integers(1, 4))
def test_conversation_loses_nothing_over_any_cuts(
    actions: list[str], ack_messages: int, max_messages: int
) -> None:
    """However often and wherever the link is cut: nothing missing, twice, or out of order."""
    pair = Chaos(ack_messages=ack_messages, max_messages=max_messages)
    for action in actions:
        if action != "forget":
            pair.do(action)
        assert pair.server.seen == pair.sent["client"][: len(pair.server.seen)]
        assert pair.client.seen == pair.sent["server"][: len(pair.client.seen)]
    pair.finish()
    assert pair.server.seen == pair.sent["client"]
    assert pair.client.seen == pair.sent["server"]
    assert (pair.client.lost, pair.server.lost) == ([], [])
    for side in (pair.client, pair.server):
        assert side.conversation.outgoing.acked == side.conversation.outgoing.sent


@given(ACTIONS, st.integers(1, 4), st.integers(1, 4))
def test_conversation_delivers_or_tells_when_a_server_forgets(
    actions: list[str], ack_messages: int, max_messages: int
) -> None:
    """A server that loses its memory costs what is reported, by number, and nothing twice."""
    pair = Chaos(ack_messages=ack_messages, max_messages=max_messages)
    for action in actions:
        pair.do(action)
    pair.finish()
    seen = [*pair.seen_before, *pair.server.seen]
    order = [pair.sent["client"].index(str(message)) for message in seen]
    assert order == sorted(set(order))
    missing = len(pair.sent["client"]) - len(seen)
    assert missing <= sum(span.size for span in pair.client.lost)
    assert pair.client.seen == pair.sent["server"]
