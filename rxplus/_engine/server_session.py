"""The server's side of a session: one of its connections, and the peer who has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Outbox
from rxplus._core.protocol.control import Control, Hello
from rxplus._core.protocol.conversation import ServerConversation, Stage
from rxplus._core.protocol.replay import Replay
from rxplus._core.routing import Channel
from rxplus._engine.durable import Archive
from rxplus._engine.fanout import Member
from rxplus._engine.hub import Hub
from rxplus._engine.reliable import ReliableSession
from rxplus._engine.session import Outlet
from rxplus._engine.stored import StoredOutgoing
from rxplus.delivery import Delivery
from rxplus.transport import CloseInfo, Connection, Payload

__all__ = ["ServerSession", "SessionMember"]


class SessionMember(Member):
    """A peer with a session: it stays a member while it has no connection.

    Args:
        hub: of the server.
        delivery: what was asked for.
        token: names the session.
        archive: what outlives the process.
    """

    __slots__ = ("archive", "conversation", "expiry", "outlet", "over", "token")

    session: ServerSession  # pyright: ignore[reportIncompatibleVariableOverride]  # set here only

    def __init__(
        self,
        connection: Connection,
        channel: Channel[Member],
        user: str | None,
        outbox: Outbox[Payload],
        on_taken: Callable[[Member], None],
        *,
        hub: Hub[Any],
        delivery: Delivery,
        token: str,
        archive: Archive | None,
    ) -> None:
        super().__init__(connection, channel, user, outbox, on_taken)
        self.token = token
        self.archive = archive
        if archive is None:
            replay = Replay(
                self,
                delivery,
                now=hub.runtime.now,
                on_expired=partial(hub.lose_span, channel.path, LossReason.EXPIRED),
            )
            self.conversation = ServerConversation(replay, delivery, token=token)
        else:
            self.stored = StoredOutgoing(hub, archive, channel.path, delivery, self._pump)
            self.conversation = ServerConversation(
                self.stored,
                delivery,
                token=token,
                epoch=archive.record.epoch,
                received=archive.received,
            )
        self.outlet: Outlet = _NOWHERE
        self.expiry: asyncio.TimerHandle | None = None
        self.over = False

    @property
    def gone(self) -> bool:
        return self.over

    def _pump(self) -> None:
        self.session.pump()


class ServerSession(ReliableSession):
    """The server's side of one connection. Whose it is shows when the client says hello.

    Args:
        member: whom it belongs to if it is somebody new.
        on_hello: finds out; returns whether to go on.
    """

    __slots__ = ("_on_hello", "member")

    def __init__(
        self,
        member: SessionMember,
        hub: Hub[Any],
        delivery: Delivery,
        *,
        on_hello: Callable[[ServerSession, Hello], bool],
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        super().__init__(
            member.connection,
            member.channel.datatype,
            member.conversation,
            hub,
            delivery=delivery,
            path=member.channel.path,
            outlet=_NOWHERE,
            audience=hub,
            archive=None,
            on_end=on_end,
        )
        self.member = member
        self._on_hello = on_hello
        self.conversation.stage = Stage.GREETING

    def belong_to(self, member: SessionMember) -> None:
        """Take over a member's session, or begin it."""
        member.connection = self.connection
        member.session = self
        self.member = member
        self.conversation = member.conversation
        self.conversation.stage = Stage.GREETING
        self.source = member.conversation.outgoing
        self._archive = member.archive
        if member.archive is not None:
            member.archive.put_off = self.put_off
        self.give_to(member.outlet)

    def _take(self, control: Control) -> None:
        greeting = self.conversation.stage is Stage.GREETING
        if greeting and isinstance(control, Hello) and not self._on_hello(self, control):
            return
        super()._take(control)


class _Nowhere:
    """Takes nothing: before hello there is nothing."""

    def emit(self, value: Any) -> None:
        """Take nothing."""

    def emit_all(self, values: Sequence[Any]) -> None:
        """Take nothing."""


_NOWHERE = _Nowhere()
