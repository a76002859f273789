"""A session as one side sees it: which control message may come when, and what it does.

Neither a clock nor a network: the engine says when a connection begins and ends, hands in the
control messages that arrive, and sends those that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, TypeAlias

from rxplus._core.protocol.control import Ack, Away, Control, Hello, Seq, Sync, Welcome
from rxplus._core.protocol.numbers import Span
from rxplus._core.protocol.receipt import Receipt
from rxplus._core.protocol.replay import Outgoing
from rxplus.delivery import Delivery
from rxplus.errors import ProtocolViolationError

__all__ = ["ClientConversation", "Conversation", "Effect", "ServerConversation", "Stage"]


class Stage(Enum):
    """Where a session stands."""

    AWAY = auto()
    """There is no connection."""
    GREETING = auto()
    """There is one, and the sides have yet to find out whether the session goes on."""
    OPEN = auto()
    """Messages go both ways."""


_Legal: TypeAlias = dict[Stage, frozenset[type[Control]]]

_CLIENT_TAKES: _Legal = {
    Stage.AWAY: frozenset(),
    Stage.GREETING: frozenset({Welcome}),
    Stage.OPEN: frozenset({Seq, Ack, Sync, Away}),
}
_SERVER_TAKES: _Legal = {
    Stage.AWAY: frozenset(),
    Stage.GREETING: frozenset({Hello}),
    Stage.OPEN: frozenset({Seq, Ack, Sync}),
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What follows from a control message.

    Attributes:
        reply: to be sent.
        opened: whether messages may be sent from now on.
        resumed: whether the session that was asked for goes on; ``None``: none was.
        lost: messages of this side that were sent in a session which is no more.
        withdrawn: messages of the other side that it has given up.
        away: seconds after which to come back, since the server is about to go.
    """

    reply: tuple[Control, ...] = ()
    opened: bool = False
    resumed: bool | None = None
    lost: Span | None = None
    withdrawn: Span | None = None
    away: float | None = None


class Conversation:
    """What both sides have in common.

    Args:
        outgoing: what this side sends.
        delivery: what was asked for.
        token: names the session; ``None`` before there is one.
        epoch: of the last connection.
        received: number of the last message that arrived in an earlier life.
    """

    _legal: ClassVar[_Legal]

    def __init__(
        self,
        outgoing: Outgoing,
        delivery: Delivery,
        *,
        token: str | None = None,
        epoch: int = 0,
        received: int = 0,
    ) -> None:
        self.outgoing = outgoing
        self.incoming = Receipt(delivery, received)
        self.token = token
        self.epoch = epoch
        self.expiry = delivery.expiry
        self.stage = Stage.AWAY
        self._delivery = delivery

    def receive(self, control: Control) -> Effect:
        """Take a control message.

        Raises:
            ProtocolViolationError: it may not come now, or cannot be right.
        """
        if type(control) not in self._legal[self.stage]:
            name = type(control).__name__.lower()
            raise ProtocolViolationError(f"{name}: not while {self.stage.name.lower()}")
        match control:
            case Ack(number):
                self.outgoing.acknowledge(number)
                return Effect()
            case Sync():
                return Effect(reply=(Ack(self.incoming.acknowledge()),))
            case Seq(number):
                return Effect(withdrawn=self.incoming.sequence(number))
            case _:
                return self._own(control)

    def _own(self, control: Control) -> Effect:
        """Take a control message that only this side gets."""
        raise NotImplementedError  # pragma: no cover - both sides have one of their own

    def disconnect(self) -> None:
        """Hear that the connection has ended."""
        self.stage = Stage.AWAY
        self.outgoing.disconnect()
        self.incoming.disconnect()

    def _open(self, received: int) -> Seq:
        self.stage = Stage.OPEN
        return Seq(self.outgoing.resume(received))


class ClientConversation(Conversation):
    """The client's side."""

    _legal = _CLIENT_TAKES

    def connect(self) -> Hello:
        """Return what is to be said first on a new connection."""
        self.stage = Stage.GREETING
        self.epoch += 1
        return Hello(
            session=self.token,
            epoch=self.epoch,
            received=self.incoming.received,
            first=self.outgoing.acked + 1,
            next=self.outgoing.sent + 1,
            expiry=self._delivery.expiry,
        )

    def expire(self) -> Span | None:
        """Give the session up.

        Returns:
            What was not acknowledged in it, and is not going to be sent again.
        """
        self.token = None
        self.incoming = Receipt(self._delivery)
        return self.outgoing.restart(resend=self._delivery.resend_lost)

    def _own(self, control: Control) -> Effect:
        if isinstance(control, Away):
            return Effect(away=control.after)
        assert isinstance(control, Welcome)
        lost, asked = None, self.token is not None
        if control.resumed:
            self._check(control)
        else:
            lost = self.expire()
            self.token = control.session
        self.expiry = control.expiry
        return Effect(
            reply=(self._open(control.received),),
            opened=True,
            resumed=control.resumed if asked else None,
            lost=lost,
        )

    def _check(self, welcome: Welcome) -> None:
        if welcome.session != self.token:
            raise ProtocolViolationError("welcome: resumed another session than was asked for")
        if not self.outgoing.acked <= welcome.received <= self.outgoing.sent:
            raise ProtocolViolationError(
                f"welcome: received {welcome.received}, which is not within "
                f"{self.outgoing.acked}..{self.outgoing.sent}"
            )


class ServerConversation(Conversation):
    """The server's side. It begins with the first :class:`Hello`."""

    _legal = _SERVER_TAKES

    def connect(self) -> None:
        """Hear that there is a new connection."""
        self.stage = Stage.GREETING

    def supersedes(self, hello: Hello) -> bool:
        """Tell whether a connection is newer than the last one."""
        return hello.epoch > self.epoch

    def fits(self, hello: Hello) -> bool:
        """Tell whether everything that is missing, on either side, can be sent again."""
        sendable = hello.first - 1 <= self.incoming.received < hello.next
        return sendable and self.outgoing.acked <= hello.received <= self.outgoing.sent

    def _own(self, control: Control) -> Effect:
        assert isinstance(control, Hello)
        assert self.token is not None
        resumed = control.session == self.token
        self.epoch = control.epoch
        self.expiry = min(self._delivery.expiry, control.expiry)
        welcome = Welcome(self.token, resumed, self.incoming.received, self.expiry)
        seq = self._open(control.received if resumed else 0)
        return Effect(reply=(welcome, seq), opened=True, resumed=resumed)
