"""Who gets which message: from a server's mailbox to its peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from rxplus._core.losses import LossReason
from rxplus._core.outbox import Outbox, Parcel, Put, make_outbox, parcel_size
from rxplus._core.routing import Channel, Routes
from rxplus._engine.hub import Hub
from rxplus._engine.mailbox import Mailbox
from rxplus._engine.session import Session
from rxplus._engine.signal import Signal
from rxplus._engine.stored import StoredOutgoing
from rxplus.config import Buffer, OnFull, Overflow
from rxplus.transport import Connection, Listener, Payload

__all__ = ["FanOut", "Member", "Outgoing"]

_BATCH = 256 * 1024
"""Most bytes that are fanned out in one go, before other work gets its turn."""


class Member:
    """One connected peer, and the source of what is sent to it."""

    __slots__ = (
        "_on_taken",
        "channel",
        "clogged",
        "connection",
        "outbox",
        "session",
        "stored",
        "user",
    )

    session: Session

    def __init__(
        self,
        connection: Connection,
        channel: Channel[Member],
        user: str | None,
        outbox: Outbox[Payload],
        on_taken: Callable[[Member], None],
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.user = user
        self.outbox = outbox
        self.clogged = False
        """Whether more waits than may, under a policy that pushes back."""
        self.stored: StoredOutgoing | None = None
        """What is for it, if that is in a store: then nothing of it comes through here."""
        self._on_taken = on_taken

    def __len__(self) -> int:
        return len(self.outbox.parcels)

    def __bool__(self) -> bool:
        return True

    @property
    def gone(self) -> bool:
        """Whether it has left."""
        return self.session.end is not None

    def take(self, max_bytes: int) -> list[Parcel[Payload]]:
        """Remove messages from the front."""
        parcels = self.outbox.take(max_bytes)
        if self.clogged and self.outbox.has_room(0):
            self.clogged = False
            self._on_taken(self)
        return parcels

    def restore(self, parcels: list[Parcel[Payload]]) -> None:
        """Put back at the front what could not be sent."""
        self.outbox.restore(parcels)


class Outgoing(NamedTuple):
    """A message on its way to a path, or to one member."""

    target: str | Member
    payload: Payload
    kept: bool = False
    """Whether it is in the store for somebody."""


class FanOut:
    """Takes messages out of a mailbox and gives them to the members they are for.

    Made in any thread; everything but the mailbox is then used on the loop
    thread only.

    Args:
        hub: of the server.
        routes: who is on which path.
        buffer: limits of what waits for each member, and in all.
    """

    def __init__(self, hub: Hub[Any], routes: Routes[Member], buffer: Buffer) -> None:
        self._hub = hub
        self._routes = routes
        self._buffer = buffer
        self.mailbox: Mailbox[Outgoing] = Mailbox(
            hub.runtime,
            hub.answers,
            _intake(buffer),
            name=hub.name,
            payload=lambda outgoing: outgoing.payload,
            on_ready=self._fan_out,
            on_lost=self._report_expired,
            on_overrun=lambda: None,
        )
        self.listener: Listener
        # While a member is clogged nothing is taken from the mailbox, so that it
        # fills up and pushes back on whoever sends.
        self._clogged: set[Member] = set()
        # Members that something was queued for in this round.
        self._queued: dict[Member, None] = {}
        self._scheduled = False
        self._emptied = Signal()

    def member(self, connection: Connection, channel: Channel[Member], user: str | None) -> Member:
        """Make a member, whose session is still to be set."""
        return Member(connection, channel, user, self.outbox(channel.path), self.unclog)

    def outbox(self, path: str) -> Outbox[Payload]:
        """Make the buffer of a member."""
        lost, now = partial(self._lost, path), self._hub.runtime.now
        return make_outbox(self._buffer, lost, lambda payload: payload, now)

    def forget(self, member: Member, reason: LossReason = LossReason.DISCONNECTED) -> None:
        """Report what a member that has left did not get."""
        self._lost(member.channel.path, len(member.outbox.clear()), reason)
        self.unclog(member)

    async def drained(self) -> None:
        """Wait until everything in the mailbox is on its way to the members."""
        self._fan_out()
        while len(self.mailbox):
            await self._emptied.wait()

    def discard(self) -> None:
        """Report what is still in the mailbox as lost."""
        self._report_expired()
        self._report(self.mailbox.clear(), LossReason.CLOSED)

    def _report_expired(self) -> None:
        self._report(self.mailbox.take_expired(), LossReason.EXPIRED)

    def _report(self, lost: list[Outgoing], reason: LossReason) -> None:
        for path, count in Counter(_name_of(outgoing.target) for outgoing in lost).items():
            self._lost(path, count, reason)

    def _resume(self) -> None:
        self._scheduled = False
        self._fan_out()

    def _fan_out(self) -> None:
        """Hand one batch to the members; come back for the rest in turns with other work."""
        if self._scheduled:
            return
        if not self._clogged:
            for target, parcels in _by_target(self.mailbox.take(_BATCH)):
                self._send(target, parcels)
            if self._queued:
                self._pump()
        if not len(self.mailbox):
            self._emptied.send()
        elif not self._clogged:
            self._scheduled = True
            self._hub.lease.loop.call_soon(self._resume)

    def _send(self, target: str | Member, outgoing: list[Parcel[Outgoing]]) -> None:
        ready: list[Connection] = []
        behind: list[Member] = []
        for member in self.members_at(target):
            if member.stored is not None:
                continue
            if member.session.clear:
                ready.append(member.connection)
            else:
                behind.append(member)
        if not ready and not behind:
            # Nobody is there, or was when it was sent: who came later may have had later ones.
            missed = sum(not one.kept for one, _ in outgoing)
            self._lost(_name_of(target), missed, LossReason.NO_PEER)
        for member in behind:
            self._queue(member, outgoing)
        if ready:
            self.listener.broadcast(ready, [one.payload for one, _ in outgoing])
            stats = self._hub.stats
            stats.messages_out += len(ready) * len(outgoing)
            stats.bytes_out += len(ready) * sum(map(parcel_size, outgoing))

    def members_at(self, target: str | Member) -> Collection[Member]:
        """Return whom a message is for."""
        if isinstance(target, Member):
            return () if target.gone else (target,)
        channel = self._routes.get(target)
        return () if channel is None else channel.members

    def _queue(self, member: Member, outgoing: list[Parcel[Outgoing]]) -> None:
        """Let messages wait for a peer that cannot take them now."""
        for (_, payload, _), size in outgoing:
            try:
                verdict = member.outbox.put(payload, size)
            except Exception as exc:  # noqa: BLE001 - the key of a policy is the user's code
                self._hub.report(exc, "the key of Overflow.latest raised")
                self._lost(member.channel.path, 1, LossReason.OVERFLOW)
                continue
            if verdict is Put.FULL:
                # It was accepted when it was put into the mailbox.
                member.outbox.force(payload, size)
                member.clogged = True
                self._clogged.add(member)
            elif verdict is Put.OVERRUN:
                member.connection.abort()
        self._queued[member] = None

    def _pump(self) -> None:
        """Have members send what was queued for them, if they can by now.

        Not before everyone has got everything: who makes room lets more out of the mailbox.
        """
        queued, self._queued = self._queued, {}
        for member in queued:
            member.session.pump()

    def unclog(self, member: Member) -> None:
        """Hear that a member has room again."""
        if member in self._clogged:
            self._clogged.discard(member)
            # Later: what was just taken for it is yet to be sent.
            self._hub.lease.loop.call_soon(self._fan_out)

    def _lost(self, path: str, count: int, reason: LossReason) -> None:
        if count:
            self._hub.lost(path, {reason: count})


def _intake(buffer: Buffer) -> Buffer:
    """Limits of what waits to be fanned out.

    Only the policies that push back on the sender make sense here; the others
    are about one slow peer, and apply to its own outbox.
    """
    if buffer.overflow.on_full in (OnFull.BLOCK, OnFull.ERROR):
        return buffer
    return replace(buffer, overflow=Overflow.block())


def _by_target(
    parcels: list[Parcel[Outgoing]],
) -> Iterator[tuple[str | Member, list[Parcel[Outgoing]]]]:
    """Sort messages by the path they are for, and join those for the same peers, in order.

    No peer is on two paths, so none can tell.
    """
    if len(parcels) == 1:  # whoever waits for an answer waits for one
        return iter([(parcels[0][0].target, parcels)])
    paths: dict[str, list[tuple[str | Member, list[Parcel[Outgoing]]]]] = {}
    for parcel in parcels:
        target = parcel[0].target
        runs = paths.setdefault(_name_of(target), [])
        if runs and runs[-1][0] == target:
            runs[-1][1].append(parcel)
        else:
            runs.append((target, [parcel]))
    return chain.from_iterable(paths.values())


def _name_of(target: str | Member) -> str:
    return target.channel.path if isinstance(target, Member) else target
