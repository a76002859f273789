"""How a durable server's messages get from any thread to the sessions, and to everybody else."""

from __future__ import annotations

from typing import Any

from rxplus._engine.fanout import FanOut, Member, Outgoing
from rxplus._engine.hub import Hub
from rxplus.errors import ComponentClosedError
from rxplus.store import Store
from rxplus.transport import Payload

__all__ = ["Post"]


class Post:
    """Puts each message where it is to wait: into the store, the mailbox, or both.

    Args:
        hub: of the server.
        store: has what is for the sessions.
        fanout: has the mailbox, and knows who is where.
    """

    def __init__(self, hub: Hub[Any], store: Store, fanout: FanOut) -> None:
        self._hub = hub
        self._store = store
        self._fanout = fanout

    def send(self, target: str | Member, payload: Payload, size: int) -> None:
        """Send a message: to all who have it kept, and to all others, or to nobody. Any thread.

        Raises:
            StoreError: it cannot be kept.
            BufferFullError: too much waits for those that nothing is kept for; at once if this
                thread is in a transaction.
            ComponentClosedError: the server is closed.
        """
        if not self._hub.is_open:
            raise ComponentClosedError(f"{self._hub.name} is closed")
        # Copied at once: the loop thread lets people in and out meanwhile.
        members = tuple(self._fanout.members_at(target))
        by_mail = not members or any(member.stored is None for member in members)
        if by_mail:
            # Not within a transaction, in which other threads wait: those that make room.
            self._fanout.mailbox.look_for_room(size, wait=not self._store.in_transaction)
        with self._store.transaction():
            kept = self._keep(members, payload, size)
            if by_mail or not kept:
                # The last step but the commit: refused, it undoes the others.
                self._fanout.mailbox.force(Outgoing(target, payload, kept), size)

    def _keep(self, members: tuple[Member, ...], payload: Payload, size: int) -> bool:
        kept = False
        for member in members:
            if member.stored is not None and not member.gone:
                member.stored.put(payload, size)
                kept = True
        return kept
