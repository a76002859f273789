"""A server's sessions: who comes back to which, and which are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rxplus._core.losses import LossReason
from rxplus._core.protocol.control import Away, Hello
from rxplus._core.routing import Channel
from rxplus._engine.absent import ABSENT, AbsentConnection
from rxplus._engine.durable import Archives
from rxplus._engine.fanout import FanOut, Member
from rxplus._engine.hub import Hub
from rxplus._engine.reliable import SUPERSEDED, VIOLATION
from rxplus._engine.server_session import ServerSession, SessionMember
from rxplus._engine.session import Outlet
from rxplus._engine.stored import StoredOutgoing
from rxplus.delivery import Delivery
from rxplus.transport import CloseInfo, Connection

__all__ = ["Reception"]


class Reception:
    """Gives connections to sessions, and ends these when their time has come.

    Args:
        hub: of the server.
        delivery: what was asked for.
        fanout: makes buffers, and reports what is left in them.
        enroll: makes somebody a member; returns what takes the values it sends.
        expel: takes that back.
    """

    def __init__(
        self,
        hub: Hub[Any],
        delivery: Delivery,
        fanout: FanOut,
        *,
        enroll: Callable[[Member], Outlet],
        expel: Callable[[Member], None],
    ) -> None:
        self._hub = hub
        self._delivery = delivery
        self._fanout = fanout
        self._enroll = enroll
        self._expel = expel
        self._archives: Archives | None = None
        self._members: dict[str, SessionMember] = {}
        # Connections that have not said hello. A dict for its order.
        self._strangers: dict[ServerSession, None] = {}

    def greet(
        self,
        connection: Connection,
        channel: Channel[Member],
        user: str | None,
        on_end: Callable[[CloseInfo], None],
    ) -> None:
        """Take over a connection, and wait for the client to say which session it is of."""
        member = self._member(connection, channel, user, self._hub.runtime.token())
        session = self._session(member, on_end)
        self._strangers[session] = None
        session.start(trusted=user is not None)

    def _member(
        self, connection: Connection, channel: Channel[Member], user: str | None, token: str
    ) -> SessionMember:
        return SessionMember(
            connection,
            channel,
            user,
            self._fanout.outbox(channel.path),
            self._fanout.unclog,
            hub=self._hub,
            delivery=self._delivery,
            token=token,
            archive=self._archives.open(token) if self._archives is not None else None,
        )

    def _session(self, member: SessionMember, on_end: Callable[[CloseInfo], None]) -> ServerSession:
        def ended(info: CloseInfo) -> None:
            on_end(info)
            self._disconnect(session, info)

        session = ServerSession(
            member, self._hub, self._delivery, on_hello=self._on_hello, on_end=ended
        )
        return session

    async def close_strangers(self, code: int, reason: str, timeout: float) -> None:
        """Close the connections that belong to no session yet."""
        strangers = list(self._strangers)
        for one in strangers:
            one.finish(code, reason)
        await asyncio.gather(*(one.close(code, reason, timeout) for one in strangers))

    def announce(self, after: float, spread: float) -> None:
        """Tell everyone that the server is about to go, and when to come back."""
        for member in self._members.values():
            if member.session.end is None:
                draw = self._hub.runtime.random.random()
                member.session.say(Away(after + spread * draw))

    def end(self, member: Member, reason: LossReason) -> None:
        """End a session, and report what its client has not acknowledged.

        A member without a session, or with one that has ended, is passed over.
        """
        if not isinstance(member, SessionMember) or member.token not in self._members:
            return
        self._let_go(member)
        if member.session.end is None:
            member.session.finish(1000, "the session has ended")
        lost = member.conversation.outgoing.restart(resend=False)
        self._hub.lose_span(member.channel.path, reason, lost)
        if member.stored is not None:
            self._drop(member, member.stored, reason)
        self._fanout.forget(member, reason)
        self._expel(member)

    def _drop(self, member: SessionMember, stored: StoredOutgoing, reason: LossReason) -> None:
        """Remove a session from the store, with what was still to be sent in it."""
        assert member.archive is not None
        # It is over: whatever is put into the store after this is for others.
        unsent = stored.count_unsent()
        member.archive.drop()
        if unsent:
            self._hub.lost(member.channel.path, {reason: unsent})

    def close(self) -> None:
        """End every session, but for those in a store, which wait there for the next server."""
        members = list(self._members.values())
        if self._archives is None:
            for member in members:
                self.end(member, LossReason.UNACKNOWLEDGED)
            return
        for member in members:
            self._let_go(member)
        # Nothing is put into the store for them any more: the next server may look at it.
        self._archives.release()
        for member in members:
            self._expel(member)

    def _let_go(self, member: SessionMember) -> None:
        del self._members[member.token]
        member.over = True
        self._stop_expiry(member)

    # ── in a store ────────────────────────────────────────────────────────────────────────

    def restore(self, open_channel: Callable[[str], Channel[Member]]) -> None:
        """Have the sessions that an earlier server left in the store wait for their clients.

        Raises:
            ValueError: another server has the store.
            StoreError: they cannot be read.
        """
        if self._delivery.store is None:
            return
        self._archives = Archives(self._hub, self._delivery.store)
        for token in self._archives.tokens():
            record = self._archives.open(token).record
            try:
                channel = open_channel(record.path)
            except Exception as exc:  # noqa: BLE001 - finding the datatype is the user's code
                self._hub.report(exc, f"a session on {record.path} stays in the store")
                continue
            member = self._member(AbsentConnection(record.path), channel, record.user, token)
            member.session = self._session(member, _unheard)
            member.session.end = ABSENT
            member.conversation.disconnect()
            self._register(member)
            self._await_return(member)

    # ── connections come and go ───────────────────────────────────────────────────────────

    def _on_hello(self, session: ServerSession, hello: Hello) -> bool:
        newcomer = session.member
        member = self._find(hello.session, newcomer)
        if member is not None and not member.conversation.supersedes(hello):
            session.finish(SUPERSEDED, "a newer connection has this session")
            return False
        if member is not None and not member.conversation.fits(hello):
            self.end(member, LossReason.SESSION_LOST)
            member = None
        if member is None and not self._begin(session):
            return False
        del self._strangers[session]
        if member is not None:
            self._detach(member)
        session.belong_to(member or newcomer)
        return True

    def _find(self, token: str | None, newcomer: SessionMember) -> SessionMember | None:
        """Return who had a session, if it is the same who asks for it now."""
        member = self._members.get(token or "")
        if member is None or member.user != newcomer.user:
            return None
        return member if member.channel.path == newcomer.channel.path else None

    def _begin(self, session: ServerSession) -> bool:
        """Begin a session with a stranger. Returns whether it could be kept."""
        member = session.member
        if member.archive is not None:
            member.archive.record.path = member.channel.path
            member.archive.record.user = member.user
            member.archive.put_off = session.put_off
            if not member.archive.note(member.conversation):
                return False
        most = self._hub.limits.max_connections
        if most is not None and len(self._members) >= most:
            self._make_room()
        self._register(member)
        return True

    def _register(self, member: SessionMember) -> None:
        self._members[member.token] = member
        member.outlet = self._enroll(member)

    def _make_room(self) -> None:
        """End the session that has been without a connection for longest."""
        # There is one: no more are connected than may be, and the newcomer has no session yet.
        away = [(one.expiry.when(), one) for one in self._members.values() if one.expiry]
        self.end(min(away, key=lambda timed: timed[0])[1], LossReason.EXPIRED)

    def _detach(self, member: SessionMember) -> None:
        """Take a session from the connection that it had, if it has one."""
        self._stop_expiry(member)
        if member.session.end is None:
            member.session.finish(SUPERSEDED, "a newer connection has this session")
            member.conversation.disconnect()

    def _disconnect(self, session: ServerSession, info: CloseInfo) -> None:
        member, path = session.member, session.member.channel.path
        if session.violation is not None:
            self._hub.report(session.violation, f"a client on {path} broke the protocol", path=path)
        if self._strangers.pop(session, session) is None or member.over:
            return
        if member.session is not session:
            return  # it was superseded
        member.conversation.disconnect()
        if info.code in (1000, VIOLATION) or session.violation is not None:
            self.end(member, LossReason.UNACKNOWLEDGED)
            return
        self._await_return(member)

    def _await_return(self, member: SessionMember) -> None:
        loop = self._hub.lease.loop
        member.expiry = loop.call_later(member.conversation.expiry, self._expire, member)

    def _expire(self, member: SessionMember) -> None:
        path = member.channel.path
        self._hub.probe.info(
            "session_expired", f"{self._hub.name}: a session on {path} has expired", path=path
        )
        self.end(member, LossReason.EXPIRED)

    def _stop_expiry(self, member: SessionMember) -> None:
        if member.expiry is not None:
            member.expiry.cancel()
            member.expiry = None


def _unheard(info: CloseInfo) -> None:
    """Stand for who would hear of the end of a connection that there has not been."""
