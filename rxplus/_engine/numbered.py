"""What arrives on one connection of a session: numbered, given to subscribers, acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Source
from rxplus._core.protocol.control import ESCAPE, Ack, Control, encode
from rxplus._core.protocol.numbers import Span
from rxplus._core.protocol.receipt import Receipt
from rxplus._engine.durable import Archive
from rxplus._engine.hub import Hub
from rxplus._engine.session import Outlet, Session
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ConnectionClosedError, ProtocolViolationError
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["NumberedSession"]


_Place: TypeAlias = tuple[Receipt, int]
"""The number of a message, with the receipt that it belongs to: subscribers may be done with it
when its connection, or even its session, is no more."""


class NumberedSession(Session):
    """The receiving half of a :class:`rxplus._engine.reliable.ReliableSession`.

    Args:
        connection: the connection, not started.
        datatype: what its messages are packaged with.
        source: what is to be sent.
        hub: of the component.
        receipt: numbers what arrives.
        delivery: how often to acknowledge.
        path: for reports.
        outlet: gives values to subscribers; called where they run.
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
        "_at",
        "_call_ack",
        "_held",
        "_path",
        "_receipt",
        "_settling",
        "_straight",
    )

    def __init__(
        self,
        connection: Connection,
        datatype: WSDatatype,
        source: Source[Payload],
        hub: Hub[Any],
        *,
        receipt: Receipt,
        delivery: Delivery,
        path: str,
        outlet: Outlet,
        audience: Hub[Any],
        archive: Archive | None,
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        super().__init__(
            connection, datatype, source, hub, outlet=outlet, audience=audience, on_end=on_end
        )
        self._receipt = receipt
        self._path = path
        self._after = audience.deliver
        self._archive = archive
        # What is to be done with what arrives before anybody has subscribed.
        self._held: list[Callable[[], None]] | None = None
        if not audience.heard:
            self._held = []
            audience.when_heard(self._let_go)
        self.give_to(outlet)
        self._ack_delay = delivery.ack_delay
        self._ack_timer: asyncio.TimerHandle | None = None
        # Subscribers may run on a thread of their own, and acknowledge from there.
        self._call_ack = self._ack if audience.direct else self._call_ack_on_loop
        self._ack_called = False

    def give_to(self, outlet: Outlet) -> None:
        """Say what gives values to subscribers."""
        self._look_ahead()
        # Subscribers of a group that has a scheduler run too late for a transaction here.
        soon = self._audience.direct or self._audience is self._hub
        self._settling = self._archive is not None and soon
        if self._settling:
            self._deliver = lambda value: self._settle(*self._at, 1, partial(outlet.emit, value))
        else:
            self._deliver = self._hub.into(outlet.emit)
        self._outlet = outlet

    def _look_ahead(self) -> None:
        """Find out whether subscribers are done with a message as soon as they were given it."""
        self._straight = self._archive is None and self._audience.direct and self._held is None

    # ── messages ──────────────────────────────────────────────────────────────────────────

    def on_message(self, message: Payload) -> None:
        if isinstance(message, str) and message.startswith(ESCAPE):
            if not message.startswith(ESCAPE, 1):
                self._on_control(message)
                return
            message = message[1:]
        if self._straight:
            self._take_run((message,))
        elif self._accept((message,)):
            place = (self._receipt, self._receipt.received)
            self._hold(partial(self._pass_on, message, place))

    def take_all(self, messages: Sequence[Payload]) -> None:
        run: list[Payload] = []
        for message in messages:
            if isinstance(message, str) and message.startswith(ESCAPE):
                self._take_run(run)
                run = []
                self.on_message(message)
            else:
                run.append(message)
        self._take_run(run)

    def _take_run(self, run: Sequence[Payload]) -> None:
        """Take messages as they are, of which there may be none."""
        if not self._straight:
            for message in run:
                self.on_message(message)
            return
        while run:
            # As many as may wait for an acknowledgement: subscribers are done with them at once.
            receipt = self._receipt
            part = max(1, receipt.due_at - receipt.received)
            messages, run = self._accept(run[:part]), run[part:]
            if messages:
                super().take_all(messages)
                receipt.processed = receipt.received
                self._ack_soon()

    def _accept(self, messages: Sequence[Payload]) -> Sequence[Payload]:
        """Number messages; return those that have not arrived before."""
        try:
            again = self._receipt.accept(len(messages), sum(map(len, messages)))
        except ProtocolViolationError as exc:
            self.refuse(exc)
            return ()
        return messages[again:] if again else messages

    def _on_control(self, message: str) -> None:
        """Take a control message."""
        raise NotImplementedError  # pragma: no cover - the whole session has it

    def refuse(self, error: ProtocolViolationError) -> None:
        """End the connection, since the peer broke the protocol."""
        raise NotImplementedError  # pragma: no cover - the whole session has it

    def _hold(self, go_on: Callable[[], None]) -> None:
        """Go on once somebody has subscribed, or it seems that nobody will."""
        if self._held is None:
            go_on()
            return
        self._held.append(go_on)
        if not self._audience.may_keep(len(self._held)):
            # In order: connections before this one may have left something.
            self._audience.let_go()

    def _let_go(self) -> None:
        """Go on with what was held."""
        held, self._held = self._held, None
        self._look_ahead()
        for go_on in held or ():
            go_on()

    def _pass_on(self, message: Payload, place: _Place) -> None:
        self._at = place
        Session.on_message(self, message)
        self._conclude(place)

    def _undecodable(self, message: Payload, exc: Exception) -> None:
        super()._undecodable(message, exc)
        if self._settling:
            self._settle(*self._at, 1, _nothing)

    def _withdraw(self, receipt: Receipt, span: Span) -> None:
        """Pass over messages that the peer has given up, and say so."""
        if self._settling:
            self._settle(receipt, span.first, span.size, _nothing)
        self._after(self._tell_withdrawn, (receipt, span))
        self._conclude((receipt, span.last))

    def _tell_withdrawn(self, withdrawn: tuple[Receipt, Span]) -> None:
        receipt, span = withdrawn
        if self._settling and receipt.processed < span.last:
            return  # it could not be kept, and comes again
        tell = partial(self._hub.lose_span, self._path, LossReason.WITHDRAWN, span)
        self._hub.lease.call_soon(tell)

    def _settle(self, receipt: Receipt, first: int, count: int, give: Callable[[], object]) -> None:
        """Have messages given to subscribers and their numbers kept, where subscribers run."""
        assert self._archive is not None
        self._after(partial(self._archive.settle, receipt, first, first + count - 1), give)

    # ── acknowledging ─────────────────────────────────────────────────────────────────────

    def _conclude(self, place: _Place) -> None:
        """Acknowledge messages when subscribers are done with them."""
        self._after(self._processed, place)
        if self._ack_timer is None:
            self._start_ack_timer()

    def _ack_soon(self) -> None:
        """Acknowledge messages that subscribers are done with."""
        if self._receipt.processed >= self._receipt.due_at:
            self._ack()
        elif self._ack_timer is None:
            self._start_ack_timer()

    def _processed(self, place: _Place) -> None:
        """Hear that subscribers are done with a message. On whichever thread they run."""
        receipt, number = place
        if self._archive is None:
            receipt.processed = number
        elif not self._settling:
            self._archive.keep(receipt, number)
        if receipt.processed >= receipt.due_at:
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

    def say(self, *controls: Control) -> None:
        """Send control messages. What is not sent is said anew on the next connection."""
        if not controls:
            return
        try:
            self.connection.send([encode(control) for control in controls])
        except ConnectionClosedError:
            pass  # on_closed() follows

    def on_closed(self, info: CloseInfo) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        if not self._held:
            self._audience.never_mind(self._let_go)
        super().on_closed(info)


def _nothing() -> None:
    """Stand for giving a message that cannot be given."""
