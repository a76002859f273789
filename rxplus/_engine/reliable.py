"""One connection of a session that outlives it: what both sides do on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from rxplus._core.losses import LossReason
from rxplus._core.protocol.control import ESCAPE, Ack, Control, Sync, decode, encode, escaped
from rxplus._core.protocol.conversation import Conversation, Effect
from rxplus._core.protocol.receipt import Receipt
from rxplus._engine.durable import Archive
from rxplus._engine.hub import Hub
from rxplus._engine.notify import Direct
from rxplus._engine.session import Session
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ConnectionClosedError, ProtocolViolationError
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["LATE", "SUPERSEDED", "VIOLATION", "ReliableSession"]

VIOLATION = 4400
"""Close code: the peer broke the protocol."""
LATE = 4408
"""Close code: no greeting came in time."""
SUPERSEDED = 4409
"""Close code: another connection has taken the session over."""


_Held: TypeAlias = tuple[Payload, int, Callable[[int], None]]
"""A message, its number, and what hears that subscribers are done with it."""


class _NoReceipt(Receipt):
    """Stands for that of a session to which this connection no longer belongs."""

    def accept(self, size: int) -> int:
        """Drop it."""
        return 0


class ReliableSession(Session):
    """A :class:`Session` whose messages are numbered, acknowledged and sent again.

    There is one per connection; what outlives it is the conversation.

    Args:
        connection: the connection, not started.
        datatype: what its messages are packaged with.
        conversation: the session that the connection belongs to.
        hub: of the component.
        delivery: how often to acknowledge.
        path: for reports.
        give: gives a value to subscribers; called where they run.
        audience: the component whose subscribers are to be done before a message is
            acknowledged; a client's group, if it has one.
        archive: what outlives the process.
        on_end: hears once how the connection ended.
    """

    __slots__ = (
        "_ack_called",
        "_ack_delay",
        "_ack_timer",
        "_after",
        "_archive",
        "_audience",
        "_call_ack",
        "_closing",
        "_done",
        "_greeting_timer",
        "_held",
        "_number",
        "_path",
        "_receipt",
        "_straight",
        "conversation",
        "violation",
    )

    def __init__(
        self,
        connection: Connection,
        datatype: WSDatatype,
        conversation: Conversation,
        hub: Hub[Any],
        *,
        delivery: Delivery,
        path: str,
        give: Callable[[Any], None],
        audience: Hub[Any],
        archive: Archive | None,
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        super().__init__(
            connection, datatype, conversation.outgoing, hub, deliver=give, on_end=on_end
        )
        self.conversation = conversation
        self.violation: ProtocolViolationError | None = None
        self._use(conversation.incoming)
        self._path = path
        self._audience = audience
        self._after = audience.deliver
        self._archive = archive
        # What arrives before anybody has subscribed.
        self._held: list[_Held] | None = None
        if not audience.heard:
            self._held = []
            audience.when_heard(self._let_go)
        self.give(give)
        self._ack_delay = delivery.ack_delay
        self._ack_timer: asyncio.TimerHandle | None = None
        # Subscribers may run on a thread of their own, and acknowledge from there.
        direct = isinstance(audience.deliver, Direct)
        self._call_ack = self._ack if direct else self._call_ack_on_loop
        self._ack_called = False
        self._greeting_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self, *, trusted: bool) -> None:
        timeout = self._hub.timeouts.open
        if timeout is not None:
            self._greeting_timer = self._hub.lease.loop.call_later(timeout, self._greeting_is_late)
        super().start(trusted=trusted)

    # ── in ────────────────────────────────────────────────────────────────────────────────

    def on_message(self, message: Payload) -> None:
        if isinstance(message, str) and message.startswith(ESCAPE):
            if not message.startswith(ESCAPE, 1):
                self._on_control(message)
                return
            message = message[1:]
        receipt = self._receipt
        try:
            number = receipt.accept(len(message))
        except ProtocolViolationError as exc:
            self.refuse(exc)
            return
        if number and self._straight:
            # Most messages: subscribers are done with them when this returns.
            Session.on_message(self, message)
            receipt.processed = number
            if number >= receipt.due_at:
                self._ack()
            elif self._ack_timer is None:
                self._start_ack_timer()
        elif number:
            self._on_numbered(message, number)

    def _on_numbered(self, message: Payload, number: int) -> None:
        if self._held is None:
            self._pass_on(message, number, self._done)
        else:
            self._hold(self._held, message, number)

    def give(self, give: Callable[[Any], None]) -> None:
        """Say what gives a value to subscribers."""
        archive, scheduled = self._archive, not isinstance(self._audience.deliver, Direct)
        self._straight = archive is None and not scheduled and self._held is None
        if archive is None or (scheduled and self._audience is not self._hub):
            # Subscribers of a group that has a scheduler run too late for a transaction here.
            self._deliver = self._hub.into(give)
            return
        run = archive.giving(give)
        self._deliver = lambda value: self._after(run, (value, self._number))

    def _hold(self, held: list[_Held], message: Payload, number: int) -> None:
        """Keep a message until somebody has subscribed, or it seems that nobody will."""
        held.append((message, number, self._done))
        if not self._audience.may_keep(len(held)):
            self._let_go()

    def _let_go(self) -> None:
        """Go on with what was held."""
        held, self._held = self._held, None
        self._audience.never_mind(self._let_go)
        self._straight = self._archive is None and isinstance(self._audience.deliver, Direct)
        for message, number, done in held or ():
            self._pass_on(message, number, done)

    def _pass_on(self, message: Payload, number: int, done: Callable[[int], None]) -> None:
        self._number = number
        Session.on_message(self, message)
        self._after(done, number)
        if self._ack_timer is None:
            self._start_ack_timer()

    def _on_control(self, message: str) -> None:
        if self._closing is not None:
            return
        try:
            control = decode(message)
            if control is not None:
                self._take(control)
        except ProtocolViolationError as exc:
            self.refuse(exc)

    def _take(self, control: Control) -> None:
        """Have the conversation take a control message, and do what follows from it."""
        effect = self.conversation.receive(control)
        if effect.opened and self._archive is not None:
            self._archive.note(self.conversation)  # before the peer can rely on it
        self.say(*effect.reply)
        self._follow(effect)
        self.pump()
        self._progress.send()

    def _follow(self, effect: Effect) -> None:
        if effect.opened:
            self._use(self.conversation.incoming)
            self._stop_greeting_timer()
            if self._receipt.owes:
                self._ack_late()
        if effect.withdrawn is not None:
            self._hub.lose_span(self._path, LossReason.WITHDRAWN, effect.withdrawn)
            self._after(self._done, effect.withdrawn.last)

    def _use(self, receipt: Receipt) -> None:
        self._receipt = receipt
        # With the receipt that the message belongs to: subscribers may be done with it when
        # this connection, or even the session, is no more.
        self._done = partial(self._processed, receipt)

    # ── acknowledging ─────────────────────────────────────────────────────────────────────

    def _processed(self, receipt: Receipt, number: int) -> None:
        """Hear that subscribers are done with a message. On whichever thread they run."""
        receipt.processed = number
        if self._archive is not None:
            self._archive.note_processed(number)
        if number >= receipt.due_at:
            self._call_ack()

    def _call_ack_on_loop(self) -> None:
        if not self._ack_called:
            self._ack_called = True
            self._hub.lease.call_soon(self._ack)

    def _ack(self) -> None:
        self._ack_called = False
        if self.end is None and self._receipt.processed > self._receipt.acked:
            self.say(Ack(self._receipt.acknowledge()))

    def _ack_late(self) -> None:
        self._ack_timer = None
        self._ack()
        if self.end is None and self._receipt.owes:
            self._start_ack_timer()

    def _start_ack_timer(self) -> None:
        self._ack_timer = self._hub.lease.loop.call_later(self._ack_delay, self._ack_late)

    # ── out ───────────────────────────────────────────────────────────────────────────────

    @property
    def clear(self) -> bool:
        """Never: each message has to be kept first."""
        return False

    def payloads(self, parcels: list[tuple[Payload, int]]) -> list[Payload]:
        # Looked at here: a call for each would cost as much as the rest.
        return [
            escaped(payload) if isinstance(payload, str) and payload.startswith(ESCAPE) else payload
            for payload, _ in parcels
        ]

    def say(self, *controls: Control) -> None:
        """Send control messages. What is not sent is said anew on the next connection."""
        if not controls or (self._archive is not None and self._archive.failed):
            return  # nor is what the store does not have: the peer would rely on it
        try:
            self.connection.send([encode(control) for control in controls])
        except ConnectionClosedError:
            pass  # on_closed() follows

    # ── end ───────────────────────────────────────────────────────────────────────────────

    async def drained(self) -> None:
        """Wait until everything queued was sent and acknowledged, or the connection has ended."""
        asked = False
        while self.end is None and not self.conversation.outgoing.idle:
            if not asked and not len(self.source):
                asked = True
                self.say(Sync())
            await self._progress.wait()
        self._ack()

    def refuse(self, error: ProtocolViolationError) -> None:
        """End the connection, since the peer broke the protocol."""
        self.violation = error
        self.finish(VIOLATION, str(error))

    def finish(self, code: int, reason: str) -> None:
        """Close the connection. What still arrives on it is void. Does not wait."""
        self._use(_NoReceipt(_ANY))
        if self._closing is None:
            self._stop_greeting_timer()
            self._closing = self._hub.lease.loop.create_task(self.connection.close(code, reason))

    def on_closed(self, info: CloseInfo) -> None:
        self._stop_greeting_timer()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        if not self._held:
            self._audience.never_mind(self._let_go)
        super().on_closed(info)

    def _greeting_is_late(self) -> None:
        self._greeting_timer = None
        self.finish(LATE, "no greeting came in time")

    def _stop_greeting_timer(self) -> None:
        if self._greeting_timer is not None:
            self._greeting_timer.cancel()
            self._greeting_timer = None


_ANY = Delivery.acknowledged()
