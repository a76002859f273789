"""A client's session: what it keeps from one connection to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Source
from rxplus._core.protocol.conversation import ClientConversation, Effect, Stage
from rxplus._core.protocol.replay import Replay
from rxplus._engine.durable import Archive, Claim
from rxplus._engine.hub import Hub
from rxplus._engine.reliable import SUPERSEDED, VIOLATION, ReliableSession
from rxplus._engine.stored import StoredOutgoing
from rxplus.datatypes import WSDatatype
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError, SessionTakenError
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["ClientSession", "Continuity"]


class ClientSession(ReliableSession):
    """The client's side of one connection.

    Args:
        on_open: hears that the session is open, and whether it goes on.
        on_away: hears that the server is about to go, and when to come back.
    """

    __slots__ = ("_on_away", "_on_open")

    conversation: ClientConversation

    def __init__(
        self,
        *args: Any,
        on_open: Callable[[bool | None], None],
        on_away: Callable[[float], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._on_open = on_open
        self._on_away = on_away

    def start(self, *, trusted: bool) -> None:
        super().start(trusted=trusted)
        hello = self.conversation.connect()
        if self._note():
            self.say(hello)

    def _follow(self, effect: Effect) -> None:
        super()._follow(effect)
        if effect.opened:
            self._on_open(effect.resumed)
        if effect.away is not None:
            self._on_away(effect.away)


class Continuity:
    """What makes a client's connections one session.

    Args:
        hub: of the client.
        delivery: what was asked for.
        source: of new messages, unless they are in a store.
        path: names the session in the store.
        on_ready: called on the loop when there is something in the store to send.
    """

    def __init__(
        self,
        hub: Hub[Any],
        delivery: Delivery,
        source: Source[Payload],
        path: str,
        on_ready: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._delivery = delivery
        self._archive: Archive | None = None
        self.stored: StoredOutgoing | None = None
        """What is sent, if that is in a store."""
        if delivery.store is None:
            replay = Replay(
                source,
                delivery,
                now=hub.runtime.now,
                on_expired=lambda span: hub.lose_span(self._path, LossReason.EXPIRED, span),
            )
            self._conversation = ClientConversation(replay, delivery)
        else:
            name = f"client {path}"
            self._claim = Claim(
                delivery.store, name, "give each client of a path a store of its own"
            )
            try:
                self._archive = Archive(hub, delivery.store, name, self._claim)
                self.stored = StoredOutgoing(hub, self._archive, path, delivery, on_ready)
            except BaseException:  # it cannot be read
                self._claim.release()
                raise
            self._conversation = ClientConversation(
                self.stored,
                delivery,
                token=self._archive.record.token,
                epoch=self._archive.record.epoch,
                received=self._archive.received,
            )
        self._path = path
        self._expiry: asyncio.TimerHandle | None = None
        self._session: ClientSession | None = None

    @property
    def idle(self) -> bool:
        """Whether everything there is has been sent and acknowledged."""
        return self._conversation.outgoing.idle

    def session(
        self,
        connection: Connection,
        datatype: WSDatatype,
        path: str,
        *,
        audience: Hub[Any],
        on_open: Callable[[bool | None], None],
        on_away: Callable[[float], None],
        on_end: Callable[[CloseInfo], None],
    ) -> ClientSession:
        """Go on, on a new connection."""
        self._path = path
        self._stop_expiry()
        self._session = ClientSession(
            connection,
            datatype,
            self._conversation,
            self._hub,
            delivery=self._delivery,
            path=path,
            outlet=self._hub.messages,
            audience=audience,
            archive=self._archive,
            on_open=on_open,
            on_away=on_away,
            on_end=on_end,
        )
        if self._archive is not None:
            self._archive.put_off = self._session.put_off
        return self._session

    def disconnect(self, info: CloseInfo) -> Exception | None:
        """Hear that the connection has ended.

        Returns:
            Why there should not be another one, if that is so.
        """
        session, self._session = self._session, None
        if session is None:
            return None  # that connection had no session
        was_open = self._conversation.stage is Stage.OPEN
        self._conversation.disconnect()
        if self._conversation.token is not None and self.stored is None:
            loop = self._hub.lease.loop
            self._expiry = loop.call_later(self._conversation.expiry, self._expire)
        if session.violation is not None:
            return session.violation
        if info.code == VIOLATION:
            return ProtocolViolationError(info.reason)
        if info.code == SUPERSEDED:
            return SessionTakenError(info.reason)
        if info.code == 1000 and was_open:
            self.give_up(LossReason.UNACKNOWLEDGED)
        return None

    @property
    def goodbye(self) -> int:
        """The code to close with: 1000 ends the session, which one in a store outlives."""
        return 1000 if self.stored is None else 1001

    def close(self) -> None:
        """Report what was sent and not acknowledged, unless it is kept."""
        if self._archive is None:
            self.give_up(LossReason.UNACKNOWLEDGED)
        else:
            self._claim.release()

    def guarded(self, give: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return what gives values to subscribers for as long as the session is this one's."""
        return give if self._archive is None else self._archive.guarded(give)

    def give_up(self, reason: LossReason) -> None:
        """End the session, and report what was sent and not acknowledged."""
        self._stop_expiry()
        self._hub.lose_span(self._path, reason, self._conversation.expire())

    def _expire(self) -> None:
        self._hub.probe.info(
            "session_expired", f"{self._hub.name}: the session has expired", path=self._path
        )
        self.give_up(LossReason.EXPIRED)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
