"""One connection of a session that outlives it: what both sides do on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from rxplus._core.losses import LossReason
from rxplus._core.protocol.control import ESCAPE, Control, Sync, decode, escaped
from rxplus._core.protocol.conversation import Conversation, Effect
from rxplus._core.protocol.receipt import Receipt
from rxplus._engine.durable import Archive
from rxplus._engine.hub import Hub
from rxplus._engine.numbered import NumberedSession
from rxplus._engine.session import Outlet
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError, StoreFullError
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["LATE", "SUPERSEDED", "VIOLATION", "ReliableSession"]

FULL = 1013
"""Close code: try again later, the store has no room."""
VIOLATION = 4400
"""Close code: the peer broke the protocol."""
LATE = 4408
"""Close code: no greeting came in time."""
SUPERSEDED = 4409
"""Close code: another connection has taken the session over."""


class _NoReceipt(Receipt):
    """Stands for that of a session to which this connection no longer belongs."""

    def accept(self, count: int, size: int) -> int:
        """Drop them."""
        return count


class ReliableSession(NumberedSession):
    """A session whose messages are numbered, acknowledged and sent again.

    There is one per connection; what outlives it is the conversation.

    Args:
        connection: the connection, not started.
        datatype: what its messages are packaged with.
        conversation: the session that the connection belongs to.
        hub: of the component.
        delivery: how often to acknowledge.
        path: for reports.
        outlet: gives values to subscribers; called where they run.
        audience: the component whose subscribers are to be done before a message is
            acknowledged; a client's group, if it has one.
        archive: what outlives the process.
        on_end: hears once how the connection ended.
    """

    __slots__ = ("_closing", "_greeting_timer", "conversation", "violation")

    def __init__(
        self,
        connection: Connection,
        datatype: WSDatatype,
        conversation: Conversation,
        hub: Hub[Any],
        *,
        delivery: Delivery,
        path: str,
        outlet: Outlet,
        audience: Hub[Any],
        archive: Archive | None,
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        super().__init__(
            connection,
            datatype,
            conversation.outgoing,
            hub,
            receipt=conversation.incoming,
            delivery=delivery,
            path=path,
            outlet=outlet,
            audience=audience,
            archive=archive,
            on_end=on_end,
        )
        self.conversation = conversation
        self.violation: ProtocolViolationError | None = None
        self._greeting_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self, *, trusted: bool) -> None:
        timeout = self._hub.timeouts.open
        if timeout is not None:
            self._greeting_timer = self._hub.lease.loop.call_later(timeout, self._greeting_is_late)
        super().start(trusted=trusted)

    # ── control messages ──────────────────────────────────────────────────────────────────

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
        self._hub.lose_span(self._path, LossReason.SESSION_LOST, effect.lost)
        if effect.opened and not self._note():  # before the peer can rely on it
            self.conversation.disconnect()  # or messages would be sent all the same
            return
        self.say(*effect.reply)
        self._follow(effect)
        self.pump()
        self._progress.send()

    def _note(self) -> bool:
        """Keep the session as it is now. Returns whether to go on."""
        return self._archive is None or self._archive.note(self.conversation)

    def _follow(self, effect: Effect) -> None:
        if effect.opened:
            self._receipt = receipt = self.conversation.incoming
            self._stop_greeting_timer()
            if receipt.unkept:
                self._after(self._processed, (receipt, receipt.unkept))
            if receipt.owes:
                self._ack_late()
        if effect.withdrawn is not None:
            self._hold(partial(self._withdraw, self._receipt, effect.withdrawn))

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
        self.violation = error
        self.finish(VIOLATION, str(error))

    def put_off(self, error: StoreFullError) -> None:
        """Close the connection: on the next one there may be room again in the store."""
        if self._closing is None:
            note = f"what arrives on {self._path} cannot be kept"
            self._hub.report(error, note, path=self._path)
            self.finish(FULL, "the store is full")

    def pump(self) -> None:
        if self._closing is None:  # else what there is to send is for the next connection
            super().pump()

    def finish(self, code: int, reason: str) -> None:
        """Close the connection. What still arrives on it is void. Does not wait."""
        self._receipt = _NoReceipt(_ANY)
        if self._closing is None:
            self._stop_greeting_timer()
            self._closing = self._hub.lease.loop.create_task(self.connection.close(code, reason))

    def on_closed(self, info: CloseInfo) -> None:
        self._stop_greeting_timer()
        super().on_closed(info)

    def _greeting_is_late(self) -> None:
        self._greeting_timer = None
        self.finish(LATE, "no greeting came in time")

    def _stop_greeting_timer(self) -> None:
        if self._greeting_timer is not None:
            self._greeting_timer.cancel()
            self._greeting_timer = None


_ANY = Delivery.acknowledged()
